//! Reading on a thread of its own what may take long or for ever: a file system whose server is gone, a sensor behind
//! a slow bus, the memory of a process that stands still in the kernel. Whoever asks never waits; an answer is there, or it is not there yet.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

/// Enough for a few calls, and a big path.
const STACK_BYTES: usize = 256 << 10;

/// A thread that answers questions. It ends when this is dropped, once it is back from what it does; nobody waits for
/// that, since it may never be.
#[derive(Debug)]
pub(crate) struct Aside<Q, A> {
    questions: Sender<Q>,
    answers: Receiver<A>,
}

impl<Q: Send + 'static, A: Send + 'static> Aside<Q, A> {
    /// Starts it; none where the host gives no more threads.
    pub(crate) fn start(
        name: &str,
        mut answer: impl FnMut(Q, &Sender<A>) + Send + 'static,
    ) -> Option<Self> {
        let (questions, asked) = channel();
        let (told, answers) = channel();
        let work = move || {
            while let Ok(question) = asked.recv() {
                answer(question, &told);
            }
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES);
        thread.spawn(work).ok()?;
        Some(Self { questions, answers })
    }

    /// Asks; says whether there is somebody to answer.
    pub(crate) fn ask(&self, question: Q) -> bool {
        self.questions.send(question).is_ok()
    }

    /// An answer, where one has come.
    pub(crate) fn answer(&self) -> Result<Option<A>, Over> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Over),
        }
    }

    /// Waits for an answer.
    #[cfg(test)]
    pub(crate) fn wait(&self) -> A {
        self.answers.recv().unwrap()
    }
}

/// The thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over;
