//! Finds the files of adapters and puts them together with the shipped ones.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::{self, Problem};
use super::{Catalogue, Origin, shipped};

/// Largest file of adapters that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A catalogue, and what was wrong with files that should be in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The adapters.
    pub catalogue: Arc<Catalogue>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    /// What is wrong with them; the rest of them holds.
    pub problems: Vec<Problem>,
}

/// The shipped adapters, with those of `directories` put over them in this order.
#[must_use]
pub fn load(directories: &[PathBuf]) -> Loaded {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for directory in directories {
        match toml_files(directory) {
            Ok(found) => files.extend(found),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => problems.push(unreadable(directory, &error)),
        }
    }
    if files.is_empty() {
        return Loaded {
            catalogue: Catalogue::shipped(),
            files,
            problems,
        };
    }
    let mut entries = shipped::entries();
    for file in &files {
        match read(file) {
            Ok(text) => {
                let (read, wrong) = parse::parse(&text, &Origin::File(file.clone()));
                entries.extend(read);
                problems.extend(wrong);
            }
            Err(error) => problems.push(unreadable(file, &error)),
        }
    }
    Loaded {
        catalogue: Arc::new(Catalogue::of(entries)),
        files,
        problems,
    }
}

/// The adapters in the text of one file, and no others.
#[must_use]
pub fn of_text(text: &str, file: &Path) -> Loaded {
    let (entries, problems) = parse::parse(text, &Origin::File(file.to_owned()));
    Loaded {
        catalogue: Arc::new(Catalogue::of(entries)),
        files: vec![file.to_owned()],
        problems,
    }
}

fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // Hidden files are what editors leave while somebody writes.
        let name = path.file_name().map(|name| name.as_encoded_bytes());
        let is_hidden = name.is_none_or(|name| name.starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|end| end == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> io::Result<String> {
    let length = std::fs::metadata(file)?;
    if !length.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if length.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read_to_string(file)
}

fn unreadable(file: &Path, error: &io::Error) -> Problem {
    Problem {
        origin: Origin::File(file.to_owned()),
        line: 0,
        adapter: String::new(),
        key: String::new(),
        what: format!("it cannot be read: {error}"),
    }
}
