//! `stoke progress`: a job reports how far it is.

use crate::cli::Session;
use crate::cli::error::{CliError, Kind};
use crate::cli::select::{self, Selection};
use crate::cli::values;
use crate::client::Client;
use crate::wire::progress::{ProgressReport, StepSubmit};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a job waits for a daemon that is away, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// What to report; what is not given stays as it was.
#[derive(Debug, clap::Args)]
pub struct ProgressArgs {
    /// One line for people
    #[arg(value_name = "MESSAGE")]
    message: Option<String>,
    /// Steps done, and steps in all where known: 3/10
    #[arg(long, value_name = "N[/M]", value_parser = values::ratio)]
    step: Option<(f64, Option<f64>)>,
    /// Percent done
    #[arg(long, value_name = "0-100", value_parser = values::percent)]
    percent: Option<f64>,
    /// Present epoch, and epochs in all where known: 2/3
    #[arg(long, value_name = "N[/M]", value_parser = values::ratio)]
    epoch: Option<(f64, Option<f64>)>,
    /// A number of your own (can be repeated)
    #[arg(long, short, value_name = "NAME=NUMBER", value_parser = values::metric)]
    metric: Vec<(String, f64)>,
    /// Name of the present phase
    #[arg(long, value_name = "NAME")]
    phase: Option<String>,
    /// What a step is: it, B, samples
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
    /// Time that is left
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    eta: Option<crate::wire::values::Span>,
    /// Announce named steps, with their weights: prepare,fit=8,evaluate. When all are known, percent
    /// follows from them, whatever was reported before one of them moved. 200 at most; a step that
    /// nobody announced is added
    #[arg(long, value_name = "NAME[=WEIGHT],…", value_delimiter = ',', value_parser = values::weighed)]
    steps: Vec<(String, Option<f64>)>,
    /// A named step begins (can be repeated, like all of these)
    #[arg(long, value_name = "NAME", value_parser = values::step_name)]
    step_start: Vec<String>,
    /// A named step is so far
    #[arg(long, value_name = "NAME=0-100", value_parser = values::part)]
    step_percent: Vec<(String, f64)>,
    /// A named step is done
    #[arg(long, value_name = "NAME", value_parser = values::step_name)]
    step_done: Vec<String>,
    /// A named step failed, and the job goes on without it
    #[arg(long, value_name = "NAME", value_parser = values::step_name)]
    step_fail: Vec<String>,
    /// What the step that begins weighs beside the others; 1 unless given
    #[arg(long, value_name = "NUMBER", value_parser = values::amount, requires = "step_start")]
    weight: Option<f64>,
    /// What sort of step begins: epoch, file
    #[arg(long, value_name = "NAME", requires = "step_start")]
    kind: Option<String>,
    /// Report for this job; for the one this runs in unless given
    #[arg(long, value_name = "JOB", value_parser = select::parse)]
    job: Option<Selection>,
}

/// `stoke progress`
pub async fn run(session: &Session, args: ProgressArgs) -> Result<ExitCode, CliError> {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let (own, attempt) = (variable("STOKED_JOB"), variable("STOKED_ATTEMPT"));
    if args.job.is_none() && own.is_none() {
        return Err(
            CliError::usage("it is unknown which job reports: STOKED_JOB is not set")
                .hint("inside of a job it is set; from outside name the job with --job"),
        );
    }
    let client = patiently(session, own.is_some()).await?;
    let id = match &args.job {
        Some(selection) => select::resolve_single(&client, selection).await?,
        None => own.unwrap_or_default(),
    };
    let attempt = attempt.filter(|_| Some(id) == own);
    let report = args.report(attempt.and_then(|attempt| u32::try_from(attempt).ok()));
    client.report(id, &report).await?;
    Ok(ExitCode::SUCCESS)
}

/// Connects; a job waits for a daemon that is away, instead of failing because it is being upgraded.
async fn patiently(session: &Session, is_inside: bool) -> Result<Client, CliError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match session.connect().await {
            Err(error)
                if is_inside && error.kind == Kind::NoDaemon && Instant::now() < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

impl ProgressArgs {
    /// The named steps, in an order in which one may end and the next one begin with the same call.
    fn named_steps(&self) -> Vec<StepSubmit> {
        let step = |name: &String, state: &str| StepSubmit {
            name: name.clone(),
            state: state.to_owned(),
            ..StepSubmit::default()
        };
        let announced = self.steps.iter().map(|(name, weight)| StepSubmit {
            weight: *weight,
            ..step(name, "pending")
        });
        let done = self.step_done.iter().map(|name| step(name, "completed"));
        let failed = self.step_fail.iter().map(|name| step(name, "failed"));
        let begun = self.step_start.iter().map(|name| StepSubmit {
            weight: self.weight,
            kind: self.kind.clone(),
            ..step(name, "started")
        });
        let moved = self.step_percent.iter().map(|(name, percent)| StepSubmit {
            percent: Some(*percent),
            ..step(name, "progress")
        });
        let ended = done.chain(failed);
        announced.chain(ended).chain(begun).chain(moved).collect()
    }

    fn report(self, attempt: Option<u32>) -> ProgressReport {
        let steps = self.named_steps();
        let (step, total_steps) = self.step.unzip();
        let (epoch, total_epochs) = self.epoch.unzip();
        ProgressReport {
            step,
            total_steps: total_steps.flatten(),
            percent: self.percent,
            epoch,
            total_epochs: total_epochs.flatten(),
            phase: self.phase,
            message: self.message,
            unit: self.unit,
            eta_seconds: self.eta.map(|eta| eta.ms as f64 / 1000.0),
            metrics: self.metric.into_iter().collect(),
            steps,
            attempt,
            ..ProgressReport::default()
        }
    }
}
