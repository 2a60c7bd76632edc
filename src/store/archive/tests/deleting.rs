//! A month that is deleted, logs that are compressed and deleted, a file that is taken in: whoever is killed at any step
//! of it has lost nothing else, and the next one goes through with it.

use super::cut_short::copy_tree;
use super::*;

/// What happens on disk, one step after the other. Each leaves nothing in memory.
type Step = fn(&Store, Month);

/// What the next daemon does of what was begun.
fn go_through(store: &Store) {
    let archive = store.archive();
    archive.finish_taking_in().unwrap();
    archive.clear_progress().unwrap();
    for month in archive.expired(None, 0).unwrap() {
        loop {
            let some = archive.jobs_of(month, JobId(0), 1).unwrap();
            if some.is_empty() {
                break;
            }
            commit(store, expiring(&some));
        }
        archive.drop_month(month).unwrap();
    }
    archive.clear_left().unwrap();
    for month in archive.all_months().unwrap() {
        assert_eq!(archive.check(month).unwrap(), []);
        archive.sweep(month).unwrap();
    }
    while archive.vacuum().unwrap() {}
}

/// The jobs that there are, each whole.
fn jobs(store: &Store) -> Vec<(Job, Vec<Attempt>)> {
    let page = store.reader().jobs(&JobFilter::default(), None, 100);
    let listed = page.unwrap().items.into_iter();
    let whole = listed.map(|job| store.reader().job(job.id).unwrap().unwrap());
    whole.map(|it| (it.job, it.attempts)).collect()
}

fn numbers(jobs: &[(Job, Vec<Attempt>)]) -> Vec<u64> {
    jobs.iter().map(|(job, _)| job.id.0).collect()
}

/// Which jobs were told to be removed.
fn removed(store: &Store) -> Vec<String> {
    let page = store
        .reader()
        .events(Seq(0), 1_000, &EventFilter::default());
    let events = page.unwrap().events;
    let removed = events.iter().filter(|event| &*event.kind == "removed");
    let mut removed: Vec<String> = removed.map(|event| event.channel.to_string()).collect();
    removed.sort();
    removed
}

/// A store that has archived everything, opened anew, and its first month.
fn archived(dir: &Path) -> (Store, Month) {
    let store = open(dir).store;
    populated(&store);
    archive_all(&store, LATER);
    let month = store.archive().all_months().unwrap()[0];
    (store, month)
}

#[test]
fn a_month_that_is_being_deleted_is_gone_after_the_next_start() {
    let dir = TempDir::new().unwrap();
    let (store, month) = archived(dir.path());
    let before = jobs(&store);
    assert_eq!(numbers(&before), [7, 6, 5, 4, 3, 2, 1]);
    store.close();
    let one: Step = |store, month| {
        let some = store.archive().jobs_of(month, JobId(0), 1).unwrap();
        commit(store, expiring(&some));
    };
    let steps: [Step; 6] = [
        |store, month| store.archive().condemn(month).unwrap(),
        one,
        one,
        // The file is gone, and what is said of it is not yet.
        |store, month| fs::remove_file(month.path(&store.shared.files)).unwrap(),
        |store, month| store.archive().drop_month(month).unwrap(),
        |store, _| while store.archive().vacuum().unwrap() {},
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let store = open(dir.path()).store;
        step(&store, month);
        let copy = TempDir::new().unwrap();
        copy_tree(dir.path(), copy.path());
        store.close();
        let store = open(copy.path()).store;
        let there = jobs(&store);
        let expected = before.iter().filter(|it| there.contains(it));
        assert_eq!(
            there,
            expected.cloned().collect::<Vec<_>>(),
            "step {number}"
        );
        let gone = numbers(&before).len() - there.len();
        assert_eq!(removed(&store).len(), gone, "step {number}");
        go_through(&store);
        assert_eq!(numbers(&jobs(&store)), [7, 6, 5, 4, 2], "step {number}");
        assert_eq!(
            removed(&store),
            ["job/1/state", "job/3/state"],
            "step {number}: told once each"
        );
        assert!(!month.path(&store.shared.files).exists());
        assert!(!store.archive().all_months().unwrap().contains(&month));
        assert_eq!(store.archive().expired(None, 0).unwrap(), []);
        store.close();
    }
}

#[test]
fn a_job_that_came_back_does_not_go_with_its_month() {
    let dir = TempDir::new().unwrap();
    let (store, month) = archived(dir.path());
    let archive = store.archive();
    archive.condemn(month).unwrap();
    let going = archive.jobs_of(month, JobId(0), 10).unwrap();
    archive.bring_back(&[JobId(3)]).unwrap();
    let events = commit(&store, expiring(&going));
    let told: Vec<&str> = events.iter().map(|event| &*event.channel).collect();
    assert_eq!(told, ["job/1/state"]);
    assert!(events[0].is_final && events[0].seq.is_some());
    archive.drop_month(month).unwrap();
    assert_eq!(numbers(&jobs(&store)), [7, 6, 5, 4, 3, 2]);
    assert_eq!(commit(&store, expiring(&going)), [], "nobody goes twice");
}

#[test]
fn what_became_of_logs_is_known_after_every_step() {
    let dir = TempDir::new().unwrap();
    let (store, _) = archived(dir.path());
    store.close();
    let steps: [(&[u64], LogState); 4] = [
        (&[1, 2], LogState::Compressed),
        (&[3], LogState::Compressed),
        (&[1], LogState::Gone),
        (&[2, 3], LogState::Gone),
    ];
    let in_state = |store: &Store, state| {
        let jobs = store.archive().logs(state, LATER, JobId(0), 100).unwrap();
        jobs.iter().map(|job| job.0).collect::<Vec<_>>()
    };
    let mut known =
        std::collections::BTreeMap::from([1, 2, 3, 4, 5, 6].map(|id| (id, LogState::Plain)));
    for (ids, state) in steps {
        let store = open(dir.path()).store;
        let noted: Vec<JobId> = ids.iter().copied().map(JobId).collect();
        store.archive().note_logs(&noted, state).unwrap();
        known.extend(ids.iter().map(|id| (*id, state)));
        let copy = TempDir::new().unwrap();
        copy_tree(dir.path(), copy.path());
        store.close();
        let store = open(copy.path()).store;
        for state in [LogState::Plain, LogState::Compressed] {
            let expected = known.iter().filter(|(_, now)| **now == state);
            let expected: Vec<u64> = expected.map(|(id, _)| *id).collect();
            assert_eq!(in_state(&store, state), expected);
        }
        store.close();
    }
}

#[test]
fn a_file_that_was_being_taken_in_is_taken_in_by_the_next_start() {
    let dir = TempDir::new().unwrap();
    let (store, month) = archived(dir.path());
    let backup = TempDir::new().unwrap();
    let file = backup.path().join(format!("{month}.db"));
    fs::copy(month.path(&store.shared.files), &file).unwrap();
    store.archive().condemn(month).unwrap();
    go_through(&store);
    store.close();
    let leftovers = |store: &Store| {
        let entries = fs::read_dir(&store.shared.files.archive).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".db")).count()
    };
    // How far it got, and how many jobs the next start finds.
    for (number, is_whole) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
        let killed = TempDir::new().unwrap();
        copy_tree(dir.path(), killed.path());
        let store = open(killed.path()).store;
        let archive = store.archive();
        archive.note(month).unwrap();
        if number == 2 {
            let draft = with_suffix(&month.path(&store.shared.files), ".new");
            fs::write(draft, "half of it").unwrap();
        }
        if number >= 3 {
            archive.copy_in(&file, month).unwrap();
        }
        if number >= 4 {
            archive.separate_events(month).unwrap();
        }
        if number >= 5 {
            archive.take_in(&month.path(&store.shared.files)).unwrap();
            archive.note(month).unwrap();
        }
        let copy = TempDir::new().unwrap();
        copy_tree(killed.path(), copy.path());
        let store = open(copy.path()).store;
        go_through(&store);
        assert_eq!(leftovers(&store), 0, "step {number}");
        let expected: &[u64] = if is_whole {
            &[7, 6, 5, 4, 3, 2, 1]
        } else {
            &[7, 6, 5, 4, 2]
        };
        assert_eq!(numbers(&jobs(&store)), expected, "step {number}");
        if !is_whole {
            assert_eq!(store.archive().take_in(&file).unwrap(), (month, 2));
            assert_eq!(leftovers(&store), 0, "step {number}");
            assert_eq!(numbers(&jobs(&store)), [7, 6, 5, 4, 3, 2, 1]);
        }
        // What is there is not taken in once more.
        go_through(&store);
        assert_eq!(numbers(&jobs(&store)).len(), 7, "step {number}");
    }
    // What is refused leaves nothing either.
    let store = open(dir.path()).store;
    fs::write(&file, "this is no month").unwrap();
    assert!(store.archive().take_in(&file).is_err());
    assert_eq!(leftovers(&store), 0);
}
