//! The runner `text`: texts in, embeddings or labels out. A job's texts run in micro-batches, one a step, so that a job of a thousand texts is
//! told about, stopped and saved like any long one. It decides the order of the work; that order follows from the input alone, so
//! that a computation that goes on from a saved state comes to the identical result.

mod output;
mod plan;
mod pooling;
mod reader;
mod tokenizer;

use std::sync::Arc;

use siding_core::{
    model::{
        manifest::text::{Task, Text, Texts},
        repository::Model,
    },
    tensor::{Tensor, TensorData, TensorSpec, Tensors},
};

use self::{reader::Reader, tokenizer::Encoded};
use super::{engine::Engine, said, values};
use crate::runtime::{Computation, LoadError, LoadedModel, Progress, RunControl, RunError, State, Step};

/// The tensors of a saved state: which texts are done, and their numbers.
const DONE: &str = "texts";
const NUMBERS: &str = "numbers";

/// What a computation needs of its model.
struct Parts {
    reader: Reader,
    output: TensorSpec,
    engine: Engine,
}

pub(super) struct Loaded(Arc<Parts>);

impl Loaded {
    /// The model with its tokenizer, whose file is checked here.
    pub(super) fn new(model: &Model, engine: Engine) -> Result<Self, LoadError> {
        let reader = Reader::new(model)?;
        let output = model.manifest.outputs.iter().find(|spec| spec.name == reader.text.output).cloned();
        let output = output.ok_or_else(|| LoadError::new(model, "its manifest does not declare text.output"))?;
        Ok(Self(Arc::new(Parts { reader, output, engine })))
    }
}

impl LoadedModel for Loaded {
    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError> {
        let text = &self.0.reader.text;
        let input = Texts::parse(input, text).map_err(|problems| RunError::bad_input(&problems))?;
        let rows = match from {
            Some(state) => restored(&state, text, input.texts.len()).map_err(|why| RunError::BadCheckpoint(why.into()))?,
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
            return output::write(&parts.reader.text.task, input, &planned.texts, rows).map(Step::Done);
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
    let texts = parts.reader.read(&input.texts, control)?;
    let mut left = reader::plan(&texts);
    // A micro-batch with a text that is missing runs as a whole, as it would have run then.
    left.retain(|batch| batch.iter().any(|&text| rows[text].is_none()));
    left.reverse();
    Ok(Planned { texts, left })
}

/// The numbers of the texts of one micro-batch, in its order.
fn run(parts: &Parts, texts: &[Encoded], batch: &[usize], control: &RunControl) -> Result<Vec<Row>, RunError> {
    let inputs = parts.reader.tensors(texts, batch)?;
    let shapes = inputs.iter().map(|(_, tensor)| tensor.shape().to_vec()).collect();
    let inputs = values::inputs(inputs).map_err(|error| RunError::Failed(said(&error)))?;
    let specs = std::slice::from_ref(&parts.output);
    let found =
        parts.engine.run(inputs, shapes, control, |outputs| values::outputs(&outputs, specs)).map_err(|error| match error {
            // The caller gave texts: ids that the graph refuses are the tokenizer's, which is not this model's.
            RunError::BadInput(why) => RunError::Failed(format!("the model refuses what its tokenizer gives: {why}")),
            other => other,
        })?;
    let failed = |why: String| RunError::Failed(format!("output {}: {why}", parts.output.name));
    let Some((shape, TensorData::Fp32(numbers))) = found.into_iter().next().map(|(_, tensor)| tensor.into_parts()) else {
        return Err(failed("the model did not give it".into()));
    };
    let lengths: Vec<_> = batch.iter().map(|&text| texts[text].ids.len()).collect();
    pooling::rows(&parts.reader.text.task, &lengths, &shape, &numbers).map_err(failed)
}

/// The rows of a saved state of a job with `texts` texts.
fn restored(state: &State, text: &Text, texts: usize) -> Result<Vec<Option<Row>>, &'static str> {
    if state.note != texts.to_string() {
        return Err("it is of another number of texts");
    }
    let (Some(done), Some(numbers), 2) = (state.tensors.get(DONE), state.tensors.get(NUMBERS), state.tensors.len()) else {
        return Err("its tensors are not those of a text model");
    };
    let (TensorData::Uint64(done), TensorData::Fp32(all), &[rows, width]) = (done.data(), numbers.data(), numbers.shape()) else {
        return Err("its tensors have other types");
    };
    let labels = match &text.task {
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
