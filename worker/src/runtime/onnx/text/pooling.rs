//! From a model's output to one row of numbers for each text: pooling, normalising, scores. Pure. Padding never counts, and a number that is
//! none is an error, never an answer.

use siding_core::model::manifest::text::{Pooling, Scores, Task};

/// What an embedding's length is at least taken for when it is divided by, as sentence-transformers does.
const LENGTH_MIN: f32 = 1e-12;

/// The rows of texts whose numbers of tokens are `lengths`, from an output of this shape.
pub(super) fn rows(task: &Task, lengths: &[usize], shape: &[usize], numbers: &[f32]) -> Result<Vec<Vec<f32>>, String> {
    let tokens = lengths.iter().max().copied().unwrap_or_default();
    let fits = match (task, shape) {
        (Task::Embedding { pooling: Pooling::None, .. }, [texts, _]) => *texts == lengths.len(),
        (Task::Embedding { pooling: Pooling::Mean | Pooling::Cls | Pooling::Max, .. }, [texts, of_text, _]) => {
            *texts == lengths.len() && *of_text == tokens
        }
        (Task::Classification { labels, .. }, [texts, of_text]) => *texts == lengths.len() && *of_text == labels.len(),
        _ => false,
    };
    let width = shape.last().copied().unwrap_or_default();
    if !fits || width == 0 || numbers.len() != shape.iter().product::<usize>() {
        return Err(format!("has the shape {shape:?} for {} texts of {tokens} tokens", lengths.len()));
    }
    let of_text = numbers.chunks(numbers.len() / lengths.len());
    let rows: Vec<_> = lengths.iter().zip(of_text).map(|(&length, numbers)| row(task, numbers, length, width)).collect();
    if rows.iter().flatten().any(|number| !number.is_finite()) {
        return Err("has a number that is none (NaN or infinite)".into());
    }
    Ok(rows)
}

fn row(task: &Task, numbers: &[f32], length: usize, width: usize) -> Vec<f32> {
    match task {
        Task::Embedding { pooling, normalize } => {
            let mut row = match pooling {
                Pooling::Mean => mean(&numbers[..length * width], width),
                Pooling::Cls => numbers[..width].to_vec(),
                Pooling::Max => max(&numbers[..length * width], width),
                Pooling::None => numbers.to_vec(),
            };
            if *normalize {
                normalise(&mut row);
            }
            row
        }
        Task::Classification { scores: Scores::Softmax, .. } => softmax(numbers),
        Task::Classification { scores: Scores::Sigmoid, .. } => numbers.iter().map(|&number| sigmoid(number)).collect(),
        Task::Classification { scores: Scores::None, .. } => numbers.to_vec(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most TEXT_TOKENS_MAX")]
fn mean(numbers: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for token in numbers.chunks(width) {
        sum.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
    }
    let tokens = (numbers.len() / width) as f32;
    sum.into_iter().map(|sum| sum / tokens).collect()
}

fn max(numbers: &[f32], width: usize) -> Vec<f32> {
    let mut largest = numbers[..width].to_vec();
    for token in numbers.chunks(width) {
        // Not `f32::max`, which would pass over a NaN.
        largest.iter_mut().zip(token).for_each(|(largest, &number)| {
            if number > *largest || number.is_nan() {
                *largest = number;
            }
        });
    }
    largest
}

fn normalise(row: &mut [f32]) {
    let length = row.iter().map(|number| number * number).sum::<f32>().sqrt().max(LENGTH_MIN);
    row.iter_mut().for_each(|number| *number /= length);
}

fn softmax(numbers: &[f32]) -> Vec<f32> {
    // Without the largest as the origin, `exp` overflows at 89.
    let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<_> = numbers.iter().map(|number| (number - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn sigmoid(number: f32) -> f32 {
    1.0 / (1.0 + (-number).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(pooling: Pooling, normalize: bool) -> Task {
        Task::Embedding { pooling, normalize }
    }

    fn labels(scores: Scores) -> Task {
        Task::Classification { labels: vec!["a".into(), "b".into()], scores }
    }

    #[test]
    fn a_row_comes_from_the_tokens_of_its_text_and_not_from_padding() {
        // Two texts of one and two tokens, two numbers a token; 99 is padding.
        let numbers = [3.0, 4.0, 99.0, 99.0, 1.0, -2.0, 5.0, 0.0];
        let rows_of: &[(&str, Task, [[f32; 2]; 2])] = &[
            ("mean", embedding(Pooling::Mean, false), [[3.0, 4.0], [3.0, -1.0]]),
            ("first", embedding(Pooling::Cls, false), [[3.0, 4.0], [1.0, -2.0]]),
            ("largest", embedding(Pooling::Max, false), [[3.0, 4.0], [5.0, 0.0]]),
            ("length 1", embedding(Pooling::Max, true), [[0.6, 0.8], [1.0, 0.0]]),
        ];
        for (what, task, expected) in rows_of {
            assert_eq!(rows(task, &[1, 2], &[2, 2, 2], &numbers), Ok(expected.map(|row| row.to_vec()).to_vec()), "{what}");
        }
        let flat: &[(&str, Task, [f32; 2], [f32; 2])] = &[
            ("as it is", embedding(Pooling::None, false), [3.0, 4.0], [3.0, 4.0]),
            ("length 1", embedding(Pooling::None, true), [3.0, 4.0], [0.6, 0.8]),
            ("nothing has no length", embedding(Pooling::None, true), [0.0, 0.0], [0.0, 0.0]),
            ("softmax", labels(Scores::Softmax), [0.0, 0.0], [0.5, 0.5]),
            ("softmax of large numbers", labels(Scores::Softmax), [1000.0, -1000.0], [1.0, 0.0]),
            ("sigmoid", labels(Scores::Sigmoid), [0.0, 200.0], [0.5, 1.0]),
            ("sigmoid of a small number", labels(Scores::Sigmoid), [-200.0, 0.0], [0.0, 0.5]),
            ("scores as they are", labels(Scores::None), [0.25, 7.0], [0.25, 7.0]),
        ];
        for (what, task, numbers, expected) in flat {
            assert_eq!(rows(task, &[7], &[1, 2], numbers), Ok(vec![expected.to_vec()]), "{what}");
        }
    }

    #[test]
    fn another_shape_or_a_number_that_is_none_is_an_error() {
        let mean = embedding(Pooling::Mean, true);
        let max = embedding(Pooling::Max, false);
        let none = "has a number that is none";
        let shape = "has the shape";
        let bad: &[(&Task, &[usize], &[f32], &str)] = &[
            (&mean, &[1, 2, 1], &[1.0, f32::NAN], none),
            (&max, &[1, 2, 1], &[1.0, f32::NAN], none),
            (&max, &[1, 2, 1], &[f32::NAN, 1.0], none),
            (&mean, &[1, 2, 1], &[1.0, f32::INFINITY], none),
            (&mean, &[1, 3, 1], &[1.0; 3], shape),
            (&mean, &[2, 2, 1], &[1.0; 4], shape),
            (&mean, &[1, 2, 0], &[], shape),
            (&mean, &[1, 2], &[1.0; 2], shape),
            (&labels(Scores::Softmax), &[1, 3], &[1.0; 3], shape),
            (&labels(Scores::Softmax), &[1, 2], &[f32::NAN, 1.0], none),
            (&labels(Scores::None), &[1, 2], &[f32::NEG_INFINITY, 1.0], none),
        ];
        for (task, of, numbers, expected) in bad {
            let why = rows(task, &[2], of, numbers).expect_err("must not pass");
            assert!(why.starts_with(expected), "{of:?} {numbers:?}: {why}");
        }
    }
}
