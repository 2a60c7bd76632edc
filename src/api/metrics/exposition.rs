//! The text that scrapers read: OpenMetrics 1.0 (openmetrics.io), or the older text format of Prometheus (0.0.4) for
//! those that do not ask for it. They differ in how counters are announced, in units, and in the end.

use crate::model::metric::{Definition, Metric, Motion, Unit};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus 0.0.4.
    Prometheus,
}

impl Dialect {
    /// What somebody who accepts this is answered in.
    pub(super) fn accepted(header: &str) -> Self {
        if header.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Names and values that tell samples of one family apart.
pub(super) type Labels<'a> = [(&'static str, &'a str)];

/// What a family of samples is.
#[derive(Debug)]
struct Family {
    help: String,
    unit: Option<&'static str>,
    motion: Motion,
    samples: Vec<(String, f64)>,
}

/// Everything that is exposed, by name.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Adds a sample of a family that is not one of what is measured.
    pub(super) fn add(
        &mut self,
        (name, motion, help): (&str, Motion, &str),
        labels: &Labels<'_>,
        value: f64,
    ) {
        self.family(name, None, motion, help)
            .push((text(labels), value));
    }

    /// Adds what was measured of a thing of a class (`host`, `gpu`, `job`).
    pub(super) fn measured(
        &mut self,
        class: &str,
        metric: Metric,
        labels: &Labels<'_>,
        value: f64,
    ) {
        let definition = metric.definition();
        let Some((name, unit, scale)) = exposed(definition) else {
            return;
        };
        let name = format!("stoked_{}", joined(class, &name));
        let value = definition.rounded(value) * scale;
        self.family(&name, unit, definition.motion, definition.help.trim())
            .push((text(labels), value));
    }

    fn family(
        &mut self,
        name: &str,
        unit: Option<&'static str>,
        motion: Motion,
        help: &str,
    ) -> &mut Vec<(String, f64)> {
        let family = self
            .families
            .entry(name.to_owned())
            .or_insert_with(|| Family {
                help: help.to_owned(),
                unit,
                motion,
                samples: Vec::new(),
            });
        &mut family.samples
    }

    /// The text.
    pub(super) fn render(&self, dialect: Dialect) -> String {
        let mut out = String::new();
        for (name, family) in &self.families {
            let (suffix, kind) = match family.motion {
                Motion::Counter => ("_total", "counter"),
                Motion::Gauge => ("", "gauge"),
            };
            let announced = match dialect {
                Dialect::OpenMetrics => name.clone(),
                Dialect::Prometheus => format!("{name}{suffix}"),
            };
            // Writing to a String cannot fail, here and below.
            let _written = writeln!(out, "# HELP {announced} {}.", escaped(&family.help));
            let _written = writeln!(out, "# TYPE {announced} {kind}");
            if let Some(unit) = family.unit.filter(|_| dialect == Dialect::OpenMetrics) {
                let _written = writeln!(out, "# UNIT {announced} {unit}");
            }
            for (labels, value) in &family.samples {
                let _written = writeln!(out, "{name}{suffix}{labels} {value}");
            }
        }
        if dialect == Dialect::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

/// The name of a metric behind that of what it is of; a word in which one ends and the other begins stands once.
fn joined(class: &str, name: &str) -> String {
    let last = class.rsplit('_').next().unwrap_or(class);
    match name.strip_prefix(last) {
        Some(rest) if rest.starts_with('_') => format!("{class}{rest}"),
        Some(_) | None => format!("{class}_{name}"),
    }
}

/// What a metric is called for scrapers, its unit, and what its values are multiplied with: they want base units, and
/// counters instead of rates. `None` where a counter says the same.
fn exposed(definition: &Definition) -> Option<(String, Option<&'static str>, f64)> {
    let plain = definition.name.replace('.', "_");
    let with = |from: &str, to: &str| {
        let stem = plain.strip_suffix(from).unwrap_or(&plain);
        format!("{stem}{to}")
    };
    Some(match definition.unit {
        Unit::Percent => (with("percent", "ratio"), Some("ratio"), 0.01),
        Unit::Milliseconds => (with("milliseconds", "seconds"), Some("seconds"), 0.001),
        Unit::Megahertz => (with("megahertz", "hertz"), Some("hertz"), 1e6),
        Unit::BytesPerSecond | Unit::PerSecond => {
            let counter = plain.strip_suffix("_per_second").unwrap_or(&plain);
            let is_told = |metric: &&Metric| {
                let other = metric.definition();
                other.motion == Motion::Counter && other.name.replace('.', "_") == counter
            };
            if Metric::ALL.iter().any(|metric| is_told(&metric)) {
                return None;
            }
            (plain, None, 1.0)
        }
        Unit::Count => (with("_count", ""), None, 1.0),
        Unit::Flag => (plain, None, 1.0),
        Unit::Bytes | Unit::Seconds | Unit::Watts | Unit::Joules | Unit::Celsius => {
            (plain, Some(definition.unit.as_str()), 1.0)
        }
    })
}

fn text(labels: &Labels<'_>) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let labels = labels.iter();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", labels.join(","))
}

/// As both formats ask for it, in labels and in words.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_announce_counters_in_their_way() {
        let mut exposition = Exposition::default();
        let labels: &Labels<'_> = &[("job", "1"), ("name", "a\"b\\\n")];
        exposition.measured("job", Metric::CpuSeconds, labels, 1.5);
        exposition.measured("job", Metric::CpuPercent, labels, 150.0);
        exposition.measured("job", Metric::IoReadBytesPerSecond, labels, 7.0);
        let open = exposition.render(Dialect::OpenMetrics);
        let wanted = [
            "# HELP stoked_job_cpu_ratio CPU time used, of a host as a share of all its cores, of a job 100 for each whole core.",
            "# TYPE stoked_job_cpu_ratio gauge",
            "# UNIT stoked_job_cpu_ratio ratio",
            "stoked_job_cpu_ratio{job=\"1\",name=\"a\\\"b\\\\\\n\"} 1.5",
            "# HELP stoked_job_cpu_seconds CPU time used since the beginning.",
            "# TYPE stoked_job_cpu_seconds counter",
            "# UNIT stoked_job_cpu_seconds seconds",
            "stoked_job_cpu_seconds_total{job=\"1\",name=\"a\\\"b\\\\\\n\"} 1.5",
            "# EOF",
        ];
        assert_eq!(open.lines().collect::<Vec<_>>(), wanted);
        let older = exposition.render(Dialect::Prometheus);
        assert!(older.contains("# TYPE stoked_job_cpu_seconds_total counter\n"));
        assert!(!older.contains("UNIT") && !older.contains("EOF"));
    }

    #[test]
    fn no_word_is_doubled_where_names_are_joined() {
        let pairs = [
            ("host_network", "network_receive_bytes"),
            ("job_gpu", "gpu_seconds"),
            ("job_gpu", "memory_bytes"),
            ("gpu", "gpus"),
        ];
        let joined = pairs.map(|(class, name)| joined(class, name));
        let wanted = [
            "host_network_receive_bytes",
            "job_gpu_seconds",
            "job_gpu_memory_bytes",
            "gpu_gpus",
        ];
        assert_eq!(joined, wanted);
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_or_a_counter_that_says_it() {
        let mut names = std::collections::BTreeSet::new();
        for metric in Metric::ALL {
            if let Some((name, ..)) = exposed(metric.definition()) {
                assert!(names.insert(name.clone()), "{name} is there twice");
                for end in ["_count", "_sum", "_bucket", "_total", "percent"] {
                    assert!(!name.ends_with(end), "{name}");
                }
            }
        }
    }
}
