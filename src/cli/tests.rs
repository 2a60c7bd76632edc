//! The command line as a whole: its help, and that its definition is sound.

use super::*;
use clap::CommandFactory;

/// Every help text, one after the other: what people read cannot change unseen.
#[test]
fn the_help_is_as_reviewed() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = command.render_long_help().to_string();
    add_help("stoke", &mut command, &mut text);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    insta::assert_snapshot!("help", lines.join("\n"));
}

fn add_help(name: &str, command: &mut clap::Command, text: &mut String) {
    let commands = command.get_subcommands_mut();
    for sub in commands.filter(|sub| sub.get_name() != "help") {
        let name = format!("{name} {}", sub.get_name());
        *text += &format!("\n\n======== {name}\n\n");
        *text += &sub.render_help().to_string();
        add_help(&name, sub, text);
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_command_line_needs_no_separator() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    for line in [
        "stoke run sleep 1",
        "stoke run -d -n x -- sh -c true",
        "stoke run --time 10:00 --begin now+1h --dependency afterok:3 -- x --help",
        "stoke ls -a --json",
        "stoke logs -f @~1",
        "stoke wait 3 5-9 --any",
        "stoke edit 3 -p P1 -- new command",
        "stoke groups gpu -j 2",
    ] {
        parse(line).unwrap();
    }
    for line in [
        "stoke run",
        "stoke cancel",
        "stoke cancel 3 --now --grace 1s",
        "stoke groups --pause",
        "stoke run -p 12 x",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
