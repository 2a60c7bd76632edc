//! A daemon for tests: answers each request with the next line of a script, on a real Unix socket.

use crate::client::Client;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

/// What happens with one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A whole answer; the connection stays.
    Whole(u16, String),
    /// A whole answer; then the connection closes.
    Last(u16, String),
    /// Half of an answer; then the connection closes.
    Half(String),
    /// The connection closes without an answer.
    Nothing,
    /// A stream that ends properly.
    Stream(String),
    /// A stream that breaks.
    Cut(String),
    /// A stream that falls silent.
    Silence(String),
    /// The same, although it said after how many milliseconds it would show a sign of life.
    BrokenWord(u64, String),
}

/// The daemon, and what it was asked.
pub(crate) struct Fake {
    dir: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Listens, and follows `script`; after its end connections are refused.
    pub(crate) fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::from_iter(script)));
        let tasks = TaskTracker::new();
        let (heard, own) = (Arc::clone(&requests), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.spawn(serve(stream, Arc::clone(&script), Arc::clone(&heard)));
            }
        });
        Self { dir, requests }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }

    /// The requests so far: head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: UnixStream,
    script: Arc<Mutex<VecDeque<Reply>>>,
    heard: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = read_request(&mut stream).await {
        heard.lock().unwrap().push(request);
        let Some(reply) = script.lock().unwrap().pop_front() else {
            return;
        };
        match reply {
            Reply::Whole(status, body) => write(&mut stream, &whole(status, &body)).await,
            Reply::Last(status, body) => return write(&mut stream, &whole(status, &body)).await,
            Reply::Half(body) => {
                let text = whole(200, &body);
                return write(&mut stream, &text[..text.len() - 2]).await;
            }
            Reply::Nothing => return,
            Reply::Stream(text) => write(&mut stream, &(chunked(&text) + "0\r\n\r\n")).await,
            Reply::Cut(text) => return write(&mut stream, &chunked(&text)).await,
            Reply::Silence(text) => return fall_silent(&mut stream, &chunked(&text)).await,
            Reply::BrokenWord(ms, text) => {
                let header = format!("200 OK\r\nstoked-heartbeat-ms: {ms}");
                let answer = chunked(&text).replacen("200 OK", &header, 1);
                return fall_silent(&mut stream, &answer).await;
            }
        }
    }
}

async fn fall_silent(stream: &mut UnixStream, text: &str) {
    write(stream, text).await;
    // Until the client gives up and closes.
    let _closed = stream.read(&mut [0; 64]).await;
}

async fn write(stream: &mut UnixStream, text: &str) {
    // A client that went away in the meantime is part of some tests.
    let _written = stream.write_all(text.as_bytes()).await;
}

fn whole(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn chunked(text: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{text}\r\n", text.len())
}

async fn read_request(stream: &mut UnixStream) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        let count = stream.read(&mut buffer).await.ok().filter(|&it| it > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
}
