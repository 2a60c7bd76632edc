//! Finds counts and percents in a line and judges how much they look like progress.

use std::collections::BTreeMap;

use memchr::{memchr_iter, memchr3_iter};

use crate::progress::number;

use super::tokens::{self, Kind, Token};

/// Most metrics taken from one line.
const MAX_LINE_METRICS: usize = 16;
/// So many of the same sign in a row are a bar.
const BAR_SIGNS: usize = 6;

/// How long the place is at least that a dump of bytes begins each line with, and how many words of it are looked at.
const DUMP_PLACE: usize = 6;
const DUMP_WORDS: usize = 8;

/// What is counted, as the word before or behind a count.
const COUNTED: &str = "\
    step steps iter iters iteration iterations it batch batches file files item items sample \
    samples example examples chunk chunks page pages part parts frame frames episode \
    episodes round rounds image images record records row rows task tasks shard shards fold \
    folds trial trials stage stages layer layers block blocks object objects package \
    packages progress done completed complete finished processed";
/// Words that make a percent one of progress.
const PROGRESS: &str = "\
    progress complete completed done finished processed percent downloading downloaded \
    uploading uploaded extracting extracted copying copied loading loaded compressing \
    compressed decompressing decompressed processing training evaluating building converting \
    indexing syncing objects deltas";
/// Names that stand before numbers which are no metrics.
const NO_METRICS: &str = "\
    epoch epochs eta elapsed time line pid port seed";

/// How much a count looks like progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// It begins or ends a line of other text.
    Doubtful,
    /// Its surroundings say so.
    Plain,
}

/// What a line says.
#[derive(Debug)]
pub(super) struct Found {
    pub epoch: Option<(f64, Option<f64>)>,
    pub steps: Option<(f64, f64)>,
    pub percent: Option<f64>,
    pub trust: Trust,
    pub has_bar: bool,
}

/// Whether a line can have a count at all: a cheap look before the dear one.
pub(super) fn is_worth(line: &str) -> bool {
    let bytes = line.as_bytes();
    let is_count = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_digit() || *b == b' ');
    let mut places = memchr3_iter(b'/', b'%', b'o', bytes).chain(memchr_iter(b'O', bytes));
    places.any(|at| match bytes[at] {
        b'/' => {
            let is_number = at > 0 && is_count(bytes.get(at - 1)) && is_count(bytes.get(at + 1));
            is_number
                && !is_stroked(bytes[..at].iter().rev())
                && !is_stroked(bytes[at + 1..].iter())
        }
        b'%' => at > 0 && is_count(bytes.get(at - 1)) && ends_percent(bytes.get(at + 1)),
        _ => {
            let epoch = at
                .checked_sub(1)
                .and_then(|start| bytes.get(start..start + 4));
            epoch.is_some_and(|it| it.eq_ignore_ascii_case(b"poch"))
                || (bytes[at..].starts_with(b"of ") && is_count(bytes.get(at + 3)))
        }
    })
}

/// Whether a line shows bytes to people: after a place, most words are hexadecimal digits or single signs.
pub(super) fn is_dump(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let is_hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(place) = words.next().map(|word| word.trim_end_matches(':')) else {
        return false;
    };
    let is_shown = |word: &&str| match word.len() {
        // A byte as it is, as by `od -c`.
        1 => true,
        2..=4 => is_hex(word) || word.starts_with('\\'),
        _ => false,
    };
    let shown = words.take(DUMP_WORDS).filter(is_shown);
    place.len() >= DUMP_PLACE && is_hex(place) && shown.count() >= DUMP_WORDS / 2
}

/// Whether what follows a `%` leaves it one of a percent.
fn ends_percent(after: Option<&u8>) -> bool {
    after.is_none_or(|byte| {
        byte.is_ascii_whitespace() || b"]):,;|[.(".contains(byte) || *byte >= 0x80
    })
}

/// Whether a number has a second stroke behind it, as those of dates and paths have.
fn is_stroked<'a>(mut bytes: impl Iterator<Item = &'a u8>) -> bool {
    bytes.find(|byte| !byte.is_ascii_digit()) == Some(&b'/')
}

/// Reads a line.
pub(super) fn read(line: &str) -> Option<Found> {
    let tokens = tokens::split(line);
    let has_bar = has_bar(line);
    let epoch = epoch(&tokens);
    let steps = steps(&tokens, has_bar);
    let percent = percent(&tokens, has_bar);
    let (steps, percent, trust) = match (steps, percent) {
        // `45% (450/1000)`: each is evidence for the other.
        (Some((steps, _)), Some((percent, _))) if agree(steps, percent) => {
            (Some(steps), None, Trust::Plain)
        }
        (Some((steps, ours)), Some((_, theirs))) if ours >= theirs => (Some(steps), None, ours),
        (Some((steps, trust)), None) => (Some(steps), None, trust),
        (_, Some((percent, trust))) => (None, Some(percent), trust),
        (None, None) => (None, None, Trust::Doubtful),
    };
    (epoch.is_some() || steps.is_some() || percent.is_some()).then_some(Found {
        epoch,
        steps,
        percent,
        trust,
        has_bar,
    })
}

/// `name: value` and `name=value` of a line that is known to be one of progress.
pub(super) fn metrics(line: &str) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    let words = line
        .split([' ', '\t', ',', '|', '(', ')', '[', ']'])
        .filter(|it| !it.is_empty());
    let mut name = None;
    for word in words {
        let (label, value) = match (name.take(), word.split_once(['=', ':'])) {
            (Some(label), None) => (label, word),
            (_, Some((label, ""))) => {
                name = Some(label);
                continue;
            }
            (_, Some(pair)) => pair,
            (None, None) => continue,
        };
        let is_name = label.starts_with(|c: char| c.is_alphabetic())
            && !is_among(label, COUNTED)
            && !is_among(label, NO_METRICS);
        if let Some(value) = number::measured(value).filter(|_| is_name)
            && metrics.len() < MAX_LINE_METRICS
        {
            metrics.insert(label.to_owned(), value);
        }
    }
    metrics
}

/// The first `epoch 2/3` or `epoch 2`.
fn epoch(tokens: &[Token<'_>]) -> Option<(f64, Option<f64>)> {
    let at = tokens.iter().position(|token| is_epoch(token))?;
    let after = skip_signs(tokens, at + 1);
    if let Some((now, total, _)) = ratio_at(tokens, after) {
        return Some((now, Some(total)));
    }
    let Kind::Number(now) = tokens.get(after)?.kind else {
        return None;
    };
    // `Epoch 2 took 5 s` is still an epoch; `epoch 12/` or `epoch 2%` is something else.
    let ends = tokens.get(after + 1).is_none_or(|next| {
        next.is_apart || matches!(next.kind, Kind::Sign(':' | ',' | ']' | ')' | '.'))
    });
    ends.then_some((now, None))
}

/// The most trusted count of steps.
fn steps(tokens: &[Token<'_>], has_bar: bool) -> Option<((f64, f64), Trust)> {
    let mut best: Option<((f64, f64), Trust)> = None;
    for at in 0..tokens.len() {
        let Some((done, total, end)) = ratio_at(tokens, at) else {
            continue;
        };
        let trust = trust_of_count(tokens, at, end, has_bar);
        if let Some(trust) = trust
            && best.is_none_or(|(_, before)| trust > before)
        {
            best = Some(((done, total), trust));
        }
    }
    best
}

fn trust_of_count(tokens: &[Token<'_>], at: usize, end: usize, has_bar: bool) -> Option<Trust> {
    let before = before_signs(tokens, at);
    if before.is_some_and(is_epoch) {
        return None;
    }
    let is_first = at == 0;
    let is_last = end == tokens.len();
    let opens = at.checked_sub(1).map(|it| tokens[it]);
    let closes = tokens.get(end).map(|it| it.kind);
    let square = matches!(
        opens,
        Some(Token {
            kind: Kind::Sign('['),
            ..
        })
    ) && closes == Some(Kind::Sign(']'));
    let round = matches!(
        opens,
        Some(Token {
            kind: Kind::Sign('('),
            ..
        })
    ) && closes == Some(Kind::Sign(')'));
    let opens_apart = opens.is_some_and(|it| it.is_apart);
    let labelled = before.is_some_and(|it| is_word(it, COUNTED))
        || tokens
            .get(end)
            .is_some_and(|it| it.is_apart && is_word(it, COUNTED));
    let at_edge = at == 1 || end + 1 == tokens.len();
    if square && opens_apart || labelled || is_first && (is_last || has_bar) {
        return Some(Trust::Plain);
    }
    if tokens[at + 1].kind != Kind::Sign('/') {
        return None;
    }
    let after_percent = before.is_some_and(|it| it.kind == Kind::Sign('%'));
    let rounded = round && opens_apart && (at_edge || after_percent);
    (rounded || is_first || is_last).then_some(Trust::Doubtful)
}

/// `12/340` or `12 of 340` at a place: both numbers and where it ends.
fn ratio_at(tokens: &[Token<'_>], at: usize) -> Option<(f64, f64, usize)> {
    let [first, sign, second] = tokens.get(at..at + 3)? else {
        return None;
    };
    let (Kind::Number(done), Kind::Number(total)) = (first.kind, second.kind) else {
        return None;
    };
    let is_of = sign.kind == Kind::Word("of") && sign.is_apart && second.is_apart;
    let is_slash = sign.kind == Kind::Sign('/') && sign.is_apart == second.is_apart;
    let starts = first.is_apart
        || matches!(
            tokens[at - 1].kind,
            Kind::Sign('[' | '(' | ':' | '=' | '#' | '|')
        );
    let ends = match tokens.get(at + 3) {
        None => true,
        Some(next) if next.is_apart => next.kind != Kind::Sign('/'),
        Some(next) => {
            let after = tokens.get(at + 4);
            matches!(next.kind, Kind::Sign(']' | ')' | ':' | ',' | ';' | '|'))
                || (next.kind == Kind::Sign('.')
                    && after.is_none_or(|it| it.is_apart || it.kind == Kind::Sign('.')))
        }
    };
    let goes_on = at >= 1 && first.is_apart && tokens[at - 1].kind == Kind::Sign('/');
    if !(is_of || is_slash) || !starts || !ends || goes_on {
        return None;
    }
    let (done, total) = number::fits(done, total)?;
    Some((done, total, at + 3))
}

/// The most trusted percent.
fn percent(tokens: &[Token<'_>], has_bar: bool) -> Option<(f64, Trust)> {
    let mut best: Option<(f64, Trust)> = None;
    for at in 0..tokens.len() {
        if let Some((value, trust)) = percent_at(tokens, at, has_bar)
            && best.is_none_or(|(_, before)| trust >= before)
        {
            best = Some((value, trust));
        }
    }
    best
}

fn percent_at(tokens: &[Token<'_>], at: usize, has_bar: bool) -> Option<(f64, Trust)> {
    let [first, sign] = tokens.get(at..at + 2)? else {
        return None;
    };
    let Kind::Number(value) = first.kind else {
        return None;
    };
    let after = tokens.get(at + 2);
    let starts =
        first.is_apart || matches!(tokens[at - 1].kind, Kind::Sign('[' | '(' | ':' | '=' | '|'));
    let ends = after.is_none_or(|it| {
        it.is_apart
            || matches!(
                it.kind,
                Kind::Sign(']' | ')' | ':' | ',' | ';' | '|' | '[' | '.')
            )
    });
    if sign.kind != Kind::Sign('%') || !starts || !ends || value > 100.0 {
        return None;
    }
    let is_first = at == 0;
    let is_last = at + 2 == tokens.len();
    let opens = at.checked_sub(1).map(|it| tokens[it]);
    let square = matches!(
        opens,
        Some(Token {
            kind: Kind::Sign('['),
            is_apart: true
        })
    ) && matches!(
        after,
        Some(Token {
            kind: Kind::Sign(']'),
            ..
        })
    );
    let labelled = before_signs(tokens, at).is_some_and(|it| is_word(it, PROGRESS))
        || after.is_some_and(|it| is_word(it, PROGRESS));
    let doubtful = is_first
        || is_last
        || matches!(
            after,
            Some(Token {
                kind: Kind::Sign('('),
                ..
            })
        );
    if square || labelled || has_bar {
        return Some((value, Trust::Plain));
    }
    doubtful.then_some((value, Trust::Doubtful))
}

fn agree((done, total): (f64, f64), percent: f64) -> bool {
    (done / total * 100.0 - percent).abs() <= 1.0
}

/// The token before a place, without the signs that join a word and its number.
fn before_signs<'a, 'b>(tokens: &'b [Token<'a>], at: usize) -> Option<&'b Token<'a>> {
    tokens[..at]
        .iter()
        .rev()
        .find(|it| !matches!(it.kind, Kind::Sign('[' | '(' | ':' | '=' | '#')))
}

fn skip_signs(tokens: &[Token<'_>], at: usize) -> usize {
    at + tokens[at..]
        .iter()
        .take_while(|it| matches!(it.kind, Kind::Sign('[' | '(' | ':' | '=' | '#')))
        .count()
}

fn is_epoch(token: &Token<'_>) -> bool {
    is_word(token, "epoch epochs")
}

fn is_word(token: &Token<'_>, words: &str) -> bool {
    matches!(token.kind, Kind::Word(word) if is_among(word, words))
}

fn is_among(word: &str, words: &str) -> bool {
    words
        .split_ascii_whitespace()
        .any(|it| word.eq_ignore_ascii_case(it))
}

/// Whether a bar is drawn: the same sign many times over, or in brackets with room to grow.
fn has_bar(line: &str) -> bool {
    let mut length = 0;
    let mut before = ' ';
    for c in line.chars() {
        length = if c == before && matches!(c, '#' | '=' | '.' | '█' | '━' | '▓' | '■') {
            length + 1
        } else {
            1
        };
        if length >= BAR_SIGNS {
            return true;
        }
        before = c;
    }
    let inside = |(at, _)| {
        let inside: &str = &line[at + 1..];
        inside.split_once(']').is_some_and(|(bar, _)| {
            bar.chars().count() >= BAR_SIGNS
                && bar
                    .chars()
                    .all(|c| matches!(c, '#' | '=' | '-' | '.' | '>' | ' ' | '█' | '━' | '▓' | '■'))
        })
    };
    line.match_indices('[').any(inside)
}
