//! Plays a recording: a file with one JSON object a line, `{"at_ms": 0, "gpus": […]}`, where `at_ms` counts from the
//! beginning and `gpus` are samples as this program writes them.

use crate::model::gpu::GpuSample;
use crate::sampling::gpu::{GpuError, GpuSource, Looked};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Longest line of a recording.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// When, milliseconds from the beginning.
    pub at_ms: u64,
    /// The GPUs at that time.
    pub gpus: Vec<GpuSample>,
}

/// How fast it is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// As it was recorded; what falls between two looks is passed over.
    Own,
    /// One line for each look.
    Asked,
}

/// A recording that is played. After its end its last line stands.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    lines: BufReader<File>,
    line: u64,
    speed: Speed,
    began: Option<Instant>,
    now: Vec<GpuSample>,
    next: Option<Frame>,
}

impl Replay {
    /// Opens a recording.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(path: &Path, speed: Speed) -> Result<Self, GpuError> {
        let file = File::open(path).map_err(|source| GpuError::Recording {
            path: path.to_owned(),
            line: 0,
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
            line: 0,
            speed,
            began: None,
            now: Vec::new(),
            next: None,
        })
    }

    /// What is to be seen so long after the beginning.
    ///
    /// # Errors
    /// Where a line is no frame.
    pub fn at(&mut self, passed_ms: u64) -> Result<Vec<GpuSample>, GpuError> {
        loop {
            if self.next.is_none() {
                self.next = self.read()?;
            }
            let is_due = |frame: &mut Frame| self.speed == Speed::Asked || frame.at_ms <= passed_ms;
            match self.next.take_if(is_due) {
                Some(frame) => self.now = frame.gpus,
                None => return Ok(self.now.clone()),
            }
            if self.speed == Speed::Asked {
                return Ok(self.now.clone());
            }
        }
    }

    fn read(&mut self) -> Result<Option<Frame>, GpuError> {
        let mut text = String::new();
        self.line += 1;
        let read = io::Read::take(&mut self.lines, MAX_LINE).read_line(&mut text);
        match read {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| self.wrong(error.into())),
            Err(error) => Err(self.wrong(error)),
        }
    }

    fn wrong(&self, source: io::Error) -> GpuError {
        GpuError::Recording {
            path: self.path.clone(),
            line: self.line,
            source,
        }
    }
}

impl GpuSource for Replay {
    fn sample(&mut self) -> Result<Looked, GpuError> {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began).as_millis();
        let gpus = self.at(u64::try_from(passed).unwrap_or(u64::MAX))?;
        Ok(Looked { gpus, rest: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(lines: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        file
    }

    fn frame(at_ms: u64, index: u32) -> String {
        format!(
            r#"{{"at_ms":{at_ms},"gpus":[{{"identity":{{"uuid":"GPU-a","index":{index},"name":"A","vendor":"nvidia"}},"condition":"ok","readings":{{"power.watts":100.5}}}}]}}"#
        )
    }

    #[test]
    fn it_is_played_at_its_own_times() {
        let lines = [frame(0, 0), frame(100, 1), frame(200, 2)].join("\n");
        let file = recording(&lines);
        let mut replay = Replay::open(file.path(), Speed::Own).unwrap();
        let mut index_at = |ms| replay.at(ms).unwrap()[0].identity.index;
        assert_eq!([0, 99, 100, 500, 900].map(&mut index_at), [0, 0, 1, 2, 2]);
    }

    #[test]
    fn it_is_played_a_line_at_a_time() {
        let lines = [frame(0, 0), frame(1_000_000, 1)].join("\n");
        let file = recording(&lines);
        let mut replay = Replay::open(file.path(), Speed::Asked).unwrap();
        let mut next = || replay.sample().unwrap().gpus[0].identity.index;
        assert_eq!([next(), next(), next()], [0, 1, 1]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let file = recording(&format!("{}\n{{\"at_ms\":\n", frame(0, 0)));
        let mut replay = Replay::open(file.path(), Speed::Asked).unwrap();
        assert!(replay.sample().is_ok());
        let error = replay.sample().unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
