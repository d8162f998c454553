//! What a loop's outputs become: joined run by run or the last one, as the manifest says, and what of it was reported as a piece. It
//! decides how long it may get; it never runs anything.

use siding_core::{
    limits,
    model::manifest::stepped::{Chunks, Collect},
    tensor::{Tensor, TensorSpec, Tensors, write_output},
};

use crate::runtime::{RunControl, RunError, RunReport};

/// Most elements of what is collected: each is at least one digit and a comma of the text that it becomes.
pub(super) const ELEMENTS_MAX: usize = limits::OUTPUT_BYTES_MAX / 2;

/// One output on its way.
#[derive(Debug, Clone)]
pub(super) struct Collected {
    spec: TensorSpec,
    collect: Collect,
    /// All so far; `None` before the first run.
    pub(super) tensor: Option<Tensor>,
    /// How much of it, along its axis, was reported in pieces.
    pub(super) told: usize,
}

fn failed(error: &siding_core::tensor::Invalid) -> RunError {
    RunError::Failed(format!("an output cannot be collected: {error}"))
}

impl Collected {
    pub(super) fn new(spec: &TensorSpec, collect: &Collect) -> Self {
        Self { spec: spec.clone(), collect: collect.clone(), tensor: None, told: 0 }
    }

    pub(super) fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// The axis along which it is joined.
    pub(super) fn along(&self) -> Option<usize> {
        self.collect.along
    }

    /// Takes what one run gave.
    pub(super) fn take(&mut self, tensor: Tensor) -> Result<(), RunError> {
        let Some(axis) = self.collect.along else {
            self.tensor = Some(tensor);
            return Ok(());
        };
        let length = tensor.shape().get(axis).copied().unwrap_or_default();
        let trim = self.collect.trim;
        let kept = length.saturating_sub(2 * trim);
        let piece = if trim == 0 {
            tensor
        } else {
            tensor.window(axis, i64::try_from(trim).unwrap_or(i64::MAX), kept).map_err(|e| failed(&e))?
        };
        let elements = piece.data().len() + self.tensor.as_ref().map_or(0, |tensor| tensor.data().len());
        if elements > ELEMENTS_MAX {
            return Err(RunError::OutputTooLarge { bytes: 2 * elements, max: limits::OUTPUT_BYTES_MAX });
        }
        match &mut self.tensor {
            Some(tensor) => tensor.append(axis, piece).map_err(|error| failed(&error)),
            none => {
                *none = Some(piece);
                Ok(())
            }
        }
    }

    /// How long it may be along its axis when `places` of the sequence are done.
    fn length_max(&self, places: u64) -> usize {
        let max = self.collect.rate.map(|[n, of]| u128::from(places) * u128::from(n) / u128::from(of));
        max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX)
    }

    /// From where to where, along its axis, it is worth showing.
    fn part(&self, from: usize, places: u64) -> Result<Option<Tensor>, RunError> {
        let Some(tensor) = &self.tensor else { return Ok(None) };
        let Some(axis) = self.collect.along else { return Ok(Some(tensor.clone())) };
        let length = tensor.shape()[axis].min(self.length_max(places));
        if from == 0 && length == tensor.shape()[axis] {
            return Ok(Some(tensor.clone()));
        }
        let start = i64::try_from(from).unwrap_or(i64::MAX);
        tensor.window(axis, start, length.saturating_sub(from)).map(Some).map_err(|error| failed(&error))
    }
}

/// How many places of the sequence are done after so many runs; without a sequence it does not matter.
pub(super) fn places(chunks: Option<&Chunks>, length: usize, runs: u64) -> u64 {
    chunks.map_or(0, |chunks| (length as u64).min(runs.saturating_mul(chunks.hop as u64)))
}

/// The text of the output.
pub(super) fn output(all: &[Collected], places: u64) -> Result<String, RunError> {
    write_output(&tensors(all, places, |_| 0)?).map_err(|error| RunError::OutputTooLarge { bytes: error.bytes, max: error.max })
}

/// Reports what has come since the last piece. A piece that is too large for an event is left out: the result has it.
pub(super) fn tell(all: &mut [Collected], from: u64, runs: u64, places: u64, control: &RunControl) -> Result<(), RunError> {
    let part = tensors(all, places, |collected| collected.told)?;
    for collected in all {
        if let (Some(axis), Some(tensor)) = (collected.collect.along, &collected.tensor) {
            collected.told = tensor.shape()[axis].min(collected.length_max(places));
        }
    }
    let elements: usize = part.iter().map(|(_, tensor)| tensor.data().len()).sum();
    if 2 * elements > limits::INLINE_BYTES_MAX {
        return Ok(());
    }
    let text = write_output(&part).map_err(|error| RunError::OutputTooLarge { bytes: error.bytes, max: error.max })?;
    let piece = format!("{{\"from\":{from},\"to\":{runs},\"output\":{text}}}");
    if piece.len() <= limits::INLINE_BYTES_MAX {
        control.report(RunReport::Output(piece));
    }
    Ok(())
}

fn tensors(all: &[Collected], places: u64, from: impl Fn(&Collected) -> usize) -> Result<Tensors, RunError> {
    let mut tensors = Tensors::new();
    for collected in all {
        if let Some(tensor) = collected.part(from(collected), places)? {
            tensors.push(&collected.spec.name, tensor).map_err(|error| failed(&error))?;
        }
    }
    Ok(tensors)
}
