//! What becomes of running jobs when the daemon is told to end: they go on, unless the configuration says that they end
//! with it and it is stopped for good.

use crate::auth::Mode;
use crate::config::OnStop;
use crate::control::Handle;
use crate::control::command::{Command, Reply};
use crate::daemon::census::Overview;
use crate::daemon::tuning::{is_installed, service_manager};
use crate::daemon::{clock, notices};
use crate::model::state::{StateName, StopCause};
use std::time::Duration;
use tokio::sync::watch;

/// How long what was killed may take to be gone.
const LAST_WAIT: Duration = Duration::from_secs(20);

/// How often the service manager is asked for patience, and for how much more than that.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why jobs end with the daemon that is stopped for good; nothing where they go on.
pub(super) fn cause(on_stop: OnStop) -> Option<StopCause> {
    match on_stop {
        OnStop::Continue => None,
        OnStop::Cancel => Some(StopCause::Cancel),
        OnStop::Requeue => Some(StopCause::Restart),
    }
}

/// Whether somebody wants this daemon to be gone. A restart, an upgrade or a signal after which it is started again do not;
/// where that cannot be found out, nothing is ended that may have been meant to go on.
pub(super) async fn is_for_good(mode: Mode) -> bool {
    if !is_installed() {
        // Whoever started it by hand and ends it starts it again, or not.
        return true;
    }
    let asked = async { service_manager(mode)?.stops(std::process::id()).await };
    match asked.await {
        Ok(stops) => stops,
        Err(why) => {
            tracing::warn!(
                why,
                "whether this is for good is not known: running jobs go on"
            );
            false
        }
    }
}

/// Asks all that runs to end, and waits for it. What does not end in its grace is killed; what is still there after that
/// is left to the next daemon.
pub(super) async fn end_jobs(
    control: &Handle,
    mut overview: watch::Receiver<Overview>,
    cause: StopCause,
) {
    let killed_by = match control.command(Command::GoDown { cause }).await {
        Ok(Reply::GoingDown { killed_by }) => killed_by,
        Ok(other) => return tracing::error!(?other, "going down was answered with something else"),
        Err(error) => return tracing::error!(%error, "running jobs cannot be ended, and go on"),
    };
    let grace_ms = killed_by.boot_ms.saturating_sub(clock::now().boot_ms);
    let within = Duration::from_millis(grace_ms) + LAST_WAIT;
    let idle = overview.wait_for(|overview| running(overview) == 0);
    let patience = async {
        loop {
            notices::wait_for_jobs(PATIENCE * 2);
            tokio::time::sleep(PATIENCE).await;
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(within, idle) => {}
        () = patience => {}
    }
    let left = running(&overview.borrow());
    if left > 0 {
        tracing::warn!(
            left,
            "some jobs have not ended; the next daemon goes on with them"
        );
    }
}

/// How many jobs hold a place.
fn running(overview: &Overview) -> u64 {
    let counts = overview.counts.iter();
    let running = counts.filter(|(state, _)| StateName::holds_place(**state));
    running.map(|(_, count)| count).sum()
}
