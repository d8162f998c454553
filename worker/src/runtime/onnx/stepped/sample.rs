//! Draws and choices. All of it is pure: a draw is a function of the caller's seed, the run's number and a place, so that a computation
//! that goes on from a checkpoint draws what it would have drawn; there is no generator whose state could be lost.

use siding_core::model::manifest::stepped::Sampling;

/// The odd number closest to 2^64 divided by the golden ratio: successive multiples of it are spread evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Place `index` of the stream of one run: `SplitMix64` (Steele et al. 2014), whose state is a counter, begun at a key of seed and run.
fn bits(seed: u64, run: u64, index: u64) -> u64 {
    let key = mix(seed ^ mix(run.wrapping_add(GOLDEN)));
    mix(key.wrapping_add(index.wrapping_mul(GOLDEN)))
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Evenly distributed from 0 to below 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are all that a double has")]
pub(super) fn even(seed: u64, run: u64, index: u64) -> f64 {
    (bits(seed, run, index) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Normally distributed with mean 0 and variance 1 (Box and Muller 1958).
#[expect(clippy::cast_possible_truncation, reason = "noise is FP32")]
pub(super) fn normal(seed: u64, run: u64, index: u64) -> f32 {
    let radius = (-2.0 * (1.0 - even(seed, run, 2 * index)).ln()).sqrt();
    (radius * (std::f64::consts::TAU * even(seed, run, 2 * index + 1)).cos()) as f32
}

/// The token that is chosen: `logits` has a number for each, `allowed` says which may come, `draw` is from 0 to below 1. `None` when no
/// token has a chance.
///
/// Order: the most likely `top_k`, of these the most likely that together reach `top_p`, of these one by its chance. Among equals the
/// lower id is the more likely one, so that nothing depends on how they are sorted.
pub(super) fn choose(logits: &[f32], allowed: impl Fn(usize) -> bool, sampling: Sampling, draw: f64) -> Option<usize> {
    let mut candidates: Vec<usize> = (0..logits.len()).filter(|&id| allowed(id) && logits[id] > f32::NEG_INFINITY).collect();
    let by_chance = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    if sampling.temperature == 0.0 {
        return candidates.into_iter().min_by(by_chance);
    }
    candidates.sort_unstable_by(by_chance);
    if sampling.top_k > 0 {
        candidates.truncate(usize::try_from(sampling.top_k).unwrap_or(usize::MAX));
    }
    let most = f64::from(logits[*candidates.first()?]);
    // An infinite logit less itself is no number: it is as likely as can be.
    let chance =
        |id: &usize| if logits[*id].is_infinite() { 1.0 } else { ((f64::from(logits[*id]) - most) / sampling.temperature).exp() };
    let chances: Vec<f64> = candidates.iter().map(chance).collect();
    let all: f64 = chances.iter().sum();
    let mut reached = 0.0;
    let kept = chances.iter().take_while(|&&chance| {
        let wanted = reached < sampling.top_p * all;
        reached += chance;
        wanted
    });
    let kept = kept.count().max(1);
    let mut left = draw * chances[..kept].iter().sum::<f64>();
    let chosen = chances[..kept].iter().position(|&chance| {
        left -= chance;
        left < 0.0
    });
    Some(candidates[chosen.unwrap_or(kept - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_of_those_that_may_come_are_drawn_by_their_chance() {
        let ln = |chances: &[f32]| chances.iter().map(|chance| chance.ln()).collect::<Vec<_>>();
        let of = |temperature, top_k, top_p| Sampling { temperature, top_k, top_p };
        let chances = ln(&[0.1, 0.5, 0.2, 0.2]);
        let (nan, infinite) = (f32::NAN, f32::INFINITY);
        type Row<'a> = (&'a str, &'a [f32], &'a [usize], Sampling, f64, Option<usize>);
        let rows: [Row<'_>; 17] = [
            ("greedy takes the most likely", &chances, &[], of(0.0, 0, 1.0), 0.99, Some(1)),
            ("greedy, but not what may not come", &chances, &[1], of(0.0, 0, 1.0), 0.0, Some(2)),
            ("of equals the first", &[0.0, 0.0], &[], of(0.0, 0, 1.0), 0.9, Some(0)),
            ("the first half is the most likely one's", &chances, &[], of(1.0, 0, 1.0), 0.49, Some(1)),
            ("then the next by id", &chances, &[], of(1.0, 0, 1.0), 0.51, Some(2)),
            ("then the next", &chances, &[], of(1.0, 0, 1.0), 0.71, Some(3)),
            ("the least likely is last", &chances, &[], of(1.0, 0, 1.0), 0.91, Some(0)),
            ("a draw that rounding lifts to the end", &chances, &[], of(1.0, 0, 1.0), 1.0, Some(0)),
            ("top_k leaves the others out", &chances, &[], of(1.0, 2, 1.0), 0.99, Some(2)),
            ("top_p that one reaches", &chances, &[], of(1.0, 0, 0.5), 0.99, Some(1)),
            ("top_p that two reach", &chances, &[], of(1.0, 0, 0.6), 0.99, Some(2)),
            ("a tiny top_p leaves one", &chances, &[], of(1.0, 0, 1e-9), 0.99, Some(1)),
            ("a low temperature sharpens", &chances, &[], of(0.1, 0, 1.0), 0.99, Some(1)),
            ("an infinite one wins", &[0.0, infinite], &[], of(1.0, 0, 1.0), 0.1, Some(1)),
            ("what is no number has no chance", &[nan, 1.0], &[], of(0.0, 0, 1.0), 0.0, Some(1)),
            ("nothing may come", &[0.0, 0.0], &[0, 1], of(1.0, 0, 1.0), 0.0, None),
            ("nothing has a chance", &[nan, -infinite], &[], of(1.0, 0, 1.0), 0.0, None),
        ];
        for (why, logits, never, sampling, draw, expected) in rows {
            assert_eq!(choose(logits, |id| !never.contains(&id), sampling, draw), expected, "{why}");
        }
    }

    #[test]
    fn draws_depend_on_seed_run_and_place_and_are_distributed_as_they_say() {
        let first = even(7, 3, 0);
        assert_eq!(first.to_bits(), even(7, 3, 0).to_bits());
        for other in [even(8, 3, 0), even(7, 4, 0), even(7, 3, 1)] {
            assert_ne!(first.to_bits(), other.to_bits());
        }
        let count = 20_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for index in 0..count {
            let number = f64::from(normal(1, 0, index));
            sum += number;
            squares += number * number;
        }
        let (mean, variance) = (sum / 20_000.0, squares / 20_000.0);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }
}
