//! Between text and tokens, where a manifest says how. It decides what a prompt's characters become and how much of the tokens so far is
//! whole text; it knows no language.

use std::collections::HashMap;

use siding_core::{
    limits,
    model::{manifest::stepped, repository::Model},
};

use crate::runtime::onnx::files;

/// A vocabulary that was read.
#[derive(Debug)]
pub(super) enum Vocabulary {
    Bytes,
    Characters { texts: Vec<String>, ids: HashMap<char, u32>, unknown: u32 },
}

impl Vocabulary {
    /// Reads what the manifest names. The error is for the operator.
    pub(super) fn read(model: &Model, vocabulary: &stepped::Vocabulary) -> Result<Self, String> {
        let (file, unknown) = match vocabulary {
            stepped::Vocabulary::Bytes => return Ok(Self::Bytes),
            stepped::Vocabulary::Characters { file, unknown } => (file, *unknown),
        };
        let bytes = files::read_one(model, file)?;
        if bytes.len() > limits::VOCABULARY_BYTES_MAX {
            return Err(format!("{} has {} bytes; at most {} are allowed", file.path, bytes.len(), limits::VOCABULARY_BYTES_MAX));
        }
        let wrong = |_| format!("{} must be a JSON array of texts, or an object with one under `tokens`", file.path);
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrong)?;
        let array = value.get_mut("tokens").map(serde_json::Value::take).unwrap_or(value);
        let texts: Vec<String> = serde_json::from_value(array).map_err(wrong)?;
        let mut ids = HashMap::new();
        for (id, text) in (0..).zip(&texts) {
            let mut characters = text.chars();
            if let (Some(character), None) = (characters.next(), characters.next()) {
                ids.entry(character).or_insert(id);
            }
        }
        Ok(Self::Characters { texts, ids, unknown })
    }

    /// A prompt's tokens.
    pub(super) fn tokens(&self, text: &str) -> Vec<u32> {
        match self {
            Self::Bytes => text.bytes().map(u32::from).collect(),
            Self::Characters { ids, unknown, .. } => {
                text.chars().map(|character| ids.get(&character).copied().unwrap_or(*unknown)).collect()
            }
        }
    }

    /// The text of tokens. What is no text is shown as U+FFFD.
    pub(super) fn text(&self, tokens: &[u32]) -> String {
        match self {
            Self::Bytes => String::from_utf8_lossy(&bytes(tokens)).into_owned(),
            Self::Characters { texts, .. } => {
                let text = |&id: &u32| usize::try_from(id).ok().and_then(|id| texts.get(id)).map_or("\u{fffd}", String::as_str);
                tokens.iter().map(text).collect()
            }
        }
    }

    /// How many of the tokens make whole characters: a piece of output ends there, so that all pieces together are the text.
    pub(super) fn whole(&self, tokens: &[u32]) -> usize {
        match self {
            Self::Bytes => match std::str::from_utf8(&bytes(tokens)) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                // What is wrong in the middle does not become right by waiting; only the end can.
                Err(_) => tokens.len() - bytes(tokens).utf8_chunks().last().map_or(0, |last| unfinished(last.invalid())),
                Ok(_) => tokens.len(),
            },
            Self::Characters { .. } => tokens.len(),
        }
    }
}

/// The bytes; a token that is none becomes one that is no UTF-8.
fn bytes(tokens: &[u32]) -> Vec<u8> {
    tokens.iter().map(|&id| u8::try_from(id).unwrap_or(u8::MAX)).collect()
}

/// The length of an end that more bytes could make whole.
fn unfinished(end: &[u8]) -> usize {
    match std::str::from_utf8(end) {
        Err(error) if error.error_len().is_none() => end.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters() -> Vocabulary {
        let texts = ["<unknown>", "a", "b", "ab"].map(str::to_owned).to_vec();
        Vocabulary::Characters { texts, ids: HashMap::from([('a', 1), ('b', 2)]), unknown: 0 }
    }

    #[test]
    fn text_becomes_tokens_and_tokens_become_text() {
        let rows: [(Vocabulary, &str, &[u32], &str); 3] = [
            (Vocabulary::Bytes, "hé", &[104, 0xc3, 0xa9], "hé"),
            (letters(), "bac", &[2, 1, 0], "ba<unknown>"),
            (letters(), "", &[], ""),
        ];
        for (vocabulary, text, tokens, back) in rows {
            assert_eq!(vocabulary.tokens(text), tokens, "{text}");
            assert_eq!(vocabulary.text(tokens), back, "{text}");
        }
        assert_eq!(letters().text(&[3, 9]), "ab\u{fffd}");
        assert_eq!(Vocabulary::Bytes.text(&[300]), "\u{fffd}");
    }

    #[test]
    fn a_piece_ends_between_two_characters() {
        let rows: [(&[u32], usize); 6] = [
            (&[104, 105], 2),
            (&[104, 0xc3], 1),
            (&[0xe2, 0x82], 0),
            (&[0xe2, 0x82, 0xac], 3),
            (&[0xff, 104, 0xc3], 2),
            (&[0xff, 104], 2),
        ];
        for (tokens, whole) in rows {
            assert_eq!(Vocabulary::Bytes.whole(tokens), whole, "{tokens:?}");
        }
        assert_eq!(letters().whole(&[1, 2]), 2);
    }
}
