//! Both clocks of the host, and one alarm on them that also rings when somebody sets the wall clock.
//!
//! Tokio's timers stop while the host sleeps; a timeout of an hour would then end an hour too late.
//! So the control task sleeps on a `timerfd` of the boot clock. A thread of its own waits for it:
//! it is blocked in `poll` all the time and costs nothing.

use crate::model::time::Stamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::Notify;

/// Reads both clocks.
#[must_use]
pub(super) fn now() -> Stamp {
    let wall = clock_gettime(ClockId::Realtime);
    let boot = clock_gettime(ClockId::Boottime);
    Stamp {
        wall_ms: wall.tv_sec * 1000 + wall.tv_nsec / 1_000_000,
        boot_ms: u64::try_from(boot.tv_sec * 1000 + boot.tv_nsec / 1_000_000).unwrap_or(0),
    }
}

/// How long the host has slept since it started, milliseconds.
#[must_use]
pub(super) fn slept_ms() -> u64 {
    let ms = |it: Timespec| it.tv_sec * 1000 + it.tv_nsec / 1_000_000;
    // This one stands still meanwhile. It is read first, so that it is not ahead.
    let awake = ms(clock_gettime(ClockId::Monotonic));
    let boot = ms(clock_gettime(ClockId::Boottime));
    u64::try_from(boot - awake).unwrap_or(0)
}

/// An alarm on the boot clock.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Arc<OwnedFd>,
    rings: Arc<Notify>,
}

/// Somewhere beyond any use: what a timer is set to that only waits for the wall clock being set.
const FAR_SECONDS: i64 = 1 << 40;

impl Alarm {
    /// An alarm that is not set. Its thread ends with the process.
    ///
    /// # Errors
    /// When the kernel gives no timer or no thread.
    pub(super) fn start() -> io::Result<Self> {
        let timer = Arc::new(timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?);
        let wall = timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        watch_wall_clock(&wall)?;
        let rings = Arc::new(Notify::new());
        let thread = {
            let (timer, rings) = (Arc::clone(&timer), Arc::clone(&rings));
            move || ring_for_ever(&timer, &wall, &rings)
        };
        std::thread::Builder::new()
            .name("alarm".to_owned())
            .stack_size(256 * 1024)
            .spawn(thread)?;
        Ok(Self { timer, rings })
    }

    /// Returns at `boot_ms` (never for `None`), and whenever the wall clock was set before that.
    pub(super) async fn sleep_until(&self, boot_ms: Option<u64>) {
        // 0 disarms a timer; nobody needs the first millisecond of a boot.
        let at_ms = boot_ms.map_or(0, |at| at.max(1));
        let spec = Itimerspec {
            it_interval: timespec(0, 0),
            it_value: timespec(
                i64::try_from(at_ms / 1000).unwrap_or(FAR_SECONDS),
                i64::try_from(at_ms % 1000).unwrap_or(0) * 1_000_000,
            ),
        };
        if let Err(error) = timerfd_settime(&*self.timer, TimerfdTimerFlags::ABSTIME, &spec) {
            tracing::error!(%error, "the alarm cannot be set");
        }
        self.rings.notified().await;
    }
}

fn ring_for_ever(timer: &OwnedFd, wall: &OwnedFd, rings: &Notify) {
    let mut sink = [0; 8];
    loop {
        let mut fds = [
            PollFd::new(timer, PollFlags::IN),
            PollFd::new(wall, PollFlags::IN),
        ];
        // Only a signal can interrupt it, and then it is looked again.
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let wall_was_set = !fds[1].revents().is_empty();
        // Reading takes the expiry; a clock that was set is told as an error (ECANCELED).
        let _expired = rustix::io::read(timer, &mut sink);
        if wall_was_set {
            let _cancelled = rustix::io::read(wall, &mut sink);
            if let Err(error) = watch_wall_clock(wall) {
                tracing::error!(%error, "changes of the wall clock are not noticed any more");
            }
        }
        rings.notify_one();
    }
}

fn watch_wall_clock(wall: &OwnedFd) -> io::Result<()> {
    let spec = Itimerspec {
        it_interval: timespec(0, 0),
        it_value: timespec(FAR_SECONDS, 0),
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(wall, flags, &spec)?;
    Ok(())
}

fn timespec(tv_sec: i64, tv_nsec: i64) -> Timespec {
    Timespec { tv_sec, tv_nsec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_slept_is_what_the_clocks_are_apart() {
        let ms = |id| {
            let it = clock_gettime(id);
            u64::try_from(it.tv_sec * 1000 + it.tv_nsec / 1_000_000).unwrap()
        };
        let mut readings = (0..100).map(|_| {
            let before = ms(ClockId::Monotonic);
            let awake = now().boot_ms - slept_ms();
            (before, awake, ms(ClockId::Monotonic))
        });
        // They are rounded; and who reads one after the other may be held up in between, but not each time.
        let fits = |(before, awake, after)| (before - 1..=after + 1).contains(&awake);
        assert!(readings.any(fits));
    }

    #[tokio::test]
    async fn the_alarm_rings_at_its_time_and_not_before() {
        let alarm = Alarm::start().unwrap();
        let due = now().boot_ms + 30;
        alarm.sleep_until(Some(due)).await;
        assert!(now().boot_ms >= due);
        // What is due already rings at once.
        alarm.sleep_until(Some(1)).await;
    }
}
