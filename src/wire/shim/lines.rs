//! Cutting a byte stream into lines, however the reads fall.

/// A line grew beyond the limit; the connection cannot be trusted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a frame: it is longer than {limit_bytes} bytes")]
pub struct LineTooLong {
    /// The limit that was crossed.
    pub limit_bytes: usize,
}

/// Collects received bytes and gives them back line by line.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// How much of `buffer` is known to hold no newline, so that a long line costs linear time.
    searched: usize,
    /// How long the line is that has not ended yet.
    open_bytes: usize,
    limit_bytes: usize,
}

impl Lines {
    /// An empty buffer that accepts lines up to `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            searched: 0,
            open_bytes: 0,
            limit_bytes,
        }
    }

    /// Take in what was read. The lines before one that is too long still come out.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        self.buffer.extend_from_slice(bytes);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            self.open_bytes += text.len();
            if self.open_bytes > self.limit_bytes {
                return Err(LineTooLong {
                    limit_bytes: self.limit_bytes,
                });
            }
            if text.len() < line.len() {
                self.open_bytes = 0;
            }
        }
        Ok(())
    }

    /// The next whole line without its newline. The buffer is given up when it was one long
    /// line, so that a launch of megabytes does not stay in memory.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let Some(at) = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n')
        else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + at;
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.searched = 0;
        Some(line)
    }
}
