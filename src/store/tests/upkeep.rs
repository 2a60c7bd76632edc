//! Upkeep: what goes with time, and how large the files get.

use super::*;

#[test]
fn old_events_and_keys_go_and_the_numbers_go_on() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    for id in 1..=10 {
        let used = Change::KeyUsed {
            key: IdempotencyKey {
                uid: 1,
                key: format!("k{id}"),
                fingerprint: String::new(),
            },
            ids: vec![JobId(id)],
            at: at(i64::try_from(id).unwrap()),
        };
        wait(store.commit(vec![added(&job(id)), used])).unwrap();
    }
    let policy = TrimPolicy {
        events_keep: 7,
        events_older_than_ms: None,
        keys_older_than_ms: at(6).wall_ms,
    };
    let trimmed = wait(store.trim(policy)).unwrap();
    assert_eq!((trimmed.oldest, trimmed.more), (Seq(4), false));
    assert_eq!(store.reader().bounds().unwrap(), (Seq(4), Seq(10)));
    let key = |name: &str| Fetch {
        key: Some((1, name.to_owned())),
        ..Fetch::default()
    };
    assert_eq!(wait(store.fetch(key("k5"))).unwrap().key, None);
    assert!(wait(store.fetch(key("k6"))).unwrap().key.is_some());
    let by_age = TrimPolicy {
        events_older_than_ms: Some(at(9).wall_ms),
        ..policy
    };
    assert_eq!(wait(store.trim(by_age)).unwrap().oldest, Seq(9));
    let nothing = TrimPolicy {
        events_keep: 0,
        ..policy
    };
    let trimmed = wait(store.trim(nothing)).unwrap();
    assert_eq!((trimmed.oldest, trimmed.more), (Seq(11), false));
    store.close();
    let again = open(directory.path());
    assert_eq!(
        (again.recovered.oldest, again.recovered.head),
        (Seq(11), Seq(10))
    );
    let events = wait(again.store.commit(vec![added(&job(11))])).unwrap();
    assert_eq!(events[0].seq, Some(Seq(11)));
}

#[test]
fn the_log_stays_small_although_much_is_written() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let log = directory.path().join("stoked.db-wal");
    let mut largest = 0;
    for round in 0..60 {
        let changes = (1..=100).map(|id| added(&job(round * 100 + id))).collect();
        wait(store.commit(changes)).unwrap();
        largest = largest.max(log.metadata().unwrap().len());
    }
    // Some 8 MiB went through it.
    assert!(largest < 6 << 20, "{largest} bytes");
    store.close();
    assert_eq!(log.metadata().map_or(0, |data| data.len()), 0);
}

#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("new/state");
    let opened = Store::open(&directory, Options::default()).unwrap();
    wait(opened.store.commit(vec![added(&job(1))])).unwrap();
    let _read = opened.store.reader().bounds().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let mut names = Vec::new();
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["ballast", "stoked.db", "stoked.db-shm", "stoked.db-wal"]
    );
}

#[test]
fn the_floor_keeps_numbers_from_being_given_out_again() {
    let directory = TempDir::new().unwrap();
    let options = Options {
        id_floor: JobId(41),
        ..small()
    };
    let opened = Store::open(directory.path(), options).unwrap();
    assert_eq!(opened.recovered.next_job, JobId(42));
    opened.store.close();
    let again = open(directory.path());
    assert_eq!(again.recovered.next_job, JobId(42));
    assert_eq!(wait(again.store.reload()).unwrap(), again.recovered);
}
