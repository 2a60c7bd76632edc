//! Which objects there are: jobs that hold a place or were asked for, and GPUs.

use crate::dbus::convert::add_parameter;
use crate::dbus::error::Error;
use crate::dbus::objects::{GpuObject, JobFace, JobObject};
use crate::dbus::teller::{Exported, Key, Teller};
use crate::dbus::values::{gpu_path, job_path};
use crate::model::gpu::GpuUuid;
use crate::model::state::StateName;
use crate::wire::job::JobView;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use zbus::OwnedObjectPath;

/// Most jobs that are exported because one caller asked for them.
const MOST_ASKED: usize = 64;

impl Teller {
    pub(super) async fn look_at_members(&mut self, now: Instant) -> zbus::Result<()> {
        let mut query = String::new();
        for state in StateName::ALL {
            if state.holds_place() {
                add_parameter(&mut query, "state", state.as_str());
            }
        }
        let Some(holding) = self.list(&query).await else {
            self.coalescer.touch(Key::Members, now);
            return Ok(());
        };
        for exported in self.exported.values_mut() {
            exported.holds = false;
        }
        for view in &holding {
            self.export(view, None, now).await?;
        }
        let over: Vec<u32> = self
            .exported
            .iter()
            .filter(|(_, it)| !it.holds && it.askers.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            if self.coalescer.is_due(&Key::Job(id)) {
                // How it ended is told first.
                self.coalescer.touch(Key::Members, now);
            } else {
                self.withdraw(id).await?;
            }
        }
        self.look_at_gpus().await
    }

    pub(super) async fn export(
        &mut self,
        view: &JobView,
        asker: Option<String>,
        now: Instant,
    ) -> zbus::Result<()> {
        let Some((id, values)) = self.values_of(view) else {
            return Ok(());
        };
        if let Some(exported) = self.exported.get_mut(&id) {
            exported.holds |= asker.is_none();
            exported.askers.extend(asker);
            *exported.face.values() = values;
            return Ok(());
        }
        let face = Arc::new(JobFace {
            name: view.name.clone(),
            values: Mutex::new(values.clone()),
        });
        let object = JobObject {
            face: Arc::clone(&face),
            local: self.local.clone(),
            callers: Arc::clone(&self.callers),
            shows_use: self.onlooker.sees_use,
        };
        self.coalescer.begin(Key::Job(id), values, now);
        let exported = Exported {
            face,
            holds: asker.is_none(),
            askers: asker.into_iter().collect(),
        };
        self.exported.insert(id, exported);
        let server = self.connection.object_server();
        let _taken = server.at(job_path(id), object).await?;
        Ok(())
    }

    pub(super) async fn withdraw(&mut self, id: u32) -> zbus::Result<()> {
        self.exported.remove(&id);
        self.coalescer.forget(&Key::Job(id));
        let server = self.connection.object_server();
        let _gone = server.remove::<JobObject, _>(job_path(id)).await?;
        Ok(())
    }

    pub(super) async fn look_at_gpus(&mut self) -> zbus::Result<()> {
        let newest = self.local.newest();
        let identities = newest.gpus.iter().map(|gpu| &gpu.sample.identity);
        let present: BTreeMap<u32, GpuUuid> = identities
            .map(|identity| (identity.index, identity.uuid.clone()))
            .collect();
        if present == self.gpus {
            return Ok(());
        }
        let server = self.connection.object_server();
        for (index, uuid) in &self.gpus {
            if present.get(index) != Some(uuid) {
                let _gone = server.remove::<GpuObject, _>(gpu_path(*index)).await?;
            }
        }
        for (index, uuid) in &present {
            if self.gpus.get(index) != Some(uuid) {
                let object = GpuObject {
                    uuid: uuid.clone(),
                    local: self.local.clone(),
                    shows_use: self.onlooker.sees_use,
                };
                let _taken = server.at(gpu_path(*index), object).await?;
            }
        }
        self.gpus = present;
        Ok(())
    }

    /// Exports a job for as long as a caller lives.
    pub(super) async fn export_for(
        &mut self,
        id: u32,
        caller: String,
    ) -> Result<OwnedObjectPath, Error> {
        self.is_there(&caller)?;
        let asked = self.exported.values();
        let asked = asked.filter(|it| it.askers.contains(&caller)).count();
        let is_new = !self.exported.contains_key(&id);
        if is_new && asked >= MOST_ASKED {
            let why =
                format!("{MOST_ASKED} jobs are exported for one client at most; list them instead");
            return Err(Error::QuotaExceeded(why));
        }
        let mut query = String::new();
        add_parameter(&mut query, "id", &id.to_string());
        let read = self.list(&query).await;
        let found = read.ok_or_else(|| Error::Storage("jobs cannot be read now".to_owned()))?;
        let job = found.first().ok_or_else(|| match self.onlooker.sees_jobs {
            true => Error::NotFound(format!("there is no job {id}")),
            false => Error::NotSupported(
                "jobs have no objects here, as everybody on the bus would see them (access.others): list them instead"
                    .to_owned(),
            ),
        })?;
        self.export(job, Some(caller), Instant::now()).await?;
        Ok(OwnedObjectPath::try_from(job_path(id))?)
    }
}
