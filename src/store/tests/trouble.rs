//! Trouble: killed, full, read-only, locked, damaged. Nothing acknowledged is lost, and nothing panics.

use super::*;
use crate::store::open::with_suffix;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Tells the copy of this program that [`a_killed_daemon_loses_nothing_it_acknowledged`] starts where to write.
const CHILD_DIRECTORY: &str = "STOKED_TEST_STORE_CHILD";

/// The child's part: commits, and says so, until it is killed. Without its variable it does nothing.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let opened = open(Path::new(&directory));
    let mut id = opened.recovered.next_job.0;
    loop {
        let waiting: Vec<_> = (id..id + 3)
            .map(|id| (id, opened.store.commit(vec![added(&job(id))])))
            .collect();
        for (id, committed) in waiting {
            wait(committed).unwrap();
            println!("committed {id}");
        }
        id += 3;
    }
}

#[test]
fn a_killed_daemon_loses_nothing_it_acknowledged() {
    let directory = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for kill_after in [1, 2, 40, 5, 100, 3] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("store::tests::trouble::child_that_commits_until_it_is_killed")
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            if let Some((_, id)) = line.split_once("committed ") {
                acknowledged = id.parse().unwrap();
                seen += 1;
                if seen == kill_after {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after);
        let opened = open(directory.path());
        assert_eq!(opened.set_aside, None);
        let ids: Vec<u64> = opened.recovered.live.iter().map(|job| job.id.0).collect();
        assert!(ids.len() as u64 >= acknowledged);
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
        assert_eq!(opened.recovered.head, Seq(ids.len() as u64));
    }
}

/// A file system of its own; gone when dropped. `None` where mounting is not allowed.
pub(in crate::store) struct Mount(pub(in crate::store) TempDir);

impl Mount {
    pub(in crate::store) fn tmpfs(options: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", options, "tmpfs"],
            directory.path(),
        );
        if !mounted {
            println!("SKIPPED: mounting a tmpfs needs root");
        }
        mounted.then_some(Self(directory))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(run("mount", &["-o", &options], self.0.path()));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.0.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program)
        .args(arguments)
        .arg(path)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Takes all the space there is.
pub(in crate::store) fn fill(path: &Path) {
    let mut filler = fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_is_survived_and_left_behind() {
    let Some(mount) = Mount::tmpfs("size=16m") else {
        return;
    };
    let directory = mount.0.path().join("state");
    let options = Options {
        ballast_bytes: 2 << 20,
        ..Options::default()
    };
    let opened = Store::open(&directory, options).unwrap();
    let store = opened.store;
    let condition = store.condition();
    assert_eq!(*condition.borrow(), Condition::Healthy);
    assert!(directory.join("ballast").exists());
    let filler = mount.0.path().join("filler");
    fill(&filler);

    let mut stored = 0;
    let mut degraded_but_working = false;
    let error = loop {
        match wait(store.commit(vec![added(&job(stored + 1))])) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        degraded_but_working |= *condition.borrow() != Condition::Healthy;
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(degraded_but_working, "the reserve was not used");
    assert!(!directory.join("ballast").exists());
    let why = condition.borrow().to_string();
    assert!(why.contains("disk is full; free some space"), "{why}");
    // Nothing of the failed one is there, and what is there can be read.
    assert_eq!(fetch_job(&store, stored + 1), None);
    assert_eq!(fetch_job(&store, stored), Some(job(stored)));
    let bounds = store.reader().bounds().unwrap();
    assert_eq!(bounds, (Seq(1), Seq(stored)));
    assert_eq!(wait(store.probe()).unwrap(), *condition.borrow());

    fs::remove_file(&filler).unwrap();
    assert_eq!(wait(store.probe()).unwrap(), Condition::Healthy);
    assert!(directory.join("ballast").exists());
    wait(store.commit(vec![added(&job(stored + 1))])).unwrap();
    store.close();
    let again = Store::open(&directory, options).unwrap();
    assert_eq!(again.set_aside, None);
    assert_eq!(again.recovered.epoch, opened.recovered.epoch);
    assert_eq!(again.recovered.live.len() as u64, stored + 1);
}

#[test]
fn a_full_disk_at_start_gives_the_reserve_back() {
    let Some(mount) = Mount::tmpfs("size=16m") else {
        return;
    };
    let directory = mount.0.path().join("state");
    let options = Options {
        ballast_bytes: 2 << 20,
        ..Options::default()
    };
    let opened = Store::open(&directory, options).unwrap();
    wait(opened.store.commit(vec![added(&job(1))])).unwrap();
    opened.store.close();
    drop(opened);
    // What a crash leaves: a log, without the index that has to be made again.
    let _gone = fs::remove_file(directory.join("stoked.db-shm"));
    fill(&mount.0.path().join("filler"));
    let again = Store::open(&directory, options).unwrap();
    assert_eq!(again.recovered.live, [job(1)]);
    wait(again.store.commit(vec![added(&job(2))])).unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let as_root = rustix::process::geteuid().is_root();
    let (mount, directory) = if as_root {
        let Some(mount) = Mount::tmpfs("size=4m") else {
            return;
        };
        let path = mount.0.path().to_owned();
        (Some(mount), path)
    } else {
        (None, TempDir::new().unwrap().keep())
    };
    let set_writable = |writable: bool| match &mount {
        Some(mount) => mount.remount(if writable { "rw" } else { "ro" }),
        None => {
            use std::os::unix::fs::PermissionsExt;
            let mode = if writable { 0o700 } else { 0o500 };
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    for existing in [false, true] {
        set_writable(false);
        let error = Store::open(&directory, small()).unwrap_err();
        assert!(
            matches!(error, StoreError::ReadOnly { .. }),
            "{existing} {error}"
        );
        assert!(error.to_string().contains(directory.to_str().unwrap()));
        set_writable(true);
        let store = open(&directory).store;
        store.close();
    }
    if mount.is_none() {
        fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn what_another_process_locks_works_again_when_it_lets_go() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    wait(store.commit(vec![added(&job(1))])).unwrap();
    let other = rusqlite::Connection::open(directory.path().join("stoked.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = wait(store.commit(vec![added(&job(2))])).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert_ne!(*store.condition().borrow(), Condition::Healthy);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(wait(store.probe()).unwrap(), Condition::Healthy);
    wait(store.commit(vec![added(&job(2))])).unwrap();
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()));
    let path = directory.path().join("stoked.db");
    let hand = rusqlite::Connection::open(&path).unwrap();
    hand.pragma_update(None, "user_version", 7).unwrap();
    drop(hand);
    let before = fs::read(&path).unwrap();
    let error = Store::open(directory.path(), small()).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 7, .. }),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

const DAMAGED_JOBS: u64 = 60;

/// A database with a bit of everything, as bytes.
fn specimen() -> (String, Vec<u8>) {
    let directory = TempDir::new().unwrap();
    let opened = open(directory.path());
    let content: Environment = [("A".to_owned(), "b".repeat(5_000))].into();
    let id = EnvId("e".to_owned());
    let mut changes = vec![Change::EnvironmentSeen {
        id: id.clone(),
        content: Arc::new(content),
    }];
    for number in 1..=DAMAGED_JOBS {
        let mut job = edit(&job(number), |spec| {
            spec.env = Some(id.clone());
            spec.after_ok = vec![JobId(number.max(2) - 1)];
        });
        changes.push(added(&job));
        job.attempt = Some(full_attempt(job.next_attempt()));
        job.state = every_state()[usize::try_from(number).unwrap() % 13].clone();
        changes.push(moved(&job, StateName::Queued));
    }
    wait(opened.store.commit(changes)).unwrap();
    opened.store.close();
    let bytes = fs::read(directory.path().join("stoked.db")).unwrap();
    (opened.recovered.epoch, bytes)
}

/// Opens a directory with these bytes as its database, and uses everything there is to use.
fn use_damaged(bytes: &[u8], epoch: &str) -> &'static str {
    // In memory where there is such a place: this is about bytes, and there are many of them.
    let directory = TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .unwrap();
    let path = directory.path().join("stoked.db");
    fs::write(&path, bytes).unwrap();
    let options = Options {
        id_floor: JobId(DAMAGED_JOBS),
        ..small()
    };
    let opened = match Store::open(directory.path(), options) {
        Ok(opened) => opened,
        // A larger version number cannot be told from a real one.
        Err(StoreError::Newer { .. }) => return "newer",
        Err(error) => panic!("{error}"),
    };
    assert!(opened.recovered.next_job > JobId(DAMAGED_JOBS));
    if let Some(aside) = &opened.set_aside {
        assert_eq!(fs::read(&aside.path).unwrap(), bytes);
        assert_ne!(opened.recovered.epoch, epoch);
    }
    let store = &opened.store;
    let next = opened.recovered.next_job.0;
    let committed = wait(store.commit(vec![added(&job(next))]));
    let _page = store.reader().jobs(&JobFilter::default(), None, 100);
    let _events = store.reader().events(Seq(0), 500, &EventFilter::default());
    let _counts = store.reader().group_counts(&always());
    let all = Fetch {
        jobs: (1..=DAMAGED_JOBS).map(JobId).collect(),
        names: vec![(1000, "sleep".to_owned())],
        key: None,
    };
    let _fetched = wait(store.fetch(all));
    let removed = |id| Change::JobRemoved {
        job: JobId(id),
        uid: 1,
        at: at(1),
    };
    let _removed: Vec<_> = (1..=9)
        .map(|id| wait(store.commit(vec![removed(id)])))
        .collect();
    match (opened.set_aside, committed) {
        (Some(aside), committed) => {
            committed.unwrap();
            assert!(aside.jobs as u64 <= DAMAGED_JOBS);
            if aside.jobs > 0 {
                "salvaged"
            } else {
                "set aside"
            }
        }
        (None, Ok(_)) => "unnoticed",
        (None, Err(StoreError::Corrupt { .. })) => {
            // Seen at run time: the next start reads everything, and sets it aside.
            assert_ne!(*store.condition().borrow(), Condition::Healthy);
            store.close();
            let again = Store::open(directory.path(), options).unwrap();
            assert!(again.set_aside.is_some());
            "at run time"
        }
        (None, Err(error)) => panic!("{error}"),
    }
}

#[test]
fn flipped_bytes_are_survived_wherever_they_are() {
    let (epoch, specimen) = specimen();
    let mut outcomes = std::collections::BTreeMap::new();
    let step = specimen.len() / 100;
    let in_header = (0..100).step_by(5);
    for place in in_header.chain((100..specimen.len()).step_by(step)) {
        let mut bytes = specimen.clone();
        bytes[place] ^= 0xff;
        *outcomes.entry(use_damaged(&bytes, &epoch)).or_insert(0) += 1;
    }
    println!("{} bytes: {outcomes:?}", specimen.len());
    assert!(outcomes.contains_key("salvaged"), "{outcomes:?}");
}

#[test]
fn torn_overwritten_and_foreign_files_are_set_aside() {
    let (epoch, specimen) = specimen();
    for length in [
        1,
        99,
        512,
        4_095,
        4_096,
        8_192,
        specimen.len() / 2,
        specimen.len() - 4_096,
    ] {
        let outcome = use_damaged(&specimen[..length], &epoch);
        assert!(
            ["set aside", "salvaged"].contains(&outcome),
            "{length}: {outcome}"
        );
    }
    let mut overwritten = specimen.clone();
    overwritten[8_192..40_960].fill(0xaa);
    assert_ne!(use_damaged(&overwritten, &epoch), "unnoticed");
    assert_eq!(use_damaged(&[b'x'; 100_000], &epoch), "set aside");
}

#[test]
fn what_was_waiting_is_held_after_a_salvage() {
    let (_, mut bytes) = specimen();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("stoked.db");
    fs::write(&path, &bytes).unwrap();
    let hand = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'events'";
    let page: usize = hand
        .query_row(sql, [], |row| row.get::<_, u32>(0))
        .unwrap()
        .try_into()
        .unwrap();
    drop(hand);
    // The table of events is damaged; the jobs are whole.
    bytes[(page - 1) * 4_096..][..8].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    fs::write(with_suffix(&path, ".suspect"), "seen at run time").unwrap();
    let opened = open(directory.path());
    let aside = opened.set_aside.unwrap();
    assert_eq!(aside.jobs as u64, DAMAGED_JOBS);
    assert_eq!(opened.recovered.next_job, JobId(DAMAGED_JOBS + 1));
    assert_eq!(opened.recovered.live.len(), 34);
    let waits = |job: &&Job| matches!(job.state, JobState::Queued | JobState::Backoff { .. });
    assert_eq!(opened.recovered.live.iter().find(waits), None);
    assert!(!with_suffix(&path, ".suspect").exists());
}

#[test]
fn a_log_without_its_database_is_kept() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("stoked.db");
    fs::write(
        with_suffix(&path, "-wal"),
        "what an interrupted rename left",
    )
    .unwrap();
    let opened = open(directory.path());
    assert_eq!(opened.set_aside, None);
    let kept: Vec<PathBuf> = fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains(".corrupt-"))
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].to_str().unwrap().ends_with("-wal"));
}
