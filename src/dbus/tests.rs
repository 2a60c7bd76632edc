//! What is told fits what is said of it in the shipped description of the interfaces.

use super::values::{Overview, Told, of_job, of_overview};
use super::*;
use crate::dbus::coalesce::Values;
use std::path::Path;

/// The part of the shipped description that is about one interface.
fn interface(name: &str) -> String {
    let path = "packaging/dbus-1/interfaces/io.stoked.Stoked1.xml";
    let shipped =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let start = format!("<interface name=\"{NAME}.{name}\">");
    let (_, rest) = shipped.split_once(&start).unwrap();
    rest.split_once("</interface>").unwrap().0.to_owned()
}

fn signature(told: &Told) -> &'static str {
    match told {
        Told::Text(_) => "s",
        Told::Flag(_) => "b",
        Told::Signed(_) => "i",
        Told::Number(_) => "u",
        Told::Large(_) => "t",
        Told::Real(_) => "d",
        Told::Paths(_) => "ao",
    }
}

fn are_properties(values: &Values<Told>, of: &str) {
    let described = interface(of);
    for (name, told) in values {
        let signature = signature(told);
        let property = format!("<property name=\"{name}\" type=\"{signature}\" access=\"read\"");
        assert!(described.contains(&property), "{of}: {property}");
    }
}

#[test]
fn what_is_known_of_all_jobs_is_properties() {
    let values = of_overview(&Overview::default());
    assert_eq!(values.len(), 8, "{values:?}");
    are_properties(&values, "Manager");
}

#[test]
fn what_is_told_of_a_job_is_properties_and_has_no_name() {
    let job = serde_json::json!({
        "id": 42, "name": "secret", "group": "default", "owner": {"uid": 1000, "user": "alice"},
        "state": "running", "priority": 5, "created_at": "2026-01-01T00:00:00Z", "attempt": 2,
        "command": ["secret"], "progress": {"percent": 33.4, "eta_seconds": 60.0},
    });
    let job = serde_json::from_value(job).unwrap();
    let values = of_job(&job, None, 1_000_000);
    are_properties(&values, "Job");
    assert_eq!(values["Progress"], Told::Real(33.5));
    assert_eq!(values["ExpectedEndUSec"], Told::Large(61_000_000));
    assert_eq!(values["ExitCode"], Told::Signed(-1));
    assert!(!format!("{values:?}").contains("secret"));
}

#[test]
fn a_job_without_progress_says_so() {
    let job = serde_json::json!({
        "id": 42, "name": "a", "group": "default", "owner": {"uid": 1000, "user": "alice"},
        "state": "completed", "priority": 5, "created_at": "2026-01-01T00:00:00Z",
        "exit": {"code": 0},
    });
    let values = of_job(&serde_json::from_value(job).unwrap(), Some(5), 10);
    assert_eq!(values["ProgressValid"], Told::Flag(false));
    assert_eq!(values["ExpectedEndUSec"], Told::Large(0));
    assert_eq!(values["ExitCode"], Told::Signed(0));
}
