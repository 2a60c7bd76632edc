//! `stoke submit`: the jobs of a file, all or none.

use crate::cli::Session;
use crate::cli::commands::job_options::JobOptions;
use crate::cli::error::CliError;
use crate::cli::output::text::harmless_json;
use crate::client::random_key;
use crate::wire::request::{JobBatch, JobSubmit};
use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Which file, and what holds for all of its jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = FILE_HELP)]
pub struct SubmitArgs {
    /// File with the jobs; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print what would be sent, and send nothing; values of variables only with --json
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: JobOptions,
}

const FILE_HELP: &str = "\
The file has a [[job]] table for each job, for example:
  [[job]]
  name = \"fetch\"
  command = [\"./fetch.sh\", \"data\"]
  [[job]]
  command = [\"python\", \"train.py\"]
  after_ok = [\"fetch\"]
  timeout = \"2h\"
  retry = { attempts = 3, backoff = \"10s\" }
  env = { EPOCHS = \"20\" }
Relative paths are taken from the present directory, and `env` is added to the present environment.
Options given here win over the file.";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobFile {
    #[serde(default)]
    job: Vec<JobSubmit>,
}

/// `stoke submit`
pub async fn run(session: &Session, args: SubmitArgs) -> Result<ExitCode, CliError> {
    let (text, name) = read(&args.file)?;
    let mut jobs = parse(&text, &name)?;
    for job in &mut jobs {
        args.options.apply(job, session)?;
    }
    if args.dry_run && args.options.after_ok.is_empty() && args.options.dependency.is_empty() {
        return dry_run(session, jobs);
    }
    let client = session.connect().await?;
    for job in &mut jobs {
        args.options.apply_dependencies(job, &client).await?;
    }
    if args.dry_run {
        return dry_run(session, jobs);
    }
    let submitted = client.submit(jobs, &random_key()).await?;
    if session.output.json {
        session.output.json(&submitted)?;
    } else {
        for id in submitted.ids {
            session.output.line(&id.to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<(String, String), CliError> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| CliError::failed(format!("read {name}"), &error))?;
    Ok((text, name))
}

fn parse(text: &str, name: &str) -> Result<Vec<JobSubmit>, CliError> {
    let file: JobFile = toml::from_str(text).map_err(|error| {
        CliError::usage(format!("{name} is not a file of jobs"))
            .cause(error.to_string().trim_end())
            .hint("`stoke submit --help` shows an example")
    })?;
    if file.job.is_empty() {
        return Err(CliError::usage(format!("there is no job in {name}"))
            .hint("each job is a [[job]] table with a command"));
    }
    Ok(file.job)
}

fn dry_run(session: &Session, jobs: Vec<JobSubmit>) -> Result<ExitCode, CliError> {
    let batch = JobBatch { jobs };
    if session.output.json {
        session.output.json(&batch)?;
    } else {
        session.output.line(&readable(&batch)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What would be sent, with the names of variables alone: tokens are often in the environment, and a dry run
/// is often shown to others.
fn readable(batch: &JobBatch) -> Result<String, CliError> {
    let failed = |error| CliError::failed("print the jobs", &error);
    let mut value = serde_json::to_value(batch).map_err(failed)?;
    let jobs = value.get_mut("jobs").and_then(|jobs| jobs.as_array_mut());
    for env in jobs
        .into_iter()
        .flatten()
        .filter_map(|job| job.get_mut("env"))
    {
        let names: Vec<_> = env
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        *env = names.join(" ").into();
    }
    let text = serde_json::to_string_pretty(&value).map_err(failed)?;
    Ok(harmless_json(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::values::JobRef;

    #[test]
    fn the_example_of_the_help_is_a_file_of_jobs() {
        let example: String = FILE_HELP
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .map(|line| format!("{line}\n"))
            .collect();
        let jobs = parse(&example, "x").unwrap();
        assert_eq!(jobs.len(), 2);
        assert_eq!(jobs[1].after_ok, [JobRef::Name("fetch".into())]);
        assert_eq!(jobs[1].timeout.unwrap().ms, 7_200_000);
        assert_eq!(jobs[1].retry.as_ref().unwrap().attempts, 3);
    }

    #[test]
    fn a_dry_run_names_variables_and_keeps_their_values() {
        let text = "[[job]]\ncommand = [\"x\"]\nenv = { TOKEN = \"secret\", A = \"b\" }\n";
        let jobs = parse(text, "x").unwrap();
        let shown = readable(&JobBatch { jobs }).unwrap();
        assert!(shown.contains("\"env\": \"A TOKEN\""), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let fault = |text| parse(text, "jobs.toml").unwrap_err().causes.join("\n");
        let text = fault("[[job]]\ncommand = [\"x\"]\ncomand = 1\n");
        assert!(text.contains("comand") && text.contains("line 3"), "{text}");
        let text = fault("[[job]]\ncommand = [\"x\"]\ntimeout = \"soon\"\n");
        assert!(text.contains("not a length of time"), "{text}");
        assert!(fault("[[jobs]]\n").contains("jobs"));
        let error = parse("", "-").unwrap_err();
        assert!(error.message.contains("no job"), "{error:?}");
    }
}
