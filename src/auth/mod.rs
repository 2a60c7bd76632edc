//! Who is asking, and what they may do: a pure table.

pub mod peer;
pub mod polkit;

use crate::model::access::{Access, Others};
use std::sync::Arc;

/// Who is at the other end of a connection, as the kernel said when it was accepted.
///
/// Read once, kept as numbers, and never taken from anything the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Process that connected, where the kernel knows it.
    pub pid: Option<i32>,
    /// Login name, or the number where there is none.
    pub user: Arc<str>,
    /// Home directory, where there is one.
    pub home: Option<Arc<str>>,
    /// Whether it is a member of the group that administers.
    pub in_admin_group: bool,
    /// Why it may not use this daemon, where it may not.
    pub refused: Option<&'static str>,
}

impl Subject {
    /// Somebody who owns no job and does not administer: what he sees, everybody may see.
    #[must_use]
    pub fn anybody() -> Self {
        Self {
            // The one number that is nobody's: the kernel takes it for "no user".
            uid: u32::MAX,
            gid: u32::MAX,
            pid: None,
            user: "anybody".into(),
            home: None,
            in_admin_group: false,
            refused: None,
        }
    }

    /// The same, as somebody whom the host lets administer this once.
    #[must_use]
    pub fn as_administrator(&self) -> Self {
        Self {
            in_admin_group: true,
            ..self.clone()
        }
    }
}

/// Whose daemon this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One user's own: every job runs as that user.
    User {
        /// The user.
        uid: u32,
    },
    /// The host's: a job runs as the user who submitted it.
    System,
}

impl Mode {
    /// Whether it serves every user of the host.
    #[must_use]
    pub fn is_system(self) -> bool {
        self == Self::System
    }

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::System => "system",
        }
    }
}

/// What the administrator of the host decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose daemon this is.
    pub mode: Mode,
    /// Who may use the host's daemon, and what he learns of others there.
    pub access: Access,
}

impl Policy {
    /// The policy that holds unless somebody changes it.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            access: Access::default(),
        }
    }
}

/// What somebody wants to do; those about a job are decided with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Talk to the daemon at all.
    Connect,
    /// Make jobs.
    Submit,
    /// Learn that there is a job, whose and in which state it is; without a job, any job of anybody.
    SeeJob,
    /// See its name, how far it is and what it uses; without a job, those of anybody.
    SeeUse,
    /// See its command, directory, failure messages and output.
    ReadJob,
    /// See the names of its environment's variables.
    ReadEnvironment,
    /// Do something with it.
    ControlJob,
    /// Change what all jobs share: groups and their limits.
    Administer,
    /// Keep everything from starting.
    Drain,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 9] = [
        Self::Connect,
        Self::Submit,
        Self::SeeJob,
        Self::SeeUse,
        Self::ReadJob,
        Self::ReadEnvironment,
        Self::ControlJob,
        Self::Administer,
        Self::Drain,
    ];
}

/// Whether somebody may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, and why, as a sentence for people.
    Deny(&'static str),
}

impl Decision {
    /// Whether it is a yes.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self == Self::Allow
    }
}

/// Whether `subject` administers: root, members of the group, and the user whose daemon this is.
#[must_use]
pub fn administers(subject: &Subject, policy: &Policy) -> bool {
    let owns_daemon = policy.mode == Mode::User { uid: subject.uid };
    let by_group = policy.mode == Mode::System && subject.in_admin_group;
    subject.uid == 0 || owns_daemon || by_group
}

/// Whether `subject` may do `action`; `owner` is the user id of the job it is about, where it is about one.
#[must_use]
pub fn decide(subject: &Subject, action: Action, owner: Option<u32>, policy: &Policy) -> Decision {
    let stranger = match policy.mode {
        Mode::User { uid } => subject.uid != uid && subject.uid != 0,
        Mode::System => false,
    };
    if stranger {
        return Decision::Deny("this daemon serves another user");
    }
    if let Some(why) = subject.refused {
        return Decision::Deny(why);
    }
    let administers = administers(subject, policy);
    let owns = owner == Some(subject.uid);
    let shown = |level| owns || administers || policy.access.others >= level;
    match action {
        Action::Connect => Decision::Allow,
        Action::SeeJob if shown(Others::States) => Decision::Allow,
        Action::SeeJob => {
            Decision::Deny("the configuration tells nothing of the jobs of others (access.others)")
        }
        Action::SeeUse if shown(Others::Usage) => Decision::Allow,
        Action::SeeUse => {
            Decision::Deny("the configuration tells others no more than its state (access.others)")
        }
        Action::Submit => match policy.mode {
            Mode::User { uid } if uid != subject.uid => {
                Decision::Deny("jobs of this daemon run as its user: submit them as that user")
            }
            Mode::User { .. } | Mode::System => Decision::Allow,
        },
        Action::ReadEnvironment if owns => Decision::Allow,
        Action::ReadEnvironment => {
            Decision::Deny("only its owner may see the environment of a job")
        }
        Action::ReadJob | Action::ControlJob if owns || administers => Decision::Allow,
        Action::ReadJob => Decision::Deny("only its owner and administrators may read it"),
        Action::ControlJob => Decision::Deny("only its owner and administrators may control it"),
        Action::Administer | Action::Drain if administers => Decision::Allow,
        Action::Administer | Action::Drain => {
            Decision::Deny("only root and members of the group that administers may do this")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(uid: u32, in_admin_group: bool) -> Subject {
        Subject {
            uid,
            gid: uid,
            pid: None,
            user: "somebody".into(),
            home: None,
            in_admin_group,
            refused: None,
        }
    }

    /// One letter per action in the order of [`Action::ALL`]: a job of user 1000, in both modes.
    #[test]
    fn the_table_is_as_documented() {
        let word = |subject: &Subject, mode| {
            let policy = Policy::new(mode);
            Action::ALL.map(|action| {
                let allowed = decide(subject, action, Some(1000), &policy).is_allowed();
                if allowed { 'y' } else { '-' }
            })
        };
        let rows = [
            // who                     connect submit see use read env control administer drain
            ("owner", subject(1000, false), "yyyyyyy--", "yyyyyyyyy"),
            (
                "owner in the group",
                subject(1000, true),
                "yyyyyyyyy",
                "yyyyyyyyy",
            ),
            (
                "somebody else",
                subject(1001, false),
                "yyyy-----",
                "---------",
            ),
            (
                "member of the group",
                subject(1001, true),
                "yyyyy-yyy",
                "---------",
            ),
            ("root", subject(0, false), "yyyyy-yyy", "y-yyy-yyy"),
        ];
        for (who, subject, system, user) in rows {
            assert_eq!(
                word(&subject, Mode::System).iter().collect::<String>(),
                system,
                "{who}, system"
            );
            let mode = Mode::User { uid: 1000 };
            assert_eq!(
                word(&subject, mode).iter().collect::<String>(),
                user,
                "{who}, user"
            );
        }
    }

    #[test]
    fn what_is_told_of_others_is_a_setting_that_owners_and_administrators_are_above() {
        let seen = |others, subject: &Subject, owner| {
            let mut policy = Policy::new(Mode::System);
            policy.access.others = others;
            [Action::SeeJob, Action::SeeUse]
                .map(|action| decide(subject, action, owner, &policy).is_allowed())
        };
        for (others, stranger) in [
            (Others::Usage, [true, true]),
            (Others::States, [true, false]),
            (Others::Nothing, [false, false]),
        ] {
            for owner in [Some(1000), None] {
                assert_eq!(seen(others, &subject(1001, false), owner), stranger);
                assert_eq!(seen(others, &subject(1001, true), owner), [true, true]);
                assert_eq!(seen(others, &subject(0, false), owner), [true, true]);
            }
            assert_eq!(
                seen(others, &subject(1000, false), Some(1000)),
                [true, true]
            );
        }
    }

    #[test]
    fn who_is_refused_may_do_nothing() {
        let refused = Subject {
            refused: Some("no"),
            ..subject(1000, true)
        };
        for action in Action::ALL {
            let decision = decide(&refused, action, Some(1000), &Policy::new(Mode::System));
            assert_eq!(decision, Decision::Deny("no"), "{action:?}");
        }
    }

    #[test]
    fn roots_own_user_daemon_serves_root() {
        let policy = Policy::new(Mode::User { uid: 0 });
        for action in Action::ALL {
            assert!(
                decide(&subject(0, false), action, Some(0), &policy).is_allowed(),
                "{action:?}"
            );
        }
    }
}
