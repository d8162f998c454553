//! Benches: what this system costs beside what it cannot avoid, measured in the same run. Each prints JSON lines for machines; none of
//! them asserts anything, because a busy machine is not a defect.

pub mod dispatch;
pub mod inference;
pub mod isolation;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles of a set of durations, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quantiles {
    /// Half are at most this long.
    pub p50_ms: f64,
    /// 99 of 100 are at most this long.
    pub p99_ms: f64,
}

/// Collects durations from 1 µs to 10 minutes with three digits.
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 600_000_000, 3).expect("constant bounds are valid"))
    }
}

impl Durations {
    /// Adds one; longer ones count as ten minutes.
    pub fn add(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// The percentiles.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        #[expect(clippy::cast_precision_loss, reason = "at most ten minutes in microseconds")]
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Quantiles { p50_ms: at(0.5), p99_ms: at(0.99) }
    }
}

/// The middle of some numbers; the lower of two middles. Zero for none.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Prints one JSON line.
///
/// # Errors
/// When standard output is closed.
pub fn print_line(line: &impl Serialize) -> anyhow::Result<()> {
    use std::io::Write;
    let text = serde_json::to_string(line)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
