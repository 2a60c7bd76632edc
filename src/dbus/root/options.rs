//! What calls may be told besides their arguments, and the numbers and paths that they answer with.

use crate::dbus::convert::{Options, to_json};
use crate::dbus::error::Error;
use crate::dbus::values::job_path;
use serde::Deserialize;
use zbus::OwnedObjectPath;

/// What `OpenLog` may be told.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogOptions {
    pub(super) stream: Option<String>,
    pub(super) attempt: Option<u32>,
    pub(super) offset: u64,
}

/// What `Subscribe` may be told.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LeaseOptions {
    pub(super) metrics_ms: Option<u64>,
}

pub(super) fn read<T: for<'de> Deserialize<'de>>(options: &Options) -> Result<T, Error> {
    let options = to_json(options)?;
    T::deserialize(options).map_err(|error| Error::InvalidSpec(format!("the options: {error}")))
}

pub(super) fn path_of(id: u32) -> Result<OwnedObjectPath, Error> {
    Ok(OwnedObjectPath::try_from(job_path(id))?)
}

/// A number of a job as this interface tells it.
pub(super) fn short(id: u64) -> Result<u32, Error> {
    u32::try_from(id).map_err(|_large| {
        Error::NotSupported(format!(
            "job {id} has a number too large for D-Bus; use the socket"
        ))
    })
}
