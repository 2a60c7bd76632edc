//! Bodies that are made while they are sent: the next piece is made when the client has room for it,
//! so a slow client costs one piece of memory and no task.

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What makes the pieces of a body.
pub(super) trait Pull: Send + Sized + 'static {
    /// The next piece and what makes the one after it; `None` ends the body well.
    ///
    /// An error breaks the connection off, so that the client can tell that something is missing.
    fn pull(self) -> impl Future<Output = io::Result<Option<(Bytes, Self)>>> + Send;
}

/// The body that `source` makes.
pub(super) fn body<P: Pull>(source: P) -> Body {
    Body::new(PulledBody {
        next: Some(Box::pin(source.pull())),
    })
}

type NextPiece<P> = Pin<Box<dyn Future<Output = io::Result<Option<(Bytes, P)>>> + Send>>;

struct PulledBody<P> {
    next: Option<NextPiece<P>>,
}

impl<P: Pull> HttpBody for PulledBody<P> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let made = ready!(next.as_mut().poll(cx));
        Poll::Ready(match made {
            Ok(Some((piece, source))) => {
                self.next = Some(Box::pin(source.pull()));
                Some(Ok(Frame::data(piece)))
            }
            Ok(None) => {
                self.next = None;
                None
            }
            Err(error) => {
                self.next = None;
                Some(Err(error))
            }
        })
    }
}
