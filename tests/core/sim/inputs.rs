//! Random commands: mostly sensible, often hopeless, sometimes wrong on purpose.

use crate::chance::Chance;
use crate::sim::shown;
use crate::sim::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use stoked::engine::command::{Command, Dependency, Draft, Edit, SignalTarget, Submission, Verb};
use stoked::model::change::IdempotencyKey;
use stoked::model::failure::FailureClass;
use stoked::model::id::JobId;
use stoked::model::job::Owner;
use stoked::model::limits::LimitChanges;
use stoked::model::retry::RetryPolicy;
use stoked::model::spec::{JobSpec, StopPolicy};
use stoked::model::state::HeldFor;
use stoked::model::time::Stamp;

const GROUPS: [&str; 4] = ["default", "train", "fetch", "idle"];
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A random command.
pub(crate) fn command(chance: &mut Chance, store: &Store, now: Stamp) -> Command {
    let crowded = store.live.len() > 35;
    match chance.below(100) {
        0..30 if !crowded => submission(chance, store, now),
        30..36 => Command::SetGroup {
            name: group(chance),
            parallelism: chance.hits(700).then(|| chance.below(5) as u32),
            paused: chance.hits(400).then(|| chance.hits(250)),
        },
        36..38 => Command::RemoveGroup {
            name: group(chance),
        },
        38 => Command::Drain {
            draining: chance.hits(400),
        },
        39..44 => Command::Job {
            id: target(chance, store),
            verb: Verb::Cancel {
                grace_ms: grace(chance),
            },
        },
        _ => Command::Job {
            id: target(chance, store),
            verb: verb(chance, now),
        },
    }
}

fn group(chance: &mut Chance) -> String {
    (*chance.pick(&GROUPS)).to_owned()
}

/// Mostly a live job, else a finished one, else one that never was.
fn target(chance: &mut Chance, store: &Store) -> JobId {
    let of = |rows: &BTreeMap<JobId, _>, chance: &mut Chance| {
        let index = chance.below(rows.len().max(1) as u64);
        let index = usize::try_from(index).unwrap();
        rows.keys().copied().rev().nth(index)
    };
    let found = match chance.below(100) {
        0..65 => of(&store.live, chance),
        65..75 => awaited(chance, store),
        75..95 => newest_done(chance, store),
        _ => None,
    };
    found.unwrap_or(JobId(store.newest.0 + chance.below(4)))
}

/// What a live job waits for, or waited for before it began.
fn awaited(chance: &mut Chance, store: &Store) -> Option<JobId> {
    let waiters = store.live.values().flat_map(|job| &job.spec.after_ok);
    let waiters: Vec<&JobId> = waiters.collect();
    (!waiters.is_empty()).then(|| **chance.pick(&waiters))
}

fn newest_done(chance: &mut Chance, store: &Store) -> Option<JobId> {
    let back = usize::try_from(chance.below(40)).unwrap();
    store.done.keys().copied().rev().nth(back)
}

fn grace(chance: &mut Chance) -> Option<u64> {
    chance
        .hits(300)
        .then(|| chance.below(3) * chance.below(400))
}

fn verb(chance: &mut Chance, now: Stamp) -> Verb {
    match chance.below(15) {
        0 => Verb::Restart {
            grace_ms: grace(chance),
        },
        1 => Verb::Signal {
            signal: *chance.pick(&[1, 9, 10, 15]),
            to: SignalTarget::All,
        },
        2 => Verb::Pause,
        3 | 4 => Verb::Resume,
        5 => Verb::Hold,
        6 | 7 => Verb::Release,
        8 => Verb::Approve,
        9 => Verb::Reject,
        10 | 11 => Verb::Retry,
        12 => Verb::Edit(Box::new(edit(chance, now))),
        13 => Verb::Remove,
        _ => Verb::Report {
            attempt: chance.hits(500).then(|| 1 + chance.below(3) as u32),
            observation: Box::new(shown::observation(chance)),
        },
    }
}

fn edit(chance: &mut Chance, now: Stamp) -> Edit {
    let draft = spec(chance, now);
    Edit {
        command: chance.hits(200).then_some(draft.command),
        name: chance.hits(200).then_some(draft.name),
        kind: None,
        group: chance.hits(400).then_some(draft.group),
        cwd: None,
        priority: chance.hits(500).then_some(draft.priority),
        not_before_ms: chance.hits(400).then_some(draft.not_before_ms),
        timeout_ms: chance.hits(300).then_some(draft.timeout_ms),
        grace_ms: chance.hits(200).then_some(draft.stop.grace_ms),
        labels: BTreeMap::from([("mark".to_owned(), chance.below(3).to_string())]),
        retry: chance.hits(200).then_some(draft.retry),
        limits: LimitChanges {
            tasks_max: chance.hits(200).then(|| chance.hits(500).then_some(9)),
            ..LimitChanges::default()
        },
    }
}

/// A random spec; the group may not exist.
fn spec(chance: &mut Chance, now: Stamp) -> JobSpec {
    let mut spec = JobSpec::new(vec!["work".to_owned()], "/");
    spec.name = (*chance.pick(&NAMES)).to_owned();
    spec.group = if chance.hits(15) {
        "nowhere".to_owned()
    } else {
        group(chance)
    };
    spec.priority = chance.below(10) as u8;
    spec.not_before_ms = chance
        .hits(200)
        .then(|| now.wall_ms - 300 + i64::try_from(chance.below(2_000)).unwrap());
    spec.timeout_ms = match chance.below(20) {
        0..5 => Some(chance.below(900)),
        5 => Some(u64::MAX),
        _ => None,
    };
    spec.stop = StopPolicy {
        signal: *chance.pick(&[15, 2]),
        grace_ms: chance.below(3) * chance.below(250),
    };
    if chance.hits(350) {
        spec.retry = retry(chance);
    }
    spec
}

fn retry(chance: &mut Chance) -> RetryPolicy {
    let mut policy = RetryPolicy {
        max_attempts: 1 + chance.below(4) as u32,
        backoff_ms: chance.below(400),
        backoff_cap_ms: 900,
        ..RetryPolicy::default()
    };
    if chance.hits(300) {
        policy.classes.push(FailureClass::Spawn);
        policy.classes.push(FailureClass::HostLost);
    }
    if chance.hits(300) {
        policy.exit_codes = vec![75];
    }
    policy
}

fn submission(chance: &mut Chance, store: &Store, now: Stamp) -> Command {
    let count = if chance.hits(500) {
        1
    } else {
        1 + chance.below(5)
    };
    let jobs = (0..count)
        .map(|_| Draft {
            spec: spec(chance, now),
            held: match chance.below(20) {
                0 => Some(HeldFor::Owner),
                1 => Some(HeldFor::Approval),
                _ => None,
            },
            after_ok: (0..chance.below(5).saturating_sub(2))
                .map(|_| dependency(chance, store))
                .collect(),
        })
        .collect();
    let uid = 1_000 + chance.below(2) as u32;
    let owner = Owner {
        uid,
        gid: uid,
        user: format!("user{uid}"),
    };
    let key = chance.hits(150).then(|| IdempotencyKey {
        uid,
        key: format!("key{}", chance.below(30)),
        fingerprint: chance.below(2).to_string(),
    });
    Command::Submit(Submission {
        owner: Arc::new(owner),
        jobs,
        environments: BTreeMap::new(),
        key,
        sees_others: true,
    })
}

fn dependency(chance: &mut Chance, store: &Store) -> Dependency {
    if chance.hits(500) {
        return Dependency::Name((*chance.pick(&NAMES)).to_owned());
    }
    let id = if chance.hits(700) {
        store.live.keys().rev().nth(chance.below(12) as usize)
    } else {
        store.done.keys().rev().nth(chance.below(12) as usize)
    };
    let unknown = JobId(store.newest.0 + 1 + chance.below(3));
    Dependency::Id(id.copied().filter(|_| !chance.hits(20)).unwrap_or(unknown))
}

/// Whether the drafts wait for each other in a circle: by reachability, the slow and plain way.
pub(crate) fn has_cycle(jobs: &[Draft]) -> bool {
    let named = |name: &str| jobs.iter().rposition(|draft| draft.spec.name == name);
    let mut reaches = vec![vec![false; jobs.len()]; jobs.len()];
    for (index, draft) in jobs.iter().enumerate() {
        for dependency in &draft.after_ok {
            if let Dependency::Name(name) = dependency
                && let Some(other) = named(name)
            {
                reaches[index][other] = true;
            }
        }
    }
    for via in 0..jobs.len() {
        for from in 0..jobs.len() {
            for to in 0..jobs.len() {
                reaches[from][to] |= reaches[from][via] && reaches[via][to];
            }
        }
    }
    (0..jobs.len()).any(|job| reaches[job][job])
}
