//! The one task that owns the engine: inputs, step, commit, publish, act.
//!
//! Everything that waits in the inbox is decided first and committed together (group commit). Nobody
//! is told of a change, and nothing is done because of it, before its commit returned.
//!
//! A commit that fails is treated like a crash, for the engine alone: it is made anew from the stored
//! rows, and the reports that could not be stored wait here until they can be. Clients that asked for
//! something in that batch are told that nothing has changed, which is then true.

use crate::control::ports::{Effects, StoreTrouble};
use crate::control::{CommandError, Message};
use crate::engine::Engine;
use crate::engine::command::{Command, Reply, Verb};
use crate::engine::input::Input;
use crate::engine::needs::Cold;
use crate::engine::step::{Step, Told};
use crate::model::change::Change;
use crate::model::event::Event;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Most messages decided in one transaction.
const BATCH: usize = 1_024;

/// How long to wait before the store is tried again after it failed, milliseconds.
const STORE_RETRY_MS: u64 = 1_000;

type Answer = oneshot::Sender<Result<Reply, CommandError>>;

/// The task and what it owns.
pub struct Task<E: Effects> {
    engine: Engine,
    effects: E,
    inbox: mpsc::UnboundedReceiver<Message>,
    /// What was decided and not committed yet.
    pending: Step,
    /// Answers that may go out when `pending` is committed.
    answers: Vec<(Answer, Reply)>,
    /// Reports that went into `pending`.
    reports: Vec<Input>,
    /// Why nothing can be stored, since a commit failed. The engine stands still meanwhile.
    trouble: Option<StoreTrouble>,
    /// When the store is tried again, on the boot clock.
    try_again_at_ms: u64,
}

impl<E: Effects> Task<E> {
    /// A task for `engine`, whose first step was `first`.
    pub(super) fn new(
        engine: Engine,
        first: Step,
        effects: E,
        inbox: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        Self {
            engine,
            effects,
            inbox,
            pending: first,
            answers: Vec::new(),
            reports: Vec::new(),
            trouble: None,
            try_again_at_ms: 0,
        }
    }

    /// Runs until `stop`, with what was decided by then committed, or until the store is beyond use.
    pub async fn run(mut self, stop: CancellationToken) {
        self.flush().await;
        loop {
            let due = match self.trouble {
                Some(_) => Some(self.try_again_at_ms),
                None => self.engine.next_wakeup(self.effects.now()),
            };
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = self.inbox.recv() => match message {
                    Some(message) => message,
                    None => break,
                },
                () = self.effects.sleep_until(due) => Message::Report(Input::Tick),
            };
            self.take(first).await;
            for _ in 1..BATCH {
                match self.inbox.try_recv() {
                    Ok(message) => self.take(message).await,
                    Err(_) => break,
                }
            }
            self.flush().await;
            if self
                .trouble
                .as_ref()
                .is_some_and(|trouble| trouble.is_final)
            {
                // A new start sets the damaged database aside and asks the shims what runs.
                return;
            }
        }
        self.flush().await;
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Report(input) => self.report(input).await,
            // Whoever asked may have left.
            Message::Ping(answer) => drop(answer.send(())),
            Message::Command(command, answer) => match self.decide(*command).await {
                Ok(reply) => self.answers.push((answer, reply)),
                Err(error) => drop(answer.send(Err(error))),
            },
        }
    }

    async fn report(&mut self, input: Input) {
        // Progress is not stored; what was missed is soon replaced by newer.
        let stored = !matches!(
            input,
            Input::Observed { .. } | Input::PastRuns { .. } | Input::Tick
        );
        if stored {
            self.reports.push(input.clone());
        }
        let now = self.effects.now();
        if self.trouble.is_none() {
            let step = self.engine.handle(now, input);
            self.pending.append(step);
        } else if now.boot_ms >= self.try_again_at_ms {
            self.try_store_again().await;
        }
    }

    /// Lets the engine decide on a command; the reply counts once `pending` is committed.
    async fn decide(&mut self, command: Command) -> Result<Reply, CommandError> {
        if let Some(trouble) = &self.trouble {
            return Err(CommandError::Storage(trouble.to_string()));
        }
        if brings_work(&command)
            && let Some(why) = self.effects.refuses_work()
        {
            return Err(CommandError::Storage(why));
        }
        let mut cold = Cold::default();
        loop {
            let needs = self.engine.needs(&command, &cold);
            if needs.is_empty() {
                break;
            }
            // What this batch has finished is cold too, so it must be readable first.
            self.flush().await;
            let fetched = self.effects.fetch(needs).await;
            let fetched = fetched.map_err(|trouble| CommandError::Storage(trouble.to_string()))?;
            cold.merge(fetched);
        }
        if let Some(trouble) = &self.trouble {
            return Err(CommandError::Storage(trouble.to_string()));
        }
        let (step, reply) = self.engine.command(self.effects.now(), command, &cold);
        self.pending.append(step);
        Ok(reply?)
    }

    /// Commits what is pending, then publishes, acts and answers.
    async fn flush(&mut self) {
        let Step {
            changes,
            telemetry,
            actions,
        } = std::mem::take(&mut self.pending);
        let places = places(&changes, &telemetry);
        let mut events = Vec::new();
        if !changes.is_empty() {
            match self.effects.commit(changes).await {
                Ok(stored) => events = stored,
                Err(trouble) => return self.fall_back(trouble).await,
            }
        }
        if self.trouble.is_none() {
            self.reports.clear();
        }
        let events = interleave(events, places, telemetry);
        if !events.is_empty() {
            self.effects.publish(&events);
        }
        for action in actions {
            self.effects.act(action);
        }
        for (answer, reply) in self.answers.drain(..) {
            // A client that has left does not need its answer.
            drop(answer.send(Ok(reply)));
        }
    }

    /// A commit failed: nothing of the batch has happened. Reports are kept, clients are told.
    async fn fall_back(&mut self, trouble: StoreTrouble) {
        for (answer, _) in self.answers.drain(..) {
            drop(answer.send(Err(CommandError::Storage(trouble.to_string()))));
        }
        self.effects.store_is(Some(&trouble));
        self.trouble = Some(trouble);
        self.try_store_again().await;
    }

    /// Makes the engine anew from the rows, and stores what waits. While that fails, all stays as it is.
    async fn try_store_again(&mut self) {
        let recovery = match self.effects.reload().await {
            Ok(recovery) => recovery,
            Err(trouble) => return self.remain_in(trouble),
        };
        let now = self.effects.now();
        let (mut engine, mut step) = Engine::recover(recovery, now);
        for input in &self.reports {
            step.append(engine.handle(now, input.clone()));
        }
        let places = places(&step.changes, &step.telemetry);
        match self.effects.commit(std::mem::take(&mut step.changes)).await {
            Ok(stored) => {
                let before = std::mem::replace(&mut self.engine, engine);
                self.engine.inherit(before, now);
                self.reports.clear();
                self.trouble = None;
                self.effects.store_is(None);
                let events = interleave(stored, places, std::mem::take(&mut step.telemetry));
                self.effects.publish(&events);
                for action in step.actions {
                    self.effects.act(action);
                }
            }
            Err(trouble) => self.remain_in(trouble),
        }
    }

    fn remain_in(&mut self, trouble: StoreTrouble) {
        self.effects.store_is(Some(&trouble));
        self.trouble = Some(trouble);
        self.try_again_at_ms = self.effects.now().boot_ms + STORE_RETRY_MS;
    }
}

/// Where the events that are not stored come among those that are.
struct Places {
    /// How many of these come before each of them.
    before: Vec<usize>,
    /// How many of these are expected.
    stored: usize,
}

fn places(changes: &[Change], telemetry: &[Told]) -> Places {
    let mut seen = 0;
    let mut stored = 0;
    let mut before = Vec::with_capacity(telemetry.len());
    for told in telemetry {
        while seen < told.after {
            stored += usize::from(changes.get(seen).is_some_and(Change::has_event));
            seen += 1;
        }
        before.push(stored);
    }
    let stored = changes.iter().filter(|it| it.has_event()).count();
    Places { before, stored }
}

/// All events in the order in which they were decided.
fn interleave(stored: Vec<Event>, places: Places, telemetry: Vec<Told>) -> Vec<Event> {
    if telemetry.is_empty() {
        return stored;
    }
    // Where the store knew better than to expire a job, none may come behind the end of what it is of.
    let is_less = stored.len() < places.stored;
    let before = places.before.into_iter();
    let before = before.map(|place| if is_less { 0 } else { place });
    let mut told = before.zip(telemetry).peekable();
    let mut events = Vec::with_capacity(stored.len());
    for (place, event) in stored.into_iter().enumerate() {
        while let Some((_, told)) = told.next_if(|(at, _)| *at <= place) {
            events.push(told.event);
        }
        events.push(event);
    }
    events.extend(told.map(|(_, told)| told.event));
    events
}

/// Whether a command adds work, which a store that is nearly full must not accept.
fn brings_work(command: &Command) -> bool {
    match command {
        Command::Submit(_) => true,
        Command::Job { verb, .. } => matches!(verb, Verb::Retry | Verb::Restart { .. }),
        Command::SetGroup { .. }
        | Command::RemoveGroup { .. }
        | Command::Drain { .. }
        | Command::GoDown { .. }
        | Command::Expire { .. }
        | Command::SetQuota(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::JobId;
    use crate::model::time::Stamp;

    fn event(channel: &str) -> Event {
        Event {
            seq: None,
            at_ms: 0,
            channel: channel.into(),
            kind: "x".into(),
            uid: None,
            is_final: false,
            body: "{}".into(),
        }
    }

    #[test]
    fn what_is_not_stored_comes_where_it_was_decided_and_never_behind_an_end() {
        let at = Stamp {
            wall_ms: 0,
            boot_ms: 0,
        };
        let expired = |job| Change::JobExpired { job, uid: 0, at };
        let changes = [expired(JobId(1)), expired(JobId(2))];
        let channels = |stored: &[&str]| -> Vec<String> {
            let stored = stored.iter().map(|channel| event(channel)).collect();
            let told = || Told {
                after: 1,
                event: event("job/2/progress"),
            };
            let events = interleave(stored, places(&changes, &[told()]), vec![told()]);
            events.iter().map(|it| it.channel.to_string()).collect()
        };
        let both = channels(&["job/1/state", "job/2/state"]);
        assert_eq!(both, ["job/1/state", "job/2/progress", "job/2/state"]);
        // The first of them came back before it could go.
        let one = channels(&["job/2/state"]);
        assert_eq!(one, ["job/2/progress", "job/2/state"]);
    }
}
