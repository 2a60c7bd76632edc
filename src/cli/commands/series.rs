//! `stoke series`: what was measured over time, to look at and to take along.

#[cfg(feature = "parquet")]
mod parquet;
mod raw;

use crate::cli::Session;
use crate::cli::commands::compare::is_attempt;
use crate::cli::error::CliError;
use crate::cli::output::{Output, series};
use crate::cli::select;
use crate::cli::values;
use crate::client::{Client, SeriesQuery};
use crate::wire::series::{Series, SeriesList};
use jiff::Timestamp;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  stoke series                                         what was measured lately
  stoke series host                                    what there is of the host
  stoke series 42                                      of a job: its progress and what it used
  stoke series 42/percent job/42/metric.loss --since 1h
  stoke series host/cpu.percent gpu/0/power.watts --csv > run.csv
  stoke series host/cpu.percent --since 1d --raw --csv > day.csv";

/// Which series, when, and as what.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SeriesArgs {
    /// Series to print; or host, gpu/0, or a job (42, 42.1, a name, @) to list its series; those that were measured lately are
    /// listed unless given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Begin at: 2h (ago), 09:00, yesterday, 2026-11-22
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    since: Option<Timestamp>,
    /// End at
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    until: Option<Timestamp>,
    /// Print at most so many points of each [default: 20 as a table, else 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    points: Option<u32>,
    /// Write everything that was measured as it was, in the order of time, however much that is
    #[arg(long, conflicts_with_all = ["points", "json"])]
    raw: bool,
    /// With percentiles (p50, p95, p99), of what was measured from outside
    #[arg(long)]
    percentiles: bool,
    /// Print comma-separated values
    #[arg(long, conflicts_with_all = ["jsonl", "json"])]
    csv: bool,
    /// Print one line of JSON for each point
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    /// Write a Parquet file
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "jsonl", "json"])]
    parquet: Option<PathBuf>,
}

impl SeriesArgs {
    fn parquet(&self) -> Option<&PathBuf> {
        #[cfg(feature = "parquet")]
        return self.parquet.as_ref();
        #[cfg(not(feature = "parquet"))]
        return None;
    }

    fn is_export(&self) -> bool {
        self.csv || self.jsonl || self.parquet().is_some()
    }
}

/// What a name on the command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meant {
    /// All series of something.
    Entity(String),
    /// Jobs by a name that is to be looked up.
    Jobs(String),
    /// One series.
    Series(String),
}

/// `stoke series`
pub async fn run(session: &Session, args: SeriesArgs) -> Result<ExitCode, CliError> {
    let meant: Vec<Meant> = args.names.iter().map(|name| meant(name)).collect();
    let names: Vec<String> = meant.iter().filter_map(series_name).collect();
    if !names.is_empty() && names.len() < meant.len() {
        return Err(
            CliError::usage("some of these are series, and others have series")
                .hint("`stoke series host` lists, `stoke series host/cpu.percent` prints"),
        );
    }
    if args.raw && !args.is_export() {
        return Err(
            CliError::usage("everything that was measured is too much to look at")
                .hint("write it with --csv, --jsonl or --parquet FILE"),
        );
    }
    let client = session.connect().await?;
    if !names.is_empty() && args.is_export() {
        return export(session, &client, &args, names).await;
    }
    if !names.is_empty() {
        return print(session, &client, &args, names).await;
    }
    if args.is_export() || args.since.is_some() || args.until.is_some() || args.points.is_some() {
        return Err(
            CliError::usage("only named series can be printed or written")
                .hint("name some, as in `stoke series host/cpu.percent --since 1h`"),
        );
    }
    list(session, &client, meant).await
}

fn series_name(meant: &Meant) -> Option<String> {
    match meant {
        Meant::Series(name) => Some(name.clone()),
        Meant::Entity(_) | Meant::Jobs(_) => None,
    }
}

fn meant(name: &str) -> Meant {
    let is_job = |part: &str| part.parse::<u64>().is_ok() || is_attempt(part);
    match *name.split('/').collect::<Vec<_>>() {
        ["host"] | ["gpu" | "job", _] => Meant::Entity(name.to_owned()),
        [job] if is_attempt(job) => Meant::Entity(format!("job/{job}")),
        [_] => Meant::Jobs(name.to_owned()),
        [job, ..] if is_job(job) => Meant::Series(format!("job/{name}")),
        _ => Meant::Series(name.to_owned()),
    }
}

async fn list(session: &Session, client: &Client, meant: Vec<Meant>) -> Result<ExitCode, CliError> {
    let mut items = Vec::new();
    if meant.is_empty() {
        items.extend(client.series(None).await?);
    }
    for meant in meant {
        let entities = match meant {
            Meant::Entity(entity) | Meant::Series(entity) => vec![entity],
            Meant::Jobs(text) => {
                let selection = select::parse(&text).map_err(CliError::usage)?;
                let ids = select::resolve(client, &[selection]).await?;
                ids.iter().map(|id| format!("job/{id}")).collect()
            }
        };
        for entity in entities {
            items.extend(client.series(Some(&entity)).await?);
        }
    }
    let output = &session.output;
    if output.json {
        output.json(&SeriesList { items })?;
    } else {
        output.print(&series::list(&items, &output.look()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn print(
    session: &Session,
    client: &Client,
    args: &SeriesArgs,
    names: Vec<String>,
) -> Result<ExitCode, CliError> {
    let output = &session.output;
    let few = (!output.json).then_some(series::FEW_POINTS);
    let found = client.query_series(&query(args, names, few)).await?;
    if output.json {
        output.json(&found)?;
    } else {
        output.print(&series::points(&found.items, &output.look()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn query(args: &SeriesArgs, names: Vec<String>, unless_said: Option<u32>) -> SeriesQuery {
    SeriesQuery {
        names,
        since: args.since,
        until: args.until,
        points: args.points.or(unless_said),
        percentiles: args.percentiles,
    }
}

/// Writes points for programs.
async fn export(
    session: &Session,
    client: &Client,
    args: &SeriesArgs,
    names: Vec<String>,
) -> Result<ExitCode, CliError> {
    // What is refused must not cost a file that is there.
    let mut begun = None;
    if args.raw {
        let take = |some: &[Series]| begin(&mut begun, session, args)?.add(some);
        raw::each(client, args, names, take).await?;
    } else {
        let found = client.query_series(&query(args, names, None)).await?;
        begin(&mut begun, session, args)?.add(&found.items)?;
    }
    begin(&mut begun, session, args)?;
    if let Some(sheet) = begun {
        sheet.end()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is written to, begun where it is not yet.
fn begin<'s, 'a>(
    begun: &'s mut Option<Sheet<'a>>,
    session: &'a Session,
    args: &SeriesArgs,
) -> Result<&'s mut Sheet<'a>, CliError> {
    let sheet = match begun.take() {
        Some(sheet) => sheet,
        None => Sheet::begin(session, args)?,
    };
    Ok(begun.insert(sheet))
}

/// Where points are written, part by part.
enum Sheet<'a> {
    Csv(&'a Output),
    Lines(&'a Output),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::Sheet>, &'a Output),
}

impl<'a> Sheet<'a> {
    fn begin(session: &'a Session, args: &SeriesArgs) -> Result<Self, CliError> {
        let output = &session.output;
        #[cfg(feature = "parquet")]
        if let Some(path) = args.parquet() {
            let sheet = parquet::Sheet::begin(path)?;
            return Ok(Self::Parquet(Box::new(sheet), output));
        }
        if args.jsonl {
            return Ok(Self::Lines(output));
        }
        output.print(series::CSV_HEAD)?;
        Ok(Self::Csv(output))
    }

    fn add(&mut self, series: &[Series]) -> Result<(), CliError> {
        match self {
            Self::Csv(output) => output.print(&series::csv(series)),
            Self::Lines(output) => {
                series::lines(series).try_for_each(|line| output.json_line(&line))
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(sheet, _) => sheet.add(series),
        }
    }

    fn end(self) -> Result<(), CliError> {
        match self {
            Self::Csv(_) | Self::Lines(_) => {}
            #[cfg(feature = "parquet")]
            Self::Parquet(sheet, output) => output.note(&sheet.end()?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_one_series_or_of_what_has_some() {
        let entity = |text: &str| Meant::Entity(text.to_owned());
        let series = |text: &str| Meant::Series(text.to_owned());
        for (name, means) in [
            ("host", entity("host")),
            ("gpu/0", entity("gpu/0")),
            ("job/42.1", entity("job/42.1")),
            ("42.1", entity("job/42.1")),
            ("42", Meant::Jobs("42".to_owned())),
            ("@", Meant::Jobs("@".to_owned())),
            ("42/percent", series("job/42/percent")),
            ("42.1/memory.bytes", series("job/42.1/memory.bytes")),
            ("job/42/metric.a/b", series("job/42/metric.a/b")),
            ("host/cpu.percent", series("host/cpu.percent")),
            (
                "host/disk/sda/io.busy.percent",
                series("host/disk/sda/io.busy.percent"),
            ),
        ] {
            assert_eq!(meant(name), means, "{name}");
        }
    }
}
