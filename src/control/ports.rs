//! The border of the control task: what it needs from the clock, the store, the bus and the supervisor.

use crate::engine::needs::{Cold, Needs};
use crate::engine::recover::Recovery;
use crate::engine::step::Action;
use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::time::Stamp;
use std::future::Future;

/// Why something could not be written or read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct StoreTrouble {
    /// A sentence for people, with the way out.
    pub why: String,
    /// The store will not work again before a new start: the task ends.
    pub is_final: bool,
}

/// The world as the control task sees it. The daemon implements it with the adapters, tests with lists.
pub trait Effects: Send {
    /// Both clocks, now.
    fn now(&self) -> Stamp;

    /// Stores every change in one transaction, or none, and gives the events with their numbers.
    fn commit(
        &mut self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<Vec<Event>, StoreTrouble>> + Send;

    /// Reads what the engine needs to know of finished jobs, after everything committed so far.
    fn fetch(&mut self, needs: Needs) -> impl Future<Output = Result<Cold, StoreTrouble>> + Send;

    /// Reads everything that is live: what the engine was before a commit that failed.
    fn reload(&mut self) -> impl Future<Output = Result<Recovery, StoreTrouble>> + Send;

    /// Whether new work may be accepted; a sentence why not.
    fn refuses_work(&self) -> Option<String>;

    /// Tells everybody who may know. Never waits.
    fn publish(&mut self, events: &[Event]);

    /// Carries out an action. Never waits; idempotent per attempt.
    fn act(&mut self, action: Action);

    /// Tells how well the store is: `None` when well, else a sentence.
    fn store_is(&mut self, trouble: Option<&StoreTrouble>);

    /// Ends at that instant of the boot clock, and earlier whenever the wall clock was set.
    fn sleep_until(&self, boot_ms: Option<u64>) -> impl Future<Output = ()> + Send;
}
