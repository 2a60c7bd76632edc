//! Which files are read, in which order, and what stands above them.
//!
//! Built-in defaults, then each directory's `stoked.toml` and `stoked.toml.d/*.toml` by name, the
//! vendor's before the administrator's or the user's; then the environment. `--config` replaces the search.

use crate::config::fragment::{self, Reading};
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
    /// `--config`, `$STOKED_CONFIG`: this file and no other. It must exist.
    pub only: Option<PathBuf>,
    /// `--state-dir`, `$STOKED_STATE_DIR`: stands above the files.
    pub state_dir: Option<PathBuf>,
    /// `--runtime-dir`, `$STOKED_RUNTIME_DIR`: stands above the files.
    pub runtime_dir: Option<PathBuf>,
}

impl Sources {
    /// The usual search: the vendor's directory, then `directory`.
    #[must_use]
    pub fn of(defaults: Settings, directory: &Path) -> Self {
        Self {
            defaults,
            directories: vec![VENDOR_DIRECTORY.into(), directory.to_owned()],
            only: None,
            state_dir: None,
            runtime_dir: None,
        }
    }
}

/// The settings, and the files they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads the configuration.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong in any of the files.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
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
        settings.daemon.state_dir.clone_from(path);
        places.remove("daemon.state_dir");
    }
    if let Some(path) = &sources.runtime_dir {
        settings.daemon.runtime_dir.clone_from(path);
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
