//! Load on event streams, for the rows of `make bench` that one Python process could not produce: it
//! publishes reports at a steady rate and takes the time until each of many subscribers has them.
//!
//! Not a benchmark of its own: `benches/load.py` starts it against a daemon, and reads one line of JSON.
#![expect(
    clippy::print_stdout,
    reason = "one line of JSON is all that it is for"
)]

use serde_json::json;
use std::collections::HashSet;
use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Subscribers that are connected at the same time while many come and go.
const WAVE: usize = 100;

/// Connections that ask for changes at the same time.
const PUBLISHERS: usize = 32;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a report carries: when it was sent, in microseconds since the program began.
const MARK: &str = "sent at ";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // `cargo bench` adds a word of its own.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let found = match words[..] {
        ["fanout", socket, jobs, subscribers, stuck, rate, seconds] => {
            let load = Load {
                socket: socket.into(),
                jobs: jobs.split(',').map(str::to_owned).collect(),
            };
            let (subscribers, stuck) = (number(subscribers)?, number(stuck)?);
            load.fan_out(subscribers, stuck, number(rate)?, number(seconds)?)
                .await?
        }
        ["churn", socket, jobs, events, connections] => {
            let load = Load {
                socket: socket.into(),
                jobs: jobs.split(',').map(str::to_owned).collect(),
            };
            load.churn(number(events)?, number(connections)?).await?
        }
        // Run by hand or by `cargo bench` without words, it has nothing to do.
        _ => {
            json!({"usage": "fanout SOCKET JOBS SUBSCRIBERS STUCK RATE SECONDS | churn SOCKET JOBS EVENTS CONNECTIONS"})
        }
    };
    println!("{found}");
    Ok(())
}

fn number(word: &str) -> Result<usize> {
    word.parse()
        .map_err(|_| broken(format!("{word:?} is no number")))
}

fn broken(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

struct Load {
    socket: PathBuf,
    /// Numbers of running jobs.
    jobs: Vec<String>,
}

impl Load {
    /// Reports at `rate` for `seconds`, and how long each of them takes to each subscriber.
    async fn fan_out(
        &self,
        subscribers: usize,
        stuck: usize,
        rate: usize,
        seconds: usize,
    ) -> Result<serde_json::Value> {
        let began = Instant::now();
        let mut readers = JoinSet::new();
        for _ in 0..subscribers {
            let stream = self.subscribe("channel=job/*/progress").await?;
            readers.spawn(stream.latencies(began));
        }
        let mut deaf = Vec::new();
        for _ in 0..stuck {
            deaf.push(self.subscribe("channel=job/*/*").await?);
        }
        let mut connections = Vec::new();
        for _ in 0..4 {
            connections.push(Connection::open(&self.socket).await?);
        }
        let mut ticks = interval(Duration::from_micros(1_000_000 / rate.max(1) as u64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for report in 0..rate * seconds {
            ticks.tick().await;
            let job = &self.jobs[report % self.jobs.len()];
            let sent = began.elapsed().as_micros();
            let body = json!({"step": report, "total_steps": rate * seconds, "message": format!("{MARK}{sent}")});
            let place = report % connections.len();
            connections[place]
                .post(&format!("/v1/jobs/{job}/progress"), &body.to_string())
                .await?;
        }
        let body = json!({"message": "over"}).to_string();
        connections[0]
            .post(&format!("/v1/jobs/{}/progress", self.jobs[0]), &body)
            .await?;
        let (mut all, mut slowest) = (Vec::new(), 0);
        while let Some(times) = readers.join_next().await {
            let times = times.map_err(Error::other)??;
            slowest = slowest.max(times.iter().copied().max().unwrap_or(0));
            all.extend(times);
        }
        all.sort_unstable();
        let at = |share: f64| all.get(((all.len().max(1) - 1) as f64 * share) as usize);
        Ok(json!({
            "p50_ms": at(0.5).map(|us| *us as f64 / 1e3),
            "p99_ms": at(0.99).map(|us| *us as f64 / 1e3),
            "max_ms": slowest as f64 / 1e3,
            "received": all.len(),
            "sent": rate * seconds * subscribers,
        }))
    }

    /// Makes `events` events, while `connections` subscribers come and go.
    async fn churn(&self, events: usize, connections: usize) -> Result<serde_json::Value> {
        let began = Instant::now();
        let mut publishers = JoinSet::new();
        for publisher in 0..PUBLISHERS {
            let job = self.jobs[publisher % self.jobs.len()].clone();
            let mut connection = Connection::open(&self.socket).await?;
            let share = events / PUBLISHERS;
            publishers.spawn(async move {
                for step in 0..share {
                    let body = json!({"step": step, "total_steps": share, "message": "x".repeat(step % 50)});
                    connection.post(&format!("/v1/jobs/{job}/progress"), &body.to_string()).await?;
                }
                Ok::<(), Error>(())
            });
        }
        let mut open = 0;
        while open < connections {
            let mut wave = JoinSet::new();
            for number in 0..WAVE.min(connections - open) {
                let query = [
                    "snapshot=1",
                    "after=0",
                    "channel=job/*/state",
                    "min_interval_ms=200",
                ];
                let mut stream = self.subscribe(query[number % query.len()]).await?;
                // Most read for a while, some not at all, and all leave without a word.
                wave.spawn(async move {
                    for _ in 0..number % 20 {
                        let mut piece = [0_u8; 16 << 10];
                        if let Ok(Ok(0) | Err(_)) =
                            timeout(Duration::from_millis(20), stream.stream.read(&mut piece)).await
                        {
                            break;
                        }
                    }
                });
                open += 1;
            }
            while let Some(left) = wave.join_next().await {
                left.map_err(Error::other)?;
            }
        }
        while let Some(published) = publishers.join_next().await {
            published.map_err(Error::other)??;
        }
        Ok(json!({"events": events, "connections": open, "seconds": began.elapsed().as_secs_f64()}))
    }

    async fn subscribe(&self, query: &str) -> Result<Subscriber> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let ask = format!("GET /v1/events?{query} HTTP/1.1\r\nHost: stoked\r\n\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut seen = Vec::new();
        while find(&seen, b"event: hello").is_none() {
            if read_some(&mut stream, &mut seen).await? == 0 {
                let said = String::from_utf8_lossy(&seen);
                return Err(broken(format!("not a stream: {said}")));
            }
        }
        Ok(Subscriber { stream, seen })
    }
}

/// A connection that serves one request after the other.
struct Connection {
    stream: UnixStream,
    seen: Vec<u8>,
}

impl Connection {
    async fn open(socket: &std::path::Path) -> Result<Self> {
        Ok(Self {
            stream: UnixStream::connect(socket).await?,
            seen: Vec::new(),
        })
    }

    async fn post(&mut self, path: &str, body: &str) -> Result<()> {
        let length = body.len();
        let ask = format!(
            "POST {path} HTTP/1.1\r\nHost: stoked\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(ask.as_bytes()).await?;
        self.seen.clear();
        while find(&self.seen, b"\r\n\r\n").is_none() {
            if read_some(&mut self.stream, &mut self.seen).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        // Nothing but this answer has no body, so that its head is all there is to read.
        if self.seen.starts_with(b"HTTP/1.1 204") {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&self.seen);
        Err(broken(format!("a report was refused: {said}")))
    }
}

/// An open event stream.
struct Subscriber {
    stream: UnixStream,
    seen: Vec<u8>,
}

impl Subscriber {
    /// How long each report took, in microseconds, until one says that it is over.
    async fn latencies(mut self, began: Instant) -> Result<Vec<u64>> {
        let (mut times, mut known) = (Vec::new(), HashSet::new());
        loop {
            while let Some(end) = find(&self.seen, b"\n\n") {
                let text = std::str::from_utf8(&self.seen[..end]).unwrap_or_default();
                if text.contains("\"message\":\"over\"") {
                    return Ok(times);
                }
                let now = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                if let Some((_, rest)) = text.split_once(MARK) {
                    let digits = rest
                        .find(|c: char| !c.is_ascii_digit())
                        .unwrap_or(rest.len());
                    let sent: u64 = rest[..digits].parse().unwrap_or(now);
                    // A job that is silent is told of again when its ETA changes, with the report that it made last.
                    if known.insert(sent) {
                        times.push(now.saturating_sub(sent));
                    }
                }
                self.seen.drain(..end + 2);
            }
            let read = timeout(PATIENCE, read_some(&mut self.stream, &mut self.seen)).await;
            if read.map_err(Error::other)?? == 0 {
                return Err(broken("the stream ended".to_owned()));
            }
        }
    }
}

async fn read_some(stream: &mut UnixStream, seen: &mut Vec<u8>) -> Result<usize> {
    stream.read_buf(seen).await
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
