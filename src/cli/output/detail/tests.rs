//! The page of a job, as it is seen.

use super::*;

fn look(colour: bool) -> Look {
    Look {
        colour,
        width: 80,
        now: "2026-11-22T12:00:00Z".parse().unwrap(),
        zone: jiff::tz::TimeZone::UTC,
    }
}

fn some_job() -> JobView {
    let text = r#"{
        "id": 42, "name": "train\u001b[2J", "kind": "train", "group": "gpu", "owner": {"uid": 1, "user": "ann"},
        "state": "running", "command": ["python", "train.py", "--note", "it's on"], "cwd": "/home/ann/x",
        "env_names": ["PATH", "HOME"], "priority": 3, "labels": {"set": "digits"},
        "created_at": "2026-11-22T11:50:00Z", "started_at": "2026-11-22T11:52:00Z", "attempt": 2, "pid": 1234,
        "depends_on": [40, 41], "timeout": 7200, "max_attempts": 3,
        "progress": {"step": 520, "total_steps": 1000, "epoch": 2, "total_epochs": 3, "eta_seconds": 130,
            "eta_low_seconds": 110, "eta_high_seconds": 180, "metrics": {"loss": 0.21, "accuracy": 0.93},
            "message": "evaluating", "source": "file", "updated_at": "2026-11-22T11:59:58Z"},
        "attempts": [
            {"attempt": 1, "claimed_at": "2026-11-22T11:50:00Z", "started_at": "2026-11-22T11:50:01Z",
             "finished_at": "2026-11-22T11:51:00Z", "containment": "cgroup", "exit": {"code": 3},
             "failure": {"class": "exit"},
             "usage": {"user_cpu_seconds": 50.5, "system_cpu_seconds": 1.5, "max_rss_bytes": 104857600}},
            {"attempt": 2, "claimed_at": "2026-11-22T11:52:00Z", "started_at": "2026-11-22T11:52:00Z",
             "pid": 1234, "containment": "cgroup"}
        ]}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_running_job_has_everything_on_its_page() {
    insta::assert_snapshot!(job(&some_job(), &look(false)), @r"
    Job 42  train\e[2J
    ● running  8m00s  pid 1234

    Progress    ████████▎░░░░░░░  52%  2m10s left  epoch 2/3  step 520/1000
    Left        2m10s (1m50s–3m00s)
    Metrics     accuracy 0.93  loss 0.21
    Says        evaluating
    Reported    2s ago, from file
    Command     python train.py --note 'it'\''s on'
    Directory   /home/ann/x
    Environment 2 variables
    Owner       ann
    Group       gpu, priority 3
    Kind        train
    Label       set=digits
    After       40, 41
    Timeout     2h
    Attempts    up to 3
    Submitted   2026-11-22 11:50:00 (10m ago)
    Started     2026-11-22 11:52:00 (8m ago)

    ATTEMPT  END      STARTED              TIME   CPU  MEMORY     HELD BY
    1        exit 3   2026-11-22 11:50:01  59s    52s  100.0 MiB  cgroup
    2        running  2026-11-22 11:52:00  8m00s                  cgroup

    Further: stoke logs -f 42 · stoke watch job/42/* · stoke cancel 42
    ");
}

#[test]
fn a_failed_job_says_why_and_what_next() {
    let mut failed = some_job();
    failed.state = "failed".into();
    failed.finished_at = Some("2026-11-22T11:59:00Z".parse().unwrap());
    failed.failure = Some(crate::wire::job::FailureView {
        class: "oom".into(),
        message: Some("killed because memory ran out".into()),
    });
    (failed.progress, failed.pid) = (None, None);
    failed.attempts.truncate(1);
    let page = job(&failed, &look(true));
    let ends: Vec<_> = page.lines().take(3).chain(page.lines().last()).collect();
    insta::assert_snapshot!(ends.join("\n").replace('\u{1b}', "ESC"), @r"
    ESC[1mJob 42  train\e[2JESC[0m
    ESC[31m✘ failed · oomESC[0m  7m00s
    ESC[31mkilled because memory ran outESC[0m
    ESC[2mFurther: stoke logs 42 · stoke retry 42 · stoke rm 42ESC[0m
    ");
}

#[test]
fn many_metrics_take_many_lines_and_nothing_takes_none() {
    let mut verbose = some_job();
    let progress = verbose.progress.as_mut().unwrap();
    progress.metrics = (0..12).map(|n| (format!("metric{n:02}"), 0.5)).collect();
    progress.message = Some(String::new());
    let page = job(&verbose, &look(false));
    let begin = page.find("Metrics").unwrap();
    let end = page.find("Reported").unwrap();
    insta::assert_snapshot!(&page[begin..end], @r"
    Metrics     metric00 0.5  metric01 0.5  metric02 0.5  metric03 0.5  metric04 0.5
                metric05 0.5  metric06 0.5  metric07 0.5  metric08 0.5  metric09 0.5
                metric10 0.5  metric11 0.5
    ");
    let mut overrun = some_job();
    overrun.progress = Some(crate::wire::progress::ProgressView {
        eta_basis: Some("history".into()),
        ..Default::default()
    });
    let page = job(&overrun, &look(false));
    assert!(!page.contains("Progress"), "{page}");
}
