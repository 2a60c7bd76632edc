//! `stoke edit`

use crate::cli::commands::limit_options::LimitChanges;
use crate::cli::commands::verbs::for_each;
use crate::cli::error::CliError;
use crate::cli::select::{self, Selection};
use crate::cli::{Session, environment, values};
use crate::wire::request::{JobEdit, RetrySubmit};
use crate::wire::values::Span;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// What shall change; what is not given stays.
#[derive(Debug, clap::Args)]
pub struct EditArgs {
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(required = true, value_name = "JOB", value_parser = select::parse)]
    jobs: Vec<Selection>,
    /// Rename
    #[arg(long, short = 'n', value_name = "NAME")]
    name: Option<String>,
    /// Change the kind; empty removes it
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Move to this group
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// Change the priority, 0 (most urgent) to 9
    #[arg(long, short, value_name = "0-9", value_parser = values::priority)]
    priority: Option<u8>,
    /// Start not before this time; now removes the limit
    #[arg(long, visible_alias = "begin", value_name = "TIME", value_parser = not_before)]
    not_before: Option<String>,
    /// Change the longest time an attempt may run; 0 removes it
    #[arg(long, visible_alias = "time", value_name = "TIME", value_parser = values::span)]
    timeout: Option<Span>,
    /// Change the time between the asking signal and the kill
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    grace: Option<Span>,
    /// Set a label; an empty value removes it (can be repeated)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = values::key_value)]
    label: Vec<(String, String)>,
    /// Start up to N more times when it fails
    #[arg(long, value_name = "N")]
    retry: Option<u32>,
    /// Wait this long before the first retry
    #[arg(long, value_name = "TIME", value_parser = values::span, requires = "retry")]
    backoff: Option<Span>,
    /// Run in this directory
    #[arg(long, short = 'C', value_name = "DIR")]
    cwd: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitChanges,
    /// New command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// `stoke edit`
pub async fn run(session: &Session, args: EditArgs) -> Result<ExitCode, CliError> {
    let edit = args.edit()?;
    if edit == JobEdit::default() {
        return Err(CliError::usage("nothing is to be changed")
            .hint("`stoke edit --help` lists what can be changed"));
    }
    let client = session.connect().await?;
    for_each(
        session,
        &client,
        &args.jobs,
        "is changed",
        async |client, id| client.edit(id, &edit).await,
    )
    .await
}

impl EditArgs {
    fn edit(&self) -> Result<JobEdit, CliError> {
        let command = environment::utf8_arguments(&self.command)?;
        let cwd = self
            .cwd
            .as_ref()
            .map(|cwd| environment::absolute(cwd.as_os_str(), "working directory"));
        Ok(JobEdit {
            command: (!command.is_empty()).then_some(command),
            name: self.name.clone(),
            kind: self.kind.clone(),
            group: self.group.clone(),
            cwd: cwd.transpose()?,
            priority: self.priority,
            not_before: self.not_before.clone(),
            timeout: self.timeout,
            grace: self.grace,
            labels: self.label.iter().cloned().collect(),
            retry: self.retry.map(|retries| RetrySubmit {
                attempts: retries.saturating_add(1),
                backoff: self.backoff,
                ..RetrySubmit::default()
            }),
            limits: self.limits.edit(),
        })
    }
}

fn not_before(text: &str) -> Result<String, String> {
    if text == "now" {
        return Ok(text.to_owned());
    }
    values::moment(text).map(|time| time.to_string())
}
