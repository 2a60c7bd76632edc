//! What the daemon orders while the attempt lives.

use super::{Phase, Shim};
use crate::contain::identity;
use crate::shim::session;
use crate::wire::shim::{FromShim, SignalTarget, ToShim};
use rustix::process::Signal;
use std::time::Duration;

/// How long the job's processes may take to stand still; the loop waits meanwhile.
const FREEZE_WITHIN: Duration = Duration::from_secs(1);

impl Shim {
    /// Does what the daemon says, or tells it why not.
    pub(super) fn obey(&mut self, frame: ToShim) {
        let (request, result) = match frame {
            ToShim::Signal { signal, to } => ("signal", self.signal(signal, to)),
            ToShim::Kill => ("kill", self.kill()),
            ToShim::Freeze => ("freeze", self.freeze()),
            ToShim::Thaw => ("thaw", self.thaw()),
            ToShim::AckExit => return self.acknowledged(),
            ToShim::PtyInput { text } => (
                "pty_input",
                self.output.type_in(&text).map_err(str::to_owned),
            ),
            ToShim::Resize(size) => ("resize", self.output.resize(size)),
            ToShim::Launch(_) => ("launch", Err("the attempt is already launched".to_owned())),
            ToShim::Hello { .. } | ToShim::Unknown => return,
        };
        if let Err(message) = result {
            let request = request.to_owned();
            self.connections
                .send_all(&FromShim::Refused { request, message });
        }
    }

    fn signal(&self, number: i32, to: SignalTarget) -> Result<(), String> {
        let signal = Signal::from_named_raw(number)
            .ok_or_else(|| format!("{number} is no signal that can be sent"))?;
        let main = match (&self.phase, self.main) {
            (Phase::Running, Some(main)) if self.main_status.is_none() => main,
            _ => return Err("the command does not run".to_owned()),
        };
        match to {
            SignalTarget::Main => identity::signal(&main, signal)
                .map(|_| ())
                .map_err(|error| error.to_string()),
            // The main process is not reaped yet, so its number still names its own group.
            SignalTarget::Group => identity::group_of(&main)
                .ok_or_else(|| "the command does not run".to_owned())
                .and_then(|group| {
                    rustix::process::kill_process_group(group, signal)
                        .map_err(|error| error.to_string())
                }),
            SignalTarget::All => self
                .containment
                .signal_all(signal)
                .map(|_| ())
                .map_err(|error| format!("failed to {error}")),
        }
    }

    fn kill(&mut self) -> Result<(), String> {
        if matches!(self.phase, Phase::Opening(_)) {
            self.end(Some(session::unwanted()));
            return Ok(());
        }
        // Between the order to start and the first word of who was started, nobody is there to be found.
        self.doomed = self.main.is_none();
        self.sweep()
            .map(|_| ())
            .map_err(|error| format!("failed to {error}"))
    }

    fn freeze(&mut self) -> Result<(), String> {
        if !matches!(self.phase, Phase::Running) {
            return Err("the command does not run".to_owned());
        }
        self.containment
            .freeze(FREEZE_WITHIN)
            .map_err(|error| format!("failed to {error}"))?;
        self.frozen = true;
        self.connections.send_all(&FromShim::Frozen {});
        Ok(())
    }

    fn thaw(&mut self) -> Result<(), String> {
        self.containment
            .thaw()
            .map_err(|error| format!("failed to {error}"))?;
        self.frozen = false;
        self.connections.send_all(&FromShim::Thawed {});
        Ok(())
    }
}
