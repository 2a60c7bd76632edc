//! Composition root of the daemon: settings, adapters, doors, drain.

mod adapters;
mod app;
mod archiving;
mod args;
mod census;
mod clock;
mod devices;
mod dirs;
mod effects;
mod environment;
mod feeds;
mod flows;
mod hasten;
mod health;
mod journal;
mod launch;
mod log_dirs;
mod logging;
mod measuring;
mod notices;
mod recovery;
mod reports;
mod stop;
mod strays;
mod tuning;
mod upkeep;

use crate::auth::Mode;
use crate::config::Settings;
use crate::config::load::{self, Loaded, Sources};
use crate::config::paths::{self, Surroundings};
use crate::contain::inherited;
use crate::daemon::adapters::Shelf;
use crate::daemon::app::{App, Parts};
use crate::daemon::args::Args;
use crate::daemon::dirs::{Dirs, Lock};
use crate::progress::adapters::load as adapter_files;
use crate::sampling::gpu::eyes;
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Worker threads of the runtime: the work is waiting, not computing.
const WORKERS: usize = 2;

/// The first descriptor after the standard ones; those of socket activation begin there.
const FIRST_PASSED: i32 = 3;

/// Runs the daemon; returns what the process ends with.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::of_process() {
        Ok(args) => args,
        Err(error) => return fail(false, &anyhow::Error::new(error).context(UNWRITTEN)),
    };
    match args.as_ref().map_or(Ok(()), run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(args.is_some_and(|args| args.detach), &error),
    }
}

/// What went wrong where what was asked for does not get out.
const UNWRITTEN: &str = "failed to write to standard output";

/// As a shell reports a process that SIGPIPE ended.
const NOT_READ: u8 = 141;

fn fail(detached: bool, error: &anyhow::Error) -> ExitCode {
    let cause = error.downcast_ref::<std::io::Error>();
    if error.downcast_ref() == Some(&UNWRITTEN)
        && cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    {
        // Nobody reads on, which is no news to whoever did not.
        return ExitCode::from(NOT_READ);
    }
    complain(detached, &format!("stoked: {error:#}"));
    ExitCode::FAILURE
}

/// Says what keeps it from running: to who started it, and to the log where there is one.
#[expect(
    clippy::print_stderr,
    reason = "the one place where the daemon's end is told"
)]
fn complain(detached: bool, message: &str) {
    if detached {
        tell_starter(message);
    }
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{message}");
    } else {
        eprintln!("{message}");
    }
}

fn run(args: &Args) -> Result<()> {
    if args.man {
        return print(|out| Args::write_manual(out));
    }
    if let Some(kind) = &args.gpu_eyes {
        return look_at_gpus(kind);
    }
    close_inherited(passed_descriptors());
    let around = Surroundings::of_process();
    let mode = mode(args, &around)?;
    let sources = sources(args, mode, &around)?;
    let loaded = load::load(&sources)?;
    let adapter_dirs = around.adapter_dirs(!mode.is_system());
    if args.check_config {
        return show_config(&loaded, mode, &adapter_dirs);
    }
    let settings = Arc::new(loaded.settings);
    let dirs = directories(mode, &settings, &around)?;
    dirs.make(if mode.is_system() { 0o755 } else { 0o700 })?;
    if args.detach {
        // It may lead its process group already, when somebody starts it by hand; then it stays.
        let _new_session = setsid();
    }
    logging::start(&settings.daemon.log, args.detach.then_some(&dirs))?;
    let lock = Lock::take(&dirs.state)?;
    let open_files = raise_file_limit();
    let listener = bind(&dirs.socket(), mode)?;
    let shim = find_shim()?;
    let parts = Parts {
        settings: Arc::clone(&settings),
        dirs: dirs.clone(),
        policy: tuning::policy(&settings, mode),
        listener,
        shim,
        open_files,
        shelf: Arc::new(Shelf::of(adapter_dirs)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(32)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let outcome = runtime.block_on(serve(args, &sources, parts));
    // Tasks that attend to shims wait for ever; the shims go on without them.
    runtime.shutdown_background();
    drop(lock);
    outcome
}

/// Serves until a signal ends it.
async fn serve(args: &Args, sources: &Sources, parts: Parts) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to hear SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to hear SIGINT")?;
    let mut reload = signal(SignalKind::hangup()).context("failed to hear SIGHUP")?;
    let mut settings = Arc::clone(&parts.settings);
    let socket = parts.dirs.socket();
    let mut app = parts.start().await?;
    tracing::info!(socket = %socket.display(), pid = std::process::id(), "ready");
    notices::ready();
    if args.detach {
        tell_starter("ready");
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            why = app.failed() => bail!("{why}"),
            _ = reload.recv() => {
                notices::reloading();
                app.reload_adapters().await;
                match load::load(sources) {
                    Ok(loaded) => settings = apply(&app, &settings, loaded.settings).await,
                    Err(error) => tracing::error!("the configuration stays as it was: failed to {error}"),
                }
                notices::ready();
            }
        }
    }
    if let Some(cause) = stop::cause(settings.jobs.on_stop)
        && stop::is_for_good(app.mode()).await
    {
        tracing::info!("going down; jobs end first, as the configuration says (jobs.on_stop)");
        tokio::select! {
            () = app.end_jobs(cause) => {}
            // Whoever says so twice does not want to wait.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    tracing::info!("going down; running jobs go on");
    notices::stopping();
    app.drain().await;
    Ok(())
}

/// Applies what can be applied live, and says what cannot.
async fn apply(app: &App, old: &Settings, new: Settings) -> Arc<Settings> {
    let changes = Settings::live_changes(old, &new);
    app.apply(old, &new).await;
    if changes.applied.is_empty() {
        tracing::info!("the configuration was read again; nothing in it counts anew");
    } else {
        let applied = changes.applied.join(", ");
        tracing::info!(applied, "the configuration was read again");
    }
    if !changes.needs_restart.is_empty() {
        let keys = changes.needs_restart.join(", ");
        tracing::warn!(keys, "these settings count after a restart of the daemon");
    }
    Arc::new(new)
}

/// Where the configuration comes from.
fn sources(args: &Args, mode: Mode, around: &Surroundings) -> Result<Sources> {
    let mut sources = if mode.is_system() {
        let (state, runtime) = (around.system_state_dir(), around.system_runtime_dir());
        let defaults = Settings::of_system(&state, &runtime);
        Sources::of(defaults, Path::new(paths::SYSTEM_CONFIG_DIR))
    } else {
        let (state, runtime) = (around.user_state_dir()?, around.user_runtime_dir());
        let defaults = Settings::of_user(&state, &runtime.path);
        Sources::of(defaults, &around.user_config_dir()?)
    };
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    sources.only = args.config.clone().or(variable("STOKED_CONFIG"));
    sources.state_dir = args.state_dir.clone().or(around.stoked_state_dir.clone());
    sources.runtime_dir = args
        .runtime_dir
        .clone()
        .or(around.stoked_runtime_dir.clone());
    Ok(sources)
}

/// Prints what is in force and which files say so; fails where an adapter is wrong, which no start would.
fn show_config(loaded: &Loaded, mode: Mode, adapter_dirs: &[PathBuf]) -> Result<()> {
    let adapters = adapter_files::load(adapter_dirs);
    print(|out| {
        for file in loaded.files.iter().chain(&adapters.files) {
            writeln!(out, "# {}", file.display())?;
        }
        if let Some(why) = tuning::unused_pam(&loaded.settings, mode) {
            writeln!(out, "# {why}")?;
        }
        for line in loaded.settings.lines() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    })?;
    let problems = adapters.problems.iter().map(ToString::to_string);
    let problems = problems.collect::<Vec<_>>().join("\n");
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("failed to read some adapters, which would be left out:\n{problems}")
    }
}

/// Writes to standard output what was asked for, all of it or an error.
fn print(write: impl FnOnce(&mut std::io::StdoutLock<'_>) -> std::io::Result<()>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = write(&mut out).and_then(|()| out.flush());
    written.context(UNWRITTEN)
}

fn mode(args: &Args, around: &Surroundings) -> Result<Mode> {
    match (args.user, args.system) {
        (_, true) if around.uid != 0 => {
            bail!("--system serves every user and needs root: start it with sudo, or use --user")
        }
        (_, true) => Ok(Mode::System),
        (true, _) => Ok(Mode::User { uid: around.uid }),
        (false, false) if around.uid == 0 => Ok(Mode::System),
        (false, false) => Ok(Mode::User { uid: around.uid }),
    }
}

/// The directories, absolute; refuses a runtime directory that a stranger may have put there.
fn directories(mode: Mode, settings: &Settings, around: &Surroundings) -> Result<Dirs> {
    let runtime = &settings.daemon.runtime_dir;
    let usual = around.user_runtime_dir();
    if !mode.is_system() && usual.in_shared_place && usual.path == *runtime && runtime.exists() {
        paths::check_private(runtime, around.uid)
            .context("failed to trust the runtime directory")?;
    }
    let absolute = |dir: &Path| {
        std::path::absolute(dir).with_context(|| format!("failed to resolve {}", dir.display()))
    };
    Ok(Dirs {
        state: absolute(&settings.daemon.state_dir)?,
        runtime: absolute(runtime)?,
    })
}

/// Binds the socket, in place of what a killed daemon left there: the lock says that none is alive.
fn bind(socket: &Path, mode: Mode) -> Result<UnixListener> {
    let listener = match listenfd::ListenFd::from_env().take_unix_listener(0) {
        Ok(Some(listener)) => listener,
        _ => {
            match std::fs::remove_file(socket) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("failed to replace {}", socket.display()));
                }
                _ => {}
            }
            let listener = UnixListener::bind(socket)
                .with_context(|| format!("failed to listen on {}", socket.display()))?;
            // Whoever may connect is decided by who they are, not by the file.
            let bits = if mode.is_system() { 0o666 } else { 0o600 };
            std::fs::set_permissions(socket, std::fs::Permissions::from_mode(bits))
                .with_context(|| format!("failed to set the mode of {}", socket.display()))?;
            listener
        }
    };
    listener
        .set_nonblocking(true)
        .context("failed to make the socket non-blocking")?;
    Ok(listener)
}

/// The shim belongs to this build: beside the daemon, or in the libexec directory next to it.
fn find_shim() -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the own executable")?;
    let dir = own.parent().unwrap_or(Path::new("/"));
    let places = [
        dir.join("stoked-shim"),
        dir.join("../libexec/stoked/stoked-shim"),
    ];
    let mut found = places.iter().filter(|place| place.is_file());
    match found.find_map(|place| place.canonicalize().ok()) {
        Some(place) => Ok(place),
        None => bail!(
            "failed to find stoked-shim, looked at {} and {}: install stoked completely",
            places[0].display(),
            places[1].display()
        ),
    }
}

/// Every client and every running attempt costs a descriptor. Says what the soft limit was: jobs get it back.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
    limit.current
}

/// Looks at GPUs until the daemon that asks is gone: it is kept apart, as a driver may hang or crash.
fn look_at_gpus(kind: &str) -> Result<()> {
    close_inherited(0);
    // Started through a link to the program, it would be called like that. Only its looks depend on it.
    let _named = rustix::thread::set_name(c"stoked-gpu");
    let kind = kind.parse().map_err(|error| anyhow!("failed to {error}"))?;
    let places = eyes::Places::of_environment(|name| std::env::var_os(name));
    let input = std::io::BufReader::new(std::io::stdin());
    eyes::run(kind, places, input, std::io::stdout()).context("failed to look at GPUs")
}

/// How many descriptors of socket activation there are; they are meant for this process.
fn passed_descriptors() -> i32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    number("LISTEN_FDS").unwrap_or(0)
}

/// Closes what whoever started this process had open, such as a lock or the pipe of a command substitution:
/// a daemon and its jobs would hold it for ever.
fn close_inherited(passed: i32) {
    inherited::close_from(FIRST_PASSED.saturating_add(passed));
}

/// The client that started this daemon reads one line from its standard output.
fn tell_starter(line: &str) {
    let mut out = std::io::stdout();
    // A starter that has left does not wait for this line.
    let _told = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Ok(null) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        let _closed = rustix::stdio::dup2_stdout(&null);
        let _closed = rustix::stdio::dup2_stderr(&null);
        let _closed = rustix::stdio::dup2_stdin(&null);
    }
}
