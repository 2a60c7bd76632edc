//! Who is asking, and what they may do: a pure table.

pub mod peer;
pub mod polkit;

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
    /// Members of this group administer.
    pub admin_group: String,
    /// Who may use the host's daemon.
    pub access: Access,
}

/// Who may use the host's daemon. Root always may; who is denied may not; where somebody is allowed by name, nobody else is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// These users may, and members of these groups.
    pub allow_users: Vec<String>,
    /// See `allow_users`.
    pub allow_groups: Vec<String>,
    /// These users may not.
    pub deny_users: Vec<String>,
    /// Members of these groups may not.
    pub deny_groups: Vec<String>,
    /// Accounts that stand for no person may, too.
    pub system_accounts: bool,
}

/// Users with lower numbers stand for parts of the system, see `UID_MIN` in `login.defs(5)`.
const FIRST_PERSON: u32 = 1_000;

/// Who has no number of his own here is this one: what is refused to nobody is refused to all of them.
const NOBODY: [u32; 2] = [65_534, 65_535];

impl Access {
    /// Why a user may not use the daemon; `groups` are the names of those that it is a member of.
    #[must_use]
    pub fn refusal(&self, uid: u32, user: &str, groups: &[String]) -> Option<&'static str> {
        let is_in = |names: &[String]| names.iter().any(|name| groups.contains(name));
        let is_named = |names: &[String]| names.iter().any(|name| name == user);
        if uid == 0 {
            return None;
        }
        if is_named(&self.deny_users) || is_in(&self.deny_groups) {
            return Some(
                "the configuration denies it to you (access.deny_users, access.deny_groups)",
            );
        }
        let is_allowed = is_named(&self.allow_users) || is_in(&self.allow_groups);
        let everybody = self.allow_users.is_empty() && self.allow_groups.is_empty();
        if !is_allowed && !everybody {
            return Some(
                "the configuration allows it to others only (access.allow_users, access.allow_groups)",
            );
        }
        let is_system = uid < FIRST_PERSON || NOBODY.contains(&uid);
        if is_system && !is_allowed && !self.system_accounts {
            return Some("accounts of the system may not use it (access.system_accounts)");
        }
        None
    }
}

impl Policy {
    /// The policy that holds unless somebody changes it.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            admin_group: "stoked".to_owned(),
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
    /// See names, states and use of a job, in lists and events.
    SeeJob,
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
    pub const ALL: [Self; 8] = [
        Self::Connect,
        Self::Submit,
        Self::SeeJob,
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
    match action {
        Action::Connect | Action::SeeJob => Decision::Allow,
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
            // who                     connect submit see read env control administer drain
            ("owner", subject(1000, false), "yyyyyy--", "yyyyyyyy"),
            (
                "owner in the group",
                subject(1000, true),
                "yyyyyyyy",
                "yyyyyyyy",
            ),
            (
                "somebody else",
                subject(1001, false),
                "yyy-----",
                "--------",
            ),
            (
                "member of the group",
                subject(1001, true),
                "yyyy-yyy",
                "--------",
            ),
            ("root", subject(0, false), "yyyy-yyy", "y-yy-yyy"),
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
    fn who_may_use_it_is_said_by_name_or_by_group() {
        let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let may = |access: &Access, uid, user, groups: &[&str]| {
            access.refusal(uid, user, &names(groups)).is_none()
        };
        let anybody = Access::default();
        assert!(may(&anybody, 1000, "alice", &["alice"]) && may(&anybody, 0, "root", &[]));
        assert!(!may(&anybody, 33, "www-data", &[]) && !may(&anybody, 65_534, "nobody", &[]));
        let open = Access {
            system_accounts: true,
            ..Access::default()
        };
        assert!(may(&open, 33, "www-data", &[]));
        let some = Access {
            allow_users: names(&["alice", "www-data"]),
            allow_groups: names(&["gpu"]),
            deny_users: names(&["mallory"]),
            deny_groups: names(&["guests"]),
            ..Access::default()
        };
        assert!(may(&some, 1000, "alice", &[]) && may(&some, 1001, "bob", &["bob", "gpu"]));
        assert!(may(&some, 33, "www-data", &[]) && may(&some, 0, "root", &["guests"]));
        assert!(!may(&some, 1002, "carol", &["carol"]));
        assert!(!may(&some, 1003, "mallory", &["gpu"]) && !may(&some, 1000, "alice", &["guests"]));
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
