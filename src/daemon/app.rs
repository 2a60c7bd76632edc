//! The composition root: every constructor call of the daemon, in the order of its dependencies.

use crate::api::limits::Limits;
use crate::api::ports::Output;
use crate::api::{self, Api};
use crate::auth::{Mode, Policy};
use crate::config::{ContainmentChoice, GroupSettings, Settings};
use crate::contain::{cgroup, identity};
use crate::control::{self, Handle};
use crate::daemon::clock::{self, Alarm};
use crate::daemon::dirs::Dirs;
use crate::daemon::effects::{Adapters, HostFacts};
use crate::daemon::feeds::Feeds;
use crate::daemon::hasten::Hastener;
use crate::daemon::health::Vitals;
use crate::daemon::launch::Launcher;
use crate::daemon::reports;
use crate::daemon::strays;
use crate::daemon::upkeep::{self, Keeping};
use crate::engine::Engine;
use crate::engine::command::Command;
use crate::events::queue::QueueOptions;
use crate::events::{Bus, BusOptions};
use crate::logs::watch::Watcher;
use crate::model::change::Change;
use crate::model::group::DEFAULT_GROUP;
use crate::model::id::{AttemptId, JobId};
use crate::model::job::Job;
use crate::model::spec::StopPolicy;
use crate::store::{Fetch, Options, Recovered, Store};
use crate::supervise::{self, Containing, LaunchContext, Listener, Supervisor};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
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
pub(super) struct Parts {
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
    /// The soft limit of open files it was started with.
    pub(super) open_files: Option<u64>,
}

/// The running daemon.
#[derive(Debug)]
pub(super) struct App {
    store: Store,
    bus: Bus,
    doors: CancellationToken,
    core: CancellationToken,
    door_tasks: TaskTracker,
    /// The control task.
    engine: JoinHandle<()>,
    keeping: watch::Sender<Keeping>,
    control: Handle,
    dirs: Dirs,
    launcher: Arc<Launcher>,
    stopping: watch::Sender<StopPolicy>,
}

impl Parts {
    /// Recovers what is stored, adopts what runs, and opens the door.
    ///
    /// # Errors
    /// With what could not be opened, and where.
    pub(super) async fn start(self) -> Result<App> {
        let Self {
            settings,
            dirs,
            policy,
            listener,
            shim,
            open_files,
        } = self;
        let boot_id = identity::boot_id().context("failed to read the boot id of this host")?;
        let (store, mut recovered) = open_store(&settings, &dirs)?;
        recover_strays(&store, &mut recovered, &dirs).await?;
        reports::clear(&dirs.reports(), &live_attempts(&recovered));
        let bus = Bus::new(BusOptions {
            epoch: recovered.epoch.clone(),
            head: recovered.head,
            oldest: recovered.oldest,
            ring: usize::try_from(settings.events.ring).unwrap_or(usize::MAX),
        });
        let core_tasks = TaskTracker::new();
        let door_tasks = TaskTracker::new();
        let watcher = Watcher::start().context("failed to start watching files")?;
        let (control, inbox) = control::door();
        let context = launch_context(&settings, &dirs, open_files);
        let hastener = match &context.containing {
            Containing::Cgroup(base) => Hastener::start(base.clone()),
            Containing::Tree { .. } | Containing::Nothing { .. } => None,
        };
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
            default_parallelism: default_parallelism(&settings),
        };
        let vitals = Vitals {
            store: store.condition(),
            trouble: troubled,
            launcher: Arc::clone(&launcher),
            supervisor: supervisor.clone(),
            watcher: watcher.clone(),
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
            hastener,
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
        let (stopping, stopping_now) = watch::channel(stop_policy(&settings));
        let doors = CancellationToken::new();
        let api = Api {
            control: control.clone(),
            bus: bus.clone(),
            archive: store.reader(),
            logs: Output {
                dir: dirs.logs(),
                watcher,
            },
            health: Arc::new(vitals),
            policy,
            stop_policy: stopping_now,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let listener =
            tokio::net::UnixListener::from_std(listener).context("failed to serve the socket")?;
        let limits = limits(&settings, api.policy.mode);
        let serving = api::serve(listener, api, limits, doors.clone(), door_tasks.clone());
        door_tasks.spawn(serving);
        let app = App {
            store,
            bus,
            control,
            dirs,
            launcher,
            stopping,
            doors,
            core,
            door_tasks,
            engine,
            keeping,
        };
        app.set_groups(settings.groups.iter()).await;
        Ok(app)
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

fn live_attempts(recovered: &Recovered) -> BTreeSet<AttemptId> {
    let live = recovered.live.iter();
    live.filter_map(Job::live_attempt).collect()
}

/// Clears away what is over, and takes up again what runs and was forgotten with a lost database.
async fn recover_strays(store: &Store, recovered: &mut Recovered, dirs: &Dirs) -> Result<()> {
    let strays = supervise::strays(&dirs.attempts()).context("failed to read the attempts")?;
    let live = live_attempts(recovered);
    let unknown: Vec<JobId> = strays.iter().map(|stray| stray.attempt.job).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let fetch = Fetch {
        jobs: unknown,
        ..Fetch::default()
    };
    let stored = store
        .fetch(fetch)
        .await
        .context("failed to look up attempts")?;
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
    let events = store
        .commit(changes)
        .await
        .context("failed to store found jobs")?;
    recovered.head = events
        .last()
        .and_then(|event| event.seq)
        .unwrap_or(recovered.head);
    for job in found {
        tracing::warn!(job = %job.id, "a running job that the database did not know was found again");
        recovered.live.push(Job::clone(&job));
    }
    Ok(())
}

fn launch_context(settings: &Settings, dirs: &Dirs, open_files: Option<u64>) -> LaunchContext {
    // One daemon per state directory, so its name tells daemons of one host apart.
    let instance = instance_name(&dirs.state);
    let containing = match settings.jobs.containment {
        ContainmentChoice::Tree => Containing::Tree {
            why: "the configuration says so (jobs.containment)".to_owned(),
        },
        ContainmentChoice::Auto | ContainmentChoice::Cgroup => match cgroup::Base::probe(&instance)
        {
            Ok(base) => Containing::Cgroup(base),
            Err(why) if settings.jobs.containment == ContainmentChoice::Auto => {
                Containing::Tree { why: why.0 }
            }
            Err(why) => Containing::Nothing { why: why.0 },
        },
    };
    LaunchContext {
        attempts: dirs.attempts(),
        reports: dirs.reports(),
        logs: dirs.logs(),
        socket: dirs.socket(),
        log_limit_bytes: settings.jobs.log_limit_bytes,
        containing,
        open_files,
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// A short name for a state directory: the FNV-1a hash of its path.
fn instance_name(state: &Path) -> String {
    let hash = state
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

fn listener_of(feeds: &Arc<Feeds>) -> Listener {
    let feeds = Arc::clone(feeds);
    Arc::new(move |report| feeds.take(report))
}

fn keeping_of(settings: &Settings) -> Keeping {
    let age = settings.store.key_age.as_millis();
    Keeping {
        events: settings.events.keep,
        keys_ms: i64::try_from(age).unwrap_or(i64::MAX),
    }
}

fn stop_policy(settings: &Settings) -> StopPolicy {
    let grace = settings.jobs.default_grace.as_millis();
    StopPolicy {
        signal: settings.jobs.stop_signal,
        grace_ms: u64::try_from(grace).unwrap_or(u64::MAX),
    }
}

/// Places of the default group: as configured, else as many as the host has CPUs.
fn default_parallelism(settings: &Settings) -> u32 {
    match settings.jobs.default_parallelism {
        0 => std::thread::available_parallelism()
            .ok()
            .and_then(|cpus| u32::try_from(cpus.get()).ok())
            .unwrap_or(1),
        places => places,
    }
}

fn limits(settings: &Settings, mode: Mode) -> Limits {
    let api = &settings.api;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let usual = Limits::of(mode);
    Limits {
        connections: count(api.max_connections),
        connections_per_uid: count(api.max_connections_per_uid),
        streams_per_uid: count(api.max_streams_per_uid),
        requests_per_second: api.requests_per_second_per_uid,
        request_burst: api.requests_per_second_per_uid.saturating_mul(2),
        body_bytes: usize::try_from(api.max_body_bytes).unwrap_or(usize::MAX),
        header_time: api.header_timeout,
        heartbeat: api.heartbeat,
        queue: QueueOptions {
            lifecycle: count(api.client_queue),
            ..usual.queue
        },
        ..usual
    }
}

impl App {
    /// Applies what of new settings counts at once.
    pub(super) async fn apply(&self, old: &Settings, new: &Settings) {
        self.keeping.send_replace(keeping_of(new));
        self.stopping.send_replace(stop_policy(new));
        let open_files = self.launcher.context().open_files;
        self.launcher
            .set_context(launch_context(new, &self.dirs, open_files));
        let changed = new
            .groups
            .iter()
            .filter(|(name, group)| old.groups.get(*name) != Some(*group));
        self.set_groups(changed).await;
        if default_parallelism(old) != default_parallelism(new) {
            let group = GroupSettings {
                parallelism: default_parallelism(new),
            };
            self.set_groups([(&DEFAULT_GROUP.to_owned(), &group)].into_iter())
                .await;
        }
    }

    /// Makes or changes groups as the configuration says.
    async fn set_groups(&self, groups: impl Iterator<Item = (&String, &GroupSettings)>) {
        for (name, group) in groups {
            let command = Command::SetGroup {
                name: name.clone(),
                parallelism: Some(group.parallelism),
                paused: None,
            };
            if let Err(error) = self.control.command(command).await {
                tracing::error!(group = name, %error, "a group of the configuration cannot be set");
            }
        }
    }

    /// Ends when the control task does by itself: the database is damaged, or there is a bug.
    pub(super) async fn failed(&mut self) -> &'static str {
        // Whether it returned or panicked, nothing decides any more.
        drop((&mut self.engine).await);
        "nothing can be decided any more, see above; running jobs go on, start stoked again"
    }

    /// Closes the doors, finishes what was asked, and leaves the jobs to their shims.
    pub(super) async fn drain(self) {
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
