//! What an attempt sends and receives, where it has a network namespace of its own: only then the kernel tells.

use std::path::{Path, PathBuf};

use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::fields::lines;
use crate::sampling::files::{Files, Missing, Source};
use crate::sampling::host::networks::NetLine;
use crate::sampling::rates::{Meter, Total};

/// Processes that are looked at for one.
const MOST_LOOKED_AT: usize = 16;

/// Reads the interfaces of a namespace.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The namespace, and the file of a process that lives in it.
    place: Option<(PathBuf, Source)>,
    received: Total,
    sent: Total,
    meters: [Meter; 2],
}

impl Network {
    /// Looks whether any of these lives in a namespace of its own.
    pub(super) fn look(&mut self, proc: &Path, pids: impl Iterator<Item = u32>) {
        if self.place.is_some() {
            return;
        }
        let Ok(ours) = std::fs::read_link(proc.join("self/ns/net")) else {
            return;
        };
        self.place = pids.take(MOST_LOOKED_AT).find_map(|pid| {
            let dir = proc.join(pid.to_string());
            let theirs = std::fs::read_link(dir.join("ns/net")).ok()?;
            (theirs != ours).then(|| (theirs, Source::new(dir.join("net/dev"))))
        });
    }

    /// Tells what went through since it was first looked at: what another brought into the namespace before is not
    /// the job's.
    pub(super) fn read(&mut self, files: &mut Files, at: Stamp, to: &mut Readings) {
        let Some((_, source)) = &mut self.place else {
            return;
        };
        let text = match files.read(source) {
            Ok(text) => text,
            Err(Missing::Gone | Missing::Refused) => {
                // The process is gone; perhaps another lives there.
                self.place = None;
                self.meters = Default::default();
                return;
            }
        };
        let lines = lines(text).filter_map(NetLine::parse);
        let (received, sent) = lines.filter(|line| line.name != b"lo").fold(
            (0_u64, 0_u64),
            |(received, sent), line| {
                (
                    received.saturating_add(line.received),
                    sent.saturating_add(line.sent),
                )
            },
        );
        let received = self.received.add(received, None);
        let sent = self.sent.add(sent, None);
        to.set(Metric::NetReceiveBytes, received as f64);
        to.set(Metric::NetTransmitBytes, sent as f64);
        let [received_meter, sent_meter] = &mut self.meters;
        let rate = received_meter.per_second(received, at);
        to.set_if(Metric::NetReceiveBytesPerSecond, rate);
        let rate = sent_meter.per_second(sent, at);
        to.set_if(Metric::NetTransmitBytesPerSecond, rate);
    }
}
