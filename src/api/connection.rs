//! From a listening socket to served requests: who connects is known before anything is read.

use crate::api::Shared;
use crate::api::limits::Slot;
use crate::api::problem::{Failure, internal, last_words};
use crate::api::socket::{Turn, WatchedSocket};
use crate::auth::peer::Credentials;
use crate::auth::{Action, Decision, Subject, decide};
use crate::wire::error::{Problem, ProblemKind};
use crate::wire::service::API_LEVEL;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::convert::Infallible;
use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tower::ServiceExt;

/// How long accepting rests when it fails: the process is out of descriptors or memory, and asking
/// again at once would only burn the processor.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What is read from a client that was refused before it could finish its request, so that it gets
/// to read why.
const REFUSED_READ_BYTES: usize = 64 << 10;

/// How long that may take.
const REFUSED_READ_TIME: Duration = Duration::from_secs(1);

/// Accepts until the daemon goes down.
pub(super) async fn accept(listener: UnixListener, shared: Arc<Shared>, router: Router) {
    let mut spare = Spare::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(stream, &shared, &router),
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                if !(is_out_of_files(&error) && spare.turn_away(&listener)) {
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }
}

/// A descriptor that is given up when there are no others left: with its place a client is accepted
/// and told so, instead of being left to wait without a word.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Tells the next client that it cannot be served now; whether there was one, and the means for it.
    fn turn_away(&mut self, listener: &UnixListener) -> bool {
        if self.0.take().is_none() {
            *self = Self::new();
            return false;
        }
        let accepted = listener.poll_accept(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Ok((stream, _))) = &accepted {
            let mut problem = Problem::new(
                ProblemKind::LimitReached,
                "the daemon has no file descriptors left",
            )
            .hint("try again in a moment; an administrator may raise LimitNOFILE");
            problem.retry_after_ms = Some(1_000);
            tell(stream, &problem);
        }
        let told = matches!(accepted, Poll::Ready(Ok(_)));
        drop(accepted);
        *self = Self::new();
        told
    }
}

fn is_out_of_files(error: &std::io::Error) -> bool {
    let limits = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| limits.contains(&code))
}

/// Says why, as far as that can be done without waiting.
fn tell(stream: &UnixStream, problem: &Problem) {
    // A client that gave its socket no room for this learns from its end alone.
    drop(stream.try_write(&last_words(problem)));
}

/// Reads who it is, counts it, and hands it to a task of its own.
fn admit(stream: UnixStream, shared: &Arc<Shared>, router: &Router) {
    let peer = match stream.peer_cred() {
        Ok(peer) => Credentials {
            uid: peer.uid(),
            gid: peer.gid(),
            pid: peer.pid(),
        },
        Err(error) => {
            // It has left already, or is nobody; there is nobody to tell.
            tracing::debug!(%error, "a connection has no credentials");
            return;
        }
    };
    match shared.ledger.connect(peer.uid) {
        Ok(slot) => {
            let task = serve(stream, peer, slot, Arc::clone(shared), router.clone());
            shared.tracker.spawn(task);
        }
        Err(Failure(problem)) => match Arc::clone(&shared.refusals).try_acquire_owned() {
            Ok(place) => {
                let refused = async move {
                    refuse(stream, problem).await;
                    drop(place);
                };
                shared.tracker.spawn(refused);
            }
            Err(_) => tell(&stream, &problem),
        },
    }
}

async fn serve(
    stream: UnixStream,
    peer: Credentials,
    slot: Slot,
    shared: Arc<Shared>,
    router: Router,
) {
    let subject = match welcome(peer, &shared).await {
        Ok(subject) => subject,
        Err(Failure(problem)) => return refuse(stream, problem).await,
    };
    let turn = Arc::new(Turn::default());
    let socket = WatchedSocket::new(stream, Arc::clone(&turn), &shared.limits);
    let presence = socket.presence();
    let service = service_fn(|request: Request<Incoming>| {
        let turn = TurnGuard::begin(&turn);
        let request = request.map(Body::new);
        let answer = answer(request, Arc::clone(&subject), &shared, router.clone());
        async move { Ok::<_, Infallible>(turn.hold(answer.await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Whoever says that nothing more comes has asked and waits for the answer.
        .half_close(true)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = presence.over() => Ok(()),
        () = shared.stop.cancelled() => {
            turn.hurry();
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients leave in the middle of everything; that is no news.
        tracing::debug!(uid = peer.uid, %error, "connection ended");
    }
    drop(slot);
}

/// Who somebody is with these credentials, where he may speak to this daemon at all.
pub(super) async fn welcome(
    peer: Credentials,
    shared: &Arc<Shared>,
) -> Result<Arc<Subject>, Failure> {
    let subject = identify(peer, shared).await?;
    match decide(&subject, Action::Connect, None, &shared.policy) {
        Decision::Allow => Ok(subject),
        Decision::Deny(why) => {
            let problem = Problem::new(ProblemKind::NotPermitted, "you may not connect");
            Err(problem.detail(why).into())
        }
    }
}

async fn identify(peer: Credentials, shared: &Arc<Shared>) -> Result<Arc<Subject>, Failure> {
    if let Some(subject) = shared.accounts.known(peer) {
        return Ok(Arc::new(subject));
    }
    let asked = Arc::clone(shared);
    // Without waiting for a turn to read: a crowd of one user must not keep others from coming in.
    let subject = shared
        .tracker
        .spawn_blocking(move || asked.accounts.look_up(peer))
        .await
        .map_err(|error| internal(format_args!("looking up a user ended: {error}")))?;
    Ok(Arc::new(subject))
}

/// The answer to a request, whichever way it came.
pub(super) async fn answer(
    mut request: Request<Body>,
    subject: Arc<Subject>,
    shared: &Shared,
    router: Router,
) -> Response {
    let allowed = check_head(&request, shared)
        .and_then(|()| shared.ledger.request(subject.uid, Instant::now()));
    let mut response = match allowed {
        Ok(()) => {
            request.extensions_mut().insert(subject);
            let Ok(response) = router.oneshot(request).await;
            response
        }
        Err(refused) => {
            let mut response = refused.into_response();
            // What else the client has sent meanwhile is not looked at: to refuse a request takes time too, which a flood
            // of them would take from others.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert("stoked-api", HeaderValue::from(API_LEVEL));
    response
}

fn check_head(request: &Request<Body>, shared: &Shared) -> Result<(), Failure> {
    let most = shared.limits.header_bytes;
    let target = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let headers = request.headers().iter();
    let size: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if target + size <= most {
        return Ok(());
    }
    let title = format!("the head of the request is larger than {most} bytes");
    Err(Problem::new(ProblemKind::TooLarge, title)
        .hint("put large values into the body")
        .into())
}

/// Says why a connection gets no further, and closes it.
///
/// It is told once it has asked: a client may take what comes before that for nonsense, and not for an answer. What it sends
/// meanwhile is read and dropped for a moment: a socket that is closed with unread data in it tells its other end of a
/// broken pipe instead of the reason.
async fn refuse(mut stream: UnixStream, problem: Box<Problem>) {
    let words = last_words(&problem);
    // One that asks for nothing is told all the same.
    let _asked = tokio::time::timeout(REFUSED_READ_TIME, says_something(&stream)).await;
    let linger = async {
        stream.write_all(&words).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(REFUSED_READ_BYTES as u64);
        let mut buffer = [0_u8; 1024];
        while rest.read(&mut buffer).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // It was told, or does not listen: either way it is closed now.
    drop(tokio::time::timeout(REFUSED_READ_TIME, linger).await);
}

/// Ends when there is something to read, or the end of it: that a socket is called readable is a hint alone.
async fn says_something(stream: &UnixStream) -> std::io::Result<()> {
    loop {
        stream.readable().await?;
        let look = || {
            let seen = rustix::net::recv(stream, &mut [0_u8; 1], RecvFlags::PEEK);
            seen.map(drop).map_err(std::io::Error::from)
        };
        match stream.try_io(Interest::READABLE, look) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}

/// It is our turn as long as this lives: from the head of a request to the end of its answer.
struct TurnGuard(Arc<Turn>);

impl TurnGuard {
    fn begin(turn: &Arc<Turn>) -> Self {
        turn.begin();
        Self(Arc::clone(turn))
    }

    fn hold(self, response: Response) -> Response {
        response.map(|body| Body::new(HeldBody { body, _turn: self }))
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct HeldBody {
    body: Body,
    _turn: TurnGuard,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
