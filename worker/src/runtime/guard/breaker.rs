//! When a version that crashes is not loaded: a pure decision, with `now` as an argument. Crashes count only as far as no run has ended between
//! them: one job whose input crashes the model does not take the model from all others, while a model that only crashes rests.

use std::time::{Duration, Instant};

/// Crashes without a run that ended after which a version rests.
pub(super) const CRASHES: usize = 3;
/// The time within which they count.
const WINDOW: Duration = Duration::from_secs(600);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(600);

/// One version's breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// The newest crashes without a run that ended, at most `CRASHES`.
    crashes: Vec<Instant>,
    /// While it rests, and while it is tried after a rest.
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    rest: Duration,
    until: Instant,
    /// One load was let through, and nothing is known of it yet.
    is_tried: bool,
}

impl Breaker {
    /// May it be loaded now? After a rest, one load is let through, and the next one only after the same time again.
    ///
    /// # Errors
    /// How long it rests yet.
    pub(super) fn ask(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if now < open.until {
            return Err(open.until - now);
        }
        *open = Open { until: now + open.rest, is_tried: true, ..*open };
        Ok(())
    }

    /// It crashed. Returns how long it rests, when that is new: `first`, and after each try that crashed twice as long.
    pub(super) fn crashed(&mut self, now: Instant, first: Duration) -> Option<Duration> {
        self.crashes.retain(|crash| now.saturating_duration_since(*crash) < WINDOW);
        self.crashes.push(now);
        let rest = match self.open {
            Some(open) if open.is_tried => (open.rest * 2).min(REST_MAX),
            None if self.crashes.len() >= CRASHES => first.min(REST_MAX),
            // The process is of before the rest, and says nothing new; or there were too few.
            Some(_) | None => return None,
        };
        self.crashes.clear();
        self.open = Some(Open { rest, until: now + rest, is_tried: false });
        Some(rest)
    }

    /// A run ended. Returns whether that ends a rest.
    pub(super) fn ended(&mut self) -> bool {
        self.crashes.clear();
        self.open.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(30);

    enum Does {
        Crash(Option<u64>),
        End(bool),
        /// Seconds that it rests yet; 0 when it may be loaded.
        Ask(u64),
    }

    #[test]
    fn what_only_crashes_rests_longer_and_longer_and_what_works_is_never_refused() {
        use Does::{Ask, Crash, End};
        let rows: [(&str, &[(u64, Does)]); 5] = [
            ("the third crash", &[(0, Crash(None)), (1, Crash(None)), (1, Ask(0)), (2, Crash(Some(30))), (12, Ask(20))]),
            ("runs that end between", &[(0, Crash(None)), (1, Crash(None)), (2, End(false)), (3, Crash(None)), (4, Crash(None))]),
            ("crashes that lie apart", &[(0, Crash(None)), (300, Crash(None)), (601, Crash(None)), (602, Ask(0))]),
            (
                "a try that crashes, and one that ends",
                &[
                    (0, Crash(None)),
                    (0, Crash(None)),
                    (0, Crash(Some(30))),
                    (30, Ask(0)),
                    (31, Ask(29)),
                    (32, Crash(Some(60))),
                    (33, Crash(None)),
                    (92, Ask(0)),
                    (93, End(true)),
                    (93, Ask(0)),
                    (94, Crash(None)),
                ],
            ),
            (
                "a try of which nothing is heard",
                &[
                    (0, Crash(None)),
                    (0, Crash(None)),
                    (0, Crash(Some(30))),
                    (40, Ask(0)),
                    (69, Ask(1)),
                    (70, Ask(0)),
                    (71, Crash(Some(60))),
                ],
            ),
        ];
        for (what, does) in rows {
            let (start, mut breaker) = (Instant::now(), Breaker::default());
            for (at, does) in does {
                let now = start + Duration::from_secs(*at);
                match does {
                    Crash(rest) => assert_eq!(breaker.crashed(now, FIRST), rest.map(Duration::from_secs), "{what}: at {at}"),
                    End(expected) => assert_eq!(breaker.ended(), *expected, "{what}: at {at}"),
                    Ask(0) => assert_eq!(breaker.ask(now), Ok(()), "{what}: at {at}"),
                    Ask(left) => assert_eq!(breaker.ask(now), Err(Duration::from_secs(*left)), "{what}: at {at}"),
                }
            }
        }
    }

    #[test]
    fn no_rest_is_longer_than_its_bound() {
        let (mut now, mut breaker) = (Instant::now(), Breaker::default());
        let mut rests = Vec::new();
        for _ in 0..10 {
            rests.extend(breaker.crashed(now, FIRST).map(|rest| rest.as_secs()));
            now += REST_MAX;
            breaker.ask(now).expect("every rest is over by then");
            breaker.crashes = vec![now; CRASHES - 1];
        }
        assert_eq!(rests, [30, 60, 120, 240, 480, 600, 600, 600, 600, 600][..rests.len()]);
        assert!(rests.len() > 6);
    }
}
