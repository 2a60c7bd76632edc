//! What may come to a connection.

use proptest::prelude::*;
use serde_json::json;

/// What comes to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// It is closed without an answer.
    Closed,
    /// It is never answered.
    Mute,
    /// The answer is not HTTP.
    NotHttp,
    /// The answer is a page for people.
    Page,
    /// Refused with this status and a reason.
    Refused(u16),
    /// Refused by something in between, in its own words.
    Gateway(u16),
    /// It breaks in the middle of a frame.
    Cut,
    /// It ends well, without a word.
    Ended,
    /// It says good-bye.
    Bye,
    /// It says that the client was too slow.
    Gap,
    /// Nothing comes any more, not even heartbeats.
    Silent,
    /// Something comes that means nothing, in the place of an event.
    Noise,
    /// Messages of a newer daemon come between the others.
    Future,
    /// Every event comes twice.
    Twice,
    /// Something in between keeps everything back for a while.
    Buffered,
}

impl Harm {
    /// What is sent instead of a stream.
    pub(super) fn instead_of_an_answer(self) -> Option<String> {
        match self {
            Self::Closed => Some(String::new()),
            Self::NotHttp => Some("garbage \0\u{1b}[2J\r\n\r\nmore\n".to_owned()),
            Self::Page => Some(whole(200, "<html>\n\nevent: state\n\n</html>")),
            Self::Refused(status) => Some(whole(status, &problem(status))),
            Self::Gateway(status) => Some(whole(status, "<html>busy</html>")),
            Self::Mute | Self::Cut | Self::Ended | Self::Bye | Self::Gap => None,
            Self::Silent | Self::Noise | Self::Future | Self::Twice | Self::Buffered => None,
        }
    }

    /// What is sent before a stream ends of it; `None` where it goes on.
    pub(super) fn last_words(self) -> Option<&'static str> {
        match self {
            Self::Cut => Some("event: state\nid: e0:99\nda"),
            Self::Bye => Some("event: bye\ndata: {\"retry_ms\": 700, \"reason\": \"x\"}\n\n"),
            Self::Gap => Some("event: gap\ndata: {\"reason\": \"slow\"}\n\n"),
            Self::Ended | Self::Silent => Some(""),
            Self::Closed | Self::Mute | Self::NotHttp | Self::Page => None,
            Self::Refused(_) | Self::Gateway(_) => None,
            Self::Noise | Self::Future | Self::Twice | Self::Buffered => None,
        }
    }
}

/// A harm, and after how many messages it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) harm: Harm,
    pub(super) after: usize,
}

pub(super) fn fault() -> impl Strategy<Value = Fault> {
    use Harm as H;
    let harm = prop::sample::select(vec![
        H::Closed,
        H::Mute,
        H::NotHttp,
        H::Page,
        H::Refused(410),
        H::Refused(429),
        H::Refused(500),
        H::Refused(503),
        H::Gateway(429),
        H::Gateway(502),
        H::Gateway(503),
        H::Cut,
        H::Ended,
        H::Bye,
        H::Gap,
        H::Silent,
        H::Noise,
        H::Future,
        H::Twice,
        H::Buffered,
    ]);
    (harm, 0usize..12).prop_map(|(harm, after)| Fault { harm, after })
}

impl Fault {
    /// Whether a log may come to it: there is no cursor of a log that dies, and no heartbeat in one.
    pub(super) fn is_for_logs(&self) -> bool {
        !matches!(self.harm, Harm::Refused(410) | Harm::Mute | Harm::Silent)
    }
}

pub(super) fn problem(status: u16) -> String {
    let kind = match status {
        410 => "cursor-gone",
        429 => "limit-reached",
        503 => "shutting-down",
        _ => "internal",
    };
    json!({"type": format!("stoked:{kind}"), "status": status, "title": "no", "new": [1]})
        .to_string()
}

pub(super) fn whole(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
