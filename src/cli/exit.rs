//! The exit status of `run` and `wait`: that of the job, as far as it has one.

use crate::cli::output::style;
use crate::client::JobStateBody;
use crate::wire::job::{ExitView, FailureView, JobView};

/// What is added below the help of `run` and `wait`.
pub const EXIT_HELP: &str = "\
Exit status: that of the job, 128+N where signal N ended it. Where the job has none:
  123 skipped (a job it depends on ended badly)   124 timed out
  125 lost (its end was not seen)                 127 could not be started
  130 cancelled                                     1 failed in another way
Where stoke itself fails: 1 failed, 2 usage, 3 no daemon, 4 not found, 5 not permitted";

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The final state.
    pub state: String,
    /// How its last process ended.
    pub exit: Option<ExitView>,
    /// Why it failed.
    pub failure: Option<FailureView>,
}

impl Outcome {
    /// How `job` ended; `None` while it has not.
    #[must_use]
    pub fn of(job: &JobView) -> Option<Self> {
        style::is_final(&job.state).then(|| Self {
            state: job.state.clone(),
            exit: job.exit,
            failure: job.failure.clone(),
        })
    }

    /// How the job of `body` ended; `None` while it has not.
    #[must_use]
    pub fn of_event(body: &JobStateBody) -> Option<Self> {
        style::is_final(&body.state).then(|| Self {
            state: body.state.clone(),
            exit: body.exit,
            failure: body.failure.clone(),
        })
    }

    /// The exit status that stands for it.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self.state.as_str() {
            "completed" => return 0,
            "cancelled" => return 130,
            "timed_out" => return 124,
            "skipped" => return 123,
            "lost" => return 125,
            _ => {}
        }
        if let Some(status) = self.exit.and_then(of_exit) {
            return status;
        }
        match self.failure.as_ref().map(|failure| failure.class.as_str()) {
            Some("spawn") => 127,
            Some("timeout") => 124,
            Some("dependency") => 123,
            _ => 1,
        }
    }

    /// One line for people; `None` where the exit status says it all.
    #[must_use]
    pub fn explanation(&self, id: u64) -> Option<String> {
        let message = self.failure.as_ref().and_then(|it| it.message.as_deref());
        let class = self.failure.as_ref().map(|failure| failure.class.as_str());
        let is_plain_exit = matches!(class, None | Some("exit"));
        let has_code = self
            .exit
            .is_some_and(|exit| exit.code.is_some_and(|code| code != 0));
        if self.state == "completed" || self.state == "failed" && is_plain_exit && has_code {
            return None;
        }
        let state = style::state_words(&self.state);
        Some(match (message, class) {
            (Some(message), _) => format!("job {id} {state}: {message}"),
            (None, Some(class)) if self.state == "failed" => {
                let signal = self.exit.and_then(|exit| exit.signal);
                let number = signal.map(|signal| format!(" {signal}"));
                format!("job {id} failed: {class}{}", number.unwrap_or_default())
            }
            (None, _) => format!("job {id} was {state}").replace("was failed", "failed"),
        })
    }
}

/// The status of a process that did not end well; a shell would show the same.
fn of_exit(exit: ExitView) -> Option<u8> {
    let status = match (exit.code, exit.signal) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => return None,
    };
    u8::try_from(status).ok().filter(|&status| status != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(
        state: &str,
        code: Option<i32>,
        signal: Option<i32>,
        class: Option<&str>,
    ) -> Outcome {
        Outcome {
            state: state.into(),
            exit: (code.is_some() || signal.is_some()).then_some(ExitView {
                code,
                signal,
                core_dumped: false,
            }),
            failure: class.map(|class| FailureView {
                class: class.into(),
                message: None,
            }),
        }
    }

    #[test]
    fn the_job_s_status_is_passed_through() {
        for (status, outcome) in [
            (0, outcome("completed", Some(0), None, None)),
            (3, outcome("failed", Some(3), None, Some("exit"))),
            (137, outcome("failed", None, Some(9), Some("signal"))),
            (127, outcome("failed", None, None, Some("spawn"))),
            (1, outcome("failed", Some(0), None, Some("stalled"))),
            (1, outcome("failed", None, None, None)),
            (124, outcome("timed_out", None, Some(15), Some("timeout"))),
            (130, outcome("cancelled", None, Some(15), None)),
            (123, outcome("skipped", None, None, Some("dependency"))),
            (125, outcome("lost", None, None, Some("host_lost"))),
            (1, outcome("of_the_future", None, None, None)),
        ] {
            assert_eq!(outcome.status(), status, "{outcome:?}");
        }
    }

    #[test]
    fn only_what_a_status_cannot_say_is_explained() {
        let said = |outcome: Outcome| outcome.explanation(7);
        assert_eq!(said(outcome("completed", Some(0), None, None)), None);
        assert_eq!(said(outcome("failed", Some(3), None, Some("exit"))), None);
        let text = said(outcome("timed_out", None, Some(15), Some("timeout")));
        assert_eq!(text.as_deref(), Some("job 7 was timed out"));
        let text = said(outcome("failed", None, Some(9), Some("signal")));
        assert_eq!(text.as_deref(), Some("job 7 failed: signal 9"));
        let text = said(outcome("failed", None, None, Some("spawn")));
        assert_eq!(text.as_deref(), Some("job 7 failed: spawn"));
    }
}
