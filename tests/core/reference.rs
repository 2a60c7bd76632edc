//! The engine once more, the slow and plain way: a list of jobs, and everything found by looking through it.
//!
//! Written from DESIGN §2 and §7, not from the engine. No indexes, no timers, no counters.

use stoked::model::state::StateName;
use stoked::model::time::Stamp;

/// Why a job is being ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Why {
    Cancel,
    Timeout,
    Restart,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Well,
    Badly,
    Unseen,
}

/// What one wants of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wish {
    Cancel(Option<u64>),
    Restart(Option<u64>),
    Pause,
    Resume,
    Hold,
    Release,
    Approve,
    Reject,
    Retry,
    Remove,
    Rank(u8),
    Move(usize),
}

/// A group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) places: u32,
    pub(crate) paused: bool,
}

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) state: StateName,
    pub(crate) owner: u32,
    pub(crate) lane: usize,
    pub(crate) rank: u8,
    pub(crate) not_before: Option<i64>,
    pub(crate) timeout: Option<u64>,
    pub(crate) grace: u64,
    pub(crate) max_attempts: u32,
    pub(crate) backoff: u64,
    pub(crate) after: Vec<usize>,
    pub(crate) approval: bool,
    pub(crate) removed: bool,
    pub(crate) attempts: u32,
    pub(crate) tries: u32,
    /// Running: since when, and what it had run before a pause.
    pub(crate) since: u64,
    pub(crate) ran: u64,
    /// Stopping.
    pub(crate) why: Why,
    pub(crate) kill_at: u64,
    pub(crate) killed: bool,
    /// Backoff.
    pub(crate) until: u64,
}

impl Plain {
    pub(crate) fn new(state: StateName, lane: usize) -> Self {
        Self {
            state,
            owner: 0,
            lane,
            rank: 5,
            not_before: None,
            timeout: None,
            grace: 0,
            max_attempts: 1,
            backoff: 0,
            after: Vec::new(),
            approval: false,
            removed: false,
            attempts: 0,
            tries: 0,
            since: 0,
            ran: 0,
            why: Why::Cancel,
            kill_at: 0,
            killed: false,
            until: 0,
        }
    }

    fn live(&self) -> bool {
        !self.removed && !self.state.is_final()
    }

    pub(crate) fn on_the_way(&self) -> bool {
        self.state.holds_place()
    }
}

/// All jobs and groups.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) jobs: Vec<Plain>,
    pub(crate) lanes: Vec<Lane>,
    /// Nothing starts.
    pub(crate) draining: bool,
    /// Live jobs that one user may have.
    pub(crate) most: Option<u32>,
    pub(crate) now: Stamp,
    /// Attempts that were started since somebody looked.
    pub(crate) launched: Vec<usize>,
}

impl Reference {
    /// How many of the jobs it waits for are not over.
    pub(crate) fn unmet(&self, job: usize) -> usize {
        let after = &self.jobs[job].after;
        after.iter().filter(|it| self.jobs[**it].live()).count()
    }

    /// How many jobs of a user are not over.
    pub(crate) fn live_of(&self, owner: u32) -> usize {
        let own = |job: &&Plain| job.owner == owner && job.live();
        self.jobs.iter().filter(own).count()
    }

    /// Whether a user may have so many more; root may.
    pub(crate) fn room(&self, owner: u32, more: usize) -> bool {
        let most = self.most.filter(|_| owner != 0);
        most.is_none_or(|most| self.live_of(owner) + more <= most as usize)
    }

    pub(crate) fn early(&self, job: usize) -> bool {
        let at = self.jobs[job].not_before;
        at.is_some_and(|at| at > self.now.wall_ms)
    }

    fn taken(&self, lane: usize) -> usize {
        let here = |job: &&Plain| job.lane == lane && job.on_the_way();
        self.jobs.iter().filter(here).count()
    }

    /// Does what is wanted; says whether that was possible.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the reference names what is allowed; everything else is not"
    )]
    pub(crate) fn wish(&mut self, id: usize, wish: Wish) -> bool {
        let job = &self.jobs[id];
        if job.removed {
            return false;
        }
        let state = job.state;
        let approval = state == StateName::Held && job.approval;
        let owner = state == StateName::Held && !job.approval;
        let waiting = job.live() && !job.on_the_way();
        match wish {
            Wish::Cancel(_) if waiting => self.finish(id, StateName::Cancelled),
            Wish::Cancel(grace) if job.on_the_way() => self.stop(id, Why::Cancel, grace),
            Wish::Restart(_) | Wish::Retry if state.is_final() => return self.again(id),
            Wish::Restart(_) if state == StateName::Backoff => self.queue_anew(id),
            Wish::Restart(grace) if job.on_the_way() => {
                if state == StateName::Stopping && job.why != Why::Restart {
                    return false;
                }
                self.stop(id, Why::Restart, grace);
            }
            Wish::Pause if state == StateName::Running => {
                let ran = job.ran + (self.now.boot_ms - job.since);
                self.jobs[id].ran = ran;
                self.jobs[id].state = StateName::Paused;
            }
            Wish::Resume if state == StateName::Paused => {
                self.jobs[id].since = self.now.boot_ms;
                self.jobs[id].state = StateName::Running;
            }
            Wish::Hold if state == StateName::Queued || state == StateName::Backoff => {
                self.jobs[id].state = StateName::Held;
                self.jobs[id].approval = false;
            }
            Wish::Release if owner => self.jobs[id].state = StateName::Queued,
            Wish::Approve if approval => self.jobs[id].state = StateName::Queued,
            Wish::Reject if approval => self.finish(id, StateName::Cancelled),
            Wish::Remove if state.is_final() => self.jobs[id].removed = true,
            Wish::Rank(rank) if waiting => self.jobs[id].rank = rank,
            Wish::Move(lane) if waiting => self.jobs[id].lane = lane,
            _ => return false,
        }
        true
    }

    fn stop(&mut self, id: usize, why: Why, grace: Option<u64>) {
        let now = self.now.boot_ms;
        let job = &mut self.jobs[id];
        let grace = grace.unwrap_or(job.grace);
        if job.state != StateName::Stopping {
            job.state = StateName::Stopping;
            job.why = why;
            job.kill_at = now + grace;
            job.killed = false;
        }
        if why == Why::Cancel {
            job.why = why;
        }
        job.kill_at = job.kill_at.min(now + grace);
        job.killed |= grace == 0;
    }

    fn again(&mut self, id: usize) -> bool {
        let job = &self.jobs[id];
        let began = job.attempts > 0;
        let hopeless = job.after.iter().map(|it| &self.jobs[*it]).any(|it| {
            let over = !it.live();
            over && ((it.removed && !began) || (!it.removed && it.state != StateName::Completed))
        });
        let may = !hopeless && self.room(self.jobs[id].owner, 1);
        if may {
            self.queue_anew(id);
        }
        may
    }

    fn queue_anew(&mut self, id: usize) {
        self.jobs[id].state = StateName::Queued;
        self.jobs[id].tries = 0;
    }

    /// A job is over; whoever waits for it is too, unless it completed.
    pub(crate) fn finish(&mut self, id: usize, state: StateName) {
        self.jobs[id].state = state;
        if state == StateName::Completed {
            return;
        }
        for waiter in 0..self.jobs.len() {
            let it = &self.jobs[waiter];
            if it.live() && !it.on_the_way() && it.after.contains(&id) {
                self.finish(waiter, StateName::Skipped);
            }
        }
    }

    /// The command of a job runs.
    pub(crate) fn started(&mut self, id: usize) {
        let job = &mut self.jobs[id];
        if job.state == StateName::Starting {
            job.state = StateName::Running;
            job.since = self.now.boot_ms;
            job.ran = 0;
        }
    }

    /// The present attempt of a job ended.
    pub(crate) fn ended(&mut self, id: usize, end: End) {
        let job = &self.jobs[id];
        if !job.on_the_way() {
            return;
        }
        let why = Some(job.why).filter(|_| job.state == StateName::Stopping);
        let again = job.tries < job.max_attempts;
        match (why, end) {
            (Some(Why::Cancel), _) => self.finish(id, StateName::Cancelled),
            (_, End::Unseen) => self.finish(id, StateName::Lost),
            (Some(Why::Restart), _) => self.queue_anew(id),
            (None, End::Well) => self.finish(id, StateName::Completed),
            (Some(Why::Timeout) | None, _) if again => {
                let job = &mut self.jobs[id];
                job.state = StateName::Backoff;
                let doubled = job.backoff << (job.tries - 1);
                job.until = self.now.boot_ms + doubled.min(9);
            }
            (Some(Why::Timeout), _) => self.finish(id, StateName::TimedOut),
            (None, End::Badly) => self.finish(id, StateName::Failed),
        }
    }

    /// Does what is due, then fills the free places: the most urgent first, then the oldest.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the reference names what is allowed; everything else is not"
    )]
    pub(crate) fn settle(&mut self) {
        while let Some(id) = (0..self.jobs.len()).find(|id| self.due(*id)) {
            match self.jobs[id].state {
                StateName::Running => self.stop(id, Why::Timeout, None),
                StateName::Stopping => self.jobs[id].killed = true,
                _ => self.jobs[id].state = StateName::Queued,
            }
        }
        for lane in 0..self.lanes.len() {
            let Lane { places, paused } = self.lanes[lane];
            while !paused && !self.draining && self.taken(lane) < places as usize {
                let next = (0..self.jobs.len())
                    .filter(|id| self.jobs[*id].lane == lane && self.may_start(*id))
                    .min_by_key(|id| (self.jobs[*id].rank, *id));
                let Some(id) = next else {
                    break;
                };
                let job = &mut self.jobs[id];
                job.state = StateName::Starting;
                job.attempts += 1;
                job.tries += 1;
                self.launched.push(id);
            }
        }
    }

    fn may_start(&self, id: usize) -> bool {
        let job = &self.jobs[id];
        !job.removed && job.state == StateName::Queued && self.unmet(id) == 0 && !self.early(id)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the reference names what is allowed; everything else is not"
    )]
    fn due(&self, id: usize) -> bool {
        let job = &self.jobs[id];
        let now = self.now.boot_ms;
        match job.state {
            StateName::Running => job
                .timeout
                .is_some_and(|timeout| job.ran + (now - job.since) >= timeout),
            StateName::Stopping => !job.killed && job.kill_at <= now,
            StateName::Backoff => job.until <= now,
            _ => false,
        }
    }
}
