//! Tables at several widths: what is left out, what is cut, and that no line is too long.

use super::*;
use crate::wire::job::{ExitView, FailureView, OwnerView};
use crate::wire::progress::ProgressView;
use jiff::{SignedDuration, Timestamp};

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn look(width: u16, colour: bool) -> Look {
    Look {
        colour,
        width,
        now: now(),
        zone: jiff::tz::TimeZone::UTC,
    }
}

fn before(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn job(id: u64, name: &str, state: &str) -> JobView {
    let text = format!(
        r#"{{"id":{id},"name":"x","group":"default","owner":{{"uid":1,"user":"ann"}},"state":"{state}",
        "priority":5,"created_at":"2026-11-22T11:00:00Z"}}"#
    );
    let mut job: JobView = serde_json::from_str(&text).unwrap();
    job.name = name.to_owned();
    job
}

fn some_jobs() -> Vec<JobView> {
    let mut running = job(142, "train-llama-with-a-rather-long-name", "running");
    running.started_at = Some(before(484));
    running.group = "gpu".into();
    running.progress = Some(ProgressView {
        percent: Some(52.0),
        eta_seconds: Some(450.0),
        ..ProgressView::default()
    });
    let mut queued = job(143, "eval", "queued");
    queued.reason = Some("GroupLimit".into());
    let mut backoff = job(144, "fetch", "backoff");
    backoff.retry_at = Some(before(-8));
    backoff.failure = Some(FailureView {
        class: "exit".into(),
        message: None,
    });
    backoff.exit = Some(ExitView {
        code: Some(7),
        signal: None,
        core_dumped: false,
    });
    let mut failed = job(9, "evil\u{1b}[2J\nname", "failed");
    (failed.started_at, failed.finished_at) = (Some(before(7201)), Some(before(7200)));
    failed.exit = backoff.exit;
    failed.owner = OwnerView {
        uid: 2,
        user: "bob".into(),
    };
    let mut done = job(8, "漢字の仕事", "completed");
    (done.started_at, done.finished_at) = (Some(before(90_000)), Some(before(86_400)));
    vec![running, queued, backoff, failed, done]
}

#[test]
fn a_wide_terminal_shows_everything() {
    insta::assert_snapshot!(jobs(&some_jobs(), &look(120, false)), @r"
     ID  NAME                              OWNER  GROUP    STATE                   PROGRESS      %   LEFT   TIME  WHEN
    142  train-llama-with-a-rather-long-…  ann    gpu      ● running               █████▏░░░░  52%  7m30s  8m04s
    143  eval                              ann    default  ○ queued · group limit                                 since 1h
    144  fetch                             ann    default  ↻ backoff · exit 7                                     in 8s
      9  evil\e[2J\nname                   bob    default  ✘ failed · exit 7                                  1s  2h ago
      8  漢字の仕事                        ann    default  ✔ completed                                     1h00m  1d ago
    ");
}

#[test]
fn eighty_columns_leave_out_a_little() {
    insta::assert_snapshot!(jobs(&some_jobs(), &look(80, false)), @r"
     ID  NAME                  STATE                     %   LEFT   TIME  WHEN
    142  train-llama-with-a-…  ● running               52%  7m30s  8m04s
    143  eval                  ○ queued · group limit                     since 1h
    144  fetch                 ↻ backoff · exit 7                         in 8s
      9  evil\e[2J\nname       ✘ failed · exit 7                      1s  2h ago
      8  漢字の仕事            ✔ completed                         1h00m  1d ago
    ");
}

#[test]
fn sixty_columns_show_what_matters() {
    insta::assert_snapshot!(jobs(&some_jobs(), &look(60, false)), @r"
     ID  NAME               STATE                     %   TIME
    142  train-llama-with…  ● running               52%  8m04s
    143  eval               ○ queued · group limit
    144  fetch              ↻ backoff · exit 7
      9  evil\e[2J\nname    ✘ failed · exit 7               1s
      8  漢字の仕事         ✔ completed                  1h00m
    ");
}

#[test]
fn a_percentage_is_that_of_its_phase_and_a_count_stands_for_the_bar() {
    let with = |mut job: JobView, progress: ProgressView| {
        job.progress = Some(progress);
        job
    };
    let clone = ProgressView {
        percent: Some(50.0),
        phase: Some("Receiving objects".into()),
        ..ProgressView::default()
    };
    let fetch = ProgressView {
        step: Some(188_743_680.0),
        unit: Some("B".into()),
        ..ProgressView::default()
    };
    let list = [
        with(job(3, "clone", "running"), clone),
        with(job(2, "fetch", "running"), fetch.clone()),
        with(job(1, "gone", "completed"), fetch),
    ];
    insta::assert_snapshot!(jobs(&list, &look(80, false)), @r"
    ID  NAME   STATE        PROGRESS                %  TIME  WHEN
     3  clone  ● running    █████░░░░░  Receiving 50%
     2  fetch  ● running    180 MiB
     1  gone   ✔ completed
    ");
    insta::assert_snapshot!(jobs(&list, &look(36, false)), @r"
    ID  NAME   STATE          %  TIME
     3  clone  ● running    50%
     2  fetch  ● running
     1  gone   ✔ completed
    ");
}

#[test]
fn colours_say_the_same_as_the_glyphs() {
    let coloured = jobs(&some_jobs()[1..3], &look(80, true));
    insta::assert_snapshot!(coloured.replace('\u{1b}', "ESC"), @r"
    ESC[2m ID  ESC[0mESC[2mNAME   ESC[0mESC[2mSTATE                   ESC[0mESC[2mTIME  ESC[0mESC[2mWHEN      ESC[0m
    ESC[1m143  ESC[0meval   ESC[2m○ queued · group limit  ESC[0m      ESC[2msince 1h  ESC[0m
    ESC[1m144  ESC[0mfetch  ESC[38;5;3m↻ backoff · exit 7      ESC[39m      ESC[2min 8s     ESC[0m
    ");
}

#[test]
fn groups_are_one_line_each() {
    let group = |name: &str, paused| GroupView {
        name: name.into(),
        parallelism: 8,
        paused,
        active: 3,
        waiting: 12,
    };
    let list = [group("default", false), group("gpu", true)];
    insta::assert_snapshot!(groups(&list, &look(80, false)), @r"
    GROUP    STATE     PLACES  ACTIVE  WAITING
    default  ● open         8       3       12
    gpu      ‖ paused       8       3       12
    ");
}

#[test]
fn no_line_is_longer_than_the_terminal() {
    for width in 40..130 {
        let text = jobs(&some_jobs(), &look(width, false));
        assert_eq!(
            text.lines().count(),
            6,
            "one line a job at {width}:\n{text}"
        );
        for line in text.lines() {
            let columns: usize = line.chars().map(|c| 1 + usize::from(c > '\u{2e80}')).sum();
            assert!(columns <= usize::from(width), "{columns} > {width}: {line}");
        }
    }
}

#[test]
fn what_jobs_use_is_shown_where_there_is_room() {
    let uses = |mut job: JobView, usage: &str| {
        job.usage = Some(serde_json::from_str(usage).unwrap());
        job
    };
    let idle = r#"{"time":"2026-01-01T00:00:00Z","cpu_percent":3,"memory_bytes":1048576}"#;
    let busy = r#"{"time":"2026-01-01T00:00:00Z","cpu_percent":812,"memory_bytes":3221225472,"gpu_memory_bytes":19542101197,
        "gpus":[{"index":0,"uuid":"a","quality":"measured","utilization_percent":85},
        {"index":1,"uuid":"b","quality":"sole","utilization_percent":40}]}"#;
    let list = [
        uses(job(3, "train-llama", "running"), busy),
        uses(job(2, "fetch", "paused"), idle),
        uses(job(1, "gone", "completed"), busy),
    ];
    insta::assert_snapshot!(jobs(&list, &look(120, false)), @r"
    ID  NAME         STATE         CPU   MEMORY  GPU              ON GPU  TIME  WHEN
     3  train-llama  ● running    812%  3.0 GiB  0 85%, 1 ~40%  18.2 GiB
     2  fetch        ‖ paused       3%  1.0 MiB
     1  gone         ✔ completed
    ");
    insta::assert_snapshot!(jobs(&list, &look(60, false)), @r"
    ID  NAME         STATE        GPU            TIME  WHEN
     3  train-llama  ● running    0 85%, 1 ~40%
     2  fetch        ‖ paused
     1  gone         ✔ completed
    ");
    insta::assert_snapshot!(jobs(&list[1..], &look(60, false)), @r"
    ID  NAME   STATE        CPU   MEMORY  TIME  WHEN
     2  fetch  ‖ paused      3%  1.0 MiB
     1  gone   ✔ completed
    ");
    let without: Vec<_> = list
        .iter()
        .map(|it| JobView {
            usage: None,
            ..it.clone()
        })
        .collect();
    for width in 20..130 {
        let (with, without) = (
            jobs(&list, &look(width, false)),
            jobs(&without, &look(width, false)),
        );
        for (with, without) in with.lines().zip(without.lines()) {
            let words = without.split_whitespace();
            words.for_each(|word| assert!(with.contains(word), "{width}: {with}\n{without}"));
        }
        let is_wide = |line: &&str| line.chars().count() > usize::from(width);
        assert!(!with.lines().any(|it| is_wide(&it)) || without.lines().any(|it| is_wide(&it)));
    }
}
