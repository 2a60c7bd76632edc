//! Directories in which jobs of other users leave their progress: the state directory is closed to them.

use crate::model::id::AttemptId;
use crate::model::job::Owner;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::Path;

/// Everybody may pass through to a directory of their own, nobody may look around.
const PASSABLE: u32 = 0o711;

/// Makes the directory of an attempt, as its owner's own.
///
/// # Errors
/// When it cannot be made or given away.
pub(super) fn make(dir: &Path, owner: &Owner) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        make_unless_there(parent)?;
        // Whatever mask the daemon was started with.
        std::fs::set_permissions(parent, Permissions::from_mode(PASSABLE))?;
    }
    make_unless_there(dir)?;
    lchown(dir, Some(owner.uid), Some(owner.gid))
}

fn make_unless_there(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Removes the directory of an attempt, whatever its owner put there; follows no link.
pub(super) fn remove(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "a directory for reports stays behind");
        }
        _ => {}
    }
}

/// Removes the directories of attempts that are not live: the daemon was killed before it could.
pub(super) fn clear(reports: &Path, live: &BTreeSet<AttemptId>) {
    for entry in std::fs::read_dir(reports).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let attempt = name.to_str().and_then(|name| name.parse().ok());
        if attempt.is_some_and(|attempt| !live.contains(&attempt)) {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn owner() -> Owner {
        Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            user: "somebody".to_owned(),
        }
    }

    #[test]
    fn only_its_owner_sees_into_a_directory_and_everybody_gets_there() {
        let root = tempfile::tempdir().unwrap();
        let (reports, dir) = (root.path().join("r"), root.path().join("r/7.1"));
        make(&dir, &owner()).unwrap();
        make(&dir, &owner()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!((mode(&reports), mode(&dir)), (0o711, 0o700));
    }

    #[test]
    fn what_is_not_live_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| root.path().join(name);
        for name in ["7.1", "8.1", "strange"] {
            make(&dir(name), &owner()).unwrap();
        }
        std::fs::write(dir("8.1").join("progress.json"), "{}").unwrap();
        clear(root.path(), &BTreeSet::from(["7.1".parse().unwrap()]));
        assert!(dir("7.1").exists() && dir("strange").exists() && !dir("8.1").exists());
        clear(&dir("missing"), &BTreeSet::new());
    }
}
