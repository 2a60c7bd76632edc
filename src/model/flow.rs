//! Flows: the jobs that one owner submitted under one name, and their common progress. Pure: counted from what
//! happens, so that no event costs a look at all jobs of a flow.

use crate::model::event::Event;
use crate::model::id::{JobId, Seq};
use crate::model::state::StateName;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which flow: several users may use one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// Whose.
    pub uid: u32,
    /// Its name.
    pub name: Arc<str>,
}

/// How far a job is that holds a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Part {
    /// Percent done.
    pub percent: Option<f64>,
    /// Seconds that are left.
    pub eta_seconds: Option<f64>,
}

impl Part {
    /// What a progress event says, where it is of this attempt.
    #[must_use]
    pub fn told(event: &Event, attempt: u32) -> Option<Self> {
        let told: Told = serde_json::from_str(&event.body).ok()?;
        (told.attempt == attempt).then_some(told.progress)
    }
}

/// A flow, as far as it is known without looking at its jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Name of its owner.
    pub user: String,
    /// How many of its jobs are in each state; states without any are left out.
    pub counts: BTreeMap<StateName, u64>,
    /// Those that hold a place.
    pub active: BTreeMap<JobId, Part>,
    /// When its first job was submitted, wall clock.
    pub first_submitted_ms: Option<i64>,
    /// When the last of those ended that did, wall clock.
    pub last_finished_ms: Option<i64>,
}

/// The jobs of a flow by what has become of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// All of them.
    pub total: u64,
    /// Neither started nor over, or between two attempts.
    pub pending: u64,
    /// Holding a place.
    pub running: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly, or nobody saw how.
    pub failed: u64,
    /// Ended on request.
    pub cancelled: u64,
    /// Never ran, because another one ended badly.
    pub skipped: u64,
}

impl Flow {
    /// A job of it went from one state to another; from none when it was submitted.
    pub fn moved(&mut self, job: JobId, from: Option<StateName>, to: StateName, at_ms: i64) {
        match from.and_then(|from| self.counts.get_mut(&from).map(|count| (from, count))) {
            Some((from, 1)) => drop(self.counts.remove(&from)),
            Some((_, count)) => *count -= 1,
            None => {}
        }
        *self.counts.entry(to).or_default() += 1;
        if to.holds_place() {
            self.active.entry(job).or_default();
        } else {
            self.active.remove(&job);
        }
        if from.is_none() {
            self.first_submitted_ms.get_or_insert(at_ms);
        }
        if to.is_final() {
            self.last_finished_ms = self.last_finished_ms.max(Some(at_ms));
        }
    }

    /// How many there are of which sort.
    #[must_use]
    pub fn sums(&self) -> FlowCounts {
        let mut sums = FlowCounts::default();
        for (state, count) in &self.counts {
            sums.total += count;
            let sort = match state {
                StateName::Held | StateName::Queued | StateName::Backoff => &mut sums.pending,
                StateName::Starting
                | StateName::Running
                | StateName::Paused
                | StateName::Stopping => &mut sums.running,
                StateName::Completed => &mut sums.completed,
                StateName::Failed | StateName::TimedOut | StateName::Lost => &mut sums.failed,
                StateName::Cancelled => &mut sums.cancelled,
                StateName::Skipped => &mut sums.skipped,
            };
            *sort += count;
        }
        sums
    }

    /// The mean over its jobs: 100 for one that ended well, what one that runs says of itself, 0 for every other.
    /// One that runs and says nothing counts 0 too, so the flow is at least as far as this.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let sums = self.sums();
        let parts: f64 = self.active.values().filter_map(|part| part.percent).sum();
        let done = sums.completed as f64 * 100.0 + parts;
        (sums.total > 0).then(|| (done / sums.total as f64).clamp(0.0, 100.0))
    }

    /// What the longest of the running jobs has left, seconds. Unknown while a job waits, for nobody knows how long
    /// that one will take, and while one runs that does not know itself.
    #[must_use]
    pub fn eta_seconds(&self) -> Option<f64> {
        if self.sums().pending > 0 {
            return None;
        }
        let mut longest = None;
        for part in self.active.values() {
            let eta = part.eta_seconds?;
            longest = Some(longest.map_or(eta, |longest: f64| longest.max(eta)));
        }
        longest
    }

    /// Whether none of its jobs will change by itself any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.counts.keys().all(|state| state.is_final())
    }
}

/// What an event means for flows.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowNews {
    /// A job of a flow went from one state to another.
    Moved {
        /// The flow.
        key: FlowKey,
        /// Name of its owner.
        user: String,
        /// The job.
        job: JobId,
        /// The state it came from; none when it was submitted.
        from: Option<StateName>,
        /// The state it is in.
        to: StateName,
        /// Number of the event.
        seq: Seq,
        /// When.
        at_ms: i64,
    },
    /// A job said how far it is.
    Told {
        /// The job.
        job: JobId,
        /// How far.
        part: Part,
    },
    /// A finished job of this user was removed; of which flow it was, nobody says any more.
    Removed {
        /// Whose.
        uid: u32,
    },
}

/// A state body, as far as flows go.
#[derive(Deserialize)]
struct Moved {
    job: JobId,
    flow: String,
    user: String,
    state: StateName,
    from: Option<StateName>,
}

/// A progress body, as far as flows go.
#[derive(Deserialize)]
struct Told {
    job: JobId,
    attempt: u32,
    progress: Part,
}

/// Picks from all events those that flows need, so that the others cost next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Sieve {
    /// The jobs of flows that hold a place: of others nobody hears progress.
    active: BTreeSet<JobId>,
}

impl Sieve {
    /// A sieve that knows which jobs of flows hold a place already.
    #[must_use]
    pub fn knowing(active: impl IntoIterator<Item = JobId>) -> Self {
        Self {
            active: active.into_iter().collect(),
        }
    }

    /// What `event` means for flows, if anything.
    pub fn pick(&mut self, event: &Event) -> Option<FlowNews> {
        match (&*event.kind, event.seq) {
            ("progress", None) => self.told(event),
            ("removed", Some(_)) => event.uid.map(|uid| FlowNews::Removed { uid }),
            (_, Some(seq)) => self.moved(event, seq),
            (_, None) => None,
        }
    }

    fn told(&self, event: &Event) -> Option<FlowNews> {
        let job = job_of(&event.channel)?;
        if !self.active.contains(&job) {
            return None;
        }
        let told: Told = serde_json::from_str(&event.body).ok()?;
        Some(FlowNews::Told {
            job: told.job,
            part: told.progress,
        })
    }

    fn moved(&mut self, event: &Event, seq: Seq) -> Option<FlowNews> {
        // Inside a JSON text the quotes would be escaped, so this is the field or nothing.
        let is_of_flow = event.body.contains("\"flow\":") && event.channel.ends_with("/state");
        // An edit moves nothing, and cannot take a job out of its flow.
        if !is_of_flow || &*event.kind == "edited" {
            return None;
        }
        let moved: Moved = serde_json::from_str(&event.body).ok()?;
        if moved.state.holds_place() {
            self.active.insert(moved.job);
        } else {
            self.active.remove(&moved.job);
        }
        Some(FlowNews::Moved {
            key: FlowKey {
                uid: event.uid?,
                name: moved.flow.into(),
            },
            user: moved.user,
            job: moved.job,
            from: moved.from,
            to: moved.state,
            seq,
            at_ms: event.at_ms,
        })
    }
}

fn job_of(channel: &str) -> Option<JobId> {
    let rest = channel.strip_prefix("job/")?;
    rest.split('/').next()?.parse().ok().map(JobId)
}

/// What came of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that anybody sees.
    Nothing,
    /// This flow has changed.
    Changed(FlowKey),
    /// This flow is not known: it must be read from what is stored.
    Unknown(FlowKey),
    /// These flows may be wrong now: they must be read again.
    Doubtful(Vec<FlowKey>),
}

/// The flows that have live jobs.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    flows: BTreeMap<FlowKey, Known>,
    of_job: BTreeMap<JobId, FlowKey>,
}

#[derive(Clone, Debug)]
struct Known {
    flow: Flow,
    /// The newest event that it shows the effect of.
    as_of: Seq,
}

impl Flows {
    /// The flow called `key`, where it is known.
    #[must_use]
    pub fn get(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(key).map(|known| &known.flow)
    }

    /// Knows a flow from what is stored, up to the event `as_of`.
    pub fn know(&mut self, key: FlowKey, flow: Flow, as_of: Seq) {
        self.forget(&key);
        for job in flow.active.keys() {
            self.of_job.insert(*job, key.clone());
        }
        self.flows.insert(key, Known { flow, as_of });
    }

    /// Forgets a flow: one that is over can be read again when something happens in it.
    pub fn forget(&mut self, key: &FlowKey) {
        if let Some(known) = self.flows.remove(key) {
            for job in known.flow.active.keys() {
                self.of_job.remove(job);
            }
        }
    }

    /// Takes news. What was read from the store already counts once all the same.
    pub fn take(&mut self, news: FlowNews) -> Outcome {
        match news {
            FlowNews::Moved {
                key,
                user,
                job,
                from,
                to,
                seq,
                at_ms,
            } => {
                let Some(known) = self.flows.get_mut(&key) else {
                    return Outcome::Unknown(key);
                };
                if seq <= known.as_of {
                    return Outcome::Nothing;
                }
                known.as_of = seq;
                known.flow.user = user;
                known.flow.moved(job, from, to, at_ms);
                if to.holds_place() {
                    self.of_job.insert(job, key.clone());
                } else {
                    self.of_job.remove(&job);
                }
                Outcome::Changed(key)
            }
            FlowNews::Told { job, part } => self.told(job, part),
            FlowNews::Removed { uid } => {
                let theirs = self.flows.keys().filter(|key| key.uid == uid);
                Outcome::Doubtful(theirs.cloned().collect())
            }
        }
    }

    fn told(&mut self, job: JobId, part: Part) -> Outcome {
        let Some(key) = self.of_job.get(&job) else {
            return Outcome::Nothing;
        };
        let known = self.flows.get_mut(key);
        match known.and_then(|known| known.flow.active.get_mut(&job)) {
            Some(old) if *old != part => {
                *old = part;
                Outcome::Changed(key.clone())
            }
            Some(_) | None => Outcome::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
