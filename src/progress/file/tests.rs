//! Good files, odd files and files that are none.

use std::os::unix::fs::symlink;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, inotify, mknodat};

use super::*;

fn read_text(text: impl AsRef<[u8]>) -> Result<Option<Observation>, FileError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("progress.json");
    std::fs::write(&path, text).unwrap();
    read(&path)
}

fn seen(text: &str) -> Observation {
    read_text(text).unwrap().unwrap()
}

#[test]
fn every_field_is_read() {
    let seen = seen(
        r#"{"status": "training", "progress": 0.5, "current_epoch": 2, "total_epochs": 3, "current_step": 450,
            "total_steps": 1000, "loss": 0.25, "eval_loss": "0.5", "samples_per_second": 12.5,
            "gpu_memory_allocated_gb": 7.5, "gpu_utilization_percent": 85, "eta_seconds": 60, "error": "none",
            "phase": "warm-up", "message": "hello", "lr": 1e-4, "name": "x", "flag": true, "nothing": null,
            "gpu": {"temp": 60, "deep": {"a": 1}}, "metrics": {"acc": 0.9}, "list": [1, 2],
            "steps": [{"name": "load", "state": "completed", "kind": "io"},
                      {"name": "fit", "status": "running", "percent": "45"}, {"name": "x"}, 5]}"#,
    );
    assert_eq!(seen.source, Source::File);
    assert_eq!(
        (seen.step, seen.total_steps, seen.percent),
        (Some(450.0), Some(1000.0), Some(50.0))
    );
    assert_eq!(
        (seen.epoch, seen.total_epochs, seen.eta_seconds),
        (Some(2.0), Some(3.0), Some(60.0))
    );
    assert_eq!(
        (seen.status.as_deref(), seen.error.as_deref()),
        (Some("training"), Some("none"))
    );
    assert_eq!(
        (seen.phase.as_deref(), seen.message.as_deref()),
        (Some("warm-up"), Some("hello"))
    );
    let names: Vec<&str> = seen.metrics.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "acc",
            "eval_loss",
            "gpu.temp",
            "gpu_memory_allocated_gb",
            "gpu_utilization_percent",
            "loss",
            "lr",
            "samples_per_second"
        ]
    );
    assert_eq!(seen.metrics["eval_loss"], 0.5);
    assert_eq!(seen.steps.len(), 3);
    assert_eq!(seen.steps[2].state, StepState::Pending);
    assert_eq!(
        (seen.steps[1].state, seen.steps[1].percent),
        (StepState::Progress, Some(45.0))
    );
}

#[test]
fn steps_are_announced_by_name_or_without_a_state() {
    let seen = seen(
        r#"{"steps": ["load", {"name": "fit", "weight": 8}, {"name": "tune", "percent": 5}, {"name": "x", "state": "odd"}]}"#,
    );
    let steps: Vec<_> = seen
        .steps
        .iter()
        .map(|it| (it.name.as_str(), it.state, it.weight))
        .collect();
    assert_eq!(
        steps,
        [
            ("load", StepState::Pending, None),
            ("fit", StepState::Pending, Some(8.0)),
            ("tune", StepState::Progress, None),
        ]
    );
}

#[test]
fn progress_is_a_fraction_or_a_percent() {
    for (text, percent) in [
        (r#"{"progress": 0}"#, Some(0.0)),
        (r#"{"progress": 0.5}"#, Some(50.0)),
        (r#"{"progress": "0.5"}"#, Some(50.0)),
        (r#"{"progress": 1}"#, Some(100.0)),
        (r#"{"progress": 1.0}"#, Some(100.0)),
        (
            r#"{"progress": 1, "current_step": 1, "total_steps": 100}"#,
            Some(1.0),
        ),
        (
            r#"{"progress": 1, "current_step": 100, "total_steps": 100}"#,
            Some(100.0),
        ),
        (r#"{"progress": 45}"#, Some(45.0)),
        (r#"{"progress": 0.2, "percent": 45}"#, Some(45.0)),
        (r#"{"progress": [1]}"#, None),
        (r#"{"progress": "soon", "progress": 0.5}"#, Some(50.0)),
    ] {
        assert_eq!(seen(text).percent, percent, "{text}");
    }
}

#[test]
fn wrong_types_lose_one_field_only() {
    let seen = seen(
        r#"{"status": {}, "current_step": "many", "total_steps": [], "loss": "x", "steps": 5, "epoch": true, "a": 1}"#,
    );
    let mut expected = Observation::new(Source::File);
    expected.metrics.insert("a".to_owned(), 1.0);
    assert_eq!(seen, expected);
}

#[test]
fn bad_content_is_an_error() {
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "{",
        r#"{"progress": 0."#,
        "nonsense",
        deep.as_str(),
        "{\"a\":\u{0}}",
    ] {
        assert!(
            matches!(read_text(text), Err(FileError::Invalid { .. })),
            "{text:.20}"
        );
    }
    for text in ["[]", "5", "null", "\"x\""] {
        assert!(
            matches!(read_text(text), Err(FileError::NotObject { .. })),
            "{text}"
        );
    }
    assert!(matches!(
        read_text([b'{', 0xff]),
        Err(FileError::Invalid { .. })
    ));
    let huge = format!("{{\"a\": \"{}\"}}", "x".repeat(1 << 20));
    assert!(matches!(read_text(huge), Err(FileError::TooLarge { .. })));
    let many: String = (0..10_000).map(|n| format!("\"m{n}\":{n},")).collect();
    let many = seen(&format!("{{{many}\"a\":1}}"));
    assert_eq!(many.metrics.len(), MAX_METRICS);
    assert!(many.metrics_left_out && many.metrics.contains_key("a"));
}

#[test]
fn half_a_pair_is_no_pair() {
    let seen = seen(
        r#"{"current_step": "many", "total_steps": 3, "current_epoch": 2, "total_epochs": [], "progress": 0.5}"#,
    );
    assert_eq!((seen.step, seen.total_steps), (None, None));
    assert_eq!((seen.epoch, seen.total_epochs), (None, None));
    assert_eq!(seen.percent, Some(50.0));
}

#[test]
fn steps_beyond_those_that_are_kept_are_counted() {
    let steps: Vec<String> = (0..5000)
        .map(|number| {
            let state = if number < 2500 {
                "completed"
            } else {
                "pending"
            };
            format!(r#"{{"name": "{number}", "state": "{state}", "weight": 2}}"#)
        })
        .collect();
    let seen = seen(&format!(r#"{{"steps": [{}]}}"#, steps.join(",")));
    let more = seen.more_steps.unwrap();
    assert_eq!((seen.steps.len(), more.steps), (MAX_STEPS, 4800));
    assert_eq!((more.completed, more.weight), (2300, 9600.0));
    assert_eq!(more.done, 4600.0);
}

#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    assert!(matches!(read(&path("absent")), Ok(None)));
    assert!(matches!(
        read(dir.path()),
        Err(FileError::NotRegular { .. })
    ));
    mknodat(
        CWD,
        path("pipe"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    assert!(matches!(
        read(&path("pipe")),
        Err(FileError::NotRegular { .. })
    ));
    assert!(matches!(
        read(Path::new("/dev/null")),
        Err(FileError::NotRegular { .. })
    ));
    std::fs::write(path("real"), "{}").unwrap();
    symlink(path("real"), path("link")).unwrap();
    assert!(read(&path("link")).unwrap().unwrap().is_empty());
    symlink(path("loop"), path("loop")).unwrap();
    let error = read(&path("loop")).unwrap_err();
    assert!(matches!(error, FileError::Read { .. }));
    assert!(error.to_string().starts_with("read progress file /"));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("progress.json");
    std::fs::write(&path, "{}").unwrap();
    let own_uid = rustix::process::geteuid().as_raw();
    assert!(read_owned(&path, own_uid).unwrap().is_some());
    assert!(matches!(
        read_owned(&path, own_uid + 1),
        Err(FileError::Foreign { .. })
    ));
}

proptest! {
    #[test]
    fn nothing_in_a_file_does_harm(text in r#"[{}\[\]":,0-9eE.a-z -]{0,60}"#, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        drop(read_text(text));
        drop(read_text(bytes));
    }
}

/// Opening a device may do something: a watchdog begins to count, a tape is wound back.
#[test]
fn what_is_no_file_is_not_even_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("progress.json");
    mknodat(CWD, &path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let inotify = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&inotify, &path, inotify::WatchFlags::OPEN).unwrap();
    assert!(matches!(read(&path), Err(FileError::NotRegular { .. })));
    let mut buffer = [std::mem::MaybeUninit::uninit(); 512];
    let event = inotify::Reader::new(&inotify, &mut buffer)
        .next()
        .map(|_| ());
    assert_eq!(event, Err(Errno::AGAIN));
}
