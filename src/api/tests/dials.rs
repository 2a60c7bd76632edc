//! What is measured, as a test says.

use crate::api::ports::{Gauges, Look};
use crate::model::sample::Snapshot;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a test says was measured, and who looks at it.
#[derive(Default)]
pub(super) struct Dials {
    pub(super) newest: Mutex<Arc<Snapshot>>,
    /// How often those want to see it who look.
    pub(super) looks: Arc<Mutex<Vec<Duration>>>,
}

impl Gauges for Dials {
    fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.lock().unwrap())
    }

    fn glance(&self) {}

    fn tell(&self) {}

    fn look(&self, every: Duration) -> Look {
        struct Kept(Arc<Mutex<Vec<Duration>>>, Duration);
        impl Drop for Kept {
            fn drop(&mut self) {
                let mut looks = self.0.lock().unwrap();
                let place = looks.iter().position(|it| *it == self.1).unwrap();
                looks.remove(place);
            }
        }
        self.looks.lock().unwrap().push(every);
        Box::new(Kept(Arc::clone(&self.looks), every))
    }
}
