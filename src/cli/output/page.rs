//! Pages: one thing with all that is known of it, a line for each part, with its name on the left.

use crate::cli::output::style::{Look, Tone};
use crate::cli::output::text::{harmless, wrapped};

/// Width of the names on the left.
const LABEL_WIDTH: usize = 11;

/// A page as it grows.
pub(super) struct Page<'a> {
    pub(super) look: &'a Look,
    pub(super) out: String,
}

impl<'a> Page<'a> {
    pub(super) fn new(look: &'a Look) -> Self {
        Self {
            look,
            out: String::new(),
        }
    }

    /// Columns on the right of the names.
    pub(super) fn room(&self) -> usize {
        usize::from(self.look.width).saturating_sub(LABEL_WIDTH + 1)
    }

    /// Parts two blanks apart, on as many lines as they need; nothing where there are none.
    pub(super) fn parts(&mut self, label: &str, parts: &[String]) {
        let mut label = label;
        for line in wrapped(parts, self.room()) {
            self.field(std::mem::take(&mut label), &line);
        }
    }

    /// A text that somebody else wrote, where there is one.
    pub(super) fn some(&mut self, label: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.field(label, &harmless(text));
        }
    }

    /// A text that is harmless already.
    pub(super) fn field(&mut self, label: &str, text: &str) {
        let label = self
            .look
            .paint(Tone::Faint, &format!("{label:LABEL_WIDTH$}"));
        self.line(&format!("{label} {text}"));
    }

    pub(super) fn line(&mut self, text: &str) {
        self.out += text;
        self.out.push('\n');
    }
}
