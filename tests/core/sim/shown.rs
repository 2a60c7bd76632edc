//! What clients are shown of progress, against a naive merge of everything that was observed.
//!
//! Percent never falls within a phase, an ETA is never negative, nothing is told oftener than the pace or
//! after the end, and what is the newest is told in the end.

use crate::chance::Chance;
use crate::sim::store::Store;
use crate::sim::world::PACE_MS;
use std::collections::BTreeMap;
use stoked::engine::Engine;
use stoked::engine::step::Step;
use stoked::model::change::Change;
use stoked::model::event::{Event, ProgressBody};
use stoked::model::id::{AttemptId, JobId};
use stoked::model::job::Job;
use stoked::model::progress::{Counting, Observation, Progress, Source, StepReport, StepState};
use stoked::model::time::Stamp;

/// One attempt: what was observed of it, and what was told.
#[derive(Debug)]
struct Attempt {
    id: AttemptId,
    mirror: Progress,
    told: Progress,
    told_at_ms: Option<u64>,
}

/// All present attempts of which something was observed.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    attempts: BTreeMap<JobId, Attempt>,
    pub(crate) told: u64,
}

impl Shown {
    /// A new daemon knows what is stored; nobody was told anything by it.
    pub(crate) fn recover(&mut self, store: &Store) {
        self.attempts.clear();
        for job in store.live.values() {
            if let (Some(id), Some(progress)) = (job.live_attempt(), stored(job)) {
                self.attempts.insert(
                    job.id,
                    Attempt {
                        id,
                        mirror: progress.clone(),
                        told: progress,
                        told_at_ms: None,
                    },
                );
            }
        }
    }

    /// An observation reached the engine, while `job` was as it is here.
    pub(crate) fn observe(
        &mut self,
        id: AttemptId,
        seen: &Observation,
        engine: &Engine,
        at: Stamp,
    ) {
        let present = engine.job(id.job).and_then(|job| job.live_attempt());
        if present != Some(id) {
            return;
        }
        let attempt = self.attempts.entry(id.job).or_insert_with(|| Attempt {
            id,
            mirror: Progress::default(),
            told: Progress::default(),
            told_at_ms: None,
        });
        attempt.mirror.observe(seen.clone(), at);
    }

    /// Follows a step in the order in which clients see it.
    pub(crate) fn follow(&mut self, step: &Step, now: Stamp) {
        let mut telemetry = step.telemetry.iter().peekable();
        for (place, change) in step.changes.iter().enumerate() {
            while let Some(told) = telemetry.next_if(|told| told.after <= place) {
                self.tell(&told.event, now);
            }
            if let Change::JobMoved { job, .. } = change
                && job.live_attempt().is_none()
            {
                self.end(job);
            }
        }
        for told in telemetry {
            self.tell(&told.event, now);
        }
    }

    fn tell(&mut self, event: &Event, now: Stamp) {
        self.told += 1;
        let body: ProgressBody = serde_json::from_str(&event.body).unwrap();
        assert!(
            body.status.holds_place(),
            "told of a job that is {}",
            body.status
        );
        let id = AttemptId {
            job: body.job,
            attempt: body.attempt,
        };
        let attempt = self.attempts.entry(body.job).or_insert_with(|| Attempt {
            id,
            mirror: Progress::default(),
            told: Progress::default(),
            told_at_ms: None,
        });
        assert_eq!(attempt.id, id, "told of an attempt that is over");
        let (before, after) = (&attempt.told, &body.progress);
        if before.phase_number == after.phase_number
            && let Some(percent) = before.percent
        {
            assert!(
                after.percent.is_some_and(|after| after > percent - 1e-9),
                "{before:?} fell to {after:?}"
            );
        }
        let eta = [
            after.eta_low_seconds,
            after.eta_seconds,
            after.eta_high_seconds,
        ];
        let eta: Vec<f64> = eta.into_iter().flatten().collect();
        assert!(
            eta.is_sorted() && eta.iter().all(|eta| *eta >= 0.0),
            "{eta:?}"
        );
        assert_eq!(
            visible(after),
            visible(&attempt.mirror),
            "{id} is shown otherwise"
        );
        attempt.told = body.progress;
        attempt.told_at_ms = Some(now.boot_ms);
    }

    fn end(&mut self, job: &Job) {
        let Some(attempt) = self.attempts.remove(&job.id) else {
            return;
        };
        let last = visible(&attempt.mirror);
        assert_eq!(
            visible(&attempt.told),
            last,
            "the last of {} was not told",
            attempt.id
        );
        let kept = stored(job).unwrap_or_default();
        assert_eq!(
            visible(&kept),
            last,
            "the last of {} is not kept",
            attempt.id
        );
        assert_eq!(kept.eta_seconds, None, "{} is over", attempt.id);
    }

    /// Between two inputs: whatever was not told is due soon.
    pub(crate) fn check(&self, engine: &Engine, now: Stamp) {
        let wakeup = engine.next_wakeup(now);
        for attempt in self.attempts.values() {
            if visible(&attempt.told) == visible(&attempt.mirror) {
                continue;
            }
            let due = attempt.told_at_ms.map(|at| at + PACE_MS);
            assert!(
                due.is_some_and(|due| due > now.boot_ms && wakeup.is_some_and(|at| at <= due)),
                "{} is not told: due {due:?}, wakes {wakeup:?}",
                attempt.id
            );
        }
    }
}

fn stored(job: &Job) -> Option<Progress> {
    job.attempt.as_ref()?.progress.as_deref().cloned()
}

/// What does not follow from time. JSON may cost the last bit of a number.
fn visible(progress: &Progress) -> Progress {
    Progress {
        percent: progress.percent.map(|percent| (percent * 1e6).round()),
        rate: None,
        eta_seconds: None,
        eta_low_seconds: None,
        eta_high_seconds: None,
        eta_basis: None,
        updated_at_ms: None,
        advanced_at: None,
        heard_at: None,
        counting: Counting::default(),
        ..progress.clone()
    }
}

/// Something that a source may see.
pub(crate) fn observation(chance: &mut Chance) -> Observation {
    let source = match chance.below(4) {
        0 => Source::Api,
        1 => Source::File,
        2 => Source::Adapter("ratio".to_owned()),
        _ => Source::Adapter("tqdm".to_owned()),
    };
    let mut seen = Observation::new(source);
    let mut number = |hits: u64, below: u64| {
        let hit = chance.hits(hits);
        hit.then(|| f64::from(u32::try_from(chance.below(below)).unwrap()))
    };
    seen.step = number(600, 100);
    seen.total_steps = number(500, 120);
    seen.percent = number(150, 101);
    seen.epoch = number(150, 5);
    seen.total_epochs = number(150, 6);
    seen.eta_seconds = number(100, 100);
    seen.rate = number(100, 10);
    seen.estimated = chance.hits(50);
    seen.heartbeat = chance.hits(100);
    for _ in 0..chance.below(3) {
        let states = [StepState::Pending, StepState::Started, StepState::Completed];
        let name = (*chance.pick(&["load", "fit", "test"])).to_owned();
        seen.steps
            .push(StepReport::new(name, *chance.pick(&states)));
    }
    seen
}
