//! When a process that looks at GPUs is started, asked, given up and started again: decided without touching it.
//!
//! A process that was killed and does not die hangs in the driver, where another one would hang as well. So there is
//! never more than one.

/// First and longest time before a process that failed is started again, milliseconds.
pub const BACKOFF_MS: (u64, u64) = (5_000, 300_000);

/// How long a process that is asked to end may take before it is killed.
const CLOSING_MS: u64 = 2_000;

/// How long answers must have been good before an earlier failure is forgotten.
pub(super) const GOOD_MS: u64 = 60_000;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start a process. There is none.
    Start,
    /// Ask for a sample with this number.
    Ask(u64),
    /// Close its input, so that it ends.
    Close,
    /// Kill it: it did not answer in time.
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no process, and none is started before this time.
    Down { until_ms: u64 },
    /// It waits to be asked.
    Ready,
    /// It was asked.
    Asked { number: u64, deadline_ms: u64 },
    /// It was asked to end.
    Closing { deadline_ms: u64 },
    /// It was killed.
    Dying,
}

/// Where a process is in its life, and how often it failed. Times are milliseconds on the boot clock.
#[derive(Clone, Debug)]
pub struct Course {
    phase: Phase,
    number: u64,
    failures: u32,
    good_since_ms: Option<u64>,
    /// GPUs are lost, so that the driver is to be opened anew: when, and how often that was tried.
    renew_at_ms: Option<u64>,
    renewals: u32,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            phase: Phase::Down { until_ms: 0 },
            number: 0,
            failures: 0,
            good_since_ms: None,
            renew_at_ms: None,
            renewals: 0,
        }
    }
}

impl Course {
    /// A sample is wanted, within so many milliseconds.
    pub fn ask(&mut self, now_ms: u64, within_ms: u64) -> Vec<Order> {
        match self.phase {
            Phase::Down { until_ms } if until_ms <= now_ms => {
                vec![Order::Start, self.asked(now_ms, within_ms)]
            }
            Phase::Ready if self.renew_at_ms.is_some_and(|at_ms| at_ms <= now_ms) => {
                self.renew_at_ms = None;
                let deadline_ms = now_ms.saturating_add(CLOSING_MS);
                self.phase = Phase::Closing { deadline_ms };
                vec![Order::Close]
            }
            Phase::Ready => vec![self.asked(now_ms, within_ms)],
            Phase::Down { .. } | Phase::Asked { .. } | Phase::Closing { .. } | Phase::Dying => {
                Vec::new()
            }
        }
    }

    fn asked(&mut self, now_ms: u64, within_ms: u64) -> Order {
        self.number += 1;
        self.phase = Phase::Asked {
            number: self.number,
            deadline_ms: now_ms.saturating_add(within_ms),
        };
        Order::Ask(self.number)
    }

    /// Time goes by: says whether it has to be killed.
    pub fn pass(&mut self, now_ms: u64) -> Option<Order> {
        match self.phase {
            Phase::Asked { deadline_ms, .. } if deadline_ms <= now_ms => self.fail(),
            Phase::Closing { deadline_ms } if deadline_ms <= now_ms => {}
            Phase::Down { .. }
            | Phase::Ready
            | Phase::Asked { .. }
            | Phase::Closing { .. }
            | Phase::Dying => return None,
        }
        self.phase = Phase::Dying;
        Some(Order::Kill)
    }

    /// The host slept for so long: nobody can have answered meanwhile.
    pub fn slept(&mut self, ms: u64) {
        if let Phase::Asked { deadline_ms, .. } | Phase::Closing { deadline_ms } = &mut self.phase {
            *deadline_ms = deadline_ms.saturating_add(ms);
        }
    }

    /// When [`Course::pass`] has something to say.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Asked { deadline_ms, .. } | Phase::Closing { deadline_ms } => Some(deadline_ms),
            Phase::Down { .. } | Phase::Ready | Phase::Dying => None,
        }
    }

    /// It answered. Says whether the answer is of the newest request; `is_lost`: some GPU in it is lost.
    pub fn answered(&mut self, number: u64, is_lost: bool, now_ms: u64) -> bool {
        let is_newest = matches!(self.phase, Phase::Asked { number: it, .. } if it == number);
        if !is_newest {
            return false;
        }
        self.phase = Phase::Ready;
        let good_since_ms = *self.good_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(good_since_ms) >= GOOD_MS {
            self.failures = 0;
        }
        if !is_lost {
            (self.renewals, self.renew_at_ms) = (0, None);
        } else if self.renew_at_ms.is_none() {
            self.renewals = self.renewals.saturating_add(1);
            self.renew_at_ms = Some(now_ms.saturating_add(backoff_ms(self.renewals)));
        }
        true
    }

    /// It said that it ends, so that GPUs may sleep: that is no failure.
    pub fn rests(&mut self, now_ms: u64) {
        let deadline_ms = now_ms.saturating_add(CLOSING_MS);
        self.phase = Phase::Closing { deadline_ms };
    }

    /// It is gone, or could not be started. Says whether that is news, and no good one.
    pub fn ended(&mut self, now_ms: u64) -> bool {
        let was = self.phase;
        let is_expected = matches!(
            was,
            Phase::Closing { .. } | Phase::Dying | Phase::Down { .. }
        );
        if !is_expected {
            self.fail();
        }
        let wait_ms = match was {
            Phase::Closing { .. } => 0,
            Phase::Down { .. } | Phase::Ready | Phase::Asked { .. } | Phase::Dying => {
                backoff_ms(self.failures)
            }
        };
        self.phase = Phase::Down {
            until_ms: now_ms.saturating_add(wait_ms),
        };
        !is_expected
    }

    /// What hung was one GPU, which is left out from now on: that is no failure of the process.
    pub fn forgive(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    /// It was killed, and is not gone yet.
    #[must_use]
    pub fn is_dying(&self) -> bool {
        self.phase == Phase::Dying
    }

    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.good_since_ms = None;
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn backoff_ms(failures: u32) -> u64 {
    let (first, longest) = BACKOFF_MS;
    match failures {
        0 => 0,
        _ => first
            .saturating_mul(1 << (failures - 1).min(16))
            .min(longest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_started_when_it_is_first_asked() {
        let mut course = Course::default();
        assert_eq!(course.ask(0, 100), [Order::Start, Order::Ask(1)]);
        assert_eq!(course.ask(1, 100), [], "one question at a time");
        assert!(course.answered(1, false, 2));
        assert_eq!(course.ask(3, 100), [Order::Ask(2)]);
        assert!(!course.answered(1, false, 4), "of an earlier request");
    }

    #[test]
    fn it_is_killed_when_it_does_not_answer_and_not_replaced_before_it_is_dead() {
        let mut course = Course::default();
        course.ask(0, 100);
        assert_eq!((course.pass(99), course.deadline_ms()), (None, Some(100)));
        assert_eq!(course.pass(100), Some(Order::Kill));
        assert_eq!(course.ask(1_000_000, 100), [], "it hangs in the driver");
        assert!(!course.ended(2_000_000), "that was told when it was killed");
        assert_eq!(course.ask(2_004_999, 100), []);
        assert_eq!(course.ask(2_005_000, 100), [Order::Start, Order::Ask(2)]);
    }

    #[test]
    fn while_the_host_sleeps_no_time_goes_by() {
        let mut course = Course::default();
        course.ask(0, 100);
        course.slept(30_000_000);
        assert_eq!(course.deadline_ms(), Some(30_000_100));
        assert_eq!(course.pass(30_000_099), None);
        assert_eq!(course.pass(30_000_100), Some(Order::Kill));
    }

    #[test]
    fn failures_in_a_row_make_it_wait_longer() {
        let mut course = Course::default();
        let mut now_ms = 0;
        for wait_ms in [
            5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000,
        ] {
            assert!(!course.ask(now_ms, 100).is_empty());
            assert!(course.ended(now_ms));
            assert_eq!(course.ask(now_ms + wait_ms - 1, 100), []);
            now_ms += wait_ms;
        }
        let answer = |course: &mut Course, now_ms| {
            course.ask(now_ms, 100);
            let number = course.number;
            assert!(course.answered(number, false, now_ms));
        };
        answer(&mut course, now_ms);
        answer(&mut course, now_ms + GOOD_MS);
        assert!(course.ended(now_ms + GOOD_MS));
        assert_eq!(course.ask(now_ms + GOOD_MS + 5_000, 100).len(), 2);
    }

    #[test]
    fn a_lost_gpu_has_the_driver_opened_anew_now_and_then() {
        let mut course = Course::default();
        course.ask(0, 100);
        course.answered(1, true, 0);
        assert_eq!(course.ask(4_999, 100), [Order::Ask(2)]);
        course.answered(2, true, 4_999);
        assert_eq!(course.ask(5_000, 100), [Order::Close]);
        assert!(!course.ended(5_001));
        assert_eq!(course.ask(5_001, 100), [Order::Start, Order::Ask(3)]);
        course.answered(3, true, 5_001);
        assert_eq!(course.ask(15_000, 100), [Order::Ask(4)]);
        course.answered(4, false, 15_000);
        assert_eq!(course.ask(15_001, 100), [Order::Ask(5)], "it is back");
    }

    #[test]
    fn one_that_rests_is_started_again_at_once() {
        let mut course = Course::default();
        course.ask(0, 100);
        course.answered(1, false, 10);
        course.rests(10);
        assert!(!course.ended(20));
        assert_eq!(course.ask(20, 100), [Order::Start, Order::Ask(2)]);
    }

    proptest! {
        #[test]
        fn there_is_never_more_than_one(steps in proptest::collection::vec((0_u8..6, 0_u64..20_000), 0..200)) {
            let mut course = Course::default();
            let (mut now_ms, mut is_there, mut is_killed) = (0, false, false);
            for (step, wait_ms) in steps {
                now_ms += wait_ms;
                let mut orders = Vec::new();
                match step {
                    0 | 1 => orders = course.ask(now_ms, 5_000),
                    2 => { course.answered(course.number, wait_ms % 3 == 0, now_ms); }
                    3 => orders.extend(course.pass(now_ms)),
                    4 if is_there => { course.ended(now_ms); is_there = false; is_killed = false; }
                    _ => {}
                }
                for order in orders {
                    match order {
                        Order::Start => { prop_assert!(!is_there); is_there = true; }
                        Order::Ask(_) | Order::Close => prop_assert!(is_there && !is_killed),
                        Order::Kill => { prop_assert!(is_there && !is_killed); is_killed = true; }
                    }
                }
            }
        }
    }
}
