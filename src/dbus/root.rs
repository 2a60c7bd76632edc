//! `io.stoked.Stoked1.Manager`: what can be asked. It decides nothing: every call is a request of the API, as its caller
//! would send it over the socket.

mod options;

use crate::api::local::{Local, LogPlace, Method, Refused};
use crate::auth::{Action, Subject, polkit};
use crate::dbus::callers::Callers;
use crate::dbus::convert::{Options, add_parameter, to_json, to_options, to_query};
use crate::dbus::counted::Counted;
use crate::dbus::desk::{Desk, Errand};
use crate::dbus::error::Error;
use crate::dbus::summary::summary;
use crate::logs::Stream;
use crate::model::id::JobId;
use crate::wire::error::ProblemKind;
use crate::wire::job::JobView;
use crate::wire::service::{Health, HealthView};
use options::{LeaseOptions, LogOptions, path_of, read, short};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedFd, OwnedObjectPath, fdo};

/// Calls of all callers that are answered at the same time.
const MOST_CALLS: usize = 128;

/// The fastest pace at which anybody is told what is measured.
const FASTEST: Duration = Duration::from_millis(500);

/// The slowest that is worth a lease.
const SLOWEST: Duration = Duration::from_hours(1);

/// The object at the root.
pub(super) struct Root {
    local: Local,
    /// The daemon as a caller of its own, for what is nobody's question.
    itself: Arc<Subject>,
    callers: Arc<Callers>,
    counted: Arc<Counted>,
    desk: Desk,
    calls: Semaphore,
}

/// One call: who, over what, with which message.
struct Caller<'c> {
    subject: Arc<Subject>,
    connection: &'c Connection,
    message: Header<'c>,
    _place: SemaphorePermit<'c>,
}

impl Caller<'_> {
    /// Its name on the bus.
    fn name(&self) -> String {
        let sender = self.message.sender();
        sender.map(ToString::to_string).unwrap_or_default()
    }
}

impl Root {
    pub(super) fn new(
        local: Local,
        itself: Arc<Subject>,
        callers: Arc<Callers>,
        counted: Arc<Counted>,
        desk: Desk,
    ) -> Self {
        Self {
            local,
            itself,
            callers,
            counted,
            desk,
            calls: Semaphore::new(MOST_CALLS),
        }
    }

    async fn enter<'c>(
        &'c self,
        connection: &'c Connection,
        message: Header<'c>,
    ) -> Result<Caller<'c>, Error> {
        let place = self.calls.try_acquire().map_err(|_full| {
            let why = format!("{MOST_CALLS} calls are being answered already; try again");
            Error::Busy(why)
        })?;
        let subject = self.callers.subject(connection, &message).await?;
        Ok(Caller {
            subject,
            connection,
            message,
            _place: place,
        })
    }

    /// The caller as an administrator, where the host lets him do once what he may not by himself.
    async fn raise(
        &self,
        caller: &Caller<'_>,
        action: Action,
        refused: Refused,
    ) -> Result<Arc<Subject>, Error> {
        let policy = self.local.policy();
        let privilege = polkit::privilege(action).filter(|_| policy.mode.is_system());
        let Some(privilege) = privilege.filter(|_| refused.is(ProblemKind::NotPermitted)) else {
            return Err(refused.into());
        };
        let gone = self.callers.gone(&caller.name());
        match polkit::allows(caller.connection, &caller.message, privilege, &gone).await {
            Ok(true) => return Ok(Arc::new(caller.subject.as_administrator())),
            Ok(false) => {}
            Err(why) => tracing::debug!(why, privilege, "nobody can be authorized"),
        }
        Err(refused.into())
    }

    /// Does something with a job.
    async fn act(&self, caller: Caller<'_>, id: u32, verb: &str) -> Result<(), Error> {
        let target = format!("/v1/jobs/{id}/{verb}");
        self.change(&caller, Action::ControlJob, Method::POST, &target, None)
            .await
    }

    /// Changes something, where need be with what the host lets the caller do once.
    async fn change(
        &self,
        caller: &Caller<'_>,
        action: Action,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<(), Error> {
        let once = |subject| self.local.change(subject, method.clone(), target, body);
        if let Err(refused) = once(&caller.subject).await {
            let raised = self.raise(caller, action, refused).await?;
            once(&raised).await?;
        }
        Ok(())
    }

    fn count(&self, name: &'static str) -> fdo::Result<u32> {
        self.counted.read(name)
    }
}

#[zbus::interface(name = "io.stoked.Stoked1.Manager", introspection_docs = false)]
impl Root {
    #[zbus(out_args("id", "path"))]
    async fn submit(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        spec: Options,
    ) -> Result<(u32, OwnedObjectPath), Error> {
        let caller = self.enter(connection, message).await?;
        let spec = to_json(&spec)?;
        if spec.get("jobs").is_some() {
            let why = "jobs: one call submits one job; the socket takes several at once";
            return Err(Error::InvalidSpec(why.to_owned()));
        }
        let posted = self
            .local
            .change(&caller.subject, Method::POST, "/v1/jobs", Some(&spec));
        let answer = posted.await?.unwrap_or_default();
        let id = answer["ids"][0].as_u64();
        let id = id.ok_or_else(|| Error::Failed("the job has no number".to_owned()))?;
        let id = short(id)?;
        Ok((id, path_of(id)?))
    }

    #[zbus(out_args("jobs", "next"))]
    async fn list_jobs(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        filter: Options,
        cursor: &str,
        limit: u32,
    ) -> Result<(Vec<Options>, String), Error> {
        let caller = self.enter(connection, message).await?;
        let mut query = to_query(&filter)?;
        if !cursor.is_empty() {
            add_parameter(&mut query, "cursor", cursor);
        }
        if limit > 0 {
            add_parameter(&mut query, "limit", &limit.to_string());
        }
        let target = format!("/v1/jobs{query}");
        let mut list: Value = self.local.get(&caller.subject, &target).await?;
        let next = list["next"].as_str().unwrap_or_default().to_owned();
        let jobs = list["items"].as_array_mut().map(std::mem::take);
        let jobs = jobs.unwrap_or_default().into_iter().map(to_options);
        Ok((jobs.collect(), next))
    }

    #[zbus(out_args("path"))]
    async fn get_job(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<OwnedObjectPath, Error> {
        let caller = self.enter(connection, message).await?;
        let target = format!("/v1/jobs/{id}");
        // What its object tells is told to everybody, and read anew for that.
        let _known: JobView = self.local.get(&caller.subject, &target).await?;
        let caller = caller.name();
        let export = |answer| Errand::Export {
            job: id,
            caller,
            answer,
        };
        self.desk.ask(export).await
    }

    async fn cancel(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "cancel").await
    }

    async fn pause(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "pause").await
    }

    async fn resume(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "resume").await
    }

    async fn hold(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "hold").await
    }

    async fn release(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "release").await
    }

    async fn approve(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "approve").await
    }

    async fn reject(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "reject").await
    }

    async fn retry(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        self.act(caller, id, "retry").await
    }

    async fn drain(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        draining: bool,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?;
        let body = json!({"draining": draining});
        let body = Some(&body);
        self.change(&caller, Action::Drain, Method::PUT, "/v1/drain", body)
            .await
    }

    #[zbus(out_args("json"))]
    async fn summary(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
    ) -> Result<String, Error> {
        let caller = self.enter(connection, message).await?;
        let overview = self.counted.now();
        Ok(summary(&self.local, &caller.subject, overview).await?)
    }

    #[zbus(out_args("file"))]
    async fn open_log(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        id: u32,
        options: Options,
    ) -> Result<OwnedFd, Error> {
        let caller = self.enter(connection, message).await?;
        let options: LogOptions = read(&options)?;
        let wanted = options.stream.as_deref().unwrap_or("stdout");
        let stream = Stream::ALL.into_iter().find(|it| it.as_str() == wanted);
        let stream = stream
            .ok_or_else(|| Error::InvalidSpec("stream is neither stdout nor stderr".to_owned()))?;
        let place = LogPlace {
            job: JobId(u64::from(id)),
            attempt: options.attempt,
            stream,
            offset: options.offset,
        };
        let file = match self.local.open_log(&caller.subject, place).await {
            Ok(file) => file,
            Err(refused) => {
                let raised = self.raise(&caller, Action::ReadJob, refused).await?;
                self.local.open_log(&raised, place).await?
            }
        };
        Ok(file.into())
    }

    #[zbus(out_args("lease"))]
    async fn subscribe(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        options: Options,
    ) -> Result<u64, Error> {
        let caller = self.enter(connection, message).await?;
        let options: LeaseOptions = read(&options)?;
        let every = options.metrics_ms.map(Duration::from_millis);
        let every = every.filter(|every| (FASTEST..=SLOWEST).contains(every));
        let Some(every) = every else {
            let why = "metrics_ms has to be given, from 500 to 3600000 milliseconds";
            return Err(Error::InvalidSpec(why.to_owned()));
        };
        let caller = caller.name();
        let lease = |answer| Errand::Lease {
            caller,
            every,
            answer,
        };
        self.desk.ask(lease).await
    }

    async fn unsubscribe(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] message: Header<'_>,
        lease: u64,
    ) -> Result<(), Error> {
        let caller = self.enter(connection, message).await?.name();
        let end = |answer| Errand::EndLease {
            caller,
            lease,
            answer,
        };
        self.desk.ask(end).await
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        self.local.version().to_owned()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn mode(&self) -> String {
        self.local.policy().mode.as_str().to_owned()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn health(&self) -> fdo::Result<String> {
        let health = self.local.get::<HealthView>(&self.itself, "/v1/health");
        let health = health.await.map_err(|it| fdo::Error::Failed(it.title))?;
        let word = match health.health {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unhealthy => "unhealthy",
        };
        Ok(word.to_owned())
    }

    #[zbus(property)]
    fn draining(&self) -> fdo::Result<bool> {
        self.counted.read("Draining")
    }

    #[zbus(property)]
    fn jobs_held(&self) -> fdo::Result<u32> {
        self.count("JobsHeld")
    }

    #[zbus(property)]
    fn jobs_queued(&self) -> fdo::Result<u32> {
        self.count("JobsQueued")
    }

    #[zbus(property)]
    fn jobs_starting(&self) -> fdo::Result<u32> {
        self.count("JobsStarting")
    }

    #[zbus(property)]
    fn jobs_running(&self) -> fdo::Result<u32> {
        self.count("JobsRunning")
    }

    #[zbus(property)]
    fn jobs_paused(&self) -> fdo::Result<u32> {
        self.count("JobsPaused")
    }

    #[zbus(property)]
    fn jobs_stopping(&self) -> fdo::Result<u32> {
        self.count("JobsStopping")
    }

    #[zbus(property)]
    fn jobs_backoff(&self) -> fdo::Result<u32> {
        self.count("JobsBackoff")
    }

    #[zbus(signal)]
    pub(super) async fn job_added(
        emitter: &SignalEmitter<'_>,
        id: u32,
        path: ObjectPath<'_>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        path: ObjectPath<'_>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn job_state_changed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        old: &str,
        new: &str,
        seq: u64,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn overflow(
        emitter: &SignalEmitter<'_>,
        from: u64,
        to: u64,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn alert_raised(emitter: &SignalEmitter<'_>, id: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn alert_cleared(emitter: &SignalEmitter<'_>, id: &str) -> zbus::Result<()>;
}
