//! Who may use the daemon of a host, what he learns of the jobs of others, and how many he may have.

/// What the administrator of the host decided. Root always may; who is denied may not; where somebody is allowed by name,
/// nobody else is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Members of this group administer.
    pub admin_group: String,
    /// Only these users may use it, and members of `allow_groups`; everybody where both are empty.
    pub allow_users: Vec<String>,
    /// See `allow_users`.
    pub allow_groups: Vec<String>,
    /// These users may not use it.
    pub deny_users: Vec<String>,
    /// Members of these groups may not use it.
    pub deny_groups: Vec<String>,
    /// Whether accounts that stand for no person may use it.
    pub system_accounts: bool,
    /// What users who do not administer learn of the jobs of others.
    pub others: Others,
    /// Unfinished jobs of one user; 0 is no limit.
    pub max_jobs_per_user: u32,
}

/// What somebody learns of the jobs of others; each level tells what those before it tell, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Others {
    /// Not even that they are there; only how many jobs there are.
    Nothing,
    /// That they are there, whose, in which group and state, and since when.
    States,
    /// Also their names, how far they are and what they use.
    Usage,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            admin_group: "stoked".to_owned(),
            allow_users: Vec::new(),
            allow_groups: Vec::new(),
            deny_users: Vec::new(),
            deny_groups: Vec::new(),
            system_accounts: false,
            others: Others::Usage,
            max_jobs_per_user: 100_000,
        }
    }
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

/// How many unfinished jobs one user may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// So many; any number where none is said.
    pub most: Option<u32>,
    /// Whether root may have more.
    pub root_is_exempt: bool,
}

impl Quota {
    /// How many a user may have; any number where none is said.
    #[must_use]
    pub fn of(self, uid: u32) -> Option<u32> {
        self.most.filter(|_| uid != 0 || !self.root_is_exempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn root_is_counted_like_others_where_it_is_not_exempt() {
        let quota = |root_is_exempt| Quota {
            most: Some(7),
            root_is_exempt,
        };
        assert_eq!((quota(true).of(0), quota(true).of(1)), (None, Some(7)));
        assert_eq!(quota(false).of(0), Some(7));
        assert_eq!(Quota::default().of(1), None);
    }
}
