//! A line through measured runs: `base_ms + per_unit_ms * size`. It decides which line fits best; it measures nothing.

use super::Run;

/// Base and slope of the line whose error is smallest in proportion to each run's time: a run of 1 ms counts as much as one of 400 ms. Neither is
/// below 0. `None` without a run.
pub(super) fn line(runs: &[Run]) -> Option<(f64, f64)> {
    if runs.is_empty() {
        return None;
    }
    // Weighted least squares with the weights 1 / ms²: the sums of its normal equations.
    let sum = |term: fn(f64, f64) -> f64| -> f64 { runs.iter().map(|run| term(run.size, run.ms.max(1e-6))).sum() };
    let (w, ws, wss) = (sum(|_, t| 1.0 / (t * t)), sum(|s, t| s / (t * t)), sum(|s, t| s * s / (t * t)));
    let (wt, wst) = (sum(|_, t| 1.0 / t), sum(|s, t| s / t));
    let determinant = w * wss - ws * ws;
    let flat = (wt / w, 0.0);
    // One size says nothing about the slope.
    if determinant <= 1e-9 * w * wss {
        return Some(flat);
    }
    let (base, slope) = ((wss * wt - ws * wst) / determinant, (w * wst - ws * wt) / determinant);
    Some(match (base < 0.0, slope < 0.0) {
        (_, true) => flat,
        (true, false) => (0.0, wst / wss),
        (false, false) => (base, slope),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_the_runs_and_never_falls_below_nothing() {
        type Points<'a> = &'a [(f64, f64)];
        let rows: [(Points, Option<(f64, f64)>); 6] = [
            (&[], None),
            (&[(5.0, 2.0)], Some((2.0, 0.0))),
            (&[(5.0, 2.0), (5.0, 2.0)], Some((2.0, 0.0))),
            (&[(1.0, 3.0), (2.0, 5.0), (1000.0, 2001.0)], Some((1.0, 2.0))),
            // Larger ones are quicker than in proportion at first: no base below 0.
            (&[(1.0, 1.0), (2.0, 4.0)], Some((0.0, 1.2))),
            (&[(1.0, 2.0), (2.0, 1.0)], Some((1.2, 0.0))),
        ];
        for (points, expected) in rows {
            let runs: Vec<_> = points.iter().map(|&(size, ms)| Run { size, ms, min_ms: ms, runs: 1, expected_ms: 0.0 }).collect();
            match (line(&runs), expected) {
                (Some((base, slope)), Some((wanted_base, wanted_slope))) => {
                    assert!(
                        (base - wanted_base).abs() < 1e-6 && (slope - wanted_slope).abs() < 1e-6,
                        "{points:?}: {base} {slope}"
                    );
                }
                (found, expected) => assert_eq!(found, expected, "{points:?}"),
            }
        }
    }
}
