//! What was measured, taken along: everything that was, as it was, however much that is.

use crate::harness::Host;
use std::collections::BTreeMap;
use std::sync::Arc;
use stoked::model::metric::Metric;
use stoked::model::sample::{HostSample, Pass};
use stoked::model::time::Stamp;
use stoked::store::Samples;

const SERIES: &str = "host/load.1";

/// A window of the client, milliseconds.
const WINDOW_MS: i64 = 500_000;

fn measure(samples: &Samples, at_ms: i64, load: f64) {
    let at = Stamp {
        wall_ms: at_ms,
        boot_ms: 0,
    };
    let host = HostSample {
        at,
        readings: [(Metric::Load1, load)].into_iter().collect(),
        ..HostSample::default()
    };
    samples.append(&Pass {
        at,
        host: Some(Arc::new(host)),
        gpus: Vec::new(),
        jobs: Vec::new(),
    });
}

/// Three hours of values, many more than one answer has: at seams of windows, some within a few milliseconds, and none
/// for half an hour.
fn values(begin_ms: i64) -> BTreeMap<i64, f64> {
    let steady = (0..16_000).map(|n| n * 700);
    let steady = steady.filter(|at_ms| !(3_600_000..5_400_000).contains(at_ms));
    let seams = (1..20).flat_map(|window| [-1, 0].map(|by| window * WINDOW_MS + by));
    // One beside others, and one alone.
    let seams = seams.chain([3, 9].map(|window| window * WINDOW_MS + 1));
    let soon = (0..5).map(|n| 6_000_000 + n * 3);
    let times = steady.chain(seams).chain(soon);
    times
        .map(|after_ms| (begin_ms + after_ms, (after_ms % 997) as f64 / 4.0))
        .collect()
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .unwrap()
        .to_string()
}

#[test]
fn everything_that_was_measured_is_written_once() {
    let mut host = Host::prepare("");
    let begin_ms = (jiff::Timestamp::now().as_second() - 6 * 3_600) * 1_000;
    let values = values(begin_ms);
    let samples = Samples::open(&host.state_dir().join("samples")).unwrap();
    for (place, (at_ms, load)) in values.iter().enumerate() {
        measure(&samples, *at_ms, *load);
        // Memory is for a few slots.
        if place % 2_000 == 0 {
            samples.settle().unwrap();
        }
    }
    samples.settle().unwrap();
    drop(samples);
    host.boot();
    let (since, until) = (time(begin_ms), time(begin_ms + 4 * 3_600_000));
    let export = |more: &[&str]| {
        let mut args = vec!["series", SERIES, "--since", &since, "--until", &until];
        args.extend(more);
        host.stoke_ok(&args)
    };
    let csv = export(&["--raw", "--csv"]);
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("name,unit,time,last,"));
    let expected = values.iter().map(|(at_ms, load)| {
        let time = time(*at_ms);
        format!("{SERIES},count,{time},{load},{load},{load},{load},1,,,")
    });
    let (found, expected): (Vec<_>, Vec<_>) = (lines.collect(), expected.collect());
    assert_eq!(
        found.len(),
        expected.len(),
        "nothing is missing, and nothing is there twice"
    );
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    // The whole is more than one answer may have.
    assert!(values.len() > 10_000);
    assert!(export(&["--points", "10000", "--csv"]).lines().count() < values.len());
    let jsonl = export(&["--raw", "--jsonl"]);
    assert_eq!(jsonl.lines().count(), values.len());
    let first: serde_json::Value = serde_json::from_str(jsonl.lines().next().unwrap()).unwrap();
    assert_eq!(first["time"], time(begin_ms), "{first:#}");
    if cfg!(feature = "parquet") {
        let path = host.path("all.parquet");
        let args = [
            "series",
            SERIES,
            "--since",
            &since,
            "--until",
            &until,
            "--raw",
            "--parquet",
        ];
        let output = host.stoke(&[&args[..], &[path.to_str().unwrap()]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(&format!("{} points of 1 series", values.len())),
            "{said}"
        );
        assert!(path.metadata().unwrap().len() > 0);
    }
    let refused = host.stoke(&["series", SERIES, "--raw"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("--csv"), "{said}");
    // Without a time it is of the last hour, and of a job its life.
    let lately = host.stoke_ok(&["series", SERIES, "--raw", "--csv"]);
    assert!(lately.starts_with("name,"), "{lately}");
    let job = host.sh("echo '::progress step=1 steps=2 loss=0.5'");
    host.ended(job);
    let told = host.stoke_ok(&["series", &format!("{job}/metric.loss"), "--raw", "--csv"]);
    assert_eq!(told.lines().count(), 2, "{told}");
}
