//! The archive from outside: whatever was moved where, and however often that was cut short, the answers are the same.

mod cut_short;
mod deleting;
mod random;
mod trouble;

use super::*;
use crate::model::attempt::Attempt;
use crate::model::change::{Change, Environment};
use crate::model::event::Event;
use crate::model::id::{AttemptId, EnvId, JobId, Seq};
use crate::model::job::Job;
use crate::model::state::{JobState, StateName};
use crate::model::time::Stamp;
use crate::store::open::with_suffix;
use crate::store::tests::{added, at, fetch_job, job, open, wait};
use crate::store::{EventFilter, JobFilter, ProgressPoint, Stretch};
use std::sync::Arc;
use tempfile::TempDir;

/// Everything is older than this.
const LATER: i64 = i64::MAX;

/// 30 days.
const MONTH_MS: i64 = 30 * 86_400_000;

/// Jobs that go with their month.
fn expiring(jobs: &[(JobId, u32)]) -> Vec<Change> {
    let expired = jobs.iter().map(|(job, uid)| Change::JobExpired {
        job: *job,
        uid: *uid,
        at: at(9),
    });
    expired.collect()
}

fn commit(store: &Store, changes: Vec<Change>) -> Vec<Event> {
    wait(store.commit(changes)).unwrap()
}

fn environment(number: u64) -> (EnvId, Arc<Environment>) {
    let id = EnvId(format!("env-{number}"));
    let content = Environment::from([("NUMBER".to_owned(), number.to_string())]);
    (id, Arc::new(content))
}

/// A job that ran once, with a label, an environment of its own and progress, and finished in the given month.
fn finished(store: &Store, id: u64, months: i64, change: impl FnOnce(&mut Job)) -> Job {
    let (env, content) = environment(id);
    let finish = Stamp {
        wall_ms: at(0).wall_ms + months * MONTH_MS,
        boot_ms: 500,
    };
    let mut job = job(id);
    let mut spec = (*job.spec).clone();
    spec.env = Some(env.clone());
    job.spec = Arc::new(spec);
    change(&mut job);
    let waiting = job.clone();
    let attempt = AttemptId {
        job: JobId(id),
        attempt: 1,
    };
    let mut ran = Attempt::claimed(attempt, "boot", at(1));
    ran.started = Some(at(2));
    ran.ended = Some(finish);
    job.attempt = Some(ran);
    job.state = JobState::Completed;
    job.finished = Some(finish);
    commit(
        store,
        vec![
            Change::EnvironmentSeen { id: env, content },
            added(&waiting),
            Change::JobMoved {
                job: Arc::new(job.clone()),
                from: StateName::Running,
                at: finish,
            },
        ],
    );
    store.record_progress(vec![point(attempt, 10, 1), point(attempt, 2_000, 2)]);
    job
}

fn point(attempt: AttemptId, at_ms: i64, step: u64) -> ProgressPoint {
    ProgressPoint {
        attempt,
        at_ms,
        body: format!(r#"{{"step":{step}}}"#),
    }
}

/// Moves everything that may go.
fn archive_all(store: &Store, before_ms: i64) -> Vec<JobId> {
    let archive = store.archive();
    let mut moved = Vec::new();
    for due in archive.due(before_ms, JobId(0), usize::MAX).unwrap() {
        let month = due.month();
        let mut jobs = [due];
        archive.copy(month, &mut jobs).unwrap();
        moved.extend(archive.hand_over(month, &jobs).unwrap());
    }
    while archive.move_events(before_ms, u64::MAX).unwrap() > 0 {}
    moved
}

/// Everything that can be asked about the jobs up to `last`.
#[derive(Debug, PartialEq)]
struct Answers {
    jobs: Vec<Option<(Job, Vec<Attempt>)>>,
    owners: Vec<Option<u32>>,
    pages: Vec<Vec<u64>>,
    filtered: Vec<Vec<u64>>,
    events: Vec<Event>,
    of_job: Vec<Vec<Event>>,
    counts: std::collections::BTreeMap<StateName, u64>,
    flows: Vec<(String, usize)>,
    curves: Vec<usize>,
}

fn answers(store: &Store, last: u64) -> Answers {
    wait(store.settle()).unwrap();
    let reader = store.reader();
    let ids = |filter: &JobFilter| {
        let page = reader.jobs(filter, None, 1_000).unwrap();
        assert_eq!(page.unreadable, []);
        page.items.iter().map(|job| job.id.0).collect::<Vec<_>>()
    };
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = reader.jobs(&JobFilter::default(), after, 3).unwrap();
        pages.push(page.items.iter().map(|job| job.id.0).collect());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let events = |filter: &EventFilter| {
        let mut all = Vec::new();
        let mut after = Seq(0);
        loop {
            let page = reader.events(after, 4, filter).unwrap();
            assert_eq!(page.oldest, Seq(1), "no event is out of reach");
            all.extend(page.events);
            after = page.reached;
            if after == page.head {
                return all;
            }
        }
    };
    let one = |filter: JobFilter| ids(&filter);
    Answers {
        jobs: (1..=last)
            .map(|id| {
                reader
                    .job(JobId(id))
                    .unwrap()
                    .map(|it| (it.job, it.attempts))
            })
            .collect(),
        owners: (1..=last)
            .map(|id| reader.owner(JobId(id)).unwrap())
            .collect(),
        pages,
        filtered: vec![
            one(JobFilter {
                states: vec![StateName::Completed],
                ..JobFilter::default()
            }),
            one(JobFilter {
                states: vec![StateName::Queued],
                ..JobFilter::default()
            }),
            one(JobFilter {
                uids: vec![1000, 7],
                ..JobFilter::default()
            }),
            one(JobFilter {
                users: vec!["ada".to_owned()],
                ..JobFilter::default()
            }),
            one(JobFilter {
                labels: vec![("model".to_owned(), Some("llama".to_owned()))],
                ..JobFilter::default()
            }),
            one(JobFilter {
                labels: vec![("model".to_owned(), None)],
                ..JobFilter::default()
            }),
            one(JobFilter {
                flow: Some("nightly".to_owned()),
                ..JobFilter::default()
            }),
            one(JobFilter {
                name: Some("sleep".to_owned()),
                uids: vec![1000],
                ..JobFilter::default()
            }),
            one(JobFilter {
                ids: Some(vec![JobId(2), JobId(5), JobId(3)]),
                ..JobFilter::default()
            }),
            one(JobFilter {
                since_ms: Some(at(4).wall_ms),
                ..JobFilter::default()
            }),
        ],
        events: events(&EventFilter::default()),
        of_job: (1..=last)
            .map(|id| {
                events(&EventFilter {
                    job: Some(JobId(id)),
                    ..EventFilter::default()
                })
            })
            .collect(),
        counts: reader.counts().unwrap().0,
        flows: reader
            .flows(None, None, 100)
            .unwrap()
            .items
            .iter()
            .map(|flow| {
                (
                    format!("{:?} {:?}", flow.key, flow.flow),
                    flow.attempts.len(),
                )
            })
            .collect(),
        curves: (1..=last)
            .map(|id| {
                let stretch = Stretch {
                    job: JobId(id),
                    attempt: None,
                    since_ms: i64::MIN,
                    until_ms: i64::MAX,
                };
                reader.curve(&stretch, 1, 100, None).unwrap().len()
            })
            .collect(),
    }
}

/// Six finished jobs over three months, two of them in a flow, and one that waits.
fn populated(store: &Store) -> u64 {
    finished(store, 1, 0, |_| {});
    finished(store, 2, 2, |_| {});
    finished(store, 3, 0, |job| {
        let mut spec = (*job.spec).clone();
        spec.flow = Some("nightly".to_owned());
        spec.labels.clear();
        job.spec = Arc::new(spec);
    });
    finished(store, 4, 1, |job| {
        let mut spec = (*job.spec).clone();
        spec.flow = Some("nightly".to_owned());
        spec.after_ok = vec![JobId(3)];
        job.spec = Arc::new(spec);
    });
    finished(store, 5, 1, |job| {
        let mut spec = (*job.spec).clone();
        spec.name = "other".to_owned();
        job.spec = Arc::new(spec);
    });
    finished(store, 6, 2, |_| {});
    commit(store, vec![added(&job(7))]);
    wait(store.settle()).unwrap();
    7
}

#[test]
fn a_month_has_every_column_of_the_main_database() {
    let columns = |sql: &str, table: &str| -> Vec<(String, String)> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        let mut columns: Vec<_> = connection
            .prepare(&format!(
                "SELECT name, type FROM pragma_table_info('{table}')"
            ))
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        columns.retain(|(name, _): &(String, String)| name != "environment");
        columns.sort();
        columns
    };
    let main = include_str!("../schema.sql");
    for table in carry::OF_JOB
        .iter()
        .map(|table| table.name)
        .chain(["events"])
    {
        assert_eq!(columns(main, table), columns(SCHEMA, table), "{table}");
    }
    for table in carry::OF_JOB.iter().chain(&OF_PROGRESS) {
        let mut carried = table.columns();
        carried.sort_unstable();
        let found = columns(SCHEMA, table.name);
        let there: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(carried, there, "{}", table.name);
    }
}

#[test]
fn what_is_archived_is_answered_as_before() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).store;
    let last = populated(&store);
    let before = answers(&store, last);
    assert_eq!(before.jobs.iter().flatten().count(), 7);
    assert_eq!(before.curves, [2, 2, 2, 2, 2, 2, 0]);
    // Part by part, the answers never change.
    for months in 0..4 {
        archive_all(&store, at(0).wall_ms + months * MONTH_MS + 1);
        assert_eq!(answers(&store, last), before, "after {months} months");
    }
    assert_eq!(archive_all(&store, LATER), []);
    let months = store.reader().archive_months().unwrap();
    assert_eq!(months.len(), 3);
    assert_eq!(months.iter().map(|month| month.jobs).sum::<u64>(), 6);
    assert_eq!(fetch_job(&store, 3).unwrap().id, JobId(3));
    // Also for somebody who comes later.
    drop(store);
    let store = open(dir.path()).store;
    assert_eq!(answers(&store, last), before);
    for month in store.archive().all_months().unwrap() {
        assert_eq!(store.archive().check(month).unwrap(), []);
    }
}
