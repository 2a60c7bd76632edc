//! A job as it is now, on one line: what `run` shows below its output, and `watch` of each job.

use crate::cli::output::progress::{self, Head};
use crate::cli::output::style::{self, Look};
use crate::cli::output::table::words_of;
use crate::cli::output::text::{duration, harmless};
use crate::wire::job::JobView;
use crate::wire::progress::ProgressView;
use tokio::time::{Duration, Instant};

/// What is known of a job.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// Its state; empty before it is known.
    pub state: String,
    /// Why it waits.
    pub reason: Option<String>,
    /// How far it is.
    pub progress: ProgressView,
    running_since: Option<Instant>,
}

impl Live {
    /// A job as the daemon describes it.
    #[must_use]
    pub fn of(job: JobView) -> Self {
        let ran = job.started_at.map(|at| {
            let seconds = jiff::Timestamp::now().duration_since(at).as_secs_f64();
            // Clocks of two processes of one host agree, but may be set between two looks.
            Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
        });
        let mut live = Self::default();
        live.moves(job.name, job.state, job.reason);
        live.progress = job.progress.unwrap_or_default();
        if let (Some(ran), Some(_)) = (ran, live.running_since) {
            live.running_since = Instant::now().checked_sub(ran).or(live.running_since);
        }
        live
    }

    /// It is in this state now.
    pub fn moves(&mut self, name: String, state: String, reason: Option<String>) {
        if state == "running" && self.state != "running" {
            self.running_since = Some(Instant::now());
        } else if state != "running" {
            self.running_since = None;
        }
        (self.name, self.state, self.reason) = (name, state, reason);
    }

    /// Its line, no longer than the terminal is wide.
    #[must_use]
    pub fn line(&self, id: u64, look: &Look) -> String {
        let (glyph, _) = style::state(&self.state);
        let state = match (&self.reason, self.running_since) {
            (_, Some(since)) => duration(since.elapsed().as_secs_f64()),
            (Some(reason), None) => {
                format!("{} · {}", self.state, harmless(&words_of(reason)))
            }
            (None, None) => harmless(&style::state_words(&self.state)).into_owned(),
        };
        let head = Head {
            mark: &format!("{glyph} {id}"),
            name: &harmless(&self.name),
            state: &state,
        };
        let width = usize::from(look.width).saturating_sub(1);
        progress::line(look, head, &self.progress, width)
    }
}
