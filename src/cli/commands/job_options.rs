//! Options that say how a job shall run: of `run`, and of `submit` for all jobs of a file.

use crate::cli::commands::limit_options::LimitOptions;
use crate::cli::environment::{self, EnvironmentOptions};
use crate::cli::error::CliError;
use crate::cli::select::{self, Selection, Selector};
use crate::cli::{Session, values};
use crate::client::Client;
use crate::config::load::{self, Sources};
use crate::config::paths::{SYSTEM_CONFIG_DIR, Surroundings};
use crate::config::{self, Settings};
use crate::wire::request::{JobSubmit, RetrySubmit};
use crate::wire::values::{JobRef, Span};
use jiff::Timestamp;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

/// How a job shall run. What is not given is left to the file or the daemon.
#[derive(Debug, Default, clap::Args)]
pub struct JobOptions {
    /// Name the job; the program's name unless given
    #[arg(long, short = 'n', value_name = "NAME")]
    pub name: Option<String>,
    /// Say what sort of work it is: train, download, …
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Queue it in this group
    #[arg(long, short, value_name = "GROUP")]
    pub group: Option<String>,
    /// Make it part of this flow
    #[arg(long, value_name = "FLOW")]
    pub flow: Option<String>,
    /// Label it (can be repeated)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = values::key_value)]
    pub label: Vec<(String, String)>,
    /// Set its priority, 0 (most urgent) to 9; 5 unless given
    #[arg(long, short, value_name = "0-9", value_parser = values::priority)]
    pub priority: Option<u8>,
    /// Start it only after these jobs completed (can be repeated)
    #[arg(long, value_name = "JOB", value_delimiter = ',', value_parser = select::parse)]
    pub after_ok: Vec<Selection>,
    /// The same as Slurm writes it: afterok:ID[:ID…]
    #[arg(long, value_name = "afterok:ID", value_parser = dependency)]
    pub dependency: Vec<Selection>,
    /// Start it not before this time: +2h, 18:30, 2026-12-01T06:00
    #[arg(long, visible_alias = "begin", value_name = "TIME", value_parser = values::moment)]
    pub not_before: Option<Timestamp>,
    /// End an attempt that runs longer than this: 90s, 1h30m, HH:MM:SS
    #[arg(long, visible_alias = "time", value_name = "TIME", value_parser = values::span)]
    pub timeout: Option<Span>,
    /// Kill it this long after it was asked to end
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    pub grace: Option<Span>,
    /// Ask it to end with this signal; TERM unless given
    #[arg(long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Start it up to N more times when it fails
    #[arg(long, value_name = "N")]
    pub retry: Option<u32>,
    /// Wait this long before the first retry, twice as long before each further one
    #[arg(long, value_name = "TIME", value_parser = values::span, requires = "retry")]
    pub backoff: Option<Span>,
    /// Hold it until `stoke release`
    #[arg(long)]
    pub hold: bool,
    /// Hold it until `stoke approve`
    #[arg(long)]
    pub needs_approval: bool,
    /// Set a variable of its environment (can be repeated)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = values::key_value)]
    pub env: Vec<(String, String)>,
    /// Take variables from a file of KEY=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Send nothing of this environment
    #[arg(long)]
    pub clean_env: bool,
    /// Run it in this directory; in the present one unless given
    #[arg(long, short = 'C', value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Read its standard input from this file; it is empty unless given
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// Run it on a terminal of its own; what you type is not passed on
    #[arg(long)]
    pub tty: bool,
    /// Read its progress from this file, instead of $STOKED_PROGRESS_FILE
    #[arg(long, value_name = "FILE")]
    pub progress_file: Option<PathBuf>,
    /// Keep at most so much of its output: 64M, 1GiB
    #[arg(long, value_name = "SIZE", value_parser = values::byte_count)]
    pub log_limit: Option<u64>,
    /// Send its output to the journal of the host too
    #[arg(long)]
    pub journal: bool,
    /// What it may use
    #[command(flatten)]
    pub limits: LimitOptions,
}

impl JobOptions {
    /// `job` with these options on top, and the caller's directory, environment and mask where it has none.
    pub fn apply(&self, job: &mut JobSubmit, session: &Session) -> Result<(), CliError> {
        let given = |target: &mut Option<String>, option: &Option<String>| {
            if option.is_some() {
                target.clone_from(option);
            }
        };
        given(&mut job.name, &self.name);
        given(&mut job.kind, &self.kind);
        given(&mut job.group, &self.group);
        given(&mut job.flow, &self.flow);
        given(&mut job.stop_signal, &self.signal);
        job.labels.extend(self.label.iter().cloned());
        job.priority = self.priority.or(job.priority);
        job.not_before = self.not_before.or(job.not_before);
        job.timeout = self.timeout.or(job.timeout);
        job.grace = self.grace.or(job.grace);
        job.log_limit_bytes = self.log_limit.or(job.log_limit_bytes);
        self.limits.apply(job);
        job.hold |= self.hold;
        job.needs_approval |= self.needs_approval;
        job.tty |= self.tty;
        job.journal |= self.journal;
        if let Some(retries) = self.retry {
            let retry = job.retry.get_or_insert_with(RetrySubmit::default);
            retry.attempts = retries.saturating_add(1);
            retry.backoff = self.backoff.or(retry.backoff);
        }
        if job.umask.is_none() {
            job.umask = environment::umask();
        }
        self.apply_paths(job)?;
        self.apply_environment(job, session)
    }

    /// `job` with the jobs it waits for. Only `@` costs a question: numbers and names are the daemon's to check.
    pub async fn apply_dependencies(
        &self,
        job: &mut JobSubmit,
        client: &Client,
    ) -> Result<(), CliError> {
        for selection in self.after_ok.iter().chain(&self.dependency) {
            for selector in &selection.selectors {
                match selector {
                    Selector::Id(id) => job.after_ok.push(JobRef::Id(*id)),
                    Selector::Name(name) => job.after_ok.push(JobRef::Name(name.clone())),
                    Selector::Range(..) | Selector::Newest(_) => {
                        let selection = Selection {
                            selectors: vec![selector.clone()],
                        };
                        let ids = select::resolve(client, &[selection]).await?;
                        job.after_ok.extend(ids.into_iter().map(JobRef::Id));
                    }
                }
            }
        }
        Ok(())
    }

    fn apply_paths(&self, job: &mut JobSubmit) -> Result<(), CliError> {
        let from_file = job.cwd.take().map(PathBuf::from);
        let cwd = self.cwd.clone().or(from_file);
        job.cwd = Some(match cwd {
            Some(cwd) => environment::absolute(cwd.as_os_str(), "working directory")?,
            None => environment::absolute(present_dir()?.as_os_str(), "working directory")?,
        });
        if let Some(path) = self.stdin.clone().or(job.stdin.take().map(PathBuf::from)) {
            job.stdin = Some(environment::absolute(path.as_os_str(), "input file")?);
        }
        let file = job.progress_file.take().map(PathBuf::from);
        if let Some(path) = self.progress_file.clone().or(file) {
            job.progress_file = Some(environment::absolute(path.as_os_str(), "progress file")?);
        }
        Ok(())
    }

    /// The variables of a file's job count as `--env`: they are added to the caller's environment.
    fn apply_environment(&self, job: &mut JobSubmit, session: &Session) -> Result<(), CliError> {
        let mut variables: Vec<_> = job.env.take().unwrap_or_default().into_iter().collect();
        variables.extend(self.env.iter().cloned());
        let options = EnvironmentOptions {
            clean: self.clean_env,
            files: self.env_file.clone(),
            variables,
            session_variables: session_variables(session),
        };
        let cwd = job.cwd.clone().unwrap_or_default();
        let caller: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let (variables, left_out) = environment::environment(&options, caller.into_iter(), &cwd)?;
        for name in left_out {
            session.output.note(&format!(
                "the variable {name} is not valid UTF-8 and is left out"
            ));
        }
        job.env = variables;
        Ok(())
    }
}

/// The variables that stay behind. A configuration that cannot be read is the daemon's to refuse: here
/// it is mentioned, and the usual ones stay behind.
fn session_variables(session: &Session) -> Vec<String> {
    let around = Surroundings::of_process();
    let Ok(directory) = around.user_config_dir() else {
        return config::session_variables();
    };
    let defaults = Settings::of_user(Path::new("/"), Path::new("/"));
    let mut sources = Sources::of(defaults, Path::new(SYSTEM_CONFIG_DIR));
    sources.directories.push(directory);
    match load::load(&sources) {
        Ok(loaded) => loaded.settings.jobs.session_variables,
        Err(error) => {
            session.output.note(&format!("failed to {error}"));
            config::session_variables()
        }
    }
}

fn present_dir() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(|error| {
        CliError::failed("find the working directory", &error).hint("name one with --cwd DIR")
    })
}

/// `afterok:ID[:ID…]`, several with commas between them.
fn dependency(text: &str) -> Result<Selection, String> {
    let mut selectors = Vec::new();
    for part in text.split(',') {
        let ids = part.strip_prefix("afterok:").ok_or_else(|| {
            format!("\"{part}\" is not understood: write afterok:ID, other kinds of dependency do not exist yet")
        })?;
        for id in ids.split(':') {
            selectors.push(id.parse()?);
        }
    }
    Ok(Selection { selectors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurm_s_dependencies_are_understood() {
        let selectors = |text| dependency(text).map(|it| it.selectors);
        assert_eq!(
            selectors("afterok:3:4,afterok:prep"),
            Ok(vec![
                Selector::Id(3),
                Selector::Id(4),
                Selector::Name("prep".into())
            ])
        );
        assert!(selectors("afterany:3").is_err());
        assert!(selectors("afterok:").is_err());
    }
}
