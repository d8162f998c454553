//! `[text]`: what stands between a job's texts and a model's tensors. It decides what a valid section is and which texts fit it; it knows no
//! tokenizer: how many tokens a text has is known only where it runs.

use serde::Deserialize;

use super::{
    CheckedFile, FILE_NAME, Manifest,
    check::{RawChecked, TensorName},
};
use crate::{
    limits,
    tensor::{
        Datatype, Dim, InputProblem,
        fields::{Fields, join, join_indices, quoted},
        scan::{Bounds, scan},
    },
};

/// Bytes of UTF-8 in a token, for the size of an input: about right for English with WordPiece, and for others never far too few.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens that a tokenizer puts around a text, for the size of an input.
const TOKENS_AROUND: usize = 2;

/// `[text]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Text {
    /// The tokenizer's `tokenizer.json`. Its own padding and truncation are not used.
    pub tokenizer: CheckedFile,
    /// Most tokens of a text, those around it included; the rest of the text is cut off, and the output says so.
    pub tokens_max: usize,
    /// What fills shorter texts up.
    pub pad_id: u32,
    /// The input that takes the tokens' ids, of shape `[batch, tokens]`.
    pub ids: String,
    /// The input that takes 1 for a token and 0 for padding.
    pub mask: String,
    /// The input that takes the tokens' types, where the model has one.
    pub types: Option<String>,
    /// The output that is read.
    pub output: String,
    /// What becomes of it.
    pub task: Task,
}

/// What a text model is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A vector for each text.
    Embedding {
        /// How a text's vector comes from its tokens'.
        pooling: Pooling,
        /// Whether its length is made 1.
        normalize: bool,
    },
    /// A score for each label.
    Classification {
        /// The labels, in the order of the output's numbers.
        labels: Vec<String>,
        /// How scores come from the output's numbers.
        scores: Scores,
    },
}

/// How a text's vector comes from the vectors of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean, without padding.
    Mean,
    /// The first one.
    Cls,
    /// The largest of each number, without padding.
    Max,
    /// The output has one vector for each text already.
    None,
}

/// How scores come from the output's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scores {
    /// One label holds: the scores add up to 1.
    Softmax,
    /// Each label holds or not, whatever the others do.
    Sigmoid,
    /// They are scores already.
    None,
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    task: RawTask,
    tokenizer: RawChecked,
    tokens_max: usize,
    #[serde(default)]
    pad_id: u32,
    ids: TensorName,
    mask: TensorName,
    types: Option<TensorName>,
    output: TensorName,
    pooling: Option<Pooling>,
    normalize: Option<bool>,
    labels: Option<Vec<String>>,
    scores: Option<Scores>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawTask {
    Embedding,
    Classification,
}

impl TryFrom<Raw> for Text {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let task = match (raw.task, raw.pooling, raw.normalize, raw.labels, raw.scores) {
            (RawTask::Embedding, Some(pooling), Some(normalize), None, None) => Task::Embedding { pooling, normalize },
            (RawTask::Embedding, ..) => {
                return Err("task \"embedding\" needs pooling and normalize, and has no labels or scores".into());
            }
            (RawTask::Classification, None, None, Some(labels), Some(scores)) => Task::Classification { labels, scores },
            (RawTask::Classification, ..) => {
                return Err("task \"classification\" needs labels and scores, and has no pooling or normalize".into());
            }
        };
        Ok(Self {
            tokenizer: raw.tokenizer.into(),
            tokens_max: raw.tokens_max,
            pad_id: raw.pad_id,
            ids: raw.ids.0,
            mask: raw.mask.0,
            types: raw.types.map(|types| types.0),
            output: raw.output.0,
            task,
        })
    }
}

/// The rules between `[text]` and the rest of the manifest.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    let Some(text) = &manifest.text else { return Ok(()) };
    if text.tokenizer.path == FILE_NAME || manifest.file.iter().any(|file| file.has(&text.tokenizer.path)) {
        return Err("text.tokenizer.path: must be the tokenizer's file and no other one of the model".into());
    }
    if !(1..=limits::TEXT_TOKENS_MAX).contains(&text.tokens_max) {
        return Err(format!("text.tokens_max: must be from 1 to {}, not {}", limits::TEXT_TOKENS_MAX, text.tokens_max));
    }
    if manifest.cost.size.is_some() {
        return Err("cost.size: the size of a text model's input is always its tokens".into());
    }
    let (batch, tokens) = check_inputs(manifest, text)?;
    let Some(output) = manifest.outputs.iter().find(|spec| spec.name == text.output) else {
        return Err(format!("text.output: {} is not one of the outputs", text.output));
    };
    let wanted = match &text.task {
        Task::Embedding { pooling: Pooling::None, .. } => vec![batch, "numbers"],
        Task::Embedding { .. } => vec![batch, tokens, "numbers"],
        Task::Classification { .. } => vec![batch, "labels"],
    };
    let (last, first) = (wanted.len() - 1, &wanted[..wanted.len() - 1]);
    let fits = output.datatype == Datatype::Fp32
        && output.shape.len() == wanted.len()
        && output.shape.iter().zip(first).all(|(dim, symbol)| matches!(dim, Dim::Symbol(named) if named == symbol));
    if !fits {
        let (wanted, shape) = (wanted.join(", "), output.shape_text());
        return Err(format!("text.output: {} must be FP32 [{wanted}], not {} {shape}", output.name, output.datatype));
    }
    match &text.task {
        Task::Embedding { .. } => Ok(()),
        Task::Classification { labels, .. } => check_labels(labels, &output.shape[last]),
    }
}

/// The inputs' symbols for texts and for tokens.
fn check_inputs<'a>(manifest: &'a Manifest, text: &Text) -> Result<(&'a str, &'a str), String> {
    let named = [("ids", Some(&text.ids)), ("mask", Some(&text.mask)), ("types", text.types.as_ref())];
    let mut symbols = None;
    for spec in &manifest.inputs {
        if named.iter().filter(|(_, name)| *name == Some(&spec.name)).count() != 1 {
            return Err(format!("text: each input must be one of ids, mask and types; {} is not", spec.name));
        }
        let whole = matches!(spec.datatype, Datatype::Int64 | Datatype::Int32);
        match &spec.shape[..] {
            [Dim::Symbol(batch), Dim::Symbol(tokens)]
                if whole && batch != tokens && *symbols.get_or_insert((batch.as_str(), tokens.as_str())) == (batch, tokens) => {}
            _ => {
                return Err(format!(
                    "inputs: {} of a text model must be INT64 or INT32 of two symbols, the same for all inputs, not {} {}",
                    spec.name,
                    spec.datatype,
                    spec.shape_text()
                ));
            }
        }
    }
    for (key, name) in named.into_iter().filter_map(|(key, name)| Some((key, name?))) {
        if manifest.inputs.iter().all(|spec| spec.name != *name) {
            return Err(format!("text.{key}: {name} is not one of the inputs"));
        }
    }
    symbols.ok_or_else(|| "inputs: a text model has ids and mask".into())
}

fn check_labels(labels: &[String], dim: &Dim) -> Result<(), String> {
    if let Some(bad) = labels.iter().find(|label| label.is_empty() || label.len() > limits::NAME_BYTES_MAX) {
        return Err(format!("text.labels: a label must have 1 to {} bytes: {:?}", limits::NAME_BYTES_MAX, quoted(bad)));
    }
    if let Some((_, twice)) = labels.iter().enumerate().find(|(index, label)| labels[..*index].contains(label)) {
        return Err(format!("text.labels: {twice:?} is there twice"));
    }
    match dim {
        _ if labels.is_empty() => Err("text.labels: there are none".into()),
        Dim::Fixed(size) if *size != labels.len() => {
            Err(format!("text.labels: there are {}, the output has {size} numbers for each text", labels.len()))
        }
        _ => Ok(()),
    }
}

/// A job's input to a text model, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// At least one, at most `limits::TEXTS_MAX`.
    pub texts: Vec<String>,
    /// How many labels the caller wants of each text; all of them when absent. From 1 to the number of labels.
    pub top_k: Option<usize>,
}

impl Texts {
    /// Parses `{"texts": ["…", …]}` or `{"text": "…"}`; for a classification also `"top_k"`.
    ///
    /// # Errors
    /// Everything that is wrong; pointers are relative to the input.
    pub fn parse(json: &str, text: &Text) -> Result<Self, Vec<InputProblem>> {
        let labels = match &text.task {
            Task::Embedding { .. } => None,
            Task::Classification { labels, .. } => Some(labels.len()),
        };
        let known: &[&str] = if labels.is_some() { &["texts", "text", "top_k"] } else { &["texts", "text"] };
        let fields = Fields::parse(json, "", known.len() + 1).map_err(|problem| vec![problem])?;
        let mut problems: Vec<_> = fields
            .names()
            .filter(|name| !known.contains(name))
            .map(|name| problem(join("", name), format!("is not an input of the model; it takes {}", known.join(", "))))
            .collect();
        let texts = match (fields.get("texts"), fields.get("text")) {
            (Some(json), None) => many(json),
            (None, Some(json)) => one(json).map(|text| vec![text]).map_err(|detail| problem("/text".into(), detail)),
            (Some(_), Some(_)) => Err(problem("/text".into(), "only one of texts and text may be given".into())),
            (None, None) => Err(problem("/texts".into(), "is missing: an array of texts".into())),
        };
        let texts = texts.map_err(|found| problems.push(found)).unwrap_or_default();
        let top_k = fields.get("top_k").filter(|_| labels.is_some()).and_then(|json| {
            let labels = labels.unwrap_or_default();
            let top_k = json.parse().ok().filter(|top_k| (1..=labels).contains(top_k));
            if top_k.is_none() {
                problems
                    .push(problem("/top_k".into(), format!("must be a whole number from 1 to {labels}, not {}", quoted(json))));
            }
            top_k
        });
        if problems.is_empty() { Ok(Self { texts, top_k }) } else { Err(problems) }
    }

    /// The size that `cost.per_unit_ms` multiplies: tokens, as far as they can be told without a tokenizer.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "at most TEXTS_MAX * TEXT_TOKENS_MAX")]
    pub fn size(&self, text: &Text) -> f64 {
        let tokens = |bytes: usize| (TOKENS_AROUND + bytes.div_ceil(BYTES_PER_TOKEN)).min(text.tokens_max);
        self.texts.iter().map(|text| tokens(text.len())).sum::<usize>() as f64
    }
}

pub(super) fn check_input(manifest: &Manifest, json: &str) -> Result<f64, Vec<InputProblem>> {
    let Some(text) = &manifest.text else { return Ok(0.0) };
    Texts::parse(json, text).map(|texts| texts.size(text))
}

fn many(json: &str) -> Result<Vec<String>, InputProblem> {
    let mut texts = Vec::new();
    let bounds = Bounds { rank_max: 1, elements_max: limits::TEXTS_MAX };
    let nesting = scan(json, bounds, |element| {
        texts.push(one(element)?);
        Ok(())
    })
    .map_err(|fault| problem(join_indices("/texts", &fault.indices), fault.detail))?;
    if nesting.is_empty() || texts.is_empty() {
        return Err(problem("/texts".into(), format!("must be an array of 1 to {} texts", limits::TEXTS_MAX)));
    }
    Ok(texts)
}

fn one(json: &str) -> Result<String, String> {
    let text: String =
        serde_json::from_str(json).map_err(|_| format!("must be a string of valid Unicode, not {}", quoted(json)))?;
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(format!("has {} bytes; a text may have {}", text.len(), limits::TEXT_BYTES_MAX));
    }
    Ok(text)
}

fn problem(pointer: String, detail: String) -> InputProblem {
    InputProblem { pointer, detail }
}

#[cfg(test)]
mod tests;
