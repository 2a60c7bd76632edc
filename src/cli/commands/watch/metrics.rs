//! Measurements as lines for people.

use crate::cli::commands::watch::lines::job_head;
use crate::cli::output::gpus;
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::text::{columns, harmless};
use crate::cli::output::usage::{self, percent, size};
use crate::model::metric::Metric;
use crate::wire::event::EventView;
use crate::wire::host::{
    CpuView, DisksView, FilesystemsView, GpuView, NetworksView, SensorsView, TasksView,
};
use crate::wire::measured::{Class, Measured, OfMemory};
use crate::wire::usage::JobMetrics;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The time before each line, with its gap.
const TIME_COLUMNS: usize = 10;
/// Of devices so many are told; `stoke host` has all.
const MOST_DEVICES: usize = 4;

/// What was measured, in one line; `None` where the event tells something else, or a newer daemon says it otherwise.
pub(super) fn of(event: &EventView, names: &BTreeMap<u64, String>, look: &Look) -> Option<String> {
    let rest = event.channel.strip_suffix("/metrics")?;
    let (entity, part) = rest.split_once('/')?;
    let (head, plain, facts) = match entity {
        "job" => {
            let body = JobMetrics::deserialize(&event.body).ok()?;
            let name = names.get(&body.job).map_or("", String::as_str);
            let plain = format!("{} {}", body.job, harmless(name));
            (
                job_head(body.job, name, look),
                plain,
                usage::brief(&body.usage),
            )
        }
        "gpu" => {
            let body = GpuView::deserialize(&event.body).ok()?;
            let plain = format!("gpu {}", body.index);
            (
                look.paint(Tone::Strong, &plain),
                plain,
                gpus::brief(&body, names),
            )
        }
        "host" => {
            let plain = format!("host {}", harmless(part));
            (
                look.paint(Tone::Strong, &plain),
                plain,
                host(part, &event.body)?,
            )
        }
        _ => return None,
    };
    let room = usize::from(look.width).saturating_sub(TIME_COLUMNS + columns(&plain));
    Some(format!("{head}{}", fitted(&facts, room)))
}

/// As many of them, in their order, as there is room for; at least one.
fn fitted(facts: &[String], mut room: usize) -> String {
    let mut out = String::new();
    for fact in facts {
        let needed = columns(fact) + 2;
        if needed > room && !out.is_empty() {
            break;
        }
        room = room.saturating_sub(needed);
        out += &format!("  {fact}");
    }
    out
}

fn host(part: &str, body: &serde_json::Value) -> Option<Vec<String>> {
    Some(match part {
        "cpu" => cpu(&CpuView::deserialize(body).ok()?),
        "memory" => memory(&Measured::deserialize(body).ok()?),
        "tasks" => tasks(&TasksView::deserialize(body).ok()?),
        "disks" => disks(&DisksView::deserialize(body).ok()?),
        "networks" => networks(&NetworksView::deserialize(body).ok()?),
        "filesystems" => filesystems(&FilesystemsView::deserialize(body).ok()?),
        "sensors" => sensors(&SensorsView::deserialize(body).ok()?),
        _ => return None,
    })
}

/// A value with the word before it.
fn after<C: Class>(
    measured: &Measured<C>,
    word: &str,
    metric: Metric,
    words: impl FnOnce(f64) -> String,
) -> Option<String> {
    let value = measured.get(metric).map(words)?;
    Some(format!("{word} {value}").trim_start().to_owned())
}

fn known<const N: usize>(facts: [Option<String>; N]) -> Vec<String> {
    facts.into_iter().flatten().collect()
}

fn per_second(count: f64) -> String {
    format!("{}/s", size(count))
}

fn cpu(body: &CpuView) -> Vec<String> {
    let of = &body.measured;
    known([
        after(of, "", Metric::CpuPercent, percent),
        after(of, "load", Metric::Load1, |it| format!("{it:.2}")),
        after(of, "kernel", Metric::CpuSystemPercent, percent),
        after(of, "waits for a CPU", Metric::PressureCpuPercent, percent),
        after(of, "", Metric::CpuPowerWatts, |it| format!("{it:.0} W")),
    ])
}

fn memory(of: &Measured<OfMemory>) -> Vec<String> {
    known([
        after(of, "", Metric::MemoryPercent, percent),
        after(of, "used", Metric::MemoryUsedBytes, size),
        after(of, "available", Metric::MemoryAvailableBytes, size),
        after(of, "swap", Metric::SwapBytes, size),
        after(of, "waits", Metric::PressureMemoryPercent, percent),
    ])
}

fn tasks(body: &TasksView) -> Vec<String> {
    let of = &body.measured;
    let busiest = body.busiest.iter().take(MOST_DEVICES);
    let busiest = busiest.map(|it| {
        let name = harmless(&it.name);
        format!("{name} ({}) {}", it.pid, percent(it.cpu_percent))
    });
    let mut facts = known([
        after(of, "", Metric::Processes, |it| format!("{it:.0} processes")),
        after(of, "", Metric::ProcessesRunning, |it| {
            format!("{it:.0} run")
        }),
    ]);
    facts.extend(busiest);
    facts
}

fn disks(body: &DisksView) -> Vec<String> {
    let of = &body.measured;
    let mut facts = known([
        after(of, "reads", Metric::IoReadBytesPerSecond, per_second),
        after(of, "writes", Metric::IoWriteBytesPerSecond, per_second),
    ]);
    let busy = body.items.iter().take(MOST_DEVICES).filter_map(|disk| {
        let word = format!("{} busy", harmless(&disk.name));
        after(&disk.measured, &word, Metric::IoBusyPercent, percent)
    });
    facts.extend(busy);
    facts
}

fn networks(body: &NetworksView) -> Vec<String> {
    let facts = body.items.iter().take(MOST_DEVICES).map(|network| {
        let of = &network.measured;
        let both = known([
            after(of, "receives", Metric::NetReceiveBytesPerSecond, per_second),
            after(of, "sends", Metric::NetTransmitBytesPerSecond, per_second),
        ]);
        format!("{} {}", harmless(&network.name), both.join(", "))
    });
    facts.collect()
}

fn filesystems(body: &FilesystemsView) -> Vec<String> {
    let facts = body.items.iter().take(MOST_DEVICES).filter_map(|it| {
        let path = harmless(&it.path);
        after(&it.measured, &path, Metric::SpacePercent, percent)
    });
    facts.collect()
}

fn sensors(body: &SensorsView) -> Vec<String> {
    let facts = body.items.iter().take(MOST_DEVICES).filter_map(|it| {
        let name = harmless(&it.name);
        after(&it.measured, &name, Metric::TemperatureCelsius, |heat| {
            format!("{heat:.0}°C")
        })
    });
    facts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(channel: &str, body: &str, width: u16) -> Option<String> {
        let event = EventView {
            time: jiff::Timestamp::UNIX_EPOCH,
            channel: channel.to_owned(),
            kind: "metrics".to_owned(),
            seq: None,
            coalesced: None,
            body: serde_json::from_str(body).unwrap(),
        };
        let look = Look {
            colour: false,
            width,
            now: jiff::Timestamp::UNIX_EPOCH,
            zone: jiff::tz::TimeZone::UTC,
        };
        let names = [(42, "train\u{1b}".to_owned())].into();
        of(&event, &names, &look)
    }

    #[test]
    fn measurements_are_readable_lines() {
        let job = r#"{"job":42,"attempt":1,"time":"2026-01-01T00:00:00Z","cpu_percent":46,"memory_bytes":1048576}"#;
        let gpu = r#"{"time":"2026-01-01T00:00:00Z","index":0,"uuid":"GPU-1","name":"H100","vendor":"nvidia","condition":"ok",
            "condition_since":"2026-01-01T00:00:00Z","utilization_percent":85,"memory_used_bytes":1048576,
            "processes":[{"pid":7,"kind":"compute","job":42}]}"#;
        let cpu = r#"{"cpu_percent":46,"load_1":1.5,"cores":[{"core":0,"cpu_percent":3}]}"#;
        for (channel, body, width, shown) in [
            (
                "job/42/metrics",
                job,
                80,
                Some("42 train\\e  CPU 46%  1.0 MiB"),
            ),
            ("job/42/metrics", job, 20, Some("42 train\\e  CPU 46%")),
            (
                "gpu/0/metrics",
                gpu,
                80,
                Some("gpu 0  85%  1.0 MiB  42 train\\e"),
            ),
            (
                "host/cpu/metrics",
                cpu,
                80,
                Some("host cpu  46%  load 1.50"),
            ),
            ("host/new/metrics", "{}", 80, None),
            ("job/42/metrics", "{}", 80, None),
            ("job/42/state", "{}", 80, None),
        ] {
            assert_eq!(line(channel, body, width).as_deref(), shown, "{channel}");
        }
    }
}
