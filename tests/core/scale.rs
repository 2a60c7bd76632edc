//! A hundred thousand waiting jobs: deep chains and wide fans must neither overflow the stack nor take for ever.
//!
//! Times are printed, not judged: a debug build on a shared machine proves only that nothing is quadratic.

use crate::rig::{Rig, draft, spec};
use std::collections::BTreeMap;
use std::time::Instant;
use stoked::engine::command::{Dependency, Draft, Refusal, Verb};
use stoked::model::id::JobId;
use stoked::model::job::Job;
use stoked::model::spec::JobSpec;
use stoked::model::state::StateName;

const MANY: usize = 100_000;

fn named(name: String) -> JobSpec {
    JobSpec { name, ..spec() }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    println!("{what}: {:?}", begin.elapsed());
    result
}

/// `MANY` jobs, each of which waits for the next: the last one is the first that may run.
fn chain() -> Vec<Draft> {
    let link = |index: usize| {
        let mut link = draft(named(format!("j{index}")), &[]);
        if index + 1 < MANY {
            link.after_ok = vec![Dependency::Name(format!("j{}", index + 1))];
        }
        link
    };
    (0..MANY).map(link).collect()
}

#[test]
fn a_chain_is_skipped_to_its_end() {
    let mut rig = Rig::new(1);
    let ids = timed("submit a chain of 100,000", || rig.submit(chain())).unwrap();
    let last = *ids.last().unwrap();
    rig.started(last);
    timed("skip a chain of 100,000", || rig.ended(last, 1));
    assert_eq!(rig.engine.live().count(), 0);
    assert_eq!(rig.state(ids[0]), StateName::Skipped);
}

#[test]
fn a_circle_of_a_hundred_thousand_is_refused() {
    let mut rig = Rig::new(1);
    let mut jobs = chain();
    jobs[MANY - 1].after_ok = vec![Dependency::Name("j0".to_owned())];
    let refused = timed("refuse a circle of 100,000", || rig.submit(jobs)).unwrap_err();
    let Refusal::DependencyCycle(names) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(names.len(), MANY + 1);
    assert_eq!(rig.engine.live().count(), 0);
}

#[test]
fn one_completion_frees_fifty_thousand() {
    let mut rig = Rig::new(1);
    let gate = rig.one(spec(), &[]);
    let fan = (0..MANY / 2).map(|_| draft(spec(), &[gate])).collect();
    let fan = rig.submit(fan).unwrap();
    rig.started(gate);
    timed("a completion that frees 50,000", || rig.ended(gate, 0));
    assert_eq!(rig.state(fan[0]), StateName::Starting);
    assert_eq!(rig.state(fan[1]), StateName::Queued);
    assert_eq!(rig.job(fan[1]).unmet, 0);
}

#[test]
fn one_job_waits_for_thousands() {
    const WIDE: u32 = 5_000;
    let mut rig = Rig::new(WIDE);
    let many = (0..WIDE).map(|_| draft(spec(), &[])).collect();
    let many = rig.submit(many).unwrap();
    let last = rig.one(spec(), &many);
    timed("complete 5,000 that one job waits for", || {
        for id in &many {
            rig.ended(*id, 0);
        }
    });
    assert_eq!(rig.state(last), StateName::Starting);
}

/// Chains of ten, all behind one gate, beside plain waiting jobs: what a decision costs then.
#[test]
fn a_decision_does_not_grow_with_the_queue() {
    let mut rig = Rig::new(4);
    let runners: Vec<JobId> = (0..4).map(|_| rig.one(spec(), &[])).collect();
    let before = resident_bytes();
    let drafts = (0..MANY).map(|index| {
        let mut link = draft(named(format!("j{index}")), &[]);
        if index % 10 > 0 {
            link.after_ok = vec![Dependency::Name(format!("j{}", index - 1))];
        }
        link
    });
    let drafts = drafts.collect();
    timed("submit 10,000 chains of ten", || rig.submit(drafts)).unwrap();
    let per_job = resident_bytes().saturating_sub(before) / MANY as u64;
    println!("about {per_job} bytes per queued job, with the rig's copy of the rows");
    println!(
        "of which {} are the job and {} its spec, before texts and lists",
        size_of::<Job>(),
        size_of::<JobSpec>()
    );
    let mut times = BTreeMap::new();
    let mut running = runners;
    for round in 0..2_000usize {
        let id = running.remove(0);
        rig.started(id);
        let begin = Instant::now();
        rig.ended(id, 0);
        times.insert((begin.elapsed(), round), ());
        let places = rig.engine.live().filter(|job| job.state.holds_place());
        running = places.take(4).map(|job| job.id).collect();
    }
    let at = |share: usize| times.keys().nth(times.len() * share / 100).unwrap().0;
    println!(
        "a completion and the next start: median {:?}, 99 % {:?}",
        at(50),
        at(99)
    );
    println!("worst {:?}", times.keys().next_back().unwrap().0);
}

#[test]
fn verbs_on_a_long_queue_answer() {
    let mut rig = Rig::new(0);
    let ids = rig
        .submit((0..MANY).map(|_| draft(spec(), &[])).collect())
        .unwrap();
    timed("hold and release 1,000 of 100,000", || {
        for id in &ids[..1_000] {
            rig.verb(*id, Verb::Hold).unwrap();
            rig.verb(*id, Verb::Release).unwrap();
        }
    });
    timed("recover 100,000", || rig.restart());
    assert_eq!(rig.engine.live().count(), MANY);
}

/// Resident memory of this process; a rough measure, for the eye.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1);
    pages
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4_096
}
