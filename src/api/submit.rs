//! From what clients send to what the engine takes: every field checked, every error with its field.

mod limits;

use crate::api::call::harmless;
use crate::api::problem::{Failure, invalid, nearest};
use crate::auth::Subject;
use crate::control::command::{Dependency, Draft, Edit};
use crate::model::change::Environment;
use crate::model::failure::FailureClass;
use crate::model::id::{EnvId, JobId};
use crate::model::retry::RetryPolicy;
use crate::model::spec::{JobSpec, LAST_PRIORITY, StopPolicy};
use crate::model::state::HeldFor;
use crate::wire::request::{JobEdit, JobSubmit, RetrySubmit};
use crate::wire::values::JobRef;
use limits::limit_changes;
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

const MAX_NAME_CHARS: usize = 128;
const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY_CHARS: usize = 64;
const MAX_LABEL_VALUE_CHARS: usize = 256;
const MAX_PATH_BYTES: usize = 4_096;
const MAX_ATTEMPTS: u32 = 10_000;

/// Where in the request a value stands: `jobs[3].` or nothing.
#[derive(Clone, Copy)]
pub(super) struct Place<'a>(pub(super) &'a str);

impl Place<'_> {
    fn wrong(self, field: impl Display, why: impl Display) -> Failure {
        invalid(format!("{}{field}", self.0), why)
    }
}

/// A draft, and the environment it names.
pub(super) struct Checked {
    pub(super) draft: Draft,
    pub(super) environment: Option<Environment>,
}

/// Checks one job and fills in what was left out.
pub(super) fn check(
    job: JobSubmit,
    subject: &Subject,
    stop: StopPolicy,
    at: Place<'_>,
) -> Result<Checked, Failure> {
    command(&job.command, at)?;
    let home = || subject.home.as_deref().unwrap_or("/").to_owned();
    let cwd = job.cwd.unwrap_or_else(home);
    directory(&cwd, at)?;
    let mut spec = JobSpec::new(job.command, cwd);
    if let Some(name) = job.name {
        job_name(&name, at)?;
        spec.name = name;
    }
    if let Some(group) = job.group {
        group_name(&group, at)?;
        spec.group = group;
    }
    spec.kind = checked_word(job.kind, "kind", at)?;
    if let Some(flow) = &job.flow {
        segment(flow, "flow", at)?;
    }
    spec.flow = job.flow;
    labels(&job.labels, at)?;
    spec.labels = job.labels;
    if let Some(urgency) = job.priority {
        spec.priority = priority(urgency, at)?;
    }
    spec.not_before_ms = job.not_before.map(|time| time.as_millisecond());
    if let Some(timeout) = job.timeout {
        spec.timeout_ms = Some(positive(timeout.ms, "timeout", at)?);
    }
    spec.stop = stop;
    if let Some(name) = &job.stop_signal {
        spec.stop.signal = signal(name).map_err(|why| at.wrong("stop_signal", why))?;
    }
    if let Some(grace) = job.grace {
        spec.stop.grace_ms = grace.ms;
    }
    if let Some(policy) = job.retry {
        spec.retry = retry(policy, at)?;
    }
    spec.stdin = checked_path(job.stdin, "stdin", at)?;
    spec.progress_file = checked_path(job.progress_file, "progress_file", at)?;
    spec.tty = job.tty;
    spec.journal = job.journal;
    if job.umask.is_some_and(|mask| mask > 0o777) {
        return Err(at.wrong("umask", "a file creation mask is at most 511 (octal 777)"));
    }
    spec.umask = job.umask;
    if let Some(limit) = job.log_limit_bytes {
        spec.log_limit_bytes = Some(positive(limit, "log_limit_bytes", at)?);
    }
    if let Some(limits) = job.limits {
        spec.limits = limits::limits(limits, at)?;
    }
    if let Some(environment) = &job.env {
        names(environment, at)?;
        spec.env = Some(environment_id(environment));
    }
    let held = match (job.hold, job.needs_approval) {
        (true, true) => {
            return Err(at.wrong(
                "hold",
                "a job waits for its owner or for an approval, not for both",
            ));
        }
        (true, false) => Some(HeldFor::Owner),
        (false, true) => Some(HeldFor::Approval),
        (false, false) => None,
    };
    let after_ok = job.after_ok.into_iter().map(dependency).collect();
    Ok(Checked {
        draft: Draft {
            spec,
            held,
            after_ok,
        },
        environment: job.env,
    })
}

/// Checks what shall change in a waiting job.
pub(super) fn check_edit(edit: JobEdit) -> Result<Edit, Failure> {
    let at = Place("");
    if edit == JobEdit::default() {
        return Err(invalid("body", "it names nothing to change"));
    }
    if let Some(argv) = &edit.command {
        command(argv, at)?;
    }
    if let Some(name) = &edit.name {
        job_name(name, at)?;
    }
    if let Some(group) = &edit.group {
        group_name(group, at)?;
    }
    if let Some(cwd) = &edit.cwd {
        directory(cwd, at)?;
    }
    labels(&edit.labels, at)?;
    let kind = edit
        .kind
        .map(|kind| Some(kind).filter(|kind| !kind.is_empty()));
    if let Some(Some(kind)) = &kind {
        word(kind, "kind", MAX_NAME_CHARS, at)?;
    }
    Ok(Edit {
        command: edit.command,
        name: edit.name,
        kind,
        group: edit.group,
        cwd: edit.cwd,
        priority: edit
            .priority
            .map(|urgency| priority(urgency, at))
            .transpose()?,
        not_before_ms: edit.not_before.as_deref().map(not_before).transpose()?,
        timeout_ms: edit.timeout.map(|span| Some(span.ms).filter(|ms| *ms > 0)),
        grace_ms: edit.grace.map(|span| span.ms),
        labels: edit.labels,
        retry: edit.retry.map(|policy| retry(policy, at)).transpose()?,
        limits: limit_changes(edit.limits.unwrap_or_default(), at)?,
    })
}

/// Number of the signal that somebody names: `TERM`, `SIGTERM`, `15`.
pub(super) fn signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            1..=64 => Ok(number),
            _ => Err(format!("{number} is not a signal: they go from 1 to 64")),
        };
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    match Signal::from_str(&format!("SIG{short}")) {
        Ok(signal) => Ok(signal as i32),
        Err(_) => {
            let known = Signal::iterator().filter_map(|signal| signal.as_str().strip_prefix("SIG"));
            let near = nearest(short, known).unwrap_or("TERM, INT, HUP, USR1 or a number");
            Err(format!(
                "\"{}\" is not a signal; there is {near}",
                harmless(text)
            ))
        }
    }
}

/// Identity of an environment: the hash of its content.
///
/// Names hold neither `=` nor NUL and values no NUL, so two environments never give the same bytes.
pub(super) fn environment_id(environment: &Environment) -> EnvId {
    let mut hash = Sha256::new();
    for (name, value) in environment {
        for part in [name.as_bytes(), b"=", value.as_bytes(), b"\0"] {
            hash.update(part);
        }
    }
    EnvId(hex(&hash.finalize()))
}

/// Tells requests apart that came with the same key.
pub(super) fn fingerprint(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks the name of a group; it stands in channels and paths.
pub(super) fn group_name(name: &str, at: Place<'_>) -> Result<(), Failure> {
    segment(name, "group", at)
}

/// Checks a name that stands between slashes.
fn segment(name: &str, field: &str, at: Place<'_>) -> Result<(), Failure> {
    if name.contains('/') {
        return Err(at.wrong(field, format_args!("the name of a {field} has no slash")));
    }
    word(name, field, MAX_NAME_CHARS, at)
}

/// Checks the name of a job, by which people mean it: what reads as a number, a range, a list or `@` means others.
fn job_name(name: &str, at: Place<'_>) -> Result<(), Failure> {
    word(name, "name", MAX_NAME_CHARS, at)?;
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_range = name.split_once('-').is_some_and(|(from, to)| {
        !from.is_empty() && !to.is_empty() && is_digits(from) && is_digits(to)
    });
    if is_digits(name) || is_range {
        return Err(at.wrong(
            "name",
            "it reads as the number of a job: put a letter in it",
        ));
    }
    if name.starts_with('@') || name.contains(',') {
        return Err(at.wrong(
            "name",
            "@ at its beginning and commas have a meaning of their own where jobs are named",
        ));
    }
    Ok(())
}

fn command(argv: &[String], at: Place<'_>) -> Result<(), Failure> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(at.wrong("command", "it names no program"));
    }
    match argv.iter().position(|argument| argument.contains('\0')) {
        Some(index) => Err(at.wrong(
            format_args!("command[{index}]"),
            "an argument cannot hold a NUL byte",
        )),
        None => Ok(()),
    }
}

fn directory(cwd: &str, at: Place<'_>) -> Result<(), Failure> {
    path(cwd, "cwd", at)?;
    if cwd.starts_with('/') {
        Ok(())
    } else {
        Err(at.wrong(
            "cwd",
            "it must be absolute: the daemon does not know where you are",
        ))
    }
}

fn path(path: &str, field: &str, at: Place<'_>) -> Result<(), Failure> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES || path.contains('\0') {
        let why = format!("a path has 1 to {MAX_PATH_BYTES} bytes and no NUL");
        return Err(at.wrong(field, why));
    }
    Ok(())
}

fn checked_path(
    file: Option<String>,
    field: &str,
    at: Place<'_>,
) -> Result<Option<String>, Failure> {
    if let Some(file) = &file {
        path(file, field, at)?;
    }
    Ok(file)
}

fn checked_word(
    text: Option<String>,
    field: &str,
    at: Place<'_>,
) -> Result<Option<String>, Failure> {
    if let Some(text) = &text {
        word(text, field, MAX_NAME_CHARS, at)?;
    }
    Ok(text)
}

/// A name that is shown in tables and on terminals: nothing in it may move a cursor or turn text around.
fn word(text: &str, field: &str, most: usize, at: Place<'_>) -> Result<(), Failure> {
    if text.trim().is_empty() {
        return Err(at.wrong(field, "it is empty"));
    }
    shown(text, field, most, at)
}

fn shown(text: &str, field: impl Display, most: usize, at: Place<'_>) -> Result<(), Failure> {
    if text.chars().count() > most {
        return Err(at.wrong(field, format_args!("it is longer than {most} characters")));
    }
    let turns = |c: char| matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match text.chars().find(|c| c.is_control() || turns(*c)) {
        Some(bad) => {
            let code = u32::from(bad);
            Err(at.wrong(
                field,
                format_args!("it holds the invisible character U+{code:04X}"),
            ))
        }
        None => Ok(()),
    }
}

fn labels(labels: &BTreeMap<String, String>, at: Place<'_>) -> Result<(), Failure> {
    if labels.len() > MAX_LABELS {
        return Err(at.wrong("labels", format_args!("there are more than {MAX_LABELS}")));
    }
    for (key, value) in labels {
        if key.contains('=') || key.contains(',') {
            return Err(at.wrong("labels", "a key holds neither = nor a comma"));
        }
        word(key, "labels", MAX_LABEL_KEY_CHARS, at)?;
        shown(
            value,
            format_args!("labels.{key}"),
            MAX_LABEL_VALUE_CHARS,
            at,
        )?;
    }
    Ok(())
}

fn names(environment: &Environment, at: Place<'_>) -> Result<(), Failure> {
    for (name, value) in environment {
        if name.is_empty() || name.contains(['=', '\0']) {
            let why = format!("\"{}\" is not the name of a variable", harmless(name));
            return Err(at.wrong("env", why));
        }
        if value.contains('\0') {
            return Err(at.wrong(
                format_args!("env.{}", harmless(name)),
                "a value cannot hold a NUL byte",
            ));
        }
    }
    Ok(())
}

fn priority(urgency: u8, at: Place<'_>) -> Result<u8, Failure> {
    if urgency <= LAST_PRIORITY {
        return Ok(urgency);
    }
    let why = format!("priorities go from 0, the most urgent, to {LAST_PRIORITY}");
    Err(at.wrong("priority", why))
}

fn positive(value: u64, field: &str, at: Place<'_>) -> Result<u64, Failure> {
    if value == 0 {
        return Err(at.wrong(field, "it must be more than 0; leave it out for none"));
    }
    Ok(value)
}

fn retry(policy: RetrySubmit, at: Place<'_>) -> Result<RetryPolicy, Failure> {
    if !(1..=MAX_ATTEMPTS).contains(&policy.attempts) {
        let why = format!("1 (no retry) to {MAX_ATTEMPTS}: it counts the first attempt too");
        return Err(at.wrong("retry.attempts", why));
    }
    let class = |(index, name): (usize, &String)| {
        let found = FailureClass::ALL
            .into_iter()
            .find(|class| class.as_str() == name);
        found.ok_or_else(|| {
            let known = FailureClass::ALL.map(FailureClass::as_str);
            let near = nearest(name, known).map_or_else(|| known.join(", "), str::to_owned);
            let why = format!(
                "\"{}\" is not a failure class; there is {near}",
                harmless(name)
            );
            at.wrong(format_args!("retry.on[{index}]"), why)
        })
    };
    let default = RetryPolicy::default();
    let classes = match &policy.on {
        Some(names) => names
            .iter()
            .enumerate()
            .map(class)
            .collect::<Result<_, _>>()?,
        None => default.classes,
    };
    if let Some(code) = policy
        .exit_codes
        .iter()
        .find(|code| !(1..=255).contains(*code))
    {
        return Err(at.wrong(
            "retry.exit_codes",
            format_args!("{code} is not a failure: they go from 1 to 255"),
        ));
    }
    let backoff_ms = policy.backoff.map_or(default.backoff_ms, |span| span.ms);
    let cap_ms = policy
        .backoff_cap
        .map_or(default.backoff_cap_ms, |span| span.ms);
    Ok(RetryPolicy {
        max_attempts: policy.attempts,
        backoff_ms,
        backoff_cap_ms: cap_ms.max(backoff_ms),
        classes,
        exit_codes: policy.exit_codes,
    })
}

fn not_before(text: &str) -> Result<Option<i64>, Failure> {
    if text == "now" {
        return Ok(None);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(Some(time.as_millisecond())),
        Err(_) => Err(invalid(
            "not_before",
            "write now, or a time as in 2026-11-22T17:00:00Z",
        )),
    }
}

fn dependency(reference: JobRef) -> Dependency {
    match reference {
        JobRef::Id(id) => Dependency::Id(JobId(id)),
        JobRef::Name(name) => Dependency::Name(name),
    }
}

#[cfg(test)]
mod tests;
