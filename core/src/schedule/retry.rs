//! Whether and when a failed attempt is followed by another. The answer becomes a row with a due time; nobody sleeps for it.

use std::time::Duration;

use crate::{clock::Timestamp, job::Failure};

/// Delay before the second attempt, in milliseconds, before jitter.
const FIRST_DELAY_MS: u64 = 1_000;
/// Longest delay, in milliseconds, before jitter.
const DELAY_MS_MAX: u64 = 5 * 60_000;

/// When the next attempt is due after the `failures`-th failed one (1 for the first), or `None` when there is none: the
/// failure is permanent or the limit is reached. Exponential with equal jitter: between half and all of 1 s, 2 s, 4 s … 5 min;
/// `draw` is uniform in [0, 1).
#[must_use]
pub fn retry_at(failure: &Failure, failures: u32, attempts_max: u32, now: Timestamp, draw: f64) -> Option<Timestamp> {
    if !failure.code.is_transient() || failures >= attempts_max {
        return None;
    }
    let doublings = failures.saturating_sub(1).min(20);
    let ceiling = FIRST_DELAY_MS.saturating_mul(1 << doublings).min(DELAY_MS_MAX);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most five minutes in milliseconds"
    )]
    let jittered = (ceiling as f64 * (0.5 + 0.5 * draw.clamp(0.0, 1.0))) as u64;
    Some(now.plus(Duration::from_millis(jittered)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::FailureCode;

    #[test]
    fn a_transient_failure_is_retried_later_and_later_until_the_limit() {
        let now = Timestamp(0);
        let rows = [
            (FailureCode::RuntimeError, 1, 3, 0.0, Some(500)),
            (FailureCode::RuntimeError, 1, 3, 1.0, Some(1000)),
            (FailureCode::RuntimeError, 2, 3, 1.0, Some(2000)),
            (FailureCode::RuntimeError, 3, 3, 1.0, None),
            (FailureCode::WorkerLost, 9, 100, 1.0, Some(256_000)),
            (FailureCode::WorkerLost, 99, 100, 1.0, Some(300_000)),
            (FailureCode::BadInput, 1, 3, 1.0, None),
            (FailureCode::RuntimeError, 1, 1, 1.0, None),
        ];
        for (code, failures, max, draw, expected) in rows {
            let at = retry_at(&Failure::new(code, "x"), failures, max, now, draw);
            assert_eq!(at, expected.map(Timestamp), "{code:?} {failures}/{max}");
        }
    }
}
