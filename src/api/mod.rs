//! The socket API: HTTP/1.1, JSON and server-sent events on a Unix socket. It reads stored state and
//! submits commands; it decides nothing but who may see and do what, by the table in `auth`.

pub mod limits;
pub mod local;
pub mod openapi;
pub mod ports;

pub mod audit;

mod archive;
pub(crate) mod bucket;
mod call;
mod compare;
mod connection;
mod drain;
mod events;
mod flows;
mod groups;
mod jobs;
mod logs;
mod metrics;
mod operations;
mod phases;
mod problem;
mod progress;
mod pull;
mod query;
mod routes;
mod runs;
mod series;
mod service;
mod socket;
mod submit;
mod turns;
mod verbs;
mod visit;

#[cfg(test)]
mod tests;

pub use events::check_event_query;
pub use jobs::check_submission;

use crate::api::events::render::Renderer;
use crate::api::limits::{Ledger, Limits};
use crate::api::local::Local;
use crate::api::ports::{ArchiveDesk, Gauges, HealthSource, Output};
use crate::api::turns::Turns;
use crate::auth::Policy;
use crate::auth::peer::Accounts;
use crate::control::Handle;
use crate::events::Bus;
use crate::model::group::Group;
use crate::model::spec::StopPolicy;
use crate::store::{Reader, Samples};
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the API is built from.
#[derive(Clone)]
pub struct Api {
    /// The door to the engine.
    pub control: Handle,
    /// Where events come from.
    pub bus: Bus,
    /// What is stored.
    pub archive: Reader,
    /// The one who archives.
    pub desk: ArchiveDesk,
    /// The output of attempts.
    pub logs: Output,
    /// What is measured.
    pub gauges: Arc<dyn Gauges>,
    /// What was measured.
    pub samples: Samples,
    /// How well the daemon is.
    pub health: Arc<dyn HealthSource>,
    /// Whose daemon this is, and who administers.
    pub policy: Policy,
    /// How jobs are asked to end that do not say; may change while it serves.
    pub stop_policy: watch::Receiver<StopPolicy>,
    /// The group that always exists, as it is before anybody changes it.
    pub default_group: Group,
    /// Version of the daemon.
    pub version: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            policy, version, ..
        } = self;
        write!(f, "Api {{ policy: {policy:?}, version: {version} }}")
    }
}

/// Clients that are told at leisure why they were refused. Further ones are told without waiting for
/// them to listen, so that a crowd of them takes no descriptors from others.
const REFUSALS_AT_ONCE: usize = 64;

/// What every request shares.
struct Shared {
    control: Handle,
    bus: Bus,
    archive: Reader,
    desk: ArchiveDesk,
    logs: Output,
    gauges: Arc<dyn Gauges>,
    samples: Samples,
    health: Arc<dyn HealthSource>,
    policy: Policy,
    stop_policy: watch::Receiver<StopPolicy>,
    default_group: Group,
    version: String,
    accounts: Accounts,
    limits: Limits,
    ledger: Arc<Ledger>,
    /// Turns to read: a crowd of readers waits here, and not for the threads that jobs are supervised with.
    turns: Arc<Turns>,
    /// Clients that were refused and are being told why.
    refusals: Arc<Semaphore>,
    renderer: Renderer,
    tracker: TaskTracker,
    /// Cancelled when the daemon goes down.
    stop: CancellationToken,
}

impl Shared {
    fn new(api: Api, limits: Limits, stop: CancellationToken, tracker: TaskTracker) -> Self {
        Self {
            control: api.control,
            bus: api.bus,
            archive: api.archive,
            desk: api.desk,
            logs: api.logs,
            gauges: api.gauges,
            samples: api.samples,
            health: api.health,
            accounts: Accounts::new(api.policy.clone()),
            policy: api.policy,
            stop_policy: api.stop_policy,
            default_group: api.default_group,
            version: api.version,
            ledger: Ledger::new(limits.clone()),
            turns: Turns::new(limits.reads_at_once, limits.reads_per_uid),
            refusals: Arc::new(Semaphore::new(REFUSALS_AT_ONCE)),
            limits,
            renderer: Renderer::default(),
            tracker,
            stop,
        }
    }
}

/// Now, for people: milliseconds since 1970 UTC.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Serves the API until `stop`. Answers that have begun are completed by tasks on `tracker`.
///
/// Close the bus before or with `stop`, so that event streams say goodbye.
pub async fn serve(
    listener: UnixListener,
    api: Api,
    limits: Limits,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    Local::new(api, limits, stop, tracker).serve(listener).await;
}
