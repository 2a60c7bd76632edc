//! A daemon of jobs that only move, and of connections that come to every harm there is.

use crate::client::Client;
use crate::client::http::Http;
use crate::client::unruly::harm::{Fault, Harm, problem, whole};
use crate::wire::values::Cursor;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// One move of one job.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    epoch: String,
    seq: u64,
    pub(super) job: u64,
    pub(super) state: String,
}

/// What is true.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    epoch: u32,
    head: u64,
    oldest: u64,
    pub(super) states: BTreeMap<u64, String>,
    pub(super) progress: BTreeMap<u64, u64>,
    history: Vec<Moved>,
    faults: VecDeque<Fault>,
    /// Every change of anything.
    version: u64,
    /// Changes with every process.
    process: u32,
}

impl World {
    fn epoch(&self) -> String {
        format!("e{}", self.epoch)
    }

    /// The events after `from` up to `to`.
    pub(super) fn events(&self, epoch: &str, from: u64, to: u64) -> impl Iterator<Item = &Moved> {
        let is_in = move |it: &&Moved| it.epoch == epoch && it.seq > from && it.seq <= to;
        self.history.iter().filter(is_in)
    }

    fn add(&mut self, job: u64) {
        self.head += 1;
        let state = format!("s{}", self.head);
        self.states.insert(job, state.clone());
        self.history.push(Moved {
            epoch: self.epoch(),
            seq: self.head,
            job,
            state,
        });
    }
}

/// The daemon.
pub(super) struct Daemon {
    dir: TempDir,
    world: Arc<watch::Sender<World>>,
    tasks: TaskTracker,
}

impl Daemon {
    pub(super) fn start(jobs: u64) -> Self {
        let mut world = World {
            oldest: 1,
            ..World::default()
        };
        (1..=jobs).for_each(|job| world.add(job));
        let daemon = Self {
            dir: tempfile::tempdir().unwrap(),
            world: Arc::new(watch::Sender::new(world)),
            tasks: TaskTracker::new(),
        };
        daemon.listen();
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(super) fn client(&self) -> Client {
        Client::of(Http::new(self.socket(), None))
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let (world, tasks) = (Arc::clone(&self.world), self.tasks.clone());
        let mut process = self.world.subscribe();
        let own = process.borrow().process;
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    // A closed channel is the end of the test.
                    _ = process.wait_for(|world| world.process != own) => return,
                    stream = listener.accept() => {
                        tasks.spawn(connection(stream.unwrap().0, Arc::clone(&world), own));
                    }
                }
            }
        });
    }

    pub(super) fn world(&self) -> World {
        self.world.borrow().clone()
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        self.world.send_modify(|world| {
            world.version += 1;
            change(world);
        });
    }

    pub(super) fn move_on(&self, job: u64) {
        self.change(|world| world.add(job));
    }

    pub(super) fn progress(&self, job: u64) {
        self.change(|world| *world.progress.entry(job).or_default() += 1);
    }

    pub(super) fn trim(&self) {
        self.change(|world| world.oldest = world.head.saturating_sub(1).max(1));
    }

    pub(super) fn fail_with(&self, faults: Vec<Fault>) {
        self.change(|world| world.faults.extend(faults));
    }

    pub(super) fn heal(&self) {
        self.change(|world| world.faults.clear());
    }

    pub(super) fn forget_everything(&self) {
        self.change(|world| {
            world.epoch += 1;
            world.head = 0;
            world.oldest = 1;
            world.progress.clear();
            let jobs: Vec<_> = world.states.keys().copied().collect();
            jobs.into_iter().for_each(|job| world.add(job));
        });
    }

    pub(super) async fn restart(&self, down: Duration) {
        std::fs::remove_file(self.socket()).unwrap();
        self.change(|world| world.process += 1);
        tokio::time::sleep(down).await;
        self.listen();
    }
}

async fn connection(mut stream: UnixStream, world: Arc<watch::Sender<World>>, process: u32) {
    let mut ended = world.subscribe();
    let serving = async {
        while let Some(request) = read_request(&mut stream).await {
            if answer(&mut stream, &request, &world).await.is_none() {
                return;
            }
        }
    };
    tokio::select! {
        _ = ended.wait_for(|world| world.process != process) => {}
        () = serving => {}
    }
}

async fn read_request(stream: &mut UnixStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        let count = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|&count| count > 0)?;
        text.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(text).ok()
}

/// Answers; `None` where nothing can follow.
async fn answer(
    stream: &mut UnixStream,
    request: &str,
    world: &watch::Sender<World>,
) -> Option<()> {
    let is_log = request.starts_with("GET /v1/jobs/7/logs");
    if !is_log && request.starts_with("GET /v1/jobs") {
        let is_one = request.starts_with("GET /v1/jobs/7 ");
        let text = if is_one {
            job(7, "running").to_string()
        } else {
            list(&world.borrow())
        };
        return write(stream, &whole(200, &text)).await;
    }
    let mut fault = None;
    world.send_modify(|world| fault = world.faults.pop_front());
    let refusal = fault.and_then(|fault| fault.harm.instead_of_an_answer());
    if let Some(text) = refusal {
        write(stream, &text).await;
        return None;
    }
    if fault.is_some_and(|fault| fault.harm == Harm::Mute) {
        return until_closed(stream).await;
    }
    if is_log {
        return write(stream, &log(request, fault)).await.and(None);
    }
    let Some(feed) = Feed::open(request, &world.borrow(), fault) else {
        return write(stream, &whole(410, &problem(410))).await;
    };
    feed.run(stream, world.subscribe()).await
}

async fn until_closed(stream: &mut UnixStream) -> Option<()> {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    None
}

fn list(world: &World) -> String {
    let jobs = world.states.iter();
    let items: Vec<_> = jobs.map(|(id, state)| job(*id, state)).collect();
    json!({"items": items, "as_of": format!("{}:{}", world.epoch(), world.head)}).to_string()
}

fn job(id: u64, state: &str) -> Value {
    json!({"id": id, "name": "x", "state": state, "group": "g", "priority": 5,
           "owner": {"uid": 0, "user": "u"}, "created_at": "2026-11-22T10:00:00Z"})
}

/// What job 7 wrote.
pub(super) fn output() -> Vec<u8> {
    (0..200)
        .flat_map(|n| format!("{n} ä\n").into_bytes())
        .collect()
}

/// The log from where it was asked for, up to its end or to its harm.
fn log(request: &str, fault: Option<Fault>) -> String {
    let offset = request.split_once("offset=").map_or(0, |(_, rest)| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.unwrap().parse().unwrap()
    });
    let mut text = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned();
    let mut at: usize = offset;
    for (count, piece) in output()[offset..].chunks(37).enumerate() {
        if fault.is_some_and(|fault| count >= fault.after) {
            let is_noise = fault.is_some_and(|fault| fault.harm == Harm::Noise);
            text += if is_noise {
                "what?\n"
            } else {
                "{\"stream\":\"stdo"
            };
            return text;
        }
        at += piece.len();
        let line = match std::str::from_utf8(piece) {
            Ok(words) => json!({"stream": "stdout", "text": words, "cursor": at.to_string()}),
            Err(_) => {
                json!({"stream": "stdout", "base64": STANDARD.encode(piece), "cursor": at.to_string()})
            }
        };
        text += &format!("{line}\n\n");
    }
    text + "{\"end\":true}\n"
}

async fn write(stream: &mut UnixStream, text: &str) -> Option<()> {
    stream.write_all(text.as_bytes()).await.ok()
}

/// One stream.
struct Feed {
    only: Option<u64>,
    wants_snapshot: bool,
    seq: u64,
    progress: BTreeMap<u64, u64>,
    fault: Option<Fault>,
    messages: usize,
    out: String,
}

impl Feed {
    /// `None` where the cursor is dead.
    fn open(request: &str, world: &World, fault: Option<Fault>) -> Option<Self> {
        let id = request
            .lines()
            .find_map(|line| line.strip_prefix("last-event-id: "));
        let seq = match id.map(|id| id.parse::<Cursor>().unwrap()) {
            None => world.head,
            Some(cursor) => {
                let is_alive = cursor.epoch == world.epoch()
                    && cursor.seq <= world.head
                    && cursor.seq + 1 >= world.oldest;
                is_alive.then_some(cursor.seq)?
            }
        };
        let only = request.split_once("channel=job%2F");
        Some(Self {
            only: only.and_then(|(_, rest)| rest.split('%').next()?.parse().ok()),
            wants_snapshot: request.contains("snapshot=1"),
            seq,
            progress: world.progress.clone(),
            fault,
            messages: 0,
            out: "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
        })
    }

    async fn run(
        mut self,
        stream: &mut UnixStream,
        mut changes: watch::Receiver<World>,
    ) -> Option<()> {
        let is_buffered = self.harm() == Some(Harm::Buffered);
        let world = changes.borrow_and_update().clone();
        let hello = json!({"epoch": world.epoch(), "head": world.head, "oldest": world.oldest,
                           "heartbeat_ms": 15_000, "version": "9", "new": {}});
        self.say("hello", None, &hello);
        let mut is_over = self.news(&world);
        if self.wants_snapshot && !is_over {
            self.snapshot(&world);
        }
        loop {
            is_over = is_over || self.harmed();
            if !is_buffered || self.out.len() > 4000 || is_over {
                write(stream, &std::mem::take(&mut self.out)).await?;
            }
            if is_over {
                if self.harm() == Some(Harm::Silent) {
                    return until_closed(stream).await;
                }
                return None;
            }
            tokio::select! {
                changed = changes.changed() => changed.ok()?,
                () = tokio::time::sleep(Duration::from_secs(15)) => {
                    self.out += ":\n\n";
                    let (id, body) = (self.cursor(&changes.borrow()), json!({}));
                    self.say("bookmark", Some(id), &body);
                    write(stream, &std::mem::take(&mut self.out)).await?;
                }
            }
            let world = changes.borrow_and_update().clone();
            is_over = self.news(&world);
        }
    }

    fn harm(&self) -> Option<Harm> {
        self.fault.map(|fault| fault.harm)
    }

    fn cursor(&self, world: &World) -> String {
        format!("{}:{}", world.epoch(), self.seq)
    }

    /// What happened since; whether that is the end.
    fn news(&mut self, world: &World) -> bool {
        let (epoch, from) = (world.epoch(), self.seq);
        for moved in world.events(&epoch, from, world.head) {
            self.seq = moved.seq;
            if self.only.is_none_or(|only| only == moved.job) {
                let times = if self.harm() == Some(Harm::Twice) {
                    2
                } else {
                    1
                };
                for _ in 0..times {
                    self.state(moved.job, &moved.state, Some(&moved.seq), world);
                }
            }
            if self.harmed() {
                return true;
            }
        }
        for (job, percent) in &world.progress {
            let is_wanted = self.only.is_none_or(|only| only == *job);
            if self.progress.insert(*job, *percent) != Some(*percent) && is_wanted {
                self.told(*job, *percent);
            }
        }
        self.harmed()
    }

    fn snapshot(&mut self, world: &World) {
        let is_wanted = |job: u64| self.only.is_none_or(|only| only == job);
        let states: Vec<_> = world
            .states
            .iter()
            .filter(|(job, _)| is_wanted(**job))
            .collect();
        let progress: Vec<_> = world
            .progress
            .iter()
            .filter(|(job, _)| is_wanted(**job))
            .collect();
        for (job, state) in states {
            self.state(*job, state, None, world);
        }
        for (job, percent) in progress {
            self.told(*job, *percent);
        }
        self.say("snapshot_end", None, &json!({}));
    }

    fn state(&mut self, job: u64, state: &str, seq: Option<&u64>, world: &World) {
        let event = json!({"time": "2026-11-22T12:00:00Z", "channel": format!("job/{job}/state"),
            "type": "state", "seq": seq, "body": {"job": job, "state": state, "new": null}});
        let id = seq.map(|seq| format!("{}:{seq}", world.epoch()));
        self.say("state", id, &event);
    }

    fn told(&mut self, job: u64, percent: u64) {
        let event = json!({"time": "2026-11-22T12:00:00Z", "channel": format!("job/{job}/progress"),
            "type": "progress", "body": {"job": job, "progress": percent}});
        self.say("progress", None, &event);
    }

    fn say(&mut self, kind: &str, id: Option<String>, body: &Value) {
        let is_harmed = self.fault.is_some_and(|it| self.messages >= it.after);
        self.messages += 1;
        if is_harmed && self.harm() == Some(Harm::Future) {
            self.out +=
                "event: dance\nretry: 1\nmood: new\ndata: {\"steps\": [1, 2]}\n\ndata: x\n\n";
        }
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        if is_harmed && self.harm() == Some(Harm::Noise) && !id.is_empty() {
            self.out += &format!("event: {kind}\n{id}data: {{\"time\": \u{1}\u{fffd}\n\n");
            return;
        }
        self.out += &format!("event: {kind}\n{id}data: {body}\n\n");
    }

    /// Whether the stream is over.
    fn harmed(&mut self) -> bool {
        let Some(fault) = self.fault.filter(|fault| self.messages >= fault.after) else {
            return false;
        };
        let Some(words) = fault.harm.last_words() else {
            return false;
        };
        self.out += words;
        true
    }
}
