//! A client that reads answers and streams as they come, as slowly as it likes.

use super::harness::{Daemon, soon};
use crate::wire::error::Problem;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn problem(&self) -> Problem {
        let kind = self
            .headers
            .get("content-type")
            .and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }
}

/// One message of an event stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) event: String,
    pub(super) id: Option<String>,
    pub(super) data: Value,
}

impl Message {
    /// `job STATE` for state events, else the type.
    pub(super) fn word(&self) -> String {
        match (self.event.as_str(), self.data["body"]["state"].as_str()) {
            (event, Some(state)) if event == "state" || event == state => {
                format!("{} {state}", self.data["body"]["job"])
            }
            ("progress", _) => format!("progress {}", self.data["body"]["current_step"]),
            _ => self.event.clone(),
        }
    }
}

/// A client that reads raw bytes, as slowly as it likes.
pub(super) struct RawClient {
    pub(super) stream: UnixStream,
    text: Vec<u8>,
}

impl RawClient {
    pub(super) async fn connect(daemon: &Daemon) -> Self {
        Self {
            stream: UnixStream::connect(&daemon.socket).await.unwrap(),
            text: Vec::new(),
        }
    }

    pub(super) async fn events(daemon: &Daemon, query: &str, header: &str) -> Self {
        let mut client = Self::connect(daemon).await;
        let head = format!("GET /v1/events?{query} HTTP/1.1\r\nhost: x\r\n{header}\r\n");
        client.write(&head).await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        client
    }

    /// Says that nothing more comes; what comes back is still taken.
    pub(super) async fn stop_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(super) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything up to and with `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self
                .text
                .windows(end.len())
                .position(|part| part == end.as_bytes());
            if let Some(at) = found {
                let rest = self.text.split_off(at + end.len());
                let taken = std::mem::replace(&mut self.text, rest);
                return String::from_utf8(taken).unwrap();
            }
            let mut buffer = [0; 4_096];
            let count = soon(self.stream.read(&mut buffer)).await.unwrap();
            assert!(
                count > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&self.text)
            );
            self.text.extend_from_slice(&buffer[..count]);
        }
    }

    /// Everything until the other end closes.
    pub(super) async fn rest(mut self) -> String {
        // A connection that breaks off has said what it had to say.
        drop(soon(self.stream.read_to_end(&mut self.text)).await);
        String::from_utf8(self.text).unwrap()
    }

    /// The next message of an event stream; sizes of chunks and signs of life are skipped.
    pub(super) async fn message(&mut self) -> Message {
        loop {
            let frame = self.until("\n\n").await;
            if let Some(message) = read_frame(&frame) {
                return message;
            }
        }
    }

    /// The next message that is no bookmark.
    pub(super) async fn past_bookmarks(&mut self) -> Message {
        loop {
            let message = self.message().await;
            if message.event != "bookmark" {
                return message;
            }
        }
    }

    /// Messages up to and with the first of this type.
    pub(super) async fn messages_until(&mut self, last: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.message().await);
            if messages.last().is_some_and(|message| message.event == last) {
                return messages;
            }
        }
    }
}

fn read_frame(frame: &str) -> Option<Message> {
    let field = |name: &str| {
        let mut lines = frame.lines().rev();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(str::to_owned)
    };
    Some(Message {
        event: field("event: ")?,
        id: field("id: "),
        data: serde_json::from_str(&field("data: ")?).unwrap(),
    })
}

pub(super) fn words(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::word).collect()
}
