//! One job with everything that is known about it, and how to look further.

use crate::cli::output::page::Page;
use crate::cli::output::progress::{self, Head};
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::table::{known_columns, plain, state_text, took};
use crate::cli::output::text::{ago, bytes, command_line, duration, harmless, rough};
use crate::cli::output::usage;
use crate::model::limits::write_numbers;
use crate::wire::job::{AttemptView, ExitView, JobView};
use crate::wire::limits::LimitsView;
use jiff::Timestamp;

/// The page of one job.
#[must_use]
pub fn job(job: &JobView, look: &Look) -> String {
    let mut page = Page::new(look);
    page.head(job);
    page.progress(job);
    page.usage(job);
    page.spec(job);
    page.times(job);
    page.attempts(&job.attempts);
    page.further(job);
    page.out
}

/// How a process ended, in words.
#[must_use]
pub fn exit_words(exit: ExitView) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) if exit.core_dumped => format!("signal {signal} (core dumped)"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    }
}

impl Page<'_> {
    fn head(&mut self, job: &JobView) {
        let title = format!("Job {}  {}", job.id, harmless(&job.name));
        self.line(&self.look.paint(Tone::Strong, &title));
        let (_, tone) = style::state(&job.state);
        let mut state = self.look.paint(tone, &state_text(job));
        if let Some(took) = took(job, self.look) {
            state += &format!("  {took}");
        }
        if let Some(pid) = job.pid {
            state += &self.look.paint(Tone::Faint, &format!("  pid {pid}"));
        }
        self.line(&state);
        let message = job.failure.as_ref().and_then(|it| it.message.as_deref());
        if let Some(message) = message {
            self.line(&self.look.paint(Tone::Bad, &harmless(message)));
        }
        self.line("");
    }

    fn progress(&mut self, job: &JobView) {
        let Some(shown) = &job.progress else { return };
        let mut shown = shown.clone();
        if style::is_final(&job.state) {
            // What was left when it ended says nothing any more.
            (shown.eta_seconds, shown.rate) = (None, None);
        }
        let shown = &shown;
        let width = self.room();
        let mut brief = shown.clone();
        (brief.metrics, brief.message) = (std::collections::BTreeMap::new(), None);
        let line = progress::line(self.look, Head::default(), &brief, width);
        if !line.is_empty() {
            self.field("Progress", line.trim_start());
        }
        if let Some(eta) = progress::eta(shown, true) {
            let basis = match shown.eta_basis.as_deref() {
                Some("history") => ", by earlier runs",
                Some("claim") => ", by its own word",
                Some(_) | None => "",
            };
            self.field("Left", &format!("{eta}{basis}"));
        }
        self.parts("Metrics", &progress::metrics(shown));
        if !shown.left_out.is_empty() {
            let more: Vec<_> = shown.left_out.iter().map(|what| harmless(what)).collect();
            let text = format!("more {} were reported than are kept", more.join(" and "));
            self.field("Left out", &text);
        }
        self.some("Says", shown.message.as_deref());
        for step in &shown.steps {
            let percent = step.percent.map(|it| format!(" {}", progress::percent(it)));
            let percent = percent.unwrap_or_default();
            let text = format!(
                "{} {}{percent}",
                harmless(&step.name),
                harmless(&step.state)
            );
            self.field("Step", &text);
        }
        if let (Some(source), Some(at)) = (&shown.source, shown.updated_at) {
            let ago = ago(self.look.seconds_since(at));
            let text = format!("{ago}, from {}", harmless(source));
            self.field("Reported", &self.look.paint(Tone::Faint, &text));
        }
    }

    fn usage(&mut self, job: &JobView) {
        // Of a job that has ended this is what it used last, and its attempts say what it used altogether.
        let Some(now) = job.usage.as_ref().filter(|_| !style::is_final(&job.state)) else {
            return;
        };
        for (label, parts) in usage::facts(now) {
            self.parts(&label, &parts);
        }
        let ago = ago(self.look.seconds_since(now.time));
        self.field("Measured", &self.look.paint(Tone::Faint, &ago));
    }

    fn spec(&mut self, job: &JobView) {
        if !job.command.is_empty() {
            self.field("Command", &command_line(&job.command));
        }
        if let Some(cwd) = &job.cwd {
            self.field("Directory", &harmless(cwd));
        }
        if !job.env_names.is_empty() {
            let text = format!("{} variables", job.env_names.len());
            self.field("Environment", &text);
        }
        self.field("Owner", &harmless(&job.owner.user));
        let priority = job.priority.map(|it| format!(", priority {it}"));
        let group = format!("{}{}", harmless(&job.group), priority.unwrap_or_default());
        self.field("Group", &group);
        self.some("Kind", job.kind.as_deref());
        self.some("Flow", job.flow.as_deref());
        for (name, value) in &job.labels {
            self.field("Label", &format!("{}={}", harmless(name), harmless(value)));
        }
        if !job.depends_on.is_empty() {
            let ids: Vec<_> = job.depends_on.iter().map(u64::to_string).collect();
            self.field("After", &ids.join(", "));
        }
        if let Some(timeout) = job.timeout {
            self.field("Timeout", &timeout.to_string());
        }
        if let Some(attempts) = job.max_attempts {
            self.field("Attempts", &format!("up to {attempts}"));
        }
        if let Some(limits) = &job.limits {
            self.field("Limits", &limits_line(limits));
        }
        if job.tty {
            self.field("Terminal", "one of its own");
        }
    }

    fn times(&mut self, job: &JobView) {
        self.time("Submitted", Some(job.created_at));
        self.time("Not before", job.not_before);
        self.time("Started", job.started_at);
        self.time("Finished", job.finished_at);
        self.time("Retry", job.retry_at);
    }

    fn attempts(&mut self, attempts: &[AttemptView]) {
        if attempts.is_empty() {
            return;
        }
        self.line("");
        let head = [
            "ATTEMPT", "END", "STARTED", "TIME", "CPU", "MEMORY", "READ", "WROTE", "HELD BY",
        ];
        let rows: Vec<_> = attempts.iter().map(|it| self.attempt(it)).collect();
        let (head, rows) = known_columns(&head, rows);
        self.out += &plain(&head, rows, self.look);
        let devices: Vec<_> = attempts.iter().flat_map(devices).collect();
        if !devices.is_empty() {
            self.line("");
            let head = ["ATTEMPT", "DEVICE", "HELD", "BUSY", "MEMORY", "ENERGY"];
            let (head, devices) = known_columns(&head, devices);
            self.out += &plain(&head, devices, self.look);
        }
    }

    fn attempt(&self, attempt: &AttemptView) -> Vec<(Tone, String)> {
        let (tone, end) = attempt_end(attempt);
        let started = attempt.started_at;
        let took = started.map(|started| {
            let ended = attempt.finished_at.unwrap_or(self.look.now);
            duration(ended.duration_since(started).as_secs_f64().max(0.0))
        });
        let usage = attempt.usage;
        // Of all its processes where the kernel counted them together, else of those that were waited for.
        let cpu = usage.map(|it| {
            let waited_for = it.user_cpu_seconds + it.system_cpu_seconds;
            duration(it.cpu_seconds.unwrap_or(waited_for))
        });
        let memory = usage.map(|it| bytes(it.memory_peak_bytes.unwrap_or(it.max_rss_bytes)));
        let read = usage.and_then(|it| it.io_read_bytes).map(bytes);
        let wrote = usage.and_then(|it| it.io_write_bytes).map(bytes);
        let containment = attempt.containment.as_deref().map(harmless);
        vec![
            (Tone::Strong, attempt.attempt.to_string()),
            (tone, end),
            (
                Tone::Plain,
                started.map_or_else(String::new, |at| self.look.date_time(at)),
            ),
            (Tone::Plain, took.unwrap_or_default()),
            (Tone::Plain, cpu.unwrap_or_default()),
            (Tone::Plain, memory.unwrap_or_default()),
            (Tone::Plain, read.unwrap_or_default()),
            (Tone::Plain, wrote.unwrap_or_default()),
            (Tone::Faint, containment.unwrap_or_default().into_owned()),
        ]
    }

    fn further(&mut self, job: &JobView) {
        let id = job.id;
        let mut ways = Vec::new();
        if !job.attempts.is_empty() {
            let follow = if style::is_final(&job.state) {
                ""
            } else {
                "-f "
            };
            ways.push(format!("stoke logs {follow}{id}"));
        }
        if style::is_final(&job.state) {
            ways.push(format!("stoke retry {id}"));
            ways.push(format!("stoke rm {id}"));
        } else {
            ways.push(format!("stoke watch job/{id}/*"));
            ways.push(format!("stoke cancel {id}"));
        }
        self.line("");
        let text = format!("Further: {}", ways.join(" · "));
        self.line(&self.look.paint(Tone::Faint, &text));
    }

    fn time(&mut self, label: &str, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        let seconds = self.look.seconds_since(time);
        let distance = if seconds < 0.0 {
            format!("in {}", rough(-seconds))
        } else {
            ago(seconds)
        };
        let distance = self.look.paint(Tone::Faint, &format!("({distance})"));
        self.field(label, &format!("{} {distance}", self.look.date_time(time)));
    }
}

/// What an attempt used of each GPU, and of the CPUs what only energy tells.
fn devices(attempt: &AttemptView) -> Vec<Vec<(Tone, String)>> {
    let Some(used) = &attempt.gpu_usage else {
        return Vec::new();
    };
    let number = attempt.attempt.to_string();
    let row =
        |device: String, held, busy: Option<f64>, memory: Option<u64>, energy: Option<f64>| {
            vec![
                (Tone::Strong, number.clone()),
                (Tone::Plain, device),
                (Tone::Plain, held),
                (Tone::Plain, busy.map(usage::percent).unwrap_or_default()),
                (Tone::Plain, memory.map(bytes).unwrap_or_default()),
                (Tone::Plain, energy.map(usage::energy).unwrap_or_default()),
            ]
        };
    let gpus = used.gpus.iter().map(|gpu| {
        row(
            harmless(&gpu.uuid).into_owned(),
            duration(gpu.seconds),
            gpu.mean_utilization_percent,
            gpu.memory_peak_bytes,
            gpu.energy_joules,
        )
    });
    let cpus = used.cpu_energy_joules;
    let cpus = cpus.map(|joules| row("CPUs".to_owned(), String::new(), None, None, Some(joules)));
    gpus.chain(cpus).collect()
}

fn attempt_end(attempt: &AttemptView) -> (Tone, String) {
    let failure = attempt.failure.as_ref();
    match (attempt.exit, failure) {
        (Some(exit), None) if exit.code == Some(0) => (Tone::Good, exit_words(exit)),
        (Some(exit), Some(failure)) if !matches!(failure.class.as_str(), "exit" | "signal") => {
            let class = harmless(&failure.class).replace('_', " ");
            (Tone::Bad, format!("{class}, {}", exit_words(exit)))
        }
        (Some(exit), _) => (Tone::Bad, exit_words(exit)),
        (None, Some(failure)) => (Tone::Bad, harmless(&failure.class).replace('_', " ")),
        (None, None) if attempt.finished_at.is_none() => (Tone::Active, "running".to_owned()),
        (None, None) => (Tone::Plain, String::new()),
    }
}

/// What an attempt may use, in a line.
fn limits_line(limits: &LimitsView) -> String {
    let mut parts = Vec::new();
    parts.extend(
        limits
            .memory_max_bytes
            .map(|most| format!("memory {}", bytes(most))),
    );
    parts.extend(
        limits
            .cpu_weight
            .map(|weight| format!("CPU weight {weight}")),
    );
    parts.extend(
        limits
            .io_weight
            .map(|weight| format!("disk weight {weight}")),
    );
    parts.extend(limits.tasks_max.map(|most| format!("processes {most}")));
    let cpus = limits.allowed_cpus.as_ref();
    parts.extend(cpus.map(|cpus| format!("CPUs {}", harmless(cpus))));
    parts.extend(limits.gpus.as_ref().map(|gpus| match gpus.is_empty() {
        true => "no GPUs".to_owned(),
        false => format!("GPUs {}", write_numbers(gpus)),
    }));
    parts.join(", ")
}

#[cfg(test)]
mod tests;
