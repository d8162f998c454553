//! `tokenizer.json`: texts to the numbers that a model takes. It decides what of the file is used (not its padding and truncation: both are
//! the manifest's) and that a file that is no tokenizer is an error, also where the library would panic; nothing is fetched by it, ever.

use std::panic::{AssertUnwindSafe, catch_unwind};

use siding_core::model::manifest::text::Text;
use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

/// Longest piece of the library's own words in an error, in characters: it may repeat the file.
const SAID_CHARS_MAX: usize = 200;
/// A text that any tokenizer must be able to read.
const PROBE: &str = "The quick brown fox, 42 times.";

/// A tokenizer set up for one model.
#[derive(Debug)]
pub(super) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    tokens_max: usize,
}

/// One text in the model's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    /// At most `tokens_max`.
    pub(super) ids: Vec<u32>,
    /// As many.
    pub(super) types: Vec<u32>,
    /// Whether the end of the text was cut off.
    pub(super) truncated: bool,
}

impl Tokenizer {
    /// Reads the file's bytes. The error says what is wrong with the file, or with the manifest's section for it.
    pub(super) fn new(bytes: &[u8], text: &Text) -> Result<Self, String> {
        // The library trusts its file in places: an index into the vocabulary that is not there is a panic.
        catch_unwind(AssertUnwindSafe(|| read(bytes, text))).unwrap_or_else(|_| Err("is damaged: reading it fails".into()))
    }

    /// One text in numbers, the tokens around it included.
    pub(super) fn encode(&self, text: &str) -> Result<Encoded, String> {
        // Without offsets into the text: nobody asks for them.
        let encoding = self.inner.encode_fast(text, true).map_err(|error| said(&*error))?;
        let cut = |numbers: &[u32]| numbers[..numbers.len().min(self.tokens_max)].to_vec();
        let ids = cut(encoding.get_ids());
        let truncated = encoding.get_ids().len() > ids.len() || !encoding.get_overflowing().is_empty();
        Ok(Encoded { ids, types: cut(encoding.get_type_ids()), truncated })
    }
}

fn read(bytes: &[u8], text: &Text) -> Result<Tokenizer, String> {
    let mut tokenizer =
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| format!("is no tokenizer: {}", said(&*error)))?;
    if let Some(of_file) = tokenizer.get_padding().map(|padding| padding.pad_id).filter(|id| *id != text.pad_id) {
        return Err(format!("pads with {of_file}; text.pad_id says {}", text.pad_id));
    }
    let around = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    if around >= text.tokens_max {
        return Err(format!("puts {around} tokens around a text; text.tokens_max of {} leaves no room for it", text.tokens_max));
    }
    // Padding is done where it is known what runs together. Files often have a fixed one, of 128 and more.
    tokenizer.with_padding(None);
    // The library reads on until it has `max_length` tokens and then tells what it has cut off for those around the text. Where there are
    // none it would not see that there was more: it reads one more, and we cut it off.
    let truncation = TruncationParams {
        direction: TruncationDirection::Right,
        max_length: text.tokens_max + usize::from(around == 0),
        strategy: TruncationStrategy::LongestFirst,
        stride: 0,
    };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| said(&*error))?;
    let tokenizer = Tokenizer { inner: tokenizer, tokens_max: text.tokens_max };
    let probe = tokenizer.encode(PROBE)?;
    if probe.ids.len() != probe.types.len() {
        return Err("is damaged: it does not give as many tokens as it should".into());
    }
    // Ids go to the model as 32 bits with a sign, where it takes them so.
    match tokenizer.inner.get_vocab(true).values().max() {
        Some(id) if i32::try_from(*id).is_err() => Err(format!("has the id {id}, which is too large")),
        Some(_) => Ok(tokenizer),
        None => Err("has no vocabulary".into()),
    }
}

fn said(error: &dyn std::error::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID_CHARS_MAX).collect()
}
