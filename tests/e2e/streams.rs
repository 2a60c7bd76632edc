//! Streams under attack: clients of all sorts, while the daemon is killed and history is let go.

use crate::harness::Host;
use crate::http::{Ask, PATIENCE};
use crate::storm::Dice;
use crate::stream::{Events, Message};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

const ROUNDS: u64 = 5;

/// The last step of each job that runs.
type Shown = BTreeMap<String, u64>;

/// What the daemon shows when all is over, and the event after which it is.
#[derive(Clone, Debug)]
struct Finale {
    shown: Shown,
    head: u64,
}

/// A client, and what it knows across connections and daemons.
struct Client<'a> {
    socket: &'a Path,
    dice: Dice,
    /// What it asks for besides where to begin.
    query: &'static str,
    /// Whether it gets every lifecycle event.
    gets_all: bool,
    cursor: Option<String>,
    told: u64,
    /// Up to here a snapshot may have shown what an event says.
    excused: u64,
    newest: Shown,
    heard: u64,
    gaps: u64,
}

impl Client<'_> {
    /// Reads until the daemon dies or everything is over; leaves and comes back now and then.
    fn attend(&mut self, finale: &Mutex<Option<Finale>>) {
        loop {
            let Some(events) = self.open() else { return };
            let stays = 1 + self.dice.below(60);
            if self.read(events, stays, finale) {
                return;
            }
        }
    }

    /// `None` where no daemon answers.
    fn open(&mut self) -> Option<Events> {
        loop {
            let snapshot = ["", "&snapshot=1"][usize::from(self.cursor.is_none())];
            let query = format!("{}{snapshot}", self.query);
            match Events::open(self.socket, &query, self.cursor.as_deref()) {
                Ok(events) => {
                    if self.cursor.is_none() {
                        self.told = events.head();
                        self.excused = u64::MAX;
                    } else if self.excused == u64::MAX {
                        self.excused = events.head();
                        self.cursor = Some(format!("{}:{}", events.epoch(), self.told));
                    }
                    return Some(events);
                }
                Err(gone) if gone.status == 410 => {
                    let problem = gone.problem("cursor-gone");
                    let oldest = problem["oldest"].as_str().unwrap();
                    let oldest: u64 = oldest.rsplit(':').next().unwrap().parse().unwrap();
                    assert!(self.told + 1 < oldest, "told {}: {problem}", self.told);
                    self.begin_anew();
                }
                Err(refused) => {
                    assert_eq!(refused.status, 0, "{}", refused.text());
                    return None;
                }
            }
        }
    }

    fn begin_anew(&mut self) {
        self.cursor = None;
        self.newest.clear();
        self.gaps += 1;
    }

    /// Whether everything is over.
    fn read(&mut self, mut events: Events, stays: u64, finale: &Mutex<Option<Finale>>) -> bool {
        let (mut read, mut in_snapshot) = (0, true);
        while let Some(message) = events.next() {
            in_snapshot &= message.seq().is_none();
            self.hear(&message, in_snapshot);
            if message.kind == "gap" {
                return false;
            }
            let expected = finale.lock().unwrap().clone();
            if let Some(Finale { shown, head }) = expected {
                // From here on it stays until it has everything.
                let knows = shown
                    .iter()
                    .all(|(job, step)| self.newest.get(job) == Some(step));
                if self.told >= head && (knows || self.query.contains("lifecycle")) {
                    return true;
                }
            } else {
                read += 1;
                if read > stays {
                    return false;
                }
            }
        }
        false
    }

    fn hear(&mut self, message: &Message, in_snapshot: bool) {
        self.heard += 1;
        if let Some(id) = &message.id {
            self.cursor = Some(id.clone());
        }
        match (message.kind.as_str(), message.seq()) {
            ("bookmark", Some(seq)) => {
                assert!(seq >= self.told, "{message:?} told {}", self.told);
                assert!(
                    !self.gets_all || seq == self.told,
                    "{message:?} told {}",
                    self.told
                );
                self.told = seq;
            }
            ("gap", _) => {
                let from = message.data["from"].as_u64().unwrap();
                assert!(
                    from == self.told + 1 || !self.gets_all,
                    "{message:?} told {}",
                    self.told
                );
                self.begin_anew();
            }
            // What the snapshot shows does not come again; by now the daemon is at least so far.
            ("snapshot_end", _) => self.excused = head(self.socket).unwrap_or(u64::MAX),
            ("progress", _) => {
                let step = message.data["body"]["current_step"].as_f64().unwrap();
                let job = message.data["body"]["job"].to_string();
                self.newest.insert(job, step as u64);
            }
            (_, Some(seq)) => {
                assert!(seq > self.told, "twice: {message:?} told {}", self.told);
                let follows = seq == self.told + 1 || seq - 1 <= self.excused;
                assert!(
                    follows || !self.gets_all,
                    "missing before {message:?}, told {}",
                    self.told
                );
                self.told = seq;
            }
            (_, None) => assert!(in_snapshot || message.kind != "state", "{message:?}"),
        }
    }
}

/// The newest event of the daemon, where one answers.
fn head(socket: &Path) -> Option<u64> {
    let answer = Ask::get("/v1/jobs?limit=1").send(socket).ok()?;
    let as_of = answer.ok()["as_of"].as_str()?.to_owned();
    as_of.rsplit(':').next()?.parse().ok()
}

/// What happens in one round: jobs come, some report, some end.
fn stir(host: &Host, dice: &mut Dice, jobs: &[u64], steps: &mut u64) {
    for _ in 0..20 + dice.below(40) {
        match dice.below(4) {
            0 => {
                let held = host.complete(json!({"command": ["true"], "hold": true}));
                let batch = vec![held; 1 + usize::try_from(dice.below(40)).unwrap()];
                host.post("/v1/jobs", &json!({"jobs": batch})).ok();
            }
            1 => {
                host.submit(json!({"command": ["true"]}));
            }
            _ => {
                let job = jobs[usize::try_from(dice.below(jobs.len() as u64)).unwrap()];
                report(host, job, steps);
            }
        }
    }
}

fn report(host: &Host, job: u64, steps: &mut u64) {
    *steps += 1;
    let report = json!({"step": *steps, "total_steps": 1_000_000});
    host.post(&format!("/v1/jobs/{job}/progress"), &report).ok();
}

#[test]
fn whatever_happens_streams_are_whole_or_say_where_they_are_not() {
    let config = "[api]\nclient_queue = 32\nclient_channels = 2\nheartbeat = \"1s\"\nbookmark = \"1s\"\n\
                  [events]\nring = 32\nkeep = 300\n[jobs]\ndefault_parallelism = 6\n";
    let mut host = Host::with_config(config);
    let seed = u64::from(std::process::id()) << 16 | 4_711;
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let jobs: Vec<u64> = (0..3).map(|_| host.sh("sleep 100000")).collect();
    for job in &jobs {
        host.reaches(*job, "running");
    }
    let socket = host.socket();
    let queries = [
        ("channel=*", true),
        ("class=lifecycle", true),
        ("channel=job/*/*", false),
        ("channel=job/*/*&min_interval_ms=200", false),
    ];
    let mut clients: Vec<Client<'_>> = (1..)
        .zip(queries)
        .map(|(number, (query, gets_all))| Client {
            socket: &socket,
            dice: Dice::new(seed + number),
            query,
            gets_all,
            cursor: None,
            told: 0,
            excused: 0,
            newest: Shown::new(),
            heard: 0,
            gaps: 0,
        })
        .collect();
    let (finale, mut steps) = (Mutex::new(None), 0);
    for round in 1..=ROUNDS {
        std::thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| client.attend(&finale));
            }
            stir(&host, &mut dice, &jobs, &mut steps);
            if round < ROUNDS {
                host.kill9();
                return;
            }
            let mut expected = Shown::new();
            for job in &jobs {
                report(&host, *job, &mut steps);
                expected.insert(job.to_string(), steps);
            }
            let head = head(&host.socket()).unwrap();
            let shown = expected;
            *finale.lock().unwrap() = Some(Finale { shown, head });
            // Whoever has everything already hears of this, and notices.
            host.submit(json!({"command": ["true"]}));
        });
        if round < ROUNDS {
            host.boot();
        }
    }
    for client in &clients {
        assert!(client.heard > 50, "{} heard {}", client.query, client.heard);
        println!(
            "{}: heard {}, {} gaps",
            client.query, client.heard, client.gaps
        );
    }
    for job in jobs {
        host.act_with(job, "cancel", &json!({"grace": 0}));
        host.ended(job);
    }
}

#[test]
fn a_daemon_without_descriptors_says_so_and_serves_again() {
    let host = Host::with_config("[api]\nmax_connections_per_uid = 500\n");
    let holder = std::fs::read_to_string(host.state_dir().join("lock")).unwrap();
    let pid = Pid::from_raw(holder.trim().parse().unwrap());
    let job = host.sh("ulimit -Sn > n; cat n");
    host.ended(job);
    let before = getrlimit(Resource::Nofile).current.unwrap();
    assert_eq!(
        host.text(job).trim(),
        before.to_string(),
        "jobs get the limit of old"
    );
    let open = std::fs::read_dir(format!("/proc/{}/fd", holder.trim()))
        .unwrap()
        .count() as u64;
    let few = Rlimit {
        current: Some(open + 20),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(pid, Resource::Nofile, few).unwrap();
    let mut held = Vec::new();
    let began = Instant::now();
    let told = loop {
        assert!(began.elapsed() < PATIENCE, "{} connections", held.len());
        let mut stream = UnixStream::connect(host.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Who is turned away may be gone before it has asked.
        drop(stream.write_all(b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"));
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap_or(0);
        let said = String::from_utf8_lossy(&piece[..count]).into_owned();
        if !said.starts_with("HTTP/1.1 200") {
            break said;
        }
        held.push(stream);
    };
    assert!(
        told.contains("429") && told.contains("no file descriptors"),
        "{told:?}"
    );
    assert!(told.contains("retry-after"), "{told:?}");
    drop(held);
    let mut answers = std::iter::from_fn(|| Ask::get("/v1/version").send(&host.socket()).ok());
    assert!(answers.any(|answer| answer.status == 200));
    prlimit(pid, Resource::Nofile, getrlimit(Resource::Nofile)).unwrap();
    let health: Value = host.get("/v1/health");
    assert!(health["components"].is_array());
}
