//! Who may be newer than whom: what the daemon answers may have fields that a client does not know, what it is
//! asked may not.

use crate::api::openapi::document;
use crate::wire::archive::{
    ArchiveFault, ArchiveMonth, ArchiveNow, ArchiveRestore, ArchiveRestored, ArchiveRun,
    ArchiveSamples, ArchiveVerified, ArchiveVerify, ArchiveView,
};
use crate::wire::comparison::{Comparison, PhaseList, PhaseView, Run, RunPoint, RunQuantity};
use crate::wire::error::Problem;
use crate::wire::event::{Bye, EventView, Gap, Hello};
use crate::wire::flow::{FlowCountsView, FlowList, FlowView};
use crate::wire::group::{GroupList, GroupView};
use crate::wire::host::{
    CoreView, CpuView, DiskView, DisksView, FilesystemView, FilesystemsView, GpuList,
    GpuProcessView, GpuView, HostView, NetworkView, NetworksView, OperationsView, ProcessView,
    SensorView, SensorsView, TasksView,
};
use crate::wire::job::{
    AttemptGpu, AttemptGpuUsage, AttemptUsage, AttemptView, ExitView, FailureView, JobList,
    JobView, OwnerView, Submitted,
};
use crate::wire::limits::{LimitsEdit, LimitsSubmit, LimitsView};
use crate::wire::log::LogPiece;
use crate::wire::measured::{Measured, OfMemory};
use crate::wire::message::{GpuFigure, ProgressMessage};
use crate::wire::progress::{
    MetricSpread, ProgressHistory, ProgressPoint, ProgressReport, ProgressView, StepSubmit,
    StepView,
};
use crate::wire::request::{
    GroupPut, JobBatch, JobEdit, JobSubmit, RetrySubmit, SignalRequest, StopRequest,
};
use crate::wire::series::{Series, SeriesData, SeriesInfo, SeriesList, SeriesPoint};
use crate::wire::service::{ComponentView, DrainPut, DrainView, HealthView, VersionView};
use crate::wire::usage::{JobGpuView, OperationView, UsageView};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// As the document calls it.
type MeasuredOfMemory = Measured<OfMemory>;

const SCHEMAS: &str = "#/components/schemas/";
const UNKNOWN: &str = "from_a_later_version";

/// What a type makes of some JSON.
type Read = fn(Value) -> Result<(), serde_json::Error>;

fn read<T: DeserializeOwned>(value: Value) -> Result<(), serde_json::Error> {
    serde_json::from_value::<T>(value).map(drop)
}

macro_rules! readers {
    ($($of:ident)*) => {
        BTreeMap::from([$((stringify!($of), read::<$of> as Read)),*])
    };
}

/// Every type that a client reads, and every type that the daemon does.
fn answers_and_requests() -> [BTreeMap<&'static str, Read>; 2] {
    let answers = readers! {
        ArchiveFault ArchiveMonth ArchiveRestored ArchiveRun ArchiveSamples ArchiveVerified ArchiveView
        AttemptGpu AttemptGpuUsage AttemptUsage AttemptView Bye Comparison ComponentView CoreView CpuView DiskView DisksView DrainView EventView ExitView
        FailureView FilesystemView FilesystemsView FlowCountsView FlowList FlowView Gap GpuFigure GpuList
        GpuProcessView GpuView GroupList GroupView HealthView Hello HostView JobGpuView JobList JobView LimitsView LogPiece
        MeasuredOfMemory MetricSpread NetworkView NetworksView OperationView OperationsView OwnerView PhaseList
        PhaseView Problem ProcessView ProgressHistory ProgressMessage ProgressPoint ProgressView Run RunPoint
        RunQuantity SensorView SensorsView Series SeriesData SeriesInfo SeriesList SeriesPoint StepView Submitted
        TasksView UsageView VersionView
    };
    let requests = readers! {
        ArchiveNow ArchiveRestore ArchiveVerify
        DrainPut GroupPut JobBatch JobEdit JobSubmit LimitsEdit LimitsSubmit ProgressReport RetrySubmit SignalRequest StepSubmit
        StopRequest
    };
    [answers, requests]
}

/// Makes values of the types in the document.
struct Samples {
    schemas: Value,
    /// Whether every object has a field that is in no schema.
    with_unknown: bool,
}

impl Samples {
    fn of_name(&self, name: &str) -> Value {
        self.of(&self.schemas[name])
    }

    fn of(&self, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str() {
            return self.of_name(name.strip_prefix(SCHEMAS).unwrap());
        }
        if let Some(first) = schema["enum"].get(0).or(schema.get("const")) {
            return first.clone();
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema[choice].get(0) {
                return self.of(first);
            }
        }
        let of_type = schema["type"].as_str().or(schema["type"][0].as_str());
        match of_type {
            Some("object") => self.object(schema),
            Some("array") => json!([self.of(&schema["items"])]),
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("string") if schema["format"] == "date-time" => json!("2026-11-22T12:00:00Z"),
            // Also a cursor.
            Some("string") => json!("a:1"),
            _ => json!({}),
        }
    }

    fn object(&self, schema: &Value) -> Value {
        let mut fields = Map::new();
        let Some(known) = schema["properties"].as_object() else {
            let of_values = &schema["additionalProperties"];
            if of_values.is_object() {
                fields.insert("a".to_owned(), self.of(of_values));
            }
            return fields.into();
        };
        for (name, schema) in known {
            fields.insert(name.clone(), self.of(schema));
        }
        if self.with_unknown {
            fields.insert(UNKNOWN.to_owned(), json!({ "a": [1, null] }));
        }
        fields.into()
    }
}

/// The names of the objects that are reached from some part of the document.
fn reached(document: &Value, part: &Value, into: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                let name = name.strip_prefix(SCHEMAS).unwrap();
                let schema = &document["components"]["schemas"][name];
                if schema["type"] != "object" || into.insert(name.to_owned()) {
                    reached(document, schema, into);
                }
            }
            fields.values().for_each(|it| reached(document, it, into));
        }
        Value::Array(items) => items.iter().for_each(|it| reached(document, it, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn names(readers: &BTreeMap<&'static str, Read>) -> BTreeSet<String> {
    readers.keys().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_type_of_the_document_is_looked_at() {
    let document = document();
    let [answers, requests] = answers_and_requests().each_ref().map(names);
    let mut asked = BTreeSet::new();
    let operations = document["paths"].as_object().unwrap().values();
    for operation in operations.flat_map(|path| path.as_object().unwrap().values()) {
        reached(&document, &operation["requestBody"], &mut asked);
    }
    // A body without a field has no name worth knowing.
    asked.remove("NoFields");
    assert_eq!(asked, requests);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let objects = schemas.iter().filter(|(_, it)| it["type"] == "object");
    let all: BTreeSet<String> = objects.map(|(name, _)| name.clone()).collect();
    let told: BTreeSet<String> = all
        .into_iter()
        .filter(|name| !requests.contains(name) && name != "NoFields")
        .collect();
    assert_eq!(told, answers);
}

#[test]
fn answers_may_have_fields_that_are_not_known_yet_and_requests_may_not() {
    let schemas = document()["components"]["schemas"].clone();
    let [plain, later] = [false, true].map(|with_unknown| Samples {
        schemas: schemas.clone(),
        with_unknown,
    });
    let [answers, requests] = answers_and_requests();
    for (name, read) in answers.iter().chain(&requests) {
        let value = plain.of_name(name);
        assert!(value.as_object().is_some_and(|it| !it.is_empty()), "{name}");
        read(value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (name, read) in answers {
        let value = later.of_name(name);
        assert!(value.get(UNKNOWN).is_some(), "{name}");
        read(value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (name, read) in requests {
        let mut value = plain.of_name(name);
        value[UNKNOWN] = json!(1);
        let refused = read(value).expect_err(name).to_string();
        assert!(refused.contains(UNKNOWN), "{name}: {refused}");
    }
}
