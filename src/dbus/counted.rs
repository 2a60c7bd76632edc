//! How many jobs are in each state and whether any starts, as callers read it, and what of that they read.
//!
//! Only what differs from what was told last is told. A count that goes and comes back between two tellings would not be,
//! and whoever read it in between would keep a wrong one for good. So what is read is remembered until the next telling.

use crate::dbus::coalesce::Values;
use crate::dbus::values::{Overview, Told, of_overview, pick};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use zbus::{Variant, fdo};

/// Names of properties, each with a value that somebody read.
type Read = Vec<(&'static str, Told)>;

/// What is known of all jobs together.
pub(super) struct Counted {
    overview: watch::Receiver<Overview>,
    read: Mutex<Read>,
}

impl Counted {
    pub(super) fn new(overview: watch::Receiver<Overview>) -> Self {
        Self {
            overview,
            read: Mutex::default(),
        }
    }

    /// A property, for a caller that may keep it.
    pub(super) fn read<T>(&self, name: &'static str) -> fdo::Result<T>
    where
        T: TryFrom<Variant<'static>>,
    {
        // Held while it is read, so that no telling comes between both.
        let mut read = self.lock();
        let values = of_overview(&self.overview.borrow());
        let value = pick(&values, name)?;
        let shown = values.get(name).map(|told| (name, told.clone()));
        if let Some(shown) = shown.filter(|it| !read.contains(it)) {
            read.push(shown);
        }
        Ok(value)
    }

    /// All of it, for an answer that nobody keeps up to date.
    pub(super) fn now(&self) -> Overview {
        self.overview.borrow().clone()
    }

    /// What is to be told, and what was read since this was asked last.
    pub(super) fn look(&self) -> (Values<Told>, Read) {
        let mut read = self.lock();
        let values = of_overview(&self.overview.borrow());
        (values, std::mem::take(&mut read))
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        // A list that somebody left in the middle of a push is a list still.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
