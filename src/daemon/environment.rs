//! The environment of jobs that brought none: small and clean, as a login would give.

use crate::model::change::Environment;
use crate::model::job::Owner;

/// Where commands are looked for, unless the job says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A clean environment for `owner`.
#[must_use]
pub(super) fn clean(owner: &Owner) -> Environment {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(owner.uid));
    let home = match user {
        Ok(Some(user)) => user.dir.to_string_lossy().into_owned(),
        // A user without an entry has no home.
        Ok(None) | Err(_) => "/".to_owned(),
    };
    [
        ("PATH", PATH),
        ("HOME", &home),
        ("USER", &owner.user),
        ("LOGNAME", &owner.user),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}
