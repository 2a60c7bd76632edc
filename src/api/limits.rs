//! What one client may take, so that it harms no other: connections, streams, requests, bytes in flight.

use crate::api::bucket::{Bucket, Rate};
use crate::api::problem::Failure;
use crate::auth::Mode;
use crate::events::queue::QueueOptions;
use crate::model::id::JobId;
use crate::wire::error::{Problem, ProblemKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The limits; every one is a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all users.
    pub connections: usize,
    /// How many of these are kept for root.
    pub connections_for_root: usize,
    /// Connections of one user.
    pub connections_per_uid: usize,
    /// Event streams of one user.
    pub streams_per_uid: usize,
    /// Event streams of one job.
    pub streams_per_job: usize,
    /// Channel patterns of one stream.
    pub channels_per_stream: usize,
    /// Whether root may take more than the share of one user; the limits of all together hold for root too.
    pub root_is_exempt: bool,
    /// Requests of one user, per second.
    pub requests_per_second: u32,
    /// How many of them may come at once.
    pub request_burst: u32,
    /// Jobs that one user submits, per second.
    pub submissions_per_second: u32,
    /// How many of them may come at once.
    pub submission_burst: u32,
    /// Reads of the store and of logs that may go on at once: the rest of the blocking threads serves the jobs.
    pub reads_at_once: usize,
    /// How many of them may be of one user.
    pub reads_per_uid: usize,
    /// Largest body of a request.
    pub body_bytes: usize,
    /// Bodies of one user that are being received.
    pub body_bytes_per_uid: usize,
    /// Largest head of a request.
    pub header_bytes: usize,
    /// Jobs of one request.
    pub jobs_per_request: usize,
    /// Time a client has to send the head of a request once it has begun.
    pub header_time: Duration,
    /// Time a client has to send the body.
    pub body_time: Duration,
    /// How long a connection may stay without a request.
    pub idle_time: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub write_stall: Duration,
    /// After how much silence a stream says that it is alive.
    pub heartbeat: Duration,
    /// How old the cursor of a stream may get while nothing comes that has one.
    pub bookmark: Duration,
    /// Events of the history that one stream gets per second, at most.
    pub replay_per_second: u32,
    /// What may wait for one stream.
    pub queue: QueueOptions,
}

impl Limits {
    /// The limits that hold unless somebody changes them. A user's own daemon has nobody to protect
    /// that user from, so its shares are as large as the whole.
    #[must_use]
    pub fn of(mode: Mode) -> Self {
        let (connections_per_uid, streams_per_uid, reads_per_uid) = match mode {
            Mode::System => (64, 16, 12),
            Mode::User { .. } => (768, 512, 16),
        };
        Self {
            connections: 1_024,
            connections_for_root: 32,
            connections_per_uid,
            streams_per_uid,
            streams_per_job: 64,
            channels_per_stream: 50,
            root_is_exempt: mode.is_system(),
            requests_per_second: 2_000,
            request_burst: 4_000,
            submissions_per_second: 5_000,
            submission_burst: 100_000,
            reads_at_once: 16,
            reads_per_uid,
            body_bytes: 32 << 20,
            body_bytes_per_uid: 128 << 20,
            header_bytes: 16 << 10,
            jobs_per_request: 100_000,
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(60),
            write_stall: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            bookmark: Duration::from_secs(60),
            replay_per_second: 5_000,
            queue: QueueOptions::default(),
        }
    }
}

impl Limits {
    fn request_rate(&self) -> Rate {
        Rate {
            per_second: self.requests_per_second,
            burst: self.request_burst,
        }
    }

    fn submission_rate(&self) -> Rate {
        Rate {
            per_second: self.submissions_per_second,
            burst: self.submission_burst,
        }
    }

    /// Whether the share of one user does not bound this one.
    fn exempts(&self, uid: u32) -> bool {
        uid == 0 && self.root_is_exempt
    }
}

/// Users are forgotten beyond this many, as far as they use nothing.
const REMEMBERED: usize = 1_024;

#[derive(Debug)]
struct Share {
    connections: usize,
    streams: usize,
    body_bytes: usize,
    requests: Bucket,
    submissions: Bucket,
}

impl Share {
    fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            connections: 0,
            streams: 0,
            body_bytes: 0,
            requests: Bucket::full(limits.request_rate(), now),
            submissions: Bucket::full(limits.submission_rate(), now),
        }
    }

    /// Whether forgetting it changes nothing.
    fn is_idle(&self, limits: &Limits, now: Instant) -> bool {
        self.connections == 0
            && self.streams == 0
            && self.body_bytes == 0
            && self.requests.is_full(limits.request_rate(), now)
            && self.submissions.is_full(limits.submission_rate(), now)
    }
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    streams: usize,
    shares: BTreeMap<u32, Share>,
    streams_of_jobs: BTreeMap<JobId, usize>,
}

/// Who uses how much.
#[derive(Debug)]
pub(crate) struct Ledger {
    limits: Limits,
    counts: Mutex<Counts>,
}

/// A limit was reached: which, what the setting is called, what to do instead, and when to try again.
fn reached(title: String, setting: &str, hint: &str, again: Duration) -> Failure {
    let mut problem = Problem::new(ProblemKind::LimitReached, title)
        .detail(format!("the setting {setting} is the limit"))
        .hint(hint);
    // Who comes back at the very instant finds a little too little.
    problem.retry_after_ms = Some(u64::try_from(again.as_millis()).unwrap_or(u64::MAX) + 1);
    problem.into()
}

const SOON: Duration = Duration::from_millis(999);
const LATER: Duration = Duration::from_millis(4_999);

impl Ledger {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counts: Mutex::default(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Open connections and event streams.
    pub(crate) fn in_use(&self) -> (usize, usize) {
        let counts = self.counts();
        (counts.connections, counts.streams)
    }

    /// One more connection of `uid`, until what is returned is dropped.
    pub(crate) fn connect(self: &Arc<Self>, uid: u32) -> Result<Slot, Failure> {
        let limits = &self.limits;
        let mut counts = self.counts();
        let most = match uid {
            0 => limits.connections,
            _ => limits
                .connections
                .saturating_sub(limits.connections_for_root),
        };
        if counts.connections >= most {
            let title = format!("all {most} connections are in use");
            let hint = "try again in a moment";
            return Err(reached(title, "api.max_connections", hint, SOON));
        }
        let share = counts.share(uid, limits);
        if share.connections >= limits.connections_per_uid && !limits.exempts(uid) {
            let open = share.connections;
            return Err(reached(
                format!("user {uid} has {open} connections open already"),
                "api.max_connections_per_uid",
                "close some; one connection serves many requests",
                SOON,
            ));
        }
        share.connections += 1;
        counts.connections += 1;
        Ok(self.slot(uid, Use::Connection))
    }

    /// One more request of `uid`, at `now`.
    pub(crate) fn request(&self, uid: u32, now: Instant) -> Result<(), Failure> {
        let limits = &self.limits;
        if limits.exempts(uid) {
            return Ok(());
        }
        let rate = limits.request_rate();
        let mut counts = self.counts();
        let taken = counts.share(uid, limits).requests.take(1.0, rate, now);
        taken.map_err(|again| {
            let per_second = rate.per_second;
            reached(
                format!("user {uid} sends more than {per_second} requests per second"),
                "api.requests_per_second_per_uid",
                "send several jobs in one request, and watch events instead of asking again",
                again,
            )
        })
    }

    /// So many more jobs of `uid`, at `now`.
    pub(crate) fn submission(&self, uid: u32, jobs: usize, now: Instant) -> Result<(), Failure> {
        let limits = &self.limits;
        if limits.exempts(uid) {
            return Ok(());
        }
        let rate = limits.submission_rate();
        let count = u32::try_from(jobs).unwrap_or(u32::MAX);
        let mut counts = self.counts();
        let bucket = &mut counts.share(uid, limits).submissions;
        bucket.take(f64::from(count), rate, now).map_err(|again| {
            let per_second = rate.per_second;
            reached(
                format!("user {uid} submits more than {per_second} jobs per second"),
                "api.submissions_per_second_per_uid",
                "nothing was submitted; send the rest when Retry-After says",
                again,
            )
        })
    }

    /// One more event stream of `uid`, of one job where it is about one.
    pub(crate) fn stream(self: &Arc<Self>, uid: u32, job: Option<JobId>) -> Result<Slot, Failure> {
        let limits = &self.limits;
        let mut counts = self.counts();
        let of_job = job.map_or(0, |job| {
            counts.streams_of_jobs.get(&job).copied().unwrap_or(0)
        });
        if of_job >= limits.streams_per_job {
            return Err(reached(
                format!("{of_job} clients watch this job already"),
                "api.max_streams_per_job",
                "ask for the job now and then instead",
                LATER,
            ));
        }
        let share = counts.share(uid, limits);
        if share.streams >= limits.streams_per_uid && !limits.exempts(uid) {
            let open = share.streams;
            return Err(reached(
                format!("user {uid} has {open} event streams open already"),
                "api.max_streams_per_uid",
                "one stream may watch many channels; or ask for the jobs now and then instead",
                LATER,
            ));
        }
        share.streams += 1;
        counts.streams += 1;
        if let Some(job) = job {
            *counts.streams_of_jobs.entry(job).or_default() += 1;
        }
        Ok(self.slot(uid, Use::Stream(job)))
    }

    /// A body of so many bytes that `uid` sends.
    pub(crate) fn body(self: &Arc<Self>, uid: u32, bytes: usize) -> Result<Slot, Failure> {
        let limits = &self.limits;
        let mut counts = self.counts();
        let share = counts.share(uid, limits);
        let sending = share.body_bytes;
        if sending + bytes > limits.body_bytes_per_uid && !limits.exempts(uid) {
            return Err(reached(
                format!("user {uid} is sending {sending} bytes already"),
                "api.max_bodies_per_uid",
                "send large requests one after the other",
                SOON,
            ));
        }
        share.body_bytes += bytes;
        Ok(self.slot(uid, Use::Body(bytes)))
    }

    fn slot(self: &Arc<Self>, uid: u32, what: Use) -> Slot {
        Slot {
            ledger: Arc::clone(self),
            uid,
            what,
        }
    }
}

impl Counts {
    fn share(&mut self, uid: u32, limits: &Limits) -> &mut Share {
        let now = Instant::now();
        if self.shares.len() >= REMEMBERED && !self.shares.contains_key(&uid) {
            self.shares.retain(|_, share| !share.is_idle(limits, now));
        }
        self.shares
            .entry(uid)
            .or_insert_with(|| Share::new(limits, now))
    }
}

#[derive(Debug)]
enum Use {
    Connection,
    Stream(Option<JobId>),
    Body(usize),
}

/// Something in use; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub(crate) struct Slot {
    ledger: Arc<Ledger>,
    uid: u32,
    what: Use,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.ledger.counts();
        match self.what {
            Use::Connection => counts.connections -= 1,
            Use::Stream(job) => {
                counts.streams -= 1;
                if let Some(job) = job
                    && let Some(streams) = counts.streams_of_jobs.get_mut(&job)
                {
                    *streams -= 1;
                    if *streams == 0 {
                        counts.streams_of_jobs.remove(&job);
                    }
                }
            }
            Use::Body(_) => {}
        }
        if let Some(share) = counts.shares.get_mut(&self.uid) {
            match self.what {
                Use::Connection => share.connections -= 1,
                Use::Stream(_) => share.streams -= 1,
                Use::Body(bytes) => share.body_bytes -= bytes,
            }
        }
    }
}

#[cfg(test)]
mod tests;
