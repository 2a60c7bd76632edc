//! Makes launch records: fetches the environment of a job and its token.

use crate::daemon::devices;
use crate::daemon::environment;
use crate::daemon::reports;
use crate::model::change::Environment;
use crate::model::gpu::GpuIdentity;
use crate::model::id::{AttemptId, EnvId};
use crate::model::job::Job;
use crate::model::sample::Snapshot;
use crate::store::Reader;
use crate::supervise::{Containing, Launch, LaunchContext, launch};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Makes launch records.
#[derive(Debug)]
pub(super) struct Launcher {
    context: Mutex<Arc<LaunchContext>>,
    reader: Reader,
    /// The environment used last: a batch of jobs shares one.
    last: Mutex<Option<(EnvId, Arc<Environment>)>>,
}

impl Launcher {
    /// A launcher that reads environments from the store.
    #[must_use]
    pub(super) fn new(context: LaunchContext, reader: Reader) -> Self {
        Self {
            context: Mutex::new(Arc::new(context)),
            reader,
            last: Mutex::new(None),
        }
    }

    /// What launches have in common now.
    #[must_use]
    pub(super) fn context(&self) -> Arc<LaunchContext> {
        Arc::clone(&self.context.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what later launches have in common.
    pub(super) fn set_context(&self, context: LaunchContext) {
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(context);
    }

    /// How an attempt is launched.
    ///
    /// # Errors
    /// With a sentence, when its environment cannot be read.
    pub(super) async fn launch(
        &self,
        job: &Job,
        attempt: AttemptId,
        newest: &Snapshot,
    ) -> Result<Launch, String> {
        let context = self.context();
        if let Containing::Nothing { why } = &context.containing {
            return Err(format!(
                "jobs.containment asks for what cannot be had: {why}"
            ));
        }
        if context.report_dir(attempt, &job.owner).is_some() {
            let made = reports::make_room(&context.reports);
            made.map_err(|error| format!("cannot make {}: {error}", context.reports.display()))?;
        }
        let environment = match &job.spec.env {
            Some(id) => self.environment(id).await?,
            None => Arc::new(environment::clean(&job.owner)),
        };
        let token = token().map_err(|error| format!("cannot make its token: {error}"))?;
        let mut launch = launch(&context, job, attempt, &environment, token);
        if let (Some((_, unit)), Some(gpus)) = (&mut launch.service, &job.spec.limits.gpus) {
            let known = newest.gpus.iter().map(|gpu| gpu.sample.identity.clone());
            let known: Vec<GpuIdentity> = known.collect();
            unit.devices = Some(devices::of(gpus, &known, Path::new("/"))?);
        }
        Ok(launch)
    }

    async fn environment(&self, id: &EnvId) -> Result<Arc<Environment>, String> {
        let remembered = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, content)) = &*remembered()
            && last == id
        {
            return Ok(Arc::clone(content));
        }
        let (reader, wanted) = (self.reader.clone(), id.clone());
        let read = tokio::task::spawn_blocking(move || reader.environment(&wanted)).await;
        let content = match read {
            Ok(Ok(Some(content))) => Arc::new(content),
            Ok(Ok(None)) => return Err("its environment is not stored any more".to_owned()),
            Ok(Err(error)) => return Err(format!("cannot read its environment: {error}")),
            Err(error) => return Err(format!("cannot read its environment: {error}")),
        };
        *remembered() = Some((id.clone(), Arc::clone(&content)));
        Ok(content)
    }
}

/// 128 random bits in hexadecimal: nobody can guess them, so nobody can pose as a job's process.
fn token() -> std::io::Result<String> {
    let mut bits = [0; 16];
    let mut random = std::fs::File::open("/dev/urandom")?;
    std::io::Read::read_exact(&mut random, &mut bits)?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}
