//! What bars get.

use super::*;
use crate::cli::glance::Glance;
use crate::wire::job::JobView;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

const TIME: &str = "2026-11-22T12:00:00Z";

fn look() -> Look {
    Look {
        colour: true,
        width: 40,
        now: Timestamp::UNIX_EPOCH,
        zone: TimeZone::UTC,
    }
}

fn job(id: u64, name: &str, state: &str) -> Value {
    json!({"id": id, "name": name, "state": state, "group": "default", "priority": 5,
        "owner": {"uid": 1, "user": "ann"}, "created_at": TIME, "summary": ""})
}

fn glance(jobs: Vec<Value>, waiting: u64, gpus: Vec<Value>, failed: &[Value]) -> Glance {
    let seen = json!({"as_of": "e:1", "jobs": jobs, "waiting": waiting, "gpus": gpus});
    let failed = failed.iter();
    let failed = failed.map(|it| serde_json::from_value::<JobView>(it.clone()).unwrap());
    Glance::of(serde_json::from_value(seen).unwrap(), failed.collect())
}

fn gpu(index: u32, busy: u32) -> Value {
    json!({"time": TIME, "index": index, "uuid": format!("GPU-{index}"), "name": "NVIDIA H100", "vendor": "nvidia",
        "condition": "ok", "condition_since": TIME, "utilization_percent": busy, "memory_used_bytes": 19_327_352_832_u64,
        "memory_total_bytes": 85_899_345_920_u64, "temperature_celsius": 66})
}

fn training() -> Value {
    let mut training = job(3, "train", "running");
    training["progress"] = json!({"percent": 47.9, "eta_seconds": 130.0});
    training["usage"] = json!({"time": TIME, "memory_bytes": 4_294_967_296_u64, "gpu_percent": 80,
        "gpus": [{"index": 0, "uuid": "GPU-0", "quality": "measured", "utilization_percent": 80}]});
    training
}

fn failure() -> Value {
    let mut failed = job(2, "fetch", "failed");
    failed["finished_at"] = "2026-11-22T11:59:30Z".into();
    failed["exit"] = json!({"code": 7});
    failed["failure"] = json!({"class": "exit"});
    failed
}

#[test]
fn a_line_says_what_matters_and_no_more() {
    let second = || {
        let mut second = job(4, "unpack", "running");
        second["progress"] = json!({"step": 1.0, "total_steps": 4.0});
        second
    };
    let shown = [
        glance(vec![], 0, vec![gpu(0, 3)], &[]),
        glance(vec![], 5, vec![], &[]),
        glance(vec![training()], 0, vec![], &[]),
        glance(
            vec![training(), second()],
            5,
            vec![gpu(0, 80), gpu(1, 0)],
            &[failure()],
        ),
        glance(
            vec![job(5, "a-job-with-a-long-name", "paused")],
            0,
            vec![],
            &[],
        ),
        glance(vec![], 0, vec![], &[failure()]),
        Glance::of_nobody(),
    ]
    .map(|it| (text(&it), Mood::of(&it).word()));
    let expected = [
        ("idle", "idle"),
        ("○ 5", "idle"),
        ("● train · 47% · 2m", "busy"),
        ("● 2 · 36%  ○ 5  ✘ 1  GPU 40%", "failed"),
        ("‖ a-job-with-a-lo…", "busy"),
        ("✘ 1", "failed"),
        ("stoked is away", "away"),
    ];
    assert_eq!(shown, expected.map(|(text, mood)| (text.to_owned(), mood)));
}

#[test]
fn waybar_gets_markup_that_says_what_was_meant() {
    let mut hostile = training();
    hostile["name"] = "<b>&\"'\u{1b}[31m\n\u{202e}".into();
    let line = BarFormat::Waybar.line(&glance(vec![hostile], 0, vec![], &[]), &look());
    assert!(!line.contains(['\n', '\u{1b}', '\u{202e}']));
    let line: Value = serde_json::from_str(&line).unwrap();
    let text = line["text"].as_str().unwrap();
    assert!(
        text.starts_with("● &lt;b&gt;&amp;&quot;&apos;\\e[31m\\n"),
        "{text}"
    );
    let tooltip = line["tooltip"].as_str().unwrap();
    let inside = tooltip.strip_prefix("<tt>").unwrap();
    let inside = inside.strip_suffix("</tt>").unwrap();
    assert!(inside.contains("&lt;b&gt;") && !inside.contains(['<', '>', '\u{1b}']));
    assert_eq!(
        (&line["class"], &line["percentage"]),
        (&json!("busy"), &json!(47))
    );
}

#[test]
fn a_tooltip_has_a_row_for_each() {
    let mut failed = glance(vec![training()], 2, vec![gpu(0, 80)], &[failure()]);
    let shown = tooltip::of(&failed, &look());
    insta::assert_snapshot!("tooltip", shown);
    let job = failed.jobs[&3].clone();
    failed.jobs.extend((10..40).map(|id| (id, job.clone())));
    let shown = tooltip::of(&failed, &look());
    assert!(
        shown.contains("and 19 more") && shown.lines().count() < 30,
        "{shown}"
    );
    let away = tooltip::of(&Glance::of_nobody(), &look());
    assert!(away.contains("cannot be reached"));
}

#[test]
fn other_bars_get_theirs() {
    let seen = glance(vec![training()], 2, vec![gpu(0, 80)], &[failure()]);
    let line = BarFormat::I3bar.line(&seen, &look());
    let block: Value = serde_json::from_str(line.trim_end_matches(',')).unwrap();
    assert_eq!(
        block[0]["full_text"],
        "● train · 47% · 2m  ○ 2  ✘ 1  GPU 80%"
    );
    assert_eq!(
        (&block[0]["short_text"], &block[0]["urgent"]),
        (&json!("● train · 47% · 2m ○ 2 ✘ 1"), &json!(true))
    );
    // The protocol is an array that never ends, after a line of its own.
    let prologue = BarFormat::I3bar.prologue();
    let (header, opening) = prologue.split_once('\n').unwrap();
    assert_eq!(serde_json::from_str::<Value>(header).unwrap()["version"], 1);
    let stream = format!("{opening}{line}{}]", line.trim_end_matches(','));
    assert!(serde_json::from_str::<Value>(&stream).is_ok(), "{stream}");

    let mut tagged = training();
    tagged["name"] = "%{F#f00}%%{".into();
    let plain = BarFormat::Polybar.line(&glance(vec![tagged], 0, vec![], &[]), &look());
    assert_eq!(plain, "● % {F#f00}%% { · 47% · 2m");

    let line = BarFormat::Json.line(&seen, &look());
    assert!(!line.contains('\n'));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["percent"], &line["eta_seconds"], &line["waiting"]),
        (&json!(47.9), &json!(130), &json!(2))
    );
    assert_eq!(
        line["jobs"],
        json!([{"id": 3, "name": "train", "state": "running", "percent": 47.9, "eta_seconds": 130,
        "gpu_percent": 80.0, "memory_bytes": 4_294_967_296.0}])
    );
    assert_eq!(
        line["failed"],
        json!([{"id": 2, "name": "fetch", "state": "failed", "failure": "exit"}])
    );
    assert_eq!(line["gpus"][0]["utilization_percent"], 80.0);
    let nothing: Value =
        serde_json::from_str(&BarFormat::Json.line(&glance(vec![], 0, vec![], &[]), &look()))
            .unwrap();
    assert_eq!(
        nothing,
        json!({"text": "idle", "state": "idle", "waiting": 0, "jobs": [], "failed": [], "gpus": []})
    );
}
