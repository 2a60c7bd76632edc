//! What clients want of jobs and groups.

use crate::engine::Engine;
use crate::engine::command::{Command, Edit, Refusal, Reply, Verb};
use crate::engine::needs::Cold;
use crate::engine::step::{Action, Step};
use crate::model::change::Change;
use crate::model::failure::{Failure, FailureClass};
use crate::model::group::{DEFAULT_GROUP, Group};
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::model::spec::JobSpec;
use crate::model::state::{JobState, StateName, StopCause};
use crate::model::time::Stamp;
use crate::model::transition::{Illegal, JobEvent};
use std::sync::Arc;

impl Engine {
    /// Does what a client asks, or refuses; a refusal changes nothing.
    ///
    /// `cold` holds what [`Engine::needs`] asked for.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong with the request.
    pub fn command(
        &mut self,
        now: Stamp,
        command: Command,
        cold: &Cold,
    ) -> (Step, Result<Reply, Refusal>) {
        let mut step = Step::default();
        let reply = match command {
            Command::Submit(submission) => self.submit(submission, cold, now, &mut step),
            Command::Job { id, verb } => self.verb(id, verb, cold, now, &mut step),
            Command::SetGroup {
                name,
                parallelism,
                paused,
            } => Ok(self.put_group(name, parallelism, paused, now, &mut step)),
            Command::RemoveGroup { name } => self.remove_group(&name, now, &mut step),
            Command::Drain { draining } => Ok(self.drain(draining, now, &mut step)),
            Command::GoDown { cause } => Ok(self.go_down(cause, now, &mut step)),
            Command::Expire { jobs } => Ok(self.expire(jobs, now, &mut step)),
            Command::SetQuota(quota) => {
                self.quota = quota;
                Ok(Reply::Noted)
            }
        };
        self.settle(now, &mut step);
        // What settling did to the job belongs into the answer: a released job may already start.
        let reply = reply.map(|reply| {
            if let Reply::Job(job) = reply {
                Reply::Job(self.jobs.get(&job.id).cloned().unwrap_or(job))
            } else {
                reply
            }
        });
        (step, reply)
    }

    fn verb(
        &mut self,
        id: JobId,
        verb: Verb,
        cold: &Cold,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        match self.jobs.get(&id).cloned() {
            Some(job) => self.live_verb(&job, verb, now, step),
            None => match cold.job(id) {
                Some(job) => self.final_verb(job, &verb, cold, now, step),
                None => Err(Refusal::UnknownJob(id)),
            },
        }
    }

    fn live_verb(
        &mut self,
        job: &Arc<Job>,
        verb: Verb,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        let id = job.id;
        let illegal = |event| refuse(job, event);
        match verb {
            Verb::Cancel { grace_ms } => self.end(job, StopCause::Cancel, grace_ms, now, step),
            Verb::Restart { grace_ms } => self.end(job, StopCause::Restart, grace_ms, now, step),
            Verb::Signal { signal, to } => {
                let attempt = job.live_attempt().ok_or_else(|| illegal("signalled"))?;
                step.actions.push(Action::Signal {
                    attempt,
                    signal,
                    to,
                });
                Ok(Reply::Job(Arc::clone(job)))
            }
            Verb::Pause => {
                let attempt = job.live_attempt();
                let reply = self.plain(id, &JobEvent::Pause, now, step)?;
                let freeze = attempt.map(|attempt| Action::Freeze { attempt });
                step.actions.extend(freeze);
                Ok(reply)
            }
            Verb::Resume => {
                let attempt = job.live_attempt();
                let reply = self.plain(id, &JobEvent::Resume, now, step)?;
                let thaw = attempt.map(|attempt| Action::Thaw { attempt });
                step.actions.extend(thaw);
                Ok(reply)
            }
            Verb::Hold => self.plain(id, &JobEvent::Hold, now, step),
            Verb::Release => self.plain(id, &JobEvent::Release, now, step),
            Verb::Approve => self.plain(id, &JobEvent::Approve, now, step),
            Verb::Reject => match job.state.apply(&JobEvent::Approve, now) {
                Ok(_) => self.end(job, StopCause::Cancel, None, now, step),
                Err(_) => Err(illegal("rejected")),
            },
            Verb::Retry => Err(illegal("queued again")),
            Verb::Remove => Err(illegal("removed")),
            Verb::Edit(edit) => self.edit(job, *edit, now, step),
            Verb::Report {
                attempt,
                observation,
            } => {
                let present = job.live_attempt().ok_or_else(|| illegal("reported on"))?;
                if let Some(attempt) = attempt.filter(|attempt| *attempt != present.attempt) {
                    return Err(Refusal::NotThisAttempt { id, attempt });
                }
                if let Some(excess) = self.excess(present, &observation, now) {
                    return Err(Refusal::TooMuchReported { id, excess });
                }
                self.observed(present, *observation, now, step);
                Ok(Reply::Job(Arc::clone(job)))
            }
        }
    }

    fn plain(
        &mut self,
        id: JobId,
        event: &JobEvent,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        self.shift(id, event, now, step, |_| {})
            .map(Reply::Job)
            .map_err(|illegal| Refusal::WrongState { id, illegal })
    }

    /// Cancels or restarts a live job, by the way its state calls for.
    fn end(
        &mut self,
        job: &Arc<Job>,
        cause: StopCause,
        grace_ms: Option<u64>,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        let grace_ms = grace_ms.unwrap_or(job.spec.stop.grace_ms);
        if cause == StopCause::Restart {
            restartable(job)?;
        }
        if job.state.holds_place() {
            self.stop(job, cause, grace_ms, now, step);
            let job = self.jobs.get(&job.id).unwrap_or(job);
            return Ok(Reply::Job(Arc::clone(job)));
        }
        let event = JobEvent::StopAsked {
            cause,
            kill_at: now,
        };
        let moved = self.shift(job.id, &event, now, step, |job| {
            if cause == StopCause::Restart {
                job.tries = 0;
            }
        });
        let refused = |illegal| Refusal::WrongState {
            id: job.id,
            illegal,
        };
        moved.map(Reply::Job).map_err(refused)
    }

    /// What can still be done with a job that is not live.
    fn final_verb(
        &mut self,
        job: &Job,
        verb: &Verb,
        cold: &Cold,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        match verb {
            Verb::Retry | Verb::Restart { .. } => self.again(job, cold, now, step),
            Verb::Remove => {
                step.changes.push(Change::JobRemoved {
                    job: job.id,
                    uid: job.owner.uid,
                    at: now,
                });
                step.actions.push(Action::RemoveLogs { job: job.id });
                Ok(Reply::Removed)
            }
            Verb::Cancel { .. } => Err(refuse(job, "cancelled")),
            Verb::Signal { .. } => Err(refuse(job, "signalled")),
            Verb::Pause => Err(refuse(job, "paused")),
            Verb::Resume => Err(refuse(job, "resumed")),
            Verb::Hold => Err(refuse(job, "held")),
            Verb::Release => Err(refuse(job, "released")),
            Verb::Approve => Err(refuse(job, "approved")),
            Verb::Reject => Err(refuse(job, "rejected")),
            Verb::Edit(_) => Err(refuse(job, "edited")),
            Verb::Report { .. } => Err(refuse(job, "reported on")),
        }
    }

    /// Brings a finished job back into the queue.
    fn again(
        &mut self,
        job: &Job,
        cold: &Cold,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        let id = job.id;
        let from = job.state.name();
        if self.queue.group(&job.spec.group).is_none() {
            return Err(Refusal::UnknownGroup(job.spec.group.clone()));
        }
        if let Some((dependency, state)) = self.hopeless(&job.spec.after_ok, cold) {
            return Err(Refusal::DependencyEndedBadly {
                id,
                dependency,
                state,
            });
        }
        // That a job began is proof that all it waits for had completed; without it nobody knows
        // any more how a removed one ended.
        if let (None, Some(removed)) = (&job.attempt, self.removed(&job.spec.after_ok, cold)) {
            return Err(Refusal::UnknownDependency(removed.to_string()));
        }
        let mut revived = job.clone();
        revived.state = job
            .state
            .apply(&JobEvent::Again, now)
            .map_err(|illegal| Refusal::WrongState { id, illegal })?;
        revived.finished = None;
        revived.tries = 0;
        self.room_for(&revived.owner, 1)?;
        self.admit(revived);
        self.enter(id, now);
        for waiter in self.waiters.of(id) {
            self.recount(waiter, step, now);
        }
        let job = self
            .jobs
            .get(&id)
            .map(Arc::clone)
            .ok_or(Refusal::UnknownJob(id))?;
        step.changes.push(Change::JobMoved {
            job: Arc::clone(&job),
            from,
            at: now,
        });
        Ok(Reply::Job(job))
    }

    /// The first of `dependencies` that has already ended badly.
    fn hopeless(&self, dependencies: &[JobId], cold: &Cold) -> Option<(JobId, StateName)> {
        dependencies.iter().find_map(|dependency| {
            let state = match self.jobs.get(dependency) {
                Some(_) => return None,
                None => cold.job(*dependency)?.state.name(),
            };
            (state != StateName::Completed).then_some((*dependency, state))
        })
    }

    /// The first of `dependencies` that is gone.
    fn removed(&self, dependencies: &[JobId], cold: &Cold) -> Option<JobId> {
        let known = |id: &JobId| self.jobs.contains_key(id) || cold.job(*id).is_some();
        dependencies.iter().copied().find(|id| !known(id))
    }

    /// Skips a waiting job one of whose dependencies has already ended badly.
    pub(super) fn skip_where_hopeless(
        &mut self,
        id: JobId,
        cold: &Cold,
        now: Stamp,
        step: &mut Step,
    ) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if let Some((dependency, state)) = self.hopeless(&job.spec.after_ok, cold) {
            let failure = Failure::new(
                FailureClass::Dependency,
                format!("job {dependency}, which it waits for, is {state}"),
            );
            let event = JobEvent::DependencyFailed { failure };
            let _skipped = self.shift(id, &event, now, step, |_| {});
        }
    }

    fn edit(
        &mut self,
        job: &Arc<Job>,
        edit: Edit,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        if job.state.holds_place() {
            return Err(refuse(job, "edited"));
        }
        if let Some(group) = &edit.group
            && self.queue.group(group).is_none()
        {
            return Err(Refusal::UnknownGroup(group.clone()));
        }
        let before = Arc::clone(&job.spec);
        let spec = Arc::new(edited(&before, edit));
        self.leave(job.id);
        self.mutate(job.id, |job| job.spec = spec);
        self.enter(job.id, now);
        let job = self.jobs.get(&job.id).unwrap_or(job);
        step.changes.push(Change::JobEdited {
            job: Arc::clone(job),
            before,
            at: now,
        });
        Ok(Reply::Job(Arc::clone(job)))
    }

    fn put_group(
        &mut self,
        name: String,
        parallelism: Option<u32>,
        paused: Option<bool>,
        now: Stamp,
        step: &mut Step,
    ) -> Reply {
        let old = self.queue.group(&name);
        let group = Group {
            parallelism: parallelism.unwrap_or(old.map_or(1, |old| old.parallelism)),
            paused: paused.unwrap_or(old.is_some_and(|old| old.paused)),
            name,
        };
        if old != Some(&group) {
            self.queue.set_group(group.clone());
            step.changes.push(Change::GroupSet {
                group: group.clone(),
                at: now,
            });
        }
        Reply::Group(group)
    }

    fn drain(&mut self, draining: bool, now: Stamp, step: &mut Step) -> Reply {
        if self.queue.is_draining() != draining {
            self.queue.set_draining(draining);
            let at = now;
            step.changes.push(Change::DrainSet { draining, at });
        }
        Reply::Draining(draining)
    }

    fn go_down(&mut self, cause: StopCause, now: Stamp, step: &mut Step) -> Reply {
        self.queue.close();
        let active = self.jobs.values().filter(|job| job.state.holds_place());
        for job in active.cloned().collect::<Vec<_>>() {
            // What ends already for good ends as was asked for before.
            let _ends = self.end(&job, cause, None, now, step);
        }
        let deadlines = self.jobs.values().filter_map(|job| {
            if let JobState::Stopping { kill_at, .. } = &job.state {
                Some(*kill_at)
            } else {
                None
            }
        });
        let killed_by = deadlines.max_by_key(|at| at.boot_ms).unwrap_or(now);
        Reply::GoingDown { killed_by }
    }

    /// Whether they are where they are expected is the store's to know: the month that they were in is not read.
    fn expire(&self, jobs: Vec<(JobId, u32)>, now: Stamp, step: &mut Step) -> Reply {
        let over = jobs.into_iter();
        let over = over.filter(|(job, _)| !self.jobs.contains_key(job));
        let changes = over.map(|(job, uid)| Change::JobExpired { job, uid, at: now });
        step.changes.extend(changes);
        Reply::Removed
    }

    fn remove_group(&mut self, name: &str, now: Stamp, step: &mut Step) -> Result<Reply, Refusal> {
        if self.queue.group(name).is_none() {
            return Err(Refusal::UnknownGroup(name.to_owned()));
        }
        let members = self.queue.members(name);
        let why = match members {
            _ if name == DEFAULT_GROUP => "it is where jobs go that name none".to_owned(),
            0 => {
                self.queue.remove_group(name);
                step.changes.push(Change::GroupRemoved {
                    name: name.to_owned(),
                    at: now,
                });
                return Ok(Reply::Removed);
            }
            members => format!("{members} of its jobs have not finished"),
        };
        Err(Refusal::GroupInUse {
            name: name.to_owned(),
            why,
        })
    }
}

/// Refuses the restart of a live job that would not begin again.
fn restartable(job: &Job) -> Result<(), Refusal> {
    if job.state == JobState::Queued {
        return Err(refuse(job, "restarted: it has not run yet"));
    }
    if matches!(job.state, JobState::Held { .. }) {
        return Err(refuse(job, "restarted: it waits to be let go"));
    }
    // To accept it and then let it end as the earlier wish has it would be a lie.
    if let JobState::Stopping { cause, .. } = &job.state
        && *cause != StopCause::Restart
    {
        return Err(refuse(job, "restarted before it has ended"));
    }
    Ok(())
}

fn refuse(job: &Job, event: &'static str) -> Refusal {
    Refusal::WrongState {
        id: job.id,
        illegal: Illegal {
            from: job.state.name(),
            event,
        },
    }
}

/// `before` with the changes of `edit`.
fn edited(before: &JobSpec, edit: Edit) -> JobSpec {
    let mut spec = before.clone();
    if let Some(command) = edit.command {
        spec.command = command;
    }
    if let Some(name) = edit.name {
        spec.name = name;
    }
    if let Some(kind) = edit.kind {
        spec.kind = kind;
    }
    if let Some(group) = edit.group {
        spec.group = group;
    }
    if let Some(cwd) = edit.cwd {
        spec.cwd = cwd;
    }
    if let Some(priority) = edit.priority {
        spec.priority = priority;
    }
    if let Some(not_before_ms) = edit.not_before_ms {
        spec.not_before_ms = not_before_ms;
    }
    if let Some(timeout_ms) = edit.timeout_ms {
        spec.timeout_ms = timeout_ms;
    }
    if let Some(grace_ms) = edit.grace_ms {
        spec.stop.grace_ms = grace_ms;
    }
    if let Some(retry) = edit.retry {
        spec.retry = retry;
    }
    edit.limits.apply(&mut spec.limits);
    for (label, value) in edit.labels {
        if value.is_empty() {
            spec.labels.remove(&label);
        } else {
            spec.labels.insert(label, value);
        }
    }
    spec
}
