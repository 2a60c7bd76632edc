//! What has to be done now and then: old events and keys let go, a degraded store looked at.
//!
//! Nothing here ticks while nothing happens: trimming follows events, probing follows trouble.

use crate::daemon::clock;
use crate::events::Bus;
use crate::model::id::Seq;
use crate::store::{Condition, Retention, Samples, Store, TrimPolicy};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often a degraded store is looked at.
const PROBE: Duration = Duration::from_secs(1);

/// How many new events make it worth looking for old ones.
pub(super) const TRIM_EVERY: usize = 10_000;

/// Looks at a degraded store until it is well, whenever it is degraded.
pub(super) async fn probe(store: Store, stop: CancellationToken) {
    let mut condition = store.condition();
    loop {
        let degraded = *condition.borrow_and_update() != Condition::Healthy;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = condition.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PROBE), if degraded => {
                if let Err(error) = store.probe().await {
                    tracing::debug!(%error, "the store is still degraded");
                }
            }
        }
    }
}

/// How often samples are looked at for what is too old: a day of them goes at a time.
const SAMPLES: Duration = Duration::from_hours(24);

/// Deletes samples that are too old: at the start, once a day, and when other settings hold.
pub(super) async fn retain(
    samples: Samples,
    mut retention: watch::Receiver<Retention>,
    stop: CancellationToken,
) {
    loop {
        let wanted = *retention.borrow_and_update();
        let now_ms = clock::now().wall_ms;
        let samples = samples.clone();
        let deleted = tokio::task::spawn_blocking(move || samples.retain(wanted, now_ms));
        match deleted.await {
            Ok(Ok(_bytes)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "old samples stay"),
            Err(error) => tracing::error!(%error, "deleting old samples failed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = retention.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(SAMPLES) => {}
        }
    }
}

/// What is kept, from the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// How many of the newest events; all of them where it is not said.
    pub events: Option<u64>,
    /// How long idempotency keys, milliseconds.
    pub keys_ms: i64,
}

/// Lets go of old events and keys: at the start, and whenever `due` says that there are many new ones.
pub(super) async fn trim(
    store: Store,
    bus: Bus,
    keeping: watch::Receiver<Keeping>,
    due: Arc<Notify>,
    stop: CancellationToken,
) {
    loop {
        let Keeping { events, keys_ms } = *keeping.borrow();
        let policy = TrimPolicy {
            events_keep: events.unwrap_or(u64::MAX),
            events_older_than_ms: None,
            keys_older_than_ms: clock::now().wall_ms.saturating_sub(keys_ms),
        };
        // Whoever would be left behind gets a newer cursor while its old one still counts.
        if let Some(events) = events {
            let head = bus.bounds().1.0;
            bus.announce_trim(Seq(head.saturating_add(1).saturating_sub(events)));
        }
        match store.trim(policy).await {
            Ok(trimmed) => {
                bus.trim(trimmed.oldest);
                if trimmed.more {
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "old events stay"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = due.notified() => {}
        }
    }
}
