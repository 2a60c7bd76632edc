//! The composition root: every constructor call of the daemon, in the order of its dependencies.

use crate::api::Api;
use crate::api::local::Local;
use crate::api::ports::{ArchiveDesk, Output};
use crate::auth::{Mode, Policy};
use crate::config::{GroupSettings, Settings};
use crate::contain::identity;
use crate::control::{self, Handle};
use crate::daemon::adapters::Shelf;
use crate::daemon::archiving::{self, Archivist, Bells, Rules};
use crate::daemon::census::{Census, Overview};
use crate::daemon::clock::{self, Alarm};
use crate::daemon::dirs::Dirs;
use crate::daemon::effects::{Adapters, HostFacts};
use crate::daemon::feeds::Feeds;
use crate::daemon::flows::flows;
use crate::daemon::hasten::Hastener;
use crate::daemon::health::Vitals;
use crate::daemon::launch::Launcher;
use crate::daemon::measuring::{self, Measuring, Owners, SamplerGauges};
use crate::daemon::notices;
use crate::daemon::recovery::{live_attempts, open_store, recall_progress, recover_strays};
use crate::daemon::reports;
use crate::daemon::stop;
use crate::daemon::tuning::{
    containing, default_parallelism, estimating, keeping_of, launch_context, limits, pace_ms,
    quota, rules, samples_retention, stop_policy,
};
use crate::daemon::upkeep::{self, Keeping};
use crate::dbus;
use crate::engine::Engine;
use crate::engine::command::Command;
use crate::events::{Bus, BusOptions};
use crate::logs::watch::Watcher;
use crate::model::group::{DEFAULT_GROUP, Group};
use crate::model::spec::StopPolicy;
use crate::model::state::StopCause;
use crate::sampling::files::Roots;
use crate::sampling::gpu::links::{self, GpuLinks};
use crate::sampling::senses::HostSenses;
use crate::sampling::{Clocks, Sampler, Waker};
use crate::store::{Retention, Samples, Store};
use crate::supervise::{Containing, Listener, Supervisor};
use anyhow::{Context, Result};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
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
    /// How output is read.
    pub(super) shelf: Arc<Shelf>,
}

/// The running daemon.
#[derive(Debug)]
pub(super) struct App {
    mode: Mode,
    store: Store,
    bus: Bus,
    doors: CancellationToken,
    core: CancellationToken,
    door_tasks: TaskTracker,
    /// The control task.
    engine: JoinHandle<()>,
    keeping: watch::Sender<Keeping>,
    rules: watch::Sender<Rules>,
    control: Handle,
    dirs: Dirs,
    launcher: Arc<Launcher>,
    sampler: Sampler,
    samples: Samples,
    retention: watch::Sender<Retention>,
    feeds: Arc<Feeds>,
    shelf: Arc<Shelf>,
    stopping: watch::Sender<StopPolicy>,
    overview: watch::Receiver<Overview>,
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
            shelf,
        } = self;
        let mode = policy.mode;
        let boot_id = identity::boot_id().context("failed to read the boot id of this host")?;
        let (store, mut recovered) = open_store(&settings, &dirs)?;
        recover_strays(&store, &mut recovered, &dirs).await?;
        let left_reports = reports::left_behind(&dirs.reports(), &live_attempts(&recovered));
        let bus = Bus::new(BusOptions {
            epoch: recovered.epoch.clone(),
            head: recovered.head,
            oldest: recovered.oldest,
            ring: usize::try_from(settings.events.ring).unwrap_or(usize::MAX),
        });
        let core_tasks = TaskTracker::new();
        let door_tasks = TaskTracker::new();
        if !left_reports.is_empty() {
            core_tasks
                .spawn_blocking(move || left_reports.iter().for_each(|it| reports::remove(it)));
        }
        if shelf.has_files() {
            shelf.begin(&core_tasks);
        }
        let watcher = Watcher::start().context("failed to start watching files")?;
        let (control, inbox) = control::door();
        let containing = containing(&settings, &dirs, mode).await;
        let keeper = shim.with_file_name("stoked-pam");
        let context = launch_context(&settings, &dirs, mode, containing, open_files, keeper);
        let hastener = match &context.containing {
            Containing::Cgroup(base) => Hastener::start(base.clone()),
            Containing::Services(_) | Containing::Tree { .. } | Containing::Nothing { .. } => None,
        };
        let launcher = Arc::new(Launcher::new(context, store.reader()));
        let owners = Owners::default();
        let samples = Samples::open(&dirs.state.join("samples"));
        let samples = samples.context("failed to begin storing samples")?;
        let sink = measuring::sink(
            bus.clone(),
            control.clone(),
            samples.clone(),
            Arc::clone(&owners),
        );
        let looking = links::Settings::of_process(&settings.sampling.nvml_library);
        let pids = looking.pids;
        let clocks = Clocks {
            now: clock::now,
            slept_ms: clock::slept_ms,
        };
        let senses = |waker: Waker| {
            let gpus = GpuLinks::new(looking, Arc::new(move || waker.wake()));
            HostSenses::new(&Roots::default(), gpus, clocks)
        };
        let sampler = Sampler::start(measuring::rules(&settings.sampling), clocks, senses, sink);
        let sampler = sampler.context("failed to start sampling")?;
        let measuring = Measuring {
            sampler: sampler.clone(),
            samples: samples.clone(),
            owners: Arc::clone(&owners),
        };
        let feeds = Arc::new(Feeds::new(
            control.clone(),
            watcher.clone(),
            measuring,
            core_tasks.clone(),
            estimating(&settings, &dirs),
        ));
        let supervisor = Supervisor::new(
            &dirs.attempts(),
            shim,
            boot_id.clone(),
            clock::now,
            listener_of(&feeds),
            core_tasks.clone(),
        );
        let doors = CancellationToken::new();
        let (trouble, troubled) = watch::channel(None);
        let trim_due = Arc::new(Notify::new());
        let bells = Bells::default();
        let (desk, errands, standing) = ArchiveDesk::new();
        let host = HostFacts {
            boot_id,
            default_parallelism: default_parallelism(&settings),
            pace_ms: pace_ms(&settings),
            quota: quota(&settings),
        };
        let (on_bus, standing_on_bus) = watch::channel(match settings.dbus.enabled {
            true => "a bus is looked for".to_owned(),
            false => "no bus is used, as the configuration says (dbus.enabled)".to_owned(),
        });
        let census = Census::of(&recovered.live, recovered.gates.draining);
        let overview = census.follow();
        let vitals = Vitals {
            store: store.condition(),
            trouble: troubled,
            launcher: Arc::clone(&launcher),
            supervisor: supervisor.clone(),
            watcher: watcher.clone(),
            shelf: Arc::clone(&shelf),
            desk: desk.clone(),
            reader: store.reader(),
            sampler: sampler.clone(),
            pids,
            samples: samples.clone(),
            bus: standing_on_bus,
            overview: overview.clone(),
            state: dirs.state.clone(),
        };
        bus.publish(&recall_progress(&store, &mut recovered.live));
        let (flow_feed, flow_teller) = flows(&recovered.live, store.reader(), bus.clone());
        door_tasks.spawn(until(&doors, notices::describe(overview.clone())));
        door_tasks.spawn(until(&doors, notices::live(control.clone())));
        let adapters = Adapters {
            store: store.clone(),
            control: control.clone(),
            bus: bus.clone(),
            supervisor,
            launcher: Arc::clone(&launcher),
            sampler: sampler.clone(),
            feeds: Arc::clone(&feeds),
            shelf: Arc::clone(&shelf),
            logs: dirs.logs(),
            alarm: Alarm::start().context("failed to set up the alarm clock")?,
            host: host.clone(),
            trouble,
            hastener,
            trim_due: Arc::clone(&trim_due),
            bells: bells.clone(),
            published: 0,
            flows: flow_feed,
            census,
            tasks: core_tasks.clone(),
        };
        let (recovered_engine, first) = Engine::recover(host.recovery(recovered), clock::now());
        let core = CancellationToken::new();
        let task = inbox.into_task(recovered_engine, first, adapters);
        let stop = core.clone();
        let engine = core_tasks.spawn(async move { task.run(stop).await });
        core_tasks.spawn(flow_teller.run(core.clone()));
        core_tasks.spawn(upkeep::probe(store.clone(), core.clone()));
        let (retention, retained) = watch::channel(samples_retention(&settings));
        core_tasks.spawn(upkeep::retain(samples.clone(), retained, core.clone()));
        let (keeping, kept) = watch::channel(keeping_of(&settings));
        core_tasks.spawn(upkeep::trim(
            store.clone(),
            bus.clone(),
            kept,
            trim_due,
            core.clone(),
        ));
        let (rules, ruled) = watch::channel(rules(&settings));
        let tools = archiving::Tools {
            archive: store.archive(),
            store: store.clone(),
            control: control.clone(),
            bus: bus.clone(),
            samples: samples.clone(),
            logs: dirs.logs(),
            stop: core.clone(),
        };
        let archivist = Archivist::new(tools, ruled, bells, (errands, standing));
        core_tasks.spawn(archivist.run());
        let (stopping, stopping_now) = watch::channel(stop_policy(&settings));
        let api = Api {
            control: control.clone(),
            bus: bus.clone(),
            archive: store.reader(),
            desk,
            logs: Output {
                dir: dirs.logs(),
                watcher,
            },
            gauges: Arc::new(SamplerGauges {
                sampler: sampler.clone(),
                bus: bus.clone(),
                owners: Arc::clone(&owners),
            }),
            samples: samples.clone(),
            health: Arc::new(vitals),
            policy,
            stop_policy: stopping_now,
            default_group: Group {
                name: DEFAULT_GROUP.to_owned(),
                parallelism: default_parallelism(&settings),
                paused: false,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let listener =
            tokio::net::UnixListener::from_std(listener).context("failed to serve the socket")?;
        let limits = limits(&settings);
        let local = Local::new(api, limits, doors.clone(), door_tasks.clone());
        if settings.dbus.enabled {
            let face = dbus::Face {
                local: local.clone(),
                bus: bus.clone(),
                overview: overview.clone(),
                tasks: door_tasks.clone(),
                standing: on_bus,
            };
            door_tasks.spawn(face.run(doors.clone()));
        }
        door_tasks.spawn(local.serve(listener));
        let app = App {
            store,
            bus,
            control,
            dirs,
            mode,
            launcher,
            sampler,
            samples,
            retention,
            feeds,
            shelf,
            stopping,
            overview,
            doors,
            core,
            door_tasks,
            engine,
            keeping,
            rules,
        };
        app.set_groups(settings.groups.iter()).await;
        Ok(app)
    }
}

/// As much of something as there is time for before the doors close.
fn until(
    doors: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let closed = doors.clone().cancelled_owned();
    async move {
        tokio::select! {
            () = closed => {}
            () = work => {}
        }
    }
}

fn listener_of(feeds: &Arc<Feeds>) -> Listener {
    let feeds = Arc::clone(feeds);
    Arc::new(move |report| feeds.take(report))
}

impl App {
    /// Applies what of new settings counts at once.
    pub(super) async fn apply(&self, old: &Settings, new: &Settings) {
        self.keeping.send_replace(keeping_of(new));
        self.rules.send_replace(rules(new));
        self.stopping.send_replace(stop_policy(new));
        self.feeds.set_estimating(estimating(new, &self.dirs));
        self.retention.send_replace(samples_retention(new));
        if old.sampling != new.sampling {
            self.sampler.set_rules(measuring::rules(&new.sampling));
        }
        let before = self.launcher.context();
        let is_other = old.jobs.containment != new.jobs.containment;
        // What was found once is not looked for again: it may not answer just now, and need not.
        let containing = match &before.containing {
            found if !is_other && !matches!(found, Containing::Nothing { .. }) => found.clone(),
            _ => containing(new, &self.dirs, self.mode).await,
        };
        let (open_files, keeper) = (before.open_files, before.keeper.clone());
        let context = launch_context(new, &self.dirs, self.mode, containing, open_files, keeper);
        self.launcher.set_context(context);
        if quota(old) != quota(new) {
            let command = Command::SetQuota(quota(new));
            if let Err(error) = self.control.command(command).await {
                tracing::error!(%error, "how many jobs one user may have stays as it was");
            }
        }
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

    /// Reads the files of adapters again, for attempts to come.
    pub(super) async fn reload_adapters(&self) {
        let shelf = Arc::clone(&self.shelf);
        if let Err(error) = tokio::task::spawn_blocking(move || shelf.make()).await {
            tracing::error!(%error, "reading the adapters again failed");
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

    /// Whose daemon it is.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Ends what runs, and waits for it.
    pub(super) async fn end_jobs(&self, cause: StopCause) {
        stop::end_jobs(&self.control, self.overview.clone(), cause).await;
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
        let sampler = self.sampler;
        let samples = self.samples;
        let stopped = tokio::task::spawn_blocking(move || {
            sampler.stop();
            samples.close();
        });
        drop(tokio::time::timeout(DRAIN, stopped).await);
        let store = self.store;
        let stored = tokio::task::spawn_blocking(move || store.close());
        drop(tokio::time::timeout(DRAIN, stored).await);
        if let Containing::Cgroup(base) = &self.launcher.context().containing {
            base.leave();
        }
    }
}
