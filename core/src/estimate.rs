//! Estimates: how long a job is expected to run, as a distribution, and where that belief comes from. It decides the numbers;
//! `schedule::route` decides what they mean. It never fails: a job nobody knows anything about has an estimate too.

use serde::{Deserialize, Serialize};

use crate::model::manifest::Cost;

/// Where an estimate comes from; recorded with the job, so that a wrong lane can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The caller's `expected_ms`.
    Hint,
    /// The cost profile of the model's manifest.
    Manifest,
}

/// How long one run is expected to take on one slot, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Estimate {
    /// Half of such runs are expected to take at most this long.
    pub p50_ms: f64,
    /// Nine of ten such runs are expected to take at most this long.
    pub p90_ms: f64,
    /// Where the numbers come from.
    pub source: Source,
}

/// p90 over p50 when only one number is known. Runs of one model on one input size spread little on a quiet machine; the
/// factor covers a busy neighbour. Learned quantiles replace it.
const SPREAD: f64 = 1.5;

/// The caller's hint if there is one, else the manifest's cost for this input's size.
///
/// `size` is the number that `cost.size_of` names, read from the input; see `model::manifest::Cost`.
#[must_use]
pub fn estimate(hint_ms: Option<u64>, cost: &Cost, size: f64) -> Estimate {
    #[expect(clippy::cast_precision_loss, reason = "a duration of 2^52 ms is no duration")]
    let (p50_ms, source) = match hint_ms {
        Some(ms) => (ms as f64, Source::Hint),
        None => (cost.base_ms + cost.per_unit_ms * size.max(0.0), Source::Manifest),
    };
    Estimate { p50_ms, p90_ms: p50_ms * SPREAD, source }
}
