//! A loop's state between two runs, to be kept and to go on from. It decides what belongs to it: the state tensors bit for bit, what was
//! collected, and the counts; what follows from model and input is computed again. A state that cannot be this job's is refused.

use serde_json::{Value, json};
use siding_core::{
    limits,
    model::manifest::stepped::Form,
    tensor::{Dim, Tensor, TensorSpec, Tensors},
};

use super::{collected, job::Job, values};
use crate::runtime::State;

const STATE: &str = "state ";
const COLLECTED: &str = "collected ";

pub(super) fn save(job: &Job) -> Option<State> {
    if job.runs == 0 {
        return None;
    }
    let mut tensors = Tensors::new();
    for (state, value) in job.shared.stepped.state.iter().zip(&job.state) {
        let spec = job.shared.manifest.inputs.iter().find(|spec| spec.name == state.input)?;
        tensors.push(format!("{STATE}{}", state.input), values::one(value.as_ref(), spec).ok()?).ok()?;
    }
    let mut told = Vec::new();
    for collected in &job.collected {
        tensors.push(format!("{COLLECTED}{}", collected.spec().name), collected.tensor.clone()?).ok()?;
        told.push(collected.told);
    }
    let note = json!({ "runs": job.runs, "tokens": job.tokens, "tokens_told": job.told, "ended": job.ended, "told": told });
    Some(State { tensors, note: note.to_string() })
}

/// Puts the state into a job that was begun on the same input. The error says what does not fit.
pub(super) fn restore(job: &mut Job, state: State) -> Result<(), String> {
    let note: Value = serde_json::from_str(&state.note).map_err(|_| "its note is no JSON")?;
    let number = |key: &str| note[key].as_u64().ok_or_else(|| format!("its note has no {key}"));
    let numbers = |key: &str| -> Result<Vec<u64>, String> {
        let array = note[key].as_array().ok_or_else(|| format!("its note has no {key}"))?;
        array.iter().map(|number| number.as_u64().ok_or_else(|| format!("its {key} are no numbers"))).collect()
    };
    let runs = number("runs")?;
    if !(1..=job.steps).contains(&runs) {
        return Err(format!("it is {runs} runs far; the job has 1 to {}", job.steps));
    }
    let ended = note["ended"].as_bool().ok_or("its note has no ended")?;
    let tokens = numbers("tokens")?;
    let expected = if matches!(job.shared.stepped.form, Form::Until(_)) { runs - u64::from(ended) } else { 0 };
    let vocabulary = vocabulary(job) as u64;
    if tokens.len() as u64 != expected || tokens.iter().any(|&id| id >= vocabulary) {
        return Err("its tokens are not this job's".into());
    }
    let told = numbers("told")?;
    if told.len() != job.collected.len() {
        return Err("it was told of other outputs".into());
    }
    tensors(job, state.tensors)?;
    for (collected, told) in job.collected.iter_mut().zip(told) {
        let length = collected.along().and_then(|axis| collected.tensor.as_ref()?.shape().get(axis).copied());
        collected.told =
            usize::try_from(told).ok().filter(|&told| told <= length.unwrap_or(0)).ok_or("more was told than there is")?;
    }
    job.runs = runs;
    job.ended = ended;
    job.told =
        usize::try_from(number("tokens_told")?).ok().filter(|&told| told <= tokens.len()).ok_or("more was told than there is")?;
    job.tokens = tokens.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
    Ok(())
}

/// How many tokens there are.
fn vocabulary(job: &Job) -> usize {
    let Form::Until(until) = &job.shared.stepped.form else { return 0 };
    let spec = job.shared.manifest.outputs.iter().find(|spec| spec.name == until.logits);
    match spec.and_then(|spec| spec.shape.last()) {
        Some(Dim::Fixed(size)) => *size,
        _ => 0,
    }
}

fn tensors(job: &mut Job, tensors: Tensors) -> Result<(), String> {
    let shared = job.shared.clone();
    let expected = shared.stepped.state.len() + job.collected.len();
    if tensors.len() != expected {
        return Err(format!("it has {} tensors, not {expected}", tensors.len()));
    }
    for (index, state) in shared.stepped.state.iter().enumerate() {
        let name = format!("{STATE}{}", state.input);
        let tensor = tensors.get(&name).ok_or_else(|| format!("it has no {name}"))?;
        let spec = shared.manifest.inputs.iter().find(|spec| spec.name == state.input).ok_or("the model has no such state")?;
        let shape = job.symbols.shape(spec, state.grows);
        let as_begun = |axis: usize, size: usize| {
            state.grows == Some(axis) || shape.as_ref().is_none_or(|shape| shape.get(axis) == Some(&size))
        };
        if !fits(tensor, spec, limits::TENSOR_ELEMENTS_MAX)
            || !tensor.shape().iter().enumerate().all(|(axis, &size)| as_begun(axis, size))
        {
            return Err(format!(
                "{name} is {} {:?}; the model takes {} {}",
                tensor.data().datatype(),
                tensor.shape(),
                spec.datatype,
                spec.shape_text()
            ));
        }
        job.state[index] = Some(values::input(tensor.clone()).map_err(|_| format!("{name} is refused"))?);
    }
    for collected in &mut job.collected {
        let name = format!("{COLLECTED}{}", collected.spec().name);
        let tensor = tensors.get(&name).ok_or_else(|| format!("it has no {name}"))?;
        let mut spec = collected.spec().clone();
        if let Some(dim) = collected.along().and_then(|axis| spec.shape.get_mut(axis)) {
            *dim = Dim::Symbol("joined".into());
        }
        if !fits(tensor, &spec, collected::ELEMENTS_MAX) {
            return Err(format!("{name} is {} {:?}", tensor.data().datatype(), tensor.shape()));
        }
        collected.tensor = Some(tensor.clone());
    }
    Ok(())
}

fn fits(tensor: &Tensor, spec: &TensorSpec, elements_max: usize) -> bool {
    let fixed = |(dim, size): (&Dim, &usize)| !matches!(dim, Dim::Fixed(fixed) if fixed != size);
    tensor.data().datatype() == spec.datatype
        && tensor.data().len() <= elements_max
        && tensor.shape().len() == spec.shape.len()
        && spec.shape.iter().zip(tensor.shape()).all(fixed)
}

#[cfg(test)]
mod tests {
    use siding_core::{
        model::manifest::stepped::Collect,
        tensor::{Datatype, TensorData},
    };

    use super::*;
    use crate::runtime::RunError;

    #[test]
    fn whatever_is_collected_can_be_gone_on_from() {
        let spec = TensorSpec { name: "y".into(), datatype: Datatype::Uint8, shape: vec![Dim::Symbol("joined".into())] };
        let mut all =
            collected::Collected::new(&spec, &Collect { output: spec.name.clone(), along: Some(0), trim: 0, rate: None });
        let piece = |count: usize| Tensor::new(vec![count], TensorData::Uint8(vec![0; count])).expect("fits");
        // More than a tensor of an input may have.
        for count in [limits::TENSOR_ELEMENTS_MAX, collected::ELEMENTS_MAX - limits::TENSOR_ELEMENTS_MAX] {
            all.take(piece(count)).expect("so much may be collected");
            let tensor = all.tensor.as_ref().expect("taken");
            assert!(fits(tensor, &spec, collected::ELEMENTS_MAX), "{} elements", tensor.data().len());
        }
        assert!(matches!(all.take(piece(1)), Err(RunError::OutputTooLarge { .. })));
    }
}
