//! A daemon without processes.

pub(super) use super::client::*;
pub(super) use super::dials::Dials;
use crate::api::limits::Limits;
use crate::api::ports::{ArchiveDesk, Gauges, HealthSource, Output};
use crate::api::routes::router;
use crate::api::{Api, Shared, serve};
use crate::auth::{Mode, Policy, Subject};
use crate::control::command::{Command, Draft, Reply, Submission};
use crate::control::ports::{Effects, StoreTrouble};
use crate::control::{Handle, door};
use crate::engine::Engine;
use crate::engine::input::Input;
use crate::engine::needs::{Cold, Needs};
use crate::engine::recover::Recovery;
use crate::engine::step::Action;
use crate::events::pattern::Filter;
use crate::events::queue::{Delivery, QueueOptions};
use crate::events::{Bus, BusOptions, Subscription};
use crate::logs::watch::Watcher;
use crate::model::access::Quota;
use crate::model::attempt::Process;
use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::failure::{Ending, Exit};
use crate::model::group::Group;
use crate::model::id::{AttemptId, JobId};
use crate::model::job::Owner;
use crate::model::spec::{JobSpec, StopPolicy};
use crate::model::time::Stamp;
use crate::store::{Fetch, Options, Recovered, Samples, Store, StoreError};
use crate::wire::service::{ComponentView, Health};
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Nothing that a test waits for takes this long; it is there so that a broken one ends.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("this should have happened by now")
}

pub(super) fn own_uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

struct World {
    store: Store,
    bus: Bus,
}

fn trouble(error: &StoreError) -> StoreTrouble {
    StoreTrouble {
        why: error.to_string(),
        is_final: false,
    }
}

fn recovery(recovered: Recovered) -> Recovery {
    Recovery {
        boot_id: "boot".to_owned(),
        next_job: recovered.next_job,
        live: recovered.live,
        gates: recovered.gates,
        default_parallelism: 4,
        // Nothing wakes this engine up, so it holds nothing back.
        pace_ms: 0,
        quota: Quota::default(),
    }
}

pub(super) fn now() -> Stamp {
    let wall_ms = jiff::Timestamp::now().as_millisecond();
    Stamp {
        wall_ms,
        boot_ms: u64::try_from(wall_ms).unwrap(),
    }
}

impl Effects for World {
    fn now(&self) -> Stamp {
        now()
    }

    async fn commit(&mut self, changes: Vec<Change>) -> Result<Vec<Event>, StoreTrouble> {
        self.store
            .commit(changes)
            .await
            .map_err(|error| trouble(&error))
    }

    async fn fetch(&mut self, needs: Needs) -> Result<Cold, StoreTrouble> {
        let fetch = Fetch {
            jobs: needs.jobs.iter().copied().collect(),
            names: needs.names.iter().cloned().collect(),
            key: needs.key.as_ref().map(|key| (key.uid, key.key.clone())),
        };
        let mut fetched = self
            .store
            .fetch(fetch)
            .await
            .map_err(|error| trouble(&error))?;
        let mut job = |id: JobId| {
            let place = fetched.jobs.iter().position(|job| job.id == id);
            (id, place.map(|place| fetched.jobs.remove(place)))
        };
        Ok(Cold {
            jobs: needs.jobs.into_iter().map(&mut job).collect(),
            names: needs
                .names
                .into_iter()
                .map(|name| (name.clone(), fetched.names.get(&name).copied()))
                .collect(),
            key: needs
                .key
                .map(|_| fetched.key.map(|key| (key.fingerprint, key.ids))),
        })
    }

    async fn reload(&mut self) -> Result<Recovery, StoreTrouble> {
        let recovered = self.store.reload().await;
        recovered.map(recovery).map_err(|error| trouble(&error))
    }

    fn refuses_work(&self) -> Option<String> {
        None
    }

    fn publish(&mut self, events: &[Event]) {
        self.bus.publish(events);
    }

    fn act(&mut self, _action: Action) {}

    fn store_is(&mut self, _trouble: Option<&StoreTrouble>) {}

    async fn sleep_until(&self, _boot_ms: Option<u64>) {
        std::future::pending::<()>().await;
    }
}

/// Well, but for its disk; limits are kept where a test says so.
struct Well {
    limits: bool,
}

impl HealthSource for Well {
    fn components(&self) -> Vec<ComponentView> {
        vec![ComponentView {
            name: "store".to_owned(),
            health: Health::Degraded,
            message: Some("the disk is nearly full".to_owned()),
        }]
    }

    fn can_limit(&self) -> Result<(), String> {
        match self.limits {
            true => Ok(()),
            false => Err("jobs are held together by their process tree".to_owned()),
        }
    }
}

/// A running API with everything behind it but processes.
pub(super) struct Daemon {
    pub(super) bus: Bus,
    pub(super) store: Store,
    pub(super) control: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
    pub(super) socket: PathBuf,
    pub(super) gauges: Arc<Dials>,
    directory: tempfile::TempDir,
}

pub(super) fn quick_limits() -> Limits {
    Limits::of(Mode::User { uid: own_uid() })
}

impl Daemon {
    pub(super) fn start() -> Self {
        Self::with(quick_limits(), Mode::User { uid: own_uid() }, 8_192)
    }

    pub(super) fn with(limits: Limits, mode: Mode, ring: usize) -> Self {
        Self::under(Policy::new(mode), limits, ring)
    }

    pub(super) fn under(policy: Policy, limits: Limits, ring: usize) -> Self {
        Self::built(policy, limits, ring, Well { limits: false })
    }

    /// One whose jobs can be limited.
    pub(super) fn that_limits() -> Self {
        let policy = Policy::new(Mode::User { uid: own_uid() });
        Self::built(policy, quick_limits(), 64, Well { limits: true })
    }

    fn built(policy: Policy, limits: Limits, ring: usize, well: Well) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            ballast_bytes: 0,
            ..Options::default()
        };
        let opened = Store::open(directory.path(), options).unwrap();
        let recovered = opened.recovered;
        let bus = Bus::new(BusOptions {
            epoch: recovered.epoch.clone(),
            head: recovered.head,
            oldest: recovered.oldest,
            ring,
        });
        let store = opened.store;
        let (control, inbox) = door();
        let (engine, first) = Engine::recover(recovery(recovered), now());
        let world = World {
            store: store.clone(),
            bus: bus.clone(),
        };
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(inbox.into_task(engine, first, world).run(stop.clone()));
        let gauges = Arc::new(Dials::default());
        let api = Api {
            control: control.clone(),
            bus: bus.clone(),
            archive: store.reader(),
            desk: ArchiveDesk::new().0,
            logs: Output {
                dir: directory.path().join("logs"),
                watcher: Watcher::start().unwrap(),
            },
            gauges: Arc::clone(&gauges) as Arc<dyn Gauges>,
            samples: Samples::open(&directory.path().join("samples")).unwrap(),
            health: Arc::new(well),
            policy,
            stop_policy: tokio::sync::watch::channel(StopPolicy::default()).1,
            default_group: Group {
                name: "default".to_owned(),
                parallelism: 4,
                paused: false,
            },
            version: "0.0.0-test".to_owned(),
        };
        let socket = directory.path().join("stoked.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tracker.spawn(serve(
            listener,
            api.clone(),
            limits.clone(),
            stop.clone(),
            tracker.clone(),
        ));
        let shared = Shared::new(api, limits, stop.clone(), tracker.clone());
        Self {
            bus,
            store,
            control,
            shared: Arc::new(shared),
            stop,
            tracker,
            socket,
            gauges,
            directory,
        }
    }

    pub(super) fn log_directory(&self, attempt: AttemptId) -> PathBuf {
        self.directory.path().join("logs").join(attempt.to_string())
    }

    /// A request over a connection of its own.
    pub(super) async fn send(&self, request: Request<Full<axum::body::Bytes>>) -> Answered {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        self.tracker.spawn(async move { drop(connection.await) });
        let response = soon(sender.send_request(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = soon(body.collect()).await.unwrap().to_bytes();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: body.to_vec(),
        }
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answered {
        let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(format!("http://stoked{path}"))
            .header("host", "stoked")
            .header("content-type", "application/json")
            .body(Full::from(bytes))
            .unwrap();
        self.send(request).await
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        self.call("GET", path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answered {
        self.call("POST", path, Some(body)).await
    }

    /// A request as if `subject` had sent it, without a socket.
    pub(super) async fn call_as(&self, subject: Subject, method: &str, path: &str) -> Answered {
        self.post_as(subject, method, path, Body::empty()).await
    }

    pub(super) async fn post_as(
        &self,
        subject: Subject,
        method: &str,
        path: &str,
        body: Body,
    ) -> Answered {
        let (parts, body) = self.ask_as(subject, method, path, body).await.into_parts();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: soon(body.collect()).await.unwrap().to_bytes().to_vec(),
        }
    }

    /// The answer before its body has come, as if `subject` had asked.
    pub(super) async fn ask_as(
        &self,
        subject: Subject,
        method: &str,
        path: &str,
        body: Body,
    ) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .extension(Arc::new(subject))
            .body(body)
            .unwrap();
        let answer = router(Arc::clone(&self.shared)).oneshot(request);
        soon(answer).await.unwrap()
    }

    /// Submits a job that starts at once, as its number.
    pub(super) async fn submit(&self, name: &str) -> u64 {
        let reply = self
            .post("/v1/jobs", json!({ "command": ["true"], "name": name }))
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        reply.json()["ids"][0].as_u64().unwrap()
    }

    /// Submits a job of somebody else, past the API.
    pub(super) async fn submit_of(&self, uid: u32, spec: JobSpec) -> u64 {
        let submission = Submission {
            owner: Arc::new(Owner {
                uid,
                gid: uid,
                user: format!("user{uid}"),
            }),
            jobs: vec![Draft {
                spec,
                held: None,
                after_ok: Vec::new(),
            }],
            environments: std::collections::BTreeMap::new(),
            key: None,
            sees_others: true,
        };
        let reply = self.control.command(Command::Submit(submission)).await;
        let Ok(Reply::Submitted { ids, .. }) = reply else {
            panic!("{reply:?}");
        };
        ids[0].0
    }

    fn watch(&self) -> Subscription {
        self.bus
            .subscribe(Filter::everything(), QueueOptions::default())
    }

    /// What a supervisor would say: the attempt runs.
    pub(super) async fn started(&self, job: u64, attempt: u32) {
        let mut events = self.watch();
        self.control.report(Input::Started {
            attempt: attempt_id(job, attempt),
            main: Process {
                pid: 4_711,
                start_ticks: 1,
            },
            containment: "tree".to_owned(),
            at: now(),
        });
        self.until_state(&mut events, job, "running").await;
    }

    /// What a supervisor would say: the attempt ended.
    pub(super) async fn ended(&self, job: u64, attempt: u32, code: i32) {
        let mut events = self.watch();
        self.control.report(Input::Ended {
            attempt: attempt_id(job, attempt),
            ending: Ending::Exited {
                exit: Exit::with_code(code),
                oom_killed: false,
            },
            usage: None,
            at: now(),
        });
        let state = if code == 0 { "completed" } else { "failed" };
        self.until_state(&mut events, job, state).await;
    }

    async fn until_state(&self, events: &mut Subscription, job: u64, state: &str) {
        let channel = format!("job/{job}/state");
        let wanted = format!("\"state\":\"{state}\"");
        loop {
            let Delivery::Event(event, _) = soon(events.next()).await else {
                panic!("the bus ended");
            };
            if *event.channel == *channel && event.body.contains(&wanted) {
                return;
            }
        }
    }

    /// Runs a job from start to end.
    pub(super) async fn run(&self, job: u64) {
        self.started(job, 1).await;
        self.ended(job, 1, 0).await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.bus.close(100);
        self.stop.cancel();
    }
}

pub(super) fn attempt_id(job: u64, attempt: u32) -> AttemptId {
    AttemptId {
        job: JobId(job),
        attempt,
    }
}

pub(super) fn subject(uid: u32) -> Subject {
    Subject {
        uid,
        gid: uid,
        pid: None,
        user: format!("user{uid}").into(),
        home: None,
        in_admin_group: false,
        refused: None,
    }
}
