//! A door onto the API inside the daemon, for its other faces: what comes through it takes the same way through the same
//! routes, access checks and limits as what comes through the socket.

use crate::api::connection;
use crate::api::limits::Limits;
use crate::api::logs::missing_attempt;
use crate::api::ports::{Gauges, Look};
use crate::api::problem::{Failure, internal};
use crate::api::routes;
use crate::api::visit::Visit;
use crate::api::{Api, Shared};
use crate::auth::peer::{self, Credentials};
use crate::auth::{Action, Policy, Subject};
use crate::logs::Stream;
use crate::logs::read;
use crate::model::id::{AttemptId, JobId};
use crate::model::sample::Snapshot;
use crate::wire::error::{Problem, ProblemKind};
use axum::Router;
use axum::body::Body;
pub use axum::http::Method;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The door; cheap to clone.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
    router: Router,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({:?})", self.shared.policy)
    }
}

/// What failed, boxed, because most of what is asked succeeds.
pub type Refused = Box<Problem>;

/// Which output of a job, and from where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The job.
    pub job: JobId,
    /// Which start of it; the newest unless given.
    pub attempt: Option<u32>,
    /// Which of the two.
    pub stream: Stream,
    /// A logical offset in it: the file that holds it is opened.
    pub offset: u64,
}

impl Local {
    /// The door onto an API; answers that have begun are completed by tasks on `tracker`.
    #[must_use]
    pub fn new(api: Api, limits: Limits, stop: CancellationToken, tracker: TaskTracker) -> Self {
        let shared = Arc::new(Shared::new(api, limits, stop, tracker));
        let router = routes::router(Arc::clone(&shared));
        Self { shared, router }
    }

    /// Serves the same API on a socket, until the daemon goes down.
    pub async fn serve(self, listener: UnixListener) {
        connection::accept(listener, self.shared, self.router).await;
    }

    /// Who may do what.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// Version of the daemon.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.shared.version
    }

    /// Who somebody is whose user the kernel or a bus vouches for.
    ///
    /// `gid` is the primary group where the host does not know the user.
    ///
    /// # Errors
    /// He may not speak to this daemon, or has no group that his jobs could run with.
    pub async fn subject(
        &self,
        uid: u32,
        gid: Option<u32>,
        pid: Option<i32>,
    ) -> Result<Arc<Subject>, Refused> {
        let group = self
            .shared
            .tracker
            .spawn_blocking(move || peer::primary_group(uid).or(gid));
        let group = group.await.ok().flatten();
        let gid = group.ok_or_else(|| {
            let title = format!("user {uid} has no primary group that this host knows");
            Problem::new(ProblemKind::NotPermitted, title).hint("use the socket")
        })?;
        self.welcome(Credentials { uid, gid, pid }).await
    }

    /// The same once more for somebody who was known before: what the host says of him may have changed.
    ///
    /// # Errors
    /// He may not speak to this daemon.
    pub async fn again(&self, subject: &Subject) -> Result<Arc<Subject>, Refused> {
        self.welcome(Credentials {
            uid: subject.uid,
            gid: subject.gid,
            pid: subject.pid,
        })
        .await
    }

    async fn welcome(&self, peer: Credentials) -> Result<Arc<Subject>, Refused> {
        let welcomed = connection::welcome(peer, &self.shared).await;
        welcomed.map_err(|Failure(problem)| problem)
    }

    /// The answer to a `GET`.
    ///
    /// # Errors
    /// The problem that a client of the socket would be told.
    pub async fn get<T: DeserializeOwned>(
        &self,
        subject: &Arc<Subject>,
        target: &str,
    ) -> Result<T, Refused> {
        let answer = self.request(subject, Method::GET, target, None).await?;
        read_json(&answer)
    }

    /// The answer to a request that changes something; nothing where the answer is empty.
    ///
    /// # Errors
    /// The problem that a client of the socket would be told.
    pub async fn change(
        &self,
        subject: &Arc<Subject>,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>, Refused> {
        let answer = self.request(subject, method, target, body).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        read_json(&answer).map(Some)
    }

    async fn request(
        &self,
        subject: &Arc<Subject>,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, Refused> {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::CONTENT_LENGTH, body.len())
            .body(Body::from(body))
            .map_err(|error| internal(error).0)?;
        let who = Arc::clone(subject);
        let response = connection::answer(request, who, &self.shared, self.router.clone()).await;
        let succeeded = response.status().is_success();
        let body = response.into_body().collect().await;
        let bytes = body.map_err(|error| internal(error).0)?.to_bytes();
        if succeeded {
            return Ok(bytes.into());
        }
        Err(read_json(&bytes).map(Box::new).unwrap_or_else(|bug| bug))
    }

    /// Opens a file of a job's output for reading, as it is on disk.
    ///
    /// # Errors
    /// There is no such job, attempt or output, it is compressed, or the caller may not read it.
    pub async fn open_log(
        &self,
        subject: &Arc<Subject>,
        place: LogPlace,
    ) -> Result<OwnedFd, Refused> {
        let opened = self.try_open_log(subject, place).await;
        opened.map_err(|Failure(problem)| problem)
    }

    async fn try_open_log(
        &self,
        subject: &Arc<Subject>,
        place: LogPlace,
    ) -> Result<OwnedFd, Failure> {
        let visit = Visit {
            shared: Arc::clone(&self.shared),
            subject: Arc::clone(subject),
        };
        let id = place.job;
        let owner = visit.owner(id).await?;
        visit.permit(Action::ReadJob, Some(owner))?;
        let attempts = visit.job(id).await?.attempts;
        let newest = attempts.iter().map(|it| it.id.attempt).max().unwrap_or(1);
        let attempt = place.attempt.unwrap_or(newest);
        if attempt == 0 || attempt > newest {
            return Err(missing_attempt(attempt, id));
        }
        let dir = self.shared.logs.of(AttemptId { job: id, attempt });
        let open = move || read::open_file(&dir, place.stream, place.offset);
        let stream = place.stream.as_str();
        match visit.blocking(open).await? {
            Ok(Some(file)) => Ok(file),
            Ok(None) => {
                let title = format!("attempt {id}.{attempt} has written nothing to {stream} yet");
                let problem = Problem::new(ProblemKind::NotFound, title);
                Err(problem.hint("ask again when it has").into())
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let title = format!("the output of attempt {id}.{attempt} is compressed");
                let problem = Problem::new(ProblemKind::WrongState, title);
                Err(problem.hint("`stoke logs` reads it").into())
            }
            Err(error) => Err(internal(error)),
        }
    }

    /// The newest of what is measured. Nobody looks more closely for that.
    #[must_use]
    pub fn newest(&self) -> Arc<Snapshot> {
        self.shared.gauges.newest()
    }

    /// The same for somebody who looked once, and may do so again soon.
    #[must_use]
    pub fn glance(&self) -> Arc<Snapshot> {
        self.shared.gauges.glance();
        self.shared.gauges.newest()
    }

    /// Somebody looks for as long as this is kept, and wants to see new values so often.
    #[must_use]
    pub fn look(&self, every: Duration) -> Look {
        let gauges: &dyn Gauges = &*self.shared.gauges;
        gauges.look(every)
    }
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|error| internal(error).0)
}
