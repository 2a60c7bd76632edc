//! The composition root: every constructor call of the daemon, in the order of its dependencies.

use crate::api::limits::Limits;
use crate::api::{self, Api};
use crate::auth::Policy;
use crate::config::{Containment, Settings};
use crate::contain::{cgroup, identity};
use crate::control;
use crate::daemon::archive::{Logs, Stored};
use crate::daemon::clock::{self, Alarm};
use crate::daemon::dirs::Dirs;
use crate::daemon::effects::{Adapters, HostFacts};
use crate::daemon::feeds::Feeds;
use crate::daemon::health::Vitals;
use crate::daemon::launch::Launcher;
use crate::daemon::strays;
use crate::daemon::upkeep::{self, Keeping};
use crate::engine::Engine;
use crate::events::{Bus, BusOptions};
use crate::logs::watch::Watcher;
use crate::model::change::Change;
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::model::spec::StopPolicy;
use crate::store::{Fetch, Options, Recovered, Store};
use crate::supervise::{self, Containing, LaunchContext, Listener, Supervisor};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When clients may come back after a shutdown: a restart takes less.
const RETRY_MS: u64 = 500;

/// Longest time clients, and then the store, may take to finish at a shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// What the daemon is built from.
#[derive(Debug)]
pub struct Parts {
    /// What may be relied on.
    pub settings: Arc<Settings>,
    /// Its directories, made.
    pub dirs: Dirs,
    /// Who may do what.
    pub policy: Policy,
    /// The bound socket.
    pub listener: UnixListener,
    /// The shim's executable.
    pub shim: PathBuf,
}

/// The running daemon.
#[derive(Debug)]
pub struct App {
    store: Store,
    bus: Bus,
    doors: CancellationToken,
    core: CancellationToken,
    door_tasks: TaskTracker,
    /// The control task.
    engine: JoinHandle<()>,
    keeping: watch::Sender<Keeping>,
}

impl Parts {
    /// Recovers what is stored, adopts what runs, and opens the door.
    ///
    /// # Errors
    /// With what could not be opened, and where.
    pub async fn start(self) -> Result<App> {
        let Self {
            settings,
            dirs,
            policy,
            listener,
            shim,
        } = self;
        let boot_id = identity::boot_id().context("failed to read the boot id of this host")?;
        let (store, mut recovered) = open_store(&settings, &dirs)?;
        recover_strays(&store, &mut recovered, &dirs).await?;
        let bus = Bus::new(BusOptions {
            epoch: recovered.epoch.clone(),
            head: recovered.head,
            oldest: recovered.oldest,
            ring: settings.events.ring,
        });
        let core_tasks = TaskTracker::new();
        let door_tasks = TaskTracker::new();
        let watcher = Watcher::start().context("failed to start watching files")?;
        let (control, inbox) = control::door();
        let context = launch_context(&settings, &dirs);
        let containing = context.containing.clone();
        let launcher = Arc::new(Launcher::new(context, store.reader()));
        let feeds = Arc::new(Feeds::new(
            control.clone(),
            watcher.clone(),
            core_tasks.clone(),
        ));
        let supervisor = Supervisor::new(
            &dirs.attempts(),
            shim,
            boot_id.clone(),
            clock::now,
            listener_of(&feeds),
            core_tasks.clone(),
        );
        let (trouble, troubled) = watch::channel(None);
        let trim_due = Arc::new(Notify::new());
        let host = HostFacts {
            boot_id,
            default_parallelism: settings.jobs.parallelism(),
        };
        let vitals = Vitals {
            store: store.condition(),
            trouble: troubled,
            containing,
            supervisor: supervisor.clone(),
            watcher: watcher.clone(),
            socket: dirs.socket(),
            state: dirs.state.clone(),
        };
        let adapters = Adapters {
            store: store.clone(),
            bus: bus.clone(),
            supervisor,
            launcher: Arc::clone(&launcher),
            feeds,
            logs: dirs.logs(),
            alarm: Alarm::start().context("failed to set up the alarm clock")?,
            host: host.clone(),
            trouble,
            trim_due: Arc::clone(&trim_due),
            published: 0,
            tasks: core_tasks.clone(),
            last_points: BTreeMap::new(),
        };
        let (recovered_engine, first) = Engine::recover(host.recovery(recovered), clock::now());
        let core = CancellationToken::new();
        let task = inbox.into_task(recovered_engine, first, adapters);
        let stop = core.clone();
        let engine = core_tasks.spawn(async move { task.run(stop).await });
        core_tasks.spawn(upkeep::probe(store.clone(), core.clone()));
        let (keeping, kept) = watch::channel(keeping_of(&settings));
        core_tasks.spawn(upkeep::trim(
            store.clone(),
            bus.clone(),
            kept,
            trim_due,
            core.clone(),
        ));
        let doors = CancellationToken::new();
        let api = Api {
            control: control.clone(),
            bus: bus.clone(),
            archive: Arc::new(Stored::new(store.reader())),
            logs: Arc::new(Logs::new(dirs.logs(), watcher)),
            health: Arc::new(vitals),
            policy,
            stop_policy: StopPolicy::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let listener = tokio::net::UnixListener::from_std(listener)
            .context("failed to serve the socket")?;
        let limits = Limits::of(api.policy.mode);
        let serving = api::serve(listener, api, limits, doors.clone(), door_tasks.clone());
        door_tasks.spawn(serving);
        Ok(App {
            store,
            bus,
            doors,
            core,
            door_tasks,
            engine,
            keeping,
        })
    }
}

fn open_store(settings: &Settings, dirs: &Dirs) -> Result<(Store, Recovered)> {
    let numbers = [dirs.attempts(), dirs.logs()].into_iter().flat_map(|dir| {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.flatten().map(|entry| entry.file_name())
    });
    let options = Options {
        id_floor: strays::largest_number(numbers),
        ballast_bytes: settings.store.ballast_bytes,
    };
    let opened = Store::open(&dirs.state, options).context("failed to open the store")?;
    if let Some(aside) = &opened.set_aside {
        tracing::error!(
            why = aside.why,
            path = %aside.path.display(),
            jobs = aside.jobs,
            "the database was damaged; it is kept under another name, and a new one is begun"
        );
    }
    Ok((opened.store, opened.recovered))
}

/// Clears away what is over, and takes up again what runs and was forgotten with a lost database.
async fn recover_strays(store: &Store, recovered: &mut Recovered, dirs: &Dirs) -> Result<()> {
    let strays = supervise::strays(&dirs.attempts()).context("failed to read the attempts")?;
    let live = recovered.live.iter().filter_map(Job::live_attempt).collect();
    let unknown: Vec<JobId> = strays.iter().map(|stray| stray.attempt.job).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let fetch = Fetch {
        jobs: unknown,
        ..Fetch::default()
    };
    let stored = store.fetch(fetch).await.context("failed to look up attempts")?;
    let stored = stored.jobs.iter().map(|job| job.id).collect();
    let verdict = strays::judge(strays, &live, &stored, clock::now());
    for attempt in verdict.dismissed {
        let dir = dirs.attempts().join(attempt.to_string());
        supervise::dismiss(&dir);
    }
    for attempt in verdict.strange {
        tracing::warn!(%attempt, "an attempt that nobody knows is left alone");
    }
    if verdict.found.is_empty() {
        return Ok(());
    }
    let found = verdict.found.into_iter().map(Arc::new);
    let changes: Vec<Change> = found.clone().map(|job| Change::JobAdded { job }).collect();
    let events = store.commit(changes).await.context("failed to store found jobs")?;
    recovered.head = events.last().and_then(|event| event.seq).unwrap_or(recovered.head);
    for job in found {
        tracing::warn!(job = %job.id, "a running job that the database did not know was found again");
        recovered.live.push(Job::clone(&job));
    }
    Ok(())
}

fn launch_context(settings: &Settings, dirs: &Dirs) -> LaunchContext {
    // One daemon per state directory, so its name tells daemons of one host apart.
    let instance = instance_name(&dirs.state);
    let containing = match settings.jobs.containment {
        Containment::Tree => Containing::Tree {
            why: "the configuration says so (jobs.containment)".to_owned(),
        },
        Containment::Auto | Containment::Cgroup => match cgroup::Base::probe(&instance) {
            Ok(base) => Containing::Cgroup(base),
            Err(why) => Containing::Tree { why: why.0 },
        },
    };
    LaunchContext {
        attempts: dirs.attempts(),
        logs: dirs.logs(),
        socket: dirs.socket(),
        log_limit_bytes: settings.jobs.log_limit_bytes,
        containing,
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// A short name for a state directory: the FNV-1a hash of its path.
fn instance_name(state: &Path) -> String {
    let hash = state.as_os_str().as_encoded_bytes().iter().fold(
        0xcbf2_9ce4_8422_2325_u64,
        |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3),
    );
    format!("{hash:016x}")
}

fn listener_of(feeds: &Arc<Feeds>) -> Listener {
    let feeds = Arc::clone(feeds);
    Arc::new(move |report| feeds.take(report))
}

fn keeping_of(settings: &Settings) -> Keeping {
    Keeping {
        events: settings.events.keep,
        keys_ms: 24 * 3600 * 1000,
    }
}

impl App {
    /// Applies what of new settings counts at once.
    pub fn apply(&self, settings: &Settings) {
        self.keeping.send_replace(keeping_of(settings));
    }

    /// Ends when the control task does, which it only does by a bug: says so.
    pub async fn failed(&mut self) -> &'static str {
        // Whether it returned or panicked, nothing decides any more.
        drop((&mut self.engine).await);
        "the control task has ended, which is a bug; running jobs go on, start stoked again"
    }

    /// Closes the doors, finishes what was asked, and leaves the jobs to their shims.
    pub async fn drain(self) {
        self.bus.close(RETRY_MS);
        self.doors.cancel();
        self.door_tasks.close();
        let closed = tokio::time::timeout(DRAIN, self.door_tasks.wait()).await;
        if closed.is_err() {
            tracing::warn!("some clients were cut off");
        }
        self.core.cancel();
        drop(tokio::time::timeout(DRAIN, self.engine).await);
        let store = self.store;
        let stored = tokio::task::spawn_blocking(move || store.close());
        drop(tokio::time::timeout(DRAIN, stored).await);
    }
}
