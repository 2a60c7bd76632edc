//! Earlier runs of the same: by name, by command where the name is the program's, by kind.

use super::*;
use crate::model::progress::SameRuns;

/// A job that completed after `seconds`.
fn over(id: u64, seconds: i64, change: impl FnOnce(&mut JobSpec)) -> Job {
    let mut job = edit(&job(id), change);
    let attempt = AttemptId {
        job: job.id,
        attempt: 1,
    };
    job.attempt = Some(Attempt {
        started: Some(at(1_000)),
        ended: Some(at(1_000 + seconds * 1_000)),
        ..Attempt::claimed(attempt, "boot", at(900))
    });
    job.state = JobState::Completed;
    job.finished = Some(at(1_000 + seconds * 1_000));
    job
}

#[test]
fn past_runs_are_those_of_the_same_owner_and_name_else_kind() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let named = |name: &'static str| move |spec: &mut JobSpec| spec.name = name.to_owned();
    let mut jobs: Vec<Job> = (1..=30)
        .map(|id| over(id, i64::try_from(id).unwrap(), named("fit")))
        .collect();
    jobs.push(over(31, 500, |spec| {
        spec.name = "other".to_owned();
        spec.kind = Some("train".to_owned());
    }));
    jobs.push(over(32, 7, named("sleep")));
    jobs.push(over(33, 8, |spec| {
        spec.name = "sleep".to_owned();
        spec.command = vec!["sleep".to_owned(), "8".to_owned()];
    }));
    let mut failed = over(34, 9_999, named("fit"));
    failed.state = JobState::Cancelled;
    jobs.push(failed);
    let changes = jobs.iter().flat_map(|it| {
        let before = Job {
            state: JobState::Queued,
            attempt: None,
            finished: None,
            ..it.clone()
        };
        [added(&before), moved(it, StateName::Queued)]
    });
    wait(store.commit(changes.collect())).unwrap();
    let reader = store.reader();
    let runs = |uid, name: &str, command: Option<&[&str]>, kind: Option<&str>| {
        let same = SameRuns {
            uid,
            name: name.to_owned(),
            command: command.map(|it| it.iter().map(|&word| word.to_owned()).collect()),
            kind: kind.map(str::to_owned),
        };
        reader.past_runs(&same).unwrap()
    };
    let newest: Vec<u64> = (11..=30).rev().map(|seconds| seconds * 1_000).collect();
    assert_eq!(runs(1000, "fit", None, Some("train")), newest);
    assert_eq!(runs(1000, "new", None, Some("train")), [500_000]);
    assert_eq!(runs(1000, "sleep", Some(&["sleep", "8"]), None), [8_000]);
    assert_eq!(runs(1000, "sleep", Some(&["sleep", "9"]), None), [0; 0]);
    assert_eq!(runs(1001, "fit", None, Some("train")), [0; 0]);
}
