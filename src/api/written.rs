//! The output of attempts for the API, read from the log files.

use crate::api::ports::{
    LogChunk, LogContent, LogReader, LogSelection, LogStart, LogStore, LogTrouble, LogWatch,
};
use crate::logs::read::{Content, From, Reader, Selection, open};
use crate::logs::watch::{Watch, Watcher};
use crate::model::id::AttemptId;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

/// The log files of all attempts: one directory each, named as the attempt.
#[derive(Clone, Debug)]
pub struct LogFiles {
    root: PathBuf,
    watcher: Watcher,
}

impl LogFiles {
    /// The logs below `root`, watched by `watcher`.
    #[must_use]
    pub fn new(root: PathBuf, watcher: Watcher) -> Self {
        Self { root, watcher }
    }

    fn directory(&self, attempt: AttemptId) -> PathBuf {
        self.root.join(attempt.to_string())
    }
}

impl LogStore for LogFiles {
    fn open(
        &self,
        attempt: AttemptId,
        selection: LogSelection,
        start: &LogStart,
    ) -> Result<Box<dyn LogReader>, LogTrouble> {
        let selection = match selection {
            LogSelection::Stdout => Selection::Stdout,
            LogSelection::Stderr => Selection::Stderr,
            LogSelection::Both => Selection::Both,
        };
        let from = match start {
            LogStart::Start => From::Start,
            LogStart::Tail(lines) => From::Tail { lines: *lines },
            LogStart::Since(wall_ms) => From::Since { wall_ms: *wall_ms },
            LogStart::Cursor(text) => match text.parse() {
                Ok(cursor) => From::Offset(cursor),
                Err(_) => return Err(LogTrouble::BadCursor(text.clone())),
            },
        };
        Ok(Box::new(open(&self.directory(attempt), selection, from)?))
    }

    fn watch(&self, attempt: AttemptId) -> Box<dyn LogWatch> {
        Box::new(self.watcher.watch(&self.directory(attempt)))
    }
}

impl LogReader for Reader {
    fn next_chunk(&mut self, max_bytes: usize) -> io::Result<Option<LogChunk>> {
        let chunk = Reader::next_chunk(self, max_bytes)?;
        Ok(chunk.map(|chunk| LogChunk {
            stream: chunk.stream.as_str(),
            offset: chunk.offset,
            at_wall_ms: chunk.at_wall_ms,
            content: match chunk.content {
                Content::Bytes(bytes) => LogContent::Bytes(bytes),
                Content::Gap { bytes } => LogContent::Gap(bytes),
            },
        }))
    }

    fn cursor(&self) -> String {
        Reader::cursor(self).to_string()
    }
}

impl LogWatch for Watch {
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Watch::changed(self))
    }
}
