//! The JSON of a text model's output: a promise to callers. It decides how labels are ordered; it never leaves out that a text was cut.

use serde::Serialize;
use siding_core::{
    model::manifest::text::{Task, Texts},
    tensor::write_json,
};

use super::{Row, tokenizer::Encoded};
use crate::runtime::RunError;

#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    answers: Answers<'a>,
    /// By text: tokens that the model has read.
    tokens: Vec<usize>,
    /// By text: whether there were more.
    truncated: Vec<bool>,
}

/// By text, in the order of the input.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answers<'a> {
    Embeddings(Vec<&'a Row>),
    Classifications(Vec<Vec<Label<'a>>>),
}

#[derive(Debug, PartialEq, Serialize)]
struct Label<'a> {
    label: &'a str,
    score: f32,
}

/// The output of a job whose rows are all there.
pub(super) fn write(task: &Task, input: &Texts, texts: &[Encoded], rows: &[Option<Row>]) -> Result<String, RunError> {
    let rows: Option<Vec<&Row>> = rows.iter().map(Option::as_ref).collect();
    let rows = rows.ok_or_else(|| RunError::Failed("a text was left out".into()))?;
    let answers = match task {
        Task::Embedding { .. } => Answers::Embeddings(rows),
        Task::Classification { labels, .. } => {
            Answers::Classifications(rows.into_iter().map(|row| sorted(labels, row, input.top_k)).collect())
        }
    };
    let output = Output {
        answers,
        tokens: texts.iter().map(|text| text.ids.len()).collect(),
        truncated: texts.iter().map(|text| text.truncated).collect(),
    };
    write_json(&output).map_err(|error| RunError::OutputTooLarge { bytes: error.bytes, max: error.max })
}

/// Labels by score, the best first; equal ones in the model's order.
fn sorted<'a>(labels: &'a [String], scores: &[f32], top_k: Option<usize>) -> Vec<Label<'a>> {
    let mut sorted: Vec<_> = labels.iter().zip(scores).map(|(label, &score)| Label { label, score }).collect();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    sorted.truncate(top_k.unwrap_or(labels.len()));
    sorted
}

#[cfg(test)]
mod tests {
    use siding_core::model::manifest::text::{Pooling, Scores};

    use super::*;

    fn texts() -> [Encoded; 2] {
        [false, true].map(|truncated| Encoded { ids: vec![1, 2], types: vec![0, 0], truncated })
    }

    #[test]
    fn an_output_looks_like_this_for_ever() {
        let rows = [Some(vec![0.5, -1.0]), Some(vec![0.25, 0.25])];
        let input = |top_k| Texts { texts: vec!["a".into(), "b".into()], top_k };
        let labels = Task::Classification { labels: vec!["x".into(), "y".into()], scores: Scores::None };
        let embedding = Task::Embedding { pooling: Pooling::None, normalize: false };
        let ends = r#""tokens":[2,2],"truncated":[false,true]}"#;
        let cases = [
            (&embedding, None, r#"{"embeddings":[[0.5,-1.0],[0.25,0.25]],"#),
            (
                &labels,
                None,
                r#"{"classifications":[[{"label":"x","score":0.5},{"label":"y","score":-1.0}],[{"label":"x","score":0.25},{"label":"y","score":0.25}]],"#,
            ),
            (&labels, Some(1), r#"{"classifications":[[{"label":"x","score":0.5}],[{"label":"x","score":0.25}]],"#),
        ];
        for (task, top_k, begins) in cases {
            assert_eq!(write(task, &input(top_k), &texts(), &rows), Ok(format!("{begins}{ends}")));
        }
        assert!(write(&embedding, &input(None), &texts(), &[None, Some(vec![1.0])]).is_err());
    }
}
