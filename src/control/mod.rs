//! The only way into the engine: one task owns it, commits each step, publishes, then acts.

pub mod ports;
pub mod task;

use crate::control::ports::Effects;
use crate::control::task::Task;
use crate::engine::Engine;
use crate::engine::command::{Command, Refusal, Reply};
use crate::engine::input::Input;
use crate::engine::step::Step;
use tokio::sync::{mpsc, oneshot};

/// What doors may ask of the engine, and what it answers: the only part of it that they know.
pub use crate::engine::command;

/// Why a command had no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError {
    /// The engine does not do it; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be stored now; nothing has changed.
    #[error("the store cannot be written: {0}")]
    Storage(String),
    /// The daemon is going down.
    #[error("the daemon is going down")]
    Stopped,
}

type Answered = oneshot::Receiver<Result<Reply, CommandError>>;

/// One message to the control task.
#[derive(Debug)]
pub(crate) enum Message {
    /// A client's command, and where the reply goes once it is durable.
    Command(Box<Command>, oneshot::Sender<Result<Reply, CommandError>>),
    /// A report of an observer.
    Report(Input),
    /// Somebody wants to know whether anybody is there.
    Ping(oneshot::Sender<()>),
}

/// The door to the engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: mpsc::UnboundedSender<Message>,
}

/// The receiving end of a [`Handle`], until a [`Task`] takes it.
#[derive(Debug)]
pub struct Inbox(mpsc::UnboundedReceiver<Message>);

/// A door and what lies behind it. Observers may report through the door before the task runs.
#[must_use]
pub fn door() -> (Handle, Inbox) {
    let (inbox, messages) = mpsc::unbounded_channel();
    (Handle { inbox }, Inbox(messages))
}

impl Inbox {
    /// The task that owns `engine`, whose first step (of its recovery) was `first`.
    pub fn into_task<E: Effects>(self, engine: Engine, first: Step, effects: E) -> Task<E> {
        Task::new(engine, first, effects, self.0)
    }
}

impl Handle {
    /// Asks for something; answers when what changed is durable.
    ///
    /// # Errors
    /// [`CommandError`]; nothing has changed then.
    pub async fn command(&self, command: Command) -> Result<Reply, CommandError> {
        let answer = self.send(command)?.await;
        answer.unwrap_or(Err(CommandError::Stopped))
    }

    /// As [`command`](Self::command), on a thread that may block.
    ///
    /// # Errors
    /// [`CommandError`]; nothing has changed then.
    pub fn command_now(&self, command: Command) -> Result<Reply, CommandError> {
        let answer = self.send(command)?.blocking_recv();
        answer.unwrap_or(Err(CommandError::Stopped))
    }

    fn send(&self, command: Command) -> Result<Answered, CommandError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inbox.send(Message::Command(Box::new(command), reply));
        sent.map_err(|_| CommandError::Stopped)?;
        Ok(answer)
    }

    /// Whether the engine still decides. It answers when it has taken what came before.
    pub async fn answers(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Ping(reply)).is_ok() && answer.await.is_ok()
    }

    /// Tells what an observer saw. Never waits: observers coalesce before they report.
    pub fn report(&self, input: Input) {
        // Nobody listens only while the daemon goes down; the next start asks the shims again.
        let _sent = self.inbox.send(Message::Report(input));
    }
}
