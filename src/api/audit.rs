//! Who did something with what is not his own: told to the log of the daemon, and so to the journal of the host, by the
//! number of the job.

use crate::auth::Subject;
use crate::control::command::Verb;
use crate::model::id::JobId;

/// The target of these messages.
const TARGET: &str = "stoked::audit";

/// The id of these messages; the catalog (`packaging/catalog/stoked.catalog`) explains it.
pub const ACTED: &str = "e5b104180524463cb686c569182d6e41";

/// Tells that `subject` did something with a job of `owner`, unless that is the same user.
pub(super) fn of_job(subject: &Subject, owner: u32, job: JobId, deed: Option<&str>) {
    if let Some(deed) = deed.filter(|_| subject.uid != owner) {
        let what = format!("{deed} job {job} of user {owner}");
        tell(subject, Some(job), &what);
    }
}

/// Tells that `subject` changed what all jobs share.
pub(super) fn of_all(subject: &Subject, what: &str) {
    tell(subject, None, what);
}

fn tell(subject: &Subject, job: Option<JobId>, what: &str) {
    let job = job.map(|job| job.0);
    let (user, uid, pid) = (&*subject.user, subject.uid, subject.pid);
    tracing::info!(
        target: TARGET, MESSAGE_ID = ACTED, STOKED_JOB = job, STOKED_ACTOR = user, STOKED_ACTOR_UID = uid,
        STOKED_ACTOR_PID = pid, "{user} {what}"
    );
}

/// What a verb does to a job, as it is told. What a job says of itself is no deed.
pub(super) fn deed(verb: &Verb) -> Option<&'static str> {
    Some(match verb {
        Verb::Cancel { .. } => "cancelled",
        Verb::Restart { .. } => "restarted",
        Verb::Signal { .. } => "sent a signal to",
        Verb::Pause => "paused",
        Verb::Resume => "resumed",
        Verb::Hold => "held",
        Verb::Release => "released",
        Verb::Approve => "approved",
        Verb::Reject => "rejected",
        Verb::Retry => "retried",
        Verb::Edit(_) => "edited",
        Verb::Remove => "removed",
        Verb::Report { .. } => return None,
    })
}
