//! From settings to what the parts of the daemon take.

use crate::api::limits::Limits;
use crate::auth::{Mode, Policy};
use crate::config::paths::{SYSTEM_STATE_DIR, Surroundings};
use crate::config::{ContainmentChoice, Settings};
use crate::contain::cgroup;
use crate::daemon::archiving::Rules;
use crate::daemon::dirs::Dirs;
use crate::daemon::feeds::Estimating;
use crate::daemon::upkeep::Keeping;
use crate::events::queue::QueueOptions;
use crate::model::access::Quota;
use crate::model::spec::StopPolicy;
use crate::progress::open_files::Scope;
use crate::store::Retention;
use crate::supervise::{Containing, LaunchContext, Naming, Services, Systemd, Whose};
use nix::unistd::{Uid, User};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a service manager may take to show that it is there.
const MANAGER_ANSWERS: Duration = Duration::from_secs(2);

/// The unit of a daemon that was installed.
const OWN_UNIT: &str = "stoked.service";

/// What all launches have in common.
pub(super) fn launch_context(
    settings: &Settings,
    dirs: &Dirs,
    mode: Mode,
    containing: Containing,
    open_files: Option<u64>,
    keeper: PathBuf,
) -> LaunchContext {
    if let Some(why) = unused_pam(settings, mode) {
        tracing::warn!("{why}");
    }
    LaunchContext {
        attempts: dirs.attempts(),
        reports: dirs.reports(),
        logs: dirs.logs(),
        socket: dirs.socket(),
        log_limit_bytes: settings.jobs.log_limit_bytes,
        journal: settings.jobs.journal,
        containing,
        open_files,
        uid: rustix::process::geteuid().as_raw(),
        pam: (mode.is_system() && !settings.jobs.pam.is_empty()).then(|| settings.jobs.pam.clone()),
        keeper,
    }
}

/// Why sessions of PAM are not opened though the configuration asks for them: that takes root, and makes sense where jobs are
/// of several users.
pub(super) fn unused_pam(settings: &Settings, mode: Mode) -> Option<&'static str> {
    (!mode.is_system() && !settings.jobs.pam.is_empty())
        .then_some("jobs.pam counts for the daemon of the host alone: this one opens no sessions")
}

/// The best there is of what the configuration allows.
pub(super) async fn containing(settings: &Settings, dirs: &Dirs, mode: Mode) -> Containing {
    use ContainmentChoice as Choice;
    let choice = settings.jobs.containment;
    // One daemon per state directory, so its name tells daemons of one host apart.
    let instance = instance_name(&dirs.state);
    if choice == Choice::Tree {
        let why = "the configuration says so (jobs.containment)".to_owned();
        return Containing::Tree { why };
    }
    if matches!(choice, Choice::Auto | Choice::Service) {
        match services(dirs, mode, &instance).await {
            Ok(services) => return Containing::Services(services),
            // The sandbox of an installed daemon is none for jobs: they would get it, and neither a user nor a cgroup.
            Err(why) if choice == Choice::Service || is_installed() => {
                return Containing::Nothing { why };
            }
            Err(why) => tracing::debug!(why, "jobs get no units of their own"),
        }
    }
    match cgroup::Base::probe(&instance) {
        Ok(base) => Containing::Cgroup(base),
        Err(why) if choice == Choice::Auto => Containing::Tree { why: why.0 },
        Err(why) => Containing::Nothing { why: why.0 },
    }
}

/// Whether a service manager started this daemon as a unit of its own.
pub(super) fn is_installed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some() && std::env::var_os("INVOCATION_ID").is_some()
}

/// The service manager that goes with the daemon, if there is one.
///
/// # Errors
/// With a sentence, where there is none.
pub(super) fn service_manager(mode: Mode) -> Result<Systemd, String> {
    let whose = match mode {
        Mode::System => Whose::Host,
        Mode::User { .. } => Whose::User,
    };
    let runtime_dir = Surroundings::of_process().xdg_runtime_dir;
    Systemd::find(whose, runtime_dir.as_deref())
}

/// The service manager, if it answers.
async fn services(dirs: &Dirs, mode: Mode, instance: &str) -> Result<Services, String> {
    let manager = service_manager(mode)?;
    let version = tokio::time::timeout(MANAGER_ANSWERS, manager.version()).await;
    let version = version.unwrap_or_else(|_| Err(format!("{} does not answer", manager.name())));
    // One that started this daemon is there, however much else it has to do now: starts try again.
    if let Err(why) = version
        && !is_installed()
    {
        return Err(why);
    }
    let usual_state = match mode {
        Mode::System => Some(SYSTEM_STATE_DIR.into()),
        Mode::User { uid } => usual_state(uid).await,
    };
    let is_usual = usual_state.is_some_and(|usual| usual == dirs.state);
    Ok(Services {
        manager: Arc::new(manager),
        naming: Naming {
            prefix: match is_usual {
                true => "stoked-job".to_owned(),
                false => format!("stoked-{instance}-job"),
            },
            by_user: mode.is_system(),
            after: is_usual.then(|| OWN_UNIT.to_owned()),
        },
    })
}

/// Who may do what.
pub(super) fn policy(settings: &Settings, mode: Mode) -> Policy {
    Policy {
        mode,
        access: settings.access.clone(),
    }
}

/// How many jobs one user may have.
pub(super) fn quota(settings: &Settings) -> Quota {
    let most = settings.access.max_jobs_per_user;
    Quota {
        most: (most > 0).then_some(most),
        root_is_exempt: settings.api.root_is_exempt,
    }
}

/// How progress is estimated that nobody reports.
pub(super) fn estimating(settings: &Settings, dirs: &Dirs) -> Estimating {
    let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Estimating {
        settings: settings.progress.clone(),
        scope: Scope {
            programs: settings.progress.open_files_programs.clone(),
            excluded: vec![real(&dirs.state), real(&dirs.runtime)],
        },
    }
}

/// A short name for a state directory: the FNV-1a hash of its path.
/// Where the daemon of a user keeps its state if nobody says otherwise, in the environment neither.
async fn usual_state(uid: u32) -> Option<PathBuf> {
    let asked = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid)));
    let user = asked.await.ok()?.ok()??;
    Some(user.dir.join(".local/state/stoked"))
}

fn instance_name(state: &Path) -> String {
    let hash = state
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// What is kept and how long, of what is over.
pub(super) fn rules(settings: &Settings) -> Rules {
    let retention = &settings.retention;
    let age_ms = |age: Duration| {
        let is_set = !age.is_zero();
        is_set.then(|| i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    };
    Rules {
        archive_ms: age_ms(retention.archive_after),
        events: settings.events.keep,
        delete_ms: age_ms(retention.delete_archived_after),
        most_bytes: retention.archive_max_bytes,
        logs_ms: age_ms(retention.logs_after),
        delete_logs_ms: age_ms(retention.delete_logs_after),
        most_log_bytes: retention.logs_max_bytes,
    }
}

/// How long what was measured is kept.
pub(super) fn samples_retention(settings: &Settings) -> Retention {
    let retention = &settings.retention;
    let ms = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Retention {
        raw_ms: ms(retention.samples_raw),
        minute_ms: ms(retention.samples_minute),
        hour_ms: ms(retention.samples_hour),
        most_bytes: retention.samples_max_bytes,
    }
}

pub(super) fn keeping_of(settings: &Settings) -> Keeping {
    let age = settings.store.key_age.as_millis();
    let is_archived = !settings.retention.archive_after.is_zero();
    Keeping {
        // What is archived instead is not dropped, however much it is.
        events: (!is_archived).then_some(settings.events.keep),
        keys_ms: i64::try_from(age).unwrap_or(i64::MAX),
    }
}

pub(super) fn stop_policy(settings: &Settings) -> StopPolicy {
    let grace = settings.jobs.default_grace.as_millis();
    StopPolicy {
        signal: settings.jobs.stop_signal,
        grace_ms: u64::try_from(grace).unwrap_or(u64::MAX),
    }
}

/// Shortest time between two events of one job's progress.
pub(super) fn pace_ms(settings: &Settings) -> u64 {
    u64::try_from(settings.progress.interval.as_millis()).unwrap_or(u64::MAX)
}

/// Places of the default group: as configured, else as many as the host has CPUs.
pub(super) fn default_parallelism(settings: &Settings) -> u32 {
    match settings.jobs.default_parallelism {
        0 => std::thread::available_parallelism()
            .ok()
            .and_then(|cpus| u32::try_from(cpus.get()).ok())
            .unwrap_or(1),
        places => places,
    }
}

pub(super) fn limits(settings: &Settings) -> Limits {
    let api = &settings.api;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        connections: count(api.max_connections),
        connections_for_root: count(api.max_connections_for_root.min(api.max_connections / 2)),
        connections_per_uid: count(api.max_connections_per_uid),
        streams_per_uid: count(api.max_streams_per_uid),
        streams_per_job: count(api.max_streams_per_job),
        channels_per_stream: count(api.max_channels_per_stream),
        root_is_exempt: api.root_is_exempt,
        requests_per_second: api.requests_per_second_per_uid,
        request_burst: api.requests_at_once_per_uid,
        submissions_per_second: api.submissions_per_second_per_uid,
        submission_burst: api.submissions_at_once_per_uid,
        reads_at_once: count(api.max_reads),
        reads_per_uid: count(api.max_reads_per_uid),
        body_bytes: size(api.max_body_bytes),
        body_bytes_per_uid: size(api.max_bodies_per_uid_bytes),
        header_bytes: size(api.max_head_bytes),
        jobs_per_request: count(api.max_jobs_per_request),
        header_time: api.header_timeout,
        body_time: api.body_timeout,
        idle_time: api.idle_timeout,
        write_stall: api.write_stall,
        heartbeat: api.heartbeat,
        bookmark: api.bookmark,
        replay_per_second: api.replay_per_second,
        queue: QueueOptions {
            lifecycle: count(api.client_queue),
            channels: count(api.client_channels),
            ..QueueOptions::default()
        },
    }
}
