//! Output, byte for byte, with lines of progress below it that never mix with it.
//!
//! The lines are erased before output is written, and drawn again only where the output's last line is
//! complete: a job that draws a bar of its own keeps the bottom of the terminal for itself.
//!
//! While they are drawn the cursor rests at the start of the first one. However a terminal that changes its size puts
//! the lines into new rows, all that has to go is then what follows on the cursor.

use crate::cli::error::CliError;
use crate::cli::output::terminal_height;
use std::io::{self, IsTerminal, Write};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Duration, Instant};

/// Not drawn more often than this: a flood of output costs no drawing.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Where a piece of output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The bottom of the terminal, and what is written above it.
#[derive(Debug)]
pub struct Screen {
    has_line: bool,
    stdout_shows: bool,
    /// What is drawn now, in lines.
    drawn: Vec<String>,
    at_line_start: bool,
    drawn_at: Option<Instant>,
    /// Says that the terminal has another size.
    sizes: Option<Signal>,
}

impl Screen {
    /// The terminal of this process; without one there is no progress line.
    #[must_use]
    pub fn new(wants_line: bool) -> Self {
        let has_line = wants_line && io::stderr().is_terminal();
        // Without the signal lines are as wide as they should be only when they are drawn anew.
        let sizes = has_line.then(|| signal(SignalKind::window_change()).ok());
        Self {
            has_line,
            stdout_shows: io::stdout().is_terminal(),
            drawn: Vec::new(),
            at_line_start: true,
            drawn_at: None,
            sizes: sizes.flatten(),
        }
    }

    /// Returns when the terminal has another size, and the lines are to be drawn again. Safe to cancel.
    pub async fn resized(&mut self) {
        let Some(sizes) = &mut self.sizes else {
            return std::future::pending().await;
        };
        if sizes.recv().await.is_none() {
            self.sizes = None;
        }
        self.erase();
        self.drawn_at = None;
    }

    /// Whether there is a progress line at all.
    #[must_use]
    pub fn has_line(&self) -> bool {
        self.has_line
    }

    /// Whether drawing now would be seen and is not too soon.
    #[must_use]
    pub fn may_draw(&self) -> bool {
        let rested = self.drawn_at.is_none_or(|at| at.elapsed() >= DRAW_EVERY);
        self.has_line && self.at_line_start && rested
    }

    /// Writes output of the job as it is.
    ///
    /// # Errors
    /// Where the target cannot be written.
    pub fn write(&mut self, target: Target, bytes: &[u8]) -> Result<(), CliError> {
        let (erase, at_line_start) = self.around(target, bytes);
        if !erase.is_empty() {
            self.drawn_at = None;
            io::stderr().write_all(erase.as_bytes())?;
        }
        match target {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()?;
            }
            Target::Stderr => io::stderr().write_all(bytes)?,
        }
        self.at_line_start = at_line_start;
        Ok(())
    }

    /// Draws the progress line.
    pub fn draw(&mut self, text: &str) {
        self.draw_all(vec![text.to_owned()]);
    }

    /// Draws these lines instead of the ones before; what does not fit into a line is cut off.
    pub fn draw_all(&mut self, mut lines: Vec<String>) {
        // The way back to the first line does not lead beyond the top.
        let rows = terminal_height(io::stderr()).map_or(usize::MAX, usize::from);
        lines.truncate(rows);
        if !self.may_draw() || lines == self.drawn {
            return;
        }
        let erase = self.take_away();
        self.drawn_at = Some(Instant::now());
        let back = match lines.len() {
            0 | 1 => "\r".to_owned(),
            count => format!("\r\u{1b}[{}A", count - 1),
        };
        // A terminal that is gone shows nothing; the output is what counts.
        let _written = write!(
            io::stderr(),
            "{erase}{NO_WRAP}{}{back}{WRAP}",
            lines.join("\r\n")
        );
        self.drawn = lines;
    }

    /// Takes the progress lines away.
    pub fn erase(&mut self) {
        let erase = self.take_away();
        if !erase.is_empty() {
            self.drawn_at = None;
            let _written = io::stderr().write_all(erase.as_bytes());
        }
    }

    /// Forgets what is drawn; what to write so that it is gone.
    fn take_away(&mut self) -> &'static str {
        match std::mem::take(&mut self.drawn).len() {
            0 => "",
            _ => ERASE,
        }
    }

    /// Says something in a line of its own.
    pub fn note(&mut self, message: &str) {
        self.erase();
        let before = if self.at_line_start { "" } else { "\n" };
        self.at_line_start = true;
        let _written = writeln!(io::stderr(), "{before}stoke: {message}");
    }

    /// What to write before `bytes`, and whether the terminal's cursor is at the start of a line after them.
    fn around(&mut self, target: Target, bytes: &[u8]) -> (&'static str, bool) {
        let is_seen = match target {
            Target::Stdout => self.stdout_shows,
            Target::Stderr => true,
        };
        if !is_seen || bytes.is_empty() {
            return ("", self.at_line_start);
        }
        (self.take_away(), bytes.ends_with(b"\n"))
    }
}

/// All that follows on the cursor.
const ERASE: &str = "\r\x1b[J";
/// A line that is too long is cut off, not continued: lines are as many rows, and the way back to the first is known.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(stdout_shows: bool) -> Screen {
        Screen {
            has_line: true,
            stdout_shows,
            drawn: vec!["x".to_owned()],
            at_line_start: true,
            drawn_at: None,
            sizes: None,
        }
    }

    #[test]
    fn output_never_mixes_with_the_line() {
        let mut seen = screen(true);
        assert_eq!(seen.around(Target::Stdout, b"half"), (ERASE, false));
        seen.at_line_start = false;
        assert!(!seen.may_draw(), "the output's last line is not complete");
        assert_eq!(seen.around(Target::Stderr, b" line\n"), ("", true));
        seen.at_line_start = true;
        assert!(seen.may_draw());
        seen.drawn_at = Some(Instant::now());
        assert!(!seen.may_draw(), "it was drawn just now");
    }

    #[test]
    fn output_that_goes_elsewhere_leaves_the_line_alone() {
        let mut piped = screen(false);
        assert_eq!(piped.around(Target::Stdout, b"half"), ("", true));
        assert!(!piped.drawn.is_empty());
        assert_eq!(piped.around(Target::Stderr, b"x"), (ERASE, false));
    }

    #[test]
    fn several_lines_go_as_they_came() {
        let mut seen = screen(true);
        seen.drawn = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let (erase, _) = seen.around(Target::Stdout, b"x\n");
        assert_eq!(erase, ERASE);
        assert_eq!(seen.take_away(), "");
    }
}
