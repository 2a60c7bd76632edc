//! From a connection to a [`Subject`]: the kernel's credentials, and what the host knows of that user.
//!
//! Looking a user up may ask a directory server, so it blocks: call it where that holds nobody up.

use crate::auth::{Mode, Policy, Subject};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Credentials as the kernel gave them at accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Process that connected.
    pub pid: Option<i32>,
}

/// What the host knows of a user.
#[derive(Clone, Debug)]
struct Account {
    user: Arc<str>,
    home: Option<Arc<str>>,
    in_admin_group: bool,
    refused: Option<&'static str>,
    known_since: Instant,
}

/// How long what the host said of a user is believed: a new member of the group waits no longer than this.
const BELIEVED: Duration = Duration::from_secs(60);

/// Users are forgotten beyond this many, so that a host with a big directory costs no memory.
const REMEMBERED: usize = 1_024;

/// The users who connected lately.
#[derive(Debug)]
pub struct Accounts {
    policy: Policy,
    known: Mutex<BTreeMap<u32, Account>>,
}

impl Accounts {
    /// Nobody is known yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            known: Mutex::default(),
        }
    }

    /// What decides who may do what.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The subject of these credentials, if its user was looked up lately. Never blocks.
    #[must_use]
    pub fn known(&self, peer: Credentials) -> Option<Subject> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let account = known.get(&peer.uid)?;
        (account.known_since.elapsed() < BELIEVED).then(|| subject(peer, account))
    }

    /// The subject of these credentials. Blocks while the host is asked.
    #[must_use]
    pub fn look_up(&self, peer: Credentials) -> Subject {
        let account = ask(peer, &self.policy);
        let subject = subject(peer, &account);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(peer.uid, account);
        subject
    }
}

/// The number of the user of this name. Blocks while the host is asked.
#[must_use]
pub fn uid_of(name: &str) -> Option<u32> {
    let user = User::from_name(name).ok().flatten()?;
    Some(user.uid.as_raw())
}

/// The primary group of this user, where the host knows the user. Blocks while the host is asked.
#[must_use]
pub fn primary_group(uid: u32) -> Option<u32> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    Some(user.gid.as_raw())
}

fn subject(peer: Credentials, account: &Account) -> Subject {
    Subject {
        uid: peer.uid,
        gid: peer.gid,
        pid: peer.pid,
        user: Arc::clone(&account.user),
        home: account.home.clone(),
        in_admin_group: account.in_admin_group,
        refused: account.refused,
    }
}

fn ask(peer: Credentials, policy: &Policy) -> Account {
    // A user the host does not know (containers) is as good as any other: the kernel vouches for the number.
    let user = User::from_uid(Uid::from_raw(peer.uid)).ok().flatten();
    let groups = match (&user, policy.mode) {
        (Some(user), Mode::System) => groups_of(user),
        _ => Vec::new(),
    };
    let home = user.as_ref().and_then(|user| user.dir.to_str());
    let home = home.filter(|home| home.starts_with('/')).map(Into::into);
    let user: Arc<str> = user.map_or_else(|| peer.uid.to_string().into(), |user| user.name.into());
    let refused = match policy.mode {
        Mode::System => policy.access.refusal(peer.uid, &user, &groups),
        // It serves nobody but its own user and root, whatever the configuration of the host says.
        Mode::User { .. } => None,
    };
    Account {
        home,
        user,
        in_admin_group: groups.contains(&policy.access.admin_group),
        refused,
        known_since: Instant::now(),
    }
}

/// Names of the groups that `user` is a member of; asked anew instead of read from the connection, whose groups are those of
/// the login and may be days old.
fn groups_of(user: &User) -> Vec<String> {
    let Ok(name) = CString::new(user.name.as_str()) else {
        return Vec::new();
    };
    let groups: Vec<Gid> = getgrouplist(&name, user.gid).unwrap_or_default();
    let groups = groups
        .into_iter()
        .filter_map(|gid| Group::from_gid(gid).ok().flatten());
    groups.map(|group| group.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_connects_is_looked_up_once() {
        let accounts = Accounts::new(Policy::new(Mode::System));
        let root = Credentials {
            uid: 0,
            gid: 0,
            pid: Some(1),
        };
        assert_eq!(accounts.known(root), None);
        let subject = accounts.look_up(root);
        assert_eq!((subject.uid, &*subject.user), (0, "root"));
        assert_eq!(accounts.known(root), Some(subject));
    }

    #[test]
    fn a_number_without_a_name_is_its_own_name() {
        let accounts = Accounts::new(Policy::new(Mode::System));
        let nobody = Credentials {
            uid: 3_999_999_999,
            gid: 7,
            pid: None,
        };
        let subject = accounts.look_up(nobody);
        assert_eq!(&*subject.user, "3999999999");
        assert!(subject.home.is_none() && !subject.in_admin_group);
    }

    #[test]
    fn members_of_the_group_administer() {
        let mut policy = Policy::new(Mode::System);
        policy.access.admin_group = "root".to_owned();
        let subject = Accounts::new(policy).look_up(Credentials {
            uid: 0,
            gid: 0,
            pid: None,
        });
        assert!(subject.in_admin_group);
    }
}
