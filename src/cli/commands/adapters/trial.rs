//! `stoke adapters test`: reads recorded output as a daemon would, and tells each thing that was read.

use crate::cli::Session;
use crate::cli::error::{CliError, Kind};
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::text::{self, harmless};
use crate::model::progress::{Observation, Source};
use crate::progress::adapters::Hints;
use crate::progress::adapters::load::Loaded;
use crate::progress::text::{Tally, TextFeed};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How much is read at once, as a daemon does.
const CHUNK_BYTES: usize = 64 << 10;

/// What to read, and as whose output.
#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// File with the output; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Ask this adapter and no other
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Read it as output of this command
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Read it as output of a job of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
}

/// Where in the output a reading stands.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Newlines so far.
    lines: u64,
    bytes: u64,
}

/// `stoke adapters test`: status 1 where nothing was read.
pub(super) fn run(
    session: &Session,
    loaded: &Loaded,
    args: &TestArgs,
) -> Result<ExitCode, CliError> {
    let command: Vec<String> = args.command.iter().cloned().collect();
    let hints = Hints::new(args.kind.as_deref(), &command);
    let mut feed = TextFeed::new(&loaded.catalogue, &hints);
    if let Some(name) = &args.adapter {
        super::find(loaded, name)?;
        feed = feed.only(name);
    }
    let mut trial = Trial {
        session,
        look: session.output.look(),
        feed,
        place: Place::default(),
        spent: Duration::ZERO,
        readings: 0,
    };
    trial.read(open(args)?, &args.file.display().to_string())?;
    trial.sum_up()?;
    Ok(if trial.readings > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn open(args: &TestArgs) -> Result<Box<dyn Read>, CliError> {
    if args.file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(&args.file) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => {
            let mut failure = CliError::failed(format!("read {}", args.file.display()), &error);
            if error.kind() == io::ErrorKind::NotFound {
                failure.kind = Kind::NotFound;
            }
            Err(failure)
        }
    }
}

struct Trial<'a> {
    session: &'a Session,
    look: Look,
    feed: TextFeed,
    place: Place,
    /// Time the adapters took, without that for printing.
    spent: Duration,
    readings: u64,
}

impl Trial<'_> {
    fn read(&mut self, mut from: impl Read, name: &str) -> Result<(), CliError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let length = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CliError::failed(format!("read {name}"), &error)),
            };
            self.take(&buffer[..length])?;
        }
    }

    /// Reads a chunk drawn line by drawn line, so that each reading has its place.
    fn take(&mut self, chunk: &[u8]) -> Result<(), CliError> {
        let mut seen = Vec::new();
        let mut found = Vec::new();
        let start = Instant::now();
        for piece in chunk.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            self.feed.push(piece, &mut seen);
            found.extend(seen.drain(..).map(|it| (self.place, it)));
            self.place.bytes += piece.len() as u64;
            self.place.lines += u64::from(piece.ends_with(b"\n"));
        }
        self.spent += start.elapsed();
        found
            .iter()
            .try_for_each(|(place, it)| self.show(*place, it))
    }

    fn show(&mut self, place: Place, seen: &Observation) -> Result<(), CliError> {
        self.readings += 1;
        let line = place.lines + 1;
        if self.session.output.json {
            let reading = json!({
                "line": line, "offset": place.bytes, "adapter": adapter(seen), "reading": seen,
            });
            return self.session.output.json_line(&reading);
        }
        let head = format!("{line:>6}  {:14}", adapter(seen));
        let text = format!(
            "{}  {}",
            self.look.paint(Tone::Faint, &head),
            harmless(&facts(seen))
        );
        self.session.output.line(&text)
    }

    /// Tells what each adapter did, and how fast all of them were.
    fn sum_up(&self) -> Result<(), CliError> {
        let output = &self.session.output;
        let busy = || self.feed.tallies().filter(|it| it.tried > 0);
        let seconds = self.spent.as_secs_f64().max(1e-9);
        let per_second = |count: u64| count as f64 / seconds;
        let (lines, bytes) = (per_second(self.place.lines), per_second(self.place.bytes));
        if output.json {
            let adapters = busy().map(|it| {
                json!({"adapter": it.adapter, "lines_read": it.known, "patterns_tried": it.tried})
            });
            return output.json_line(&json!({
                "readings": self.readings,
                "adapters": adapters.collect::<Vec<_>>(),
                "lines": self.place.lines,
                "bytes": self.place.bytes,
                "lines_per_second": lines.round(),
                "bytes_per_second": bytes.round(),
            }));
        }
        let tell = |it: Tally<'_>| {
            let facts = format!("{} lines read, patterns tried {} times", it.known, it.tried);
            output.line(&format!("{:>6}  {:14}  {facts}", "", it.adapter))
        };
        busy().try_for_each(tell)?;
        let speed = format!("{} lines/s, {:.0} MB/s", text::rate(lines), bytes / 1e6);
        output.line(&format!(
            "{} readings from {} lines, {speed}",
            self.readings, self.place.lines
        ))
    }
}

fn adapter(seen: &Observation) -> &str {
    match &seen.source {
        Source::Adapter(name) => name,
        // Text is read by adapters alone.
        Source::File | Source::Notify | Source::Api => "",
    }
}

/// What was read, in words.
fn facts(seen: &Observation) -> String {
    let of = |part: f64, total: Option<f64>| match total {
        Some(total) => format!("{}/{}", text::number(part), text::number(total)),
        None => text::number(part),
    };
    let unit = seen.unit.as_deref().unwrap_or("");
    let mut facts = Vec::new();
    facts.extend(seen.percent.map(|it| format!("{}%", text::number(it))));
    let step = seen.step.map(|it| of(it, seen.total_steps));
    facts.extend(step.map(|it| format!("step {it} {unit}").trim_end().to_owned()));
    let epoch = seen.epoch.map(|it| of(it, seen.total_epochs));
    facts.extend(epoch.map(|it| format!("epoch {it}")));
    let rate = seen.rate.map(text::rate);
    facts.extend(rate.map(|it| format!("{it} {unit}/s").replace(" /", "/")));
    facts.extend(
        seen.eta_seconds
            .map(|it| format!("{} left", text::duration(it))),
    );
    let words = [
        ("phase", &seen.phase),
        ("status", &seen.status),
        ("error", &seen.error),
        ("message", &seen.message),
    ];
    for (name, text) in words {
        facts.extend(text.as_ref().map(|text| format!("{name} {text:?}")));
    }
    let metrics = seen.metrics.iter();
    facts.extend(metrics.map(|(name, value)| format!("{name}={}", text::number(*value))));
    facts.join("  ")
}
