//! The unit that a service manager starts the shim of an attempt in: its name and its properties.

use crate::model::id::AttemptId;
use crate::model::job::Job;
use crate::model::limits::Limits;

/// Longest description of a unit, characters.
const LONGEST_DESCRIPTION: usize = 200;

/// How units of attempts are named, and where they are.
#[derive(Clone, Debug)]
pub struct Naming {
    /// What their names begin with; tells daemons of one manager apart.
    pub prefix: String,
    /// Whether each user's jobs have a slice of their own.
    pub by_user: bool,
    /// The daemon's own unit, which is stopped after them when the host goes down.
    pub after: Option<String>,
}

impl Naming {
    /// The unit of an attempt.
    #[must_use]
    pub fn unit(&self, job: &Job, attempt: AttemptId) -> Unit {
        let (spec, owner) = (&job.spec, &job.owner);
        // A percent sign would be a specifier, wherever the manager writes the unit down.
        let whole = format!("{} (job {attempt} of {})", spec.name, owner.user);
        let shown: String = whole
            .chars()
            .filter(|it| !it.is_control())
            .take(LONGEST_DESCRIPTION)
            .collect();
        Unit {
            name: self.name(attempt),
            description: shown.replace('%', "%%"),
            slice: match self.by_user {
                true => format!("stoked-u{}.slice", owner.uid),
                false => "stoked.slice".to_owned(),
            },
            fields: vec![
                format!("STOKED_JOB={}", attempt.job),
                format!("STOKED_ATTEMPT={}", attempt.attempt),
                format!("STOKED_USER={}", owner.user),
                format!("STOKED_JOB_NAME={}", spec.name),
            ],
            after: self.after.clone(),
            grace_ms: spec.stop.grace_ms,
            limits: spec.limits.clone(),
            devices: None,
        }
    }

    /// The name of the unit of an attempt.
    #[must_use]
    pub fn name(&self, attempt: AttemptId) -> String {
        format!(
            "{}-{}-{}.service",
            self.prefix, attempt.job, attempt.attempt
        )
    }
}

/// The unit of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Whose limits count for it too.
    pub slice: String,
    /// What each of its lines in the journal has beside its text: `NAME=VALUE`.
    pub fields: Vec<String>,
    /// The unit that outlives it when the host goes down.
    pub after: Option<String>,
    /// How long its processes have to end when the manager stops it.
    pub grace_ms: u64,
    /// What it may use.
    pub limits: Limits,
    /// The devices that it may open beside those every program needs; all where none is said.
    pub devices: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::JobId;
    use crate::model::job::Owner;
    use crate::model::spec::JobSpec;
    use crate::model::state::JobState;
    use crate::model::time::Stamp;
    use std::sync::Arc;

    fn job(name: &str) -> Job {
        let mut spec = JobSpec::new(vec!["true".to_owned()], "/");
        spec.name = name.to_owned();
        let owner = Owner {
            uid: 1000,
            gid: 1000,
            user: "alice".into(),
        };
        let state = JobState::Starting {
            since: Stamp::default(),
        };
        Job::new(
            JobId(42),
            Arc::new(owner),
            Arc::new(spec),
            state,
            Stamp::default(),
        )
    }

    fn unit(name: &str, by_user: bool) -> Unit {
        let naming = Naming {
            prefix: "stoked-job".to_owned(),
            by_user,
            after: None,
        };
        let attempt = AttemptId {
            job: JobId(42),
            attempt: 2,
        };
        naming.unit(&job(name), attempt)
    }

    #[test]
    fn a_unit_says_whose_it_is() {
        let unit = unit("train", true);
        assert_eq!(unit.name, "stoked-job-42-2.service");
        assert_eq!(unit.slice, "stoked-u1000.slice");
        assert_eq!(unit.description, "train (job 42.2 of alice)");
        assert_eq!(unit.fields[0], "STOKED_JOB=42");
        assert_eq!(super::tests::unit("train", false).slice, "stoked.slice");
    }

    #[test]
    fn no_name_is_anything_else_than_a_name() {
        let unit = unit("100%h\n\u{1b}[2J", true);
        assert_eq!(unit.description, "100%%h[2J (job 42.2 of alice)");
    }
}
