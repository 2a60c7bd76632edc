//! `stoke adapters`: what reads progress from output, shown and tried out. It needs no daemon.

mod trial;

use crate::cli::Session;
use crate::cli::error::{CliError, Kind};
use crate::cli::output::style::Tone;
use crate::cli::output::table;
use crate::cli::output::text::harmless;
use crate::progress::adapters::load::{self, Loaded};
use crate::progress::adapters::{Adapter, Origin};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

/// What to do with adapters.
#[derive(Debug, clap::Args)]
#[command(after_help = ADAPTERS_HELP, disable_help_subcommand = true)]
pub struct AdaptersArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

const ADAPTERS_HELP: &str = "\
An adapter is an entry of a TOML file that says how one program prints its progress.
Your own go into ~/.config/stoked/adapters.d, those of a host into /etc/stoked/adapters.d.
One takes the place of another of its name, and `disabled = true` switches it off.
Begin with one that is there: `stoke adapters show NAME`.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print an adapter as it stands in its file
    Show {
        /// Adapter
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show what is read from some output: status 0 where anything is, else 1
    Test(trial::TestArgs),
}

/// `stoke adapters`
pub fn run(session: &Session, args: AdaptersArgs) -> Result<ExitCode, CliError> {
    let loaded = load::load(&session.around.adapter_dirs(true));
    for problem in &loaded.problems {
        session.output.note(&harmless(&problem.to_string()));
    }
    match args.verb {
        None => list(session, &loaded),
        Some(Verb::Show { name }) => show(session, find(&loaded, &name)?),
        Some(Verb::Test(args)) => trial::run(session, &loaded, &args),
    }
}

fn find<'a>(loaded: &'a Loaded, name: &str) -> Result<&'a Adapter, CliError> {
    let missing = || {
        CliError::new(Kind::NotFound, format!("there is no adapter {name}"))
            .hint("`stoke adapters` lists them")
    };
    loaded.catalogue.find(name).ok_or_else(missing)
}

fn list(session: &Session, loaded: &Loaded) -> Result<ExitCode, CliError> {
    let adapters = loaded.catalogue.adapters();
    if session.output.json {
        let items: Vec<Value> = adapters.iter().map(view).collect();
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let list = json!({ "items": items, "problems": problems });
        session.output.json(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = adapters.iter().map(|adapter| {
        vec![
            (Tone::Plain, adapter.name.clone()),
            (Tone::Plain, adapter.summary.clone()),
            (Tone::Faint, origin(adapter)),
        ]
    });
    let look = session.output.look();
    let table = table::plain(&["NAME", "READS", "FROM"], rows.collect(), &look);
    session.output.print(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn show(session: &Session, adapter: &Adapter) -> Result<ExitCode, CliError> {
    if session.output.json {
        let mut view = view(adapter);
        view["text"] = json!(adapter.text);
        session.output.json(&view)?;
    } else {
        session.output.line(&harmless_lines(&adapter.text))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn view(adapter: &Adapter) -> Value {
    json!({
        "name": adapter.name,
        "summary": adapter.summary,
        "from": origin(adapter),
        "commands": adapter.commands,
        "kinds": adapter.kinds,
        "hinted_only": adapter.hinted_only,
    })
}

fn origin(adapter: &Adapter) -> String {
    match &adapter.origin {
        Origin::Shipped => "shipped".to_owned(),
        Origin::File(file) => file.display().to_string(),
    }
}

fn harmless_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(harmless).collect();
    lines.join("\n")
}
