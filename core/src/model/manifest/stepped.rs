//! `[stepped]`: a loop around a model as data. It decides what a manifest can say of such a loop: where each input of the model's file comes from
//! in each run, what becomes of each output, and when it ends. It never runs anything.
//!
//! `[[inputs]]` and `[[outputs]]` declare the file, as for every runner. In each run an input gets exactly one of: a window of the caller's
//! sequence, the tokens, a value of a schedule, the state (an output of the run before), a constant, an output of the prelude; what gets none
//! of these is the caller's to give, and stays the same in every run.

mod check;
mod input;
#[cfg(test)]
mod tests;
mod until;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{CheckedFile, Manifest};
use crate::{
    limits,
    tensor::{Dim, TensorSpec},
};

pub(super) use check::check;
pub(super) use input::check_input;
pub use input::{Given, Words};
pub use until::{Feed, Mask, Prompt, Sampling, Until, Vocabulary};

/// `[stepped]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Stepped {
    /// Over what the loop goes.
    pub form: Form,
    /// `constants`: inputs that are filled with one number.
    pub constants: BTreeMap<String, f64>,
    /// `[[stepped.state]]`.
    pub state: Vec<StateSpec>,
    /// `[[stepped.collect]]`: what becomes of outputs; empty for `Form::Until`, whose output is tokens.
    pub collect: Vec<Collect>,
    /// `emit`: after how many runs a piece of output is reported; never without it.
    pub emit: Option<u64>,
    /// `[stepped.prelude]`.
    pub prelude: Option<Prelude>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    chunks: Option<Chunks>,
    count: Option<Count>,
    until: Option<Until>,
    #[serde(default)]
    constants: BTreeMap<String, f64>,
    #[serde(default)]
    state: Vec<StateSpec>,
    #[serde(default)]
    collect: Vec<Collect>,
    emit: Option<u64>,
    prelude: Option<Prelude>,
}

impl TryFrom<Raw> for Stepped {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let form = match (raw.chunks, raw.count, raw.until) {
            (Some(chunks), None, None) => Form::Chunks(chunks),
            (None, Some(count), None) => Form::Count(count),
            (None, None, Some(until)) => Form::Until(Box::new(until)),
            _ => return Err("stepped: must have exactly one of chunks, count and until"),
        };
        Ok(Self { form, constants: raw.constants, state: raw.state, collect: raw.collect, emit: raw.emit, prelude: raw.prelude })
    }
}

/// Over what a loop goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Over windows of the caller's sequence.
    Chunks(Chunks),
    /// For a number of steps.
    Count(Count),
    /// Token after token, until a stop token or the most tokens.
    Until(Box<Until>),
}

/// `[stepped.chunks]`: each run takes a window of a sequence that the caller gives whole. Run `k` takes what begins at `k * hop - front`; outside of
/// the sequence are zeros. The last run is the last whose `k * hop` lies in the sequence.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunks {
    /// The input that takes the window.
    pub input: String,
    /// Along which axis; the window is as long as `[[inputs]]` says of it.
    pub axis: usize,
    /// How much further each window begins.
    pub hop: usize,
    /// How much of the first window lies in front of the sequence.
    #[serde(default)]
    pub front: usize,
}

/// `[stepped.count]`: as many runs as the caller asks for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// How many without the caller's word.
    pub steps: u64,
    /// How many the caller may ask for.
    pub steps_max: u64,
    /// Inputs that get another number in each run.
    #[serde(default)]
    pub schedule: Vec<Schedule>,
}

/// `[[stepped.count.schedule]]`: numbers that fall (or rise) from `from` in the first run to `to` in the last one, evenly in their `rho`th
/// root: 1 is a straight line, 7 what diffusion models mostly use (Karras et al. 2022, equation 5).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The input that is filled with the number.
    pub input: String,
    /// The first number.
    pub from: f64,
    /// The last number.
    pub to: f64,
    /// How the curve bends.
    #[serde(default = "one")]
    pub rho: f64,
}

fn one() -> f64 {
    1.0
}

impl Schedule {
    /// The number of run `index` of `steps`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "both are at most limits::STEPS_MAX")]
    pub fn value(&self, index: u64, steps: u64) -> f64 {
        if index == 0 {
            return self.from;
        }
        let root = |number: f64| number.powf(self.rho.recip());
        let part = index as f64 / (steps.max(2) - 1) as f64;
        (root(self.from) + part * (root(self.to) - root(self.from))).powf(self.rho)
    }
}

/// `[[stepped.state]]`: an output that is an input of the next run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpec {
    /// The input that takes it.
    pub input: String,
    /// The output that gives it.
    pub output: String,
    /// What it is filled with before the first run, unless the prelude gives it.
    #[serde(default)]
    pub initial: f64,
    /// An axis along which it grows from nothing with each run.
    pub grows: Option<usize>,
    /// A schedule: before each run, normally distributed noise times its number is added. The caller's seed decides the noise.
    pub noise: Option<String>,
}

/// `[[stepped.collect]]`: what becomes of an output.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collect {
    /// The output.
    pub output: String,
    /// The axis along which all runs' tensors are joined; without it the last run's is the result.
    pub along: Option<usize>,
    /// How much is cut off from either end of each run's, where windows overlap.
    #[serde(default)]
    pub trim: usize,
    /// `[n, m]`: for `m` places of the sequence there are `n` of the result; what is more is cut off its end.
    pub rate: Option<[u64; 2]>,
}

/// `[stepped.prelude]`: another ONNX file, run once before the loop. It must hold all of its data.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prelude {
    /// The file.
    pub file: CheckedFile,
    /// Its inputs; what is not the prompt's or its mask's is the caller's to give.
    pub inputs: Vec<TensorSpec>,
    /// Its outputs.
    pub outputs: Vec<TensorSpec>,
    /// Which input of the loop each output becomes: a constant, or the first state.
    pub gives: BTreeMap<String, String>,
}

/// Where an input of the loop comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// A window of the caller's sequence.
    Window,
    /// The tokens.
    Tokens,
    /// A schedule.
    Schedule,
    /// The state.
    State,
    /// A constant of this number.
    Constant(f64),
    /// The prelude.
    Prelude,
    /// The caller.
    Caller,
}

impl Stepped {
    /// Where the loop's input of that name comes from.
    #[must_use]
    pub fn source(&self, input: &str) -> Source {
        self.sources(input).next().unwrap_or(Source::Caller)
    }

    /// Every place that names the input as its own. A state may begin with what the prelude gives: that counts once.
    fn sources(&self, input: &str) -> impl Iterator<Item = Source> {
        let (of_form, schedules) = match &self.form {
            Form::Chunks(chunks) => ((chunks.input == input).then_some(Source::Window), &[][..]),
            Form::Count(count) => (None, count.schedule.as_slice()),
            Form::Until(until) => ((until.tokens == input).then_some(Source::Tokens), &[][..]),
        };
        let scheduled = schedules.iter().filter(move |schedule| schedule.input == input).map(|_| Source::Schedule);
        let state = self.state.iter().filter(move |state| state.input == input).map(|_| Source::State);
        let constant = self.constants.get(input).map(|&number| Source::Constant(number));
        let from_prelude = self.is_given(input) && self.state.iter().all(|state| state.input != input);
        of_form.into_iter().chain(scheduled).chain(state).chain(constant).chain(from_prelude.then_some(Source::Prelude))
    }

    /// Whether the prelude gives the loop's input of that name.
    #[must_use]
    pub fn is_given(&self, input: &str) -> bool {
        self.prelude.as_ref().is_some_and(|prelude| prelude.gives.values().any(|given| given == input))
    }

    /// The prelude's input that takes the prompt.
    #[must_use]
    pub fn prompted(&self) -> Option<&TensorSpec> {
        let Form::Until(until) = &self.form else { return None };
        let prompt = until.prompt.as_ref()?;
        self.prelude.as_ref()?.inputs.iter().find(|spec| spec.name == prompt.input)
    }

    /// Files besides the model's own.
    pub fn files(&self) -> impl Iterator<Item = &CheckedFile> {
        let vocabulary = match &self.form {
            Form::Until(until) => match &until.vocabulary {
                Some(Vocabulary::Characters { file, .. }) => Some(file),
                _ => None,
            },
            _ => None,
        };
        self.prelude.iter().map(|prelude| &prelude.file).chain(vocabulary)
    }
}

/// The tensors that the caller gives. Of the sequence, the dimension along its axis is any size.
#[must_use]
pub fn caller_specs(manifest: &Manifest, stepped: &Stepped) -> Vec<TensorSpec> {
    let mut specs = Vec::new();
    for spec in &manifest.inputs {
        match (stepped.source(&spec.name), &stepped.form) {
            (Source::Caller, _) => specs.push(spec.clone()),
            (Source::Window, Form::Chunks(chunks)) => {
                let mut spec = spec.clone();
                if let Some(dim) = spec.shape.get_mut(chunks.axis) {
                    // No symbol of a manifest can be this one.
                    *dim = Dim::Symbol("*".into());
                }
                specs.push(spec);
            }
            _ => {}
        }
    }
    let prompt = match &stepped.form {
        Form::Until(until) => until.prompt.as_ref(),
        _ => None,
    };
    let is_prompts = |name: &str| {
        prompt.is_some_and(|prompt| prompt.input == name || prompt.mask.as_ref().is_some_and(|mask| mask.input == name))
    };
    for spec in stepped.prelude.iter().flat_map(|prelude| &prelude.inputs) {
        if !is_prompts(&spec.name) && !specs.contains(spec) {
            specs.push(spec.clone());
        }
    }
    specs
}

/// What symbols stand for in one job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols(BTreeMap<String, usize>);

impl Symbols {
    /// Notes what each symbol of `spec` is in a tensor of that shape.
    ///
    /// # Errors
    /// When a symbol is another size already; the text is for the caller.
    pub fn note(&mut self, spec: &TensorSpec, shape: &[usize]) -> Result<(), String> {
        for (dim, &size) in spec.shape.iter().zip(shape) {
            let Dim::Symbol(symbol) = dim else { continue };
            let known = *self.0.entry(symbol.clone()).or_insert(size);
            if known != size {
                return Err(format!("{symbol} is {size} in {} and {known} elsewhere", spec.name));
            }
        }
        Ok(())
    }

    /// The shape of `spec`, with 0 along the axis that grows; `None` when a symbol is not known or there are too many elements.
    #[must_use]
    pub fn shape(&self, spec: &TensorSpec, grows: Option<usize>) -> Option<Vec<usize>> {
        let size = |(axis, dim): (usize, &Dim)| match dim {
            _ if grows == Some(axis) => Some(0),
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(symbol) => self.0.get(symbol).copied(),
        };
        let shape: Vec<usize> = spec.shape.iter().enumerate().map(size).collect::<Option<_>>()?;
        let elements = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
        (elements <= limits::TENSOR_ELEMENTS_MAX).then_some(shape)
    }
}
