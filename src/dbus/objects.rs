//! The objects of jobs, GPUs and the host: properties, and nothing else.
//!
//! Whoever listens on a bus hears what is broadcast, so that names are in no signal: they are told to who asks, once it
//! is clear that he may know.

use crate::api::local::{Local, Refused};
use crate::dbus::callers::Callers;
use crate::dbus::coalesce::Values;
use crate::dbus::values::{Told, attempt_of, of_gpu, of_gpu_use, of_host, of_job_use, pick};
use crate::model::gpu::GpuUuid;
use crate::model::sample::GpuState;
use crate::wire::job::JobView;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zbus::fdo;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath};

/// What is told of a job, as the one who tells it keeps it.
#[derive(Debug)]
pub(super) struct JobFace {
    pub(super) name: String,
    pub(super) values: Mutex<Values<Told>>,
}

impl JobFace {
    pub(super) fn values(&self) -> MutexGuard<'_, Values<Told>> {
        // The map is replaced as a whole.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job.
pub(super) struct JobObject {
    pub(super) face: Arc<JobFace>,
    pub(super) local: Local,
    pub(super) callers: Arc<Callers>,
    /// Whether what it uses may be told to everybody.
    pub(super) shows_use: bool,
}

impl JobObject {
    fn told<T: TryFrom<zbus::Variant<'static>>>(&self, name: &str) -> fdo::Result<T> {
        pick(&self.face.values(), name)
    }

    fn used<T: TryFrom<zbus::Variant<'static>>>(&self, name: &str) -> fdo::Result<T> {
        let attempt = attempt_of(&self.face.values()).filter(|_| self.shows_use);
        let used = attempt.map(|attempt| of_job_use(&self.local.newest(), attempt));
        pick(&used.unwrap_or_default(), name)
    }
}

#[zbus::interface(name = "io.stoked.Stoked1.Job", introspection_docs = false)]
impl JobObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> fdo::Result<u32> {
        self.told("Id")
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn name(
        &self,
        #[zbus(header)] message: Option<Header<'_>>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<String> {
        let Some(message) = message else {
            return Err(fdo::Error::AccessDenied(
                "it is told to who asks".to_owned(),
            ));
        };
        let denied = |why: String| fdo::Error::AccessDenied(why);
        let asked = self.callers.subject(connection, &message).await;
        let subject = asked.map_err(|error| denied(error.to_string()))?;
        if !self.face.name.is_empty() {
            // Whoever may speak to the daemon sees the names of jobs, as in its lists.
            return Ok(self.face.name.clone());
        }
        let target = format!("/v1/jobs/{}", self.id()?);
        let shown: Result<JobView, Refused> = self.local.get(&subject, &target).await;
        let shown = shown.map_err(|problem| denied(problem.title))?;
        match shown.name.is_empty() {
            true => Err(denied("it is told to its owner alone".to_owned())),
            false => Ok(shown.name),
        }
    }

    #[zbus(property(emits_changed_signal = "const"), name = "OwnerUID")]
    fn owner_uid(&self) -> fdo::Result<u32> {
        self.told("OwnerUID")
    }

    #[zbus(property(emits_changed_signal = "const"), name = "SubmittedUSec")]
    fn submitted(&self) -> fdo::Result<u64> {
        self.told("SubmittedUSec")
    }

    #[zbus(property)]
    fn attempt(&self) -> fdo::Result<u32> {
        self.told("Attempt")
    }

    #[zbus(property)]
    fn state(&self) -> fdo::Result<String> {
        self.told("State")
    }

    #[zbus(property)]
    fn state_reason(&self) -> fdo::Result<String> {
        self.told("StateReason")
    }

    #[zbus(property)]
    fn progress(&self) -> fdo::Result<f64> {
        self.told("Progress")
    }

    #[zbus(property)]
    fn progress_valid(&self) -> fdo::Result<bool> {
        self.told("ProgressValid")
    }

    #[zbus(property, name = "ExpectedEndUSec")]
    fn expected_end(&self) -> fdo::Result<u64> {
        self.told("ExpectedEndUSec")
    }

    #[zbus(property)]
    fn gpus(&self) -> fdo::Result<Vec<OwnedObjectPath>> {
        paths(&self.face.values(), "Gpus")
    }

    #[zbus(property)]
    fn exit_code(&self) -> fdo::Result<i32> {
        self.told("ExitCode")
    }

    #[zbus(property)]
    fn exit_signal(&self) -> fdo::Result<i32> {
        self.told("ExitSignal")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn cpu_percent(&self) -> fdo::Result<f64> {
        self.used("CpuPercent")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_bytes(&self) -> fdo::Result<u64> {
        self.used("MemoryBytes")
    }
}

/// A GPU.
pub(super) struct GpuObject {
    pub(super) uuid: GpuUuid,
    pub(super) local: Local,
    /// Whether the jobs that use it may be told to everybody.
    pub(super) shows_use: bool,
}

impl GpuObject {
    fn values(&self, of: impl Fn(&GpuState) -> Values<Told>) -> Values<Told> {
        let newest = self.local.glance();
        let mut gpus = newest.gpus.iter();
        let found = gpus.find(|gpu| gpu.sample.identity.uuid == self.uuid);
        found.map(|gpu| of(gpu)).unwrap_or_default()
    }

    fn is<T: TryFrom<zbus::Variant<'static>>>(&self, name: &str) -> fdo::Result<T> {
        pick(&self.values(of_gpu), name)
    }

    fn does<T: TryFrom<zbus::Variant<'static>>>(&self, name: &str) -> fdo::Result<T> {
        pick(&self.used(), name)
    }

    fn used(&self) -> Values<Told> {
        self.values(|state| of_gpu_use(state, self.shows_use))
    }
}

#[zbus::interface(name = "io.stoked.Stoked1.Gpu", introspection_docs = false)]
impl GpuObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn index(&self) -> fdo::Result<u32> {
        self.is("Index")
    }

    #[zbus(property(emits_changed_signal = "const"), name = "UUID")]
    fn uuid(&self) -> fdo::Result<String> {
        self.is("UUID")
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> fdo::Result<String> {
        self.is("Name")
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn pci_bus_id(&self) -> fdo::Result<String> {
        self.is("PciBusId")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn health(&self) -> fdo::Result<String> {
        self.does("Health")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn jobs(&self) -> fdo::Result<Vec<OwnedObjectPath>> {
        paths(&self.used(), "Jobs")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn util_percent(&self) -> fdo::Result<u32> {
        self.does("UtilPercent")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_used(&self) -> fdo::Result<u64> {
        self.does("MemoryUsed")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_total(&self) -> fdo::Result<u64> {
        self.does("MemoryTotal")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn power_milliwatt(&self) -> fdo::Result<u32> {
        self.does("PowerMilliwatt")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn temp_c(&self) -> fdo::Result<i32> {
        self.does("TempC")
    }
}

/// The host.
pub(super) struct HostObject {
    pub(super) local: Local,
}

impl HostObject {
    fn does<T: TryFrom<zbus::Variant<'static>>>(&self, name: &str) -> fdo::Result<T> {
        pick(&of_host(&self.local.glance()), name)
    }
}

#[zbus::interface(name = "io.stoked.Stoked1.Host", introspection_docs = false)]
impl HostObject {
    #[zbus(property(emits_changed_signal = "false"))]
    fn cpu_count(&self) -> fdo::Result<u32> {
        self.does("CpuCount")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn cpu_percent(&self) -> fdo::Result<f64> {
        self.does("CpuPercent")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn load1(&self) -> fdo::Result<f64> {
        self.does("Load1")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_used(&self) -> fdo::Result<u64> {
        self.does("MemoryUsed")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_total(&self) -> fdo::Result<u64> {
        self.does("MemoryTotal")
    }
}

fn paths(values: &Values<Told>, name: &str) -> fdo::Result<Vec<OwnedObjectPath>> {
    let paths = match values.get(name) {
        Some(Told::Paths(paths)) => paths.clone(),
        _ => return Err(fdo::Error::Failed(format!("{name} is not known"))),
    };
    let paths = paths.into_iter().map(OwnedObjectPath::try_from);
    paths
        .collect::<Result<_, _>>()
        .map_err(|error| fdo::Error::Failed(error.to_string()))
}
