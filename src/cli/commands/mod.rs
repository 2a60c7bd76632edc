//! One file per command; this one lists and dispatches, nothing else.

pub mod adapters;
pub mod archive;
pub mod bar;
pub mod cancel;
pub mod compare;
pub mod doctor;
pub mod drain;
pub mod edit;
pub mod flows;
pub mod generate;
pub mod gpus;
pub mod groups;
pub mod health;
pub mod host;
pub mod job_options;
mod limit_options;
pub mod list;
pub mod logs;
pub mod progress;
pub mod run;
pub mod series;
pub mod show;
pub mod signal;
pub mod submit;
pub mod verbs;
pub mod wait;
pub mod watch;

use crate::cli::Session;
use crate::cli::error::CliError;
pub use logs::write as write_log;
pub use watch::progress_of;

use clap::Subcommand;
use std::process::ExitCode;

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command as a job, show its output, and end with its exit status
    Run(Box<run::RunArgs>),
    /// Submit the jobs of a TOML file
    Submit(Box<submit::SubmitArgs>),
    /// List jobs: live ones first, then the last that ended
    #[command(visible_alias = "list")]
    Ls(list::ListArgs),
    /// Show everything about jobs
    Show(show::ShowArgs),
    /// Print what a job wrote
    Logs(logs::LogsArgs),
    /// Wait until jobs have ended, and end with their exit status
    Wait(wait::WaitArgs),
    /// Watch events as they happen
    Watch(watch::WatchArgs),
    /// End jobs, or keep them from starting
    Cancel(cancel::CancelArgs),
    /// Send a signal to jobs
    Signal(signal::SignalArgs),
    /// Freeze running jobs
    Pause(verbs::JobsArgs),
    /// Let paused jobs go on
    Resume(verbs::JobsArgs),
    /// Keep waiting jobs from starting
    Hold(verbs::JobsArgs),
    /// Let held jobs go
    Release(verbs::JobsArgs),
    /// Let jobs go that wait for an approval
    Approve(verbs::JobsArgs),
    /// Cancel jobs that wait for an approval
    Reject(verbs::JobsArgs),
    /// Queue finished jobs again, as their next attempt
    Retry(verbs::JobsArgs),
    /// End jobs, and queue them again
    Restart(cancel::RestartArgs),
    /// Change jobs that wait
    Edit(Box<edit::EditArgs>),
    /// Forget finished jobs with their output and history
    #[command(visible_alias = "remove")]
    Rm(verbs::JobsArgs),
    /// Report progress from inside a job
    Progress(progress::ProgressArgs),
    /// List flows, or show one with its jobs
    Flows(flows::FlowsArgs),
    /// List groups, or change one
    Groups(groups::GroupsArgs),
    /// Let no job start any more, so that the host can be taken down
    Drain(drain::DrainArgs),
    /// Show the GPUs: how busy they are, and with whose work
    Gpus(gpus::GpusArgs),
    /// Show how busy the host is, and with what
    Host,
    /// List what was measured over time, print it, or write it to a file
    Series(series::SeriesArgs),
    /// Compare runs: their metrics and what they used, at equal time, step or percent
    Compare(compare::CompareArgs),
    /// List what reads the progress of programs from their output, or try it on some output
    Adapters(adapters::AdaptersArgs),
    /// Show the archive of finished jobs, fill it now, or get jobs back from it
    Archive(archive::ArchiveArgs),
    /// Print one line for each change, for a bar of a desktop
    Bar(bar::BarArgs),
    /// Say how the daemon is, part by part
    Health,
    /// Say what this host supports, and which daemon would be used
    Doctor,
    /// Print completions for a shell
    Completions(generate::CompletionsArgs),
    /// Print the manual page, or write all of them
    Man(generate::ManArgs),
}

/// Carries out `command`.
///
/// # Errors
/// Whatever the command could not do.
pub async fn dispatch(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Run(args) => run::run(session, *args).await,
        Command::Submit(args) => submit::run(session, *args).await,
        Command::Ls(args) => list::run(session, args).await,
        Command::Show(args) => show::run(session, args).await,
        Command::Logs(args) => logs::run(session, args).await,
        Command::Wait(args) => wait::run(session, args).await,
        Command::Watch(args) => watch::run(session, args).await,
        Command::Cancel(args) => cancel::run(session, args).await,
        Command::Signal(args) => signal::run(session, args).await,
        Command::Pause(args) => verbs::run(session, verbs::Verb::Pause, args).await,
        Command::Resume(args) => verbs::run(session, verbs::Verb::Resume, args).await,
        Command::Hold(args) => verbs::run(session, verbs::Verb::Hold, args).await,
        Command::Release(args) => verbs::run(session, verbs::Verb::Release, args).await,
        Command::Approve(args) => verbs::run(session, verbs::Verb::Approve, args).await,
        Command::Reject(args) => verbs::run(session, verbs::Verb::Reject, args).await,
        Command::Retry(args) => verbs::run(session, verbs::Verb::Retry, args).await,
        Command::Restart(args) => cancel::restart(session, args).await,
        Command::Edit(args) => edit::run(session, *args).await,
        Command::Rm(args) => verbs::run(session, verbs::Verb::Remove, args).await,
        Command::Progress(args) => progress::run(session, args).await,
        Command::Flows(args) => flows::run(session, args).await,
        Command::Groups(args) => groups::run(session, args).await,
        Command::Drain(args) => drain::run(session, args).await,
        Command::Gpus(args) => gpus::run(session, args).await,
        Command::Host => host::run(session).await,
        Command::Series(args) => series::run(session, args).await,
        Command::Compare(args) => compare::run(session, args).await,
        Command::Adapters(args) => adapters::run(session, args),
        Command::Archive(args) => archive::run(session, args).await,
        Command::Bar(args) => bar::run(session, args).await,
        Command::Health => health::run(session).await,
        Command::Doctor => doctor::run(session).await,
        Command::Completions(args) => generate::completions(session, &args),
        Command::Man(args) => generate::man(session, &args),
    }
}
