//! What is measured, as clients see it.

use super::harness::*;
use crate::auth::Mode;
use crate::model::entity::Entity;
use crate::model::gpu::{
    GpuCondition, GpuIdentity, GpuProcess, GpuProcessKind, GpuSample, GpuUuid, ShareQuality,
};
use crate::model::metric::{Metric, Readings};
use crate::model::sample::{
    ForeignProcess, GpuShare, GpuState, Holder, HostSample, JobSample, Snapshot,
};
use crate::model::spec::JobSpec;
use axum::http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn readings(values: &[(Metric, f64)]) -> Readings {
    values.iter().copied().collect()
}

fn gpu(job: u64) -> GpuState {
    let process = |pid, memory_bytes, percent| GpuProcess {
        pid,
        kind: GpuProcessKind::Compute,
        memory_bytes,
        utilization_percent: percent,
        encoder_percent: None,
        decoder_percent: None,
    };
    GpuState {
        at: now(),
        sample: GpuSample {
            readings: readings(&[
                (Metric::UtilizationPercent, 85.04),
                (Metric::MemoryUsedBytes, 21_474_836_480.0),
            ]),
            processes: vec![
                process(7, Some(19_541_498_880), Some(85.0)),
                process(8, None, None),
                process(9, None, None),
            ],
            ..GpuSample::unmeasured(
                GpuIdentity {
                    pci_bus_id: Some("0000:61:00.0".to_owned()),
                    ..GpuIdentity::new(GpuUuid("GPU-1".into()), 0, "nvidia", "Made")
                },
                GpuCondition::Ok,
            )
        },
        holders: vec![
            Holder::Job(attempt_id(job, 1)),
            Holder::Foreign {
                uid: 1_001,
                name: "python3".into(),
            },
            Holder::Unknown,
        ],
        since_ms: 1_000,
    }
}

pub(super) fn snapshot(job: u64) -> Snapshot {
    let host = HostSample {
        at: now(),
        readings: readings(&[
            (Metric::CpuPercent, 12.34),
            (Metric::MemoryUsedBytes, 4_096.0),
            (Metric::PressureIoPercent, 1.0),
        ]),
        parts: vec![
            (Entity::Core(0), readings(&[(Metric::CpuPercent, 24.0)])),
            (
                Entity::Disk("nvme0n1".into()),
                readings(&[(Metric::IoBusyPercent, 3.0)]),
            ),
            (
                Entity::Mount("/".into()),
                readings(&[(Metric::SpaceUsedBytes, 1e12)]),
            ),
        ],
        busiest: vec![ForeignProcess {
            pid: 8,
            name: "python3".into(),
            uid: 1_001,
            cpu_percent: 99.96,
            memory_bytes: 1,
        }],
    };
    let used = JobSample {
        at: now(),
        attempt: attempt_id(job, 1),
        readings: readings(&[
            (Metric::CpuPercent, 150.0),
            (Metric::GpuMemoryBytes, 19_541_498_880.0),
        ]),
        gpus: vec![GpuShare {
            uuid: GpuUuid("GPU-1".into()),
            index: 0,
            quality: ShareQuality::Measured,
            readings: readings(&[(Metric::UtilizationPercent, 85.0)]),
            pids: vec![7],
        }],
    };
    Snapshot {
        host: Some(Arc::new(host)),
        gpus: vec![Arc::new(gpu(job))],
        jobs: [(attempt_id(job, 1), Arc::new(used))].into(),
        users: Arc::new([(1_001, "bob".into())].into()),
        troubles: std::collections::BTreeMap::new(),
    }
}

pub(super) fn set(daemon: &Daemon, snapshot: Snapshot) {
    *daemon.gauges.newest.lock().unwrap() = Arc::new(snapshot);
}

#[tokio::test]
async fn the_host_and_its_gpus_are_shown_as_measured() {
    let daemon = Daemon::start();
    let unknown = daemon.get("/v1/host").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.problem().hint.unwrap().contains("sampling.enabled"));
    assert_eq!(daemon.get("/v1/gpus").await.json(), json!({"items": []}));
    set(&daemon, snapshot(1));
    let host = daemon.get("/v1/host").await.json();
    assert_eq!(host["cpu"]["cpu_percent"], 12.3);
    assert_eq!(
        host["cpu"]["cores"][0],
        json!({"core": 0, "cpu_percent": 24})
    );
    assert_eq!(host["memory"], json!({"memory_used_bytes": 4096}));
    assert_eq!(host["disks"]["pressure_io_some_percent"], 1);
    assert_eq!(host["disks"]["items"][0]["name"], "nvme0n1");
    assert_eq!(host["filesystems"]["items"][0]["path"], "/");
    assert_eq!(host["tasks"]["busiest"][0]["user"], "bob");
    let gpus = daemon.get("/v1/gpus").await.json();
    let gpu = &gpus["items"][0];
    assert_eq!(
        (&gpu["index"], &gpu["condition"]),
        (&json!(0), &json!("ok"))
    );
    assert_eq!(gpu["memory_used_bytes"], 21_474_836_480_u64);
    let processes = gpu["processes"].as_array().unwrap();
    assert_eq!(
        (&processes[0]["job"], &processes[0]["attempt"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&processes[1]["user"], &processes[1]["name"]),
        (&json!("bob"), &json!("python3"))
    );
    assert_eq!(
        processes[2],
        json!({"pid": 9, "kind": "compute", "unknown": true})
    );
}

#[tokio::test]
async fn operations_say_what_every_active_job_uses() {
    let daemon = Daemon::with(quick_limits(), Mode::System, 8_192);
    let mut spec = JobSpec::new(vec!["secret".to_owned()], "/");
    "train-llama".clone_into(&mut spec.name);
    let job = daemon.submit_of(4_000_000, spec.clone()).await;
    daemon.started(job, 1).await;
    spec.not_before_ms = Some(i64::MAX);
    let waiting = daemon.submit_of(4_000_000, spec).await;
    set(&daemon, snapshot(job));
    let answer = daemon
        .call_as(subject(1_234), "GET", "/v1/operations")
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let operations = answer.json();
    let active = operations["jobs"].as_array().unwrap();
    assert_eq!(active.len(), 1, "{waiting} does not hold a place");
    assert_eq!(operations["waiting"], 1);
    assert_eq!(
        active[0]["summary"],
        "train-llama is using GPU 0 (85 %), 18.2 GiB"
    );
    assert_eq!(
        active[0]["usage"]["cpu_percent"], 150,
        "everybody sees what is used"
    );
    assert_eq!(active[0]["usage"]["gpus"][0]["quality"], "measured");
    assert!(!answer.text().contains("secret"));
    let shown = daemon.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!(shown["usage"], active[0]["usage"]);
    daemon.ended(job, 1, 0).await;
    let shown = daemon.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!(shown.get("usage"), None, "it uses nothing any more");
}

#[tokio::test]
async fn who_asks_for_metrics_counts_as_looking() {
    let daemon = Daemon::start();
    let looks = || daemon.gauges.looks.lock().unwrap().clone();
    let everything = RawClient::events(&daemon, "", "").await;
    assert!(looks().is_empty(), "everything is not what is measured");
    let metrics = RawClient::events(&daemon, "channel=gpu/*/metrics&min_interval_ms=500", "").await;
    assert_eq!(looks(), [Duration::from_millis(500)]);
    drop((everything, metrics));
    daemon.stop.cancel();
    daemon.tracker.close();
    soon(daemon.tracker.wait()).await;
    assert!(looks().is_empty(), "who left looks no more");
}
