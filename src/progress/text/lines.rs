//! Cuts a stream of output into lines without its terminal escapes.
//!
//! A line ends where a terminal would leave it: at a newline, at a carriage return (a bar is drawn
//! anew) or where the cursor is moved elsewhere. What a program says to the terminal itself (`ESC ] … ST`) is
//! a line of its own sort. Chunks may split anything. Memory is bounded by [`MAX_LINE_BYTES`].

/// How much of a line is looked at; the rest of it is skipped.
pub const MAX_LINE_BYTES: usize = 8 << 10;

/// Longest string for the terminal that is looked at: titles and pictures are of no interest.
const MAX_STRING_BYTES: usize = 256;

const ESCAPE: u8 = 0x1b;

/// How much output after a byte that no text has is not taken for text either.
const NOISE_BYTES: u64 = 4 << 10;

/// So many bytes are looked at together.
const BLOCK_BYTES: usize = 32;

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has not ended yet: more may come.
    Open,
    /// At a newline.
    Newline,
    /// At a carriage return: it will be drawn over.
    Return,
    /// The cursor went up, as after a bar that stands below another one.
    Up,
    /// The cursor went elsewhere.
    Moved,
    /// It is no text, but was said to the terminal.
    Terminal,
}

/// Where in an escape sequence the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte (`ESC ( B`).
    Intermediate,
    /// In a control sequence (`ESC [`).
    Control,
    /// In a string for the terminal (`ESC ]` and its like).
    String,
    /// After ESC in such a string.
    StringEscape,
}

/// Whoever the lines are for.
pub(super) trait Reader {
    /// How many bytes of whole lines at the beginning of a text need not be shown.
    fn quiet(&mut self, bytes: &[u8]) -> usize;

    /// A line that has ended, never an empty one; `is_clean` where nothing near it is binary.
    fn see(&mut self, line: &[u8], end: End, is_clean: bool);
}

/// The cutter.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: State,
    open: Vec<u8>,
    /// How many lines have ended that were open once.
    ended: u64,
    /// The string for the terminal, one byte more than allowed where it is too long.
    string: Vec<u8>,
    /// How many bytes there were.
    passed: u64,
    /// Where the last of them stood that no text has.
    noise_at: Option<u64>,
}

impl Lines {
    /// Takes the next bytes and shows every line that ends in them.
    pub(super) fn feed(&mut self, bytes: &[u8], reader: &mut impl Reader) {
        let mut rest = bytes;
        while let Some((&first, after)) = rest.split_first() {
            let left = rest.len();
            if self.state == State::Text {
                if self.open.is_empty() {
                    let quiet = reader.quiet(rest);
                    self.passed += quiet as u64;
                    rest = &rest[quiet..];
                }
                let left = rest.len();
                rest = self.text(rest, reader);
                self.passed += (left - rest.len()) as u64;
                continue;
            }
            if self.state == State::String && first >= 0x20 {
                rest = self.string(rest);
            } else if self.escape(first, reader) {
                rest = after;
            }
            self.passed += (left - rest.len()) as u64;
        }
    }

    /// The line that has not ended yet, and a number by which to tell it from others.
    pub(super) fn open(&self) -> (&[u8], u64) {
        (&self.open, self.ended)
    }

    /// Takes plain text up to the next byte that may end it, and that; returns what comes after.
    fn text<'a>(&mut self, bytes: &'a [u8], reader: &mut impl Reader) -> &'a [u8] {
        let length = plain(bytes);
        let (run, rest) = bytes.split_at(length);
        let Some((&control, rest)) = rest.split_first() else {
            self.keep(run);
            return rest;
        };
        let at = self.passed + run.len() as u64;
        let end = match control {
            b'\n' | 0x0b | 0x0c => Some(End::Newline),
            // Some programs go back by as many backspaces as their bar is wide.
            b'\r' | 0x08 => Some(End::Return),
            _ => None,
        };
        match end {
            // Most lines lie whole in one chunk and need no copy.
            Some(end) if self.open.is_empty() => {
                let line = &run[..run.len().min(MAX_LINE_BYTES)];
                if !line.is_empty() {
                    reader.see(line, end, self.is_clean(at));
                }
            }
            Some(end) => {
                self.keep(run);
                self.end(end, at, reader);
            }
            None => self.keep(run),
        }
        match control {
            ESCAPE => {
                let coloured = colour(rest);
                if coloured.is_none() {
                    self.state = State::Escape;
                }
                coloured.unwrap_or(rest)
            }
            // Empty lines are nobody's, and what stands for nothing does so many times over.
            _ if end.is_some() => skip(rest, |byte| matches!(byte, 0x08 | 0x0b..=0x0d)),
            _ if is_noise(control) => {
                let after = skip(rest, is_noise);
                self.noise_at = Some(at + (rest.len() - after.len()) as u64);
                after
            }
            _ => rest,
        }
    }

    /// Whether what ends at this place is no part of binary output.
    fn is_clean(&self, at: u64) -> bool {
        self.noise_at
            .is_none_or(|noise| at.saturating_sub(noise) > NOISE_BYTES)
    }

    fn keep(&mut self, run: &[u8]) {
        let room = MAX_LINE_BYTES.saturating_sub(self.open.len());
        self.open.extend_from_slice(&run[..run.len().min(room)]);
    }

    fn end(&mut self, end: End, at: u64, reader: &mut impl Reader) {
        if !self.open.is_empty() {
            reader.see(&self.open, end, self.is_clean(at));
            self.open.clear();
            self.ended += 1;
        }
    }

    /// Takes what is plain in a string for the terminal; returns what comes after.
    fn string<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|&byte| byte < 0x20);
        let (run, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        let room = (MAX_STRING_BYTES + 1).saturating_sub(self.string.len());
        self.string.extend_from_slice(&run[..run.len().min(room)]);
        rest
    }

    fn end_string(&mut self, reader: &mut impl Reader) {
        if (1..=MAX_STRING_BYTES).contains(&self.string.len()) {
            reader.see(&self.string, End::Terminal, self.is_clean(self.passed));
        }
        self.string.clear();
        self.state = State::Text;
    }

    /// Takes one byte of an escape sequence; false if it belongs to the text after it.
    fn escape(&mut self, byte: u8, reader: &mut impl Reader) -> bool {
        match (self.state, byte) {
            (State::String, ESCAPE) => self.state = State::StringEscape,
            (State::String, 0x07) | (State::StringEscape, b'\\') => self.end_string(reader),
            (State::String, 0x18 | 0x1a) => self.state = State::Text,
            // A program killed in the middle of a string must not hide all that comes after.
            (State::String, b'\n' | b'\r') => return self.leave_escape(),
            (State::String, _) => {}
            (_, ESCAPE) => self.state = State::Escape,
            (_, 0x00..=0x1f | 0x7f..) => return self.leave_escape(),
            (State::Control, 0x20..=0x3f) => {}
            (State::Control, final_byte) => {
                self.state = State::Text;
                match final_byte {
                    b'A' => self.end(End::Up, self.passed, reader),
                    b'B' | b'E'..=b'H' | b'd' | b'f' => self.end(End::Moved, self.passed, reader),
                    _ => {}
                }
            }
            (State::Escape | State::StringEscape, b'[') => self.state = State::Control,
            (State::Escape | State::StringEscape, b']' | b'P' | b'X' | b'^' | b'_') => {
                self.string.clear();
                // Only what follows `ESC ]` is for us; the length says that the others are not.
                let skipped = if byte == b']' {
                    0
                } else {
                    MAX_STRING_BYTES + 1
                };
                self.string.resize(skipped, 0);
                self.state = State::String;
            }
            (State::Escape | State::StringEscape | State::Intermediate, 0x20..=0x2f) => {
                self.state = State::Intermediate;
            }
            // Restored cursor, next line, index, reverse index.
            (State::Escape | State::StringEscape, b'8' | b'D' | b'E' | b'M') => {
                self.state = State::Text;
                self.end(End::Moved, self.passed, reader);
            }
            (
                State::Text | State::Escape | State::StringEscape | State::Intermediate,
                0x30..=0x7e,
            ) => self.state = State::Text,
            (State::Text, 0x20..=0x2f) => return self.leave_escape(),
        }
        true
    }

    fn leave_escape(&mut self) -> bool {
        self.state = State::Text;
        false
    }
}

/// How many bytes at the beginning steer no terminal. Blocks are looked at as a whole, and no further than to the first
/// that has what ends it: where every other byte steers, a look at all of the rest would be one for each of them.
fn plain(bytes: &[u8]) -> usize {
    let mut blocks = bytes.chunks(BLOCK_BYTES);
    let at = blocks.position(|block| block.iter().fold(false, |any, &byte| any | steers(byte)));
    let start = at.map_or(bytes.len(), |at| at * BLOCK_BYTES);
    let block = bytes[start..].iter();
    start + block.take_while(|&&byte| !steers(byte)).count()
}

/// What comes after the bytes of this sort.
fn skip(bytes: &[u8], is_skipped: impl Fn(u8) -> bool) -> &[u8] {
    let end = bytes.iter().position(|&byte| !is_skipped(byte));
    &bytes[end.unwrap_or(bytes.len())..]
}

/// What comes after a whole sequence that only sets colours, less its ESC: there are many, and they move nothing.
fn colour(bytes: &[u8]) -> Option<&[u8]> {
    let after = skip(bytes.strip_prefix(b"[")?, |byte| {
        matches!(byte, 0x30..=0x3b)
    });
    after.strip_prefix(b"m")
}

/// Whether a byte is in no text, neither for people nor for terminals, which are rung and switched between sets of signs.
fn is_noise(byte: u8) -> bool {
    matches!(byte, 0x00..=0x06 | 0x10..=0x1a | 0x1c..=0x1f)
}

fn steers(byte: u8) -> bool {
    byte < 0x20 && byte != b'\t'
}

#[cfg(test)]
mod tests;
