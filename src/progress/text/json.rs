//! Lines that are one JSON object with the fields of a progress file.

use serde_json::{Map, Value};

use crate::model::progress::{Observation, Source};
use crate::progress::file;

use super::Line;
use super::lines::End;

/// Metrics by which a line of progress is known.
const METRICS: &[&str] = &[
    "loss",
    "eval_loss",
    "samples_per_second",
    "gpu_memory_allocated_gb",
    "gpu_utilization_percent",
];

/// What the line says, if it is about progress: many programs log objects.
pub(super) fn read(name: &str, line: Line<'_>) -> Option<Observation> {
    let text = line.text.trim();
    if line.end == End::Open || !text.starts_with('{') || !text.ends_with('}') {
        return None;
    }
    let fields: Map<String, Value> = serde_json::from_str(text).ok()?;
    // Somebody's log has numbers there: those of HTTP, or of an exit.
    let has_status = fields.get("status").is_some_and(Value::is_string);
    let mut seen = file::observation(fields);
    seen.status = seen.status.filter(|_| has_status);
    seen.source = Source::Adapter(name.to_owned());
    let is_progress = seen.has_counts()
        || seen.status.is_some()
        || METRICS.iter().any(|it| seen.metrics.contains_key(*it));
    is_progress.then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Option<Observation> {
        let end = End::Newline;
        read(
            "json",
            Line {
                text,
                end,
                is_clean: true,
            },
        )
    }

    #[test]
    fn objects_about_progress_are_read() {
        let seen = read_text(r#"{"step": 12, "total_steps": 340, "loss": 0.5}"#).unwrap();
        assert_eq!((seen.step, seen.total_steps), (Some(12.0), Some(340.0)));
        assert_eq!(seen.metrics["loss"], 0.5);
        assert_eq!(seen.source, Source::Adapter("json".to_owned()));
        assert_eq!(
            read_text(r#" {"progress": 0.5} "#).unwrap().percent,
            Some(50.0)
        );
        assert!(read_text(r#"{"status": "training"}"#).is_some());
        assert!(read_text(r#"{"eval_loss": 1}"#).is_some());
    }

    #[test]
    fn other_objects_are_not() {
        for text in [
            "{}",
            r#"{"level": "info", "msg": "started", "port": 80}"#,
            r#"{"status": 200, "path": "/"}"#,
            r#"{"step": 12"#,
            r#"x {"step": 12}"#,
            r#"[{"step": 12}]"#,
        ] {
            assert_eq!(read_text(text), None, "{text}");
        }
    }
}
