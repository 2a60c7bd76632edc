//! What the keys must hold together: each may be right alone, and wrong with the others.

use crate::config::{Place, Problem, SamplingSettings, Settings};
use crate::model::group::is_name;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Name of the socket in the runtime directory.
const SOCKET_NAME: &str = "/stoked.sock";

/// Longest path that the kernel takes for a Unix socket, without its final zero.
const LONGEST_SOCKET_PATH_BYTES: usize = 107;

/// Less than this is not even one error message.
const LEAST_LOG_BYTES: u64 = 4 << 10;

/// Less than this makes a host busy with saying that it is alive.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(1);

/// The runtime has twice as many threads for work that blocks.
const MOST_READS: u32 = 16;

/// What a head may have: the buffer it is read into has an end.
const HEAD_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=64 << 10;

/// More looks than this at the files of a job would be felt.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// How often things may be sampled: more would be felt, less would not be a curve.
const SAMPLED_EVERY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// Keys that must go with another one.
const OTHERS: [(&str, &str); 5] = [
    ("retention.delete_archived_after", "retention.archive_after"),
    ("api.max_connections_per_uid", "api.max_connections"),
    ("api.max_reads_per_uid", "api.max_reads"),
    ("api.max_bodies_per_uid", "api.max_body"),
    ("events.ring", "events.keep"),
];

/// Everything that is wrong, each at the place its key has its value from.
pub(super) fn validate(settings: &Settings, places: &BTreeMap<String, Place>) -> Vec<Problem> {
    let checks = [
        ("daemon.log", logged(&settings.daemon.log)),
        ("daemon.runtime_dir", runtime_dir(settings)),
        ("daemon.state_dir", absolute(&settings.daemon.state_dir)),
        ("jobs.pam", service(&settings.jobs.pam)),
        ("jobs.stop_signal", stop_signal(settings.jobs.stop_signal)),
        ("jobs.log_limit", log_limit(settings.jobs.log_limit_bytes)),
        ("api.max_connections_per_uid", connections(settings)),
        ("api.max_reads", reads(settings)),
        ("api.max_reads_per_uid", reads_per_uid(settings)),
        ("api.max_bodies_per_uid", bodies(settings)),
        ("api.max_head", head(settings)),
        (
            "api.body_timeout",
            some_time(settings.api.body_timeout, "1min"),
        ),
        (
            "api.idle_timeout",
            some_time(settings.api.idle_timeout, "1min"),
        ),
        (
            "api.write_stall",
            some_time(settings.api.write_stall, "10s"),
        ),
        ("api.bookmark", bookmark(settings.api.bookmark)),
        ("api.heartbeat", heartbeat(settings.api.heartbeat)),
        (
            "api.header_timeout",
            header_timeout(settings.api.header_timeout),
        ),
        ("events.ring", ring(settings)),
        ("retention.delete_archived_after", deletion(settings)),
        (
            "progress.open_files_interval",
            interval(settings.progress.open_files_interval),
        ),
    ];
    let cadences = cadences(&settings.sampling);
    let mut problems = Vec::new();
    for (key, found) in checks.into_iter().chain(cadences) {
        let Some(what) = found else { continue };
        // Where a default does not go with what is written, what is written is the place to look.
        let other = OTHERS.iter().find(|(one, _)| *one == key);
        let place = places.get(key).or_else(|| places.get(other?.1));
        problems.push(Problem {
            place: place.cloned(),
            key: key.to_owned(),
            what,
        });
    }
    for name in settings.groups.keys().filter(|name| !is_name(name)) {
        problems.push(Problem {
            place: places.get(&format!("groups.{name}.parallelism")).cloned(),
            key: "groups".to_owned(),
            what: format!(
                "a group needs a name of at most 128 characters, without slashes: write [groups.NAME], not {name:?}"
            ),
        });
    }
    problems
}

fn deletion(settings: &Settings) -> Option<String> {
    let (archived, deleted) = (
        settings.retention.archive_after,
        settings.retention.delete_archived_after,
    );
    (!deleted.is_zero() && deleted < archived).then(|| {
        "what is archived cannot be deleted before it is: make it as long as retention.archive_after, or \"0s\" for never"
            .to_owned()
    })
}

/// How much is logged: a level, and others for subsystems.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn logged(text: &str) -> Option<String> {
    let is_level = |text: &str| LEVELS.iter().any(|it| it.eq_ignore_ascii_case(text));
    let mut parts = text.split(',').map(str::trim);
    let wrong = parts.find(|part| !is_level(part.rsplit_once('=').map_or(*part, |(_, it)| it)))?;
    Some(format!(
        "\"{wrong}\" names no level: write error, warn, info, debug, trace or off, or by subsystem, as in \
         \"info,stoked::store=debug\""
    ))
}

fn absolute(path: &std::path::Path) -> Option<String> {
    (!path.is_absolute()).then(|| {
        format!(
            "\"{}\" is not an absolute path: begin it with /",
            path.display()
        )
    })
}

fn runtime_dir(settings: &Settings) -> Option<String> {
    let path = &settings.daemon.runtime_dir;
    let bytes = path.as_os_str().as_bytes().len() + SOCKET_NAME.len();
    if bytes > LONGEST_SOCKET_PATH_BYTES {
        let spare = LONGEST_SOCKET_PATH_BYTES - SOCKET_NAME.len();
        return Some(format!(
            "\"{}\" is too long for a socket in it: use at most {spare} bytes",
            path.display()
        ));
    }
    absolute(path)
}

/// PAM takes a name for a file below its directory.
fn service(name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (name.starts_with('.') || !name.chars().all(is_plain)).then(|| {
        format!("{name:?} names no service of PAM: write \"stoked\" for the file /etc/pam.d/stoked, or \"\" for none")
    })
}

fn stop_signal(signal: i32) -> Option<String> {
    let uncatchable = [Signal::KILL, Signal::STOP].map(Signal::as_raw);
    uncatchable.contains(&signal).then(|| {
        format!("no program can catch signal {signal}, so none could end in order: use \"TERM\"")
    })
}

fn log_limit(bytes: u64) -> Option<String> {
    (bytes < LEAST_LOG_BYTES)
        .then(|| format!("{bytes} bytes keep nothing worth reading: use \"4KiB\" or more"))
}

fn connections(settings: &Settings) -> Option<String> {
    let (one, all) = (
        settings.api.max_connections_per_uid,
        settings.api.max_connections,
    );
    (one > all).then(|| {
        format!("one user may have {one}, but all together only {all}: lower it, or raise api.max_connections")
    })
}

fn reads(settings: &Settings) -> Option<String> {
    let reads = settings.api.max_reads;
    (reads > MOST_READS).then(|| {
        format!("{reads} reads would take the threads that jobs are supervised with: use at most {MOST_READS}")
    })
}

fn reads_per_uid(settings: &Settings) -> Option<String> {
    let (one, all) = (settings.api.max_reads_per_uid, settings.api.max_reads);
    (one > all).then(|| {
        format!(
            "one user may have {one}, but all together only {all}: lower it, or raise api.max_reads"
        )
    })
}

fn bodies(settings: &Settings) -> Option<String> {
    let (all, one) = (
        settings.api.max_bodies_per_uid_bytes,
        settings.api.max_body_bytes,
    );
    (all < one).then(|| {
        format!("{all} bytes at a time would refuse a request that api.max_body allows: use {one} or more")
    })
}

fn head(settings: &Settings) -> Option<String> {
    let bytes = settings.api.max_head_bytes;
    (!HEAD_BYTES.contains(&bytes)).then(|| {
        "a head takes some room, and stays in memory: use \"1KiB\" to \"64KiB\"".to_owned()
    })
}

fn some_time(time: Duration, usual: &str) -> Option<String> {
    time.is_zero()
        .then(|| format!("no client is that fast: use \"{usual}\""))
}

fn bookmark(time: Duration) -> Option<String> {
    (time < SHORTEST_HEARTBEAT).then(|| "it is too short: use \"1s\" or more".to_owned())
}

fn heartbeat(time: Duration) -> Option<String> {
    (time < SHORTEST_HEARTBEAT).then(|| "it is too short: use \"1s\" or more".to_owned())
}

fn interval(time: Duration) -> Option<String> {
    (time < SHORTEST_INTERVAL)
        .then(|| "looking so often would slow the job down: use \"100ms\" or more".to_owned())
}

/// Everything is sampled between ten times a second and once a minute; who waits longer for a GPU waits in vain.
fn cadences(sampling: &SamplingSettings) -> [(&'static str, Option<String>); 7] {
    let cadence = |time: Duration| {
        let is_right = SAMPLED_EVERY.contains(&time);
        (!is_right).then(|| "use \"100ms\" to \"60s\"".to_owned())
    };
    [
        ("sampling.host_interval", cadence(sampling.host_interval)),
        ("sampling.job_interval", cadence(sampling.job_interval)),
        ("sampling.gpu_interval", cadence(sampling.gpu_interval)),
        (
            "sampling.watched_interval",
            cadence(sampling.watched_interval),
        ),
        ("sampling.idle_interval", cadence(sampling.idle_interval)),
        (
            "sampling.battery_interval",
            cadence(sampling.battery_interval),
        ),
        ("sampling.gpu_timeout", cadence(sampling.gpu_timeout)),
    ]
}

fn header_timeout(time: Duration) -> Option<String> {
    time.is_zero()
        .then(|| "no client is that fast: use \"5s\"".to_owned())
}

fn ring(settings: &Settings) -> Option<String> {
    let (ring, keep) = (u64::from(settings.events.ring), settings.events.keep);
    (ring > keep).then(|| {
        format!("{ring} events in memory, but only {keep} on disk: lower it, or raise events.keep")
    })
}
