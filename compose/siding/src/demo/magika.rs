//! What goes into and comes out of the model `magika`, a classifier of file types that others made. The rule for cutting and padding is
//! that of its own Python package (`Magika._extract_features_from_seekable`, version 1.0.3); `tests/contract` checks the model itself.

use std::{collections::HashMap, fmt, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::failed;
use crate::cli::exit::Failed;

/// The model's name in the repository.
pub const MODEL: &str = "magika";

/// What the model's makers say about its input and output.
#[derive(Debug, Deserialize)]
pub struct Magika {
    beg_size: usize,
    end_size: usize,
    block_size: usize,
    padding_token: i32,
    medium_confidence_threshold: f64,
    #[serde(default)]
    thresholds: HashMap<String, f64>,
    target_labels_space: Vec<String>,
}

/// What the model says about one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The file's type.
    pub label: String,
    /// How sure the model is, from 0 to 1.
    pub confidence: f64,
    /// Whether that is as sure as its makers ask for.
    pub sure: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sure = if self.sure { "" } else { " ?" };
        write!(f, "{} {:.1} %{sure}", self.label, self.confidence * 100.0)
    }
}

/// A job's input.
#[derive(Serialize)]
struct Input {
    bytes: Tensor,
}

#[derive(Serialize)]
struct Tensor {
    shape: [usize; 2],
    data: Vec<i32>,
}

impl Magika {
    /// Reads the constants and labels beside the model.
    pub fn load(models: &Path) -> Result<Self, Failed> {
        let path = models.join(MODEL).join("1").join("config.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| failed(format!("the model {MODEL} is not there ({}: {error}): run `make setup`", path.display())))?;
        serde_json::from_str(&text).map_err(|error| failed(format!("{}: {error}: run `make setup`", path.display())))
    }

    /// The job's input for a file's content.
    pub fn input(&self, content: &[u8]) -> impl Serialize + use<> {
        let data = self.features(content);
        Input { bytes: Tensor { shape: [1, data.len()], data } }
    }

    /// The first bytes of the first block without leading blanks, and the last bytes of the last block without trailing ones.
    fn features(&self, content: &[u8]) -> Vec<i32> {
        let block = content.len().min(self.block_size);
        let begin = trim_start(&content[..block]);
        let end = trim_end(&content[content.len() - block..]);
        let begin = &begin[..begin.len().min(self.beg_size)];
        let end = &end[end.len().saturating_sub(self.end_size)..];
        let padding = |bytes: usize| std::iter::repeat_n(self.padding_token, bytes);
        let numbers = |bytes: &[u8]| bytes.iter().map(|byte| i32::from(*byte)).collect::<Vec<_>>();
        let mut features = numbers(begin);
        features.extend(padding(self.beg_size - begin.len()));
        features.extend(padding(self.end_size - end.len()));
        features.extend(numbers(end));
        features
    }

    /// Reads a job's output.
    pub fn verdict(&self, output: &RawValue) -> Result<Verdict, String> {
        #[derive(Deserialize)]
        struct Output {
            target_label: Scores,
        }
        #[derive(Deserialize)]
        struct Scores {
            data: Vec<f64>,
        }
        let output: Output =
            serde_json::from_str(output.get()).map_err(|error| format!("the output is not as expected: {error}"))?;
        let scores = output.target_label.data;
        if scores.len() != self.target_labels_space.len() {
            return Err(format!("{} scores for {} labels", scores.len(), self.target_labels_space.len()));
        }
        let best = scores.iter().copied().zip(&self.target_labels_space).max_by(|(a, _), (b, _)| a.total_cmp(b));
        let (confidence, label) = best.ok_or("there are no labels")?;
        let threshold = self.thresholds.get(label).copied().unwrap_or(self.medium_confidence_threshold);
        Ok(Verdict { label: label.clone(), confidence, sure: confidence >= threshold })
    }
}

/// What Python's `bytes.strip` takes for blanks.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len())..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Magika {
        Magika {
            beg_size: 4,
            end_size: 3,
            block_size: 6,
            padding_token: 256,
            medium_confidence_threshold: 0.5,
            thresholds: [("md".to_owned(), 0.9)].into(),
            target_labels_space: vec!["md".into(), "rust".into()],
        }
    }

    #[test]
    fn features_are_cut_and_padded_as_the_makers_do() {
        const P: i32 = 256;
        let rows: [(&[u8], [i32; 7]); 5] = [
            (b"", [P; 7]),
            (b"ab", [97, 98, P, P, P, 97, 98]),
            (b" \x0b\x0ca b\n\n", [97, 32, 98, P, 97, 32, 98]),
            (b"abcdefghij", [97, 98, 99, 100, 104, 105, 106]),
            // Only the first and the last block are looked at: the last six bytes are blanks.
            (b"ab        ", [97, 98, 32, 32, P, P, P]),
        ];
        for (content, expected) in rows {
            assert_eq!(small().features(content), expected, "{}", content.escape_ascii());
        }
    }

    #[test]
    fn the_best_score_names_the_label_and_the_makers_threshold_says_whether_it_is_sure() {
        let verdict = |text: &str| small().verdict(&RawValue::from_string(text.to_owned()).expect("json"));
        let rows =
            [("[0.3,0.7]", "rust", true), ("[0.3,0.4]", "rust", false), ("[0.8,0.1]", "md", false), ("[0.95,0.01]", "md", true)];
        for (scores, label, sure) in rows {
            let verdict = verdict(&format!(r#"{{"target_label":{{"shape":[1,2],"data":{scores}}}}}"#)).expect("a verdict");
            assert_eq!((verdict.label.as_str(), verdict.sure), (label, sure), "{scores}");
        }
        for bad in ["{}", r#"{"target_label":{"data":[1.0]}}"#] {
            assert!(verdict(bad).is_err(), "{bad}");
        }
    }
}
