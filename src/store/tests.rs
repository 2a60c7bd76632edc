//! The store from outside: what was committed is there, in every way there is to ask for it.

mod flows;
mod gates;
mod lists;
mod past;
mod progress;
pub(super) mod trouble;
mod upkeep;

use super::*;
use crate::model::attempt::{Attempt, Process, Usage};
use crate::model::change::{Environment, IdempotencyKey};
use crate::model::failure::{Ending, Exit, Failure, FailureClass};
use crate::model::group::Group;
use crate::model::id::{AttemptId, EnvId, Seq};
use crate::model::job::{Job, Owner};
use crate::model::spec::JobSpec;
use crate::model::state::{HeldFor, JobState, StateName, StopCause};
use crate::model::time::Stamp;
use tempfile::TempDir;

/// No reserve: most tests do not need 8 MiB each.
pub(super) fn small() -> Options {
    Options {
        ballast_bytes: 0,
        ..Options::default()
    }
}

pub(super) fn open(directory: &Path) -> Opened {
    Store::open(directory, small()).unwrap()
}

/// Waits for an answer without a runtime.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(super) fn at(ms: i64) -> Stamp {
    Stamp {
        wall_ms: 1_700_000_000_000 + ms,
        boot_ms: u64::try_from(ms).unwrap(),
    }
}

pub(super) fn job(id: u64) -> Job {
    let owner = Owner {
        uid: 1000,
        gid: 100,
        user: "ada".to_owned(),
    };
    let mut spec = JobSpec::new(vec!["sleep".to_owned(), "1".to_owned()], "/tmp");
    spec.labels.insert("model".to_owned(), "llama".to_owned());
    Job::new(
        JobId(id),
        Arc::new(owner),
        Arc::new(spec),
        JobState::Queued,
        at(i64::try_from(id).unwrap()),
    )
}

pub(super) fn added(job: &Job) -> Change {
    Change::JobAdded {
        job: Arc::new(job.clone()),
    }
}

pub(super) fn moved(job: &Job, from: StateName) -> Change {
    Change::JobMoved {
        job: Arc::new(job.clone()),
        from,
        at: at(500),
    }
}

pub(super) fn fetch_job(store: &Store, id: u64) -> Option<Job> {
    let fetch = Fetch {
        jobs: vec![JobId(id)],
        ..Fetch::default()
    };
    wait(store.fetch(fetch)).unwrap().jobs.pop()
}

fn group(name: &str, parallelism: u32) -> Group {
    Group {
        name: name.to_owned(),
        parallelism,
        paused: false,
    }
}

fn edit(job: &Job, change: impl FnOnce(&mut JobSpec)) -> Job {
    let mut spec = (*job.spec).clone();
    change(&mut spec);
    Job {
        spec: Arc::new(spec),
        ..job.clone()
    }
}

/// Every state, so that none is spelled in a way that cannot be read back.
fn every_state() -> Vec<JobState> {
    let failure = Failure::new(FailureClass::Exit, "ended with exit status 3");
    vec![
        JobState::Held {
            waits_for: HeldFor::Approval,
        },
        JobState::Queued,
        JobState::Starting { since: at(1) },
        JobState::Running {
            since: at(2),
            ran_before_ms: 7,
        },
        JobState::Paused {
            since: at(3),
            ran_before_ms: 8,
        },
        JobState::Stopping {
            since: at(4),
            cause: StopCause::Restart,
            kill_at: at(9),
            killed: true,
        },
        JobState::Backoff {
            until: at(10),
            failure: failure.clone(),
        },
        JobState::Completed,
        JobState::Failed {
            failure: failure.clone(),
            exit: Some(Exit::with_code(3)),
        },
        JobState::Cancelled,
        JobState::TimedOut {
            failure: failure.clone(),
        },
        JobState::Skipped {
            failure: failure.clone(),
        },
        JobState::Lost { failure },
    ]
}

fn full_attempt(id: AttemptId) -> Attempt {
    Attempt {
        started: Some(at(20)),
        ended: Some(at(30)),
        main: Some(Process {
            pid: 4_000_000_000,
            start_ticks: u64::MAX >> 1,
        }),
        containment: Some("cgroup".to_owned()),
        ending: Some(Ending::Exited {
            exit: Exit::with_signal(9),
            oom_killed: true,
        }),
        usage: Some(Usage {
            user_cpu_ms: 5,
            max_rss_bytes: 1 << 40,
            ..Usage::default()
        }),
        progress: Some(Box::default()),
        ..Attempt::claimed(id, "boot-1", at(10))
    }
}

#[test]
fn every_state_and_attempt_is_read_back_as_it_was_written() {
    let directory = TempDir::new().unwrap();
    let opened = open(directory.path());
    let mut written = Vec::new();
    for (index, state) in every_state().into_iter().enumerate() {
        let mut job = job(index as u64 + 1);
        wait(opened.store.commit(vec![added(&job)])).unwrap();
        job.state = state;
        job.tries = 4;
        job.unmet = 2;
        job.finished = job.state.is_final().then(|| at(99));
        job.attempt = Some(full_attempt(job.next_attempt()));
        wait(opened.store.commit(vec![moved(&job, StateName::Queued)])).unwrap();
        assert_eq!(fetch_job(&opened.store, job.id.0), Some(job.clone()));
        written.push(job);
    }
    assert_eq!(every_state().len(), StateName::ALL.len());
    opened.store.close();
    let again = open(directory.path());
    written.retain(|job| !job.state.is_final());
    assert_eq!(again.recovered.live, written);
    assert_eq!(again.recovered.epoch, opened.recovered.epoch);
    assert_eq!(again.recovered.next_job, JobId(14));
    assert_eq!(again.recovered.head, Seq(26));
    assert_eq!(again.recovered.oldest, Seq(1));
    assert_eq!(again.set_aside, None);
}

#[test]
fn attempts_gather_and_the_newest_comes_with_the_job() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let mut job = job(1);
    wait(store.commit(vec![added(&job)])).unwrap();
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let attempt = full_attempt(job.next_attempt());
        attempts.push(attempt.clone());
        job.attempt = Some(attempt);
        wait(store.commit(vec![moved(&job, StateName::Queued)])).unwrap();
    }
    let found = store.reader().job(JobId(1)).unwrap().unwrap();
    assert_eq!(found.job, job);
    assert_eq!(found.attempts, attempts);
    assert_eq!(found.as_of, Seq(4));
    assert_eq!(store.reader().job(JobId(2)).unwrap(), None);
    assert_eq!(store.reader().job(JobId(u64::MAX)).unwrap_or(None), None);
}

#[test]
fn events_are_numbered_in_order_and_read_back_as_they_were_answered() {
    let directory = TempDir::new().unwrap();
    let opened = open(directory.path());
    let store = &opened.store;
    assert_eq!(
        (opened.recovered.oldest, opened.recovered.head),
        (Seq(1), Seq(0))
    );
    let first = job(1);
    let set = Change::GroupSet {
        group: group("gpu", 2),
        at: at(1),
    };
    let changes = vec![added(&first), set, added(&job(2))];
    let expected: Vec<Event> = (1..)
        .zip(changes.iter().filter_map(Change::event))
        .map(|(seq, event)| Event {
            seq: Some(Seq(seq)),
            ..event
        })
        .collect();
    let events = wait(store.commit(changes)).unwrap();
    assert_eq!(events, expected);

    let reader = store.reader();
    let all = reader.events(Seq(0), 10, &EventFilter::default()).unwrap();
    assert_eq!(all.events, expected);
    assert_eq!((all.reached, all.head), (Seq(3), Seq(3)));
    let page = reader.events(Seq(1), 1, &EventFilter::default()).unwrap();
    assert_eq!(page.events, expected[1..2]);
    assert_eq!((page.reached, page.head), (Seq(2), Seq(3)));
    let of_job = EventFilter {
        job: Some(JobId(2)),
        ..EventFilter::default()
    };
    let page = reader.events(Seq(0), 10, &of_job).unwrap();
    assert_eq!(page.events, expected[2..]);
    let of_groups = EventFilter {
        prefix: "group/".to_owned(),
        ..EventFilter::default()
    };
    let page = reader.events(Seq(0), 10, &of_groups).unwrap();
    assert_eq!(page.events, expected[1..2]);
    assert_eq!(page.reached, Seq(3));
}

/// The jobs that are stored as waiting for `id`.
fn dependents(store: &Store, id: i64) -> Vec<i64> {
    let read = store.reader().read(|connection| {
        connection
            .prepare("SELECT job FROM job_deps WHERE dependency = ?1 ORDER BY job")?
            .query_map([id], |row| row.get(0))?
            .collect()
    });
    read.unwrap()
}

#[test]
fn an_edit_replaces_spec_labels_and_dependencies() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let before = edit(&job(3), |spec| spec.after_ok = vec![JobId(1), JobId(2)]);
    wait(store.commit(vec![added(&before)])).unwrap();
    assert_eq!(dependents(&store, 1), [3]);
    let after = edit(&before, |spec| {
        spec.name = "renamed".to_owned();
        spec.group = "gpu".to_owned();
        spec.kind = Some("train".to_owned());
        spec.labels = [("stage".to_owned(), "two".to_owned())].into();
        spec.after_ok = vec![JobId(2)];
    });
    let change = Change::JobEdited {
        job: Arc::new(after.clone()),
        before: Arc::clone(&before.spec),
        at: at(7),
    };
    let events = wait(store.commit(vec![change])).unwrap();
    assert_eq!(&*events[0].kind, "edited");
    assert_eq!(fetch_job(&store, 3), Some(after));
    assert!(dependents(&store, 1).is_empty());
    assert_eq!(dependents(&store, 2), [3]);
    let labelled = |name: &str, value: &str| {
        let filter = JobFilter {
            labels: vec![(name.to_owned(), Some(value.to_owned()))],
            ..JobFilter::default()
        };
        store.reader().jobs(&filter, None, 9).unwrap().items.len()
    };
    assert_eq!(
        (labelled("model", "llama"), labelled("stage", "two")),
        (0, 1)
    );

    let met = Change::DependencyMet {
        job: JobId(3),
        unmet: 1,
    };
    assert_eq!(wait(store.commit(vec![met])).unwrap(), []);
    assert_eq!(fetch_job(&store, 3).unwrap().unmet, 1);
}

#[test]
fn an_environment_goes_with_the_last_job_that_needs_it() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let id = EnvId("abc".to_owned());
    let content: Environment = [("TOKEN".to_owned(), "secret-word".to_owned())].into();
    let seen = Change::EnvironmentSeen {
        id: id.clone(),
        content: Arc::new(content.clone()),
    };
    let with = |number| edit(&job(number), |spec| spec.env = Some(id.clone()));
    let removed = |number| Change::JobRemoved {
        job: JobId(number),
        uid: 1000,
        at: at(9),
    };
    wait(store.commit(vec![seen.clone(), added(&with(1)), seen, added(&with(2))])).unwrap();
    let reader = store.reader();
    assert_eq!(reader.environment(&id).unwrap(), Some(content.clone()));
    wait(store.commit(vec![removed(1)])).unwrap();
    assert_eq!(reader.environment(&id).unwrap(), Some(content));
    let names = reader.environment_names(&id).unwrap();
    assert_eq!(names, Some(vec!["TOKEN".to_owned()]));
    let events = wait(store.commit(vec![removed(2)])).unwrap();
    assert!(events[0].is_final);
    assert_eq!(reader.environment(&id).unwrap(), None);
    assert_eq!(fetch_job(&store, 2), None);
    // Nor is it left in the file, once the log is moved into it.
    store.close();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"secret-word"));
    }
    // A number is not given out twice, although its row is gone.
    assert_eq!(open(directory.path()).recovered.next_job, JobId(3));
}

#[test]
fn names_and_keys_are_looked_up_per_user() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let key = IdempotencyKey {
        uid: 1000,
        key: "k".to_owned(),
        fingerprint: "f".to_owned(),
    };
    let used = Change::KeyUsed {
        key,
        ids: vec![JobId(1), JobId(2)],
        at: at(1),
    };
    wait(store.commit(vec![added(&job(1)), added(&job(2)), used])).unwrap();
    let ask = |uid: u32| Fetch {
        jobs: vec![JobId(2), JobId(77), JobId(u64::MAX)],
        names: vec![(uid, "sleep".to_owned()), (uid, "other".to_owned())],
        key: Some((uid, "k".to_owned())),
    };
    let found = wait(store.fetch(ask(1000))).unwrap();
    assert_eq!(found.jobs, [job(2)]);
    assert_eq!(found.names, [((1000, "sleep".to_owned()), JobId(2))].into());
    let stored = StoredKey {
        fingerprint: "f".to_owned(),
        ids: vec![JobId(1), JobId(2)],
    };
    assert_eq!(found.key, Some(stored));
    let found = wait(store.fetch(ask(1001))).unwrap();
    assert!(found.names.is_empty());
    assert_eq!(found.key, None);
}

#[test]
fn a_refused_change_leaves_everything_as_it_was() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    wait(store.commit(vec![added(&job(1))])).unwrap();
    let twice = wait(store.commit(vec![added(&job(2)), added(&job(1))])).unwrap_err();
    assert!(matches!(twice, StoreError::Rejected { .. }), "{twice}");
    let unknown = wait(store.commit(vec![moved(&job(9), StateName::Queued)])).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "store a change that does not fit what is stored: job 9 is not stored"
    );
    let homeless = edit(&job(3), |spec| spec.env = Some(EnvId("gone".to_owned())));
    let homeless = wait(store.commit(vec![added(&homeless)])).unwrap_err();
    assert!(
        matches!(homeless, StoreError::Rejected { .. }),
        "{homeless}"
    );
    assert_eq!(*store.condition().borrow(), Condition::Healthy);
    assert_eq!(fetch_job(&store, 2), None);
    let events = wait(store.commit(vec![added(&job(2))])).unwrap();
    assert_eq!(events[0].seq, Some(Seq(2)));
}

#[test]
fn requests_that_wait_together_are_answered_in_order() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    wait(async {
        let commits: Vec<_> = (1..=500)
            .map(|id| {
                let committed = store.commit(vec![added(&job(id))]);
                let fetched = store.fetch(Fetch {
                    jobs: vec![JobId(id), JobId(id + 1)],
                    ..Fetch::default()
                });
                (id, committed, fetched)
            })
            .collect();
        for (id, committed, fetched) in commits {
            let events = committed.await.unwrap();
            assert_eq!(events[0].seq, Some(Seq(id)));
            // What was asked before the next commit does not see it.
            assert_eq!(fetched.await.unwrap().jobs, [job(id)]);
        }
    });
}

#[test]
fn a_closed_store_says_so() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    store.close();
    store.close();
    let error = wait(store.commit(vec![added(&job(1))])).unwrap_err();
    assert_eq!(error, StoreError::Stopped);
    store.record_progress(vec![]);
}

/// The group that is listed also where it is not stored.
fn always() -> Group {
    Group {
        name: "default".to_owned(),
        parallelism: 4,
        paused: false,
    }
}
