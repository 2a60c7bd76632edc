//! Which processes drivers speak of. NVIDIA's library, AMD's door for computing and the kernel's log tell ids as the
//! outermost pid namespace of the host has them, whoever asks: inside another one the same number is somebody else.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The pid namespace that every kernel begins with, by the inode of its file.
const OUTERMOST: u64 = 0xEFFF_FFFC;

/// Where this process counts processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidSpace {
    /// As drivers do.
    Outermost,
    /// In a namespace of its own, as a container has it.
    Inner,
}

impl PidSpace {
    /// By the inode of the file of a namespace; a kernel that tells none has but one.
    #[must_use]
    pub fn of_inode(inode: Option<u64>) -> Self {
        match inode {
            None | Some(OUTERMOST) => Self::Outermost,
            Some(_) => Self::Inner,
        }
    }

    /// Of this process. `said` is what the environment says of it, for a driver that is made up inside a container:
    /// `outermost` or `inner`.
    #[must_use]
    pub fn of_process(said: Option<&OsStr>) -> Self {
        match said.and_then(OsStr::to_str) {
            Some("outermost") => Self::Outermost,
            Some("inner") => Self::Inner,
            _ => Self::of_file(Path::new("/proc/self/ns/pid")),
        }
    }

    fn of_file(path: &Path) -> Self {
        Self::of_inode(path.metadata().ok().map(|it| it.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_namespace_of_a_kernel_counts_as_drivers_do() {
        assert_eq!(PidSpace::of_inode(Some(4_026_531_836)), PidSpace::Outermost);
        assert_eq!(PidSpace::of_inode(Some(4_026_532_301)), PidSpace::Inner);
        assert_eq!(PidSpace::of_inode(None), PidSpace::Outermost);
        let nowhere = Path::new("/no/such/namespace");
        assert_eq!(PidSpace::of_file(nowhere), PidSpace::Outermost);
        assert_eq!(PidSpace::of_file(Path::new("/")), PidSpace::Inner);
    }

    #[test]
    fn what_is_said_goes_first() {
        let said = |text: &str| PidSpace::of_process(Some(OsStr::new(text)));
        assert_eq!(said("inner"), PidSpace::Inner);
        assert_eq!(said("outermost"), PidSpace::Outermost);
        assert_eq!(said("nonsense"), PidSpace::of_process(None));
    }
}
