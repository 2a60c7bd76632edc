//! The cgroup of a service that a service manager has handed over to it (`Delegate=yes`).
//!
//! The kernel counts and limits in cgroups that have no processes of their own beside others below them. So the
//! supervisor moves to one leaf, and the attempt gets another: what the manager limits holds for both, and whatever is
//! killed or frozen in the leaf of the attempt spares its supervisor.

use std::path::PathBuf;

use super::cgroup::{Cgroup, WhyNot, own, pass_on_controllers};

/// The leaf of the supervisor.
const SUPERVISOR: &str = "shim";

/// The leaf of the attempt's processes.
pub const ATTEMPT: &str = "job";

/// Has the kernel end all of an attempt where it would end one of its processes for want of memory: the rest of it would
/// hardly be of use. Where memory is not accounted for, there is nothing to say.
pub fn end_together(attempt: &Cgroup) {
    let _there = std::fs::write(attempt.dir().join("memory.oom.group"), "1");
}

/// Moves this process to its leaf. Says in which directory the leaf of the attempt is to be made.
pub fn settle() -> Result<PathBuf, WhyNot> {
    let service = own()?;
    let leaf = Cgroup::in_parent(&service, SUPERVISOR);
    leaf.create().and_then(|()| leaf.enter()).map_err(|error| {
        WhyNot(format!(
            "No cgroup can be made in {} ({error}); its unit needs Delegate=yes.",
            service.display()
        ))
    })?;
    pass_on_controllers(&service);
    Ok(service)
}
