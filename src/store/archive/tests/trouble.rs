//! Files that are missing, damaged, put back or too many; a main database that is lost.

use super::*;
use crate::store::StoreError;

fn archived(dir: &Path) -> (Store, Vec<Month>) {
    let store = open(dir).store;
    populated(&store);
    archive_all(&store, LATER);
    let months = store.archive().all_months().unwrap();
    assert_eq!(months.len(), 3);
    (store, months)
}

fn listed(store: &Store) -> (Vec<u64>, Vec<Month>) {
    let page = store
        .reader()
        .jobs(&JobFilter::default(), None, 100)
        .unwrap();
    let ids = page.items.iter().map(|job| job.id.0).collect();
    (ids, page.unreadable)
}

#[test]
fn a_missing_month_is_named_and_everything_else_goes_on() {
    let dir = TempDir::new().unwrap();
    let (store, months) = archived(dir.path());
    let path = months[0].path(&store.shared.files);
    let away = dir.path().join("away.db");
    fs::rename(&path, &away).unwrap();
    assert_eq!(listed(&store), (vec![7, 6, 5, 4, 2], vec![months[0]]));
    let error = store.reader().job(JobId(1)).unwrap_err();
    assert!(
        error.to_string().contains("it is missing; put it back"),
        "{error}"
    );
    assert_eq!(store.reader().owner(JobId(1)).unwrap(), Some(1000));
    let trouble = store.reader().archive_trouble().unwrap().unwrap();
    assert!(trouble.contains(path.to_str().unwrap()), "{trouble}");
    assert_eq!(store.archive().check(months[0]).unwrap().len(), 1);
    // Only what needs it fails: the store itself is well.
    assert!(matches!(
        wait(store.fetch(crate::store::Fetch {
            jobs: vec![JobId(1)],
            ..crate::store::Fetch::default()
        })),
        Err(StoreError::Archived { .. })
    ));
    assert_eq!(
        *store.condition().borrow(),
        crate::store::Condition::Healthy
    );
    // Events go on after the hole, and say so.
    let page = store
        .reader()
        .events(Seq(0), 100, &EventFilter::default())
        .unwrap();
    assert!(page.oldest > Seq(1), "{page:?}");
    fs::rename(&away, &path).unwrap();
    assert_eq!(listed(&store).0, [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(store.reader().archive_trouble().unwrap(), None);
}

#[test]
fn a_damaged_month_is_named_and_everything_else_goes_on() {
    let dir = TempDir::new().unwrap();
    let (store, months) = archived(dir.path());
    let path = months[0].path(&store.shared.files);
    let whole = fs::read(&path).unwrap();
    for harm in 0..whole.len() / 512 {
        let mut torn = whole.clone();
        for byte in &mut torn[harm * 512..harm * 512 + 512] {
            *byte ^= 0x5a;
        }
        fs::write(&path, &torn).unwrap();
        let (ids, unreadable) = listed(&store);
        // What can be read is right, and what cannot is named.
        let all = ids.contains(&1) && ids.contains(&3);
        assert!(
            all || unreadable == [months[0]],
            "{harm}: {ids:?} {unreadable:?}"
        );
        assert!(ids.contains(&2) && ids.contains(&7), "{harm}: {ids:?}");
        let _answer = store.reader().job(JobId(1));
        let _answer = store.reader().events(Seq(0), 100, &EventFilter::default());
        let _faults = store.archive().check(months[0]).unwrap();
    }
    fs::write(&path, b"no database at all").unwrap();
    assert_eq!(listed(&store).1, [months[0]]);
    assert_eq!(
        *store.condition().borrow(),
        crate::store::Condition::Healthy
    );
    assert_eq!(store.archive().check(months[0]).unwrap().len(), 1);
}

#[test]
fn a_lost_main_database_leaves_the_archive() {
    let dir = TempDir::new().unwrap();
    let (store, _) = archived(dir.path());
    let before = answers(&store, 6).jobs;
    drop(store);
    fs::write(dir.path().join("stoked.db"), vec![7; 8192]).unwrap();
    for companion in ["stoked.db-wal", "stoked.db-shm"] {
        let _gone = fs::remove_file(dir.path().join(companion));
    }
    let opened = open(dir.path());
    assert!(opened.set_aside.is_some());
    assert_eq!(
        opened.recovered.next_job,
        JobId(7),
        "no number is used twice"
    );
    let store = opened.store;
    assert_eq!(listed(&store).0, [6, 5, 4, 3, 2, 1]);
    let jobs: Vec<_> = (1..=6)
        .map(|id| {
            store
                .reader()
                .job(JobId(id))
                .unwrap()
                .map(|it| (it.job, it.attempts))
        })
        .collect();
    assert_eq!(jobs, before[..6]);
    // Its events begin anew, beside those of the other database.
    commit(&store, vec![added(&job(7))]);
    archive_all(&store, LATER);
    while store.archive().move_events(LATER, 0).unwrap() > 0 {}
    let page = store
        .reader()
        .events(Seq(0), 100, &EventFilter::default())
        .unwrap();
    assert_eq!(page.events.len(), 1);
}

#[test]
fn a_file_that_is_put_back_is_part_of_it_again() {
    let dir = TempDir::new().unwrap();
    let (store, months) = archived(dir.path());
    let files = &store.shared.files;
    let backup = TempDir::new().unwrap();
    let copy = backup.path().join(format!("{}.db", months[0]));
    fs::copy(months[0].path(files), &copy).unwrap();
    let archive = store.archive();
    assert!(
        archive.take_in(&copy).is_err(),
        "one of that month is there"
    );
    // Deleted for good, and back from a backup.
    archive.condemn(months[0]).unwrap();
    let jobs = archive.jobs_of(months[0], JobId(0), 100).unwrap();
    assert_eq!(jobs, [(JobId(1), 1000), (JobId(3), 1000)]);
    assert_eq!(
        archive.jobs_of(months[0], JobId(1), 100).unwrap(),
        jobs[1..]
    );
    commit(&store, expiring(&jobs));
    archive.drop_month(months[0]).unwrap();
    assert_eq!(listed(&store).0, [7, 6, 5, 4, 2]);
    assert!(!months[0].path(files).exists());
    assert_eq!(archive.take_in(&copy).unwrap(), (months[0], 2));
    assert_eq!(listed(&store).0, [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(
        archive.take_in(&months[0].path(files)).unwrap(),
        (months[0], 0)
    );
    // What is none of ours is refused, and changes nothing.
    for (name, content) in [("2020-01.db", "nothing"), ("2020-13.db", ""), ("x.db", "")] {
        let wrong = backup.path().join(name);
        fs::write(&wrong, content).unwrap();
        assert!(archive.take_in(&wrong).is_err(), "{name}");
    }
    let other = backup.path().join("2020-02.db");
    fs::copy(dir.path().join("stoked.db"), &other).unwrap();
    assert!(archive.take_in(&other).is_err());
    std::os::unix::fs::symlink(&copy, backup.path().join("2020-03.db")).unwrap();
    assert!(archive.take_in(&backup.path().join("2020-03.db")).is_err());
    assert_eq!(archive.all_months().unwrap(), months);
}

#[test]
fn old_and_large_months_go_whole() {
    let dir = TempDir::new().unwrap();
    let (store, months) = archived(dir.path());
    let archive = store.archive();
    assert_eq!(archive.expired(None, 0).unwrap(), []);
    assert_eq!(
        archive.expired(Some(months[1].end_ms()), 0).unwrap(),
        months[..2]
    );
    assert_eq!(
        archive.expired(Some(months[1].end_ms() - 1), 0).unwrap(),
        months[..1]
    );
    let size = |month: &Month| fs::metadata(month.path(&store.shared.files)).unwrap().len();
    let all: u64 = months.iter().map(size).sum();
    assert_eq!(archive.expired(None, all).unwrap(), []);
    assert_eq!(archive.expired(None, all - 1).unwrap(), months[..1]);
    assert_eq!(archive.expired(None, 1).unwrap(), months);
    // Once it was begun it is gone through with, whatever the settings say meanwhile.
    archive.condemn(months[0]).unwrap();
    drop(store);
    let store = open(dir.path()).store;
    assert_eq!(store.archive().expired(None, 0).unwrap(), months[..1]);
}

#[test]
fn the_progress_history_gets_small_again() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).store;
    finished(&store, 1, 0, |_| {});
    let attempt = AttemptId {
        job: JobId(1),
        attempt: 1,
    };
    let long = "x".repeat(2_000);
    for second in 3..5_000 {
        let body = format!(r#"{{"message":"{second} {long}"}}"#);
        store.record_progress(vec![ProgressPoint {
            body,
            ..point(attempt, second * 1_000, 3)
        }]);
    }
    wait(store.commit(Vec::new())).unwrap();
    let path = dir.path().join("progress.db");
    archive_all(&store, LATER);
    while store.archive().vacuum().unwrap() {}
    store.close();
    let database = rusqlite::Connection::open(&path).unwrap();
    let pages = |name: &str| -> i64 {
        database
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap()
    };
    assert!(pages("page_count") < 700, "{} pages", pages("page_count"));
    let store = open(dir.path()).store;
    assert_eq!(listed(&store).0, [1]);
}

#[test]
fn the_main_database_gets_small_again() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).store;
    let count = 300;
    for id in 1..=count {
        finished(&store, id, 0, |job| {
            let mut spec = (*job.spec).clone();
            spec.command = vec!["x".repeat(20_000)];
            job.spec = Arc::new(spec);
        });
    }
    archive_all(&store, LATER);
    while store.archive().vacuum().unwrap() {}
    store.close();
    let size = fs::metadata(dir.path().join("stoked.db")).unwrap().len();
    assert!(size < 3 << 20, "{size} bytes for nothing");
    let store = open(dir.path()).store;
    assert_eq!(listed(&store).0.len(), 100);
}
