//! One sentence about an active job: what it does, what it uses, how far it is, how long it takes yet.

use crate::model::gpu::GpuCondition;
use crate::model::metric::Metric;
use crate::wire::job::JobView;
use crate::wire::progress::ProgressView;
use crate::wire::usage::{JobGpuView, UsageView};
use crate::wire::words::{bytes, count, harmless, number};

/// Less than this a second is not worth a word.
const WORTH_BYTES_PER_SECOND: f64 = 1_048_576.0;

/// About `job`: "train is using GPU 0 (85 %), 18.2 GiB; step 500/1000; about 20 min left". `broken` are GPUs that
/// it uses and that do not work.
#[must_use]
pub(super) fn of(job: &JobView, broken: &[(u32, GpuCondition)]) -> String {
    let mut parts = vec![match job.name.as_str() {
        // It is not told to everybody.
        "" => format!("job {} {}", job.id, verb(job)),
        name => format!("{} {}", harmless(name), verb(job)),
    }];
    for (index, condition) in broken {
        let what = match condition {
            GpuCondition::Unresponsive => "does not answer",
            GpuCondition::Lost => "is lost",
            GpuCondition::Asleep => "sleeps",
            GpuCondition::Ok => continue,
        };
        parts.push(format!("GPU {index} {what}"));
    }
    if let Some(progress) = &job.progress {
        parts.extend(far(progress));
        if job.state == "running" {
            parts.extend(progress.eta_seconds.map(left));
        }
    }
    parts.join("; ")
}

/// What it does: that it uses something, where that is known.
fn verb(job: &JobView) -> String {
    match job.state.as_str() {
        "paused" => return with_memory("is paused", job.usage.as_ref()),
        "starting" => return "is starting".to_owned(),
        "stopping" => return "is asked to end".to_owned(),
        _ => {}
    }
    let uses = job.usage.as_ref().map(uses).unwrap_or_default();
    if uses.is_empty() {
        "is running".to_owned()
    } else {
        format!("is using {}", uses.join(", "))
    }
}

/// Who is paused keeps its memory, which is what others want to know.
fn with_memory(state: &str, usage: Option<&UsageView>) -> String {
    let gpu = usage.and_then(|it| it.measured.get(Metric::GpuMemoryBytes));
    match gpu.filter(|held| *held > 0.0) {
        Some(held) => format!("{state}, and holds {} of GPU memory", size(held)),
        None => state.to_owned(),
    }
}

fn uses(usage: &UsageView) -> Vec<String> {
    let get = |metric| usage.measured.get(metric);
    let mut uses = Vec::new();
    if usage.gpus.is_empty() {
        let cores = get(Metric::CpuPercent).map(|percent| percent / 100.0);
        uses.extend(cores.map(cores_of));
        uses.extend(get(Metric::MemoryBytes).map(size));
    } else {
        uses.push(gpus(&usage.gpus));
        uses.extend(get(Metric::GpuMemoryBytes).map(size));
    }
    for (metric, words) in [
        (Metric::IoReadBytesPerSecond, "reading"),
        (Metric::IoWriteBytesPerSecond, "writing"),
    ] {
        let rate = get(metric).filter(|rate| *rate >= WORTH_BYTES_PER_SECOND);
        uses.extend(rate.map(|rate| format!("{words} {}/s", size(rate))));
    }
    uses
}

fn cores_of(cores: f64) -> String {
    match (cores * 10.0).round() / 10.0 {
        1.0 => "1 core".to_owned(),
        cores => format!("{} cores", number(cores)),
    }
}

/// "GPU 0 (85 %)", "GPUs 0 (85 %), 1 (~40 %)": a mark says that the number is that of the whole GPU, and no number
/// that nobody knows it.
fn gpus(gpus: &[JobGpuView]) -> String {
    let each = gpus.iter().map(|gpu| {
        let mark = if gpu.quality == "sole" { "~" } else { "" };
        let label = gpu.label();
        let name = harmless(&label);
        match gpu.measured.get(Metric::UtilizationPercent) {
            Some(percent) => format!("{name} ({mark}{percent:.0} %)"),
            None => name.into_owned(),
        }
    });
    let each: Vec<String> = each.collect();
    let word = if each.len() == 1 { "GPU" } else { "GPUs" };
    format!("{word} {}", each.join(", "))
}

fn far(progress: &ProgressView) -> Vec<String> {
    let mut far = Vec::new();
    if let (Some(epoch), Some(total)) = (progress.epoch, progress.total_epochs) {
        far.push(format!("epoch {}", count::ratio(epoch, Some(total))));
    }
    let mark = if progress.estimated { "~" } else { "" };
    match (count::done(progress), progress.percent) {
        (Some(done), _) if progress.total_steps.is_some() => far.push(done),
        (_, Some(percent)) => far.push(format!("{mark}{:.0} %", percent.floor())),
        (Some(done), None) => far.push(done),
        (None, None) => {}
    }
    far
}

/// Rounded as somebody would say it.
fn left(seconds: f64) -> String {
    let minutes = seconds / 60.0;
    let time = match seconds {
        ..90.0 => format!("{:.0} s", seconds.max(1.0)),
        ..5_400.0 => format!("{minutes:.0} min"),
        ..172_800.0 => format!("{:.0} h", minutes / 60.0),
        _ => format!("{:.0} days", minutes / 1_440.0),
    };
    format!("about {time} left")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size is not negative, and a cast to an integer saturates"
)]
fn size(count: f64) -> String {
    bytes(count.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(fields: Value) -> JobView {
        let mut job = json!({
            "id": 1, "name": "train-llama", "group": "default", "owner": {"uid": 1, "user": "ann"},
            "state": "running", "priority": 5, "created_at": "2026-01-01T00:00:00Z",
        });
        for (name, value) in fields.as_object().unwrap() {
            job[name] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    fn gpu(index: u32, quality: &str, more: &str) -> Value {
        let text =
            format!(r#"{{"index":{index},"uuid":"GPU-{index}","quality":"{quality}"{more}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn it_says_what_a_job_uses_how_far_it_is_and_how_long_it_takes() {
        let time = "2026-01-01T00:00:00Z";
        let gib = 1_073_741_824.0;
        for (fields, sentence) in [
            (
                json!({
                    "usage": {"time": time, "gpu_memory_bytes": 18.2 * gib,
                        "gpus": [gpu(0, "measured", r#","utilization_percent":85"#)]},
                    "progress": {"step": 500, "total_steps": 1000, "percent": 50, "eta_seconds": 1200},
                }),
                "train-llama is using GPU 0 (85 %), 18.2 GiB; step 500/1000; about 20 min left",
            ),
            (
                json!({
                    "usage": {"time": time, "gpu_memory_bytes": gib, "gpus": [
                        gpu(1, "sole", r#","utilization_percent":40.4"#), gpu(3, "memory_only", "")]},
                    "progress": {"epoch": 2, "total_epochs": 3, "percent": 41.7},
                }),
                "train-llama is using GPUs 1 (~40 %), 3, 1.0 GiB; epoch 2/3; 41 %",
            ),
            (
                json!({"usage": {"time": time, "cpu_percent": 321, "memory_bytes": gib,
                    "io_read_bytes_per_second": 104_857_600, "io_write_bytes_per_second": 10}}),
                "train-llama is using 3.2 cores, 1.0 GiB, reading 100.0 MiB/s",
            ),
            (json!({}), "train-llama is running"),
            (
                json!({"state": "paused", "usage": {"time": time, "gpu_memory_bytes": gib},
                    "progress": {"percent": 10, "estimated": true, "eta_seconds": 5}}),
                "train-llama is paused, and holds 1.0 GiB of GPU memory; ~10 %",
            ),
        ] {
            assert_eq!(of(&job(fields), &[]), sentence);
        }
        let lost = of(&job(json!({})), &[(2, GpuCondition::Lost)]);
        assert_eq!(lost, "train-llama is running; GPU 2 is lost");
    }

    #[test]
    fn time_left_is_rounded_as_people_do() {
        for (seconds, words) in [
            (0.2, "about 1 s left"),
            (89.0, "about 89 s left"),
            (91.0, "about 2 min left"),
            (7_200.0, "about 2 h left"),
            (260_000.0, "about 3 days left"),
        ] {
            assert_eq!(left(seconds), words);
        }
    }
}
