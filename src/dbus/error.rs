//! What fails, as the errors that callers on the bus know.

use crate::wire::error::{Problem, ProblemKind};

/// The errors; each message is one sentence, with what to do where there is something.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "io.stoked.Stoked1.Error")]
pub(super) enum Error {
    /// A message could not be sent.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// No such job, attempt or output.
    NotFound(String),
    /// The caller may not do this.
    AccessDenied(String),
    /// What was asked makes no sense: which part, and why.
    InvalidSpec(String),
    /// The caller has as much of something as one may.
    QuotaExceeded(String),
    /// The daemon goes down.
    Draining(String),
    /// Nothing can be stored now.
    Storage(String),
    /// Too much is asked at once, by all callers together.
    Busy(String),
    /// The caller asks too often.
    RateLimited(String),
    /// It cannot be had here.
    NotSupported(String),
    /// Anything else.
    Failed(String),
}

impl From<Box<Problem>> for Error {
    fn from(problem: Box<Problem>) -> Self {
        use ProblemKind as P;
        let message = sentence(&problem);
        match P::ALL.into_iter().find(|kind| problem.is(*kind)) {
            Some(P::NotFound) => Self::NotFound(message),
            Some(P::NotPermitted) => Self::AccessDenied(message),
            Some(P::InvalidRequest | P::DependencyCycle | P::KeyReused | P::CursorGone) => {
                Self::InvalidSpec(message)
            }
            Some(P::TooLarge) => Self::QuotaExceeded(message),
            // It says when to come back where it is a matter of time.
            Some(P::LimitReached) if problem.retry_after_ms.is_none() => {
                Self::QuotaExceeded(message)
            }
            Some(P::LimitReached) => Self::RateLimited(message),
            Some(P::StorageUnavailable) => Self::Storage(message),
            Some(P::ShuttingDown) => Self::Draining(message),
            Some(P::UnknownRoute | P::MethodNotAllowed) => Self::NotSupported(message),
            Some(P::WrongState | P::Internal) | None => Self::Failed(message),
        }
    }
}

/// What failed, why, and what to do.
fn sentence(problem: &Problem) -> String {
    let mut text = problem.title.clone();
    if let Some(detail) = &problem.detail {
        text = format!("{text}: {detail}");
    }
    if let Some(hint) = &problem.hint {
        text = format!("{text} ({hint})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::DBusError;

    #[test]
    fn every_problem_has_an_error() {
        use ProblemKind as P;
        for (kind, wanted) in [
            (P::InvalidRequest, "InvalidSpec"),
            (P::UnknownRoute, "NotSupported"),
            (P::MethodNotAllowed, "NotSupported"),
            (P::NotFound, "NotFound"),
            (P::NotPermitted, "AccessDenied"),
            (P::WrongState, "Failed"),
            (P::DependencyCycle, "InvalidSpec"),
            (P::KeyReused, "InvalidSpec"),
            (P::CursorGone, "InvalidSpec"),
            (P::TooLarge, "QuotaExceeded"),
            (P::LimitReached, "QuotaExceeded"),
            (P::StorageUnavailable, "Storage"),
            (P::ShuttingDown, "Draining"),
            (P::Internal, "Failed"),
        ] {
            let error = Error::from(Box::new(Problem::new(kind, "it failed")));
            let wanted = format!("io.stoked.Stoked1.Error.{wanted}");
            assert_eq!(error.name().as_str(), wanted, "{kind:?}");
        }
        let mut soon = Problem::new(P::LimitReached, "too often");
        soon.retry_after_ms = Some(1);
        let error = Error::from(Box::new(soon));
        assert_eq!(error.name().as_str(), "io.stoked.Stoked1.Error.RateLimited");
    }

    #[test]
    fn the_message_is_one_sentence_with_the_way_out() {
        let problem = Problem::new(ProblemKind::NotFound, "there is no job 7")
            .detail("it was removed")
            .hint("`stoke ls` lists them");
        let error = Error::from(Box::new(problem));
        assert_eq!(
            error.description(),
            Some("there is no job 7: it was removed (`stoke ls` lists them)")
        );
    }
}
