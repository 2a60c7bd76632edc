//! The one task that speaks on the bus by itself: it hears what happens in the daemon, keeps the objects, and tells what
//! has changed. Where nothing changes and nobody asked to be told, it sleeps.

mod members;

use crate::api::bucket::{Bucket, Rate};
use crate::api::local::Local;
use crate::dbus::callers::Callers;
use crate::dbus::coalesce::{Coalescer, Values};
use crate::dbus::convert::add_parameter;
use crate::dbus::counted::Counted;
use crate::dbus::desk::{Answer, Errand};
use crate::dbus::error::Error;
use crate::dbus::leases::Leases;
use crate::dbus::objects::JobFace;
use crate::dbus::onlooker::Onlooker;
use crate::dbus::root::Root;
use crate::dbus::values::{Overview, ROOT, Told, job_path, object_path, of_job};
use crate::events::queue::Delivery;
use crate::events::{Bus, Subscription};
use crate::model::event::{Event, StateBody};
use crate::model::gpu::GpuUuid;
use crate::wire::job::{JobList, JobView};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use zbus::fdo::Properties;
use zbus::names::{BusName, InterfaceName};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant};

/// Most jobs that are exported because they hold a place; there are lists for more.
const MOST_HOLDING: usize = 1_000;

/// How fast jobs may come, move and go, each told by a signal; what is faster is told as an overflow.
const SIGNALS: Rate = Rate {
    per_second: 200,
    burst: 1_000,
};

/// How long GPUs are looked for after the start, as their drivers take a while to answer.
const LATEST_DEVICES: Duration = Duration::from_secs(32);

/// The interface of a job's object.
pub(super) const JOB: &str = "io.stoked.Stoked1.Job";

/// What is looked at when something of it may have changed, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// What is known of all jobs together.
    Overview,
    /// An exported job.
    Job(u32),
    /// Which objects there are.
    Members,
    /// What was left out.
    Overflow,
}

/// A job that is exported.
struct Exported {
    face: Arc<JobFace>,
    /// Whether it holds a place.
    holds: bool,
    /// Callers that asked for it.
    askers: BTreeSet<String>,
}

/// Why it has nothing to say any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The daemon goes down.
    Stopped,
    /// The bus is gone.
    Lost,
}

/// The task.
pub(super) struct Teller {
    connection: Connection,
    local: Local,
    onlooker: Onlooker,
    callers: Arc<Callers>,
    counted: Arc<Counted>,
    /// Says that it changed.
    overview: watch::Receiver<Overview>,
    coalescer: Coalescer<Key, Told>,
    exported: BTreeMap<u32, Exported>,
    gpus: BTreeMap<u32, GpuUuid>,
    leases: Leases,
    signals: Bucket,
    left_out: Option<(u64, u64)>,
    /// When GPUs are looked for next, and how long after that once more.
    next_devices: Option<(Instant, Duration)>,
}

impl Teller {
    pub(super) fn new(
        connection: Connection,
        local: Local,
        onlooker: Onlooker,
        callers: Arc<Callers>,
        counted: Arc<Counted>,
        overview: watch::Receiver<Overview>,
    ) -> Self {
        let now = Instant::now();
        let first = Duration::from_secs(1);
        let mut teller = Self {
            connection,
            local,
            onlooker,
            callers,
            counted,
            overview,
            coalescer: Coalescer::new(now),
            exported: BTreeMap::new(),
            gpus: BTreeMap::new(),
            leases: Leases::default(),
            signals: Bucket::full(SIGNALS, now),
            left_out: None,
            next_devices: Some((now + first, first)),
        };
        // What is there when it begins is known to who asks for it then.
        teller.overview.mark_unchanged();
        let (values, _) = teller.counted.look();
        let _known = teller.coalescer.changes(&Key::Overview, values);
        teller
    }

    /// Exports all that there is.
    pub(super) async fn begin(&mut self) -> zbus::Result<()> {
        self.look_at_members(Instant::now()).await
    }

    /// Tells what happens until the daemon goes down or the bus does.
    pub(super) async fn run(
        mut self,
        bus: Bus,
        mut events: Subscription,
        mut errands: mpsc::Receiver<Errand>,
        stop: CancellationToken,
    ) -> Ended {
        let connection = self.connection.clone();
        let mut overview = self.overview.clone();
        let mut closed = std::pin::pin!(connection.closed());
        loop {
            let due = self.next_due();
            let wake = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                () = &mut closed => return Ended::Lost,
                errand = errands.recv() => match errand {
                    Some(errand) => self.run_errand(errand).await,
                    None => return Ended::Lost,
                },
                delivery = events.next() => {
                    let ended = self.hear(delivery, &mut events, &bus).await;
                    if let Some(ended) = ended {
                        return ended;
                    }
                }
                changed = overview.changed() => match changed {
                    Ok(()) => self.coalescer.touch(Key::Overview, Instant::now()),
                    Err(_) => return Ended::Stopped,
                },
                () = wake => {}
            }
            if let Err(error) = self.flush(Instant::now()).await {
                tracing::debug!(%error, "something could not be told on the bus");
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let devices = self.next_devices.map(|(at, _)| at);
        let all = [self.coalescer.next_due(), self.leases.next_due(), devices];
        all.into_iter().flatten().min()
    }

    // === What happens in the daemon ===

    async fn hear(
        &mut self,
        delivery: Delivery,
        events: &mut Subscription,
        bus: &Bus,
    ) -> Option<Ended> {
        match delivery {
            Delivery::Event(event, _) => {
                if let Err(error) = self.take(&event).await {
                    tracing::debug!(%error, "an event could not be told on the bus");
                }
            }
            Delivery::Bookmark(_) => {}
            Delivery::Behind { after } => {
                events.attach();
                self.leave_out(after.0 + 1, events.registered_head().0);
            }
            Delivery::Gap { from, to, .. } => {
                *events = super::subscribe(bus);
                self.leave_out(from.0, to.0);
            }
            Delivery::Closed { .. } => return Some(Ended::Stopped),
        }
        None
    }

    async fn take(&mut self, event: &Event) -> zbus::Result<()> {
        let now = Instant::now();
        let mut parts = event.channel.split('/');
        let (Some("job"), Some(id), Some(topic)) = (parts.next(), parts.next(), parts.next())
        else {
            return Ok(());
        };
        let Ok(id) = id.parse::<u32>() else {
            return Ok(());
        };
        let is_exported = self.exported.contains_key(&id);
        if is_exported {
            self.coalescer.touch(Key::Job(id), now);
        }
        let Some(seq) = event.seq.filter(|_| topic == "state") else {
            return Ok(());
        };
        let moved = serde_json::from_str::<StateBody>(&event.body).ok();
        if &*event.kind != "removed" && moved.is_none() {
            return Ok(());
        }
        match (self.exported.get_mut(&id), &moved) {
            (Some(exported), Some(moved)) => {
                // Who hears of a move and asks at once is told of no state before it.
                let state = Told::Text(moved.state.as_str().to_owned());
                let key = Key::Job(id);
                self.coalescer.unsettle(&key, "State", &state);
                exported.face.values().insert("State", state);
            }
            // Of what is forgotten there is nothing to tell to who asked for it.
            (Some(exported), None) => exported.askers.clear(),
            (None, _) => {}
        }
        if is_exported != moved.as_ref().is_some_and(|it| it.state.holds_place()) {
            self.coalescer.touch(Key::Members, now);
        }
        if &*event.kind == "edited" || !self.onlooker.sees_jobs {
            return Ok(());
        }
        if self.signals.take(1.0, SIGNALS, now).is_err() {
            self.leave_out(seq.0, seq.0);
            return Ok(());
        }
        let emitter = SignalEmitter::new(&self.connection, ROOT)?;
        let path = object_path(job_path(id))?;
        match moved {
            None => Root::job_removed(&emitter, id, path).await,
            Some(StateBody { from: None, .. }) => Root::job_added(&emitter, id, path).await,
            Some(StateBody {
                from: Some(old),
                state,
                ..
            }) => {
                let (old, new) = (old.as_str(), state.as_str());
                Root::job_state_changed(&emitter, id, old, new, seq.0).await
            }
        }
    }

    /// Signals of these events are not sent; whoever wants to know them lists anew.
    fn leave_out(&mut self, from: u64, to: u64) {
        let now = Instant::now();
        if !self.onlooker.sees_jobs {
            // Where nothing is told of jobs, nothing of it is missing.
            return;
        }
        let first = self.left_out.map_or(from, |(first, _)| first.min(from));
        self.left_out = Some((first, to));
        self.coalescer.touch(Key::Overflow, now);
        if from < to {
            // Many at once: any of them may have been of an exported job.
            self.coalescer.touch(Key::Members, now);
            for id in self.exported.keys() {
                self.coalescer.touch(Key::Job(*id), now);
            }
        }
    }

    // === What has changed ===

    async fn flush(&mut self, now: Instant) -> zbus::Result<()> {
        let due = self.coalescer.take_due(now);
        let jobs: Vec<u32> = due
            .iter()
            .filter_map(|key| match key {
                Key::Job(id) => Some(*id),
                Key::Overview | Key::Members | Key::Overflow => None,
            })
            .collect();
        if due.contains(&Key::Overview) {
            let (values, read) = self.counted.look();
            for (name, shown) in read {
                self.coalescer.unsettle(&Key::Overview, name, &shown);
            }
            let changed = self.coalescer.changes(&Key::Overview, values);
            let interface = "io.stoked.Stoked1.Manager";
            tell(&self.connection, ROOT, interface, &changed, None).await?;
        }
        if !jobs.is_empty() {
            self.look_at_jobs(&jobs, now).await?;
        }
        if due.contains(&Key::Members) {
            self.look_at_members(now).await?;
        }
        if due.contains(&Key::Overflow)
            && let Some((from, to)) = self.left_out.take()
        {
            let emitter = SignalEmitter::new(&self.connection, ROOT)?;
            Root::overflow(&emitter, from, to).await?;
        }
        if let Some((at, wait)) = self.next_devices
            && at <= now
        {
            let again = self.gpus.is_empty() && wait < LATEST_DEVICES;
            self.next_devices = again.then_some((now + wait * 2, wait * 2));
            self.look_at_gpus().await?;
        }
        let exported = self.exported.iter();
        let exported = exported.map(|(id, it)| (*id, it.face.values().clone()));
        self.leases
            .tell(now, &self.connection, &self.local, &self.onlooker, exported)
            .await
    }

    async fn look_at_jobs(&mut self, ids: &[u32], now: Instant) -> zbus::Result<()> {
        let mut query = String::new();
        for id in ids {
            add_parameter(&mut query, "id", &id.to_string());
        }
        let Some(list) = self.list(&query).await else {
            for id in ids {
                self.coalescer.touch(Key::Job(*id), now);
            }
            return Ok(());
        };
        for view in list {
            let Some((id, values)) = self.values_of(&view) else {
                continue;
            };
            let Some(exported) = self.exported.get(&id) else {
                continue;
            };
            *exported.face.values() = values.clone();
            let changed = self.coalescer.changes(&Key::Job(id), values);
            tell(&self.connection, &job_path(id), JOB, &changed, None).await?;
        }
        Ok(())
    }

    /// Jobs by a query, every page of them; nothing where they cannot be read now.
    async fn list(&self, query: &str) -> Option<Vec<JobView>> {
        let mut jobs = Vec::new();
        let mut cursor = String::new();
        let sign = if query.is_empty() { '?' } else { '&' };
        loop {
            let target = format!("/v1/jobs{query}{sign}limit={MOST_HOLDING}{cursor}");
            match self
                .local
                .get::<JobList>(&self.onlooker.subject, &target)
                .await
            {
                Ok(page) => {
                    jobs.extend(page.items);
                    match page.next.filter(|_| jobs.len() < MOST_HOLDING) {
                        Some(next) => cursor = format!("&cursor={next}"),
                        None => return Some(jobs),
                    }
                }
                Err(problem) => {
                    tracing::debug!(why = problem.title, "jobs cannot be told on the bus now");
                    return None;
                }
            }
        }
    }

    fn values_of(&self, view: &JobView) -> Option<(u32, Values<Told>)> {
        let id = u32::try_from(view.id).ok()?;
        let told_end = match self.coalescer.told(&Key::Job(id), "ExpectedEndUSec") {
            Some(Told::Large(end)) => Some(*end),
            _ => None,
        };
        let now_us = jiff::Timestamp::now().as_microsecond();
        let now_us = u64::try_from(now_us).unwrap_or(0);
        Some((id, of_job(view, told_end, now_us)))
    }

    // === What callers asked for ===

    async fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Export {
                job,
                caller,
                answer,
            } => {
                let exported = self.export_for(job, caller).await;
                reply(answer, exported);
            }
            Errand::Lease {
                caller,
                every,
                answer,
            } => {
                let lease = match self.is_there(&caller) {
                    Ok(()) => self.leases.add(caller, every, &self.local, Instant::now()),
                    Err(error) => Err(error),
                };
                reply(answer, lease);
            }
            Errand::EndLease {
                caller,
                lease,
                answer,
            } => reply(answer, self.leases.end(&caller, lease)),
            Errand::Gone(caller) => {
                self.leases.end_all(&caller);
                let mut asked = false;
                for exported in self.exported.values_mut() {
                    asked |= exported.askers.remove(&caller);
                }
                if asked {
                    self.coalescer.touch(Key::Members, Instant::now());
                }
            }
        }
    }

    /// Whether something can be kept for a caller until it is gone.
    fn is_there(&self, caller: &str) -> Result<(), Error> {
        if self.callers.is_known(caller) {
            return Ok(());
        }
        let why = "too many clients are connected: nothing can be kept for one more";
        Err(Error::QuotaExceeded(why.to_owned()))
    }
}

fn reply<T>(answer: Answer<T>, what: Result<T, Error>) {
    // Whoever asked may be gone.
    drop(answer.send(what));
}

/// Tells what has changed of an object: everybody, or one caller.
pub(super) async fn tell(
    connection: &Connection,
    path: &str,
    interface: &str,
    changed: &Values<Told>,
    to: Option<&str>,
) -> zbus::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut emitter = SignalEmitter::new(connection, path)?;
    if let Some(to) = to {
        emitter = emitter.set_destination(BusName::try_from(to)?);
    }
    let changed: HashMap<&str, Variant<'_>> = changed
        .iter()
        .map(|(name, value)| (*name, Variant::from(value)))
        .collect();
    let interface = InterfaceName::try_from(interface)?;
    Properties::properties_changed(&emitter, interface, changed, Cow::Borrowed(&[])).await
}
