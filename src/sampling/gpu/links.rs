//! All sources of GPUs that a host has, each behind its link.

mod numbers;

use crate::model::gpu::Xid;
use crate::model::time::Stamp;
use crate::sampling::GpuAnswer;
use crate::sampling::gpu::Kind;
use crate::sampling::gpu::eyes::Places;
use crate::sampling::gpu::link::{GpuLink, Wake};
use crate::sampling::gpu::pids::PidSpace;
use crate::sampling::gpu::probe;
use numbers::Numbers;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// The option of the daemon that makes it look at GPUs instead.
pub const OPTION: &str = "--gpu-eyes";

/// Time between two looks at which sources there are, milliseconds.
const PROBE_MS: u64 = 60_000;

/// What the processes get of the environment, beside where things are: what the library of a driver may need.
const PASSED: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "LANG"];

/// How processes that look at GPUs are started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The daemon's program.
    pub program: PathBuf,
    /// NVIDIA's library, where the settings name it.
    pub nvml_library: Option<PathBuf>,
    /// A recording to be played as well.
    pub recording: Option<Kind>,
    /// Which processes drivers speak of.
    pub pids: PidSpace,
}

impl Settings {
    /// As this process was told: `STOKED_NVML_LIBRARY` goes before the setting, and `STOKED_GPU_RECORDING` names a
    /// recording (`replay=FILE`, or `steps=FILE`).
    #[must_use]
    pub fn of_process(nvml_library: &str) -> Self {
        let Places {
            nvml_library: library,
            pids,
            ..
        } = Places::of_environment(|name| std::env::var_os(name));
        let named = Some(nvml_library).filter(|it| !it.is_empty());
        let recording = std::env::var("STOKED_GPU_RECORDING").ok();
        Self {
            // The program of this process, even where another one was put in its place.
            program: "/proc/self/exe".into(),
            nvml_library: library.or(named.map(PathBuf::from)),
            recording: recording.and_then(|it| it.parse().ok()),
            pids,
        }
    }
}

/// All sources of GPUs.
pub struct GpuLinks {
    settings: Settings,
    places: Places,
    wake: Wake,
    links: BTreeMap<Kind, GpuLink>,
    numbers: Numbers,
    next_source: u32,
    probed_ms: Option<u64>,
    gone: Vec<u32>,
}

impl fmt::Debug for GpuLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuLinks").finish_non_exhaustive()
    }
}

impl GpuLinks {
    /// Looks for nothing and starts nothing yet. `wake` is told whenever there may be something to take.
    #[must_use]
    pub fn new(settings: Settings, wake: Wake) -> Self {
        let mut places = Places::of_environment(|name| std::env::var_os(name));
        places.nvml_library.clone_from(&settings.nvml_library);
        Self {
            settings,
            places,
            wake,
            links: BTreeMap::new(),
            numbers: Numbers::default(),
            next_source: 0,
            probed_ms: None,
            gone: Vec::new(),
        }
    }

    /// Asks all of them, to answer within so many milliseconds. Says how many were asked.
    pub fn ask(&mut self, now: Stamp, within_ms: u64) -> usize {
        let is_due = |probed_ms: u64| now.boot_ms.saturating_sub(probed_ms) >= PROBE_MS;
        if self.probed_ms.is_none_or(is_due) {
            self.probed_ms = Some(now.boot_ms);
            self.probe();
        }
        let links = self.links.values_mut();
        links
            .filter_map(|link| link.ask(now, within_ms).then_some(()))
            .count()
    }

    /// The host slept for so long.
    pub fn slept(&mut self, ms: u64) {
        for link in self.links.values_mut() {
            link.slept(ms);
        }
    }

    /// What they answered, once, with numbers that are unique on this host. Which are left for a source depends on those
    /// before it: what it answers waits for their first word.
    pub fn answers(&mut self, now: Stamp) -> Vec<GpuAnswer> {
        let gone = self.gone.drain(..).map(|source| GpuAnswer {
            source,
            at: now,
            gpus: Vec::new(),
            has_outer_pids: false,
        });
        let mut answers: Vec<GpuAnswer> = gone.collect();
        let pids = self.pids();
        for (kind, link) in &mut self.links {
            if let Some(mut answer) = link.take(now) {
                self.numbers.number(kind, &mut answer.gpus);
                answer.has_outer_pids = *kind == Kind::Nvml && pids == PidSpace::Inner;
                answers.push(answer);
            } else if !self.numbers.has_heard(kind) && link.trouble().is_none() {
                break;
            }
        }
        answers
    }

    /// Which processes NVIDIA's driver and the kernel's log speak of.
    #[must_use]
    pub fn pids(&self) -> PidSpace {
        self.settings.pids
    }

    /// Errors that drivers told of, once.
    pub fn xids(&mut self, now: Stamp) -> Vec<Xid> {
        let links = self.links.values_mut();
        links.flat_map(|link| link.take_xids(now)).collect()
    }

    /// Ends the processes that look, as nobody asks any more. One that does not answer is kept: nobody may start another
    /// one beside it.
    pub fn end(&mut self) {
        self.links.retain(|_, link| link.is_dying());
        self.probed_ms = None;
    }

    /// When one of them has to be looked after at the latest, on the boot clock.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.links.values().filter_map(GpuLink::due_ms).min()
    }

    /// What is wrong with each source, or with some of its GPUs, completing "failed to".
    pub fn troubles(&self) -> BTreeMap<&'static str, String> {
        let links = self.links.iter().filter_map(|(kind, link)| {
            let troubles = match link.trouble() {
                Some(why) => vec![why.to_owned()],
                None => link.troubles_of_gpus(),
            };
            (!troubles.is_empty()).then(|| (kind.name(), troubles.join("; failed to ")))
        });
        links.collect()
    }

    fn probe(&mut self) {
        let mut kinds = probe::kinds(&self.places);
        kinds.extend(self.settings.recording.clone());
        self.drop_all_but(&kinds);
        for kind in kinds {
            if !self.links.contains_key(&kind) {
                let link = self.link(&kind);
                self.links.insert(kind, link);
            }
        }
    }

    /// A link with a process that may still hang is kept: nobody may start another one beside it.
    fn drop_all_but(&mut self, kinds: &BTreeSet<Kind>) {
        let gone = self.links.extract_if(.., |kind, link| {
            !kinds.contains(kind) && link.pid().is_none()
        });
        self.gone.extend(gone.map(|(_, link)| link.source()));
    }

    fn link(&mut self, kind: &Kind) -> GpuLink {
        let source = self.next_source;
        self.next_source += 1;
        let (settings, what) = (self.settings.clone(), kind.to_string());
        let launch = Box::new(move || command(&settings, &what));
        GpuLink::new(source, kind.name(), launch, Arc::clone(&self.wake))
    }
}

fn command(settings: &Settings, kind: &str) -> Command {
    let own = std::env::vars_os();
    let is_passed = |name: &OsString| {
        let name = name.to_string_lossy();
        PASSED.contains(&name.as_ref()) || is_of_place(&name)
    };
    let mut command = Command::new(&settings.program);
    command
        .args([OPTION, kind])
        .env_clear()
        .envs(own.filter(|(name, _)| is_passed(name)))
        .current_dir("/")
        // Ctrl-C in the daemon's terminal is for the daemon.
        .process_group(0);
    if let Some(library) = &settings.nvml_library {
        command.env("STOKED_NVML_LIBRARY", library);
    }
    command
}

fn is_of_place(name: &str) -> bool {
    name.starts_with("STOKED_GPU_") || name == "STOKED_KERNEL_LOG" || name.starts_with("FAKE_NVML_")
}
