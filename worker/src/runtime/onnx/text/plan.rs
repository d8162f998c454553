//! Which texts of a job run together. It decides from their lengths alone, and each text is in exactly one micro-batch.

/// Texts shorter than this are of one bucket: below it a run costs about the same.
const BUCKET_TOKENS_MIN: usize = 8;

/// Micro-batches of texts whose numbers of tokens are `lengths`: texts of one length bucket (up to a power of two), the shortest first,
/// as many as have at most `tokens_max` tokens together when each is padded to the longest. A text with more runs alone.
pub(super) fn micro_batches(lengths: &[usize], tokens_max: usize) -> Vec<Vec<usize>> {
    let bucket = |text: usize| lengths[text].max(BUCKET_TOKENS_MIN).next_power_of_two();
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // Stable: equal lengths stay in the caller's order.
    order.sort_by_key(|&text| lengths[text]);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for text in order {
        match batches.last_mut() {
            // The shortest first: this one is the longest so far.
            Some(batch) if bucket(batch[0]) == bucket(text) && (batch.len() + 1) * lengths[text] <= tokens_max => {
                batch.push(text)
            }
            _ => batches.push(vec![text]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lengths = &'static [usize];

    #[test]
    fn texts_of_like_length_run_together_up_to_the_limit() {
        let rows: &[(&str, Lengths, &[Lengths])] = &[
            ("none", &[], &[]),
            ("one", &[5], &[&[0]]),
            ("equal ones in the caller's order", &[9, 9, 9], &[&[0, 1, 2]]),
            ("sorted by length", &[12, 9, 16], &[&[1, 0, 2]]),
            ("very short ones are of one bucket", &[8, 1, 3], &[&[1, 2, 0]]),
            ("a long one does not pad short ones up", &[40, 3, 17, 4], &[&[1, 3], &[2], &[0]]),
            ("the limit counts padding: 3 * 22 is more than 64", &[20, 21, 22], &[&[0, 1], &[2]]),
            ("just the limit", &[32, 32, 32], &[&[0, 1], &[2]]),
            ("longer than the limit: alone", &[100, 100], &[&[0], &[1]]),
        ];
        for (what, lengths, expected) in rows {
            assert_eq!(micro_batches(lengths, 64), *expected, "{what}");
        }
    }
}
