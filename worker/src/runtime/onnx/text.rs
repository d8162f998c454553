//! The runner `text`: texts in, embeddings or labels out. A job's texts run in micro-batches, one a step, so that a job of a thousand texts is
//! told about, stopped and put aside like any long one. It decides the order of the work; that order follows from the input alone, so
//! that a computation that goes on from a saved state comes to the identical result.

mod output;
mod plan;
mod pooling;
mod tokenizer;

use std::sync::Arc;

use siding_core::{
    limits,
    model::{
        manifest::{
            Manifest,
            text::{Task, Text, Texts},
        },
        repository::Model,
    },
    tensor::{Datatype, Tensor, TensorData, TensorSpec, Tensors},
};

use self::tokenizer::{Encoded, Tokenizer};
use super::{engine::Engine, said, values};
use crate::runtime::{Computation, LoadError, LoadedModel, Progress, RunControl, RunError, State, Step};

/// The tensors of a saved state: which texts are done, and their numbers.
const DONE: &str = "texts";
const NUMBERS: &str = "numbers";

/// What a computation needs of its model.
struct Parts {
    text: Text,
    inputs: Vec<TensorSpec>,
    output: TensorSpec,
    tokenizer: Tokenizer,
    engine: Engine,
}

pub(super) struct Loaded(Arc<Parts>);

impl Loaded {
    /// The model with its tokenizer, whose file is checked here.
    pub(super) fn new(model: &Model, engine: Engine) -> Result<Self, LoadError> {
        let Manifest { text: Some(text), inputs, outputs, .. } = &model.manifest else {
            return Err(LoadError::new(model, "its manifest has no [text]"));
        };
        let output = outputs.iter().find(|spec| spec.name == text.output);
        let output = output.ok_or_else(|| LoadError::new(model, "its manifest does not declare text.output"))?;
        let bytes = model.read(&text.tokenizer).map_err(|error| LoadError::new(model, error.to_string()))?;
        let tokenizer =
            Tokenizer::new(&bytes, text).map_err(|why| LoadError::new(model, format!("{}: {why}", text.tokenizer.path)))?;
        let parts = Parts { text: text.clone(), inputs: inputs.clone(), output: output.clone(), tokenizer, engine };
        Ok(Self(parts.into()))
    }
}

impl LoadedModel for Loaded {
    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError> {
        let input = Texts::parse(input, &self.0.text).map_err(|problems| RunError::bad_input(&problems))?;
        let rows = match from {
            Some(state) => restored(&state, &self.0, input.texts.len()).map_err(|why| RunError::BadCheckpoint(why.into()))?,
            None => vec![None; input.texts.len()],
        };
        Ok(Box::new(Running { parts: self.0.clone(), input, rows, planned: None }))
    }
}

/// The numbers of one text: its embedding, or its labels' scores.
type Row = Vec<f32>;

struct Running {
    parts: Arc<Parts>,
    input: Texts,
    /// By text; set when its micro-batch has run.
    rows: Vec<Option<Row>>,
    /// Set by the first step.
    planned: Option<Planned>,
}

struct Planned {
    texts: Vec<Encoded>,
    /// Texts that run together, those done before left out; the next one is the last.
    left: Vec<Vec<usize>>,
}

impl Computation for Running {
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError> {
        let Self { parts, input, rows, planned } = self;
        let planned = match planned {
            Some(planned) => planned,
            None => planned.insert(plan(parts, input, rows, control)?),
        };
        if let Some(batch) = planned.left.last() {
            let found = run(parts, &planned.texts, batch, control)?;
            for (&text, row) in batch.iter().zip(found) {
                rows[text] = Some(row);
            }
            planned.left.pop();
        }
        if planned.left.is_empty() {
            return output::write(&parts.text.task, input, &planned.texts, rows).map(Step::Done);
        }
        let done = rows.iter().filter(|row| row.is_some()).count();
        Ok(Step::More(Progress { done: done as u64, total: Some(rows.len() as u64) }))
    }

    fn save(&self) -> Option<State> {
        let done: Vec<_> = (0..self.rows.len()).filter(|&text| self.rows[text].is_some()).collect();
        let numbers: Vec<f32> = self.rows.iter().flatten().flatten().copied().collect();
        let width = numbers.len().checked_div(done.len()).unwrap_or(0);
        let mut tensors = Tensors::new();
        tensors.push(NUMBERS, Tensor::new(vec![done.len(), width], TensorData::Fp32(numbers)).ok()?).ok()?;
        let texts = done.iter().map(|&text| text as u64).collect::<Vec<_>>();
        tensors.push(DONE, Tensor::new(vec![texts.len()], TensorData::Uint64(texts)).ok()?).ok()?;
        Some(State { tensors, note: self.rows.len().to_string() })
    }
}

/// Reads all texts and decides which run together.
fn plan(parts: &Parts, input: &Texts, rows: &[Option<Row>], control: &RunControl) -> Result<Planned, RunError> {
    let mut texts = Vec::with_capacity(input.texts.len());
    for (index, text) in input.texts.iter().enumerate() {
        if control.is_stopped() {
            return Err(RunError::Stopped);
        }
        let encoded = parts.tokenizer.encode(text).map_err(|why| RunError::Failed(format!("text {index}: {why}")))?;
        if encoded.ids.is_empty() {
            return Err(RunError::BadInput(format!("/texts/{index} has no tokens")));
        }
        texts.push(encoded);
    }
    let lengths: Vec<_> = texts.iter().map(|text| text.ids.len()).collect();
    let mut left = plan::micro_batches(&lengths, limits::MICRO_BATCH_TOKENS_MAX);
    // A micro-batch with a text that is missing runs as a whole, as it would have run then.
    left.retain(|batch| batch.iter().any(|&text| rows[text].is_none()));
    left.reverse();
    Ok(Planned { texts, left })
}

/// The numbers of the texts of one micro-batch, in its order.
fn run(parts: &Parts, texts: &[Encoded], batch: &[usize], control: &RunControl) -> Result<Vec<Row>, RunError> {
    let batch: Vec<_> = batch.iter().map(|&text| &texts[text]).collect();
    let tokens = batch.iter().map(|text| text.ids.len()).max().unwrap_or_default();
    let inputs = tensors(parts, &batch, tokens).map_err(|error| RunError::Failed(error.to_string()))?;
    let shapes = inputs.iter().map(|(_, tensor)| tensor.shape().to_vec()).collect();
    let inputs = values::inputs(inputs).map_err(|error| RunError::Failed(said(&error)))?;
    let specs = std::slice::from_ref(&parts.output);
    let found =
        parts.engine.run(inputs, shapes, control, |outputs| values::outputs(&outputs, specs)).map_err(|error| match error {
            // The caller gave texts: ids that the graph refuses are the tokenizer's, which is not this model's.
            RunError::BadInput(why) => RunError::Failed(format!("the model refuses what its tokenizer gives: {why}")),
            other => other,
        })?;
    let Some((shape, TensorData::Fp32(numbers))) = found.into_iter().next().map(|(_, tensor)| tensor.into_parts()) else {
        return Err(RunError::Failed(format!("output {}: the model did not give it", parts.text.output)));
    };
    let lengths: Vec<_> = batch.iter().map(|text| text.ids.len()).collect();
    pooling::rows(&parts.text.task, &lengths, &shape, &numbers)
        .map_err(|why| RunError::Failed(format!("output {}: {why}", parts.text.output)))
}

/// The model's inputs for texts of at most so many tokens, padded to that.
fn tensors(parts: &Parts, batch: &[&Encoded], tokens: usize) -> Result<Tensors, siding_core::tensor::Invalid> {
    let padded = |of: &dyn Fn(&Encoded) -> Vec<u32>, pad: u32| -> Vec<u32> {
        batch.iter().flat_map(|text| of(text).into_iter().chain(std::iter::repeat(pad)).take(tokens)).collect()
    };
    let mut tensors = Tensors::new();
    for spec in &parts.inputs {
        let numbers = if spec.name == parts.text.ids {
            padded(&|text| text.ids.clone(), parts.text.pad_id)
        } else if spec.name == parts.text.mask {
            padded(&|text| vec![1; text.ids.len()], 0)
        } else {
            padded(&|text| text.types.clone(), 0)
        };
        let data = match spec.datatype {
            // The tokenizer's ids were checked to be small enough for this.
            Datatype::Int32 => TensorData::Int32(numbers.into_iter().map(u32::cast_signed).collect()),
            _ => TensorData::Int64(numbers.into_iter().map(i64::from).collect()),
        };
        tensors.push(&spec.name, Tensor::new(vec![batch.len(), tokens], data)?)?;
    }
    Ok(tensors)
}

/// The rows of a saved state of a job with `texts` texts.
fn restored(state: &State, parts: &Parts, texts: usize) -> Result<Vec<Option<Row>>, &'static str> {
    if state.note != texts.to_string() {
        return Err("it is of another number of texts");
    }
    let (Some(done), Some(numbers), 2) = (state.tensors.get(DONE), state.tensors.get(NUMBERS), state.tensors.len()) else {
        return Err("its tensors are not those of a text model");
    };
    let (TensorData::Uint64(done), TensorData::Fp32(all), &[rows, width]) = (done.data(), numbers.data(), numbers.shape()) else {
        return Err("its tensors have other types");
    };
    let labels = match &parts.text.task {
        Task::Embedding { .. } => None,
        Task::Classification { labels, .. } => Some(labels.len()),
    };
    if rows != done.len() || (rows > 0 && (width == 0 || labels.is_some_and(|labels| labels != width))) {
        return Err("its tensors do not fit each other");
    }
    if all.iter().any(|number| !number.is_finite()) {
        return Err("it has numbers that are none");
    }
    let mut restored = vec![None; texts];
    for (&text, row) in done.iter().zip(all.chunks(width.max(1))) {
        let place = usize::try_from(text).ok().and_then(|text| restored.get_mut(text));
        match place {
            Some(place @ None) => *place = Some(row.to_vec()),
            _ => return Err("it names a text that is not there, or twice"),
        }
    }
    Ok(restored)
}
