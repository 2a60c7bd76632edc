//! The host on one page: its CPUs, its memory, what is short, and who takes it.

use crate::cli::output::page::Page;
use crate::cli::output::progress::bar;
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::table;
use crate::cli::output::text::{ago, columns, cut, duration, harmless};
use crate::cli::output::usage::{energy, percent, size};
use crate::model::metric::Metric;
use crate::wire::host::{DiskView, FilesystemView, HostView, NetworkView, ProcessView};
use crate::wire::measured::{Class, Measured};

/// Columns of a bar.
const BAR_COLUMNS: usize = 16;
/// Names of devices and the like are not longer in a table.
const LONGEST_NAME: usize = 28;
/// More than this is something to look at.
const FULL_PERCENT: f64 = 90.0;
/// Less than this is not worth a word.
const WORTH_PERCENT: f64 = 1.0;
/// A task that waits for this share of the time is held up.
const PRESSED_PERCENT: f64 = 20.0;

/// The page.
#[must_use]
pub fn page(host: &HostView, look: &Look) -> String {
    let mut page = Page::new(look);
    let tasks = &host.tasks.measured;
    let mut title = "Host".to_owned();
    if let Some(cores) = host.cpu.measured.get(Metric::CpuCount) {
        let word = if cores == 1.0 { "core" } else { "cores" };
        title += &format!("  {cores:.0} {word}");
    }
    let mut head = look.paint(Tone::Strong, &title);
    if let Some(up) = tasks.get(Metric::UptimeSeconds) {
        head += &format!("  up {}", duration(up));
    }
    let seconds = look.seconds_since(host.time);
    let measured = format!("measured {}", ago(seconds));
    page.line(&format!("{head}  {}", look.paint(Tone::Faint, &measured)));
    page.line("");
    cpu(&mut page, host);
    memory(&mut page, host);
    pressure(&mut page, host);
    page.parts(
        "Processes",
        &said(
            tasks,
            &[
                (Metric::Processes, &|it| format!("{it:.0}")),
                (Metric::ProcessesRunning, &|it| format!("{it:.0} run")),
                (Metric::ProcessesBlocked, &|it| {
                    format!("{it:.0} wait for disks")
                }),
                (Metric::Threads, &|it| format!("{it:.0} threads")),
                (Metric::OpenFiles, &|it| format!("{it:.0} open files")),
            ],
        ),
    );
    sensors(&mut page, host);
    disks(&mut page, &host.disks.items);
    networks(&mut page, &host.networks.items);
    filesystems(&mut page, &host.filesystems.items);
    busiest(&mut page, &host.tasks.busiest);
    page.out
}

/// Values in words, as far as they were measured.
fn said<C: Class>(measured: &Measured<C>, all: &[(Metric, &dyn Fn(f64) -> String)]) -> Vec<String> {
    let known = all.iter();
    known
        .filter_map(|(metric, words)| measured.get(*metric).map(words))
        .filter(|words| !words.is_empty())
        .collect()
}

/// A share of the time with its words, where it is worth them.
fn share(words: &str, value: f64) -> String {
    if value < WORTH_PERCENT {
        return String::new();
    }
    format!("{words} {}", percent(value))
}

fn cpu(page: &mut Page<'_>, host: &HostView) {
    let measured = &host.cpu.measured;
    let with_bar = |it| format!("{}  {}", bar(it, BAR_COLUMNS), percent(it));
    let parts = said(
        measured,
        &[
            (Metric::CpuPercent, &with_bar),
            (Metric::CpuUserPercent, &|it| {
                format!("user {}", percent(it))
            }),
            (Metric::CpuSystemPercent, &|it| {
                format!("kernel {}", percent(it))
            }),
            (Metric::CpuIowaitPercent, &|it| share("waits for disks", it)),
            (Metric::CpuStealPercent, &|it| {
                share("taken by other guests", it)
            }),
            (Metric::CpuPowerWatts, &|it| format!("{it:.0} W")),
        ],
    );
    page.parts("CPU", &parts);
    for (n, line) in cores(host, page.room()).iter().enumerate() {
        page.field(if n == 0 { "Cores" } else { "" }, line);
    }
    let load = said(
        measured,
        &[
            (Metric::Load1, &|it| format!("{it:.2}")),
            (Metric::Load5, &|it| format!("{it:.2}")),
            (Metric::Load15, &|it| format!("{it:.2}")),
        ],
    );
    page.parts("Load", &load);
}

/// A block for each core, as high as it is busy; a dot for one that was not measured. In groups of eight, so that they
/// can be counted.
fn cores(host: &HostView, width: usize) -> Vec<String> {
    let blocks = host.cpu.cores.iter().map(|core| {
        let busy = core.measured.get(Metric::CpuPercent);
        busy.map_or('·', block)
    });
    let blocks: Vec<char> = blocks.collect();
    let groups: Vec<String> = blocks
        .chunks(8)
        .map(|group| group.iter().collect())
        .collect();
    let mut lines: Vec<String> = Vec::new();
    for group in groups {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(&group) <= width => {
                line.push(' ');
                line.push_str(&group);
            }
            Some(_) | None => lines.push(group),
        }
    }
    lines
}

/// A block of eight heights.
#[must_use]
pub fn block(percent: f64) -> char {
    match percent {
        ..6.25 => '▁',
        ..18.75 => '▂',
        ..31.25 => '▃',
        ..43.75 => '▄',
        ..56.25 => '▅',
        ..68.75 => '▆',
        ..87.5 => '▇',
        _ => '█',
    }
}

fn memory(page: &mut Page<'_>, host: &HostView) {
    let measured = &host.memory;
    let get = |metric| measured.get(metric);
    let mut parts = Vec::new();
    if let Some(share) = get(Metric::MemoryPercent) {
        let shown = format!("{}  {}", bar(share, BAR_COLUMNS), percent(share));
        parts.push(shown);
    }
    if let (Some(used), Some(total)) = (get(Metric::MemoryUsedBytes), get(Metric::MemoryTotalBytes))
    {
        parts.push(format!("{} of {}", size(used), size(total)));
    }
    parts.extend(said(
        measured,
        &[
            (Metric::MemoryAvailableBytes, &|it| {
                format!("available {}", size(it))
            }),
            (Metric::MemoryCachedBytes, &|it| {
                format!("files {}", size(it))
            }),
        ],
    ));
    let killed = get(Metric::OomKills).filter(|it| *it > 0.0);
    parts.extend(killed.map(|it| format!("{it:.0} killed for want of it")));
    page.parts("Memory", &parts);
    let total = get(Metric::SwapTotalBytes).filter(|total| *total > 0.0);
    if let (Some(used), Some(total)) = (get(Metric::SwapBytes), total) {
        let mut parts = vec![format!("{} of {}", size(used), size(total))];
        for (metric, word) in [
            (Metric::SwapInBytesPerSecond, "in"),
            (Metric::SwapOutBytesPerSecond, "out"),
        ] {
            let rate = get(metric).filter(|it| *it > 0.0);
            parts.extend(rate.map(|it| format!("{word} {}/s", size(it))));
        }
        page.parts("Swap", &parts);
    }
}

/// The share of the time in which something waited for want of each.
fn pressure(page: &mut Page<'_>, host: &HostView) {
    let all = [
        ("CPU", host.cpu.measured.get(Metric::PressureCpuPercent)),
        ("memory", host.memory.get(Metric::PressureMemoryPercent)),
        ("disks", host.disks.measured.get(Metric::PressureIoPercent)),
    ];
    let known = all.into_iter().filter_map(|(of, share)| Some((of, share?)));
    let parts = known.map(|(of, share)| {
        let tone = if share >= PRESSED_PERCENT {
            Tone::Waiting
        } else {
            Tone::Plain
        };
        page.look.paint(tone, &format!("{of} {}", percent(share)))
    });
    let parts: Vec<String> = parts.collect();
    if !parts.is_empty() {
        page.field("Waits for", &parts.join("  "));
    }
    let energy = host.cpu.measured.get(Metric::CpuEnergyJoules);
    page.parts(
        "Energy",
        &energy.map(energy_of_cpus).into_iter().collect::<Vec<_>>(),
    );
}

fn energy_of_cpus(joules: f64) -> String {
    format!("{} of the CPUs so far", energy(joules))
}

fn sensors(page: &mut Page<'_>, host: &HostView) {
    let heat = host.sensors.items.iter().filter_map(|sensor| {
        let heat = sensor.measured.get(Metric::TemperatureCelsius)?;
        Some(format!("{} {heat:.0}°C", harmless(&sensor.name)))
    });
    let heat: Vec<String> = heat.collect();
    page.parts("Heat", &heat);
}

fn named(name: &str) -> (Tone, String) {
    (
        Tone::Strong,
        cut(&harmless(name), LONGEST_NAME).into_owned(),
    )
}

fn shown<C: Class>(
    measured: &Measured<C>,
    metric: Metric,
    words: impl FnOnce(f64) -> String,
) -> (Tone, String) {
    let text = measured.get(metric).map(words);
    (Tone::Plain, text.unwrap_or_default())
}

fn per_second(count: f64) -> String {
    format!("{}/s", size(count))
}

/// A table without the columns of which nothing is known.
fn table_of(page: &mut Page<'_>, head: &[&str], rows: Vec<Vec<(Tone, String)>>) {
    if rows.is_empty() {
        return;
    }
    let (head, rows) = table::known_columns(head, rows);
    page.line("");
    page.out += &table::plain(&head, rows, page.look);
}

fn disks(page: &mut Page<'_>, disks: &[DiskView]) {
    let latency = |measured: &Measured<_>| {
        let each = [Metric::IoReadMilliseconds, Metric::IoWriteMilliseconds];
        let slowest = each.into_iter().filter_map(|it| measured.get(it));
        slowest.reduce(f64::max)
    };
    let rows = disks.iter().map(|disk| {
        let measured = &disk.measured;
        let slowest = latency(measured).map(|ms| format!("{ms:.1} ms"));
        vec![
            named(&disk.name),
            shown(measured, Metric::IoBusyPercent, percent),
            shown(measured, Metric::IoReadBytesPerSecond, per_second),
            shown(measured, Metric::IoWriteBytesPerSecond, per_second),
            (Tone::Plain, slowest.unwrap_or_default()),
        ]
    });
    let head = ["DISK", "BUSY", "READS", "WRITES", "TAKES"];
    table_of(page, &head, rows.collect());
}

fn networks(page: &mut Page<'_>, networks: &[NetworkView]) {
    let rows = networks.iter().map(|network| {
        let measured = &network.measured;
        let errors = measured.get(Metric::NetErrors).filter(|it| *it > 0.0);
        let errors = errors.map(|it| format!("{it:.0}"));
        vec![
            named(&network.name),
            shown(measured, Metric::NetReceiveBytesPerSecond, per_second),
            shown(measured, Metric::NetTransmitBytesPerSecond, per_second),
            (Tone::Waiting, errors.unwrap_or_default()),
        ]
    });
    let head = ["NETWORK", "RECEIVES", "SENDS", "ERRORS"];
    table_of(page, &head, rows.collect());
}

fn filesystems(page: &mut Page<'_>, filesystems: &[FilesystemView]) {
    let rows = filesystems.iter().map(|filesystem| {
        let measured = &filesystem.measured;
        let used = measured.get(Metric::SpacePercent);
        let tone = match used {
            Some(used) if used >= FULL_PERCENT => Tone::Bad,
            Some(_) | None => Tone::Plain,
        };
        vec![
            named(&filesystem.path),
            (tone, used.map(percent).unwrap_or_default()),
            shown(measured, Metric::SpaceAvailableBytes, size),
            shown(measured, Metric::SpaceTotalBytes, size),
            shown(measured, Metric::InodesPercent, percent),
        ]
    });
    let head = ["FILES ON", "USED", "FREE", "SPACE", "INODES"];
    table_of(page, &head, rows.collect());
}

fn busiest(page: &mut Page<'_>, processes: &[ProcessView]) {
    let rows = processes.iter().map(|process| {
        let user = process.user.as_deref().map(|it| harmless(it).into_owned());
        vec![
            named(&process.name),
            (Tone::Plain, process.pid.to_string()),
            (Tone::Faint, user.unwrap_or_else(|| process.uid.to_string())),
            (Tone::Plain, percent(process.cpu_percent)),
            (Tone::Plain, size(process.memory_bytes as f64)),
        ]
    });
    let head = ["OF NO JOB", "PID", "USER", "CPU", "MEMORY"];
    table_of(page, &head, rows.collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_host_fits_on_a_page() {
        let cores: Vec<_> = (0..20)
            .map(|core| format!(r#"{{"core":{core},"cpu_percent":{}}}"#, core * 5))
            .collect();
        let text = format!(
            r#"{{"time":"2026-11-22T12:00:00Z","cpu":{{"cpu_percent":46.04,"cpu_user_percent":40,"cpu_system_percent":6,
            "cpu_count":20,"load_1":4.56,"load_5":5.9,"load_15":6.03,"pressure_cpu_some_percent":98.5,"cores":[{}]}},
            "memory":{{"memory_used_bytes":3039277056,"memory_available_bytes":22237233152,"memory_total_bytes":25276510208,
            "memory_percent":12,"swap_bytes":1048576,"swap_total_bytes":1073741824}},
            "tasks":{{"processes_count":108,"processes_running_count":8,"uptime_seconds":43122,"busiest":[
            {{"pid":7,"name":"evil\u001b","uid":1001,"cpu_percent":41.5,"memory_bytes":1048576}}]}},
            "disks":{{"items":[{{"name":"vda","io_busy_percent":0.4,"io_read_bytes_per_second":118784,
            "io_write_bytes_per_second":0,"io_write_latency_milliseconds":0.16}}]}},
            "networks":{{"items":[{{"name":"eth0","network_receive_bytes_per_second":1048576}}]}},
            "filesystems":{{"items":[{{"path":"/","space_percent":80.3,"space_available_bytes":19242659840,
            "space_total_bytes":270553174016}}]}},"sensors":{{"items":[{{"name":"cpu","temperature_celsius":51.6}}]}}}}"#,
            cores.join(",")
        );
        let host: HostView = serde_json::from_str(&text).unwrap();
        let look = |width| Look {
            colour: false,
            width,
            now: "2026-11-22T12:00:02Z".parse().unwrap(),
            zone: jiff::tz::TimeZone::UTC,
        };
        insta::assert_snapshot!(page(&host, &look(60)));
        for width in [48, 60, 80, 120] {
            let text = page(&host, &look(width));
            let is_wide = |line: &&str| columns(line) > usize::from(width);
            assert_eq!(text.lines().find(is_wide), None, "at {width}:\n{text}");
        }
        let nothing = json!({"time": "2026-11-22T12:00:00Z", "cpu": {}, "memory": {}, "tasks": {},
            "disks": {}, "networks": {}, "filesystems": {}, "sensors": {}});
        let nothing: HostView = serde_json::from_value(nothing).unwrap();
        assert_eq!(page(&nothing, &look(80)), "Host  measured 2s ago\n\n");
    }
}
