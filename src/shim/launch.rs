//! The part of a launch record that the shim itself needs.
//!
//! Command and environment may be megabytes: the shim passes the received line on to the process
//! that becomes the command and never decodes them, so that they do not stay in its memory.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Deserialize;

use crate::wire::shim::{ContainmentSpec, PamSpec, TtySize, UserSpec};

/// A launch record without command and environment.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Launch {
    pub(super) job: u64,
    pub(super) attempt: u32,
    pub(super) dir: PathBuf,
    pub(super) log_dir: PathBuf,
    pub(super) log_limit_bytes: u64,
    #[serde(default)]
    pub(super) tty: Option<TtySize>,
    #[serde(default)]
    pub(super) containment: ContainmentSpec,
    #[serde(default)]
    pub(super) user: Option<UserSpec>,
    #[serde(default)]
    pub(super) token: String,
    #[serde(default)]
    pub(super) meta: serde_json::Value,
    #[serde(default)]
    pub(super) notify: bool,
    #[serde(default)]
    pub(super) journal: Option<String>,
    #[serde(default)]
    pub(super) report_dir: Option<PathBuf>,
    #[serde(default)]
    pub(super) open_files: Option<u64>,
    #[serde(default)]
    pub(super) pam: Option<PamSpec>,
    #[serde(default)]
    pub(super) boot_id: Option<String>,
}

/// Whether a line is a launch frame.
pub(super) fn is_launch(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Type<'a> {
        #[serde(rename = "type", borrow)]
        name: Cow<'a, str>,
    }
    serde_json::from_slice::<Type<'_>>(line).is_ok_and(|frame| frame.name == "launch")
}
