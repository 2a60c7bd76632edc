//! Epochs as people print them: `Epoch 2/3`, `epoch [2/3]`, `Epoch: 2`.

use crate::progress::number;

/// An epoch somebody named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Epoch {
    /// Which.
    pub now: f64,
    /// Of how many, where that was said.
    pub total: Option<f64>,
}

/// Reads a text that begins with an epoch; also says what comes after it.
pub(super) fn leading(text: &str) -> Option<(Epoch, &str)> {
    let text = text.trim_start();
    let word = text
        .get(..5)
        .filter(|it| it.eq_ignore_ascii_case("epoch"))?;
    let text = text[word.len()..].trim_start_matches([' ', ':', '=', '#', '[', '(']);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '/' && c != '.')
        .unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let epoch = match numbers.split_once('/') {
        Some(_) => number::ratio(numbers).map(|(now, total)| Epoch {
            now,
            total: Some(total),
        }),
        None => number::plain(numbers.trim_end_matches('.')).map(|now| Epoch { now, total: None }),
    }?;
    Some((epoch, rest.trim_start_matches([']', ')'])))
}

/// Whether a bar of this description counts epochs.
pub(super) fn counts_epochs(description: &str) -> bool {
    let mut words = description.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word.eq_ignore_ascii_case("epoch") || word.eq_ignore_ascii_case("epochs"))
}
