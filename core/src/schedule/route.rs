//! Which lane a job takes. It decides on the median, so it errs towards the shorter lane: a job in too short a lane is found out
//! by running, a job in too long a lane waits for nothing. It never looks at queue lengths: lanes sort work, load does not.

use crate::{
    estimate::Estimate,
    lane::{Lane, Lanes},
};

/// The shortest lane whose bound the estimate's median does not pass.
#[must_use]
pub fn route<'a>(estimate: &Estimate, lanes: &'a Lanes) -> &'a Lane {
    let slice = lanes.as_slice();
    #[expect(clippy::cast_precision_loss, reason = "lane bounds are far below 2^52 ms")]
    let fits = |lane: &&Lane| lane.expected_ms_max.is_none_or(|max| estimate.p50_ms <= max as f64);
    slice.iter().find(fits).unwrap_or_else(|| slice.last().expect("a valid set has an unbounded last lane"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Settings, estimate::Source};

    #[test]
    fn a_job_takes_the_shortest_lane_that_its_median_fits() {
        let lanes = Settings::default().lanes().expect("defaults are valid");
        let rows = [
            (0.0, "instant"),
            (1000.0, "instant"),
            (1000.1, "short"),
            (10_000.0, "short"),
            (120_000.0, "medium"),
            (120_001.0, "long"),
            (f64::INFINITY, "long"),
            (f64::NAN, "long"),
        ];
        for (p50_ms, expected) in rows {
            let estimate = Estimate { p50_ms, p90_ms: p50_ms, source: Source::Hint };
            assert_eq!(route(&estimate, &lanes).name.as_str(), expected, "{p50_ms}");
        }
    }
}
