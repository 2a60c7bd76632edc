//! One method per route of the API.

use crate::client::backoff::random_bits;
use crate::client::error::ClientError;
use crate::client::events::{EventQuery, Events};
use crate::client::http::{Ask, Http, OnWait, Revival};
use crate::client::logs::{LogFollow, LogQuery};
use crate::client::query::{FlowQuery, JobQuery, Target, encode};
use crate::wire::archive::{
    ArchiveNow, ArchiveRestore, ArchiveRestored, ArchiveRun, ArchiveVerified, ArchiveVerify,
    ArchiveView,
};
use crate::wire::flow::{FlowList, FlowView};
use crate::wire::group::{GroupList, GroupView};
use crate::wire::job::{JobList, JobView, Submitted};
use crate::wire::progress::{ProgressHistory, ProgressReport};
use crate::wire::request::{GroupPut, JobBatch, JobEdit, JobSubmit, SignalRequest, StopRequest};
use crate::wire::service::{DrainPut, DrainView, HealthView, VersionView};
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::HeaderName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;

/// A client of the daemon behind one socket; cheap to clone, clones share one connection.
#[derive(Clone, Debug)]
pub struct Client {
    http: Arc<Http>,
}

impl Client {
    /// Connects to the daemon at `socket`.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`] where nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        Self::connect_for_good(socket, None).await
    }

    /// Connects to a daemon that `revival` can bring back.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`] where nobody listens there now.
    pub async fn connect_for_good(
        socket: &Path,
        revival: Option<Revival>,
    ) -> Result<Self, ClientError> {
        let http = Http::new(socket.to_owned(), revival);
        http.connect().await?;
        Ok(Self {
            http: Arc::new(http),
        })
    }

    /// A client that has not connected yet.
    #[cfg(test)]
    pub(crate) fn of(http: Http) -> Self {
        Self {
            http: Arc::new(http),
        }
    }

    /// The socket it talks to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.http.socket()
    }

    /// Says once, when an answer does not come for a while.
    pub fn tell_when_waiting(&self, tell: OnWait) {
        self.http.tell_when_waiting(tell);
    }

    pub(crate) fn http(&self) -> Arc<Http> {
        Arc::clone(&self.http)
    }

    /// Who the daemon is.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn version(&self) -> Result<VersionView, ClientError> {
        self.get("/v1/version").await
    }

    /// How the daemon is.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn health(&self) -> Result<HealthView, ClientError> {
        self.get("/v1/health").await
    }

    /// Submits jobs: all or none. The same `key` with the same jobs is the same submission.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn submit(&self, jobs: Vec<JobSubmit>, key: &str) -> Result<Submitted, ClientError> {
        let body = match <[JobSubmit; 1]>::try_from(jobs) {
            Ok([job]) => json(&job)?,
            Err(jobs) => json(&JobBatch { jobs })?,
        };
        let ask = Ask {
            method: Method::POST,
            target: "/v1/jobs".to_owned(),
            body: Some(body),
            headers: Vec::new(),
            repeatable: true,
        };
        let key_header = HeaderName::from_static("idempotency-key");
        parse(&self.http.ask(&ask.with_header(key_header, key)).await?)
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobList, ClientError> {
        self.get(query.target()).await
    }

    /// One job with its attempts.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn job(&self, id: u64) -> Result<JobView, ClientError> {
        self.get(format!("/v1/jobs/{id}")).await
    }

    /// Asks a job to end.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn cancel(&self, id: u64, how: &StopRequest) -> Result<(), ClientError> {
        // Ending what was asked to end already changes nothing.
        self.post(format!("/v1/jobs/{id}/cancel"), how, true).await
    }

    /// Ends a job, and queues it again.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn restart(&self, id: u64, how: &StopRequest) -> Result<(), ClientError> {
        self.post(format!("/v1/jobs/{id}/restart"), how, false)
            .await
    }

    /// Sends a signal to a job.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn signal(&self, id: u64, what: &SignalRequest) -> Result<(), ClientError> {
        self.post(format!("/v1/jobs/{id}/signal"), what, false)
            .await
    }

    /// A verb without a body: `pause`, `resume`, `hold`, `release`, `approve`, `reject`, `retry`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn act(&self, id: u64, verb: &str) -> Result<(), ClientError> {
        self.send(Method::POST, format!("/v1/jobs/{id}/{verb}"), None, false)
            .await
    }

    /// Changes a waiting job.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn edit(&self, id: u64, what: &JobEdit) -> Result<(), ClientError> {
        self.post(format!("/v1/jobs/{id}/edit"), what, true).await
    }

    /// Forgets a finished job with its history.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn remove(&self, id: u64) -> Result<(), ClientError> {
        self.send(Method::DELETE, format!("/v1/jobs/{id}"), None, false)
            .await
    }

    /// Reports progress from inside a job.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn report(&self, id: u64, report: &ProgressReport) -> Result<(), ClientError> {
        self.post(format!("/v1/jobs/{id}/progress"), report, true)
            .await
    }

    /// The progress history of an attempt, the present one unless given.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn progress(
        &self,
        id: u64,
        attempt: Option<u32>,
    ) -> Result<ProgressHistory, ClientError> {
        let mut target = Target::new(format!("/v1/jobs/{id}/progress"));
        target.add_some("attempt", attempt);
        self.get(target.into_text()).await
    }

    /// A page of flows, the one with the newest job first.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn flows(&self, query: &FlowQuery) -> Result<FlowList, ClientError> {
        self.get(query.target()).await
    }

    /// A flow with the newest of its jobs; the caller's own unless `owner` is given.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn flow(
        &self,
        name: &str,
        owner: Option<&str>,
        limit: u32,
    ) -> Result<FlowView, ClientError> {
        let mut target = Target::new(format!("/v1/flows/{}", encode(name)));
        target.add_some("owner", owner);
        target.add("limit", limit);
        self.get(target.into_text()).await
    }

    /// Every group.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn groups(&self) -> Result<Vec<GroupView>, ClientError> {
        let list: GroupList = self.get("/v1/groups").await?;
        Ok(list.items)
    }

    /// Makes or changes a group.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn put_group(&self, name: &str, what: &GroupPut) -> Result<(), ClientError> {
        let target = format!("/v1/groups/{}", encode(name));
        self.send(Method::PUT, target, Some(json(what)?), true)
            .await
    }

    /// Removes an empty group.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn remove_group(&self, name: &str) -> Result<(), ClientError> {
        let target = format!("/v1/groups/{}", encode(name));
        self.send(Method::DELETE, target, None, false).await
    }

    /// Whether the host is drained, and how many jobs still run.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn drain(&self) -> Result<DrainView, ClientError> {
        self.get("/v1/drain").await
    }

    /// Keeps everything from starting, or lets it start again.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn set_drain(&self, what: DrainPut) -> Result<(), ClientError> {
        self.send(
            Method::PUT,
            "/v1/drain".to_owned(),
            Some(json(&what)?),
            true,
        )
        .await
    }

    /// What the archive holds.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn archive(&self) -> Result<ArchiveView, ClientError> {
        self.get("/v1/archive").await
    }

    /// Archives what is old enough, and waits until that is done.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn archive_now(&self, how: &ArchiveNow) -> Result<ArchiveRun, ClientError> {
        self.ask_for("/v1/archive/now", how).await
    }

    /// Reads the archive through.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn verify_archive(
        &self,
        how: &ArchiveVerify,
    ) -> Result<ArchiveVerified, ClientError> {
        self.ask_for("/v1/archive/verify", how).await
    }

    /// Brings jobs back from the archive, or takes in a file of it.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn restore_archive(
        &self,
        what: &ArchiveRestore,
    ) -> Result<ArchiveRestored, ClientError> {
        self.ask_for("/v1/archive/restore", what).await
    }

    /// Events as they happen. Connects with the first call of [`Events::next`].
    #[must_use]
    pub fn events(&self, query: EventQuery) -> Events {
        Events::new(self.clone(), query)
    }

    /// What an attempt wrote, and writes. Connects with the first call of [`LogFollow::next`].
    #[must_use]
    pub fn logs(&self, query: LogQuery) -> LogFollow {
        LogFollow::new(self.clone(), query)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        target: impl Into<String>,
    ) -> Result<T, ClientError> {
        parse(&self.http.ask(&Ask::get(target)).await?)
    }

    /// Asks for something that may be asked for twice, and wants to know what came of it.
    async fn ask_for<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let ask = Ask {
            method: Method::POST,
            target: target.to_owned(),
            body: Some(json(body)?),
            headers: Vec::new(),
            repeatable: true,
        };
        parse(&self.http.ask(&ask).await?)
    }

    async fn post(
        &self,
        target: String,
        body: &impl Serialize,
        repeatable: bool,
    ) -> Result<(), ClientError> {
        self.send(Method::POST, target, Some(json(body)?), repeatable)
            .await
    }

    async fn send(
        &self,
        method: Method,
        target: String,
        body: Option<Bytes>,
        repeatable: bool,
    ) -> Result<(), ClientError> {
        let ask = Ask {
            method,
            target,
            body,
            headers: Vec::new(),
            repeatable,
        };
        self.http.ask(&ask).await.map(drop)
    }
}

/// A key for one submission, never the same twice.
#[must_use]
pub fn random_key() -> String {
    format!("{:016x}{:016x}", random_bits(), random_bits())
}

fn json(value: &impl Serialize) -> Result<Bytes, ClientError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| ClientError::protocol(error.to_string()))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::protocol(error.to_string()))
}
