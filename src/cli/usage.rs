//! A command line that makes no sense, told as every other error: what, where, and the way out.

use crate::cli::error::CliError;
use clap::error::ErrorKind;

/// The error to show; `None` where `error` is none, but help that was asked for.
pub(super) fn of(error: &clap::Error) -> Option<CliError> {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    (!is_help).then(|| of_text(&error.render().to_string()))
}

/// Reads the parser's own text: it is the only place where all of its knowledge comes together.
fn of_text(text: &str) -> CliError {
    let mut paragraphs = text.trim().split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let (message, details) = first.split_once('\n').unwrap_or((first, ""));
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let details: Vec<_> = details.lines().map(str::trim).collect();
    let mut error = CliError::usage(joined(message.trim_end_matches(':'), &details));
    let mut usage = "";
    for paragraph in paragraphs.flat_map(str::lines).map(str::trim) {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            error = error.hint(tip);
        } else if let Some(line) = paragraph.strip_prefix("Usage: ") {
            usage = line;
        }
    }
    if !usage.is_empty() {
        error = error.cause(format!("it is used as: {usage}"));
    }
    error.hint(format!("`{} --help` says more", command(usage)))
}

fn joined(message: &str, details: &[&str]) -> String {
    if details.is_empty() {
        return message.to_owned();
    }
    format!("{message}: {}", details.join(", "))
}

/// The command of a usage line: its words before the first argument.
fn command(usage: &str) -> String {
    let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let words: Vec<_> = usage.split(' ').take_while(is_word).collect();
    if words.is_empty() {
        return "stoke".to_owned();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn said(line: &str) -> (String, Vec<String>, Vec<String>) {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        let error = of(&error).unwrap();
        assert_eq!(error.kind.status(), 2);
        (error.message, error.causes, error.hints)
    }

    #[test]
    fn what_is_wrong_is_said_in_one_style() {
        let (message, causes, hints) = said("stoke run");
        assert_eq!(
            message,
            "the following required arguments were not provided: <COMMAND>..."
        );
        assert_eq!(causes, ["it is used as: stoke run <COMMAND>..."]);
        assert_eq!(hints, ["`stoke run --help` says more"]);
        let (message, _, hints) = said("stoke ls --al");
        assert_eq!(message, "unexpected argument '--al' found");
        assert_eq!(
            hints,
            [
                "a similar argument exists: '--all'",
                "`stoke ls --help` says more"
            ]
        );
        let (message, _, hints) = said("stoke lst");
        assert_eq!(message, "unrecognized subcommand 'lst'");
        assert!(hints[0].contains("'list'"), "{hints:?}");
        let (message, _, hints) = said("stoke ls --since soon");
        assert!(
            message.starts_with("invalid value 'soon' for '--since <TIME>': \"soon\" is no time"),
            "{message}"
        );
        assert!(message.contains("yesterday"), "{message}");
        assert_eq!(hints, ["`stoke --help` says more"]);
        let (message, ..) = said("stoke --color never-ever ls");
        assert_eq!(
            message,
            "invalid value 'never-ever' for '--color <WHEN>': [possible values: auto, always, never]"
        );
    }

    #[test]
    fn help_is_no_error() {
        for line in ["stoke --help", "stoke --version", "stoke help run", "stoke"] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(of(&error), None, "{line}");
        }
    }
}
