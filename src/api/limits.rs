//! What one client may take, so that it harms no other: connections, streams, requests, bytes in flight.

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
    /// Requests of one user, per second.
    pub requests_per_second: u32,
    /// How many of them may come at once.
    pub request_burst: u32,
    /// Reads of the store and of logs that may go on at once: the rest of the blocking threads serves the jobs.
    pub reads_at_once: usize,
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
    /// What may wait for one stream.
    pub queue: QueueOptions,
}

impl Limits {
    /// The limits that hold unless somebody changes them. A user's own daemon has nobody to protect
    /// that user from, so its shares are as large as the whole.
    #[must_use]
    pub fn of(mode: Mode) -> Self {
        let (connections_per_uid, streams_per_uid) = match mode {
            Mode::System => (64, 16),
            Mode::User { .. } => (768, 512),
        };
        Self {
            connections: 1_024,
            connections_for_root: 32,
            connections_per_uid,
            streams_per_uid,
            streams_per_job: 64,
            channels_per_stream: 50,
            requests_per_second: 2_000,
            request_burst: 4_000,
            reads_at_once: 16,
            body_bytes: 32 << 20,
            body_bytes_per_uid: 128 << 20,
            header_bytes: 16 << 10,
            jobs_per_request: 100_000,
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(60),
            write_stall: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            queue: QueueOptions::default(),
        }
    }
}

/// Users are forgotten beyond this many, as far as they use nothing.
const REMEMBERED: usize = 1_024;

#[derive(Debug)]
struct Share {
    connections: usize,
    streams: usize,
    body_bytes: usize,
    requests_left: f64,
    filled_at: Instant,
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

fn reached(title: String, hint: &str, retry_after_ms: u64) -> Failure {
    let mut problem = Problem::new(ProblemKind::LimitReached, title).hint(hint);
    problem.retry_after_ms = Some(retry_after_ms);
    problem.into()
}

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
            return Err(reached(title, "try again in a moment", 1_000));
        }
        let share = counts.share(uid, limits);
        if share.connections >= limits.connections_per_uid {
            let title = format!(
                "user {uid} has {} connections open already",
                share.connections
            );
            return Err(reached(
                title,
                "close some; one connection serves many requests",
                1_000,
            ));
        }
        share.connections += 1;
        counts.connections += 1;
        Ok(self.slot(uid, Use::Connection))
    }

    /// One more request of `uid`, at `now`.
    pub(crate) fn request(&self, uid: u32, now: Instant) -> Result<(), Failure> {
        let limits = &self.limits;
        let mut counts = self.counts();
        let share = counts.share(uid, limits);
        let rate = f64::from(limits.requests_per_second);
        let grown = now.saturating_duration_since(share.filled_at).as_secs_f64() * rate;
        share.filled_at = now;
        share.requests_left = (share.requests_left + grown).min(f64::from(limits.request_burst));
        if share.requests_left < 1.0 {
            let title = format!("user {uid} sends more than {rate} requests per second");
            return Err(reached(
                title,
                "send several jobs in one request, and watch events instead of asking again",
                1_000,
            ));
        }
        share.requests_left -= 1.0;
        Ok(())
    }

    /// One more event stream of `uid`, of one job where it is about one.
    pub(crate) fn stream(self: &Arc<Self>, uid: u32, job: Option<JobId>) -> Result<Slot, Failure> {
        let limits = &self.limits;
        let mut counts = self.counts();
        let of_job = job.map_or(0, |job| {
            counts.streams_of_jobs.get(&job).copied().unwrap_or(0)
        });
        if of_job >= limits.streams_per_job {
            let title = format!("{of_job} clients watch this job already");
            return Err(reached(
                title,
                "ask for the job now and then instead",
                5_000,
            ));
        }
        let share = counts.share(uid, limits);
        if share.streams >= limits.streams_per_uid {
            let title = format!(
                "user {uid} has {} event streams open already",
                share.streams
            );
            return Err(reached(
                title,
                "one stream may watch many channels; or ask for the jobs now and then instead",
                5_000,
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
        if share.body_bytes + bytes > limits.body_bytes_per_uid {
            let title = format!("user {uid} is sending {} bytes already", share.body_bytes);
            return Err(reached(
                title,
                "send large requests one after the other",
                1_000,
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
            // Who has not asked for a second has its full burst again, or soon.
            self.shares.retain(|_, share| {
                let idle = share.connections == 0 && share.streams == 0 && share.body_bytes == 0;
                !idle || now.duration_since(share.filled_at) < Duration::from_secs(1)
            });
        }
        self.shares.entry(uid).or_insert_with(|| Share {
            connections: 0,
            streams: 0,
            body_bytes: 0,
            requests_left: f64::from(limits.request_burst),
            filled_at: now,
        })
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
mod tests {
    use super::*;

    fn small() -> Limits {
        Limits {
            connections: 6,
            connections_for_root: 2,
            connections_per_uid: 3,
            streams_per_uid: 2,
            streams_per_job: 3,
            requests_per_second: 10,
            request_burst: 5,
            body_bytes_per_uid: 100,
            ..Limits::of(Mode::System)
        }
    }

    #[test]
    fn one_user_at_its_limit_harms_no_other() {
        let ledger = Ledger::new(small());
        let mut first: Vec<Slot> = (0..3).map(|_| ledger.connect(1000).unwrap()).collect();
        let refused = ledger.connect(1000).unwrap_err();
        assert!(refused.0.is(ProblemKind::LimitReached) && refused.0.title.contains("user 1000"));
        let other = ledger.connect(1001).unwrap();
        first.pop();
        let again = ledger.connect(1000).unwrap();
        drop((first, other, again));
        assert_eq!(ledger.in_use(), (0, 0));
    }

    #[test]
    fn root_gets_in_when_all_others_are_refused() {
        let ledger = Ledger::new(small());
        let all: Vec<Slot> = [1, 1, 2, 2].map(|uid| ledger.connect(uid).unwrap()).into();
        assert!(ledger.connect(3).is_err());
        let root = [ledger.connect(0).unwrap(), ledger.connect(0).unwrap()];
        assert!(ledger.connect(0).is_err());
        drop((all, root));
    }

    #[test]
    fn streams_are_counted_per_user_and_per_job() {
        let ledger = Ledger::new(small());
        let job = Some(JobId(42));
        let held: Vec<Slot> = [1, 1, 2].map(|uid| ledger.stream(uid, job).unwrap()).into();
        let by_job = ledger.stream(3, job).unwrap_err();
        assert!(by_job.0.title.contains("watch this job"), "{by_job:?}");
        let by_user = ledger.stream(1, Some(JobId(43))).unwrap_err();
        assert!(by_user.0.title.contains("event streams"), "{by_user:?}");
        drop(held);
        assert!(ledger.counts().streams_of_jobs.is_empty());
        assert!(ledger.stream(3, job).is_ok());
    }

    #[test]
    fn requests_are_throttled_after_a_burst() {
        let ledger = Ledger::new(small());
        let now = Instant::now();
        for _ in 0..5 {
            ledger.request(1, now).unwrap();
        }
        let refused = ledger.request(1, now).unwrap_err();
        assert_eq!(refused.0.retry_after_ms, Some(1_000));
        assert!(ledger.request(2, now).is_ok());
        let later = now + Duration::from_millis(250);
        assert!(ledger.request(1, later).is_ok() && ledger.request(1, later).is_ok());
        assert!(ledger.request(1, later).is_err());
    }

    #[test]
    fn bodies_in_flight_are_bounded_per_user() {
        let ledger = Ledger::new(small());
        let first = ledger.body(1, 80).unwrap();
        assert!(ledger.body(1, 30).is_err());
        assert!(ledger.body(2, 100).is_ok());
        drop(first);
        assert!(ledger.body(1, 100).is_ok());
    }
}
