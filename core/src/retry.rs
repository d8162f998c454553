//! Named policies for calls to the outside that may fail for a moment: store busy, broker away, blob not reachable. The only place
//! that knows the `backoff` crate (docs/adr). Never used for jobs or webhooks: their retries are rows with a due time.

use std::{future::Future, time::Duration};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

use crate::error::Classified;

/// How to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// A store call on a request's path: give up within a second, the caller gets 503.
    StoreRequest,
    /// A store call whose loss would lose work (recording a result): keep on for as long as a lease can last.
    StoreRecord,
    /// A background loop's call: the loop itself comes round again, so one quick second try is enough.
    Loop,
}

impl Policy {
    fn first(self) -> Duration {
        Duration::from_millis(match self {
            Self::StoreRequest | Self::StoreRecord => 10,
            Self::Loop => 50,
        })
    }

    fn longest(self) -> Duration {
        Duration::from_millis(match self {
            Self::StoreRequest => 200,
            Self::StoreRecord => 1_000,
            Self::Loop => 200,
        })
    }

    /// How long to keep trying, in all.
    #[must_use]
    pub fn elapsed_max(self) -> Duration {
        Duration::from_millis(match self {
            Self::StoreRequest => 1_000,
            Self::StoreRecord => 60_000,
            Self::Loop => 300,
        })
    }
}

/// Calls `call` until it succeeds, fails permanently, or the policy's time is over; waits in between, longer each time, with jitter.
///
/// # Errors
/// The last error of `call`.
pub async fn retry<T, E, F, Fut>(policy: Policy, mut call: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Classified,
{
    let backoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(policy.first())
        .with_multiplier(2.0)
        .with_randomization_factor(0.5)
        .with_max_interval(policy.longest())
        .with_max_elapsed_time(Some(policy.elapsed_max()))
        .build();
    backoff::future::retry(backoff, || {
        let attempt = call();
        async move {
            attempt.await.map_err(|error| {
                if error.is_transient() { backoff::Error::transient(error) } else { backoff::Error::permanent(error) }
            })
        }
    })
    .await
}

/// The pauses between attempts to reach a server that is away, without end: 0.1 s, longer each time, never above 5 s, with jitter, so
/// that the processes of a system do not come back all at once.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

impl Pauses {
    /// Longest pause before jitter; half of it may be added.
    const LONGEST: Duration = Duration::from_millis(3_300);

    /// From the shortest pause on.
    #[must_use]
    pub fn new() -> Self {
        let pauses = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(150))
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_interval(Self::LONGEST)
            .with_max_elapsed_time(None)
            .build();
        Self(pauses)
    }

    /// The next pause.
    pub fn longer(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(Self::LONGEST)
    }

    /// The server was there: the next pause is a short one again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Transience;

    #[derive(Debug, PartialEq)]
    struct Failing(Transience);

    impl Classified for Failing {
        fn transience(&self) -> Transience {
            self.0
        }
    }

    async fn calls_until_the_end(policy: Policy, transience: Transience, succeed_at: u32) -> (u32, bool) {
        let calls = Cell::new(0);
        let result = retry(policy, || {
            calls.set(calls.get() + 1);
            let done = calls.get() == succeed_at;
            async move { if done { Ok(()) } else { Err(Failing(transience)) } }
        })
        .await;
        (calls.get(), result.is_ok())
    }

    #[test]
    fn pauses_grow_from_a_tenth_of_a_second_to_no_more_than_five_and_begin_anew() {
        let mut pauses = Pauses::new();
        for round in 0..2 {
            let first = pauses.longer();
            assert!((Duration::from_millis(75)..Duration::from_millis(226)).contains(&first), "round {round}: {first:?}");
            let last = (0..1000).map(|_| pauses.longer()).max().expect("some");
            assert!((Duration::from_secs(3)..=Duration::from_secs(5)).contains(&last), "round {round}: {last:?}");
            pauses.reset();
        }
    }

    #[tokio::test]
    async fn a_permanent_error_is_not_tried_again() {
        assert_eq!(calls_until_the_end(Policy::StoreRecord, Transience::Permanent, 5).await, (1, false));
    }

    #[tokio::test]
    async fn a_transient_error_is_tried_until_it_passes() {
        assert_eq!(calls_until_the_end(Policy::StoreRecord, Transience::Transient, 3).await, (3, true));
    }

    #[tokio::test]
    async fn a_transient_error_that_does_not_pass_is_given_up_in_time() {
        let started = std::time::Instant::now();
        let (calls, ok) = calls_until_the_end(Policy::Loop, Transience::Transient, u32::MAX).await;
        assert!(!ok && calls > 1, "{calls}");
        assert!(started.elapsed() < Policy::Loop.elapsed_max() * 4);
    }
}
