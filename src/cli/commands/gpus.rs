//! `stoke gpus`

use crate::cli::Session;
use crate::cli::error::{CliError, Kind};
use crate::cli::output::gpus::{self, Names};
use crate::wire::host::GpuView;
use serde_json::json;
use std::process::ExitCode;

/// Which GPUs, and how closely.
#[derive(Debug, clap::Args)]
pub struct GpusArgs {
    /// GPU by index or UUID, or the beginning of that, with all that is known of it; all are listed unless given
    #[arg(value_name = "GPU")]
    id: Option<String>,
    /// Show all that is known of each
    #[arg(long, short)]
    long: bool,
}

/// `stoke gpus`
pub async fn run(session: &Session, args: GpusArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let output = &session.output;
    let id = args.id.as_deref();
    if output.json {
        let found = named(client.gpus().await?, id)?;
        match found.first().filter(|_| id.is_some()) {
            Some(gpu) => output.json(gpu)?,
            None => output.json(&json!({ "items": found }))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    // People know their jobs by name, which is told beside the GPUs there.
    let all = client.operations().await?;
    let jobs = all.jobs.into_iter();
    let names: Names = jobs.map(|it| (it.job.id, it.job.name)).collect();
    let found = named(all.gpus, id)?;
    let look = output.look();
    if id.is_some() || args.long && !found.is_empty() {
        let pages = found.iter().map(|gpu| gpus::page(gpu, &names, &look));
        output.print(&pages.collect::<Vec<_>>().join("\n"))?;
    } else {
        output.print(&gpus::list(&found, &names, &look))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn named(gpus: Vec<GpuView>, id: Option<&str>) -> Result<Vec<GpuView>, CliError> {
    let Some(id) = id else { return Ok(gpus) };
    let index: Option<u32> = id.parse().ok();
    let is_meant = |gpu: &GpuView| match index {
        Some(index) => gpu.index == index,
        None => gpu.uuid.starts_with(id),
    };
    let found: Vec<_> = gpus.into_iter().filter(is_meant).collect();
    match found.len() {
        1 => Ok(found),
        0 => Err(
            CliError::new(Kind::NotFound, format!("there is no GPU {id}"))
                .hint("`stoke gpus` lists them"),
        ),
        _ => Err(CliError::usage(format!(
            "more than one GPU has a UUID that begins with {id}"
        ))),
    }
}
