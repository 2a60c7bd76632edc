//! Shares of a GPU: what is known is told, and what is not known is not.

use super::*;
use crate::model::gpu::{GpuCondition, GpuIdentity, GpuProcess, GpuProcessKind, GpuUuid};
use crate::model::id::JobId;
use crate::model::metric::Readings;
use proptest::prelude::*;

pub(crate) fn attempt(job: u64) -> AttemptId {
    AttemptId {
        job: JobId(job),
        attempt: 1,
    }
}

fn foreign() -> Holder {
    Holder::Foreign {
        uid: 1000,
        name: "Xorg".into(),
    }
}

fn process(pid: u32, memory_bytes: Option<u64>, utilization_percent: Option<f64>) -> GpuProcess {
    GpuProcess {
        pid,
        kind: GpuProcessKind::Compute,
        memory_bytes,
        utilization_percent,
        encoder_percent: None,
        decoder_percent: None,
    }
}

fn gpu(processes: Vec<GpuProcess>, sees_all_processes: bool) -> GpuSample {
    GpuSample {
        readings: Readings::from_iter([(Metric::UtilizationPercent, 80.0)]),
        processes,
        sees_all_processes,
        ..GpuSample::unmeasured(
            GpuIdentity::new(GpuUuid("GPU-1".into()), 0, "nvidia", "Test"),
            GpuCondition::Ok,
        )
    }
}

#[test]
fn measured_shares_are_summed_over_a_jobs_processes() {
    let sample = gpu(
        vec![
            process(1, Some(100), Some(30.0)),
            process(2, Some(200), Some(20.0)),
            process(3, Some(700), Some(0.0)),
            process(4, None, Some(50.0)),
        ],
        true,
    );
    let holders = [
        Holder::Job(attempt(1)),
        Holder::Job(attempt(1)),
        Holder::Job(attempt(2)),
        foreign(),
    ];
    let shares = shares(&sample, &holders);
    let first = &shares[&attempt(1)];
    assert_eq!(first.quality, ShareQuality::Measured);
    assert_eq!(first.utilization_percent, Some(50.0));
    assert_eq!(first.memory_bytes, Some(300));
    assert_eq!(first.energy_part, Some(0.5));
    let second = &shares[&attempt(2)];
    assert_eq!(second.utilization_percent, Some(0.0), "measured, and idle");
    assert_eq!(
        (second.energy_part, second.pids.as_slice()),
        (Some(0.0), &[3][..])
    );
}

#[test]
fn a_job_that_is_alone_has_the_use_of_the_whole_gpu() {
    let processes = vec![process(1, Some(100), None), process(2, None, None)];
    let sample = gpu(processes, true);
    let alone = shares(&sample, &[Holder::Job(attempt(1)), Holder::Job(attempt(1))]);
    let share = &alone[&attempt(1)];
    assert_eq!(share.quality, ShareQuality::Sole);
    assert_eq!(share.utilization_percent, Some(80.0));
    assert_eq!(share.energy_part, Some(1.0));
    for other in [foreign(), Holder::Unknown, Holder::Job(attempt(2))] {
        let shares = shares(&sample, &[Holder::Job(attempt(1)), other]);
        let share = &shares[&attempt(1)];
        assert_eq!(share.quality, ShareQuality::MemoryOnly);
        assert_eq!(share.utilization_percent, None, "nobody measured it");
        assert_eq!(share.energy_part, Some(0.5));
    }
}

#[test]
fn who_seems_alone_is_not_where_others_are_hidden() {
    let sample = gpu(vec![process(1, Some(100), None)], false);
    let share = &shares(&sample, &[Holder::Job(attempt(1))])[&attempt(1)];
    assert_eq!(share.quality, ShareQuality::MemoryOnly);
    assert_eq!((share.utilization_percent, share.energy_part), (None, None));
}

#[test]
fn a_process_that_was_not_measured_yet_leaves_the_sum_unknown() {
    let processes = vec![
        process(1, Some(100), Some(30.0)),
        process(2, Some(300), None),
        process(3, Some(400), Some(10.0)),
    ];
    let holders = [
        Holder::Job(attempt(1)),
        Holder::Job(attempt(1)),
        Holder::Job(attempt(2)),
    ];
    let shares = shares(&gpu(processes, true), &holders);
    let first = &shares[&attempt(1)];
    assert_eq!(
        (first.quality, first.utilization_percent),
        (ShareQuality::MemoryOnly, None)
    );
    assert_eq!(
        first.energy_part,
        Some(0.5),
        "by memory, as use is not known"
    );
    assert_eq!(shares[&attempt(2)].utilization_percent, Some(10.0));
}

#[test]
fn who_is_listed_twice_counts_once() {
    let processes = vec![
        process(1, Some(100), Some(40.0)),
        process(1, Some(100), None),
    ];
    let shares = shares(
        &gpu(processes, true),
        &[Holder::Job(attempt(1)), Holder::Job(attempt(1))],
    );
    let share = &shares[&attempt(1)];
    assert_eq!(share.memory_bytes, Some(100));
    assert_eq!(share.utilization_percent, Some(40.0));
    assert_eq!(share.pids, [1]);
}

#[test]
fn memory_that_is_not_told_is_absent() {
    let processes = vec![process(1, None, None), process(2, None, None)];
    let shares = shares(&gpu(processes, true), &[Holder::Job(attempt(1)), foreign()]);
    let share = &shares[&attempt(1)];
    assert_eq!(share.quality, ShareQuality::Unavailable);
    assert_eq!(
        (share.memory_bytes, share.utilization_percent),
        (None, None)
    );
}

proptest! {
    #[test]
    fn energy_is_shared_out_and_no_more_than_there_is(
        uses in prop::collection::vec(
            (0_u32..8, 0_u64..4, prop::option::of(0_u64..1 << 40), prop::option::of(0.0_f64..100.0)),
            0..12,
        ),
        sees_all in any::<bool>(),
    ) {
        let processes = uses.iter().map(|(pid, _, memory, percent)| process(*pid, *memory, *percent));
        let holders: Vec<Holder> = uses
            .iter()
            .map(|(_, job, ..)| if *job == 0 { foreign() } else { Holder::Job(attempt(*job)) })
            .collect();
        let sample = gpu(processes.collect(), sees_all);
        let shares = shares(&sample, &holders);
        let sum: f64 = shares.values().filter_map(|it| it.energy_part).sum();
        prop_assert!((0.0..=1.0 + 1e-9).contains(&sum), "{}", sum);
        let all_jobs = holders.iter().all(|it| matches!(it, Holder::Job(_)));
        prop_assert!(sees_all || sum == 0.0);
        if sees_all && all_jobs && !holders.is_empty() {
            prop_assert!((sum - 1.0).abs() < 1e-9, "all of it is somebody's: {}", sum);
        }
        for share in shares.values() {
            let percent = share.utilization_percent.unwrap_or(0.0);
            prop_assert!((0.0..=100.0).contains(&percent));
            let is_known = matches!(share.quality, ShareQuality::Measured | ShareQuality::Sole);
            prop_assert_eq!(share.utilization_percent.is_some(), is_known);
        }
    }
}
