//! The watcher against real files, with and without inotify.
//!
//! That something is *not* told is tested with a second watch: once its change is told, everything
//! before it has been taken in.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const LONG: std::time::Duration = std::time::Duration::from_secs(20);

async fn told(watch: &mut Watch) {
    timeout(LONG, watch.changed()).await.unwrap();
}

/// Whether a change was told already.
async fn is_told(watch: &mut Watch) -> bool {
    let mut changed = std::pin::pin!(watch.changed());
    let now = std::future::poll_fn(|cx| std::task::Poll::Ready(changed.as_mut().poll(cx)));
    now.await.is_ready()
}

/// Returns once every event so far has been taken in.
async fn settled(watcher: &Watcher) {
    let dir = tempfile::tempdir().unwrap();
    let mut barrier = watcher.watch(dir.path());
    fs::write(dir.path().join("x"), "x").unwrap();
    told(&mut barrier).await;
}

fn start() -> (Watcher, TempDir) {
    (Watcher::start().unwrap(), tempfile::tempdir().unwrap())
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_file_is_told_written_truncated_replaced_deleted_and_made_again() {
    let (watcher, dir) = start();
    let path = dir.path().join("progress.json");
    fs::write(&path, "1").unwrap();
    let mut watch = watcher.watch(&path);
    assert!(!is_told(&mut watch).await);

    append(&path, b"2");
    told(&mut watch).await;
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    told(&mut watch).await;
    let next = dir.path().join("next");
    fs::write(&next, "new").unwrap();
    fs::rename(&next, &path).unwrap();
    told(&mut watch).await;
    append(&path, b"er");
    told(&mut watch).await;
    fs::remove_file(&path).unwrap();
    told(&mut watch).await;
    fs::write(&path, "again").unwrap();
    told(&mut watch).await;
    assert_eq!(watch.problem(), None);
}

#[tokio::test]
async fn a_file_replaced_while_somebody_has_it_open_is_told() {
    let (watcher, dir) = start();
    let path = dir.path().join("progress.json");
    let open = File::create(&path).unwrap();
    let mut watch = watcher.watch(&path);
    let next = dir.path().join("next");
    fs::write(&next, "new").unwrap();
    fs::rename(&next, &path).unwrap();
    told(&mut watch).await;
    drop(open);
}

#[tokio::test]
async fn a_link_is_told_when_it_or_what_it_names_changes() {
    let (watcher, dir) = start();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("one"), "1").unwrap();
    fs::write(path("two"), "2").unwrap();
    std::os::unix::fs::symlink("one", path("link")).unwrap();
    let mut watch = watcher.watch(&path("link"));
    append(&path("one"), b"x");
    told(&mut watch).await;
    std::os::unix::fs::symlink("two", path("next")).unwrap();
    fs::rename(path("next"), path("link")).unwrap();
    told(&mut watch).await;
    append(&path("two"), b"x");
    told(&mut watch).await;
    fs::remove_file(path("link")).unwrap();
    told(&mut watch).await;
    fs::write(path("link"), "a file of its own").unwrap();
    told(&mut watch).await;
    append(&path("link"), b"x");
    told(&mut watch).await;
    assert_eq!(watch.problem(), None);
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_told_when_it_or_a_part_of_it_comes() {
    let (watcher, dir) = start();
    let path = dir.path().join("a/b/c/stdout.0");
    let mut watch = watcher.watch(&path);
    fs::write(dir.path().join("other"), "x").unwrap();
    settled(&watcher).await;
    assert!(!is_told(&mut watch).await);
    fs::create_dir(dir.path().join("a")).unwrap();
    told(&mut watch).await;
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    told(&mut watch).await;
    fs::write(dir.path().join("a/b/c/other"), "x").unwrap();
    settled(&watcher).await;
    assert!(!is_told(&mut watch).await);
    fs::write(&path, "x").unwrap();
    told(&mut watch).await;
    append(&path, b"y");
    told(&mut watch).await;
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    told(&mut watch).await;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "x").unwrap();
    told(&mut watch).await;
}

#[tokio::test]
async fn a_directory_tells_of_what_is_in_it() {
    let (watcher, root) = start();
    let dir = root.path().join("42.1");
    let mut watch = watcher.watch(&dir);
    fs::create_dir(&dir).unwrap();
    told(&mut watch).await;
    fs::write(dir.join("stdout.0"), "").unwrap();
    told(&mut watch).await;
    append(&dir.join("stdout.0"), b"x");
    told(&mut watch).await;
    fs::rename(&dir, root.path().join("gone")).unwrap();
    told(&mut watch).await;
    fs::create_dir(&dir).unwrap();
    told(&mut watch).await;
}

#[tokio::test]
async fn changes_between_calls_are_told_once() {
    let (watcher, dir) = start();
    let path = dir.path().join("log");
    fs::write(&path, "").unwrap();
    let mut watch = watcher.watch(&path);
    for _ in 0..100 {
        append(&path, b"x");
    }
    settled(&watcher).await;
    assert!(is_told(&mut watch).await);
    assert!(!is_told(&mut watch).await, "a hundred changes are one");
    append(&path, b"x");
    told(&mut watch).await;
}

#[tokio::test]
async fn every_subscriber_of_a_path_is_told_and_one_may_leave() {
    let (watcher, dir) = start();
    let path = dir.path().join("log");
    fs::write(&path, "").unwrap();
    let mut one = watcher.watch(&path);
    let mut two = watcher.watch(&path);
    let three = watcher.watch(&path);
    append(&path, b"x");
    told(&mut one).await;
    told(&mut two).await;
    drop(three);
    drop(one);
    append(&path, b"x");
    told(&mut two).await;
}

#[tokio::test]
async fn a_flood_costs_nothing_until_the_subscriber_asks() {
    let (watcher, dir) = start();
    let path = dir.path().join("log");
    fs::write(&path, "").unwrap();
    let mut watch = watcher.watch(&path);
    append(&path, b"x");
    settled(&watcher).await;
    let before = watcher.wakeups();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    for _ in 0..50_000 {
        file.write_all(b"x").unwrap();
    }
    // The end of the watches of before is still told by the kernel.
    assert!(watcher.wakeups() <= before + 4);
    told(&mut watch).await;
}

#[tokio::test]
async fn names_that_concern_nobody_cost_little() {
    let (watcher, dir) = start();
    let mut watch = watcher.watch(&dir.path().join("missing"));
    let begun = std::time::Instant::now();
    let before = watcher.wakeups();
    for n in 0..2_000 {
        fs::write(dir.path().join(format!("{n}")), "").unwrap();
    }
    let rests = begun.elapsed().as_millis() / 20 + 1;
    let woken = u128::from(watcher.wakeups() - before);
    assert!(woken <= 2 * rests + 4, "{woken} wakeups in {rests} rests");
    assert!(!is_told(&mut watch).await);
    fs::write(dir.path().join("missing"), "").unwrap();
    told(&mut watch).await;
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (watcher, dir) = start();
    let path = dir.path().join("log");
    fs::write(&path, "").unwrap();
    let mut watch = watcher.watch(&path);
    for _ in 0..20 {
        assert!(!is_told(&mut watch).await);
        append(&path, b"x");
        settled(&watcher).await;
        told(&mut watch).await;
    }
}

#[tokio::test]
async fn without_inotify_it_looks_once_a_second_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let watcher = Watcher::start_on(Err(Errno::MFILE)).unwrap();
    assert_eq!(
        watcher.problem(),
        Some(WatchProblem::NoInstance {
            source: Errno::MFILE
        })
    );
    let (path, missing) = (dir.path().join("log"), dir.path().join("missing"));
    fs::write(&path, "").unwrap();
    let mut of_file = watcher.watch(&path);
    let mut of_missing = watcher.watch(&missing);
    let mut of_dir = watcher.watch(dir.path());
    assert!(
        of_file
            .problem()
            .unwrap()
            .to_string()
            .contains("max_user_instances")
    );
    append(&path, b"x");
    fs::write(&missing, "").unwrap();
    told(&mut of_file).await;
    told(&mut of_missing).await;
    told(&mut of_dir).await;
    append(&path, b"x");
    told(&mut of_dir).await;
}

#[tokio::test]
async fn what_cannot_be_watched_alone_is_looked_at() {
    let (watcher, dir) = start();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("to/nothing"), &link).unwrap();
    let mut watch = watcher.watch(&link);
    assert!(matches!(
        watch.problem(),
        Some(WatchProblem::Refused { .. })
    ));
    assert_eq!(watcher.problem(), None);
    fs::create_dir(dir.path().join("to")).unwrap();
    fs::write(dir.path().join("to/nothing"), "x").unwrap();
    told(&mut watch).await;
    assert_eq!(watch.problem(), None, "watched from now on");
}

#[tokio::test]
async fn a_change_is_never_missed_under_fire() {
    let (watcher, dir) = start();
    let path = dir.path().join("progress.json");
    let done = Arc::new(AtomicBool::new(false));
    let (theirs, theirs_done) = (path.clone(), Arc::clone(&done));
    let writer = thread::spawn(move || {
        let next = theirs.with_extension("next");
        for n in 1..=3_000_u32 {
            match n % 3 {
                0 => fs::write(&theirs, n.to_string()).unwrap(),
                1 => {
                    fs::write(&next, n.to_string()).unwrap();
                    fs::rename(&next, &theirs).unwrap();
                }
                _ => {
                    fs::remove_file(&theirs).unwrap();
                    fs::write(&theirs, n.to_string()).unwrap();
                }
            }
        }
        theirs_done.store(true, Ordering::Release);
    });
    let mut watch = watcher.watch(&path);
    // Whatever was seen last must be the last that was written: a lost change would hang here.
    while fs::read_to_string(&path).unwrap_or_default() != "3000" {
        told(&mut watch).await;
    }
    writer.join().unwrap();
    assert!(done.load(Ordering::Acquire));
}

#[tokio::test]
async fn when_events_are_lost_everybody_is_told() {
    let (watcher, dir) = start();
    let quiet = tempfile::tempdir().unwrap();
    // Made before anything is watched: after an event the thread takes a rest from this directory, and
    // what happens in a rest does not fill the queue.
    let names = ["a", "b"].map(|name| dir.path().join(name));
    File::create(&names[0]).unwrap();
    let mut of_quiet = watcher.watch(quiet.path());
    let mut of_missing = watcher.watch(&dir.path().join("missing"));
    let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .map(|limit| limit.trim().parse().unwrap())
        .unwrap();
    if most > 100_000 {
        eprintln!("SKIPPED: the queue holds {most} events");
        return;
    }
    let held = watcher.owner.shared.hold();
    // More than the queue holds, and the buffer that the thread may have read before it was held.
    for n in 0..most + 2_000 {
        fs::rename(&names[n % 2], &names[(n + 1) % 2]).unwrap();
    }
    drop(held);
    told(&mut of_quiet).await;
    told(&mut of_missing).await;
    fs::write(quiet.path().join("x"), "x").unwrap();
    told(&mut of_quiet).await;
}

#[tokio::test]
async fn when_watches_run_out_the_rest_is_looked_at() {
    if !with_two_watches("logs::watch::tests::when_watches_run_out_the_rest_is_looked_at") {
        return;
    }
    let (watcher, dir) = start();
    let paths = ["a", "b", "c"].map(|name| dir.path().join(name));
    for path in &paths {
        fs::write(path, "").unwrap();
    }
    let mut watches = paths.each_ref().map(|path| watcher.watch(path));
    let problems = watches.each_ref().map(Watch::problem);
    let path = paths[2].clone();
    assert_eq!(
        problems,
        [None, None, Some(WatchProblem::NoMoreWatches { path })]
    );
    for path in &paths {
        append(path, b"x");
    }
    for watch in &mut watches {
        told(watch).await;
    }
    let [one, two, mut three] = watches;
    drop((one, two));
    append(&paths[2], b"x");
    told(&mut three).await;
    assert_eq!(three.problem(), None, "watched as soon as there is room");
}

/// Runs the test called `name` again in a child that may have two inotify watches. True in that child.
fn with_two_watches(name: &str) -> bool {
    const MARK: &str = "STOKED_TEST_TWO_WATCHES";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let script = "echo 2 > /proc/sys/user/max_inotify_watches || exit 77; \"$@\"";
    let done = std::process::Command::new("unshare")
        .args(["--map-root-user", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", name])
        .env(MARK, "1")
        .output();
    match done {
        Ok(done) if done.status.success() => {
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.contains("1 passed"), "no such test: {name}");
        }
        Ok(done) if done.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&done.stderr))
        }
        done => eprintln!("SKIPPED {name}: no limit of its own here: {done:?}"),
    }
    false
}

#[tokio::test]
async fn a_search_that_does_not_end_holds_up_nobody() {
    let (watcher, dir) = start();
    let shared = &watcher.owner.shared;
    let path = dir.path().join("log");
    fs::write(&path, "").unwrap();
    let signal = Arc::new(Signal::default());
    let stuck = shared.add(&path, Arc::clone(&signal));
    let search = shared.hold().begin(stuck).unwrap();
    let mut watch = watcher.watch(&path);
    for _ in 0..10 {
        append(&path, b"x");
        told(&mut watch).await;
    }
    // It gets the watch that the others share, and they all leave before it says so.
    let found = search.run();
    drop(watch);
    shared.hold().finish(found);
    assert!(
        signal.take(),
        "nothing watches for it: it has to search again"
    );
    shared.arm(stuck);
    assert!(!signal.take());
    append(&path, b"x");
    // That it had to search again may still wake it once.
    while !signal.take() {
        signal.told().await;
    }
}

#[tokio::test]
async fn whoever_leaves_while_it_searches_leaves_nothing_behind() {
    let (watcher, dir) = start();
    let shared = &watcher.owner.shared;
    let id = shared.add(dir.path(), Arc::default());
    let found = shared.hold().begin(id).unwrap().run();
    shared.remove(id);
    shared.hold().finish(found);
    assert!(shared.hold().begin(id).is_none());
    let before = watcher.wakeups();
    for n in 0..100 {
        fs::write(dir.path().join(format!("{n}")), "").unwrap();
    }
    settled(&watcher).await;
    assert!(watcher.wakeups() <= before + 4, "it is still watched");
}

#[test]
fn the_thread_ends_with_its_last_handle() {
    let (watcher, dir) = start();
    let watch = watcher.clone().watch(dir.path());
    let shared = Arc::downgrade(&watcher.owner.shared);
    drop(watcher);
    assert!(shared.upgrade().is_some());
    drop(watch);
    assert!(shared.upgrade().is_none());
}
