//! The runner `stepped`: a loop around a session, as the manifest describes it. It decides how a job's loop begins, fresh or from a
//! checkpoint; the runs are `job`'s. It never knows a model: what a loop feeds and keeps is data.

mod collected;
mod job;
mod sample;
mod saved;
mod vocabulary;

use std::sync::Arc;

use ort::value::DynValue;
use siding_core::{
    model::{
        manifest::{
            Manifest,
            stepped::{Form, Source, Stepped, Symbols, Until, Words},
        },
        repository::Model,
    },
    tensor::{Datatype, Tensor, TensorData, TensorSpec, Tensors},
};

use self::{collected::Collected, job::Job, vocabulary::Vocabulary};
use super::{engine::Engine, said, values};
use crate::runtime::{Computation, LoadedModel, RunError, State};

/// One version, loaded for one slot.
pub(super) struct Loaded(Arc<Shared>);

/// What all computations of a loaded model share.
struct Shared {
    manifest: Manifest,
    /// The manifest's, which always has one.
    stepped: Stepped,
    engine: Engine,
    prelude: Option<Engine>,
    vocabulary: Option<Vocabulary>,
    step_ms: u64,
}

impl Loaded {
    /// The error is for the operator.
    pub(super) fn new(model: &Model, engine: Engine, prelude: Option<Engine>, step_ms: u64) -> Result<Self, String> {
        let manifest = model.manifest.clone();
        let stepped = manifest.stepped.clone().ok_or("stepped: is missing")?;
        let vocabulary = match &stepped.form {
            Form::Until(until) => until.vocabulary.as_ref().map(|vocabulary| Vocabulary::read(model, vocabulary)).transpose()?,
            Form::Chunks(_) | Form::Count(_) => None,
        };
        Ok(Self(Arc::new(Shared { manifest, stepped, engine, prelude, vocabulary, step_ms })))
    }

    /// What the first run of a job is given, and how many runs it has at most; for the raw loop.
    pub(super) fn first(&self, input: &str) -> Result<(Vec<(String, DynValue)>, u64), RunError> {
        let job = begin(&self.0, input)?;
        let runs = job.steps;
        job.first().map(|inputs| (inputs, runs))
    }
}

impl LoadedModel for Loaded {
    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError> {
        let mut job = begin(&self.0, input)?;
        if let Some(state) = from {
            saved::restore(&mut job, state).map_err(RunError::BadCheckpoint)?;
        }
        Ok(Box::new(job))
    }
}

fn begin(shared: &Arc<Shared>, input: &str) -> Result<Job, RunError> {
    let (manifest, stepped) = (&shared.manifest, &shared.stepped);
    let given = manifest.parse_stepped(input).map_err(|problems| RunError::bad_input(&problems))?;
    let mut symbols = Symbols::default();
    let prelude = stepped.prelude.iter().flat_map(|prelude| &prelude.inputs);
    for spec in manifest.inputs.iter().chain(prelude) {
        if let Some(tensor) = given.tensors.get(&spec.name) {
            symbols.note(spec, tensor.shape()).map_err(RunError::BadInput)?;
        }
    }
    let mut tokens = Tokens::default();
    if let Form::Until(until) = &stepped.form {
        tokens = Tokens::of(shared, until, given.words.as_ref());
        if let Some(spec) = stepped.prompted() {
            symbols.note(spec, &[1, tokens.prompt.len()]).map_err(RunError::BadInput)?;
        }
        if let Some(spec) = manifest.inputs.iter().find(|spec| spec.name == until.tokens) {
            symbols.note(&TensorSpec { shape: spec.shape[..1].to_vec(), ..spec.clone() }, &[1]).map_err(RunError::BadInput)?;
        }
    }
    let mut job = Job {
        shared: shared.clone(),
        steps: given.steps,
        seed: given.seed,
        sampling: given.sampling,
        prompt: tokens.prompt,
        lead: tokens.lead,
        symbols,
        is_ready: false,
        sequence: None,
        to_prelude: Tensors::new(),
        fixed: Vec::new(),
        state: Vec::new(),
        shapes: Vec::new(),
        runs: 0,
        tokens: Vec::new(),
        told: 0,
        ended: false,
        collected: Vec::new(),
    };
    for collect in &stepped.collect {
        let spec = manifest.outputs.iter().find(|spec| spec.name == collect.output);
        job.collected.extend(spec.map(|spec| Collected::new(spec, collect)));
    }
    place(&mut job, given.tensors)?;
    Ok(job)
}

/// Puts everything that is known before the first run where it belongs.
fn place(job: &mut Job, tensors: Tensors) -> Result<(), RunError> {
    let shared = job.shared.clone();
    job.shapes = shapes(&shared.manifest, &shared.stepped, &job.symbols, job.lead.len())?;
    for state in &shared.stepped.state {
        let Some(spec) = shared.manifest.inputs.iter().find(|spec| spec.name == state.input) else { continue };
        let first = if shared.stepped.is_given(&state.input) {
            None
        } else {
            let shape = job.symbols.shape(spec, state.grows).ok_or_else(|| too_large(spec))?;
            Some(filled(spec, &shape, state.initial)?)
        };
        job.state.push(first);
    }
    for spec in &shared.manifest.inputs {
        if let Source::Constant(number) = shared.stepped.source(&spec.name) {
            let shape = job.symbols.shape(spec, None).ok_or_else(|| too_large(spec))?;
            job.fixed.push((spec.name.clone(), filled(spec, &shape, number)?));
        }
    }
    for (name, tensor) in tensors {
        let of_prelude =
            shared.stepped.prelude.as_ref().is_some_and(|prelude| prelude.inputs.iter().any(|spec| spec.name == name));
        if of_prelude {
            job.to_prelude.push(&name, tensor.clone()).map_err(|error| RunError::BadInput(error.to_string()))?;
        }
        if !shared.manifest.inputs.iter().any(|spec| spec.name == name) {
            continue;
        }
        match shared.stepped.source(&name) {
            Source::Window => job.sequence = Some(tensor),
            Source::Caller => {
                job.fixed.push((name, values::input(tensor).map_err(|error| RunError::BadInput(said(&error)))?));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The shapes of what the first run is given, and so of all runs: by them it is known whether the next job looks alike. A schedule and a constant follow from the
/// others, and what the prelude gives from what it was given.
fn shapes(manifest: &Manifest, stepped: &Stepped, symbols: &Symbols, lead: usize) -> Result<Vec<Vec<usize>>, RunError> {
    let mut shapes = Vec::new();
    for spec in &manifest.inputs {
        match stepped.source(&spec.name) {
            Source::Tokens => shapes.push(vec![1, lead]),
            Source::State if stepped.is_given(&spec.name) => {}
            Source::Window | Source::Caller | Source::State => {
                let grows = stepped.state.iter().find(|state| state.input == spec.name).and_then(|state| state.grows);
                shapes.push(symbols.shape(spec, grows).ok_or_else(|| too_large(spec))?);
            }
            Source::Schedule | Source::Constant(_) | Source::Prelude => {}
        }
    }
    Ok(shapes)
}

fn too_large(spec: &TensorSpec) -> RunError {
    RunError::BadInput(format!("{} would have too many elements", spec.name))
}

/// A value of one number.
fn filled(spec: &TensorSpec, shape: &[usize], number: f64) -> Result<DynValue, RunError> {
    let tensor =
        Tensor::filled(spec.datatype, shape, number).map_err(|error| RunError::Failed(format!("{}: {error}", spec.name)))?;
    values::input(tensor).map_err(|error| RunError::Failed(said(&error)))
}

/// Token ids as an input takes them: `[1, n]`.
fn ids(spec: &TensorSpec, tokens: &[u32]) -> Result<Tensor, RunError> {
    let data = if spec.datatype == Datatype::Int32 {
        TensorData::Int32(tokens.iter().map(|&id| i32::try_from(id).unwrap_or(i32::MAX)).collect())
    } else {
        TensorData::Int64(tokens.iter().map(|&id| i64::from(id)).collect())
    };
    Tensor::new(vec![1, tokens.len()], data).map_err(|error| RunError::Failed(error.to_string()))
}

/// A job's words as tokens.
#[derive(Default)]
struct Tokens {
    /// What the prelude is given; empty when the loop gets it.
    prompt: Vec<u32>,
    /// What the loop begins with.
    lead: Vec<u32>,
}

impl Tokens {
    fn of(shared: &Shared, until: &Until, words: Option<&Words>) -> Self {
        let words = match (words, &shared.vocabulary) {
            (Some(Words::Text(text)), Some(vocabulary)) => vocabulary.tokens(text),
            (Some(Words::Tokens(tokens)), _) => tokens.clone(),
            _ => Vec::new(),
        };
        let around = until.prompt.as_ref().map_or((&[][..], &[][..]), |prompt| (&prompt.before, &prompt.after));
        let prompt = [around.0, &words, around.1].concat();
        match shared.stepped.prompted() {
            Some(_) => Self { prompt, lead: until.start.clone() },
            None => Self { prompt: Vec::new(), lead: [until.start.clone(), prompt].concat() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn manifest(inputs: &str, outputs: &str, stepped: &str) -> Manifest {
        let text = format!(
            "name = \"m\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"stepped\"\ncost = {{ base_ms = 1 }}\n\
             inputs = [{inputs}]\noutputs = [{outputs}]\nfile = {{ path = \"model.onnx\", sha256 = \"{DIGEST}\" }}\n[stepped]\n{stepped}"
        );
        Manifest::parse(&text).expect("valid")
    }

    fn tensor(name: &str, shape: &str) -> String {
        let datatype = if name == "ids" { "INT64" } else { "FP32" };
        format!("{{ name = \"{name}\", datatype = \"{datatype}\", shape = {shape} }},")
    }

    #[test]
    fn jobs_whose_runs_look_alike_are_known_by_what_the_caller_gives_and_windows_have_a_bound() {
        let windows = manifest(
            &(tensor("x", "[\"b\", 44100]") + &tensor("h", "[\"b\", 2]")),
            &(tensor("y", "[\"b\", 1]") + &tensor("g", "[\"b\", 2]")),
            "chunks = { input = \"x\", axis = 1, hop = 44100 }\nstate = [{ input = \"h\", output = \"g\" }]\ncollect = [{ output = \"y\", along = 1 }]",
        );
        let tokens = manifest(
            &(tensor("ids", "[1, \"n\"]") + &tensor("past", "[1, \"p\"]")),
            &(tensor("logits", "[1, 300]") + &tensor("present", "[1, \"q\"]")),
            "until = { tokens = \"ids\", feed = \"new\", logits = \"logits\", stop = [0], tokens_max = 8, prompt = { input = \"ids\", before = [1], tokens_max = 5 } }\n\
             state = [{ input = \"past\", output = \"present\", grows = 1 }]",
        );
        let batch = |size: usize| {
            let mut symbols = Symbols::default();
            symbols.note(&windows.inputs[0], &[size, 44100]).expect("the first");
            symbols
        };
        let rows = [
            ("one row", &windows, batch(1), 0, Some(vec![vec![1, 44100], vec![1, 2]])),
            ("three rows", &windows, batch(3), 0, Some(vec![vec![3, 44100], vec![3, 2]])),
            ("a million rows", &windows, batch(1_000_000), 0, None),
            ("a prompt", &tokens, Symbols::default(), 4, Some(vec![vec![1, 4], vec![1, 0]])),
        ];
        for (what, manifest, symbols, lead, expected) in rows {
            let stepped = manifest.stepped.as_ref().expect("stepped");
            let found = shapes(manifest, stepped, &symbols, lead);
            let refused = matches!(&found, Err(RunError::BadInput(why)) if why == "x would have too many elements");
            assert!(found.as_ref().ok() == expected.as_ref() && (expected.is_some() || refused), "{what}: {found:?}");
        }
    }
}
