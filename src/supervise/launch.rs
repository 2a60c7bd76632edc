//! The launch record: everything a shim needs, from a job and the daemon's settings.

use crate::model::change::Environment;
use crate::model::group::DEFAULT_GROUP;
use crate::model::id::AttemptId;
use crate::model::job::{Job, Owner};
use crate::model::spec::JobSpec;
use crate::supervise::{Containing, Systemd, Unit};
use crate::wire::shim::{
    Bytes, ContainmentSpec, LaunchRecord, PamSpec, Stdin, TtySize, UserSpec, VERSION,
};
use nix::unistd::{Gid, User};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the daemon gives every shim along, and gets back from its claim: enough to know the job again
/// should the database be lost. No secrets: the environment is not in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// What was asked for.
    pub spec: JobSpec,
    /// Whose it is.
    pub owner: Owner,
    /// When it was submitted, milliseconds since 1970 UTC.
    pub created_ms: i64,
}

/// What the launch of any job needs to know of the daemon.
#[derive(Clone, Debug)]
pub struct LaunchContext {
    /// Directory of the attempts' directories.
    pub attempts: PathBuf,
    /// Directory of the directories in which jobs of other users report: they cannot reach the attempts'.
    pub reports: PathBuf,
    /// Directory of the attempts' logs.
    pub logs: PathBuf,
    /// Path of the API socket, for the job's own use.
    pub socket: PathBuf,
    /// Most output kept per attempt, bytes, unless the job says otherwise.
    pub log_limit_bytes: u64,
    /// Whether the output of every job goes to the journal too.
    pub journal: bool,
    /// What holds processes together.
    pub containing: Containing,
    /// The soft limit of open files that the daemon was started with: jobs get it back.
    pub open_files: Option<u64>,
    /// The daemon's own user: jobs of another one need a switch of identity.
    pub uid: u32,
    /// The service of PAM that opens a session for every attempt; none where it is not asked for.
    pub pam: Option<String>,
    /// The program that asks PAM.
    pub keeper: PathBuf,
}

/// Size of a terminal nobody looks at.
const TTY: TtySize = TtySize { cols: 80, rows: 24 };

impl LaunchContext {
    /// Where the logs of an attempt are.
    #[must_use]
    pub fn log_dir(&self, attempt: AttemptId) -> PathBuf {
        self.logs.join(attempt.to_string())
    }

    /// The file an attempt reports its progress in.
    #[must_use]
    pub fn progress_file(&self, attempt: AttemptId, job: &Job) -> PathBuf {
        let usual = || {
            let dir = self.report_dir(attempt, &job.owner);
            let dir = dir.unwrap_or_else(|| self.attempts.join(attempt.to_string()));
            dir.join("progress.json")
        };
        let named = job.spec.progress_file.as_ref();
        named.map_or_else(usual, |file| Path::new(&job.spec.cwd).join(file))
    }

    /// The directory that an attempt needs for its reports, where it cannot write to its own.
    #[must_use]
    pub fn report_dir(&self, attempt: AttemptId, owner: &Owner) -> Option<PathBuf> {
        (owner.uid != self.uid).then(|| self.reports.join(attempt.to_string()))
    }
}

/// How an attempt is launched.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What its shim needs to know.
    pub record: LaunchRecord,
    /// Who starts the shim, and in which unit; the daemon itself where nobody is named.
    pub service: Option<(Arc<Systemd>, Unit)>,
}

/// How the present attempt of `job` is launched; `token` is unguessable and marks its processes.
#[must_use]
pub fn launch(
    context: &LaunchContext,
    job: &Job,
    attempt: AttemptId,
    environment: &Environment,
    token: String,
) -> Launch {
    let service = match &context.containing {
        Containing::Services(services) => {
            let unit = services.naming.unit(job, attempt);
            Some((Arc::clone(&services.manager), unit))
        }
        Containing::Cgroup(_) | Containing::Tree { .. } | Containing::Nothing { .. } => None,
    };
    Launch {
        record: record(context, job, attempt, environment, token),
        service,
    }
}

fn record(
    context: &LaunchContext,
    job: &Job,
    attempt: AttemptId,
    environment: &Environment,
    token: String,
) -> LaunchRecord {
    let spec = &job.spec;
    let containment = match &context.containing {
        Containing::Services(_) => ContainmentSpec::Service,
        Containing::Cgroup(base) => ContainmentSpec::Cgroup {
            parent: base.parent().to_owned(),
            name: attempt.to_string(),
        },
        Containing::Tree { .. } | Containing::Nothing { .. } => ContainmentSpec::Tree,
    };
    let user = (job.owner.uid != context.uid).then(|| UserSpec {
        uid: job.owner.uid,
        gid: job.owner.gid,
        name: job.owner.user.clone(),
        groups: Vec::new(),
    });
    let meta = Meta {
        spec: JobSpec::clone(spec),
        owner: Owner::clone(&job.owner),
        created_ms: job.created.wall_ms,
    };
    LaunchRecord {
        version: VERSION,
        job: attempt.job.0,
        attempt: attempt.attempt,
        dir: context.attempts.join(attempt.to_string()),
        log_dir: context.log_dir(attempt),
        log_limit_bytes: spec.log_limit_bytes.unwrap_or(context.log_limit_bytes),
        command: spec.command.iter().map(|it| it.as_str().into()).collect(),
        env: variables(context, job, attempt, environment),
        cwd: spec.cwd.as_str().into(),
        umask: spec.umask,
        stdin: spec
            .stdin
            .as_ref()
            .map_or(Stdin::None, |file| Stdin::File(file.as_str().into())),
        tty: spec.tty.then_some(TTY),
        containment,
        user,
        oom_score_adj: None,
        nice: None,
        // A service manager gives its units limits of their own.
        open_files: context
            .open_files
            .filter(|_| !matches!(context.containing, Containing::Services(_))),
        token,
        // A description that cannot be written is left out: it only helps a lost database.
        meta: serde_json::to_value(meta).unwrap_or_default(),
        notify: true,
        journal: (context.journal || spec.journal).then(|| spec.name.clone()),
        report_dir: context.report_dir(attempt, &job.owner),
        pam: context.pam.as_ref().map(|service| PamSpec {
            service: service.clone(),
            user: job.owner.user.clone(),
            program: context.keeper.clone(),
        }),
        boot_id: job.attempt.as_ref().map(|it| it.boot_id.clone()),
    }
}

/// Adds the groups of the user it runs as, who has to be there still. This asks the host's user database, which may be on another host:
/// it blocks.
pub(super) fn find_groups(mut launch: Launch) -> Result<Launch, String> {
    let Some(user) = &mut launch.record.user else {
        return Ok(launch);
    };
    let failed = |reason: &dyn std::fmt::Display| {
        format!("cannot find the groups of user {:?}: {reason}", user.name)
    };
    let known = User::from_name(&user.name).map_err(|error| failed(&error))?;
    match known {
        Some(known) if known.uid.as_raw() == user.uid => {}
        Some(_) => return Err(format!("user {:?} is somebody else by now", user.name)),
        // One that the host never had a name for is called by the number.
        None if user.name == user.uid.to_string() => {}
        None => return Err(format!("there is no user {:?} any more", user.name)),
    }
    let name = CString::new(user.name.as_str()).map_err(|error| failed(&error))?;
    let groups = nix::unistd::getgrouplist(&name, Gid::from_raw(user.gid))
        .map_err(|error| failed(&error))?;
    user.groups = groups.into_iter().map(Gid::as_raw).collect();
    Ok(launch)
}

/// The job's own variables, and those stoked adds.
fn variables(
    context: &LaunchContext,
    job: &Job,
    attempt: AttemptId,
    environment: &Environment,
) -> Vec<(Bytes, Bytes)> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut own = vec![
        ("STOKED_JOB", attempt.job.to_string()),
        ("STOKED_ATTEMPT", attempt.attempt.to_string()),
        ("STOKED_JOB_NAME", job.spec.name.clone()),
        ("STOKED_SOCKET", text(context.socket.clone())),
        (
            "STOKED_PROGRESS_FILE",
            text(context.progress_file(attempt, job)),
        ),
    ];
    if job.spec.group != DEFAULT_GROUP {
        own.push(("STOKED_GROUP", job.spec.group.clone()));
    }
    let names: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
    let theirs = environment
        .iter()
        .filter(|(name, _)| !names.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    let own = own
        .iter()
        .map(|(name, value)| ((*name).into(), value.as_str().into()));
    theirs.chain(own).collect()
}
