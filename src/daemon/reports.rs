//! Directories in which jobs of other users leave their progress: the state directory is closed to them.

use crate::logs::retain;
use crate::model::id::AttemptId;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Everybody may pass through to a directory of their own, nobody may look around.
const PASSABLE: u32 = 0o711;

/// Makes the directory of these directories. Theirs are made by the shims, which may give them away.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make_room(reports: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(PASSABLE).create(reports) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Whatever mask the daemon was started with.
    std::fs::set_permissions(reports, Permissions::from_mode(PASSABLE))
}

/// Removes the directory of an attempt, whatever its owner put there; follows no link.
pub(super) fn remove(dir: &Path) {
    if let Err(error) = retain::remove(dir) {
        tracing::warn!(%error, dir = %dir.display(), "a directory for reports stays behind");
    }
}

/// The directories of attempts that are not live: the daemon was killed before it could remove them. To remove them may
/// take long: their owners put there what they like.
pub(super) fn left_behind(reports: &Path, live: &BTreeSet<AttemptId>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(reports).into_iter().flatten().flatten();
    let is_left = |name: &OsStr| {
        let attempt = name.to_str().and_then(|name| name.parse().ok());
        attempt.is_some_and(|attempt| !live.contains(&attempt))
    };
    let left = entries.filter(|entry| is_left(&entry.file_name()));
    left.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn everybody_gets_through_and_nobody_looks_around() {
        let root = tempfile::tempdir().unwrap();
        let reports = root.path().join("r");
        make_room(&reports).unwrap();
        make_room(&reports).unwrap();
        assert_eq!(reports.metadata().unwrap().mode() & 0o777, 0o711);
    }

    #[test]
    fn what_is_not_live_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| root.path().join(name);
        for name in ["7.1", "8.1", "strange"] {
            std::fs::create_dir(dir(name)).unwrap();
        }
        std::fs::write(dir("8.1").join("progress.json"), "{}").unwrap();
        let live = BTreeSet::from(["7.1".parse().unwrap()]);
        let left = left_behind(root.path(), &live);
        assert_eq!(left, [dir("8.1")]);
        remove(&left[0]);
        assert!(dir("7.1").exists() && dir("strange").exists() && !dir("8.1").exists());
        assert!(left_behind(&dir("missing"), &live).is_empty());
    }
}
