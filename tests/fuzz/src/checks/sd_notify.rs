//! Datagrams to the notify socket: whatever a process says, what comes of it is fit to show.

use stoked::model::progress::{MAX_METRICS, MAX_STEPS, Source};
use stoked::progress::notify;

use super::{parts, progress};

/// Takes datagrams with NUL between them.
pub fn check(data: &[u8]) {
    let mut all = Vec::new();
    for datagram in parts(data) {
        let Some(seen) = notify::read(&String::from_utf8_lossy(datagram)) else {
            continue;
        };
        assert_eq!(seen.source, Source::Notify);
        assert!(seen.metrics.len() <= MAX_METRICS && seen.steps.len() <= MAX_STEPS);
        progress::is_sound(&seen);
        all.push(seen);
    }
    progress::merge(all);
}
