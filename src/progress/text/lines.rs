//! Cuts a stream of output into lines without its terminal escapes.
//!
//! A line ends where a terminal would leave it: at a newline, at a carriage return (a bar is drawn
//! anew) or where the cursor is moved elsewhere. Chunks may split anything. Memory is bounded by [`MAX_LINE_BYTES`].

/// How much of a line is looked at; the rest of it is skipped.
pub const MAX_LINE_BYTES: usize = 8 << 10;

const ESCAPE: u8 = 0x1b;

/// What kinds of bytes a line has, so that most lines are rejected by one scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// A digit.
    pub const DIGIT: Self = Self(1);
    /// `%`
    pub const PERCENT: Self = Self(1 << 1);
    /// `/`
    pub const SLASH: Self = Self(1 << 2);
    /// `[`
    pub const BRACKET: Self = Self(1 << 3);
    /// `{`
    pub const BRACE: Self = Self(1 << 4);
    /// Internal: a byte that ends a run of plain text.
    const CONTROL: u8 = 1 << 7;

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        class[byte] = Marks::CONTROL;
        byte += 1;
    }
    class[b'\t' as usize] = 0;
    let mut digit = b'0';
    while digit <= b'9' {
        class[digit as usize] = Marks::DIGIT.0;
        digit += 1;
    }
    class[b'%' as usize] = Marks::PERCENT.0;
    class[b'/' as usize] = Marks::SLASH.0;
    class[b'[' as usize] = Marks::BRACKET.0;
    class[b'{' as usize] = Marks::BRACE.0;
    class
}

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

/// The cutter.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: State,
    open: Vec<u8>,
    marks: Marks,
}

impl Lines {
    /// Takes the next bytes and shows every line that ends in them.
    pub(super) fn feed(&mut self, bytes: &[u8], mut see: impl FnMut(&[u8], Marks, End)) {
        let mut rest = bytes;
        while let Some((&first, after)) = rest.split_first() {
            if self.state == State::Text {
                rest = self.text(rest, &mut see);
            } else if self.escape(first, &mut see) {
                rest = after;
            }
        }
    }

    /// The line that has not ended yet.
    pub(super) fn open(&self) -> (&[u8], Marks) {
        (&self.open, self.marks)
    }

    /// Takes plain text up to the next control byte, and that; returns what comes after.
    fn text<'a>(&mut self, bytes: &'a [u8], see: &mut impl FnMut(&[u8], Marks, End)) -> &'a [u8] {
        let (length, marks) = plain_run(bytes);
        let (run, rest) = bytes.split_at(length);
        let Some((&control, rest)) = rest.split_first() else {
            self.keep(run, marks);
            return rest;
        };
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
                    see(line, marks, end);
                }
            }
            Some(end) => {
                self.keep(run, marks);
                self.end(end, see);
            }
            None => {
                self.keep(run, marks);
                if control == ESCAPE {
                    self.state = State::Escape;
                }
            }
        }
        rest
    }

    fn keep(&mut self, run: &[u8], marks: Marks) {
        let room = MAX_LINE_BYTES.saturating_sub(self.open.len());
        self.open.extend_from_slice(&run[..run.len().min(room)]);
        self.marks = self.marks.and(marks);
    }

    fn end(&mut self, end: End, see: &mut impl FnMut(&[u8], Marks, End)) {
        if !self.open.is_empty() {
            see(&self.open, self.marks, end);
            self.open.clear();
        }
        self.marks = Marks::default();
    }

    /// Takes one byte of an escape sequence; false if it belongs to the text after it.
    fn escape(&mut self, byte: u8, see: &mut impl FnMut(&[u8], Marks, End)) -> bool {
        match (self.state, byte) {
            (State::String, ESCAPE) => self.state = State::StringEscape,
            (State::String, 0x07 | 0x18 | 0x1a) => self.state = State::Text,
            // A program killed in the middle of a string must not hide all that comes after.
            (State::String, b'\n' | b'\r') => return self.leave_escape(),
            (State::String, _) => {}
            (State::StringEscape, b'\\') => self.state = State::Text,
            (_, ESCAPE) => self.state = State::Escape,
            (_, 0x00..=0x1f | 0x7f..) => return self.leave_escape(),
            (State::Control, 0x20..=0x3f) => {}
            (State::Control, final_byte) => {
                self.state = State::Text;
                match final_byte {
                    b'A' => self.end(End::Up, see),
                    b'B' | b'E'..=b'H' | b'd' | b'f' => self.end(End::Moved, see),
                    _ => {}
                }
            }
            (State::Escape | State::StringEscape, b'[') => self.state = State::Control,
            (State::Escape | State::StringEscape, b']' | b'P' | b'X' | b'^' | b'_') => {
                self.state = State::String;
            }
            (State::Escape | State::StringEscape | State::Intermediate, 0x20..=0x2f) => {
                self.state = State::Intermediate;
            }
            // Restored cursor, next line, index, reverse index.
            (State::Escape | State::StringEscape, b'8' | b'D' | b'E' | b'M') => {
                self.state = State::Text;
                self.end(End::Moved, see);
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

/// How many bytes come before the next control byte, and what is among them.
fn plain_run(bytes: &[u8]) -> (usize, Marks) {
    let mut marks = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        if class == Marks::CONTROL {
            return (at, Marks(marks));
        }
        marks |= class;
    }
    (bytes.len(), Marks(marks))
}

#[cfg(test)]
mod tests;
