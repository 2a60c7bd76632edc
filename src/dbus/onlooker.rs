//! What everybody on the bus may know: objects and signals can be kept from nobody there, so that they tell no more.

use crate::api::local::Local;
use crate::auth::{Action, Subject, decide};
use std::sync::Arc;

/// Somebody who may know just that. What is told to everybody is looked at with his eyes.
#[derive(Clone, Debug)]
pub(super) struct Onlooker {
    /// As whom he asks.
    pub(super) subject: Arc<Subject>,
    /// Whether he may know that there are jobs.
    pub(super) sees_jobs: bool,
    /// Whether he may know what they use.
    pub(super) sees_use: bool,
}

impl Onlooker {
    /// On the bus that this daemon is on; `itself` is its own user.
    pub(super) fn new(local: &Local, itself: &Arc<Subject>) -> Self {
        let policy = local.policy();
        let subject = if policy.mode.is_system() {
            Arc::new(Subject::anybody())
        } else {
            // The bus of a session is for one user alone.
            Arc::clone(itself)
        };
        let may = |action| decide(&subject, action, None, policy).is_allowed();
        let (sees_jobs, sees_use) = (may(Action::SeeJob), may(Action::SeeUse));
        Self {
            subject,
            sees_jobs,
            sees_use,
        }
    }
}
