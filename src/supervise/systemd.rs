//! The service manager: PID 1, or a user's own. It starts shims in units of their own, so that they belong neither to the
//! daemon's unit nor to its sandbox, and outlive both.
//!
//! What it is asked for is `StartTransientUnit` of `org.freedesktop.systemd1(5)`. A shim gets its end of the socket pair as
//! its standard input, as it does without a manager: nothing of a job but its name stands in a property, where everybody
//! could read it.

use crate::supervise::unit::Unit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;
use zbus::connection::Builder;
use zbus::{Fd, OwnedObjectPath, Variant};

/// What says that PID 1 is systemd, see `sd_booted(3)`.
const BOOTED: &str = "/run/systemd/system";

/// How unlikely a shim is to be ended for want of memory, see `oom_score_adj` in `proc(5)`.
const SHIM_OOM_SCORE: i32 = -900;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(25);

/// Pauses before a bus that is not there is tried again: it may be starting anew.
const AGAIN: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
];

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        aux: &[(&str, &[(&str, Variant<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;

    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1"
)]
trait ManagedUnit {
    /// What is being done with it: the number of a job of the manager, 0 for none, and its object.
    #[zbus(property(emits_changed_signal = "false"))]
    fn job(&self) -> zbus::Result<(u32, OwnedObjectPath)>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Job",
    default_service = "org.freedesktop.systemd1"
)]
trait ManagerJob {
    #[zbus(property(emits_changed_signal = "false"))]
    fn job_type(&self) -> zbus::Result<String>;
}

/// Whose services a manager manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The host's: PID 1.
    Host,
    /// A user's own.
    User,
}

/// A service manager; it is connected to when it is needed.
#[derive(Debug)]
pub struct Systemd {
    whose: Whose,
    connected: Mutex<Option<ManagerProxy<'static>>>,
}

/// Why a unit was not started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StartError {
    /// There is one of that name, so that the attempt was started before.
    #[error("its unit exists already")]
    Exists,
    /// The manager said no, or said nothing.
    #[error("{0}")]
    Failed(String),
}

impl Systemd {
    /// The manager of that kind, if there can be one here.
    ///
    /// # Errors
    /// With a sentence, where there is none.
    pub fn find(whose: Whose, runtime_dir: Option<&Path>) -> Result<Self, String> {
        match whose {
            Whose::Host if Path::new(BOOTED).is_dir() => {}
            Whose::Host => return Err("the init of this host is not systemd".to_owned()),
            Whose::User => {
                let socket = runtime_dir.map(|dir| dir.join("systemd/private"));
                if !socket.is_some_and(|socket| socket.exists()) {
                    return Err("there is no service manager of this user".to_owned());
                }
            }
        }
        Ok(Self {
            whose,
            connected: Mutex::new(None),
        })
    }

    /// What it is called, in a sentence.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.whose {
            Whose::Host => "systemd (PID 1)",
            Whose::User => "the user's systemd",
        }
    }

    /// Its version, which shows that it answers.
    ///
    /// # Errors
    /// With a sentence, where it does not.
    pub async fn version(&self) -> Result<String, String> {
        let manager = self
            .manager()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let version = manager.version().await;
        version.map_err(|error| self.unreachable(&error))
    }

    /// Whether the unit of a process is being stopped, and not to be started again.
    ///
    /// # Errors
    /// With a sentence, where it does not answer.
    pub async fn stops(&self, pid: u32) -> Result<bool, String> {
        let asked = async {
            let manager = self.manager().await?;
            let bus = manager.inner().connection();
            let unit = manager.get_unit_by_pid(pid).await?;
            let unit = ManagedUnitProxy::builder(bus).path(unit).build().await?;
            let (number, job) = unit.job().await?;
            if number == 0 {
                // Nobody asked the manager: a signal came, and it will start the unit again.
                return Ok(false);
            }
            let job = ManagerJobProxy::builder(bus).path(job).build().await?;
            Ok(job.job_type().await? == "stop")
        };
        let asked: zbus::Result<bool> = asked.await;
        asked.map_err(|error| self.unreachable(&error))
    }

    /// Starts a shim in a unit, with `stdin` as its standard input. That it was accepted says nothing of the shim yet.
    pub(super) async fn start(
        &self,
        unit: &Unit,
        shim: &Path,
        stdin: OwnedFd,
    ) -> Result<(), StartError> {
        let mut pauses = AGAIN.into_iter();
        loop {
            match self.try_start(unit, shim, &stdin).await {
                Ok(_job) => return Ok(()),
                Err(zbus::Error::MethodError(name, message, _))
                    if !is_of_the_bus(name.as_str()) =>
                {
                    return Err(match name.as_str() {
                        "org.freedesktop.systemd1.UnitExists" => StartError::Exists,
                        name => {
                            let message = message.unwrap_or_else(|| name.to_owned());
                            StartError::Failed(format!("systemd refused to start it: {message}"))
                        }
                    });
                }
                Err(error) => {
                    *self.connected.lock().await = None;
                    let Some(pause) = pauses.next() else {
                        return Err(StartError::Failed(self.unreachable(&error)));
                    };
                    tracing::debug!(unit = unit.name, %error, "systemd is asked again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn try_start(
        &self,
        unit: &Unit,
        shim: &Path,
        stdin: &OwnedFd,
    ) -> zbus::Result<OwnedObjectPath> {
        let manager = self.manager().await?;
        let stdin = Fd::Owned(stdin.try_clone()?);
        let shim = shim.to_string_lossy().into_owned();
        let grace_us = unit.grace_ms.saturating_mul(1_000);
        let fields: Vec<Vec<u8>> = unit
            .fields
            .iter()
            .map(|it| it.clone().into_bytes())
            .collect();
        let mut properties: Vec<(&'static str, Variant<'_>)> = vec![
            ("Description", unit.description.as_str().into()),
            ("Slice", unit.slice.as_str().into()),
            ("Type", "exec".into()),
            ("ExecStart", vec![(shim.clone(), vec![shim], false)].into()),
            ("StandardInputFileDescriptor", stdin.into()),
            ("StandardOutput", "null".into()),
            ("StandardError", "journal".into()),
            ("SyslogIdentifier", "stoked-job".into()),
            ("LogExtraFields", fields.into()),
            // The shim shares out what it is given, and ends what its job leaves behind.
            ("Delegate", true.into()),
            ("OOMPolicy", "continue".into()),
            ("KillMode", "control-group".into()),
            ("TimeoutStopUSec", grace_us.into()),
            // However it ends, nothing of it stays in the manager.
            ("CollectMode", "inactive-or-failed".into()),
        ];
        if self.whose == Whose::Host {
            // The shim must outlive what the kernel ends for want of memory. Its job takes this back.
            properties.push(("OOMScoreAdjust", SHIM_OOM_SCORE.into()));
        }
        if let Some(after) = &unit.after {
            properties.push(("After", vec![after.as_str()].into()));
        }
        limit(&mut properties, unit);
        manager
            .start_transient_unit(&unit.name, "fail", &properties, &[])
            .await
    }

    async fn manager(&self) -> zbus::Result<ManagerProxy<'static>> {
        let mut connected = self.connected.lock().await;
        if let Some(manager) = &*connected {
            return Ok(manager.clone());
        }
        let bus = match self.whose {
            Whose::Host => Builder::system(),
            Whose::User => Builder::session(),
        };
        let connection = bus.method_timeout(ANSWER).build().await?;
        let manager = ManagerProxy::new(&connection).await?;
        *connected = Some(manager.clone());
        Ok(manager)
    }

    fn unreachable(&self, error: &zbus::Error) -> String {
        let bus = match self.whose {
            Whose::Host => "the system bus",
            Whose::User => "the session bus",
        };
        format!("systemd cannot be reached over {bus}: {error}")
    }
}

/// Whether it is the bus that answered, as the manager does not listen or did not answer: it reads its units anew, say.
/// Should it have started the unit all the same, the next call finds that it exists.
fn is_of_the_bus(error: &str) -> bool {
    let names = [
        "NoReply",
        "Timeout",
        "TimedOut",
        "Disconnected",
        "ServiceUnknown",
        "NameHasNoOwner",
        "LimitsExceeded",
    ];
    let name = error.strip_prefix("org.freedesktop.DBus.Error.");
    name.is_some_and(|name| names.contains(&name))
}

/// Adds what the unit may use, see `systemd.resource-control(5)`.
fn limit<'u>(properties: &mut Vec<(&'static str, Variant<'u>)>, unit: &'u Unit) {
    let limits = &unit.limits;
    let numbers = [
        ("MemoryMax", limits.memory_max_bytes),
        ("CPUWeight", limits.cpu_weight),
        ("IOWeight", limits.io_weight),
        ("TasksMax", limits.tasks_max),
    ];
    for (name, number) in numbers {
        properties.extend(number.map(|number| (name, number.into())));
    }
    if !limits.allowed_cpus.is_empty() {
        properties.push(("AllowedCPUs", limits.cpu_mask().into()));
    }
    if let Some(devices) = &unit.devices {
        let allowed: Vec<(&str, &str)> = devices.iter().map(|it| (it.as_str(), "rw")).collect();
        properties.push(("DevicePolicy", "closed".into()));
        properties.push(("DeviceAllow", allowed.into()));
    }
}
