//! The line of a bar on a desktop, as each of them wants it.

mod tooltip;

use crate::cli::glance::{Glance, GlanceJob};
use crate::cli::output::progress::known_percent;
use crate::cli::output::style::{self, Look};
use crate::cli::output::text::{cut, harmless, rough};
use crate::model::metric::Metric;
use crate::wire::host::GpuView;
use clap::ValueEnum;
use serde_json::{Value, json};

/// A bar has room for no longer name.
const LONGEST_NAME: usize = 16;

/// Whom the line is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BarFormat {
    /// JSON with text, alt, tooltip, class and percentage, for a custom module of waybar
    #[default]
    Waybar,
    /// The protocol of i3bar and swaybar, one block
    I3bar,
    /// Plain text, for polybar, tint2, xmobar, tmux and the like
    Polybar,
    /// JSON with everything, for eww, AGS and scripts
    Json,
}

/// What matters most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// No daemon answers.
    Away,
    /// A job ended badly not long ago.
    Failed,
    /// A job runs.
    Busy,
    /// Nothing runs.
    Idle,
}

impl Mood {
    fn of(glance: &Glance) -> Self {
        if glance.is_away {
            Self::Away
        } else if !glance.failed.is_empty() {
            Self::Failed
        } else if !glance.jobs.is_empty() {
            Self::Busy
        } else {
            Self::Idle
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::Idle => "idle",
        }
    }
}

impl BarFormat {
    /// What comes before the first line.
    #[must_use]
    pub fn prologue(self) -> &'static str {
        match self {
            Self::I3bar => "{\"version\":1}\n[\n",
            Self::Waybar | Self::Polybar | Self::Json => "",
        }
    }

    /// One line, complete in itself.
    #[must_use]
    pub fn line(self, glance: &Glance, look: &Look) -> String {
        match self {
            Self::Waybar => waybar(glance, look).to_string(),
            Self::I3bar => format!("[{}],", i3bar(glance)),
            Self::Polybar => without_tags(&text(glance)),
            Self::Json => json(glance).to_string(),
        }
    }
}

fn waybar(glance: &Glance, look: &Look) -> Value {
    let mood = Mood::of(glance).word();
    let tooltip = tooltip::of(glance, look);
    let mut line = json!({
        "text": pango(&text(glance)),
        "alt": mood,
        "tooltip": format!("<tt>{}</tt>", pango(tooltip.trim_end())),
        "class": mood,
    });
    if let Some(percent) = mean_percent(glance) {
        line["percentage"] = whole(percent).into();
    }
    line
}

fn i3bar(glance: &Glance) -> Value {
    json!({
        "name": "stoked",
        "full_text": text(glance),
        "short_text": counts(glance).join(" "),
        "urgent": Mood::of(glance) == Mood::Failed,
        "markup": "none",
    })
}

fn json(glance: &Glance) -> Value {
    let jobs: Vec<Value> = glance.jobs.iter().map(|(id, it)| job(*id, it)).collect();
    let failed = glance.failed.iter().map(|job| {
        let class = job.failure.as_ref().map(|it| it.class.as_str());
        known(
            json!({"id": job.id, "name": job.name, "state": job.state}),
            [field("failure", class)],
        )
    });
    let gpus = glance.gpus.values().map(|gpu| {
        let reading = |metric: Metric| (metric.field(), gpu.measured.get(metric).map(Value::from));
        known(
            json!({"index": gpu.index, "name": gpu.name, "condition": gpu.condition}),
            [
                reading(Metric::UtilizationPercent),
                reading(Metric::MemoryUsedBytes),
                reading(Metric::MemoryTotalBytes),
                reading(Metric::TemperatureCelsius),
            ],
        )
    });
    known(
        json!({
            "text": text(glance),
            "state": Mood::of(glance).word(),
            "waiting": glance.waiting,
            "jobs": jobs,
            "failed": failed.collect::<Vec<_>>(),
            "gpus": gpus.collect::<Vec<_>>(),
        }),
        [
            field("percent", mean_percent(glance).map(tenths)),
            field("eta_seconds", last_end(glance).map(whole)),
        ],
    )
}

fn job(id: u64, job: &GlanceJob) -> Value {
    let usage = job.usage.as_ref().map(|usage| &usage.measured);
    let reading = |metric: Metric| {
        let value = usage.and_then(|it| it.get(metric));
        (metric.field(), value.map(Value::from))
    };
    known(
        json!({"id": id, "name": job.name, "state": job.state}),
        [
            field("percent", known_percent(&job.progress).map(tenths)),
            field("eta_seconds", job.progress.eta_seconds.map(whole)),
            reading(Metric::GpuPercent),
            reading(Metric::GpuMemoryBytes),
            reading(Metric::CpuPercent),
            reading(Metric::MemoryBytes),
        ],
    )
}

type Field = (String, Option<Value>);

fn field(name: &str, value: Option<impl Into<Value>>) -> Field {
    (name.to_owned(), value.map(Into::into))
}

/// An object with those of these fields that are known.
fn known<const N: usize>(mut object: Value, fields: [Field; N]) -> Value {
    let known = fields.into_iter();
    let known = known.filter_map(|(name, value)| Some((name, value?)));
    if let Some(object) = object.as_object_mut() {
        object.extend(known);
    }
    object
}

/// The line itself: what runs and how far it is, what waits, what failed, how busy the GPUs are.
fn text(glance: &Glance) -> String {
    let mut parts = counts(glance);
    if let Some(percent) = busy_gpus(glance) {
        parts.push(format!("GPU {percent:.0}%"));
    }
    parts.join("  ")
}

/// The same without GPUs; one part at least.
fn counts(glance: &Glance) -> Vec<String> {
    if glance.is_away {
        return vec!["stoked is away".to_owned()];
    }
    let mut parts = Vec::new();
    if !glance.jobs.is_empty() {
        parts.push(running(glance));
    }
    if glance.waiting > 0 {
        parts.push(format!("{} {}", style::state("queued").0, glance.waiting));
    }
    if !glance.failed.is_empty() {
        parts.push(format!(
            "{} {}",
            style::state("failed").0,
            glance.failed.len()
        ));
    }
    if parts.is_empty() {
        parts.push("idle".to_owned());
    }
    parts
}

/// One job by its name, more by their number.
fn running(glance: &Glance) -> String {
    let all_are_paused = glance.jobs.values().all(|job| job.state == "paused");
    let state = if all_are_paused { "paused" } else { "running" };
    let mut jobs = glance.jobs.values();
    let who = match (jobs.next(), jobs.next()) {
        (Some(job), None) => cut(&harmless(&job.name), LONGEST_NAME).into_owned(),
        _ => glance.jobs.len().to_string(),
    };
    let mut words = vec![format!("{} {who}", style::state(state).0)];
    words.extend(mean_percent(glance).map(|it| format!("{}%", whole(it))));
    words.extend(last_end(glance).map(rough));
    words.join(" · ")
}

/// How far the jobs are of which that is known, in the mean.
fn mean_percent(glance: &Glance) -> Option<f64> {
    let jobs = glance.jobs.values();
    mean(jobs.filter_map(|job| known_percent(&job.progress)))
}

/// When all are done, as far as each says when it is; nothing where one does not.
fn last_end(glance: &Glance) -> Option<f64> {
    let left = glance.jobs.values().map(|job| job.progress.eta_seconds);
    let left: Option<Vec<f64>> = left.collect();
    left?.into_iter().reduce(f64::max)
}

/// How busy the GPUs are while jobs run, those of all jobs and others, in the mean.
fn busy_gpus(glance: &Glance) -> Option<f64> {
    let is_whole = |gpu: &&GpuView| gpu.part_of.is_none();
    let gpus = glance.gpus.values().filter(is_whole);
    let busy = gpus.filter_map(|gpu| gpu.measured.get(Metric::UtilizationPercent));
    mean(busy).filter(|_| !glance.jobs.is_empty() && !glance.is_away)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and nothing here is negative"
)]
fn whole(value: f64) -> u64 {
    value.floor() as u64
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Text in which nothing is markup.
fn pango(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

/// Text in which polybar finds none of its tags, `%{…}`, for which it has no escape.
fn without_tags(text: &str) -> String {
    text.replace("%{", "% {")
}

#[cfg(test)]
mod tests;
