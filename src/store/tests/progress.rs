//! Progress history: what is kept of it, how it is read, and what its loss does not harm.

use super::*;
use crate::model::curve::Quantity;
use crate::model::progress::Progress;
use crate::store::Stretch;

const ATTEMPT: AttemptId = AttemptId {
    job: JobId(1),
    attempt: 2,
};

const ALL: Stretch = Stretch {
    job: JobId(1),
    attempt: Some(2),
    since_ms: i64::MIN,
    until_ms: i64::MAX,
};

fn point(at_ms: i64, step: i64) -> ProgressPoint {
    ProgressPoint {
        attempt: ATTEMPT,
        at_ms,
        body: format!(
            "{{\"step\":{step},\"metrics\":{{\"loss\":{}}},\"steps\":[]}}",
            1000 - step
        ),
    }
}

fn record(store: &Store, points: impl Iterator<Item = ProgressPoint>) {
    store.record_progress(points.collect());
    wait(store.settle()).unwrap();
}

/// Time and step of every point.
fn read(store: &Store, stretch: Stretch, most: usize) -> Vec<(i64, f64)> {
    let points = store.reader().curve(&stretch, 1, most, None).unwrap();
    let shown = points.iter();
    shown
        .map(|point| (point.at_ms, point.progress.step.unwrap()))
        .collect()
}

#[test]
fn of_every_second_the_newest_point_is_kept() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    assert_eq!(read(&store, ALL, 10), []);
    record(&store, (0..50).map(|n| point(n * 100, n)));
    let whole: Vec<_> = (0..5)
        .map(|n| (n * 1000 + 900, (n * 10 + 9) as f64))
        .collect();
    assert_eq!(read(&store, ALL, 100), whole);
    // Written in the middle of a second, and again at its end.
    record(&store, [point(5_100, 51)].into_iter());
    assert_eq!(read(&store, ALL, 100).last(), Some(&(5_100, 51.0)));
    record(&store, [point(5_900, 59)].into_iter());
    assert_eq!(read(&store, ALL, 100).len(), 6);
    assert_eq!(read(&store, ALL, 100).last(), Some(&(5_900, 59.0)));
    // Also by a writer that does not know what is stored.
    store.close();
    let store = open(directory.path()).store;
    record(&store, [point(5_950, 60), point(6_000, 61)].into_iter());
    let ends = [(5_950, 60.0), (6_000, 61.0)];
    assert_eq!(read(&store, ALL, 100)[5..], ends);
    // And by one whose clock was set back: what is newest comes last.
    record(&store, [point(1_000, 62)].into_iter());
    assert_eq!(read(&store, ALL, 100).last(), Some(&(6_000, 62.0)));
}

#[test]
fn a_curve_is_as_fine_as_it_is_wanted_and_ends_with_the_last_point() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    record(&store, (0..100).map(|n| point(n * 1000, n)));
    let tenths: Vec<_> = (1..=10)
        .map(|n| (n * 10_000 - 1000, (n * 10 - 1) as f64))
        .collect();
    assert_eq!(read(&store, ALL, 10), tenths);
    assert_eq!(read(&store, ALL, 1), [(99_000, 99.0)]);
    let part = Stretch {
        since_ms: 3_000,
        until_ms: 5_000,
        ..ALL
    };
    let three = [(3_000, 3.0), (4_000, 4.0), (5_000, 5.0)];
    assert_eq!(read(&store, part, 10), three);
    let reader = store.reader();
    let coarse = reader.curve(&part, 60_000, 10, None).unwrap();
    assert_eq!((coarse.len(), coarse[0].at_ms), (1, 5_000));
    assert_eq!(coarse[0].spread["loss"].mean(), 996.0);
    let newer = Progress {
        step: Some(1000.0),
        ..Progress::default()
    };
    let newest = |at_ms| Some((at_ms, newer.clone()));
    let with = |stretch, at_ms| {
        let points = reader.curve(&stretch, 1, 1000, newest(at_ms)).unwrap();
        points.last().unwrap().progress.step
    };
    assert_eq!(with(ALL, 99_500), Some(1000.0));
    assert_eq!(with(ALL, 99_000), Some(99.0), "that is stored already");
    assert_eq!(with(part, 99_500), Some(5.0), "that is not in this part");
    let loss = Quantity::Metric("loss".into());
    let every = Stretch {
        attempt: None,
        ..ALL
    };
    let mut lines = reader
        .lines(&every, &[loss, Quantity::Percent], 10, newest(99_500))
        .unwrap();
    assert!(lines.pop().unwrap().into_points().is_empty());
    let loss = lines.pop().unwrap().into_points();
    assert_eq!((loss.len(), loss[0].1.max), (10, 1000.0));
}

#[test]
fn a_flood_stays_small_and_keeps_its_ends_and_extremes() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let spike = |n| match n {
        7_777 => "{\"step\":7777,\"metrics\":{\"loss\":99999}}".to_owned(),
        _ => point(0, n).body,
    };
    let flood = (0..45_000).map(|n| ProgressPoint {
        body: spike(n),
        ..point(n * 1000, n)
    });
    for part in flood.collect::<Vec<_>>().chunks(400) {
        store.record_progress(part.to_vec());
    }
    wait(store.settle()).unwrap();
    let kept = read(&store, ALL, 100_000);
    assert!((10_000..=20_000).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.first(), Some(&(0, 0.0)));
    assert_eq!(kept.last(), Some(&(44_999_000, 44_999.0)));
    assert!(
        kept.contains(&(7_777_000, 7_777.0)),
        "its loss was the largest"
    );
    let widest = kept.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
    assert!(widest <= Some(8_000), "{widest:?} ms without a point");
    let said = store.reader().last_progress(&[ATTEMPT]).unwrap();
    assert_eq!(said, [point(44_999_000, 44_999)], "whole, with its steps");
}

#[test]
fn history_goes_with_its_job() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    wait(store.commit(vec![added(&job(1))])).unwrap();
    record(&store, (0..10).map(|n| point(n * 1000, n)));
    let removed = Change::JobRemoved {
        job: JobId(1),
        uid: 1000,
        at: at(9),
    };
    wait(store.commit(vec![removed])).unwrap();
    wait(store.settle()).unwrap();
    assert_eq!(read(&store, ALL, 10), []);
    assert_eq!(store.reader().last_progress(&[ATTEMPT]).unwrap(), []);
}

#[test]
fn history_of_before_last_words_were_kept_can_be_read() {
    let directory = TempDir::new().unwrap();
    let old = rusqlite::Connection::open(directory.path().join("progress.db")).unwrap();
    old.execute_batch(
        "CREATE TABLE points (job INTEGER NOT NULL, attempt INTEGER NOT NULL, at_ms INTEGER NOT NULL, \
         body TEXT NOT NULL, PRIMARY KEY (job, attempt, at_ms)) STRICT, WITHOUT ROWID; \
         INSERT INTO points VALUES (1, 2, 1000, '{\"step\":1}'), (1, 2, 2000, '{\"step\":2}')",
    )
    .unwrap();
    drop(old);
    let store = open(directory.path()).store;
    let said = |store: &Store| store.reader().last_progress(&[ATTEMPT]).unwrap()[0].at_ms;
    assert_eq!(said(&store), 2_000);
    assert_eq!(read(&store, ALL, 10), [(1_000, 1.0), (2_000, 2.0)]);
    record(&store, [point(3_000, 3)].into_iter());
    assert_eq!((said(&store), read(&store, ALL, 10).len()), (3_000, 3));
}

#[test]
fn damaged_history_harms_nothing_else() {
    let directory = TempDir::new().unwrap();
    std::fs::write(
        directory.path().join("progress.db"),
        "no database".repeat(500),
    )
    .unwrap();
    let opened = open(directory.path());
    assert_eq!(opened.set_aside, None);
    let store = opened.store;
    assert!(store.reader().curve(&ALL, 1, 9, None).is_err());
    record(&store, [point(5, 5)].into_iter());
    assert_eq!(read(&store, ALL, 9), [(5, 5.0)]);
    assert_eq!(*store.condition().borrow(), Condition::Healthy);
    let aside = std::fs::read_dir(directory.path()).unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("progress.db.corrupt-")
    });
    assert_eq!(aside.count(), 1);
}

#[test]
fn what_a_removed_job_said_just_before_goes_with_it() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let job = job(1);
    wait(store.commit(vec![added(&job)])).unwrap();
    // Both wait for the writer together, as when it is busy.
    let (say_busy, is_busy) = std::sync::mpsc::channel();
    let (let_go, gate) = std::sync::mpsc::channel::<()>();
    let other = store.clone();
    let work = std::thread::spawn(move || {
        other.with_writer(move |_| {
            say_busy.send(()).unwrap();
            gate.recv().unwrap();
            Ok(())
        })
    });
    is_busy.recv().unwrap();
    store.record_progress(vec![point(100, 1)]);
    let removal = store.commit(vec![Change::JobRemoved {
        job: job.id,
        uid: 1000,
        at: at(5),
    }]);
    let_go.send(()).unwrap();
    work.join().unwrap().unwrap();
    wait(removal).unwrap();
    wait(store.settle()).unwrap();
    assert_eq!(read(&store, ALL, 10), []);
}
