//! The stream of events, read by hand and without reconnecting: gaps and ends must show.

use crate::http::{Answer, Ask, Body, PATIENCE};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Instant;

/// One message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Message {
    /// Its number, where it is durable.
    pub(crate) fn seq(&self) -> Option<u64> {
        self.data["seq"].as_u64()
    }

    /// Which job reached which state, where it says that.
    pub(crate) fn state(&self) -> Option<(u64, &str)> {
        let body = &self.data["body"];
        Some((body["job"].as_u64()?, body["state"].as_str()?))
    }

    pub(crate) fn is_state(&self, job: u64, state: &str) -> bool {
        self.state() == Some((job, state))
    }
}

/// A subscription.
#[derive(Debug)]
pub(crate) struct Events {
    lines: BufReader<Body>,
    /// The first message.
    pub(crate) hello: Value,
}

impl Events {
    /// Subscribes, or says how that was refused.
    pub(crate) fn open(socket: &Path, query: &str, after: Option<&str>) -> Result<Self, Answer> {
        let mut ask = Ask::get(format!("/v1/events?{query}")).header("Accept", "text/event-stream");
        if let Some(cursor) = after {
            ask = ask.header("Last-Event-ID", cursor);
        }
        let refused = |status, text: String| Answer {
            status,
            body: text.into_bytes(),
        };
        let (status, mut body) = match ask.open(socket) {
            Ok(opened) => opened,
            Err(error) => return Err(refused(0, error.to_string())),
        };
        if status != 200 {
            let mut text = String::new();
            let read = body.read_to_string(&mut text);
            return Err(refused(
                status,
                read.map_or_else(|error| error.to_string(), |_| text),
            ));
        }
        let mut events = Self {
            lines: BufReader::new(body),
            hello: Value::Null,
        };
        match events.next() {
            Some(hello) if hello.kind == "hello" => events.hello = hello.data,
            other => return Err(refused(0, format!("no hello, but {other:?}"))),
        }
        Ok(events)
    }

    /// The cursor of the newest event when the subscription began.
    pub(crate) fn head(&self) -> u64 {
        self.hello["head"].as_u64().unwrap()
    }

    pub(crate) fn epoch(&self) -> &str {
        self.hello["epoch"].as_str().unwrap()
    }

    /// The next message; `None` once the stream has ended or broken.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let patience_ends = Instant::now() + PATIENCE;
        let mut message = Message {
            kind: String::new(),
            id: None,
            data: Value::Null,
        };
        loop {
            assert!(Instant::now() < patience_ends, "only heartbeats came");
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(1..) if line.ends_with('\n') => {}
                Ok(_) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("a stream is silent for {PATIENCE:?}")
                }
                Err(_) => return None,
            }
            let line = line.trim_end_matches(['\r', '\n']);
            match line
                .split_once(':')
                .map(|(name, value)| (name, value.trim_start()))
            {
                None if line.is_empty() && !message.kind.is_empty() => return Some(message),
                Some(("event", kind)) => kind.clone_into(&mut message.kind),
                Some(("id", id)) => message.id = Some(id.to_owned()),
                Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
                None | Some(_) => {}
            }
        }
    }

    /// The first message that is looked for; the ones before it are passed over.
    pub(crate) fn until(&mut self, mut wanted: impl FnMut(&Message) -> bool) -> Message {
        let patience_ends = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let Some(message) = self.next() else {
                panic!("the stream ended; seen {seen:#?}");
            };
            if wanted(&message) {
                return message;
            }
            seen.push(message);
            assert!(
                Instant::now() < patience_ends,
                "it did not come; seen {seen:#?}"
            );
        }
    }

    /// Waits for a job to reach a state.
    pub(crate) fn reaches(&mut self, job: u64, state: &str) -> Message {
        self.until(|message| message.is_state(job, state))
    }

    /// Everything up to the end of the stream.
    pub(crate) fn rest(mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
