//! The archive: what is in it, and what those who administer may have done to it.

use crate::api::call::{Call, harmless};
use crate::api::ports::Errand;
use crate::api::problem::{Failure, invalid};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::auth::{Action, Mode};
use crate::model::id::JobId;
use crate::store::archive::{Month, MonthState, MonthStatus};
use crate::store::{Held, Reader, StoreError};
use crate::wire::archive::{
    ArchiveMonth, ArchiveNow, ArchiveRestore, ArchiveRestored, ArchiveRun, ArchiveSamples,
    ArchiveVerified, ArchiveVerify, ArchiveView,
};
use crate::wire::convert::timestamp;
use crate::wire::error::{Problem, ProblemKind};
use axum::http::{Method, StatusCode};
use std::path::PathBuf;

const PROBLEMS: &[ProblemKind] = &[
    ProblemKind::InvalidRequest,
    ProblemKind::NotPermitted,
    ProblemKind::WrongState,
    ProblemKind::StorageUnavailable,
];

/// So many jobs are brought back by one request.
const MOST_JOBS: usize = 10_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/archive", "show_archive", &[], show)
            .says("The months of the archive, what samples take, and how the last run went")
            .gives(200, Content::Json(schema::<ArchiveView>))
            .fails(&[ProblemKind::StorageUnavailable]),
        Route::new(Method::POST, "/v1/archive/now", "archive_now", &[], now)
            .says("Archive what is old enough; answers when that is done")
            .may_take(schema::<ArchiveNow>)
            .gives(200, Content::Json(schema::<ArchiveRun>))
            .fails(PROBLEMS),
        Route::new(
            Method::POST,
            "/v1/archive/verify",
            "verify_archive",
            &[],
            verify,
        )
        .says("Read the archive and all samples through and say what is wrong with them")
        .may_take(schema::<ArchiveVerify>)
        .gives(200, Content::Json(schema::<ArchiveVerified>))
        .fails(PROBLEMS),
        Route::new(
            Method::POST,
            "/v1/archive/restore",
            "restore_archive",
            &[],
            restore,
        )
        .says("Bring jobs back from the archive, or take in a file of it that was lost")
        .takes(schema::<ArchiveRestore>)
        .gives(200, Content::Json(schema::<ArchiveRestored>))
        .fails(PROBLEMS),
    ]
}

async fn show(call: Call) -> Answer {
    let months = call.shared.read(Reader::archive_months).await?;
    let samples = call.shared.samples.clone();
    let held = call.shared.blocking(move || samples.held()).await?;
    let standing = call.shared.desk.standing();
    let administers = call.permit(Action::Administer, None).is_ok();
    let items: Vec<ArchiveMonth> = months
        .into_iter()
        .map(|month| month_view(month, administers))
        .collect();
    let view = ArchiveView {
        jobs: items.iter().map(|month| month.jobs).sum(),
        bytes: items.iter().map(|month| month.bytes).sum(),
        items,
        samples: held.map(tier_view).into(),
        running: standing.running,
        last_run: standing.last.filter(|_| administers),
    };
    json(StatusCode::OK, &view)
}

fn tier_view(held: Held) -> ArchiveSamples {
    ArchiveSamples {
        tier: held.tier.as_str().to_owned(),
        files: held.volumes,
        bytes: held.bytes,
        oldest: held.first_ms.map(timestamp),
    }
}

/// A month; to those who do not administer it names no paths.
fn month_view(month: MonthStatus, administers: bool) -> ArchiveMonth {
    ArchiveMonth {
        month: month.month.to_string(),
        jobs: month.jobs,
        events: month.events,
        compressed: month.compressed,
        bytes: month.bytes,
        oldest: month.oldest_ms.map(timestamp),
        newest: month.newest_ms.map(timestamp),
        problem: match month.state {
            MonthState::Present => None,
            MonthState::Unreadable { why } if administers => Some(why),
            MonthState::Unreadable { .. } => Some("it cannot be read".to_owned()),
        },
    }
}

async fn now(mut call: Call) -> Answer {
    let asked: ArchiveNow = call.json_or_default().await?;
    call.permit(Action::Administer, None)?;
    let older_than_ms = asked.older_than.map(|span| span.ms);
    let done = call.shared.desk.ask(|answer| Errand::Now {
        older_than_ms,
        answer,
    });
    json(StatusCode::OK, &done.await.map_err(failure)?)
}

async fn verify(mut call: Call) -> Answer {
    let asked: ArchiveVerify = call.json_or_default().await?;
    call.permit(Action::Administer, None)?;
    let logs = asked.logs;
    let done = call
        .shared
        .desk
        .ask(|answer| Errand::Verify { logs, answer });
    json(StatusCode::OK, &done.await.map_err(failure)?)
}

async fn restore(mut call: Call) -> Answer {
    let asked: ArchiveRestore = call.json().await?;
    call.permit(Action::Administer, None)?;
    let desk = &call.shared.desk;
    let restored = match (asked.jobs, asked.month, asked.file) {
        (jobs, None, None) if !jobs.is_empty() => {
            if jobs.len() > MOST_JOBS {
                let why = format!("one request brings back at most {MOST_JOBS} jobs");
                return Err(invalid("jobs", why));
            }
            let jobs = jobs.into_iter().map(JobId).collect();
            desk.ask(|answer| Errand::BringBack { jobs, answer }).await
        }
        (jobs, Some(text), None) if jobs.is_empty() => {
            let month = Month::parse(&text).ok_or_else(|| {
                let why = format!("\"{}\" is not a month: write 2026-11", harmless(&text));
                invalid("month", why)
            })?;
            desk.ask(|answer| Errand::BringBackMonth { month, answer })
                .await
        }
        (jobs, None, Some(file)) if jobs.is_empty() => {
            may_take_in(&call)?;
            let path = PathBuf::from(file);
            if !path.is_absolute() {
                return Err(invalid("file", "it is not an absolute path"));
            }
            desk.ask(|answer| Errand::TakeIn { path, answer }).await
        }
        _ => return Err(invalid("jobs", "give one of jobs, month and file")),
    };
    json(StatusCode::OK, &restored.map_err(failure)?)
}

/// A file says whose its jobs are, and they would run as that user: whoever takes one in could be anybody.
fn may_take_in(call: &Call) -> Result<(), Failure> {
    let is_own = call.shared.policy.mode
        == Mode::User {
            uid: call.subject.uid,
        };
    if call.subject.uid == 0 || is_own {
        return Ok(());
    }
    Err(
        Problem::new(ProblemKind::NotPermitted, "you may not do this")
            .detail("only root may take in files, which say whose their jobs are")
            .into(),
    )
}

fn failure(error: StoreError) -> Failure {
    if matches!(
        error,
        StoreError::Archived { .. } | StoreError::Refused { .. }
    ) {
        return Problem::new(ProblemKind::WrongState, "the archive cannot do this")
            .detail(format!("failed to {error}"))
            .into();
    }
    error.into()
}
