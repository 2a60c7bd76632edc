//! Trouble: killed at any step, cut off, damaged, full, set clocks, very many. Nothing is lost, nothing is there twice.

use super::*;
use crate::store::samples::log::Content;
use crate::store::tests::trouble::{Mount, fill};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const CHILD_DIRECTORY: &str = "STOKED_TEST_SAMPLES";

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The same files elsewhere: what a new daemon finds if this one were killed now.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for dir in files(from).iter().filter(|it| it.is_dir()) {
        let name = to.path().join(dir.file_name().unwrap());
        fs::create_dir(&name).unwrap();
        for file in files(dir) {
            fs::copy(&file, name.join(file.file_name().unwrap())).unwrap();
        }
    }
    to
}

/// How many values there are, and the largest, by the minute and by the hour.
fn coarse(samples: &Samples, since_ms: i64, until_ms: i64) -> Vec<(u64, f64)> {
    let hours = usize::try_from((until_ms - since_ms) / HOUR_MS).unwrap();
    let each = [hours * 60, hours].map(|most| {
        let range = Range {
            since_ms,
            until_ms: until_ms - 1,
            most,
            percentiles: false,
        };
        let points = samples.query(&[LOAD], range).unwrap().remove(0);
        total(&points).map_or((0, 0.0), |it| (it.count, it.max))
    });
    each.to_vec()
}

/// A store with two days of one value a minute, so that the first day is rolled up, and a log that is late for it.
fn with_a_late_log(dir: &Path) -> (PathBuf, Head) {
    let samples = Samples::open(dir).unwrap();
    for minute in 0..2 * 1_440 + 70 {
        samples.append(&pass(BEGIN_MS + minute * 60_000, 1.0, &[]));
        if minute % 60 == 0 {
            samples.settle().unwrap();
        }
    }
    samples.settle().unwrap();
    for second in 0..20 {
        let at_ms = BEGIN_MS + 5 * HOUR_MS + second * 1_000 + 1;
        samples.append(&pass(at_ms, 9.0, &[1]));
    }
    samples.close();
    drop(samples);
    let log = files(&dir.join("log")).remove(0);
    let Content::Samples { head, .. } = log::read(&log).unwrap() else {
        panic!("it can be read")
    };
    (log, head)
}

#[test]
fn what_comes_late_is_there_once_wherever_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (log, head) = with_a_late_log(dir.path());
    let name = log.file_name().unwrap().to_string_lossy().into_owned();
    for steps in 0..5 {
        let copy = copy(dir.path());
        let shelf = Shelf::new(copy.path());
        if steps > 0 {
            seal::take(&shelf, &head, &name).unwrap();
        }
        if steps > 1 {
            seal::add_late(&shelf, &head, &name, Tier::Minute).unwrap();
        }
        if steps > 2 {
            seal::add_late(&shelf, &head, &name, Tier::Hour).unwrap();
        }
        if steps > 3 {
            seal::finish(&shelf, &head, &name).unwrap();
        }
        for round in 0..2 {
            let samples = Samples::open(copy.path()).unwrap();
            assert_eq!(*samples.condition().borrow(), Condition::Healthy);
            let at = |hour| BEGIN_MS + hour * HOUR_MS;
            let found = coarse(&samples, at(0), at(24));
            assert_eq!(
                found,
                [(1_440 + 20, 9.0); 2],
                "killed after {steps}, opened {round} times"
            );
            assert_eq!(points(&samples, &memory_of(1)).len(), 20);
            assert_eq!(files(&copy.path().join("log")), [] as [PathBuf; 0]);
        }
    }
}

#[test]
fn a_clock_set_back_takes_nothing_from_what_was_rolled_up() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    for minute in 0..4 * 1_440 {
        samples.append(&pass(BEGIN_MS + minute * 60_000, 1.0, &[]));
        if minute % 60 == 59 {
            samples.settle().unwrap();
        }
    }
    let forget = |raw_ms, minute_ms| Retention {
        raw_ms,
        minute_ms,
        hour_ms: 0,
        most_bytes: 0,
    };
    let end_ms = BEGIN_MS + 4 * DAY_MS;
    samples.retain(forget(DAY_MS, 0), end_ms).unwrap();
    // The clock is three days behind for a while, where the raw samples are gone.
    for second in 0..30 {
        let at_ms = BEGIN_MS + DAY_MS + HOUR_MS + second * 1_000 + 1;
        samples.append(&pass(at_ms, 5.0, &[]));
    }
    samples.settle().unwrap();
    samples.append(&pass(end_ms, 1.0, &[]));
    samples.settle().unwrap();
    let wanted = [(1_440 + 30, 5.0); 2];
    let day = |samples: &Samples| coarse(samples, BEGIN_MS + DAY_MS, BEGIN_MS + 2 * DAY_MS);
    assert_eq!(day(&samples), wanted);
    samples.close();
    let samples = Samples::open(dir.path()).unwrap();
    assert_eq!(day(&samples), wanted, "after a restart");
    samples.append(&pass(end_ms + 2 * HOUR_MS, 1.0, &[]));
    samples.settle().unwrap();
    assert_eq!(day(&samples), wanted, "after more was rolled up");
}

#[test]
fn a_clock_that_was_years_ahead_costs_nothing_later() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let year = 365 * DAY_MS;
    let mut at_ms = BEGIN_MS;
    let mut count = 0;
    let mut measure = |at_ms: i64| {
        samples.append(&pass(at_ms, 2.0, &[]));
        samples.settle().unwrap();
        count += 1;
    };
    for _ in 0..30 {
        at_ms += SLOT_MS;
        measure(at_ms);
    }
    for ahead in [-50 * year, 30 * year, 80 * year] {
        measure(at_ms + ahead);
    }
    let retention = Retention {
        raw_ms: 7 * DAY_MS,
        minute_ms: 90 * DAY_MS,
        hour_ms: 3 * year,
        most_bytes: 0,
    };
    // Retention runs while the clock is wrong.
    samples.retain(retention, at_ms + 80 * year).unwrap();
    for _ in 0..30 {
        at_ms += SLOT_MS;
        measure(at_ms);
    }
    samples.retain(retention, at_ms).unwrap();
    for most in [10, 1_000] {
        let found = samples.query(&[LOAD], everything(most)).unwrap().remove(0);
        assert_eq!(total(&found).map(|it| it.count), Some(count), "{most}");
    }
    let state = samples.owner.shared.shelf.places(Tier::Raw);
    assert_eq!(state.len(), 4, "{state:?}");
}

#[test]
fn a_volume_that_was_being_written_is_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = with_a_late_log(dir.path());
    fs::remove_file(log).unwrap();
    let place = Shelf::new(dir.path()).place(Tier::Minute, BEGIN_MS);
    let writing = rusqlite::Connection::open(&place.path).unwrap();
    // So little memory that pages are written before the transaction is over.
    writing
        .execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE rows SET blob = zeroblob(3000);")
        .unwrap();
    let killed = copy(dir.path());
    drop(writing);
    let minutes = killed.path().join("minute");
    let journal = |path: &PathBuf| path.to_string_lossy().ends_with("-journal");
    assert!(files(&minutes).iter().any(journal), "it is interrupted");
    let samples = Samples::open(killed.path()).unwrap();
    let found = coarse(&samples, BEGIN_MS, BEGIN_MS + DAY_MS);
    assert_eq!(found, [(1_440, 1.0); 2]);
    assert_eq!(*samples.condition().borrow(), Condition::Healthy);
    assert!(!files(&minutes).iter().any(journal));
}

/// Makes pages behind the first few unreadable.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    assert!(bytes.len() > 4 * 16_384, "{} bytes", bytes.len());
    for byte in bytes.iter_mut().skip(2 * 16_384) {
        *byte = 0x5a;
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_volume_that_is_damaged_is_set_aside_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let jobs: Vec<u64> = (1..200).collect();
    for at in 0..2 * HOUR_MS / 60_000 {
        samples.append(&pass(BEGIN_MS + at * 60_000, at as f64, &jobs));
        samples.flush().unwrap();
    }
    samples.settle().unwrap();
    damage(&samples.owner.shared.shelf.place(Tier::Raw, BEGIN_MS).path);
    // The first hour was rolled up before that, the second is now.
    samples.append(&pass(BEGIN_MS + DAY_MS, 1.0, &[]));
    samples.settle().unwrap();
    let is_aside = |path: &PathBuf| path.to_string_lossy().contains(".damaged-");
    let aside = |tier: &str| {
        files(&dir.path().join(tier))
            .iter()
            .filter(|it| is_aside(it))
            .count()
    };
    assert_eq!((aside("raw"), aside("minute"), aside("hour")), (1, 0, 0));
    let range = Range {
        until_ms: BEGIN_MS + HOUR_MS - 1,
        ..everything(60)
    };
    let found = samples.query(&[LOAD], range).unwrap().remove(0);
    assert_eq!(total(&found).map(|it| it.count), Some(60));
    assert_eq!(*samples.condition().borrow(), Condition::Healthy);
}

#[test]
fn a_query_goes_around_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let jobs: Vec<u64> = (1..200).collect();
    for at in 0..48 {
        samples.append(&pass(BEGIN_MS + at * HOUR_MS, 1.0, &jobs));
        samples.flush().unwrap();
    }
    samples.settle().unwrap();
    damage(&samples.owner.shared.shelf.place(Tier::Raw, BEGIN_MS).path);
    let found = samples.query(&[memory_of(7)], everything(1_000_000));
    let found = found.unwrap().remove(0);
    let of_second = found.iter().filter(|it| it.at_ms >= BEGIN_MS + DAY_MS);
    assert_eq!(of_second.count(), 24, "{found:?}");
    assert!(samples.series(&|_| true, i64::MIN, i64::MAX).is_ok());
}

#[test]
fn a_damaged_log_gives_what_is_whole_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    for at in 0..30 {
        samples.append(&pass(BEGIN_MS + at * 1_000, at as f64, &[]));
        samples.flush().unwrap();
    }
    samples.close();
    let log = files(&dir.path().join("log")).remove(0);
    let mut bytes = fs::read(&log).unwrap();
    let place = bytes.len() * 2 / 3;
    bytes[place] ^= 0xff;
    fs::write(&log, bytes).unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let found = points(&samples, &LOAD);
    assert!((1..30).contains(&found.len()), "{}", found.len());
    assert_eq!(
        found.last(),
        Some(&(
            BEGIN_MS + (found.len() as i64 - 1) * 1_000,
            found.len() as f64 - 1.0
        ))
    );
    let kept = files(&dir.path().join("log"));
    assert!(kept.len() == 1 && kept[0].to_string_lossy().contains(".damaged-"));
    samples.close();
    let samples = Samples::open(dir.path()).unwrap();
    assert_eq!(points(&samples, &LOAD), found, "it is not taken in again");
}

#[test]
fn a_full_disk_loses_nothing_that_memory_can_hold() {
    let Some(mount) = Mount::tmpfs("size=2m") else {
        return;
    };
    let dir = mount.0.path().join("samples");
    let samples = Samples::open(&dir).unwrap();
    samples.append(&pass(BEGIN_MS, 0.0, &[1]));
    samples.settle().unwrap();
    let filler = mount.0.path().join("filler");
    fill(&filler);
    let mut expected = vec![(BEGIN_MS, 0.0)];
    for at in 1..8 * 300 {
        let at_ms = BEGIN_MS + at * 1_000;
        samples.append(&pass(at_ms, (at % 13) as f64, &[1]));
        expected.push((at_ms, (at % 13) as f64));
        if at % 100 == 0 {
            let refused = samples.flush().unwrap_err().to_string();
            assert!(refused.contains("disk is full"), "{refused}");
        }
        if at % 600 == 0 {
            samples.settle().unwrap_err();
        }
    }
    assert_eq!(points(&samples, &LOAD), expected, "while it is full");
    fs::remove_file(filler).unwrap();
    samples.settle().unwrap();
    samples.flush().unwrap();
    assert_eq!(*samples.condition().borrow(), Condition::Healthy);
    assert_eq!(points(&samples, &LOAD), expected);
    samples.close();
    let samples = Samples::open(&dir).unwrap();
    assert_eq!(points(&samples, &LOAD), expected, "after a restart");
}

#[test]
fn memory_is_bounded_by_values_and_not_by_the_number_of_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let jobs: Vec<u64> = (1..3_000).collect();
    for at in 0..150 {
        samples.append(&pass(BEGIN_MS + at * 2_000, at as f64, &jobs));
        let state = lock(&samples.owner.shared.state);
        let heads = state.closed.iter().map(|(_, head)| head.values);
        let values = heads.sum::<usize>() + state.current.values;
        drop(state);
        assert!(values < 1_400_000, "{values} values in memory");
        if at % 40 == 0 {
            samples.flush().unwrap();
        }
    }
    samples.settle().unwrap();
    let state = lock(&samples.owner.shared.state);
    assert_eq!(state.lost, 0);
    drop(state);
    let wanted: Vec<i64> = (0..150).map(|at| BEGIN_MS + at * 2_000).collect();
    for job in [1, 1_500, 2_999] {
        let found = points(&samples, &memory_of(job));
        assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn whoever_reads_meanwhile_sees_everything_once() {
    /// Eleven days, of which all is read again and again.
    const SLOTS: i64 = 1_600;
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let reader = samples.clone();
    let (told, said) = channel::<i64>();
    let reading = Builder::new()
        .spawn(move || {
            let mut seen = 0;
            while let Ok(count) = said.recv() {
                for most in [usize::MAX >> 8, 200, 20] {
                    let found = reader.query(&[LOAD], everything(most)).unwrap().remove(0);
                    let found = total(&found).map_or(0, |it| it.count);
                    assert!(found >= count.unsigned_abs(), "{found} of {count}");
                    assert!(found <= SLOTS.unsigned_abs(), "{found}");
                }
                seen += 1;
            }
            seen
        })
        .unwrap();
    for at in 0..SLOTS {
        // Each is in another slot, and every sixth in another hour.
        samples.append(&pass(BEGIN_MS + at * SLOT_MS, at as f64, &[]));
        if at % 8 == 0 {
            samples.flush().unwrap();
            told.send(at + 1).unwrap();
        }
        if at % 500 == 0 {
            let retention = Retention {
                raw_ms: 2 * DAY_MS,
                minute_ms: 0,
                hour_ms: 0,
                most_bytes: 0,
            };
            samples.retain(retention, BEGIN_MS + at * SLOT_MS).unwrap();
        }
    }
    drop(told);
    assert!(reading.join().unwrap() > 0);
    let state = lock(&samples.owner.shared.state);
    assert_eq!(state.lost, 0);
}

/// Not a test of its own: appends and says what is in the log, until somebody kills it.
#[test]
fn child_that_measures_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let samples = Samples::open(Path::new(&directory)).unwrap();
    for at in 0.. {
        // Forty samples an hour: much is rolled up.
        samples.append(&pass(
            BEGIN_MS + at * 90_000,
            (at % 100) as f64,
            &[1 + at.unsigned_abs() / 500],
        ));
        if at % 20 == 19 {
            samples.flush().unwrap();
            println!("logged {}", at + 1);
        }
    }
}

#[test]
fn what_was_logged_is_there_after_a_kill_at_any_instant() {
    for kill_after in [1, 3, 30, 57, 90, 131] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("store::samples::tests::trouble::child_that_measures_until_it_is_killed")
            .env(CHILD_DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut logged, mut seen) = (0, 0);
        for line in lines.map_while(Result::ok) {
            if let Some((_, count)) = line.split_once("logged ") {
                logged = count.parse().unwrap();
                seen += 1;
                if seen == kill_after {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after);
        for round in 0..2 {
            let samples = Samples::open(dir.path()).unwrap();
            let found = points(&samples, &LOAD);
            assert!(found.len() >= logged, "{} of {logged}", found.len());
            for (at, point) in (0_i64..).zip(&found) {
                assert_eq!(
                    *point,
                    (BEGIN_MS + at * 90_000, (at % 100) as f64),
                    "{round}"
                );
            }
            let until_ms = BEGIN_MS + (found.len() as i64 * 90_000 / HOUR_MS + 1) * HOUR_MS;
            let count = found.len() as u64;
            let coarse = coarse(&samples, BEGIN_MS, until_ms);
            assert!(coarse.iter().all(|it| it.0 == count), "{coarse:?}, {count}");
            assert_eq!(*samples.condition().borrow(), Condition::Healthy);
        }
    }
}
