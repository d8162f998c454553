//! The clock seam: every stored time and every timed wait goes through it, so that a test can own time. It must never be used
//! to measure a duration inside one process: `std::time::Instant` does that and cannot jump.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time plus `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long `earlier` lies before this time; zero when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Returns once `duration` has passed on this clock.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock, except that it never goes back within one process: while the machine's clock shows less than was shown
/// before (somebody has corrected it), this one stands still. Stored times stay in order, and what was due stays due; leases and due
/// times wait until the machine's clock has caught up, or for a restart.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

/// The latest time that any `SystemClock` of this process has shown.
static SHOWN: AtomicI64 = AtomicI64::new(0);

/// `machine`, or what was shown before if that is later.
fn never_back(shown: &AtomicI64, machine: i64) -> i64 {
    shown.fetch_max(machine, Ordering::Relaxed).max(machine)
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let machine = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Timestamp(never_back(&SHOWN, machine))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that stands still until it is advanced: the test's own time.
#[derive(Debug)]
pub struct ManualClock {
    /// Written by `advance`, read by everybody; sleepers wait for it to change.
    now: watch::Sender<Timestamp>,
    /// Serialises `advance`, so that two advances add up.
    advancing: Mutex<()>,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { now: watch::Sender::new(start), advancing: Mutex::new(()) })
    }

    /// Moves time forward and wakes every sleeper whose time has come.
    pub fn advance(&self, by: Duration) {
        let _guard = self.advancing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.now.send_modify(|now| *now = now.plus(by));
    }

    /// Moves time back, as it goes when a process starts again after the machine's clock was corrected.
    pub fn step_back(&self, by: Duration) {
        let _guard = self.advancing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.now.send_modify(|now| now.0 = now.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut changes = self.now.subscribe();
        let until = changes.borrow().plus(duration);
        // The sender lives as long as `self`, which this call borrows: the wait can only end by reaching the time.
        changes.wait_for(|now| *now >= until).await.map(drop).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_stands_still_until_it_has_caught_up() {
        let shown = AtomicI64::new(0);
        for (machine, expected) in [(5, 5), (7, 7), (3, 7), (6, 7), (8, 8)] {
            assert_eq!(never_back(&shown, machine), expected);
        }
    }
}
