//! The one place where anything is written: what a terminal may show, in which colours, and as what.

pub mod archive;
pub mod bar;
pub mod comparison;
pub mod detail;
pub mod flow;
pub mod gpus;
pub mod host;
pub mod live;
mod page;
pub mod progress;
pub mod screen;
pub mod series;
pub mod style;
pub mod table;
pub mod text;
pub mod usage;

use crate::cli::error::CliError;
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use style::Look;

/// Columns where the width is not known, as in a pipe.
const USUAL_WIDTH: u16 = 100;

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Standard output and standard error as this process found them.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether programs read what is printed.
    pub json: bool,
    choice: ColourChoice,
}

impl Output {
    /// Output as the command line asks for it.
    #[must_use]
    pub fn new(json: bool, choice: ColourChoice) -> Self {
        Self { json, choice }
    }

    /// How text on standard output shall look.
    #[must_use]
    pub fn look(&self) -> Look {
        let is_terminal = io::stdout().is_terminal();
        Look {
            colour: self.uses_colour(is_terminal),
            width: terminal_width(io::stdout()).unwrap_or(USUAL_WIDTH),
            now: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }

    /// How text on standard error shall look.
    #[must_use]
    pub fn error_look(&self) -> Look {
        let is_terminal = io::stderr().is_terminal();
        Look {
            colour: self.uses_colour(is_terminal),
            width: terminal_width(io::stderr()).unwrap_or(USUAL_WIDTH),
            now: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }

    /// Prints text that a view made.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn print(&self, text: &str) -> Result<(), CliError> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(())
    }

    /// Prints one line.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.print(&format!("{text}\n"))
    }

    /// Prints a value as JSON: indented for a terminal, on one line for a program.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.line(&text::harmless_json(text.map_err(io::Error::from)?))
    }

    /// Prints a value as one line of JSON in a sequence of them.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.line(&text::harmless_json(text))
    }

    /// Says something to the person, beside the output.
    pub fn note(&self, message: &str) {
        // Where standard error is gone there is nobody to tell.
        let _written = writeln!(io::stderr(), "stoke: {message}");
    }

    /// Says that an answer does not come.
    pub fn waiting(&self) {
        if self.json {
            self.json_note(&serde_json::json!({"connection": "waiting"}));
            return;
        }
        // Lines of progress may follow on the cursor.
        let clear = if io::stderr().is_terminal() {
            "\u{1b}[J"
        } else {
            ""
        };
        let _written = writeln!(io::stderr(), "{clear}stoke: waiting for the daemon…");
    }

    /// Says something to the program that reads the output, beside it: a line of JSON on standard error.
    pub fn json_note(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            let _written = writeln!(io::stderr(), "{}", text::harmless_json(text));
        }
    }

    fn uses_colour(&self, is_terminal: bool) -> bool {
        match self.choice {
            ColourChoice::Always => true,
            ColourChoice::Never => false,
            ColourChoice::Auto => {
                let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                is_terminal && !is_set("NO_COLOR") && !is_dumb
            }
        }
    }
}

/// Lines of the terminal behind a stream; `None` where it is none.
#[must_use]
pub fn terminal_height(stream: impl std::os::fd::AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_row > 0).then_some(size.ws_row)
}

/// Columns of the terminal behind a stream; `None` where it is none.
#[must_use]
pub fn terminal_width(stream: impl std::os::fd::AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
