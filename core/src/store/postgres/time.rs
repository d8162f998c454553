//! Which clock is the store's time. It decides nothing about jobs, and reads no clock in the server's place unless it was told to.

use std::sync::Arc;

use crate::clock::Clock;

/// The store's time.
#[derive(Debug)]
pub(super) enum Time {
    /// The server's clock, the same for every process of the store.
    Server,
    /// A clock that whoever opened the store has given: a test that owns time.
    Given(Arc<dyn Clock>),
}

impl Time {
    /// What a statement binds where `now!` and `now_after_locks!` expect it: NULL means the server's clock.
    pub(super) fn given(&self) -> Option<i64> {
        match self {
            Self::Server => None,
            Self::Given(clock) => Some(clock.now().0),
        }
    }
}

/// The time at which the statement began; stable, so that an index can be searched with it. The argument is the parameter that `given` is bound to.
macro_rules! now {
    ($given:literal) => {
        concat!("coalesce(", $given, "::bigint, floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint)")
    };
}
pub(super) use now;

/// The time at which this row is handed out, so that the last row's is later than the wait for any lock.
macro_rules! now_after_locks {
    ($given:literal) => {
        concat!("coalesce(", $given, "::bigint, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)")
    };
}
pub(super) use now_after_locks;
