//! Whatever step is the last one before the power goes, nothing is lost and nothing is there twice.

use super::*;

/// A step of archiving, or of undoing it. Each leaves its effect on disk and nothing in memory.
type Step = fn(&Store);

fn due(store: &Store) -> Vec<Due> {
    store.archive().due(LATER, JobId(0), usize::MAX).unwrap()
}

fn by_month(store: &Store, act: impl Fn(&Archive, Month, &mut [Due])) {
    let archive = store.archive();
    for job in due(store) {
        act(&archive, job.month(), &mut [job]);
    }
}

const STEPS: [Step; 9] = [
    // Copied, and nothing more.
    |store| {
        by_month(store, |archive, month, jobs| {
            archive.copy(month, jobs).unwrap();
        });
    },
    // Copied once more, and handed over in part.
    |store| {
        let job = due(store)[0];
        let archive = store.archive();
        archive.copy(job.month(), &mut [job]).unwrap();
        archive.hand_over(job.month(), &[job]).unwrap();
    },
    |store| {
        by_month(store, |archive, month, jobs| {
            archive.copy(month, jobs).unwrap();
            archive.hand_over(month, jobs).unwrap();
        });
    },
    // Handed over although nothing is due any more.
    |store| {
        by_month(store, |archive, month, jobs| {
            drop(archive.hand_over(month, jobs).unwrap());
        });
    },
    |store| assert!(store.archive().move_events(LATER, u64::MAX).unwrap() > 0),
    |store| {
        let archive = store.archive();
        for month in archive.all_months().unwrap() {
            archive.sweep(month).unwrap();
        }
        archive.clear_left().unwrap();
        archive.clear_progress().unwrap();
        while archive.vacuum().unwrap() {}
    },
    // Brought back, and not cleared away there.
    |store| drop(store.archive().bring_back(&[JobId(2), JobId(3)]).unwrap()),
    |store| store.archive().clear_left().unwrap(),
    |store| drop(archive_all(store, LATER)),
];

/// What is answered, but for environments: they are not archived.
fn without_environments(mut answers: Answers) -> Answers {
    for (job, _) in answers.jobs.iter_mut().flatten() {
        let mut spec = (*job.spec).clone();
        spec.env = None;
        job.spec = Arc::new(spec);
    }
    answers
}

#[test]
fn after_every_step_a_new_start_finds_everything_once() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).store;
    let last = populated(&store);
    let before = without_environments(answers(&store, last));
    store.close();
    for (number, step) in STEPS.into_iter().enumerate() {
        let store = open(dir.path()).store;
        step(&store);
        // No orderly end: what counts is on disk.
        let copy = TempDir::new().unwrap();
        copy_tree(dir.path(), copy.path());
        let opened = open(copy.path());
        assert!(opened.set_aside.is_none(), "step {number}");
        assert_eq!(
            without_environments(answers(&opened.store, last)),
            before,
            "step {number}"
        );
        opened.store.close();
        store.close();
    }
    let store = open(dir.path()).store;
    assert_eq!(due(&store), []);
    let months = store.reader().archive_months().unwrap();
    assert_eq!(months.iter().map(|month| month.jobs).sum::<u64>(), 6);
    let everything = months.iter().map(|month| month.month);
    for month in everything {
        assert_eq!(store.archive().check(month).unwrap(), []);
        assert_eq!(store.archive().sweep(month).unwrap(), 0);
    }
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn what_ran_again_since_it_was_copied_stays() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).store;
    let mut again = finished(&store, 1, 0, |_| {});
    let archive = store.archive();
    let mut jobs = due(&store);
    let month = jobs[0].month();
    archive.copy(month, &mut jobs).unwrap();
    again.state = JobState::Queued;
    again.finished = None;
    commit(
        &store,
        vec![Change::JobMoved {
            job: Arc::new(again.clone()),
            from: StateName::Completed,
            at: at(1),
        }],
    );
    assert_eq!(archive.hand_over(month, &jobs).unwrap(), []);
    assert_eq!(store.reader().job(JobId(1)).unwrap().unwrap().job, again);
    assert_eq!(archive.sweep(month).unwrap(), 1);
    wait(store.settle()).unwrap();
    assert_eq!(answers(&store, 1).curves, [2]);
}

#[test]
fn a_removed_job_is_gone_from_its_file_too() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).store;
    finished(&store, 1, 0, |_| {});
    archive_all(&store, LATER);
    let events = commit(
        &store,
        vec![Change::JobRemoved {
            job: JobId(1),
            uid: 1000,
            at: at(9),
        }],
    );
    assert_eq!(events.len(), 1);
    assert_eq!(store.reader().job(JobId(1)).unwrap(), None);
    assert_eq!(
        store
            .reader()
            .jobs(&JobFilter::default(), None, 9)
            .unwrap()
            .items,
        []
    );
    let month = store.archive().all_months().unwrap()[0];
    let file = reader(&store.shared.files, month).unwrap();
    let rows = |file: &Connection| -> i64 {
        file.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(rows(&file), 1);
    drop(file);
    store.archive().clear_left().unwrap();
    let file = reader(&store.shared.files, month).unwrap();
    assert_eq!(rows(&file), 0);
    // A second removal is refused as that of a job which never was.
    let again = Change::JobRemoved {
        job: JobId(1),
        uid: 1000,
        at: at(9),
    };
    assert!(wait(store.commit(vec![again])).is_err());
}

#[test]
fn an_archived_job_is_retried_as_any_other() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).store;
    let done = finished(&store, 1, 0, |_| {});
    archive_all(&store, LATER);
    assert_eq!(
        store
            .reader()
            .environment(&EnvId("env-1".to_owned()))
            .unwrap(),
        None
    );
    let mut again = fetch_job(&store, 1).unwrap();
    assert_eq!(again, done);
    again.state = JobState::Queued;
    again.finished = None;
    commit(
        &store,
        vec![Change::JobMoved {
            job: Arc::new(again.clone()),
            from: StateName::Completed,
            at: at(1),
        }],
    );
    let found = store.reader().job(JobId(1)).unwrap().unwrap();
    assert_eq!(found.job, again);
    assert_eq!(found.attempts.len(), 1);
    assert_eq!(
        answers(&store, 1).curves,
        [2],
        "its progress is back as well"
    );
    assert_eq!(store.reader().archive_months().unwrap()[0].jobs, 0);
    drop(store);
    assert_eq!(open(dir.path()).recovered.live, [again]);
}
