//! What an attempt leaves behind when its shim cannot clear up: processes and files.

use crate::contain::identity;
use crate::contain::{Cgroup, Containment, Tree};
use crate::model::attempt::Process;
use crate::supervise::adopt::read_claim;
use crate::wire::shim::{Claim, ContainmentSpec, ToShim, encode};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long killed processes may take to end.
const WITHIN: Duration = Duration::from_secs(10);

/// Kills everything an attempt ever forked, its shim being dead. Says how many processes there were.
pub(super) fn end(claim: &Claim, main: Option<Process>) -> u32 {
    let main = main.map(process_id);
    let mut killed = 0;
    if let ContainmentSpec::Cgroup { parent, name } = &claim.containment {
        let cgroup = Cgroup::in_parent(parent, name);
        killed += kill(&Containment::Cgroup(cgroup.clone()));
        if let Err(error) = cgroup.remove(WITHIN) {
            tracing::debug!(%error, "a cgroup stays behind");
        }
    }
    // Also where a cgroup was asked for: it may have been refused, or not entered yet.
    let tree = Tree::of_attempt(Some(claim.shim.into()), &claim.token, main);
    killed + kill(&Containment::Tree(tree))
}

/// Kills a main process and everything that shows to be of its attempt, without a claim that says more.
pub(super) fn end_unclaimed(main: Process) -> u32 {
    kill(&Containment::Tree(Tree::of_attempt(
        None,
        "",
        Some(process_id(main)),
    )))
}

fn process_id(process: Process) -> identity::ProcessId {
    identity::ProcessId {
        pid: process.pid,
        start_ticks: process.start_ticks,
    }
}

fn kill(containment: &Containment) -> u32 {
    match containment.kill(WITHIN) {
        Ok(killed) => killed,
        Err(error) => {
            tracing::debug!(%error, "nothing to end, or not to be ended");
            0
        }
    }
}

/// Lets a shim leave whose end nobody waits for any more, and removes its directory.
pub fn dismiss(dir: &Path) {
    let shim_alive = read_claim(dir).is_some_and(|claim| identity::is_alive(&claim.shim.into()));
    if shim_alive {
        let told = crate::contain::socket::connect_control(dir)
            .and_then(|mut shim| shim.write_all(&encode(&ToShim::AckExit)?));
        if told.is_ok() {
            // It clears up after itself.
            return;
        }
    }
    remove(dir);
}

/// Removes an attempt directory.
pub(super) fn remove(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove an attempt's directory");
        }
        _ => {}
    }
}
