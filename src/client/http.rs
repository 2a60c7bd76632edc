//! HTTP/1.1 over a Unix socket: one kept connection for questions, a connection of its own for each stream.

use crate::client::error::ClientError;
use crate::wire::error::{Problem, ProblemKind};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::CONNECTION;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// No answer takes longer, short of a store that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long without an answer somebody who waits is told so.
const A_WHILE: Duration = Duration::from_secs(2);
/// No answer is larger; a list has at most a thousand jobs.
const LARGEST_ANSWER_BYTES: usize = 256 << 20;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    /// JSON.
    pub(crate) body: Option<Bytes>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Whether asking twice does the same as asking once.
    pub(crate) repeatable: bool,
}

impl Ask {
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: target.into(),
            body: None,
            headers: Vec::new(),
            repeatable: true,
        }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.target)
            .header(HOST, "stoked");
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in &self.headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| ClientError::protocol(format!("{name} cannot be \"{value}\"")))?;
            request = request.header(name, value);
        }
        request
            .body(Full::new(self.body.clone().unwrap_or_default()))
            .map_err(|error| ClientError::protocol(error.to_string()))
    }
}

/// Whether a failed request may be sent again.
enum Failed {
    /// It never left this process.
    Unsent(ClientError),
    /// It may have been carried out.
    Unknown(ClientError),
}

/// The connection to one socket.
#[derive(Debug)]
pub(crate) struct Http {
    socket: PathBuf,
    revival: Option<Revival>,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
    connections: TaskTracker,
    /// Told once when an answer does not come for a while.
    on_wait: Mutex<Option<OnWait>>,
}

/// What is done when an answer does not come for a while.
pub struct OnWait(Box<dyn FnOnce() + Send>);

impl OnWait {
    /// Does this.
    #[must_use]
    pub fn new(tell: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(tell))
    }
}

impl std::fmt::Debug for OnWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnWait")
    }
}

/// What brings back a daemon that went away under its client: a process that is being killed may still
/// take a connection.
#[derive(Clone)]
pub struct Revival(Arc<dyn Fn() -> Reviving + Send + Sync>);

type Reviving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Revival {
    /// A revival that does this.
    #[must_use]
    pub fn new<F>(revive: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(revive())))
    }
}

impl std::fmt::Debug for Revival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Revival")
    }
}

impl Http {
    pub(crate) fn new(socket: PathBuf, revival: Option<Revival>) -> Self {
        Self {
            socket,
            revival,
            kept: Mutex::new(None),
            connections: TaskTracker::new(),
            on_wait: Mutex::new(None),
        }
    }

    pub(crate) fn tell_when_waiting(&self, tell: OnWait) {
        *self.to_tell() = Some(tell);
    }

    fn to_tell(&self) -> MutexGuard<'_, Option<OnWait>> {
        self.on_wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Connects now, and keeps the connection for the first question.
    pub(crate) async fn connect(&self) -> Result<(), ClientError> {
        let sender = self.fresh().await?;
        self.keep(sender);
        Ok(())
    }

    /// Asks, and reads the whole answer. A broken connection is tried once more where that is safe.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Bytes, ClientError> {
        self.telling(self.ask_patiently(ask)).await
    }

    /// Awaits an answer; who waits for it hears so after a while.
    async fn telling<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        if let Ok(answer) = tokio::time::timeout(A_WHILE, answer.as_mut()).await {
            return answer;
        }
        if let Some(OnWait(tell)) = self.to_tell().take() {
            tell();
        }
        answer.await
    }

    async fn ask_patiently(&self, ask: &Ask) -> Result<Bytes, ClientError> {
        let kept = self.take();
        let was_kept = kept.is_some();
        match self.ask_once(ask, kept).await {
            Ok(answer) => Ok(answer),
            // An idle connection is often found dead only by using it, so this says nothing yet.
            Err(Failed::Unsent(_)) if was_kept || self.revival.is_some() => {
                self.ask_last(ask).await
            }
            Err(Failed::Unknown(ClientError::Io(_))) if ask.repeatable => self.ask_last(ask).await,
            Err(Failed::Unsent(error) | Failed::Unknown(error)) => Err(error),
        }
    }

    /// Asks on a connection of its own, and returns as soon as the answer begins.
    pub(crate) async fn open(
        &self,
        ask: &Ask,
        patience: Option<Duration>,
    ) -> Result<Response<Incoming>, ClientError> {
        // Who heard from the daemon before is told that the connection is lost.
        let is_first = patience.is_none();
        let patience = patience.unwrap_or(PATIENCE);
        let asking = async {
            let mut sender = self.fresh().await?;
            let request = ask.request()?;
            sender
                .send_request(request)
                .await
                .map_err(ClientError::broken)
        };
        let asking = patiently(patience, asking);
        let response = if is_first {
            self.telling(asking).await?
        } else {
            asking.await?
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = patiently(patience, whole(response)).await?;
        Err(refusal(status, &body))
    }

    /// Asks once more; where the daemon was killed meanwhile, after it was brought back.
    async fn ask_last(&self, ask: &Ask) -> Result<Bytes, ClientError> {
        let mut asked = self.ask_once(ask, None).await;
        if let (Err(Failed::Unsent(ClientError::NoDaemon { .. })), Some(revival)) =
            (&asked, &self.revival)
        {
            (revival.0)().await;
            asked = self.ask_once(ask, None).await;
        }
        match asked {
            Ok(answer) => Ok(answer),
            Err(Failed::Unsent(error) | Failed::Unknown(error)) => Err(error),
        }
    }

    async fn ask_once(
        &self,
        ask: &Ask,
        kept: Option<SendRequest<Full<Bytes>>>,
    ) -> Result<Bytes, Failed> {
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.fresh().await.map_err(Failed::Unsent)?,
        };
        let request = ask.request().map_err(Failed::Unknown)?;
        let asking = async {
            let ready = sender.ready().await.map_err(ClientError::broken);
            ready.map_err(Failed::Unsent)?;
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    let unsent = error.take_message().is_some();
                    let error = ClientError::broken(error.into_error());
                    return Err(if unsent {
                        Failed::Unsent(error)
                    } else {
                        Failed::Unknown(error)
                    });
                }
            };
            let status = response.status();
            // It may be a moment until the connection is closed, in which another request would be lost.
            let closes = response.headers().get(CONNECTION);
            let closes = closes.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"close"));
            let body = whole(response).await.map_err(Failed::Unknown)?;
            Ok((status, body, closes))
        };
        let (status, body, closes) = tokio::time::timeout(PATIENCE, asking)
            .await
            .map_err(|_| Failed::Unknown(ClientError::Silent { after: PATIENCE }))??;
        if !closes && !sender.is_closed() {
            self.keep(sender);
        }
        if status.is_success() {
            Ok(body)
        } else {
            Err(Failed::Unknown(refusal(status, &body)))
        }
    }

    async fn fresh(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let stream = connect(&self.socket)
            .await
            .map_err(|why| ClientError::NoDaemon {
                path: self.socket.clone(),
                why,
            })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::broken)?;
        // How the connection ends shows in the request that was on it.
        self.connections.spawn(async move {
            let _ended = connection.await;
        });
        Ok(sender)
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().filter(|sender| !sender.is_closed())
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(sender);
    }
}

/// Connects. Where more want to than may wait in line, it tries again for a while: that daemon is there.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        match UnixStream::connect(socket).await {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(200));
            }
            outcome => return outcome,
        }
    }
}

/// The `Accept` header of a stream of events.
pub(crate) fn accept_events(ask: Ask) -> Ask {
    ask.with_header(ACCEPT, "text/event-stream")
}

async fn patiently<T>(
    after: Duration,
    asking: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(after, asking)
        .await
        .unwrap_or(Err(ClientError::Silent { after }))
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), LARGEST_ANSWER_BYTES);
    let body = body.collect().await.map_err(ClientError::broken)?;
    Ok(body.to_bytes())
}

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return ClientError::Problem(Box::new(problem));
    }
    // What stands between client and daemon refuses in its own words; the status says that it passes.
    let passes = matches!(status.as_u16(), 429 | 502..=504);
    if !passes {
        return ClientError::protocol(format!("status {status} without a reason"));
    }
    let mut problem = Problem::new(
        ProblemKind::LimitReached,
        format!("the daemon cannot be asked now (status {status})"),
    );
    problem.status = status.as_u16();
    ClientError::Problem(Box::new(problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    use std::os::unix::net::UnixListener;
    use std::task::Poll;

    #[tokio::test]
    async fn who_comes_to_a_full_line_waits_for_a_place_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let address = SocketAddrUnix::new(&path).unwrap();
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let mut crowd = Vec::new();
        let full = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => crowd.push(stream),
                Err(why) => break why,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let mut waits = std::pin::pin!(connect(&path));
        let first = std::future::poll_fn(|context| Poll::Ready(waits.as_mut().poll(context)));
        assert!(first.await.is_pending());
        let listener = UnixListener::from(listener);
        let _taken = listener.accept().unwrap();
        waits.await.unwrap();
    }
}
