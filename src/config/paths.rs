//! Where things live: sockets, state, configuration. One set of rules for the daemon and its clients.
//!
//! Everything but [`Surroundings::of_process`], [`check_private`] and [`is_trusted`] is a pure function of what was
//! read from the environment once.

use std::io;
use std::path::{Path, PathBuf};

/// Name of the API socket inside a runtime directory.
pub const SOCKET_NAME: &str = "stoked.sock";
/// Runtime directory of the system daemon.
pub const SYSTEM_RUNTIME_DIR: &str = "/run/stoked";
/// State directory of the system daemon.
pub const SYSTEM_STATE_DIR: &str = "/var/lib/stoked";
/// Configuration directory of the system daemon.
pub const SYSTEM_CONFIG_DIR: &str = "/etc/stoked";
/// Where packages put adapters.
pub const SHARED_ADAPTERS_DIR: &str = "/usr/share/stoked/adapters.d";
/// Name of the directory of adapters inside a configuration directory.
pub const ADAPTERS_NAME: &str = "adapters.d";

/// How the complaint of a daemon begins whose state directory another daemon has; the client that started it waits then.
pub const HELD_BY_ANOTHER: &str = "another stoked";

/// What the rules look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Effective user id of this process.
    pub uid: u32,
    /// Home directory: `$HOME`, else what the user database says.
    pub home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`, unless it is somebody else's: see [`is_trusted`].
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `$STOKED_RUNTIME_DIR`: overrides the runtime directory.
    pub stoked_runtime_dir: Option<PathBuf>,
    /// `$STOKED_STATE_DIR`: overrides the state directory.
    pub stoked_state_dir: Option<PathBuf>,
    /// Whether `/run/user/UID` exists; only looked at where `$XDG_RUNTIME_DIR` is not set.
    pub has_run_user: bool,
}

/// A runtime directory, and whether strangers could have put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDir {
    /// The directory.
    pub path: PathBuf,
    /// It lies in a directory that everybody may write: [`check_private`] must approve of it before use.
    pub in_shared_place: bool,
}

impl RuntimeDir {
    /// The API socket in it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET_NAME)
    }
}

/// Neither `$HOME` nor the user database says where this user lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("find the home directory of user {uid}: set HOME, or give --state-dir")]
pub struct NoHome {
    /// The user.
    pub uid: u32,
}

impl Surroundings {
    /// Reads them from this process.
    #[must_use]
    pub fn of_process() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let xdg_runtime_dir =
            absolute_variable("XDG_RUNTIME_DIR").filter(|dir| is_trusted(dir, uid));
        Self {
            uid,
            home: absolute_variable("HOME").or_else(|| home_of(uid)),
            has_run_user: xdg_runtime_dir.is_none() && run_user(uid).is_dir(),
            xdg_runtime_dir,
            xdg_state_home: absolute_variable("XDG_STATE_HOME"),
            xdg_config_home: absolute_variable("XDG_CONFIG_HOME"),
            stoked_runtime_dir: variable("STOKED_RUNTIME_DIR"),
            stoked_state_dir: variable("STOKED_STATE_DIR"),
        }
    }

    /// Runtime directory of this user's daemon.
    #[must_use]
    pub fn user_runtime_dir(&self) -> RuntimeDir {
        let own = |path| RuntimeDir {
            path,
            in_shared_place: false,
        };
        if let Some(path) = &self.stoked_runtime_dir {
            return own(path.clone());
        }
        if let Some(path) = &self.xdg_runtime_dir {
            return own(path.join("stoked"));
        }
        if self.has_run_user {
            return own(run_user(self.uid).join("stoked"));
        }
        RuntimeDir {
            path: PathBuf::from(format!("/tmp/stoked-{}", self.uid)),
            in_shared_place: true,
        }
    }

    /// State directory of this user's daemon.
    ///
    /// # Errors
    /// [`NoHome`], where nothing says where it would be.
    pub fn user_state_dir(&self) -> Result<PathBuf, NoHome> {
        if let Some(path) = &self.stoked_state_dir {
            return Ok(path.clone());
        }
        self.under_home(self.xdg_state_home.as_deref(), ".local/state")
    }

    /// Configuration directory of this user's daemon.
    ///
    /// # Errors
    /// [`NoHome`], where nothing says where it would be.
    pub fn user_config_dir(&self) -> Result<PathBuf, NoHome> {
        self.under_home(self.xdg_config_home.as_deref(), ".config")
    }

    /// Directories of adapters, the weakest first: those of this host, and `own` ones for a user's daemon. A
    /// system daemon reads no user's.
    #[must_use]
    pub fn adapter_dirs(&self, own: bool) -> Vec<PathBuf> {
        let mut dirs = vec![
            PathBuf::from(SHARED_ADAPTERS_DIR),
            Path::new(SYSTEM_CONFIG_DIR).join(ADAPTERS_NAME),
        ];
        if own && let Ok(config) = self.user_config_dir() {
            dirs.push(config.join(ADAPTERS_NAME));
        }
        dirs
    }

    /// Runtime directory of the system daemon.
    #[must_use]
    pub fn system_runtime_dir(&self) -> PathBuf {
        let path = self.stoked_runtime_dir.clone();
        path.unwrap_or_else(|| SYSTEM_RUNTIME_DIR.into())
    }

    /// State directory of the system daemon.
    #[must_use]
    pub fn system_state_dir(&self) -> PathBuf {
        let path = self.stoked_state_dir.clone();
        path.unwrap_or_else(|| SYSTEM_STATE_DIR.into())
    }

    fn under_home(&self, base: Option<&Path>, usual: &str) -> Result<PathBuf, NoHome> {
        match (base, &self.home) {
            (Some(base), _) => Ok(base.join("stoked")),
            (None, Some(home)) => Ok(home.join(usual).join("stoked")),
            (None, None) => Err(NoHome { uid: self.uid }),
        }
    }
}

/// Checks that `path` is a directory of `uid` that nobody else can enter, and not a symbolic link.
///
/// Anybody may create `/tmp/stoked-UID`: whoever trusted it unseen would talk to a stranger's daemon.
///
/// # Errors
/// `PermissionDenied` with what is wrong with it; `NotFound` where it does not exist.
pub fn check_private(path: &Path, uid: u32) -> io::Result<()> {
    use rustix::fs::{FileType, lstat};
    let stat = lstat(path)?;
    let fault = if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        "it is not a directory"
    } else if stat.st_uid != uid {
        "it belongs to somebody else"
    } else if stat.st_mode & 0o077 != 0 {
        "others may enter it: its mode must be 0700"
    } else {
        return Ok(());
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} is not safe to use: {fault}", path.display()),
    ))
}

/// Whether nobody else than `uid` can put anything into this directory. The base directory specification asks for that, and
/// `su` and `sudo -E` break it: root would talk to whatever daemon a user plays there, and send it the environment of jobs.
///
/// One that does not exist is nobody's yet.
#[must_use]
pub fn is_trusted(dir: &Path, uid: u32) -> bool {
    use rustix::fs::{FileType, stat};
    let Ok(stat) = stat(dir) else { return true };
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    is_directory && stat.st_uid == uid && stat.st_mode & 0o022 == 0
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The base directory specification says that a relative path is to be ignored.
fn absolute_variable(name: &str) -> Option<PathBuf> {
    variable(name).filter(|path| path.is_absolute())
}

fn run_user(uid: u32) -> PathBuf {
    PathBuf::from(format!("/run/user/{uid}"))
}

fn home_of(uid: u32) -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok()??;
    Some(user.dir).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};

    fn plain() -> Surroundings {
        Surroundings {
            uid: 1000,
            home: Some("/home/ann".into()),
            ..Surroundings::default()
        }
    }

    #[test]
    fn a_runtime_dir_of_somebody_else_is_none() {
        let root = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let mode = |mode| {
            std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(0o755);
        assert!(is_trusted(root.path(), own) && !is_trusted(root.path(), own + 1));
        mode(0o777);
        assert!(!is_trusted(root.path(), own));
        assert!(is_trusted(&root.path().join("missing"), own));
    }

    #[test]
    fn the_runtime_dir_follows_the_environment() {
        let mut around = plain();
        let dir = around.user_runtime_dir();
        assert_eq!(dir.path, Path::new("/tmp/stoked-1000"));
        assert!(dir.in_shared_place);
        around.has_run_user = true;
        assert_eq!(
            around.user_runtime_dir().socket(),
            Path::new("/run/user/1000/stoked/stoked.sock")
        );
        around.xdg_runtime_dir = Some("/x".into());
        assert_eq!(around.user_runtime_dir().path, Path::new("/x/stoked"));
        around.stoked_runtime_dir = Some("/d".into());
        let dir = around.user_runtime_dir();
        assert_eq!(dir.socket(), Path::new("/d/stoked.sock"));
        assert!(!dir.in_shared_place);
        assert_eq!(around.system_runtime_dir(), Path::new("/d"));
    }

    #[test]
    fn state_and_configuration_live_under_home() {
        let mut around = plain();
        let state = around.user_state_dir().unwrap();
        assert_eq!(state, Path::new("/home/ann/.local/state/stoked"));
        let config = around.user_config_dir().unwrap();
        assert_eq!(config, Path::new("/home/ann/.config/stoked"));
        around.home = None;
        assert_eq!(around.user_state_dir(), Err(NoHome { uid: 1000 }));
        around.xdg_state_home = Some("/s".into());
        assert_eq!(around.user_state_dir().unwrap(), Path::new("/s/stoked"));
        around.stoked_state_dir = Some("/d".into());
        assert_eq!(around.user_state_dir().unwrap(), Path::new("/d"));
        assert_eq!(plain().system_state_dir(), Path::new(SYSTEM_STATE_DIR));
    }

    #[test]
    fn a_system_daemon_reads_no_users_adapters() {
        let shared: [PathBuf; 2] = [
            "/usr/share/stoked/adapters.d".into(),
            "/etc/stoked/adapters.d".into(),
        ];
        assert_eq!(plain().adapter_dirs(false), shared);
        let own = plain().adapter_dirs(true);
        assert_eq!(own[..2], shared);
        let dir = "/home/ann/.config/stoked/adapters.d";
        assert_eq!(own[2..], [PathBuf::from(dir)]);
    }

    #[test]
    fn only_a_private_directory_of_ours_is_trusted() {
        let base = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let good = base.path().join("good");
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&good)
            .unwrap();
        check_private(&good, uid).unwrap();
        let fault = |path: &Path, uid| check_private(path, uid).unwrap_err().to_string();
        assert!(fault(&good, uid + 1).contains("somebody else"));
        let link = base.path().join("link");
        symlink(&good, &link).unwrap();
        assert!(fault(&link, uid).contains("not a directory"));
        std::fs::set_permissions(&good, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(fault(&good, uid).contains("0700"));
    }
}
