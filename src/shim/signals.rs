//! The signals that the shim takes, and those that it must not hand down ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that are events here. Those that would end the shim are among them: it ends with its job,
/// so that a host that shuts down still gets the exit records of the jobs it ends.
const EVENTS: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Other signals that whoever starts programs may leave ignored.
const OTHERS: [Signal; 7] = [
    Signal::SIGALRM,
    Signal::SIGPIPE,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
];

/// Take signals as events.
pub(super) fn take() -> io::Result<SignalFd> {
    let set = SigSet::from_iter(EVENTS);
    set.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&set, flags)?;
    stop_ignoring()?;
    Ok(signals)
}

/// Hear the signals that would end it, and go on: for a process that ends when its shim says so.
pub(super) fn outlive() -> io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    stop_ignoring()
}

/// What is ignored stays so in every program that is started, and would be no event here: `nohup`, and `&` in a script,
/// hand that down to us, and no job could be interrupted. What is listened to, in whatever way, has its usual effect
/// again in a new program.
fn stop_ignoring() -> io::Result<()> {
    let heard = Arc::new(AtomicBool::new(false));
    for signal in EVENTS.into_iter().chain(OTHERS) {
        signal_hook::flag::register(signal as i32, Arc::clone(&heard))?;
    }
    Ok(())
}
