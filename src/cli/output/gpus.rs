//! GPUs: one line each, or a page with all that is known of one.

use crate::cli::output::page::Page;
use crate::cli::output::progress::bar;
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::table;
use crate::cli::output::text::{ago, columns, cut, harmless};
use crate::cli::output::usage::{energy, percent, said, size};
use crate::model::metric::Metric;
use crate::wire::host::{GpuProcessView, GpuView};
use std::collections::BTreeMap;

/// Columns of a bar.
const BAR_COLUMNS: usize = 8;
/// The name of a GPU is not longer in the list.
const LONGEST_NAME: usize = 24;
/// What the list shows of who uses a GPU is not cut below this.
const SHORTEST_WHO: usize = 14;

/// Names of jobs, by number.
pub type Names = BTreeMap<u64, String>;

/// What a column of the list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Index,
    Name,
    /// With a bar.
    Busy,
    /// Without.
    Percent,
    Memory,
    Power,
    Heat,
    Who,
}

const COLUMNS: [Column; 7] = [
    Column::Index,
    Column::Name,
    Column::Busy,
    Column::Memory,
    Column::Power,
    Column::Heat,
    Column::Who,
];

/// Left out in this order until there is room for who uses it; of how busy a GPU is the bar alone.
const LEAST_IMPORTANT_FIRST: [Column; 5] = [
    Column::Name,
    Column::Power,
    Column::Heat,
    Column::Busy,
    Column::Memory,
];

/// One line for each GPU.
#[must_use]
pub fn list(gpus: &[GpuView], names: &Names, look: &Look) -> String {
    if gpus.is_empty() {
        return "No GPU is known here.\n".to_owned();
    }
    let is_shown = |column: &Column| {
        let shows = |gpu| !text(*column, gpu, names).1.is_empty();
        gpus.iter().any(shows)
    };
    let mut shown: Vec<Column> = COLUMNS.into_iter().filter(is_shown).collect();
    let mut left_out = LEAST_IMPORTANT_FIRST.into_iter();
    let room = loop {
        let room = room_for_who(gpus, names, &shown, look);
        let wanted = widest(gpus, names, Column::Who).min(SHORTEST_WHO);
        if room >= wanted {
            break room;
        }
        match left_out.next() {
            Some(column) => {
                let at = shown.iter().position(|it| *it == column);
                if let Some(at) = at {
                    let shorter = (column == Column::Busy).then_some(Column::Percent);
                    shown.splice(at..=at, shorter);
                }
            }
            None => break room,
        }
    };
    let head: Vec<&str> = shown.iter().map(|column| column.title()).collect();
    let rows = with_their_parts(gpus).map(|gpu| {
        let cells = shown.iter().map(|column| {
            let (tone, text) = text(*column, gpu, names);
            if *column == Column::Who {
                (tone, cut(&text, room).into_owned())
            } else {
                (tone, text)
            }
        });
        cells.collect()
    });
    table::plain(&head, rows.collect(), look)
}

/// Each followed by its parts, whose own numbers come behind those of all GPUs.
fn with_their_parts(gpus: &[GpuView]) -> impl Iterator<Item = &GpuView> {
    let is_whole = |gpu: &&GpuView| match &gpu.part_of {
        None => true,
        // Its GPU may have gone this moment.
        Some(uuid) => !gpus.iter().any(|it| it.uuid == *uuid),
    };
    gpus.iter().filter(is_whole).flat_map(|whole| {
        let is_part = |gpu: &&GpuView| gpu.part_of.as_ref() == Some(&whole.uuid);
        std::iter::once(whole).chain(gpus.iter().filter(is_part))
    })
}

fn room_for_who(gpus: &[GpuView], names: &Names, shown: &[Column], look: &Look) -> usize {
    let others = shown.iter().filter(|column| **column != Column::Who);
    // Two blanks follow on each, and on the last one too.
    let taken: usize = others.map(|column| widest(gpus, names, *column) + 2).sum();
    usize::from(look.width).saturating_sub(taken + 2)
}

fn widest(gpus: &[GpuView], names: &Names, column: Column) -> usize {
    let texts = gpus.iter().map(|gpu| columns(&text(column, gpu, names).1));
    texts.chain([column.title().len()]).max().unwrap_or(0)
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Index => "GPU",
            Self::Name => "NAME",
            Self::Busy | Self::Percent => "BUSY",
            Self::Memory => "MEMORY",
            Self::Power => "POWER",
            Self::Heat => "HEAT",
            Self::Who => "WHO",
        }
    }
}

fn text(column: Column, gpu: &GpuView, names: &Names) -> (Tone, String) {
    let measured = &gpu.measured;
    match column {
        Column::Index => {
            let part = if gpu.part_of.is_some() { "└ " } else { "" };
            (Tone::Strong, format!("{part}{}", gpu.index))
        }
        Column::Name => {
            let name = harmless(&gpu.name);
            let name = name.trim_start_matches("NVIDIA ");
            (Tone::Faint, cut(name, LONGEST_NAME).into_owned())
        }
        Column::Busy => {
            let busy = said(measured, Metric::UtilizationPercent, |it| {
                format!("{} {:>4}", bar(it, BAR_COLUMNS), percent(it))
            });
            (Tone::Active, busy.unwrap_or_default())
        }
        Column::Percent => {
            let busy = said(measured, Metric::UtilizationPercent, percent);
            (Tone::Active, busy.unwrap_or_default())
        }
        Column::Memory => (Tone::Plain, memory(gpu).unwrap_or_default()),
        Column::Power => (Tone::Plain, power(gpu).unwrap_or_default()),
        Column::Heat => {
            let heat = said(measured, Metric::TemperatureCelsius, |it| {
                format!("{it:.0}°C")
            });
            (Tone::Plain, heat.unwrap_or_default())
        }
        Column::Who => match condition(gpu) {
            Some((tone, words)) => (tone, words),
            None => (Tone::Plain, who(gpu, names)),
        },
    }
}

fn memory(gpu: &GpuView) -> Option<String> {
    let used = gpu.measured.get(Metric::MemoryUsedBytes)?;
    Some(match gpu.measured.get(Metric::MemoryTotalBytes) {
        Some(total) => format!("{} of {}", size(used), size(total)),
        None => size(used),
    })
}

fn power(gpu: &GpuView) -> Option<String> {
    let power = gpu.measured.get(Metric::PowerWatts)?;
    Some(match gpu.measured.get(Metric::PowerLimitWatts) {
        Some(limit) => format!("{power:.0}/{limit:.0} W"),
        None => format!("{power:.0} W"),
    })
}

/// What is wrong with a GPU, or keeps it from being measured.
#[must_use]
pub fn condition(gpu: &GpuView) -> Option<(Tone, String)> {
    match gpu.condition.as_str() {
        "ok" => None,
        "asleep" => Some((Tone::Faint, "asleep".to_owned())),
        "unresponsive" => Some((Tone::Bad, "does not answer".to_owned())),
        other => Some((Tone::Bad, harmless(other).into_owned())),
    }
}

/// Who uses a GPU: each job once, and of other users' processes who and what.
fn who(gpu: &GpuView, names: &Names) -> String {
    let mut who: Vec<String> = Vec::new();
    for process in &gpu.processes {
        let name = holder(process, names);
        if !who.contains(&name) {
            who.push(name);
        }
    }
    who.join(", ")
}

fn holder(process: &GpuProcessView, names: &Names) -> String {
    if let Some(job) = process.job {
        return match names.get(&job) {
            Some(name) => format!("{job} {}", harmless(name)),
            None => format!("job {job}"),
        };
    }
    if process.unknown {
        return format!("pid {}, unknown", process.pid);
    }
    let name = process.name.as_deref().map(harmless);
    let name = name.map_or_else(|| format!("pid {}", process.pid), Into::into);
    let user = process.user.as_deref().map(|it| harmless(it).into_owned());
    match user.or_else(|| process.uid.map(|it| it.to_string())) {
        Some(user) => format!("{user}: {name}"),
        None => name,
    }
}

/// A GPU in one line, most important first.
#[must_use]
pub fn brief(gpu: &GpuView, names: &Names) -> Vec<String> {
    let mut brief = Vec::new();
    brief.extend(condition(gpu).map(|(_, words)| words));
    let measured = &gpu.measured;
    brief.extend(said(measured, Metric::UtilizationPercent, percent));
    brief.extend(memory(gpu));
    brief.extend(power(gpu));
    let heat = said(measured, Metric::TemperatureCelsius, |it| {
        format!("{it:.0}°C")
    });
    brief.extend(heat);
    brief.extend(Some(who(gpu, names)).filter(|who| !who.is_empty()));
    brief
}

/// The page of one GPU.
#[must_use]
pub fn page(gpu: &GpuView, names: &Names, look: &Look) -> String {
    let mut page = Page::new(look);
    let title = format!("GPU {}  {}", gpu.index, harmless(&gpu.name));
    page.line(&look.paint(Tone::Strong, &title));
    let since = ago(look.seconds_since(gpu.condition_since));
    match condition(gpu) {
        Some((tone, words)) => {
            let words = look.paint(tone, &words);
            page.line(&format!("{words}  {}", look.paint(Tone::Faint, &since)));
        }
        None => page.line(&look.paint(Tone::Good, "● works")),
    }
    page.line("");
    page.parts("Busy", &busy(gpu));
    page.parts("Memory", &memory_facts(gpu));
    page.parts("Power", &power_facts(gpu));
    page.parts("Heat", &heat(gpu));
    page.parts("Clock", &clocks(gpu));
    page.parts("Bus", &bus(gpu));
    page.parts("Errors", &errors(gpu));
    page.field("UUID", &harmless(&gpu.uuid));
    let driver = gpu.driver.as_deref().map(|it| format!(" {it}"));
    let vendor = format!("{}{}", gpu.vendor, driver.unwrap_or_default());
    page.field("Driver", &harmless(&vendor));
    page.some("Part of", gpu.part_of.as_deref());
    let measured = ago(look.seconds_since(gpu.time));
    page.field("Measured", &look.paint(Tone::Faint, &measured));
    if !gpu.processes.is_empty() {
        page.line("");
        page.out += &processes(gpu, names, look);
    }
    page.out
}

fn processes(gpu: &GpuView, names: &Names, look: &Look) -> String {
    let rows = gpu.processes.iter().map(|process| {
        let busy = process.utilization_percent.map(percent);
        let memory = process.memory_bytes.map(|it| size(it as f64));
        vec![
            (Tone::Strong, process.pid.to_string()),
            (Tone::Faint, harmless(&process.kind).into_owned()),
            (Tone::Plain, busy.unwrap_or_default()),
            (Tone::Plain, memory.unwrap_or_default()),
            (Tone::Plain, holder(process, names)),
        ]
    });
    let head = ["PID", "KIND", "BUSY", "MEMORY", "WHO"];
    table::plain(&head, rows.collect(), look)
}

/// Values in words, as far as they were measured.
fn words(gpu: &GpuView, all: &[(Metric, &dyn Fn(f64) -> String)]) -> Vec<String> {
    let known = all.iter();
    known
        .filter_map(|(metric, words)| gpu.measured.get(*metric).map(words))
        .filter(|words| !words.is_empty())
        .collect()
}

fn busy(gpu: &GpuView) -> Vec<String> {
    words(
        gpu,
        &[
            (Metric::UtilizationPercent, &|it| {
                format!("{}  {}", bar(it, 2 * BAR_COLUMNS), percent(it))
            }),
            (Metric::SmActivePercent, &|it| {
                format!("multiprocessors {}", percent(it))
            }),
            (Metric::MemoryUtilizationPercent, &|it| {
                format!("memory {}", percent(it))
            }),
            (Metric::EncoderPercent, &|it| {
                format!("encoder {}", percent(it))
            }),
            (Metric::DecoderPercent, &|it| {
                format!("decoder {}", percent(it))
            }),
        ],
    )
}

fn memory_facts(gpu: &GpuView) -> Vec<String> {
    let mut facts: Vec<String> = memory(gpu).into_iter().collect();
    facts.extend(words(
        gpu,
        &[
            (Metric::MemoryPercent, &percent),
            (Metric::MemoryReservedBytes, &|it| {
                format!("reserved {}", size(it))
            }),
        ],
    ));
    facts
}

fn power_facts(gpu: &GpuView) -> Vec<String> {
    let mut facts: Vec<String> = power(gpu).into_iter().collect();
    facts.extend(words(
        gpu,
        &[
            (Metric::EnergyJoules, &|it| {
                format!("{} since its driver was loaded", energy(it))
            }),
            (Metric::ThrottledByPower, &|it| {
                flag(it, "slowed down by its limit")
            }),
            (Metric::ThrottledByHardware, &|it| {
                flag(it, "slowed down by its hardware")
            }),
        ],
    ));
    facts
}

fn heat(gpu: &GpuView) -> Vec<String> {
    words(
        gpu,
        &[
            (Metric::TemperatureCelsius, &|it| format!("{it:.0}°C")),
            (Metric::MemoryTemperatureCelsius, &|it| {
                format!("memory {it:.0}°C")
            }),
            (Metric::TemperatureLimitCelsius, &|it| {
                format!("slows down at {it:.0}°C")
            }),
            (Metric::FanPercent, &|it| format!("fan {}", percent(it))),
            (Metric::ThrottledByHeat, &|it| {
                flag(it, "slowed down by heat")
            }),
        ],
    )
}

fn clocks(gpu: &GpuView) -> Vec<String> {
    words(
        gpu,
        &[
            (Metric::ClockMegahertz, &|it| format!("{it:.0} MHz")),
            (Metric::ClockLimitMegahertz, &|it| {
                format!("at most {it:.0} MHz")
            }),
            (Metric::MemoryClockMegahertz, &|it| {
                format!("memory {it:.0} MHz")
            }),
            (Metric::PerformanceState, &|it| format!("P{it:.0}")),
        ],
    )
}

fn bus(gpu: &GpuView) -> Vec<String> {
    let place = gpu
        .pci_bus_id
        .as_deref()
        .map(|it| harmless(it).into_owned());
    let mut facts: Vec<String> = place.into_iter().collect();
    facts.extend(words(
        gpu,
        &[
            (Metric::PcieGeneration, &|it| format!("PCIe {it:.0}")),
            (Metric::PcieWidth, &|it| format!("{it:.0} lanes")),
            (Metric::PcieReceiveBytesPerSecond, &|it| {
                format!("receives {}/s", size(it))
            }),
            (Metric::PcieTransmitBytesPerSecond, &|it| {
                format!("sends {}/s", size(it))
            }),
            (Metric::NvlinkReceiveBytesPerSecond, &|it| {
                format!("NVLink receives {}/s", size(it))
            }),
            (Metric::NvlinkTransmitBytesPerSecond, &|it| {
                format!("NVLink sends {}/s", size(it))
            }),
        ],
    ));
    facts
}

/// Errors that there were; none where all counts are nothing.
fn errors(gpu: &GpuView) -> Vec<String> {
    words(
        gpu,
        &[
            (Metric::Xids, &|it| some(it, "told by the driver")),
            (Metric::EccUncorrected, &|it| {
                some(it, "of memory not corrected")
            }),
            (Metric::EccCorrected, &|it| some(it, "of memory corrected")),
            (Metric::RowsRemappedUncorrected, &|it| {
                some(it, "rows replaced after errors")
            }),
            (Metric::RowsRemappedCorrected, &|it| {
                some(it, "rows replaced after corrected errors")
            }),
            (Metric::RowRemapPending, &|it| {
                flag(it, "a row waits to be replaced")
            }),
            (Metric::RowRemapFailed, &|it| {
                flag(it, "a row could not be replaced")
            }),
            (Metric::PagesRetired, &|it| some(it, "pages retired")),
            (Metric::PcieReplays, &|it| {
                some(it, "packets sent again over PCIe")
            }),
        ],
    )
}

fn flag(value: f64, words: &str) -> String {
    if value > 0.0 {
        words.to_owned()
    } else {
        String::new()
    }
}

fn some(count: f64, words: &str) -> String {
    if count > 0.0 {
        format!("{count:.0} {words}")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests;
