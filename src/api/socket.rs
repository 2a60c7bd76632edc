//! A client's socket under watch: it may not be slow to say what it wants, nor to take the answer.
//!
//! The time limits are here and not in the HTTP layer, because only here a client that sends half a
//! request is told apart from one that keeps its connection for the next.

use crate::api::limits::Limits;
use crate::api::problem::last_words;
use crate::wire::error::{Problem, ProblemKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep};

/// Whose turn it is on a connection: the client's to ask, or ours to answer.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    ours: AtomicBool,
    requests: AtomicU64,
    hurried: AtomicBool,
}

/// How long a client may keep a daemon waiting that goes down: by saying nothing, or by taking nothing.
const LAST_PATIENCE: Duration = Duration::from_millis(250);

impl Turn {
    /// The head of a request is here.
    pub(crate) fn begin(&self) {
        self.ours.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The daemon goes down: from now on a client that does nothing is not waited for.
    pub(crate) fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }

    /// The answer is complete.
    pub(crate) fn end(&self) {
        self.ours.store(false, Ordering::Relaxed);
    }
}

/// Whether the client is still there: an answer to which nothing is added for long would not find out.
#[derive(Debug)]
pub(crate) struct Presence(Arc<UnixStream>);

impl Presence {
    /// Ends when the client has closed the connection. One that says nothing more and still takes its answer
    /// has not left.
    ///
    /// The HTTP layer does not tell the two apart: to it both are the end of what there is to read.
    pub(crate) async fn over(&self) {
        let stream = &self.0;
        // Of what this asks for, a Unix socket has nothing but the end of what it sends.
        if stream.ready(Interest::PRIORITY).await.is_err() {
            return std::future::pending().await;
        }
        // There is no waiting for the rest without taking writing away from whoever answers.
        while !is_closed(stream) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// How often a client that sends nothing more is looked at: whether it still takes what it is sent.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Whether nobody is at the other end any more.
fn is_closed(stream: &UnixStream) -> bool {
    let mut looked = [PollFd::new(stream, PollFlags::empty())];
    let gone = PollFlags::HUP | PollFlags::ERR;
    match poll(&mut looked, Some(&Timespec::default())) {
        Ok(_) => looked.iter().any(|look| look.revents().intersects(gone)),
        // It is looked at again.
        Err(_) => false,
    }
}

#[derive(Debug)]
pub(crate) struct WatchedSocket {
    stream: Arc<UnixStream>,
    turn: Arc<Turn>,
    header_time: Duration,
    idle_time: Duration,
    write_stall: Duration,
    /// The request that was being read when `head_begun` was set.
    request: u64,
    head_begun: bool,
    hurried: bool,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl WatchedSocket {
    pub(crate) fn new(stream: UnixStream, turn: Arc<Turn>, limits: &Limits) -> Self {
        Self {
            stream: Arc::new(stream),
            turn,
            header_time: limits.header_time,
            idle_time: limits.idle_time,
            write_stall: limits.write_stall,
            request: 0,
            head_begun: false,
            hurried: false,
            read_timer: None,
            write_timer: None,
        }
    }

    pub(crate) fn presence(&self) -> Presence {
        Presence(Arc::clone(&self.stream))
    }

    fn poll_take(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => return Poll::Ready(taken.map(drop)),
            }
        }
    }

    fn poll_give(
        &self,
        cx: &mut Context<'_>,
        give: impl Fn(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match give(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                given => return Poll::Ready(given),
            }
        }
    }

    /// Forgets what was measured for a request that is complete.
    fn notice_turn(&mut self) {
        let requests = self.turn.requests.load(Ordering::Relaxed);
        if requests != self.request {
            self.request = requests;
            self.head_begun = false;
            self.read_timer = None;
        }
    }

    /// Begins to measure anew, with less patience, once the daemon goes down.
    fn notice_hurry(&mut self) {
        if !self.hurried && self.turn.hurried.load(Ordering::Relaxed) {
            self.hurried = true;
            for time in [
                &mut self.header_time,
                &mut self.idle_time,
                &mut self.write_stall,
            ] {
                *time = LAST_PATIENCE.min(*time);
            }
            self.read_timer = None;
            self.write_timer = None;
        }
    }

    /// The client has the word and says nothing: how long may that last?
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let allowed = if self.head_begun {
            self.header_time
        } else {
            self.idle_time
        };
        ready!(poll_timer(&mut self.read_timer, allowed, cx));
        if self.head_begun {
            // Nothing is being answered, so nothing can come between these bytes; a client that
            // does not read them loses an explanation and nothing else.
            let problem = Problem::new(
                ProblemKind::InvalidRequest,
                "the head of the request did not come in time",
            )
            .hint("send the whole head at once");
            drop(self.stream.try_write(&last_words(&problem)));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(poll_timer(&mut self.write_timer, self.write_stall, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn after_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        self.notice_hurry();
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        match ready!(self.poll_stall(cx)) {
            Ok(()) => Poll::Pending,
            Err(stalled) => Poll::Ready(Err(stalled)),
        }
    }
}

fn poll_timer(
    timer: &mut Option<Pin<Box<Sleep>>>,
    allowed: Duration,
    cx: &mut Context<'_>,
) -> Poll<()> {
    timer
        .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + allowed)))
        .as_mut()
        .poll(cx)
}

impl AsyncRead for WatchedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.notice_turn();
        this.notice_hurry();
        let before = buf.filled().len();
        let read = this.poll_take(cx, buf);
        let ours = this.turn.ours.load(Ordering::Relaxed);
        if ours {
            this.read_timer = None;
            return read;
        }
        if read.is_pending() {
            return this.poll_silence(cx);
        }
        if buf.filled().len() > before && !this.head_begun {
            this.head_begun = true;
            this.read_timer = None;
        }
        read
    }
}

impl AsyncWrite for WatchedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.poll_give(cx, |stream| stream.try_write(buf));
        this.after_write(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.poll_give(cx, |stream| stream.try_write_vectored(bufs));
        this.after_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is held back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write);
        Poll::Ready(closed.map_err(io::Error::from))
    }
}
