//! One job's loop: the prelude once, then run after run, bundled into steps. It decides what a run is fed, what becomes of what it gives and
//! when the loop ends; a run that fails or is stopped changes nothing, so that what is saved behind it is the state before it.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use ort::{
    session::{SessionInputValue, SessionOutputs},
    value::DynValue,
};
use serde_json::json;
use siding_core::{
    limits,
    model::manifest::stepped::{Chunks, Count, Feed, Form, Prelude, Sampling, StateSpec, Stepped, Symbols, Until},
    tensor::{Datatype, Dim, Tensor, TensorData, TensorSpec, Tensors},
};

use super::{
    Shared,
    collected::{self, Collected},
    filled, ids, sample, saved,
};
use crate::runtime::{
    Computation, Progress, RunControl, RunError, RunReport, State, Step,
    onnx::{
        engine::{Held, Inputs},
        said, values,
    },
};

/// One job's loop between two runs.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    /// How many runs there are, at most for the form until.
    pub(super) steps: u64,
    pub(super) seed: u64,
    pub(super) sampling: Sampling,
    /// What the prelude is given of the prompt.
    pub(super) prompt: Vec<u32>,
    /// The tokens that the loop begins with.
    pub(super) lead: Vec<u32>,
    pub(super) symbols: Symbols,
    /// Whether the prelude has run, in this computation.
    pub(super) is_ready: bool,
    /// What the windows are cut from.
    pub(super) sequence: Option<Tensor>,
    /// The caller's tensors for the prelude.
    pub(super) to_prelude: Tensors,
    /// Inputs that are the same in every run.
    pub(super) fixed: Vec<(String, DynValue)>,
    /// In the manifest's order; `None` until the prelude has given it. They stay the runtime's own between runs.
    pub(super) state: Vec<Option<DynValue>>,
    /// The shapes by which the engine knows whether the next run looks like this one. A state that grows is none of them: its memory
    /// would be asked for anew in each run.
    pub(super) shapes: Vec<Vec<usize>>,
    /// Runs done.
    pub(super) runs: u64,
    /// Tokens given.
    pub(super) tokens: Vec<u32>,
    /// Tokens that were reported in pieces.
    pub(super) told: usize,
    /// Whether a stop token has come.
    pub(super) ended: bool,
    pub(super) collected: Vec<Collected>,
}

/// What one run gave.
struct Gave {
    state: Vec<DynValue>,
    collected: Tensors,
    logits: Vec<f32>,
}

impl Computation for Job {
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError> {
        let began = Instant::now();
        let bundle = Duration::from_millis(self.shared.step_ms);
        if !self.is_ready {
            self.prelude(control)?;
        }
        let engine = self.shared.engine.clone();
        engine.hold(self.shapes.clone(), control, |held| {
            while !self.is_over() {
                if control.is_stopped() {
                    return Err(RunError::Stopped);
                }
                self.run(held)?;
                self.tell(control)?;
                if began.elapsed() >= bundle && !self.is_over() {
                    return Ok(Step::More(self.progress()));
                }
            }
            self.output().map(Step::Done)
        })
    }

    fn save(&self) -> Option<State> {
        saved::save(self)
    }
}

impl Job {
    fn is_over(&self) -> bool {
        self.ended || self.runs >= self.steps
    }

    fn progress(&self) -> Progress {
        // A stop token may come at any time: how many there will be is not known.
        let total = (!matches!(self.shared.stepped.form, Form::Until(_))).then_some(self.steps);
        Progress { done: self.runs, total }
    }

    /// Runs the prelude, where there is one. Behind a checkpoint it runs again, and gives the same; only the first state is not taken from it.
    fn prelude(&mut self, control: &RunControl) -> Result<(), RunError> {
        let shared = self.shared.clone();
        let (Some(prelude), Some(engine)) = (&shared.stepped.prelude, &shared.prelude) else {
            self.is_ready = true;
            return Ok(());
        };
        let mut tensors = Vec::new();
        for spec in &prelude.inputs {
            tensors.push((spec.name.clone(), self.for_prelude(spec)?));
        }
        let shapes: Vec<_> = tensors.iter().map(|(_, tensor)| tensor.shape().to_vec()).collect();
        self.shapes.extend(shapes.iter().cloned());
        let mut inputs = Inputs::new();
        for (name, tensor) in tensors {
            inputs.push((name, values::input(tensor).map_err(|error| RunError::BadInput(said(&error)))?.into()));
        }
        let given = engine.run(inputs, shapes, control, |mut outputs| take_all(&mut outputs, prelude))?;
        for (input, value) in given {
            let spec = shared.manifest.inputs.iter().find(|spec| spec.name == input);
            let shape = spec.map_or_else(|| Err("is no input".into()), |spec| values::shape(&value, spec));
            shape.map_err(|why| RunError::Failed(format!("what the prelude gives for {input} {why}")))?;
            match shared.stepped.state.iter().position(|state| state.input == input) {
                Some(index) if self.state[index].is_none() => self.state[index] = Some(value),
                Some(_) => {}
                None => self.fixed.push((input, value)),
            }
        }
        self.is_ready = true;
        Ok(())
    }

    fn for_prelude(&self, spec: &TensorSpec) -> Result<Tensor, RunError> {
        if let Form::Until(until) = &self.shared.stepped.form
            && let Some(prompt) = &until.prompt
        {
            if prompt.input == spec.name {
                return ids(spec, &self.prompt);
            }
            if let Some(mask) = prompt.mask.as_ref().filter(|mask| mask.input == spec.name) {
                let filled = Tensor::filled(spec.datatype, &[1, self.prompt.len()], mask.value);
                return filled.map_err(|error| RunError::Failed(error.to_string()));
            }
        }
        self.to_prelude.get(&spec.name).cloned().ok_or_else(|| RunError::Failed(format!("nothing gives {}", spec.name)))
    }

    /// What the first run is given.
    pub(super) fn first(mut self) -> Result<Vec<(String, DynValue)>, RunError> {
        self.prelude(&RunControl::new(drop))?;
        let shared = self.shared.clone();
        let noisy = self.noisy()?;
        let fed = self.fed(&shared.stepped)?.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut inputs: Vec<_> = mem::take(&mut self.fixed).into_iter().chain(fed).collect();
        for ((spec, state), noisy) in shared.stepped.state.iter().zip(mem::take(&mut self.state)).zip(noisy) {
            inputs.extend(noisy.or(state).map(|value| (spec.input.clone(), value)));
        }
        Ok(inputs)
    }

    /// Makes one run and takes over what it gave.
    fn run(&mut self, held: &mut Held<'_>) -> Result<(), RunError> {
        let shared = self.shared.clone();
        let fed = self.fed(&shared.stepped)?;
        let noisy = self.noisy()?;
        let fixed = self.fixed.iter().map(|(name, value)| (name.as_str(), SessionInputValue::from(value)));
        let mut inputs: Vec<_> = fixed.collect();
        for ((spec, state), noisy) in shared.stepped.state.iter().zip(&self.state).zip(&noisy) {
            let value = noisy.as_ref().or(state.as_ref());
            let value = value.ok_or_else(|| RunError::Failed(format!("the prelude gave no {}", spec.input)))?;
            inputs.push((spec.input.as_str(), value.into()));
        }
        inputs.extend(fed.iter().map(|(name, value)| (*name, value.into())));
        let gave = held.run(inputs, |mut outputs| self.gave(&mut outputs))?;
        let token = match &shared.stepped.form {
            Form::Until(until) => Some(self.chosen(until, &gave.logits)?),
            Form::Chunks(_) | Form::Count(_) => None,
        };
        for ((_, tensor), collected) in gave.collected.into_iter().zip(&mut self.collected) {
            collected.take(tensor)?;
        }
        self.state = gave.state.into_iter().map(Some).collect();
        self.runs += 1;
        if let (Some(token), Form::Until(until)) = (token, &shared.stepped.form) {
            self.ended = until.stop.contains(&token);
            if !self.ended {
                self.tokens.push(token);
            }
        }
        Ok(())
    }

    /// What this run gets that no other one does.
    fn fed<'a>(&self, stepped: &'a Stepped) -> Result<Vec<(&'a str, DynValue)>, RunError> {
        let value = |tensor| values::input(tensor).map_err(|error| RunError::Failed(said(&error)));
        match &stepped.form {
            Form::Chunks(chunks) => Ok(vec![(chunks.input.as_str(), value(self.window(chunks)?)?)]),
            Form::Count(count) => self.scheduled(count),
            Form::Until(until) => {
                let tokens = match (until.feed, self.tokens.last()) {
                    (Feed::New, Some(&last)) => vec![last],
                    (Feed::All | Feed::New, _) => [&self.lead[..], &self.tokens].concat(),
                };
                Ok(vec![(until.tokens.as_str(), value(ids(self.spec(&until.tokens)?, &tokens)?)?)])
            }
        }
    }

    fn spec(&self, input: &str) -> Result<&TensorSpec, RunError> {
        let found = self.shared.manifest.inputs.iter().find(|spec| spec.name == input);
        found.ok_or_else(|| RunError::Failed(format!("{input} is no input")))
    }

    fn window(&self, chunks: &Chunks) -> Result<Tensor, RunError> {
        let size = match self.spec(&chunks.input)?.shape.get(chunks.axis) {
            Some(Dim::Fixed(size)) => *size,
            _ => return Err(RunError::Failed("the window has no size".into())),
        };
        let place = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let start = place(self.runs.saturating_mul(chunks.hop as u64)) - place(chunks.front as u64);
        let sequence = self.sequence.as_ref().ok_or_else(|| RunError::Failed("there is no sequence".into()))?;
        sequence.window(chunks.axis, start, size).map_err(|error| RunError::Failed(error.to_string()))
    }

    fn scheduled<'a>(&self, count: &'a Count) -> Result<Vec<(&'a str, DynValue)>, RunError> {
        let mut fed = Vec::new();
        for schedule in &count.schedule {
            let spec = self.spec(&schedule.input)?;
            let number = schedule.value(self.runs, self.steps);
            let number = if matches!(spec.datatype, Datatype::Int32 | Datatype::Int64) { number.round() } else { number };
            let shape = self.symbols.shape(spec, None).ok_or_else(|| RunError::Failed(format!("{} has no size", spec.name)))?;
            fed.push((schedule.input.as_str(), filled(spec, &shape, number)?));
        }
        Ok(fed)
    }

    /// The states with this run's noise in them; `None` for those that get none.
    fn noisy(&self) -> Result<Vec<Option<DynValue>>, RunError> {
        let states = self.shared.stepped.state.iter().zip(&self.state).enumerate();
        states.map(|(index, (spec, state))| self.with_noise(index, spec, state.as_ref())).collect()
    }

    fn with_noise(&self, index: usize, spec: &StateSpec, state: Option<&DynValue>) -> Result<Option<DynValue>, RunError> {
        let (Some(noise), Some(state), Form::Count(count)) = (&spec.noise, state, &self.shared.stepped.form) else {
            return Ok(None);
        };
        let Some(schedule) = count.schedule.iter().find(|schedule| schedule.input == *noise) else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "noise is FP32")]
        let scale = schedule.value(self.runs, self.steps) as f32;
        // Each state has a stream of its own in each run.
        let stream = self.runs * limits::TENSORS_MAX as u64 + index as u64;
        let failed = |error: ort::Error| RunError::Failed(said(&error));
        let (shape, elements) = state.try_extract_tensor::<f32>().map_err(failed)?;
        let noisy = (0..).zip(elements).map(|(place, element)| element + scale * sample::normal(self.seed, stream, place));
        let shape: Vec<_> = shape.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
        let tensor =
            Tensor::new(shape, TensorData::Fp32(noisy.collect())).map_err(|error| RunError::Failed(error.to_string()))?;
        values::input(tensor).map(Some).map_err(failed)
    }

    /// Takes a run's outputs apart.
    fn gave(&self, outputs: &mut SessionOutputs<'_>) -> Result<Gave, RunError> {
        let mut collected = Tensors::new();
        for of in &self.collected {
            let tensor = values::one(outputs.get(&of.spec().name), of.spec())?;
            collected.push(&of.spec().name, tensor).map_err(|error| RunError::Failed(error.to_string()))?;
        }
        let logits = match &self.shared.stepped.form {
            Form::Until(until) => self.logits(until, outputs)?,
            Form::Chunks(_) | Form::Count(_) => Vec::new(),
        };
        let mut state = Vec::new();
        for (of, before) in self.shared.stepped.state.iter().zip(&self.state) {
            let failed = |why: String| RunError::Failed(format!("the state {}: {why}", of.input));
            let value = outputs.remove(&of.output).ok_or_else(|| failed("the model did not give it".into()))?;
            fits(&value, before.as_ref(), of, self.spec(&of.input)?).map_err(failed)?;
            state.push(value);
        }
        Ok(Gave { state, collected, logits })
    }

    /// The numbers of the last position.
    fn logits(&self, until: &Until, outputs: &SessionOutputs<'_>) -> Result<Vec<f32>, RunError> {
        let spec = self.shared.manifest.outputs.iter().find(|spec| spec.name == until.logits);
        let (Some(value), Some(spec)) = (outputs.get(&until.logits), spec) else {
            return Err(RunError::Failed("the model gave no logits".into()));
        };
        let shape = values::shape(value, spec).map_err(|why| RunError::Failed(format!("{} {why}", spec.name)))?;
        let (_, all) = value.try_extract_tensor::<f32>().map_err(|error| RunError::Failed(said(&error)))?;
        let size = shape.last().copied().unwrap_or_default();
        if shape[0] != 1 || all.len() < size {
            return Err(RunError::Failed(format!("{} is not of one sequence", spec.name)));
        }
        Ok(all[all.len() - size..].to_vec())
    }

    fn chosen(&self, until: &Until, logits: &[f32]) -> Result<u32, RunError> {
        let is_early = (self.tokens.len() as u64) < until.tokens_min;
        let allowed = |id: usize| {
            let is = |ids: &[u32]| ids.iter().any(|&known| usize::try_from(known).is_ok_and(|known| known == id));
            !(is(&until.never) || is_early && is(&until.stop))
        };
        let draw = sample::even(self.seed, self.runs, 0);
        let chosen = sample::choose(logits, allowed, self.sampling, draw).and_then(|id| u32::try_from(id).ok());
        chosen.ok_or_else(|| RunError::Failed("the model gave no token a chance".into()))
    }

    /// Reports a piece of output when one is due: after every `emit` runs, and what is left at the end.
    fn tell(&mut self, control: &RunControl) -> Result<(), RunError> {
        let Some(emit) = self.shared.stepped.emit else { return Ok(()) };
        if !self.runs.is_multiple_of(emit) && !self.is_over() {
            return Ok(());
        }
        if matches!(self.shared.stepped.form, Form::Until(_)) {
            self.tell_tokens(control);
            return Ok(());
        }
        let from = (self.runs - 1) / emit * emit;
        let places = self.places();
        collected::tell(&mut self.collected, from, self.runs, places, control)
    }

    fn tell_tokens(&mut self, control: &RunControl) {
        let new = &self.tokens[self.told..];
        let end = match &self.shared.vocabulary {
            Some(vocabulary) if !self.is_over() => vocabulary.whole(new),
            _ => new.len(),
        };
        if end == 0 {
            return;
        }
        let mut piece = json!({ "from": self.told, "tokens": new[..end] });
        if let Some(vocabulary) = &self.shared.vocabulary {
            piece["text"] = vocabulary.text(&new[..end]).into();
        }
        self.told += end;
        let piece = piece.to_string();
        if piece.len() <= limits::INLINE_BYTES_MAX {
            control.report(RunReport::Output(piece));
        }
    }

    /// How many places of the sequence are done.
    fn places(&self) -> u64 {
        let Form::Chunks(chunks) = &self.shared.stepped.form else { return 0 };
        let length = self.sequence.as_ref().and_then(|sequence| sequence.shape().get(chunks.axis).copied());
        collected::places(Some(chunks), length.unwrap_or_default(), self.runs)
    }

    fn output(&self) -> Result<String, RunError> {
        if !matches!(self.shared.stepped.form, Form::Until(_)) {
            return collected::output(&self.collected, self.places());
        }
        let mut output = json!({ "tokens": self.tokens, "ended": if self.ended { "stop" } else { "tokens_max" } });
        if let Some(vocabulary) = &self.shared.vocabulary {
            output["text"] = vocabulary.text(&self.tokens).into();
        }
        let output = output.to_string();
        let (bytes, max) = (output.len(), limits::OUTPUT_BYTES_MAX);
        if bytes > max { Err(RunError::OutputTooLarge { bytes, max }) } else { Ok(output) }
    }
}

/// Takes what the prelude gives to the loop, by the loop's names.
fn take_all(outputs: &mut SessionOutputs<'_>, prelude: &Prelude) -> Result<Vec<(String, DynValue)>, RunError> {
    let missing = |name: &str| RunError::Failed(format!("the prelude did not give {name}"));
    prelude
        .gives
        .iter()
        .map(|(output, input)| Ok((input.clone(), outputs.remove(output).ok_or_else(|| missing(output))?)))
        .collect()
}

/// A state must fit the input that it goes to, and look like the one before: only along its axis may it grow.
fn fits(value: &DynValue, before: Option<&DynValue>, state: &StateSpec, spec: &TensorSpec) -> Result<(), String> {
    let now = values::shape(value, spec)?;
    let elements = now.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)).unwrap_or(usize::MAX);
    if elements > limits::TENSOR_ELEMENTS_MAX {
        return Err(format!("has {elements} elements; at most {} are allowed", limits::TENSOR_ELEMENTS_MAX));
    }
    let Some(before) = before.and_then(|value| values::shape(value, spec).ok()) else { return Ok(()) };
    let may = |(axis, (now, before)): (usize, (&usize, &usize))| now == before || state.grows == Some(axis) && now > before;
    let same = now.iter().zip(&before).enumerate().all(may);
    if same { Ok(()) } else { Err(format!("has the shape {now:?} after {before:?}")) }
}
