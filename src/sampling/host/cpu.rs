//! CPUs: how their time was spent, in all and core by core, and what the scheduler counts.

use crate::model::entity::Entity;
use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::fields::{decimal, lines, number, words};
use crate::sampling::files::{Files, Roots, Source};
use crate::sampling::rates::Meter;

use super::Parts;

/// Time in each mode since the host started, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// In user mode, niced or not, guests of this host included.
    pub user: u64,
    /// In the kernel, interrupts included.
    pub system: u64,
    /// Idle.
    pub idle: u64,
    /// Idle, with a disk to wait for.
    pub iowait: u64,
    /// Given to another guest of the machine.
    pub steal: u64,
}

/// `/proc/stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// All cores together.
    pub total: Option<Modes>,
    /// Each core that is online, by number.
    pub cores: Vec<(u32, Modes)>,
    /// Changes from one task to another.
    pub switches: Option<u64>,
    /// Processes and threads that were begun.
    pub forks: Option<u64>,
    /// Tasks that run or could.
    pub running: Option<u64>,
    /// Tasks that wait for a disk.
    pub blocked: Option<u64>,
}

impl Stat {
    /// Reads the file into this, whatever it held before.
    pub fn parse(&mut self, text: &[u8]) {
        self.cores.clear();
        let cores = std::mem::take(&mut self.cores);
        *self = Self {
            cores,
            ..Self::default()
        };
        for line in lines(text) {
            // The line of interrupts is longer than all others together, and nothing of it is wanted.
            if line.starts_with(b"intr") {
                continue;
            }
            let mut words = words(line);
            let Some(key) = words.next() else { continue };
            if let Some(core) = key.strip_prefix(b"cpu") {
                let modes = modes(words);
                match number(core).and_then(|core| u32::try_from(core).ok()) {
                    Some(core) => self.cores.extend(modes.map(|modes| (core, modes))),
                    None if core.is_empty() => self.total = modes,
                    None => {}
                }
                continue;
            }
            let value = words.next().and_then(number);
            match key {
                b"ctxt" => self.switches = value,
                b"processes" => self.forks = value,
                b"procs_running" => self.running = value,
                b"procs_blocked" => self.blocked = value,
                _ => {}
            }
        }
    }
}

/// Old kernels lack the last ones.
fn modes<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<Modes> {
    let mut ticks = [0; 8];
    let mut count = 0;
    for (place, word) in ticks.iter_mut().zip(words) {
        *place = number(word)?;
        count += 1;
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks;
    (count >= 4).then_some(Modes {
        user: user.saturating_add(nice),
        system: system.saturating_add(irq).saturating_add(softirq),
        idle,
        iowait,
        steal,
    })
}

/// Shares of the time between two readings, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
    /// Idle, with a disk to wait for.
    pub iowait: f64,
    /// Given to another guest.
    pub steal: f64,
}

impl Modes {
    /// How the time since `before` was spent; absent where a counter began anew, or no tick has gone by.
    #[must_use]
    pub fn shares_since(&self, before: &Self) -> Option<Shares> {
        let user = self.user.checked_sub(before.user)?;
        let system = self.system.checked_sub(before.system)?;
        let steal = self.steal.checked_sub(before.steal)?;
        // The kernel may take back some of what it told of these two.
        let iowait = self.iowait.saturating_sub(before.iowait);
        let idle = self.idle.saturating_sub(before.idle);
        let all = user
            .checked_add(system)?
            .checked_add(steal)?
            .checked_add(iowait)?
            .checked_add(idle)?;
        let share = |ticks: u64| ticks as f64 * 100.0 / all as f64;
        (all > 0).then(|| Shares {
            user: share(user),
            system: share(system),
            iowait: share(iowait),
            steal: share(steal),
        })
    }

    fn tell(&self, tick_seconds: f64, to: &mut Readings) {
        let mut set = |metric, ticks: u64| to.set(metric, ticks as f64 * tick_seconds);
        set(Metric::CpuUserSeconds, self.user);
        set(Metric::CpuSystemSeconds, self.system);
        set(Metric::CpuIdleSeconds, self.idle);
        set(Metric::CpuIowaitSeconds, self.iowait);
        set(Metric::CpuStealSeconds, self.steal);
    }
}

/// Reads `/proc/stat` and the load.
#[derive(Debug)]
pub(super) struct Cpu {
    stat: Source,
    load: Source,
    now: Stat,
    before: Stat,
    switches: Meter,
    forks: Meter,
    tick_seconds: f64,
}

impl Cpu {
    pub(super) fn new(roots: &Roots) -> Self {
        Self {
            stat: roots.proc("stat"),
            load: roots.proc("loadavg"),
            now: Stat::default(),
            before: Stat::default(),
            switches: Meter::default(),
            forks: Meter::default(),
            tick_seconds: 1.0 / rustix::param::clock_ticks_per_second().max(1) as f64,
        }
    }

    pub(super) fn read(&mut self, files: &mut Files, at: Stamp, to: &mut Parts) {
        if let Ok(text) = files.read(&mut self.load) {
            tell_load(text, &mut to.host);
        }
        std::mem::swap(&mut self.now, &mut self.before);
        match files.read(&mut self.stat) {
            Ok(text) => self.now.parse(text),
            Err(_) => self.now = Stat::default(),
        }
        self.tell(at, &mut to.host);
        self.tell_cores(to);
    }

    fn tell(&mut self, at: Stamp, to: &mut Readings) {
        let now = &self.now;
        if let Some(total) = now.total {
            total.tell(self.tick_seconds, to);
            let used = total.user.saturating_add(total.system);
            to.set(Metric::CpuSeconds, used as f64 * self.tick_seconds);
            let before = self.before.total;
            if let Some(shares) = before.and_then(|before| total.shares_since(&before)) {
                to.set(Metric::CpuPercent, shares.user + shares.system);
                to.set(Metric::CpuUserPercent, shares.user);
                to.set(Metric::CpuSystemPercent, shares.system);
                to.set(Metric::CpuIowaitPercent, shares.iowait);
                to.set(Metric::CpuStealPercent, shares.steal);
            }
        }
        if !now.cores.is_empty() {
            to.set(Metric::CpuCount, now.cores.len() as f64);
        }
        let count = |value: Option<u64>| value.map(|value| value as f64);
        to.set_if(Metric::ProcessesRunning, count(now.running));
        to.set_if(Metric::ProcessesBlocked, count(now.blocked));
        to.set_if(Metric::ContextSwitches, count(now.switches));
        to.set_if(Metric::Forks, count(now.forks));
        let switches = self.switches.per_second_of(now.switches, at);
        to.set_if(Metric::ContextSwitchesPerSecond, switches);
        let forks = self.forks.per_second_of(now.forks, at);
        to.set_if(Metric::ForksPerSecond, forks);
    }

    fn tell_cores(&self, to: &mut Parts) {
        // Both are in the order of the numbers; one that was offline has none before it.
        let mut before = self.before.cores.iter().peekable();
        for (core, modes) in &self.now.cores {
            while before.next_if(|(other, _)| other < core).is_some() {}
            let mut readings = Readings::default();
            let earlier = before.next_if(|(other, _)| other == core);
            let shares = earlier.and_then(|(_, earlier)| modes.shares_since(earlier));
            if let Some(shares) = shares {
                readings.set(Metric::CpuPercent, shares.user + shares.system);
            }
            modes.tell(self.tick_seconds, &mut readings);
            to.parts.push((Entity::Core(*core), readings));
        }
    }
}

/// `/proc/loadavg`: three loads, and running and all tasks.
fn tell_load(text: &[u8], to: &mut Readings) {
    let mut words = words(text);
    for metric in [Metric::Load1, Metric::Load5, Metric::Load15] {
        to.set_if(metric, words.next().and_then(decimal));
    }
    let tasks = words
        .next()
        .and_then(|word| word.split(|&byte| byte == b'/').nth(1));
    let tasks = tasks.and_then(number);
    to.set_if(Metric::Threads, tasks.map(|tasks| tasks as f64));
}
