//! Adapters as data: how to read the output of programs that know nothing of stoked.
//!
//! An adapter is an entry of a TOML file: patterns of lines, and what their named groups mean. The shipped
//! ones are in the program ([`shipped`]), others are put beside or over them ([`load`]). All together
//! are a [`Catalogue`], made once and shared by every stream that is read ([`super::text`]).

mod definition;
mod dialect;
mod hints;
pub mod load;
mod parse;
pub(in crate::progress) mod said;
mod shipped;
pub(in crate::progress) mod sieve;
mod value;
mod window;

pub use definition::{Adapter, Origin};
pub use hints::Hints;
pub use parse::Problem;

use std::sync::{Arc, LazyLock};

use definition::Body;
pub(in crate::progress) use definition::{Builtin, LineRule, On};

use parse::Entry;
use sieve::{Found, Sieve};
use window::Need;

/// What a line must have to be guessed from.
const RATIO_SIGNS: &str = "[0-9 ]/[0-9 ]|[0-9 ]%|(?i:poch)|of [0-9 ]";
/// What a line of JSON must have to be about progress.
const JSON_SIGNS: &str = r#""progress"|"percent"|"step"|"current_step"|"total_steps"|"epoch"|"current_epoch"|"total_epochs"|"eta_seconds"|"loss"|"eval_loss"|"samples_per_second"|"gpu_memory_allocated_gb"|"gpu_utilization_percent"|"status":"|"status": ""#;

/// All adapters there are, ready to read.
#[derive(Debug)]
pub struct Catalogue {
    adapters: Vec<Adapter>,
    rules: Vec<Rule>,
    sieve: Sieve,
    /// The rules whose rarest need is the one of this number.
    by_need: Vec<Vec<u16>>,
    /// Rules that ask for nothing: every line is tried.
    always: Vec<u16>,
}

/// One line of one adapter, or a reader that is code.
#[derive(Debug)]
struct Rule {
    adapter: u16,
    /// None for a reader that is code.
    line: Option<u16>,
    /// It is tried only for jobs that a hint fits.
    hinted_only: bool,
    /// Numbers of what a line must have, the rarest first.
    needs: Vec<u16>,
}

impl Rule {
    /// Whether a line which has this has all that the rule asks for.
    fn is_met(&self, found: &Found) -> bool {
        self.needs.iter().all(|need| found.has(*need))
    }
}

/// A rule that may read a line; sorted, the first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::progress) struct Candidate {
    rank: u16,
    line: u16,
    rule: u16,
}

/// What a candidate reads by.
#[derive(Clone, Copy, Debug)]
pub(in crate::progress) enum Way<'a> {
    Line(&'a LineRule),
    Builtin(Builtin),
}

/// In which order a feed tries the rules: the place of each, by its number; none for those not tried.
pub(in crate::progress) type Ranks = Vec<Option<u16>>;

impl Catalogue {
    /// The shipped adapters, and nothing else.
    #[must_use]
    pub fn shipped() -> Arc<Self> {
        static SHIPPED: LazyLock<Arc<Catalogue>> =
            LazyLock::new(|| Arc::new(Catalogue::of(shipped::entries())));
        Arc::clone(&SHIPPED)
    }

    /// Puts entries together; a later adapter takes the place of an earlier one of its name.
    fn of(entries: Vec<Entry>) -> Self {
        let mut adapters: Vec<Adapter> = Vec::new();
        for entry in entries {
            match entry {
                Entry::Disabled(name) => adapters.retain(|it| it.name != name),
                Entry::Adapter(new) => match adapters.iter_mut().find(|it| it.name == new.name) {
                    Some(old) => *old = *new,
                    None => adapters.push(*new),
                },
            }
        }
        // Whoever knows a line is asked before those who guess.
        adapters.sort_by_key(|it| match it.body {
            Body::Lines(_) => 0,
            Body::Builtin(Builtin::Json) => 1,
            Body::Builtin(Builtin::Ratio) => 2,
        });
        adapters.truncate(usize::from(u16::MAX));
        Self::indexed(adapters)
    }

    fn indexed(adapters: Vec<Adapter>) -> Self {
        let mut index = Index::default();
        for (number, adapter) in (0..).zip(&adapters) {
            match &adapter.body {
                Body::Lines(lines) => {
                    for (line, rule) in (0..).zip(lines) {
                        index.add(number, Some((line, rule)), rule.needs.clone());
                    }
                }
                Body::Builtin(builtin) => index.add(number, None, signs(*builtin)),
            }
        }
        index.thin_out();
        let mut by_need = vec![Vec::new(); index.needs.len()];
        let mut always = Vec::new();
        for (number, rule) in (0..).zip(&index.rules) {
            match rule.needs.first() {
                Some(need) => by_need[usize::from(*need)].push(number),
                None => always.push(number),
            }
        }
        Self {
            sieve: Sieve::new(&index.needs),
            rules: index.rules,
            adapters,
            by_need,
            always,
        }
    }

    /// The adapters, in the order in which they are asked.
    #[must_use]
    pub fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// The adapter of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Adapter> {
        self.adapters.iter().find(|it| it.name == name)
    }

    /// In which order the rules are tried for a job: those of adapters that a hint fits first, guesses last.
    pub(in crate::progress) fn ranks(&self, hints: &Hints) -> Ranks {
        let adapters = self.adapters.iter();
        let fits: Vec<bool> = adapters.map(|adapter| hints.fit(adapter)).collect();
        let guesses =
            |number: usize| matches!(self.adapters[number].body, Body::Builtin(Builtin::Ratio));
        let mut order: Vec<usize> = (0..self.adapters.len()).collect();
        order.sort_by_key(|number| (guesses(*number), !fits[*number], *number));
        let mut ranks = vec![0; self.adapters.len()];
        (0..)
            .zip(order)
            .for_each(|(rank, number)| ranks[number] = rank);
        let rank = |rule: &Rule| {
            let number = usize::from(rule.adapter);
            let is_asked = fits[number] || !(self.adapters[number].hinted_only || rule.hinted_only);
            is_asked.then_some(ranks[number])
        };
        self.rules.iter().map(rank).collect()
    }

    /// The same where no adapter is asked but the one of this name.
    pub(in crate::progress) fn ranks_of(&self, name: &str) -> Ranks {
        let is_meant = |rule: &Rule| self.adapters[usize::from(rule.adapter)].name == name;
        let rules = self.rules.iter();
        rules.map(|rule| is_meant(rule).then_some(0)).collect()
    }

    /// How many bytes of whole lines no rule may read.
    pub(in crate::progress) fn quiet(
        &self,
        bytes: &[u8],
        found: &mut Found,
        ranks: &Ranks,
    ) -> usize {
        if self.always.is_empty() {
            self.sieve
                .quiet(bytes, found, |found| self.wants(found, ranks))
        } else {
            0
        }
    }

    /// Notes what a line has, from the place `from` on.
    pub(in crate::progress) fn scan(&self, line: &[u8], from: usize, found: &mut Found) {
        self.sieve.scan(line, from, found);
    }

    /// Whether any rule may read a line which has this.
    pub(in crate::progress) fn wants(&self, found: &Found, ranks: &Ranks) -> bool {
        !self.always.is_empty()
            || found.needs().iter().any(|need| {
                let mut rules = self.by_need[usize::from(*need)].iter();
                rules.any(|it| {
                    let number = usize::from(*it);
                    ranks[number].is_some() && self.rules[number].is_met(found)
                })
            })
    }

    /// The rules that may read a line which has this, in the order to try them.
    pub(in crate::progress) fn candidates(
        &self,
        found: &Found,
        ranks: &Ranks,
        into: &mut Vec<Candidate>,
    ) {
        into.clear();
        let by_need = found.needs().iter();
        let sure = by_need.flat_map(|need| &self.by_need[usize::from(*need)]);
        for &number in self.always.iter().chain(sure) {
            let rule = &self.rules[usize::from(number)];
            if rule.is_met(found)
                && let Some(rank) = ranks[usize::from(number)]
            {
                into.push(Candidate {
                    rank,
                    line: rule.line.unwrap_or(0),
                    rule: number,
                });
            }
        }
        into.sort_unstable();
    }

    /// The number of a candidate's adapter, and how it reads.
    pub(in crate::progress) fn way(&self, candidate: Candidate) -> Option<(usize, Way<'_>)> {
        let rule = &self.rules[usize::from(candidate.rule)];
        let number = usize::from(rule.adapter);
        let way = match (&self.adapters[number].body, rule.line) {
            (Body::Lines(lines), Some(line)) => Way::Line(lines.get(usize::from(line))?),
            (Body::Builtin(builtin), _) => Way::Builtin(*builtin),
            (Body::Lines(_), None) => return None,
        };
        Some((number, way))
    }
}

/// What is collected to make a catalogue.
#[derive(Default)]
struct Index {
    rules: Vec<Rule>,
    needs: Vec<Need>,
}

impl Index {
    fn add(&mut self, adapter: u16, line: Option<(u16, &LineRule)>, needs: Vec<Need>) {
        // The numbers are small; what is beyond them is no catalogue that anybody wrote.
        if self.rules.len() >= usize::from(u16::MAX) / 8 {
            return;
        }
        let needs = needs.into_iter().map(|need| self.number(need)).collect();
        self.rules.push(Rule {
            adapter,
            line: line.map(|(line, _)| line),
            hinted_only: line.is_some_and(|(_, rule)| rule.hinted_only),
            needs,
        });
    }

    /// Leaves out what need not be looked for: the rarest thing does, unless it is common or several rules share it.
    fn thin_out(&mut self) {
        let mut shared = vec![0_u32; self.needs.len()];
        for rule in &self.rules {
            if let Some(need) = rule.needs.first() {
                shared[usize::from(*need)] += 1;
            }
        }
        let mut is_used = vec![false; self.needs.len()];
        for rule in &mut self.rules {
            if let Some(need) = rule.needs.first().map(|need| usize::from(*need))
                && shared[need] == 1
                && !window::is_common(&self.needs[need])
            {
                rule.needs.truncate(1);
            }
            let used = rule.needs.iter();
            used.for_each(|need| is_used[usize::from(*need)] = true);
        }
        for (need, is_used) in self.needs.iter_mut().zip(is_used) {
            if !is_used {
                need.clear();
            }
        }
    }

    fn number(&mut self, need: Need) -> u16 {
        let known = self.needs.iter().position(|it| *it == need);
        let place = known.unwrap_or(self.needs.len());
        if known.is_none() {
            self.needs.push(need);
        }
        u16::try_from(place).unwrap_or(u16::MAX)
    }
}

/// What a line must have for a reader that is code.
fn signs(builtin: Builtin) -> Vec<Need> {
    let pattern = match builtin {
        Builtin::Json => JSON_SIGNS,
        Builtin::Ratio => RATIO_SIGNS,
    };
    regex_syntax::parse(pattern)
        .map(|hir| window::needs(&hir))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
