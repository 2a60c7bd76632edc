//! What a terminal shows of what is written to it, also when its width changes.

/// How lines are treated that are longer than the terminal has become wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resizing {
    /// They are continued in the next row, as most terminals do.
    Continues,
    /// What stands beyond the edge is gone, as in xterm.
    Cuts,
}

/// A terminal that is as high as is needed. It knows what the client writes, and stops at anything else.
#[derive(Debug)]
pub(crate) struct Terminal {
    width: usize,
    resizing: Resizing,
    wraps: bool,
    /// Lines as they were written; each takes as many rows as it needs.
    lines: Vec<Vec<char>>,
    /// The line and the place in it that is written next.
    at: (usize, usize),
}

impl Terminal {
    pub(crate) fn new(width: usize, resizing: Resizing) -> Self {
        Self {
            width,
            resizing,
            wraps: true,
            lines: vec![Vec::new()],
            at: (0, 0),
        }
    }

    pub(crate) fn resize(&mut self, width: usize) {
        self.width = width;
        if self.resizing == Resizing::Cuts {
            self.lines.iter_mut().for_each(|line| line.truncate(width));
            self.at.1 = self.at.1.min(width - 1);
        }
    }

    pub(crate) fn show(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.at.1 -= self.at.1 % self.width,
                '\n' => {
                    self.at = (self.at.0 + 1, self.at.1 % self.width);
                    let count = self.lines.len().max(self.at.0 + 1);
                    self.lines.resize(count, Vec::new());
                }
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['), "no CSI");
                    let mut arguments = String::new();
                    let end = loop {
                        match chars.next() {
                            Some(c) if c.is_ascii_alphabetic() => break Some(c),
                            Some(c) => arguments.push(c),
                            None => break None,
                        }
                    };
                    // The rest of a sequence may still be on its way.
                    end.into_iter().for_each(|end| self.obey(end, &arguments));
                }
                c => self.put(c),
            }
        }
    }

    fn obey(&mut self, what: char, arguments: &str) {
        match (what, arguments) {
            ('m', _) => {}
            ('h', "?7") => self.wraps = true,
            ('l', "?7") => self.wraps = false,
            ('J', "") => {
                self.lines.truncate(self.at.0 + 1);
                self.lines[self.at.0].truncate(self.at.1);
            }
            ('A', rows) => (0..rows.parse::<usize>().unwrap()).for_each(|_| self.up()),
            other => panic!("not known to this terminal: {other:?}"),
        }
    }

    /// One row up.
    fn up(&mut self) {
        let (line, place) = self.at;
        if place >= self.width {
            self.at.1 -= self.width;
        } else if line > 0 {
            let rows = self.lines[line - 1].len().saturating_sub(1) / self.width;
            self.at = (line - 1, rows * self.width + place);
        }
    }

    fn put(&mut self, c: char) {
        let line = &mut self.lines[self.at.0];
        if line.len() <= self.at.1 {
            line.resize(self.at.1 + 1, ' ');
        }
        line[self.at.1] = c;
        if self.wraps || !(self.at.1 + 1).is_multiple_of(self.width) {
            self.at.1 += 1;
        }
    }

    /// The rows that show something.
    pub(crate) fn rows(&self) -> Vec<String> {
        let rows = self.lines.iter().flat_map(|line| line.chunks(self.width));
        let rows = rows.map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.filter(|row| !row.is_empty()).collect()
    }
}
