//! One change, as writes to rows. Runs inside the writer's transaction; every write finds its rows
//! by a key, so that its cost does not grow with the history.

use crate::model::attempt::Attempt;
use crate::model::change::{Change, Environment, IdempotencyKey};
use crate::model::event::Event;
use crate::model::group::Group;
use crate::model::id::{EnvId, JobId, Seq};
use crate::model::job::Job;
use crate::model::spec::JobSpec;
use crate::model::time::Stamp;
use crate::store::archive;
use crate::store::rows::{Json, integer};
use rusqlite::{Connection, OptionalExtension, named_params, params};

/// Writes `change`; answers the event that follows from it, with its number.
pub(crate) fn apply(connection: &Connection, change: &Change) -> rusqlite::Result<Option<Event>> {
    match change {
        Change::EnvironmentSeen { id, content } => environment_seen(connection, id, content)?,
        Change::JobAdded { job } => add(connection, job)?,
        Change::JobMoved { job, .. } => {
            if let Some(attempt) = &job.attempt {
                write_attempt(connection, attempt)?;
            }
            moved(connection, job)?;
        }
        Change::JobEdited { job, .. } => edited(connection, job)?,
        Change::DependencyMet { job, unmet } => one_row(
            *job,
            connection
                .prepare_cached("UPDATE jobs SET unmet = ?2 WHERE id = ?1")?
                .execute(params![integer(job.0)?, unmet])?,
        )?,
        Change::Tallied { attempt, tally } => {
            // A job that was removed meanwhile has no row, and needs none.
            connection
                .prepare_cached("UPDATE attempts SET tally = ?3 WHERE job = ?1 AND attempt = ?2")?
                .execute(params![
                    integer(attempt.job.0)?,
                    attempt.attempt,
                    Json(tally)
                ])?;
        }
        // There is nothing of it but its event.
        Change::GpuFailed { .. } => {}
        Change::JobRemoved { job, .. } => removed(connection, *job)?,
        Change::JobExpired { job, .. } => {
            // One that came back meanwhile stays.
            if !archive::expire(connection, *job)? {
                return Ok(None);
            }
        }
        Change::GroupSet { group, .. } => set_group(connection, group)?,
        Change::GroupRemoved { name, .. } => {
            connection
                .prepare_cached("DELETE FROM groups WHERE name = ?1")?
                .execute([name])?;
        }
        Change::DrainSet { draining, .. } => set_draining(connection, *draining)?,
        Change::KeyUsed { key, ids, at } => key_used(connection, key, ids, *at)?,
    }
    match change.event() {
        Some(event) => append(connection, event).map(Some),
        None => Ok(None),
    }
}

/// Makes or changes a group.
pub(crate) fn set_group(connection: &Connection, group: &Group) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO groups (name, parallelism, paused) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE SET parallelism = ?2, paused = ?3",
        )?
        .execute(params![group.name, group.parallelism, group.paused])?;
    Ok(())
}

/// Writes whether the host is drained.
pub(crate) fn set_draining(connection: &Connection, draining: bool) -> rusqlite::Result<()> {
    let statement = match draining {
        true => "INSERT OR IGNORE INTO meta (key, value) VALUES ('draining', '')",
        false => "DELETE FROM meta WHERE key = 'draining'",
    };
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

/// Writes a whole job that is not there yet.
pub(crate) fn add(connection: &Connection, job: &Job) -> rusqlite::Result<()> {
    let id = integer(job.id.0)?;
    let environment = environment_number(connection, &job.spec)?;
    connection
        .prepare_cached(
            "INSERT INTO jobs (id, uid, gid, user, name, kind, grp, flow, state, is_final, state_data, \
             priority, not_before_ms, unmet, tries, attempt, created_wall_ms, created_boot_ms, \
             finished_wall_ms, finished_boot_ms, environment) \
             VALUES (:id, :uid, :gid, :user, :name, :kind, :grp, :flow, :state, :is_final, :state_data, \
             :priority, :not_before_ms, :unmet, :tries, :attempt, :created_wall_ms, :created_boot_ms, \
             :finished_wall_ms, :finished_boot_ms, :environment)",
        )?
        .execute(named_params! {
            ":id": id,
            ":uid": job.owner.uid,
            ":gid": job.owner.gid,
            ":user": job.owner.user,
            ":name": job.spec.name,
            ":kind": job.spec.kind,
            ":grp": job.spec.group,
            ":flow": job.spec.flow,
            ":state": job.state.name().as_str(),
            ":is_final": job.state.is_final(),
            ":state_data": Json(&job.state),
            ":priority": job.spec.priority,
            ":not_before_ms": job.spec.not_before_ms,
            ":unmet": job.unmet,
            ":tries": job.tries,
            ":attempt": job.attempt.as_ref().map(|attempt| attempt.id.attempt),
            ":created_wall_ms": job.created.wall_ms,
            ":created_boot_ms": integer(job.created.boot_ms)?,
            ":finished_wall_ms": job.finished.map(|at| at.wall_ms),
            ":finished_boot_ms": boot_ms(job.finished)?,
            ":environment": environment,
        })?;
    write_spec(connection, id, &job.spec)?;
    if let Some(attempt) = &job.attempt {
        write_attempt(connection, attempt)?;
    }
    Ok(())
}

/// What a move touches: the narrow row, never the spec.
fn moved(connection: &Connection, job: &Job) -> rusqlite::Result<()> {
    let rows = connection
        .prepare_cached(
            "UPDATE jobs SET state = :state, is_final = :is_final, state_data = :state_data, \
             unmet = :unmet, tries = :tries, attempt = :attempt, \
             finished_wall_ms = :finished_wall_ms, finished_boot_ms = :finished_boot_ms WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": integer(job.id.0)?,
            ":state": job.state.name().as_str(),
            ":is_final": job.state.is_final(),
            ":state_data": Json(&job.state),
            ":unmet": job.unmet,
            ":tries": job.tries,
            ":attempt": job.attempt.as_ref().map(|attempt| attempt.id.attempt),
            ":finished_wall_ms": job.finished.map(|at| at.wall_ms),
            ":finished_boot_ms": boot_ms(job.finished)?,
        })?;
    one_row(job.id, rows)
}

fn edited(connection: &Connection, job: &Job) -> rusqlite::Result<()> {
    let id = integer(job.id.0)?;
    let before: Option<i64> = connection
        .prepare_cached("SELECT environment FROM jobs WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .flatten();
    let environment = environment_number(connection, &job.spec)?;
    let rows = connection
        .prepare_cached(
            "UPDATE jobs SET name = :name, kind = :kind, grp = :grp, flow = :flow, \
             priority = :priority, not_before_ms = :not_before_ms, environment = :environment WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": id,
            ":name": job.spec.name,
            ":kind": job.spec.kind,
            ":grp": job.spec.group,
            ":flow": job.spec.flow,
            ":priority": job.spec.priority,
            ":not_before_ms": job.spec.not_before_ms,
            ":environment": environment,
        })?;
    one_row(job.id, rows)?;
    moved(connection, job)?;
    for table in ["job_specs", "job_labels", "job_deps"] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE job = ?1"))?
            .execute([id])?;
    }
    write_spec(connection, id, &job.spec)?;
    drop_unused_environment(connection, before)
}

fn removed(connection: &Connection, job: JobId) -> rusqlite::Result<()> {
    // Of an archived one only the place where it is must be forgotten here.
    if take_out(connection, job)? || archive::forget(connection, job)? {
        return Ok(());
    }
    one_row(job, 0)
}

/// Deletes a job with everything that is of it alone; answers whether it was there.
pub(crate) fn take_out(connection: &Connection, job: JobId) -> rusqlite::Result<bool> {
    let environment: Option<Option<i64>> = connection
        .prepare_cached("DELETE FROM jobs WHERE id = ?1 RETURNING environment")?
        .query_row([integer(job.0)?], |row| row.get(0))
        .optional()?;
    if let Some(environment) = environment {
        drop_unused_environment(connection, environment)?;
    }
    Ok(environment.is_some())
}

/// What of a spec has rows of its own: itself, its labels and its dependencies.
fn write_spec(connection: &Connection, id: i64, spec: &JobSpec) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO job_specs (job, spec) VALUES (?1, ?2)")?
        .execute(params![id, Json(spec)])?;
    for (name, value) in &spec.labels {
        connection
            .prepare_cached("INSERT INTO job_labels (job, name, value) VALUES (?1, ?2, ?3)")?
            .execute(params![id, name, value])?;
    }
    for dependency in &spec.after_ok {
        connection
            .prepare_cached("INSERT OR IGNORE INTO job_deps (job, dependency) VALUES (?1, ?2)")?
            .execute(params![id, integer(dependency.0)?])?;
    }
    Ok(())
}

/// Writes an attempt as it is now.
pub(crate) fn write_attempt(connection: &Connection, attempt: &Attempt) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO attempts (job, attempt, boot_id, claimed_wall_ms, claimed_boot_ms, \
             started_wall_ms, started_boot_ms, ended_wall_ms, ended_boot_ms, pid, start_ticks, \
             containment, ending, usage, progress, tally) \
             VALUES (:job, :attempt, :boot_id, :claimed_wall_ms, :claimed_boot_ms, \
             :started_wall_ms, :started_boot_ms, :ended_wall_ms, :ended_boot_ms, :pid, :start_ticks, \
             :containment, :ending, :usage, :progress, :tally)",
        )?
        .execute(named_params! {
            ":job": integer(attempt.id.job.0)?,
            ":attempt": attempt.id.attempt,
            ":boot_id": attempt.boot_id,
            ":claimed_wall_ms": attempt.claimed.wall_ms,
            ":claimed_boot_ms": integer(attempt.claimed.boot_ms)?,
            ":started_wall_ms": attempt.started.map(|at| at.wall_ms),
            ":started_boot_ms": boot_ms(attempt.started)?,
            ":ended_wall_ms": attempt.ended.map(|at| at.wall_ms),
            ":ended_boot_ms": boot_ms(attempt.ended)?,
            ":pid": attempt.main.map(|main| main.pid),
            ":start_ticks": attempt.main.map(|main| integer(main.start_ticks)).transpose()?,
            ":containment": attempt.containment,
            ":ending": attempt.ending.as_ref().map(Json),
            ":usage": attempt.usage.as_ref().map(Json),
            ":progress": attempt.progress.as_ref().map(Json),
            ":tally": attempt.tally.as_ref().map(Json),
        })?;
    Ok(())
}

pub(crate) fn environment_seen(
    connection: &Connection,
    id: &EnvId,
    content: &Environment,
) -> rusqlite::Result<()> {
    let known = connection
        .prepare_cached("SELECT 1 FROM environments WHERE id = ?1")?
        .exists([&id.0])?;
    if !known {
        let content = serde_json::to_vec(content)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        connection
            .prepare_cached("INSERT INTO environments (id, content) VALUES (?1, ?2)")?
            .execute(params![id.0, content])?;
    }
    Ok(())
}

fn environment_number(connection: &Connection, spec: &JobSpec) -> rusqlite::Result<Option<i64>> {
    let Some(id) = &spec.env else { return Ok(None) };
    let number = connection
        .prepare_cached("SELECT number FROM environments WHERE id = ?1")?
        .query_row([&id.0], |row| row.get(0))
        .optional()?;
    number
        .map(Some)
        .ok_or_else(|| misfit(format!("environment {} is not stored", id.0)))
}

/// Environments hold secrets: one goes in the same transaction as the last job that needed it.
fn drop_unused_environment(connection: &Connection, number: Option<i64>) -> rusqlite::Result<()> {
    if let Some(number) = number {
        connection
            .prepare_cached(
                "DELETE FROM environments WHERE number = ?1 \
                 AND NOT EXISTS (SELECT 1 FROM jobs WHERE environment = ?1)",
            )?
            .execute([number])?;
    }
    Ok(())
}

fn key_used(
    connection: &Connection,
    key: &IdempotencyKey,
    ids: &[JobId],
    at: Stamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO idempotency_keys (uid, key, fingerprint, ids, at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            key.uid,
            key.key,
            key.fingerprint,
            Json(ids),
            at.wall_ms
        ])?;
    Ok(())
}

fn append(connection: &Connection, event: Event) -> rusqlite::Result<Event> {
    connection
        .prepare_cached(
            "INSERT INTO events (at_ms, channel, kind, uid, is_final, job, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            event.at_ms,
            &*event.channel,
            &*event.kind,
            event.uid,
            event.is_final,
            job_of(&event.channel),
            &*event.body,
        ])?;
    let seq = u64::try_from(connection.last_insert_rowid()).unwrap_or_default();
    Ok(Event {
        seq: Some(Seq(seq)),
        ..event
    })
}

/// The job a channel belongs to.
fn job_of(channel: &str) -> Option<i64> {
    channel
        .strip_prefix("job/")?
        .split_once('/')?
        .0
        .parse()
        .ok()
}

fn boot_ms(stamp: Option<Stamp>) -> rusqlite::Result<Option<i64>> {
    stamp.map(|at| integer(at.boot_ms)).transpose()
}

/// A change of a job that is not stored must not pass for stored.
fn one_row(job: JobId, rows: usize) -> rusqlite::Result<()> {
    match rows {
        1 => Ok(()),
        _ => Err(misfit(format!("job {job} is not stored"))),
    }
}

fn misfit(why: String) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(why.into())
}
