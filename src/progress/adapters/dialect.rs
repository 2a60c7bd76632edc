//! The dialect of patterns: `\d` is a digit from 0 to 9, `\s` a space or a tab, `\b` the edge of an ASCII word.
//!
//! The wide sense that these have otherwise (digits of every script) is of no use in output of programs, and takes from a
//! pattern what could be told of it beforehand: which bytes stand side by side.

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Span, Visitor,
};

/// The pattern in the usual dialect; as it is where it is none.
pub(super) fn usual(pattern: &str) -> String {
    let Ok(ast) = ast::parse::Parser::new().parse(pattern) else {
        return pattern.to_owned();
    };
    let mut spans = ast::visit(&ast, Spans(Vec::new())).unwrap_or_default();
    spans.sort_by_key(|(span, _)| span.start.offset);
    let mut text = String::new();
    let mut end = 0;
    for (span, instead) in spans {
        text.push_str(&pattern[end..span.start.offset]);
        text.push_str(instead);
        end = span.end.offset;
    }
    text + &pattern[end..]
}

/// What is to be put in place of what.
struct Spans(Vec<(Span, &'static str)>);

impl Spans {
    fn put(&mut self, span: &Span, instead: &'static str) {
        self.0.push((*span, instead));
    }
}

impl Visitor for Spans {
    type Output = Vec<(Span, &'static str)>;
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        if let Ast::ClassPerl(class) = ast {
            match plain(class) {
                Some(ClassPerlKind::Digit) => self.put(&class.span, "[0-9]"),
                Some(ClassPerlKind::Space) => self.put(&class.span, r"[ \t]"),
                Some(ClassPerlKind::Word) | None => {}
            }
        }
        if let Ast::Assertion(it) = ast
            && it.kind == AssertionKind::WordBoundary
        {
            self.put(&it.span, r"(?-u:\b)");
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        if let ClassSetItem::Perl(class) = item {
            match plain(class) {
                Some(ClassPerlKind::Digit) => self.put(&class.span, "0-9"),
                Some(ClassPerlKind::Space) => self.put(&class.span, r" \t"),
                Some(ClassPerlKind::Word) | None => {}
            }
        }
        Ok(())
    }
}

fn plain(class: &ClassPerl) -> Option<&ClassPerlKind> {
    (!class.negated).then_some(&class.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_narrow() {
        for (pattern, expected) in [
            (r"\d+%", "[0-9]+%"),
            (r"[\d.,]+\s\w", r"[0-9.,]+[ \t]\w"),
            (r"[^\s\d]\S\D", r"[^ \t0-9]\S\D"),
            (r"\bé\d", r"(?-u:\b)é[0-9]"),
            (r"\\d [[:alpha:]\d]", r"\\d [[:alpha:]0-9]"),
            (r"(?<n>\d)(?i:\d|x)", "(?<n>[0-9])(?i:[0-9]|x)"),
            ("(", "("),
        ] {
            assert_eq!(usual(pattern), expected);
            assert!(
                pattern == "(" || regex_syntax::parse(expected).is_ok(),
                "{expected}"
            );
        }
    }
}
