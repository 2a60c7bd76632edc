//! HTTP/1.1 over a Unix socket, written by hand: the tests must be able to speak it badly too.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Nothing that is waited for takes longer than this, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &str, target: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", target).json(body)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.bytes("application/json", serde_json::to_vec(body).unwrap())
    }

    pub(crate) fn bytes(self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            body,
            ..self.header("Content-Type", media_type)
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends it on a connection of its own, and returns when the head of the answer is there.
    pub(crate) fn open(&self, socket: &Path) -> io::Result<(u16, Body)> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: stoked\r\nConnection: close\r\n",
            self.method, self.target
        );
        if !self.body.is_empty() || self.method != "GET" {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        // A server that has refused the rest of a body has answered already.
        let sent = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&self.body));
        answer(stream).map_err(|error| sent.err().unwrap_or(error))
    }

    /// Sends it, and reads the whole answer.
    pub(crate) fn send(&self, socket: &Path) -> io::Result<Answer> {
        let (status, mut body) = self.open(socket)?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        Ok(Answer {
            status,
            body: bytes,
        })
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
#[must_use = "look at its status"]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its JSON, where it succeeded.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.is_success(), "{} {}", self.status, self.text());
        if self.body.is_empty() {
            return Value::Null;
        }
        self.json()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Its problem, which must be of this kind and say what is wrong in words.
    pub(crate) fn problem(&self, kind: &str) -> Value {
        let problem = self.json();
        assert_eq!(problem["type"], format!("stoked:{kind}"), "{problem}");
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(
            problem["title"].as_str().is_some_and(|it| it.len() > 8),
            "{problem}"
        );
        problem
    }
}

/// Reads the head of an answer.
pub(crate) fn answer(stream: UnixStream) -> io::Result<(u16, Body)> {
    let mut reader = BufReader::new(stream);
    let status_line = line(&mut reader)?;
    let status = status_line.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.ok_or_else(|| broken(format!("not a status line: {status_line:?}")))?;
    let mut rest = Rest::ToTheEnd;
    loop {
        let header = line(&mut reader)?.to_ascii_lowercase();
        match header
            .split_once(':')
            .map(|(name, value)| (name, value.trim()))
        {
            None if header.is_empty() => break,
            None => return Err(broken(format!("not a header: {header:?}"))),
            Some(("content-length", value)) => {
                rest = Rest::Bytes(value.parse().map_err(|_| broken(header.clone()))?);
            }
            Some(("transfer-encoding", "chunked")) => rest = Rest::Chunk(0),
            Some(_) => {}
        }
    }
    if status == 204 {
        rest = Rest::Bytes(0);
    }
    Ok((status, Body { reader, rest }))
}

/// What is left of a body.
#[derive(Debug)]
enum Rest {
    ToTheEnd,
    Bytes(u64),
    Chunk(u64),
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub(crate) struct Body {
    reader: BufReader<UnixStream>,
    rest: Rest,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match &mut self.rest {
            Rest::ToTheEnd => return self.reader.read(buffer),
            Rest::Bytes(left) => left,
            Rest::Chunk(left) => {
                if *left == 0 {
                    let size = line(&mut self.reader)?;
                    *left = u64::from_str_radix(size.trim(), 16).map_err(|_| broken(size))?;
                    if *left == 0 {
                        self.rest = Rest::Bytes(0);
                        return Ok(0);
                    }
                }
                left
            }
        };
        if *left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        if matches!(self.rest, Rest::Chunk(0)) {
            line(&mut self.reader)?;
        }
        Ok(count)
    }
}

fn line(reader: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut text = String::new();
    reader.read_line(&mut text)?;
    match text.strip_suffix('\n') {
        Some(text) => Ok(text.trim_end_matches('\r').to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
