//! `stoke compare`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::comparison;
use crate::cli::select;
use crate::client::{Client, CompareQuery};
use clap::ValueEnum;
use std::process::ExitCode;

/// Over what runs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    /// Time since each began
    Time,
    /// Steps
    Step,
    /// Percent
    Percent,
}

/// Which runs, in what.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Jobs (their newest attempts) or attempts: 3, 3.1, 5-9, a name, @ (your newest)
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,
    /// Compare this: percent, step, rate, metric.loss, cpu.percent, … (can be repeated); all metrics of the first run
    /// unless given, or else what the runs used of CPU, memory and GPUs
    #[arg(long = "quantity", short, value_name = "QUANTITY")]
    quantities: Vec<String>,
    /// Compare at equal time, step or percent
    #[arg(long, value_name = "AXIS", default_value = "time")]
    x: Axis,
}

/// `stoke compare`
pub async fn run(session: &Session, args: CompareArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let axis = args.x.to_possible_value();
    let query = CompareQuery {
        runs: runs(&client, &args.runs).await?,
        quantities: args.quantities,
        x: axis.map(|it| it.get_name().to_owned()),
        points: None,
    };
    let found = client.compare(&query).await?;
    if session.output.json {
        session.output.json(&found)?;
    } else {
        let look = session.output.look();
        session.output.print(&comparison::table(&found, &look))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Attempts as they are, everything else as the jobs it names.
async fn runs(client: &Client, texts: &[String]) -> Result<Vec<String>, CliError> {
    let mut runs = Vec::new();
    for text in texts {
        if is_attempt(text) {
            runs.push(text.clone());
            continue;
        }
        let selection = select::parse(text).map_err(CliError::usage)?;
        let ids = select::resolve(client, &[selection]).await?;
        runs.extend(ids.iter().map(u64::to_string));
    }
    Ok(runs)
}

/// Whether this names an attempt, as `42.1` does.
pub(super) fn is_attempt(text: &str) -> bool {
    let is_number = |part: &str| part.parse::<u64>().is_ok();
    text.split_once('.')
        .is_some_and(|(job, attempt)| is_number(job) && is_number(attempt))
}
