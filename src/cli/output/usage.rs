//! What jobs use, in words: as columns of a list, as lines of a page, as one line of a watch.

use crate::cli::output::text::{bytes, duration, harmless, rate};
use crate::model::metric::Metric;
use crate::wire::measured::{Class, Measured, OfJob};
use crate::wire::usage::{JobGpuView, UsageView};

/// So many joules are a watt hour.
const JOULES_PER_WATT_HOUR: f64 = 3_600.0;
/// Less pressure than this is not worth a word.
const WORTH_PERCENT: f64 = 1.0;
/// Nor are less bytes in a second.
const WORTH_BYTES_PER_SECOND: f64 = 1_024.0;

/// A size that was measured.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size is not negative, and a cast to an integer saturates"
)]
pub fn size(count: f64) -> String {
    bytes(count.round() as u64)
}

/// Percent as people read it: whole, with a digit where less would be nothing.
#[must_use]
pub fn percent(value: f64) -> String {
    if value > 0.0 && value < 0.95 {
        format!("{value:.1}%")
    } else {
        format!("{value:.0}%")
    }
}

/// Energy: joules, or watt hours where these are more than one.
#[must_use]
pub fn energy(joules: f64) -> String {
    let hours = joules / JOULES_PER_WATT_HOUR;
    match hours {
        ..1.0 => format!("{joules:.0} J"),
        ..1_000.0 => format!("{} Wh", rate(hours)),
        _ => format!("{} kWh", rate(hours / 1_000.0)),
    }
}

/// A value with its words, where it was measured.
#[must_use]
pub fn said<C: Class>(
    measured: &Measured<C>,
    metric: Metric,
    words: impl FnOnce(f64) -> String,
) -> Option<String> {
    measured.get(metric).map(words)
}

/// Values without those that say nothing.
fn worth(value: f64, least: f64) -> Option<f64> {
    (value >= least).then_some(value)
}

/// Its CPU, 100% for each whole core.
#[must_use]
pub fn cpu(usage: &UsageView) -> Option<String> {
    said(&usage.measured, Metric::CpuPercent, percent)
}

/// Its memory.
#[must_use]
pub fn memory(usage: &UsageView) -> Option<String> {
    said(&usage.measured, Metric::MemoryBytes, size)
}

/// Its GPUs, each with how busy the job keeps it: `0 85%, 1 ~40%`. The mark says that the number is of the whole GPU, and
/// no number that nobody knows it.
#[must_use]
pub fn gpus(usage: &UsageView) -> Option<String> {
    let each: Vec<_> = usage.gpus.iter().map(gpu).collect();
    (!each.is_empty()).then(|| each.join(", "))
}

fn gpu(gpu: &JobGpuView) -> String {
    match busy(gpu) {
        Some(busy) => format!("{} {busy}", harmless(&gpu.label())),
        None => harmless(&gpu.label()).into_owned(),
    }
}

fn busy(gpu: &JobGpuView) -> Option<String> {
    let mark = if gpu.quality == "sole" { "~" } else { "" };
    said(&gpu.measured, Metric::UtilizationPercent, |value| {
        format!("{mark}{}", percent(value))
    })
}

/// Its memory on GPUs.
#[must_use]
pub fn gpu_memory(usage: &UsageView) -> Option<String> {
    let held = usage.measured.get(Metric::GpuMemoryBytes);
    held.filter(|held| *held > 0.0).map(size)
}

/// All of it in one line, most important first.
#[must_use]
pub fn brief(usage: &UsageView) -> Vec<String> {
    let mut brief = Vec::new();
    brief.extend(cpu(usage).map(|it| format!("CPU {it}")));
    brief.extend(memory(usage));
    brief.extend(gpus(usage).map(|it| format!("GPU {it}")));
    brief.extend(gpu_memory(usage));
    let measured = &usage.measured;
    for (metric, word) in [
        (Metric::IoReadBytesPerSecond, "reads"),
        (Metric::IoWriteBytesPerSecond, "writes"),
    ] {
        let rate = measured.get(metric);
        let rate = rate.and_then(|it| worth(it, WORTH_BYTES_PER_SECOND));
        brief.extend(rate.map(|it| format!("{word} {}/s", size(it))));
    }
    brief
}

/// What a running attempt uses, as lines of a page.
#[must_use]
pub fn facts(usage: &UsageView) -> Vec<(String, Vec<String>)> {
    let measured = &usage.measured;
    let mut facts = vec![
        ("CPU".to_owned(), cpu_facts(measured)),
        ("Memory".to_owned(), memory_facts(measured)),
    ];
    for gpu in &usage.gpus {
        facts.push((format!("GPU {}", harmless(&gpu.label())), gpu_facts(gpu)));
    }
    facts.push(("Disks".to_owned(), disk_facts(measured)));
    facts.push(("Network".to_owned(), network_facts(measured)));
    facts.push(("Processes".to_owned(), process_facts(measured)));
    facts
}

fn cpu_facts(measured: &Measured<OfJob>) -> Vec<String> {
    let mut facts = Vec::new();
    let mut say = |metric, words: &dyn Fn(f64) -> Option<String>| {
        facts.extend(measured.get(metric).and_then(words));
    };
    say(Metric::CpuPercent, &|it| Some(percent(it)));
    say(Metric::CpuSeconds, &|it| {
        Some(format!("{} so far", duration(it)))
    });
    say(Metric::PressureCpuPercent, &|it| {
        worth(it, WORTH_PERCENT).map(|it| format!("waits {}", percent(it)))
    });
    say(Metric::CpuThrottledPercent, &|it| {
        worth(it, WORTH_PERCENT).map(|it| format!("held back {}", percent(it)))
    });
    say(Metric::CpuEnergyJoules, &|it| Some(energy(it)));
    facts
}

fn memory_facts(measured: &Measured<OfJob>) -> Vec<String> {
    let mut facts = Vec::new();
    let mut say = |metric, words: &dyn Fn(f64) -> Option<String>| {
        facts.extend(measured.get(metric).and_then(words));
    };
    say(Metric::MemoryBytes, &|it| Some(size(it)));
    say(Metric::MemoryPeakBytes, &|it| {
        Some(format!("at most {}", size(it)))
    });
    say(Metric::MemoryLimitBytes, &|it| {
        Some(format!("limit {}", size(it)))
    });
    say(Metric::SwapBytes, &|it| {
        worth(it, 1.0).map(|it| format!("swap {}", size(it)))
    });
    say(Metric::PressureMemoryPercent, &|it| {
        worth(it, WORTH_PERCENT).map(|it| format!("waits {}", percent(it)))
    });
    say(Metric::OomKills, &|it| {
        worth(it, 1.0).map(|it| format!("{it:.0} killed for want of it"))
    });
    facts
}

fn gpu_facts(gpu: &JobGpuView) -> Vec<String> {
    let mut facts = Vec::new();
    facts.extend(busy(gpu));
    let mut say = |metric, words: &dyn Fn(f64) -> String| {
        facts.extend(gpu.measured.get(metric).map(words));
    };
    say(Metric::MemoryBytes, &size);
    say(Metric::MemoryPeakBytes, &|it| {
        format!("at most {}", size(it))
    });
    say(Metric::GpuSeconds, &|it| format!("held {}", duration(it)));
    say(Metric::GpuBusySeconds, &|it| {
        format!("busy {}", duration(it))
    });
    say(Metric::EnergyJoules, &energy);
    match gpu.quality.as_str() {
        "sole" => facts.push("alone on it".to_owned()),
        "memory_only" => facts.push("how busy is not known".to_owned()),
        _ => {}
    }
    facts
}

fn disk_facts(measured: &Measured<OfJob>) -> Vec<String> {
    let mut facts = flow(
        measured,
        ["read", "wrote"],
        [Metric::IoReadBytesPerSecond, Metric::IoWriteBytesPerSecond],
        [Metric::IoReadBytes, Metric::IoWriteBytes],
    );
    let waits = measured.get(Metric::PressureIoPercent);
    let waits = waits.and_then(|it| worth(it, WORTH_PERCENT));
    facts.extend(waits.map(|it| format!("waits {}", percent(it))));
    facts
}

fn network_facts(measured: &Measured<OfJob>) -> Vec<String> {
    flow(
        measured,
        ["received", "sent"],
        [
            Metric::NetReceiveBytesPerSecond,
            Metric::NetTransmitBytesPerSecond,
        ],
        [Metric::NetReceiveBytes, Metric::NetTransmitBytes],
    )
}

/// Both directions: how much so far, and how much in a second where that is something.
fn flow(
    measured: &Measured<OfJob>,
    words: [&str; 2],
    rates: [Metric; 2],
    totals: [Metric; 2],
) -> Vec<String> {
    let directions = words.into_iter().zip(rates.into_iter().zip(totals));
    let directions = directions.filter_map(|(word, (rate, total))| {
        let rate = measured.get(rate);
        let rate = rate.and_then(|it| worth(it, WORTH_BYTES_PER_SECOND));
        let rate = rate.map(|it| format!(" ({}/s)", size(it)));
        let total = measured.get(total)?;
        Some(format!(
            "{word} {}{}",
            size(total),
            rate.unwrap_or_default()
        ))
    });
    directions.collect()
}

fn process_facts(measured: &Measured<OfJob>) -> Vec<String> {
    let count = |metric, one: &str, many: &str| {
        said(measured, metric, |it| {
            let word = if it == 1.0 { one } else { many };
            format!("{it:.0} {word}").trim_end().to_owned()
        })
    };
    let mut facts = Vec::new();
    facts.extend(count(Metric::Processes, "", ""));
    facts.extend(count(Metric::Threads, "thread", "threads"));
    facts.extend(count(Metric::OpenFiles, "open file", "open files"));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_short() {
        let percents = [0.0, 0.04, 0.4, 0.99, 46.04, 812.0].map(percent);
        assert_eq!(percents, ["0%", "0.0%", "0.4%", "1%", "46%", "812%"]);
        let energies = [12.4, 3_600.0, 52_300.0, 4_000_000.0, 1e8].map(energy);
        assert_eq!(
            energies,
            ["12 J", "1 Wh", "14.5 Wh", "1.11 kWh", "27.8 kWh"]
        );
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let time = "2026-01-01T00:00:00Z";
        let nothing: UsageView = serde_json::from_value(json!({ "time": time })).unwrap();
        assert!(brief(&nothing).is_empty());
        assert!(facts(&nothing).iter().all(|(_, parts)| parts.is_empty()));
        // Not through a value of serde_json, which would order the fields.
        let text = r#"{"time":"2026-01-01T00:00:00Z","cpu_percent":321,"memory_bytes":1048576,"gpu_memory_bytes":2147483648,
            "io_read_bytes_per_second":104857600,"io_write_bytes_per_second":10,"gpus":[
            {"index":0,"uuid":"a","quality":"measured","utilization_percent":85},
            {"index":1,"uuid":"b","quality":"sole","utilization_percent":40.4},
            {"index":2,"uuid":"c","quality":"memory_only","memory_bytes":1024}]}"#;
        let usage: UsageView = serde_json::from_str(text).unwrap();
        assert_eq!(
            brief(&usage).join("  "),
            "CPU 321%  1.0 MiB  GPU 0 85%, 1 ~40%, 2  2.0 GiB  reads 100.0 MiB/s"
        );
    }
}
