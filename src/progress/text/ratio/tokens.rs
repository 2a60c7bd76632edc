//! A line of text as numbers, words and signs.

use crate::progress::number;

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// `12`, `0.5`, `1,234`
    Number(f64),
    /// Letters, and what is glued to them: `epoch`, `v2`, `0x1f`.
    Word(&'a str),
    /// Any other character.
    Sign(char),
}

/// A piece and whether white space stands before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    pub is_apart: bool,
}

/// Takes a line apart.
pub(super) fn split(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        let text = rest.trim_start();
        let is_apart = tokens.is_empty() || text.len() < rest.len();
        let Some(first) = text.chars().next() else {
            return tokens;
        };
        let length = if first.is_alphanumeric() || first == '_' {
            word_length(text)
        } else {
            first.len_utf8()
        };
        let (piece, after) = text.split_at(length);
        let kind = match (number(piece), first) {
            (Some(value), _) => Kind::Number(value),
            (None, c) if c.is_alphanumeric() || c == '_' => Kind::Word(piece),
            (None, c) => Kind::Sign(c),
        };
        tokens.push(Token { kind, is_apart });
        rest = after;
    }
}

/// How long the word or number is that `text` begins with; a point or comma between digits belongs to it.
fn word_length(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let joins = matches!(c, '.' | ',')
            && before.is_ascii_digit()
            && chars.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        if !c.is_alphanumeric() && c != '_' && !joins {
            return at;
        }
        before = c;
    }
    text.len()
}

/// `12`, `0.5` or `1,234`; a comma stands where it sets thousands apart, and only there.
fn number(piece: &str) -> Option<f64> {
    let mut groups = piece.split(',');
    let first = groups.next()?;
    if first.len() == piece.len() {
        return number::plain(piece);
    }
    let is_grouped = first.len() <= 3 && groups.all(|group| group.len() == 3);
    let digits: String = piece.chars().filter(|&c| c != ',').collect();
    number::plain(&digits).filter(|_| is_grouped)
}
