//! Reads `progress.json`, the file a job may write its progress to.
//!
//! The file is the job's: it may be torn, huge, a pipe or full of nonsense. A field of a wrong type is left
//! out; everything else that is wrong is an error that changes nothing.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::model::progress::{MAX_METRICS, MAX_STEPS, Observation, Source, StepReport, StepState};
use crate::progress::number;

/// The largest file that is read.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Names of numbers that may also be written as text.
const KNOWN_METRICS: &[&str] = &[
    "loss",
    "eval_loss",
    "samples_per_second",
    "gpu_memory_allocated_gb",
    "gpu_utilization_percent",
];

/// Why a progress file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("read progress file {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a pipe, a device or a directory.
    #[error("read progress file {}: not a regular file", path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// It belongs to somebody else than the job.
    #[error("read progress file {}: it belongs to uid {owner_uid}, not to the job's uid {job_uid}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner_uid: u32,
        /// Whose job it is.
        job_uid: u32,
    },
    /// It is too large.
    #[error("read progress file {}: more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It is not JSON, perhaps because it is being written.
    #[error("read progress file {}: not valid JSON", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is JSON, but not an object.
    #[error("read progress file {}: not a JSON object", path.display())]
    NotObject {
        /// Which.
        path: PathBuf,
    },
}

/// Reads the file at `path`; none if there is no such file. Never blocks on a pipe.
pub fn read(path: &Path) -> Result<Option<Observation>, FileError> {
    read_file(path, None)
}

/// Like [`read`], but only a file of the job's own user, so that a daemon with more rights than the
/// job does not read somebody else's file for it.
pub fn read_owned(path: &Path, job_uid: u32) -> Result<Option<Observation>, FileError> {
    read_file(path, Some(job_uid))
}

fn read_file(path: &Path, job_uid: Option<u32>) -> Result<Option<Observation>, FileError> {
    let failed = |source: io::Error| FileError::Read {
        path: path.to_owned(),
        source,
    };
    // Only found at first: opening a device may do something, such as starting a watchdog.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    let metadata = file.metadata().map_err(failed)?;
    let path_of = || path.to_owned();
    if !metadata.is_file() {
        return Err(FileError::NotRegular { path: path_of() });
    }
    if let Some(job_uid) = job_uid.filter(|&uid| uid != metadata.uid()) {
        return Err(FileError::Foreign {
            path: path_of(),
            owner_uid: metadata.uid(),
            job_uid,
        });
    }
    let file = reopen(&file).map_err(failed)?;
    let mut bytes = Vec::new();
    // The length is not asked for: the file may grow while it is read.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(FileError::TooLarge { path: path_of() });
    }
    parse(&bytes, path).map(Some)
}

/// What the content of a progress file says; the path is for the errors.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Observation, FileError> {
    let path_of = || path.to_owned();
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(observation(fields)),
        Ok(_) => Err(FileError::NotObject { path: path_of() }),
        Err(source) => Err(FileError::Invalid {
            path: path_of(),
            source,
        }),
    }
}

/// Opens for reading what was found, and nothing that has taken its name since.
fn reopen(found: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// What the fields say. Any number without a meaning of its own is a metric.
pub(super) fn observation(fields: Map<String, Value>) -> Observation {
    let mut seen = Observation::new(Source::File);
    let mut progress = None;
    let broken = |names: &[&str]| {
        let is_odd = |value: &Value| !value.is_null() && as_number(value).is_none();
        names
            .iter()
            .any(|name| fields.get(*name).is_some_and(is_odd))
    };
    let odd_steps = broken(&["current_step", "step", "total_steps"]);
    let odd_epochs = broken(&["current_epoch", "epoch", "total_epochs"]);
    for (name, value) in fields {
        match name.as_str() {
            "progress" => progress = as_number(&value),
            "percent" => seen.percent = as_number(&value),
            "current_step" | "step" => seen.step = as_number(&value),
            "total_steps" => seen.total_steps = as_number(&value),
            "current_epoch" | "epoch" => seen.epoch = as_number(&value),
            "total_epochs" => seen.total_epochs = as_number(&value),
            "rate" => seen.rate = as_number(&value),
            "eta_seconds" => seen.eta_seconds = as_number(&value),
            "status" => seen.status = as_text(value),
            "error" => seen.error = as_text(value),
            "phase" => seen.phase = as_text(value),
            "message" => seen.message = as_text(value),
            "unit" => seen.unit = as_text(value),
            "steps" => take_steps(&mut seen, value),
            _ => add_metrics(&mut seen, name, value),
        }
    }
    // Half a pair beside what was said before would be something that the job never said.
    if odd_steps {
        (seen.step, seen.total_steps) = (None, None);
    }
    if odd_epochs {
        (seen.epoch, seen.total_epochs) = (None, None);
    }
    if seen.percent.is_none() {
        seen.percent = progress.map(|it| percent_of(it, &seen));
    }
    seen
}

/// `progress` counts from 0 to 1; a larger number can only be meant as percent.
///
/// Exactly 1 means done, unless the steps say that 1 % is nearer the truth.
fn percent_of(progress: f64, seen: &Observation) -> f64 {
    let is_percent = match (seen.step, seen.total_steps) {
        (Some(step), Some(total)) if progress == 1.0 && total > 0.0 => step / total < 0.5,
        _ => progress > 1.0,
    };
    if is_percent {
        progress
    } else {
        progress * 100.0
    }
}

fn add_metrics(seen: &mut Observation, name: String, value: Value) {
    if let Value::Object(inner) = value {
        // `metrics` only groups; other objects lend their name.
        let prefix = if name == "metrics" {
            String::new()
        } else {
            format!("{name}.")
        };
        for (name, value) in inner {
            add_metric(seen, format!("{prefix}{name}"), &value);
        }
        return;
    }
    add_metric(seen, name, &value);
}

fn add_metric(seen: &mut Observation, name: String, value: &Value) {
    let number = if KNOWN_METRICS.contains(&name.as_str()) {
        as_number(value)
    } else {
        value.as_f64()
    };
    let Some(number) = number else { return };
    seen.metrics.insert(name, number);
    if seen.metrics.len() > MAX_METRICS {
        // The first by name, whatever the order in the file: the same ones each time.
        seen.metrics.pop_last();
        seen.metrics_left_out = true;
    }
}

/// A number, also one written as text.
fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => number::measured(text.trim()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn as_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `[{"name": …, "state": …}, …]`; what is no step is left out, and what is more than is kept is counted.
fn take_steps(seen: &mut Observation, value: Value) {
    let Value::Array(steps) = value else { return };
    let mut steps = steps.into_iter().filter_map(step);
    seen.steps = steps.by_ref().take(MAX_STEPS).collect();
    for step in steps {
        seen.more_steps.get_or_insert_default().count(step);
    }
}

/// A bare name, or a step without a state, announces what is still to come.
fn step(value: Value) -> Option<StepReport> {
    let mut fields = match value {
        Value::Object(fields) => fields,
        Value::String(name) => return Some(StepReport::new(name, StepState::Pending)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
    };
    let mut text = |name: &str| fields.remove(name).and_then(as_text);
    let (name, kind, message) = (text("name")?, text("kind"), text("message"));
    let state = text("state").or_else(|| text("status"));
    let percent = fields.get("percent").and_then(as_number);
    let state = match state {
        Some(state) => StepState::from_word(&state)?,
        None if percent.is_some() => StepState::Progress,
        None => StepState::Pending,
    };
    Some(StepReport {
        kind,
        percent,
        weight: fields.get("weight").and_then(as_number),
        message,
        ..StepReport::new(name, state)
    })
}

#[cfg(test)]
mod tests;
