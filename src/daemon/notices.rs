//! What the service manager that started the daemon is told: that it is ready, that it reloads, that it lives, and what it
//! does (`sd_notify(3)`). Nothing happens where nobody wants to know.

use crate::control::Handle;
use crate::daemon::census::{Overview, sentence};
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::sync::watch;

/// A line about what it does comes no oftener than this.
const STATUS_PACE: Duration = Duration::from_secs(1);

/// It serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration again; [`ready`] says when that is over.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It goes down.
pub(super) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("Going down; running jobs go on"),
    ]);
}

/// It waits for jobs that end with it, and may take so much longer.
pub(super) fn wait_for_jobs(more: Duration) {
    let more = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::ExtendTimeoutUsec(more),
        NotifyState::Status("Going down; jobs end first"),
    ]);
}

/// Says that it lives, for as long as it decides: twice in the time after which the manager gives it up.
pub(super) async fn live(control: Handle) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        tokio::time::sleep(within / 2).await;
        if control.answers().await {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Says what it does, whenever that changes.
pub(super) async fn describe(mut overview: watch::Receiver<Overview>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let mut last = String::new();
    loop {
        let now = sentence(&overview.borrow_and_update());
        if now != last {
            tell(&[NotifyState::Status(&now)]);
            last = now;
            tokio::time::sleep(STATUS_PACE).await;
        }
        if overview.changed().await.is_err() {
            return;
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
