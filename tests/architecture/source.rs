//! A Rust file as tokens and paths: enough of a reader to see imports through groups, comments and literals.

/// Words after which a leading `::` starts a path of its own.
const KEYWORDS: &[&str] = &[
    "as", "dyn", "else", "for", "if", "impl", "in", "let", "match", "mut", "ref", "return", "use",
];

/// One Rust file, split into what ships and what only tests.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) first_line: String,
    pub(crate) production: Vec<Token>,
    pub(crate) tests: Vec<Token>,
}

impl Source {
    /// `name` is relative to the package, such as `src/api/jobs.rs`.
    pub(crate) fn new(name: &str, text: &str) -> Source {
        let mut source = Source {
            name: name.to_owned(),
            first_line: text.lines().next().unwrap_or_default().to_owned(),
            production: Vec::new(),
            tests: Vec::new(),
        };
        let tokens = tokens(text);
        if source.is_test_file() {
            source.tests = tokens;
        } else {
            (source.production, source.tests) = split_tests(tokens);
        }
        source
    }

    /// Files under `tests/`, and `tests.rs` or `tests/` beside the module they test.
    pub(crate) fn is_test_file(&self) -> bool {
        self.name.split(['/', '.']).any(|part| part == "tests")
    }

    /// `api` for `src/api/jobs.rs`, `bin/stoke` for `src/bin/stoke.rs` and what is in a directory of that name, nothing for
    /// the crate root and tests.
    pub(crate) fn layer(&self) -> Option<&str> {
        let inside = self.name.strip_prefix("src/")?.strip_suffix(".rs")?;
        if inside == "lib" {
            return None;
        }
        if let Some(program) = inside.strip_prefix("bin/") {
            let name = program.split('/').next()?;
            return inside.get(.."bin/".len() + name.len());
        }
        inside.split('/').next()
    }

    /// How many `super` lead from the file's own module to the crate root.
    pub(crate) fn module_depth(&self) -> usize {
        let parts = self.name.split('/').count() - 1;
        if self.name.ends_with("/mod.rs") {
            parts - 1
        } else {
            parts
        }
    }

    pub(crate) fn at(&self, line: usize, message: impl std::fmt::Display) -> String {
        format!("{}:{line}: {message}", self.name)
    }
}

/// A word, a `::`, one other character, or a whole literal (shown as `"`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) last_line: usize,
    pub(crate) text: String,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut scan = Scan {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
    };
    let mut found = Vec::new();
    while let Some(here) = scan.peek(0) {
        let line = scan.line;
        let text = if here == '/' && scan.peek(1) == Some('/') {
            scan.skip_while(|c| c != '\n');
            continue;
        } else if here == '/' && scan.peek(1) == Some('*') {
            scan.block_comment();
            continue;
        } else if here.is_whitespace() {
            scan.bump();
            continue;
        } else if let Some(hashes) = scan.raw_string_hashes() {
            scan.raw_string(hashes);
            "\"".to_owned()
        } else if here == '"' {
            scan.quoted('"');
            "\"".to_owned()
        } else if here == '\'' {
            let is_char = scan.peek(1) == Some('\\') || scan.peek(2) == Some('\'');
            if !is_char {
                scan.bump();
                continue;
            }
            scan.quoted('\'');
            "\"".to_owned()
        } else if is_word(here) {
            scan.word()
        } else if here == ':' && scan.peek(1) == Some(':') {
            scan.bump();
            scan.bump();
            "::".to_owned()
        } else {
            scan.bump();
            here.to_string()
        };
        found.push(Token {
            line,
            last_line: scan.line,
            text,
        });
    }
    found
}

struct Scan {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Scan {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.bump();
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        self.skip_while(is_word);
        self.chars[start..self.at].iter().collect()
    }

    /// Block comments nest in Rust.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(here) = self.peek(0) {
            match (here, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.bump();
                    continue;
                }
            }
            self.bump();
            self.bump();
            if depth == 0 {
                return;
            }
        }
    }

    fn quoted(&mut self, end: char) {
        self.bump();
        while let Some(here) = self.peek(0) {
            self.bump();
            if here == '\\' {
                self.bump();
            } else if here == end {
                return;
            }
        }
    }

    /// The number of `#` when a raw string (`r"`, `br#"`, …) starts here.
    fn raw_string_hashes(&self) -> Option<usize> {
        let start = match (self.peek(0)?, self.peek(1)) {
            ('r', _) => 1,
            ('b' | 'c', Some('r')) => 2,
            _ => return None,
        };
        let hashes = (start..)
            .take_while(|ahead| self.peek(*ahead) == Some('#'))
            .count();
        (self.peek(start + hashes) == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self, hashes: usize) {
        self.skip_while(|c| c != '"');
        self.bump();
        while let Some(here) = self.peek(0) {
            self.bump();
            if here == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                return;
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Parts `#[cfg(test)] mod … { … }` blocks from the rest.
fn split_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<Token>) {
    let (mut production, mut tests) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match test_block_end(&tokens, at) {
            Some(end) => {
                tests.extend_from_slice(&tokens[at..end]);
                at = end;
            }
            None => {
                production.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    (production, tests)
}

/// Where the test module that starts at `at` ends, if one starts there.
fn test_block_end(tokens: &[Token], at: usize) -> Option<usize> {
    let text = |index: usize| tokens.get(index).map(|token| token.text.as_str());
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    if !(0..marker.len()).all(|ahead| text(at + ahead) == Some(marker[ahead])) {
        return None;
    }
    let mut next = at + marker.len();
    while text(next) == Some("#") {
        next = block_end(tokens, next + 1, "[", "]")?;
    }
    (text(next) == Some("mod") && text(next + 2) == Some("{"))
        .then(|| block_end(tokens, next + 2, "{", "}"))?
}

fn block_end(tokens: &[Token], open_at: usize, open: &str, close: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open_at) {
        if token.text == open {
            depth += 1;
        } else if token.text == close {
            depth -= 1;
            if depth == 0 {
                return Some(index + 1);
            }
        }
    }
    None
}

/// One path as written, groups taken apart: `std::{fs, io}` is two of them. A lone word is a path of one part.
pub(crate) struct NamedPath {
    pub(crate) line: usize,
    pub(crate) parts: Vec<String>,
    pub(crate) called: bool,
}

pub(crate) fn paths(tokens: &[Token]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text.starts_with(is_word) {
            at = read_path(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads the path that starts at `at` behind `before`; gives back where reading goes on.
fn read_path(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    found: &mut Vec<NamedPath>,
) -> usize {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let line = tokens[at].line;
    let mut parts = before.to_vec();
    loop {
        if text(at).starts_with(is_word) || text(at) == "*" {
            parts.push(text(at).to_owned());
            at += 1;
        } else if text(at) == "{" {
            at += 1;
            while at < tokens.len() && text(at) != "}" {
                at = if text(at).starts_with(is_word) || text(at) == "*" {
                    read_path(tokens, at, &parts, found)
                } else {
                    at + 1
                };
            }
            return at + 1;
        } else {
            break;
        }
        if text(at) != "::" || KEYWORDS.contains(&text(at - 1)) {
            break;
        }
        at += 1;
    }
    let called = text(at) == "(";
    if parts.len() > 1 && parts.last().is_some_and(|last| last == "self") {
        parts.pop();
    }
    found.push(NamedPath {
        line,
        parts,
        called,
    });
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_comments_and_lifetimes_are_told_apart() {
        let text = "fn f<'a>(x: &'a str) { '\"'; '\\''; b\"{\\\"\"; r##\"}\"#\"##; /* /* { */ { */ r#type } // }";
        let words: Vec<String> = tokens(text)
            .into_iter()
            .map(|token| token.text)
            .filter(|text| text.len() > 1 || "{}\"".contains(text))
            .collect();
        let expected = ["fn", "str", "{", "\"", "\"", "\"", "\"", "type", "}"];
        assert_eq!(words, expected);
    }
}
