//! `[stepped.until]`: token after token as data. It decides what a manifest can say of prompts, choice and end; it never chooses a token.

use serde::Deserialize;

use super::CheckedFile;

/// `[stepped.until]`: each run gives a token, until a stop token or the most tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// The input that takes token ids: whole numbers, `[1, n]`.
    pub tokens: String,
    /// Which of them.
    pub feed: Feed,
    /// The output with a number for each token of the vocabulary; only those of the last position count.
    pub logits: String,
    /// The tokens that all begins with.
    #[serde(default)]
    pub start: Vec<u32>,
    /// The tokens that end it; they are no part of the output.
    pub stop: Vec<u32>,
    /// Tokens that are never given.
    #[serde(default)]
    pub never: Vec<u32>,
    /// How many tokens there must be before a stop token may come.
    #[serde(default)]
    pub tokens_min: u64,
    /// Most tokens of an output, also the caller's limit.
    pub tokens_max: u64,
    /// How a token is chosen without the caller's word.
    #[serde(default)]
    pub sampling: Sampling,
    /// `[stepped.until.prompt]`: the caller's words.
    pub prompt: Option<Prompt>,
    /// `[stepped.until.vocabulary]`: between text and tokens; without it there are only tokens.
    pub vocabulary: Option<Vocabulary>,
}

/// Which tokens a run is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feed {
    /// All so far.
    All,
    /// Those that it was not given yet: the model keeps the rest in its state.
    New,
}

/// `[stepped.until.prompt]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The input that takes it: the prelude's when it has one of that name, else the one of `until.tokens`, where it follows `start`.
    pub input: String,
    /// Tokens in front of it.
    #[serde(default)]
    pub before: Vec<u32>,
    /// Tokens behind it.
    #[serde(default)]
    pub after: Vec<u32>,
    /// Most tokens of it, without those around it.
    pub tokens_max: usize,
    /// An input of the prelude that is as long as the prompt and filled with one number.
    pub mask: Option<Mask>,
}

/// `[stepped.until.prompt.mask]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Its name.
    pub input: String,
    /// What it is filled with.
    pub value: f64,
}

/// `[stepped.until.vocabulary]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Vocabulary {
    /// A token is a byte of UTF-8 text.
    Bytes,
    /// A token is a text of its own; of a prompt, each character is one.
    Characters {
        /// JSON: an array of texts, or an object with such an array under `tokens`. A token's id is its place.
        file: CheckedFile,
        /// The token of a character that is none of them.
        unknown: u32,
    },
}

/// How a token is chosen. The defaults take the most likely one.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// How even the chances become; 0 takes the most likely token and draws nothing.
    pub temperature: f64,
    /// Only so many of the most likely tokens; 0 is all of them.
    pub top_k: u64,
    /// Only the most likely tokens that together reach this part of all chances; 1 is all of them.
    pub top_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0 }
    }
}
