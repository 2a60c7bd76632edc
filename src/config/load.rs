//! Which files are read, in which order, and what stands above them.
//!
//! Built-in defaults, then each directory's `stoked.toml` and `stoked.toml.d/*.toml` by name, the
//! vendor's before the administrator's or the user's; then the environment. `--config` replaces the search.

use crate::config::fragment::{self, Reading};
use crate::config::paths::{SYSTEM_CONFIG_DIR, Surroundings};
use crate::config::validate::validate;
use crate::config::{ConfigError, Place, Problem, Settings};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where the package puts its configuration.
pub const VENDOR_DIRECTORY: &str = "/usr/lib/stoked";

/// Name of the file in each directory; drop-ins lie in a directory of that name with `.d` after it.
pub const FILE_NAME: &str = "stoked.toml";

/// What to read. The environment was read by whoever makes this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// What holds where no file says otherwise.
    pub defaults: Settings,
    /// Directories to look in, the weakest first; what is missing is passed over.
    pub directories: Vec<PathBuf>,
    /// `--config`: this file and no other. It must exist.
    pub only: Option<PathBuf>,
    /// `$STOKED_STATE_DIR`: stands above the files.
    pub state_dir: Option<PathBuf>,
    /// `$STOKED_RUNTIME_DIR`: stands above the files.
    pub runtime_dir: Option<PathBuf>,
}

impl Sources {
    /// The usual search: the vendor's directory, then the administrator's or the user's.
    #[must_use]
    pub fn of(is_system: bool, around: &Surroundings) -> Self {
        let (defaults, directory) = if is_system {
            (Settings::of_system(), Some(SYSTEM_CONFIG_DIR.into()))
        } else {
            // Whoever has no home has no configuration there.
            (Settings::of_user(), around.user_config_dir().ok())
        };
        Self {
            defaults,
            directories: [Some(VENDOR_DIRECTORY.into()), directory]
                .into_iter()
                .flatten()
                .collect(),
            only: None,
            state_dir: around.stoked_state_dir.clone(),
            runtime_dir: around.stoked_runtime_dir.clone(),
        }
    }
}

/// Reads the configuration: `only` that file where one is given, else the usual ones.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong in any of the files.
pub fn load(
    only: Option<&Path>,
    is_system: bool,
    around: &Surroundings,
) -> Result<Loaded, ConfigError> {
    read(&Sources {
        only: only.map(Path::to_owned),
        ..Sources::of(is_system, around)
    })
}

/// The settings, and the files they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads what `sources` names.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong in any of the files.
pub fn read(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut settings = sources.defaults.clone();
    let mut places = BTreeMap::new();
    let mut problems = Vec::new();
    let mut read = Vec::new();
    for file in files(sources, &mut problems) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && sources.only.is_none() => continue,
            Err(error) => {
                problems.push(unreadable(&file, &error));
                continue;
            }
        };
        let mut reading = Reading {
            settings: &mut settings,
            places: &mut places,
            problems: &mut problems,
        };
        fragment::apply(&text, &file, &mut reading);
        read.push(file);
    }
    if let Some(path) = &sources.state_dir {
        settings.daemon.state_dir = Some(absolute(path));
        places.remove("daemon.state_dir");
    }
    if let Some(path) = &sources.runtime_dir {
        settings.daemon.runtime_dir = Some(absolute(path));
        places.remove("daemon.runtime_dir");
    }
    problems.extend(validate(&settings, &places));
    if problems.is_empty() {
        Ok(Loaded {
            settings,
            files: read,
        })
    } else {
        Err(ConfigError { problems })
    }
}

/// A path in the environment is meant from where the daemon is started.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The files to read, in order; the main ones need not exist.
fn files(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    if let Some(only) = &sources.only {
        return vec![only.clone()];
    }
    let mut files = Vec::new();
    for directory in &sources.directories {
        files.push(directory.join(FILE_NAME));
        let drop_ins = directory.join(format!("{FILE_NAME}.d"));
        match drop_in_files(&drop_ins) {
            Ok(found) => files.extend(found),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => problems.push(unreadable(&drop_ins, &error)),
        }
    }
    files
}

fn drop_in_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // Hidden files are what editors leave while somebody writes.
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(file: &Path, error: &io::Error) -> Problem {
    Problem {
        place: Some(Place {
            file: file.to_owned(),
            line: 0,
        }),
        key: String::new(),
        what: format!("it cannot be read: {error}"),
    }
}
