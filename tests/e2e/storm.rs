//! The storm: jobs of all lengths, and SIGKILL for the daemon at random instants. Counts afterwards.

use crate::gate::Gate;
use crate::harness::Host;
use crate::http::{Ask, PATIENCE};
use crate::outside::Process;
use crate::stream::Events;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A small generator: the same seed makes the same storm.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `most`.
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % most
    }
}

/// What is known so far; shared by the threads of a storm.
#[derive(Default)]
struct Known {
    /// How often the daemon was started.
    boots: u64,
    /// Whether it is down on purpose.
    is_down: bool,
    /// Whether the storm is over.
    is_over: bool,
    /// Cursor of the newest event.
    cursor: Option<String>,
    /// Number of the newest event.
    seq: u64,
    /// The newest state of each job, from the events.
    states: BTreeMap<u64, String>,
    /// What was submitted, by number.
    jobs: BTreeMap<u64, Plan>,
    faults: Vec<String>,
}

#[derive(Default)]
struct Board {
    known: Mutex<Known>,
    changed: Condvar,
}

impl Board {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
        self.changed.notify_all();
    }

    /// Waits until something is so, at most so long; says whether it is.
    fn wait(&self, most: Duration, mut is_so: impl FnMut(&Known) -> bool) -> bool {
        let known = self.known();
        let waited = self
            .changed
            .wait_timeout_while(known, most, |known| !is_so(known));
        !waited.unwrap().1.timed_out()
    }
}

/// What a job does, and what must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Writes so many lines and ends so.
    Short { lines: u64, code: u64 },
    /// Takes some tenths of a second and ends so.
    Medium { steps: u64, code: u64 },
    /// Fails once and ends well in its second attempt.
    Again,
    /// Runs until the storm is over, writing a line whenever it is told to.
    Long { gate: usize },
    /// Its shim is killed.
    Victim,
}

impl Plan {
    fn spec(self, root: &Path) -> Value {
        let starts = root.join("starts");
        let started = format!("echo $STOKED_JOB.$STOKED_ATTEMPT >> {};", starts.display());
        let say = "echo $STOKED_JOB o $i; echo $STOKED_JOB e $i >&2; i=$((i+1));";
        let script = match self {
            Self::Short { lines, code } => {
                format!("i=0; while [ $i -lt {lines} ]; do {say} done; exit {code}")
            }
            Self::Medium { steps, code } => {
                format!("i=0; while [ $i -lt {steps} ]; do {say} sleep 0.1; done; exit {code}")
            }
            Self::Again => format!("i=0; {say} test $STOKED_ATTEMPT = 2"),
            Self::Long { gate } => {
                let gate = root.join(format!("gate{gate}"));
                format!(
                    "i=0; while read x < {}; do {say} test $x = last && exit 17; done",
                    gate.display()
                )
            }
            Self::Victim => "sleep 1000 & exec sleep 1000".to_owned(),
        };
        let mut spec = json!({"command": ["sh", "-c", started + &script], "group": "storm"});
        if self == Self::Again {
            spec["retry"] = json!({"attempts": 3, "backoff": 0.05});
        }
        if matches!(self, Self::Long { .. } | Self::Victim) {
            spec["group"] = json!("long");
            spec["grace"] = json!(0);
        }
        spec
    }

    /// State, exit code, attempts and lines of the last attempt; `told` is how often long jobs were told.
    fn outcome(self, told: u64) -> (&'static str, Option<u64>, u64, u64) {
        let ended = |code: u64| if code == 0 { "completed" } else { "failed" };
        match self {
            Self::Short { lines, code } => (ended(code), Some(code), 1, lines),
            Self::Medium { steps, code } => (ended(code), Some(code), 1, steps),
            Self::Again => ("completed", Some(0), 2, 1),
            Self::Long { .. } => ("failed", Some(17), 1, told),
            Self::Victim => ("failed", None, 1, 0),
        }
    }
}

/// So many jobs run from the first round to the last.
const LONG: usize = 6;

/// Goes through so many rounds of killing, and checks everything.
pub(crate) fn storm(rounds: u64, seed: u64) {
    println!("storm of {rounds} rounds, seed {seed}");
    let mut dice = Dice::new(seed);
    let mut host = Host::start();
    for (group, places) in [("storm", 8), ("long", 100)] {
        let ask = Ask::new("PUT", format!("/v1/groups/{group}"));
        host.send(&ask.json(&json!({"parallelism": places}))).ok();
    }
    let gates: Vec<Gate> = (0..LONG).map(|n| host.gate(&format!("gate{n}"))).collect();
    let board = Arc::new(Board::default());
    let watcher = {
        let (board, socket) = (Arc::clone(&board), host.socket());
        std::thread::spawn(move || watch(&board, &socket))
    };
    let mut client = Submitter {
        board: Arc::clone(&board),
        socket: host.socket(),
        environment: host.environment(),
        root: host.path(""),
        keys: 0,
    };
    client.submit((0..LONG).map(|gate| Plan::Long { gate }).collect());
    let long: Vec<u64> = board.known().jobs.keys().copied().collect();
    let mains: Vec<Process> = long.iter().map(|id| host.main_process(*id)).collect();
    let mut killed = BTreeSet::new();
    for round in 0..rounds {
        let batch = plans(&mut dice, round);
        let has_victim = batch.contains(&Plan::Victim);
        // The submission goes on while the daemon is killed, so that it is hit in the middle of it too.
        let sender = std::thread::spawn(move || {
            client.submit(batch);
            client
        });
        let more = board.known().seq + dice.below(25);
        let within = Duration::from_millis(dice.below(120));
        board.wait(within, |known| known.seq >= more);
        if has_victim && dice.below(2) == 0 {
            kill_a_shim(&host, &board, &mut dice, &mut killed);
        }
        board.change(|known| known.is_down = true);
        host.kill9();
        if has_victim && dice.below(2) == 0 {
            kill_a_shim(&host, &board, &mut dice, &mut killed);
        }
        gates.iter().for_each(|gate| gate.say("more"));
        host.boot();
        board.change(|known| {
            known.is_down = false;
            known.boots += 1;
        });
        client = sender.join().unwrap();
        for (id, main) in long.iter().zip(&mains) {
            let job = host.job(*id);
            assert_eq!(job["state"], "running", "round {round}: {job:#}");
            assert_eq!(
                host.main_process(*id),
                *main,
                "round {round}: another process"
            );
        }
    }
    finish(&host, &board, &gates, &killed);
    let last = host.events("").head();
    let arrived = board.wait(PATIENCE, |known| known.seq >= last);
    board.change(|known| known.is_over = true);
    host.kill9();
    watcher.join().unwrap();
    host.boot();
    assert!(
        arrived,
        "the events do not come to number {last}: {}",
        board.known().seq
    );
    assert_eq!(host.events("").head(), last);
    check(&host, &board.known(), rounds + 1);
}

/// What is submitted in one round.
fn plans(dice: &mut Dice, round: u64) -> Vec<Plan> {
    let mut plans: Vec<Plan> = (0..2 + dice.below(3))
        .map(|_| match dice.below(4) {
            0 => Plan::Medium {
                steps: 1 + dice.below(4),
                code: dice.below(3),
            },
            1 => Plan::Again,
            _ => Plan::Short {
                lines: 1 + dice.below(200),
                code: dice.below(3) * 41,
            },
        })
        .collect();
    if round.is_multiple_of(4) {
        plans.push(Plan::Victim);
    }
    plans
}

/// Follows the durable events across all restarts, and notes every gap and repetition.
fn watch(board: &Board, socket: &Path) {
    loop {
        let (after, boots) = {
            let known = board.known();
            if known.is_over {
                return;
            }
            (known.cursor.clone(), known.boots)
        };
        let query = if after.is_some() { "" } else { "after=0" };
        if let Ok(mut events) = Events::open(socket, query, after.as_deref()) {
            while let Some(message) = events.next() {
                let Some(seq) = message.seq() else { continue };
                board.change(|known| {
                    if seq != known.seq + 1 {
                        let fault = format!("event {seq} came after event {}", known.seq);
                        known.faults.push(fault);
                    }
                    known.seq = seq;
                    known.cursor.clone_from(&message.id);
                    if let Some((job, state)) = message.state() {
                        known.states.insert(job, state.to_owned());
                    }
                });
            }
        }
        board.wait(PATIENCE, |known| {
            known.boots > boots || known.is_over || !known.is_down
        });
    }
}

/// Submits, again and again with the same key until it is acknowledged.
struct Submitter {
    board: Arc<Board>,
    socket: PathBuf,
    environment: Value,
    root: PathBuf,
    keys: u64,
}

impl Submitter {
    fn submit(&mut self, plans: Vec<Plan>) {
        self.keys += 1;
        let specs: Vec<Value> = plans
            .iter()
            .map(|plan| {
                let mut spec = plan.spec(&self.root);
                spec["env"] = self.environment.clone();
                spec["cwd"] = json!("/");
                spec
            })
            .collect();
        let ask = Ask::post("/v1/jobs", &json!({"jobs": specs}));
        let ask = ask.header("Idempotency-Key", format!("batch-{}", self.keys));
        let patience_ends = Instant::now() + PATIENCE;
        let answer = loop {
            let boots = self.board.known().boots;
            match ask.send(&self.socket) {
                Ok(answer) if answer.is_success() => break answer.json(),
                Ok(answer) if answer.status != 503 => panic!("{} {}", answer.status, answer.text()),
                Ok(_) | Err(_) => {}
            }
            assert!(Instant::now() < patience_ends, "no submission gets through");
            self.board
                .wait(PATIENCE, |known| known.boots > boots || !known.is_down);
        };
        let ids = answer["ids"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64);
        self.board.change(|known| known.jobs.extend(ids.zip(plans)));
    }
}

/// Kills the shim of one of the jobs that are there for it.
fn kill_a_shim(host: &Host, board: &Board, dice: &mut Dice, killed: &mut BTreeSet<u64>) {
    let known = board.known();
    let is_victim = |id: &u64| known.jobs.get(id) == Some(&Plan::Victim);
    let running = |id: &u64| known.states.get(id).is_some_and(|state| state == "running");
    let victims: Vec<u64> = known
        .jobs
        .keys()
        .copied()
        .filter(is_victim)
        .filter(running)
        // The word of its end may not have come yet; its shim is gone, and perhaps its number somebody else's.
        .filter(|id| !killed.contains(id))
        .collect();
    if !victims.is_empty() {
        let chosen = victims[usize::try_from(dice.below(victims.len() as u64)).unwrap()];
        killed.insert(chosen);
        host.shim(&format!("{chosen}.1")).kill();
    }
}

/// Lets everything come to its end.
fn finish(host: &Host, board: &Board, gates: &[Gate], killed: &BTreeSet<u64>) {
    let jobs = board.known().jobs.clone();
    for (id, plan) in &jobs {
        let is_left = *plan == Plan::Victim && !killed.contains(id);
        if is_left && host.job(*id)["finished_at"].is_null() {
            host.reaches(*id, "running");
            host.shim(&format!("{id}.1")).kill();
        }
    }
    gates.iter().for_each(|gate| gate.say("last"));
    jobs.keys().for_each(|id| drop(host.ended(*id)));
}

/// Where shim and daemon were killed within a moment, nobody may be left who saw the end: then it is not guessed.
fn is_state(plan: Plan, expected: &str, job: &Value) -> bool {
    job["state"] == expected || plan == Plan::Victim && job["state"] == "lost"
}

/// Counts.
fn check(host: &Host, known: &Known, told: u64) {
    let mut faults = known.faults.clone();
    let page = host.get("/v1/jobs?limit=1000");
    let listed = page["items"].as_array().unwrap().len();
    if page["next"].is_null() && listed != known.jobs.len() {
        faults.push(format!(
            "{listed} jobs are there, {} were submitted",
            known.jobs.len()
        ));
    }
    let text = fs::read_to_string(host.path("starts")).unwrap();
    let mut starts = BTreeMap::<&str, u64>::new();
    text.lines()
        .for_each(|line| *starts.entry(line).or_default() += 1);
    let mut expected = BTreeSet::new();
    for (id, plan) in &known.jobs {
        let (state, code, attempts, lines) = plan.outcome(told);
        let job = host.job(*id);
        let is_right = is_state(*plan, state, &job)
            && job["exit"]["code"].as_u64() == code
            && job["attempt"].as_u64() == Some(attempts);
        if !is_right {
            faults.push(format!("{plan:?} ended otherwise: {job:#}"));
        }
        if *plan == Plan::Victim
            && !job["failure"]["message"]
                .as_str()
                .unwrap_or("")
                .contains("shim")
        {
            faults.push(format!("the reason is not true: {job:#}"));
        }
        expected.extend((1..=attempts).map(|attempt| format!("{id}.{attempt}")));
        for (stream, letter) in [("stdout", 'o'), ("stderr", 'e')] {
            let output = String::from_utf8(host.output(*id, stream)).unwrap();
            let right: String = (0..lines).map(|n| format!("{id} {letter} {n}\n")).collect();
            if output != right {
                faults.push(format!(
                    "{plan:?} wrote {} bytes to {stream}, {} are there",
                    right.len(),
                    output.len()
                ));
            }
        }
    }
    for (attempt, count) in &starts {
        if *count != 1 || !expected.remove(*attempt) {
            faults.push(format!("attempt {attempt} was started {count} times"));
        }
    }
    faults.extend(
        expected
            .iter()
            .map(|attempt| format!("attempt {attempt} was never started")),
    );
    let (jobs, seq) = (known.jobs.len(), known.seq);
    println!("{jobs} jobs, {} attempts, {seq} events", starts.len());
    assert!(
        faults.is_empty(),
        "{} faults: {faults:#?}\n{}",
        faults.len(),
        host.said()
    );
}
