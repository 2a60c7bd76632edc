//! Leases: callers that are told what is measured, each at the pace it asked for, for as long as it lives.
//!
//! It is told as `PropertiesChanged` to that caller alone. While there is no lease, none of this is sent to anybody.

use crate::api::local::Local;
use crate::api::ports::Look;
use crate::dbus::coalesce::Values;
use crate::dbus::error::Error;
use crate::dbus::onlooker::Onlooker;
use crate::dbus::teller::{JOB, tell};
use crate::dbus::values::{
    Told, attempt_of, gpu_path, host_path, job_path, of_gpu_use, of_host, of_job_use,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zbus::Connection;

/// Most leases of one caller.
const MOST_LEASES: usize = 8;

struct Lease {
    caller: String,
    every: Duration,
    due: Instant,
    /// What it was told of each object.
    told: BTreeMap<String, Values<Told>>,
    /// While it is kept, the host is measured so often.
    _look: Look,
}

/// All leases, by number.
#[derive(Default)]
pub(super) struct Leases {
    leases: BTreeMap<u64, Lease>,
    last: u64,
}

impl Leases {
    /// A new one.
    pub(super) fn add(
        &mut self,
        caller: String,
        every: Duration,
        local: &Local,
        now: Instant,
    ) -> Result<u64, Error> {
        let held = self.leases.values().filter(|it| it.caller == caller);
        if held.count() >= MOST_LEASES {
            let why = format!("a client has {MOST_LEASES} leases at most; end one first");
            return Err(Error::QuotaExceeded(why));
        }
        self.last += 1;
        let lease = Lease {
            caller,
            every,
            due: now,
            told: BTreeMap::new(),
            _look: local.look(every),
        };
        self.leases.insert(self.last, lease);
        Ok(self.last)
    }

    /// Ends a lease of a caller.
    pub(super) fn end(&mut self, caller: &str, lease: u64) -> Result<(), Error> {
        match self.leases.get(&lease) {
            Some(held) if held.caller == caller => {
                self.leases.remove(&lease);
                Ok(())
            }
            Some(_) | None => Err(Error::NotFound(format!("you have no lease {lease}"))),
        }
    }

    /// Ends those of a caller that is gone.
    pub(super) fn end_all(&mut self, caller: &str) {
        self.leases.retain(|_, lease| lease.caller != caller);
    }

    /// When somebody is to be told next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.due).min()
    }

    /// Tells those whose turn it is what has changed since they were told last; `jobs` are those that are exported.
    pub(super) async fn tell(
        &mut self,
        now: Instant,
        connection: &Connection,
        local: &Local,
        onlooker: &Onlooker,
        jobs: impl Iterator<Item = (u32, Values<Told>)>,
    ) -> zbus::Result<()> {
        if self.next_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        let newest = local.newest();
        let host = std::iter::once((host_path(), "io.stoked.Stoked1.Host", of_host(&newest)));
        let gpus = newest.gpus.iter().map(|gpu| {
            let path = gpu_path(gpu.sample.identity.index);
            (
                path,
                "io.stoked.Stoked1.Gpu",
                of_gpu_use(gpu, onlooker.sees_use),
            )
        });
        let jobs = jobs.filter(|_| onlooker.sees_use);
        let jobs = jobs.filter_map(|(id, values)| {
            let used = of_job_use(&newest, attempt_of(&values)?);
            Some((job_path(id), JOB, used))
        });
        let objects: Vec<_> = host.chain(gpus).chain(jobs).collect();
        for lease in self.leases.values_mut().filter(|lease| lease.due <= now) {
            lease.due = now + lease.every;
            for (path, interface, values) in &objects {
                let told = lease.told.entry(path.clone()).or_default();
                let mut changed = values.clone();
                changed.retain(|name, value| told.get(name) != Some(value));
                told.extend(changed.clone());
                tell(connection, path, interface, &changed, Some(&lease.caller)).await?;
            }
            lease
                .told
                .retain(|path, _| objects.iter().any(|(it, ..)| it == path));
        }
        Ok(())
    }
}
