//! The input of a stepped model: the caller's tensors, words and wishes. It decides what fits and how many runs that will be at most.

use super::{Form, Manifest, Sampling, Stepped, Until, Vocabulary, caller_specs};
use crate::{
    limits,
    tensor::{
        InputProblem, Tensors,
        fields::{Fields, join, join_indices, quoted},
        parse_fields,
    },
};

/// A prompt as the caller gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// `text`.
    Text(String),
    /// `tokens`.
    Tokens(Vec<u32>),
}

/// A job's input that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The caller's tensors by name.
    pub tensors: Tensors,
    /// The prompt; set exactly where the manifest has one.
    pub words: Option<Words>,
    /// How many runs there are, at most for `Form::Until`.
    pub steps: u64,
    /// What all draws depend on.
    pub seed: u64,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// The fields of an input that are no tensors. No tensor of a manifest may have such a name.
pub(super) const WISHES: [&str; 8] = ["steps", "seed", "tokens_max", "temperature", "top_k", "top_p", "text", "tokens"];

pub(in super::super) fn check_input(manifest: &Manifest, json: &str) -> Result<f64, Vec<InputProblem>> {
    #[expect(clippy::cast_precision_loss, reason = "at most limits::STEPS_MAX")]
    let size = |given: Given| given.steps as f64;
    manifest.parse_stepped(json).map(size)
}

impl Manifest {
    /// Parses a job's input for a stepped model.
    ///
    /// # Errors
    /// Everything that is wrong; pointers are relative to the input. Always an error for another runner.
    pub fn parse_stepped(&self, json: &str) -> Result<Given, Vec<InputProblem>> {
        let Some(stepped) = &self.stepped else {
            let detail = format!("a {} model makes no steps", self.runner);
            return Err(vec![InputProblem { pointer: String::new(), detail }]);
        };
        let fields = Fields::parse(json, "", limits::TENSORS_MAX + WISHES.len()).map_err(|problem| vec![problem])?;
        let wishes = Wishes { fields: &fields };
        let mut problems = Vec::new();
        let tensors = parse_fields(&fields, &caller_specs(self, stepped), known(stepped)).unwrap_or_else(|found| {
            problems.extend(found);
            Tensors::new()
        });
        let given = match &stepped.form {
            Form::Chunks(chunks) => {
                let length = tensors.get(&chunks.input).map_or(0, |tensor| tensor.shape()[chunks.axis]);
                let steps = length.div_ceil(chunks.hop) as u64;
                if steps > limits::STEPS_MAX {
                    let detail = format!("has {steps} chunks; at most {} are allowed", limits::STEPS_MAX);
                    problems.push(InputProblem { pointer: join("", &chunks.input), detail });
                }
                Ok(Given { tensors, words: None, steps, seed: 0, sampling: Sampling::default() })
            }
            Form::Count(count) => wishes.count(count.steps, count.steps_max, tensors),
            Form::Until(until) => wishes.until(until, tensors),
        };
        match given {
            Ok(given) if problems.is_empty() => Ok(given),
            Ok(_) => Err(problems),
            Err(problem) => Err(problems.into_iter().chain([problem]).collect()),
        }
    }
}

/// The wishes that an input may have.
fn known(stepped: &Stepped) -> &'static [&'static str] {
    match &stepped.form {
        Form::Chunks(_) => &[],
        Form::Count(_) => &WISHES[..2],
        Form::Until(until) => match (&until.prompt, &until.vocabulary) {
            (None, _) => &WISHES[1..6],
            (Some(_), None) => &["seed", "tokens_max", "temperature", "top_k", "top_p", "tokens"],
            (Some(_), Some(_)) => &WISHES[1..],
        },
    }
}

struct Wishes<'a> {
    fields: &'a Fields<'a>,
}

fn problem(field: &str, detail: String) -> InputProblem {
    InputProblem { pointer: join("", field), detail }
}

impl Wishes<'_> {
    fn count(&self, steps: u64, steps_max: u64, tensors: Tensors) -> Result<Given, InputProblem> {
        let steps = self.whole("steps", 1, steps_max)?.unwrap_or(steps);
        Ok(Given { tensors, words: None, steps, seed: self.seed()?, sampling: Sampling::default() })
    }

    fn until(&self, until: &Until, tensors: Tensors) -> Result<Given, InputProblem> {
        let default = until.sampling;
        let sampling = Sampling {
            temperature: self.number("temperature", 0.0, limits::TEMPERATURE_MAX)?.unwrap_or(default.temperature),
            top_k: self.whole("top_k", 0, u64::from(u32::MAX))?.unwrap_or(default.top_k),
            top_p: self.number("top_p", f64::MIN_POSITIVE, 1.0)?.unwrap_or(default.top_p),
        };
        let steps = self.whole("tokens_max", 1, until.tokens_max)?.unwrap_or(until.tokens_max);
        Ok(Given { tensors, words: self.words(until)?, steps, seed: self.seed()?, sampling })
    }

    fn seed(&self) -> Result<u64, InputProblem> {
        // Larger whole numbers lose their last digits in many a caller's JSON.
        self.whole("seed", 0, (1 << 53) - 1).map(Option::unwrap_or_default)
    }

    fn words(&self, until: &Until) -> Result<Option<Words>, InputProblem> {
        let Some(prompt) = &until.prompt else { return Ok(None) };
        // A run needs a token: where the manifest puts none around the prompt, it must not be empty.
        let bare =
            prompt.before.is_empty() && prompt.after.is_empty() && (until.start.is_empty() || prompt.input != until.tokens);
        let fits = |field: &str, length: usize| {
            let (min, max) = (usize::from(bare), prompt.tokens_max);
            let wrong = || problem(field, format!("must have {min} to {max} tokens, not {length}"));
            if (min..=max).contains(&length) { Ok(()) } else { Err(wrong()) }
        };
        match (self.fields.get("text"), self.fields.get("tokens")) {
            (Some(text), None) => {
                let wrong = |_| problem("text", format!("must be a string, not {}", quoted(text)));
                let text: String = serde_json::from_str(text).map_err(wrong)?;
                let bytes = matches!(until.vocabulary, Some(Vocabulary::Bytes));
                fits("text", if bytes { text.len() } else { text.chars().count() })?;
                Ok(Some(Words::Text(text)))
            }
            (None, Some(text)) => {
                let wrong = |_| problem("tokens", format!("must be an array of token ids, not {}", quoted(text)));
                let tokens: Vec<u32> = serde_json::from_str(text).map_err(wrong)?;
                fits("tokens", tokens.len())?;
                if let (Some(Vocabulary::Bytes), Some(index)) = (&until.vocabulary, tokens.iter().position(|&id| id > 255)) {
                    let detail = format!("must be a byte, not {}", tokens[index]);
                    return Err(InputProblem { pointer: join_indices("/tokens", &[index]), detail });
                }
                Ok(Some(Words::Tokens(tokens)))
            }
            (None, None) if until.vocabulary.is_some() => Err(problem("text", "is missing: a string, or tokens".into())),
            (None, None) => Err(problem("tokens", "is missing: an array of token ids".into())),
            (Some(_), Some(_)) => Err(problem("tokens", "must not be given beside text".into())),
        }
    }

    fn whole(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, InputProblem> {
        let Some(text) = self.fields.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        let wrong = || problem(name, format!("must be a whole number from {min} to {max}, not {}", quoted(text)));
        number.ok_or_else(wrong).map(Some)
    }

    fn number(&self, name: &str, min: f64, max: f64) -> Result<Option<f64>, InputProblem> {
        let Some(text) = self.fields.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        let from = if min == f64::MIN_POSITIVE { "above 0 and at most" } else { "from 0 to" };
        number.ok_or_else(|| problem(name, format!("must be a number {from} {max}, not {}", quoted(text)))).map(Some)
    }
}
