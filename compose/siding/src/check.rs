//! Is a model what its manifest says, and what does a run of it cost on this machine? It decides what is measured and what counts as wrong; it
//! never changes a model and asks no server.

mod fit;
mod grow;
mod report;

use std::{
    fs,
    time::{Duration, Instant},
};

use siding_core::{
    limits,
    model::{
        manifest::{Manifest, Runner, SizeBy, SizeOf},
        repository::Model,
    },
    tensor::Dim,
};
use siding_worker::runtime::{LoadedModel, ModelRuntime, RunControl, RunError};

use crate::bench::{inference::zeros, median};

pub use report::{Checked, CheckedCost, Memory, Report, Run};

/// Sizes that are measured; the example's own is the first.
const SIZES_MAX: usize = 6;
/// How many times as large as the example's an input is tried.
const FACTOR_MAX: usize = 1 << 16;
/// Timed runs of one size. Their median is told: an odd number has one.
const RUNS_MAX: usize = 7;
/// No further run of a size begins after so long.
const SIZE_TIME: Duration = Duration::from_millis(700);
/// No larger size is tried when a run has taken so long: it would tell little more and take its time.
const LONG_MS: f64 = 400.0;
/// How far the manifest may be off before it is worth a word. An estimate that is wrong by less still finds the right lane, mostly.
const OFF_MAX: f64 = 2.0;

/// Loads the model and runs its example and larger ones. Blocks; ends soon after `control.stop()`, with what is known until then.
#[must_use]
pub fn check(model: &Model, runtime: &dyn ModelRuntime, control: &RunControl) -> Checked {
    let mut checked = Checked::of(model);
    let started = Instant::now();
    let mut loaded = match runtime.load(model) {
        Ok(loaded) => loaded,
        Err(error) => {
            checked.problems.push(error.to_string());
            return checked;
        }
    };
    checked.load_ms = Some(millis(started.elapsed()));
    checked.memory.loaded_bytes = resident_bytes();
    match example(&model.manifest, &mut checked.problems) {
        Some(example) => measure(&mut *loaded, &model.manifest, &example, control, &mut checked),
        None => return checked,
    }
    checked.memory.ran_bytes = resident_bytes();
    checked.cost = fit::line(&checked.runs).map(|(base_ms, per_unit_ms)| CheckedCost {
        base_ms,
        per_unit_ms,
        size: size_of(&model.manifest).filter(|_| per_unit_ms > 0.0),
    });
    let off = |run: &&Run| !(run.expected_ms / OFF_MAX..=run.expected_ms * OFF_MAX).contains(&run.ms);
    if let Some(run) = checked.runs.iter().find(off) {
        checked
            .notes
            .push(format!("[cost] says {:.3} ms for the size {}, and it took {:.3} ms here", run.expected_ms, run.size, run.ms));
    }
    checked
}

/// The example as many times as large, where something in it makes its size larger and the model takes that.
#[must_use]
pub fn larger(manifest: &Manifest, example: &str, factor: usize) -> Option<String> {
    let growing = grow::Growing::of(manifest, example, |input| size(manifest, input))?;
    let larger = growing.times(factor);
    size(manifest, &larger).is_some().then_some(larger)
}

/// The manifest's example; without one, zeros where the manifest says enough for them. That there is none is a problem all the same: nobody
/// knows whether zeros are an input that makes sense.
fn example(manifest: &Manifest, problems: &mut Vec<String>) -> Option<String> {
    if manifest.example.is_none() {
        problems.push("the manifest has no [example]: give it an input that makes sense to the model".into());
    }
    let zeros = || (manifest.runner == Runner::Tensor).then(|| zeros(manifest));
    manifest.example.clone().or_else(zeros)
}

/// Runs the example and then larger ones, each twice the size of the one before or more.
fn measure(loaded: &mut dyn LoadedModel, manifest: &Manifest, example: &str, control: &RunControl, checked: &mut Checked) {
    match measure_one(loaded, manifest, example, control) {
        Ok(run) => checked.runs.push(run),
        Err(error) => return checked.problems.push(format!("the example: {}", said(&error))),
    }
    let Some(growing) = grow::Growing::of(manifest, example, |input| size(manifest, input)) else {
        return checked.notes.push("nothing in the example makes its size larger: one size is measured".into());
    };
    let mut factor = 2;
    while let Some(last) = checked.runs.last()
        && factor <= FACTOR_MAX
        && checked.runs.len() < SIZES_MAX
        && last.ms < LONG_MS
        && example.len().saturating_mul(factor) <= limits::BODY_BYTES_MAX
    {
        let larger = growing.times(factor);
        factor *= 2;
        match size(manifest, &larger) {
            Some(size) if size < last.size * 2.0 => continue,
            Some(_) => {}
            // Larger than the model takes.
            None => return,
        }
        match measure_one(loaded, manifest, &larger, control) {
            Ok(run) => checked.runs.push(run),
            Err(error) => {
                // What crashes takes other jobs' time with it; all else is an answer that a larger input may get.
                let crashed = matches!(error, RunError::Crashed(_));
                let told = if crashed { &mut checked.problems } else { &mut checked.notes };
                return told.push(format!("an example {} times as large: {}", factor / 2, said(&error)));
            }
        }
    }
}

fn measure_one(loaded: &mut dyn LoadedModel, manifest: &Manifest, input: &str, control: &RunControl) -> Result<Run, RunError> {
    let mut run = || {
        let started = Instant::now();
        loaded.run(input, control).map(|_| millis(started.elapsed()))
    };
    // The first run of a shape asks for memory and is not typical.
    run()?;
    let (mut times, started) = (Vec::new(), Instant::now());
    while times.is_empty() || (times.len() < RUNS_MAX && started.elapsed() < SIZE_TIME) {
        times.push(run()?);
    }
    let size = size(manifest, input).unwrap_or_default();
    let expected_ms = manifest.cost.base_ms + manifest.cost.per_unit_ms * manifest.check_input(input).unwrap_or_default();
    Ok(Run {
        size,
        runs: times.len(),
        min_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
        ms: median(times),
        expected_ms,
    })
}

fn said(error: &RunError) -> String {
    match error {
        RunError::Stopped => "did not end in time".into(),
        error => error.to_string(),
    }
}

/// The number that `[cost]` would multiply; `None` for an input that does not fit.
fn size(manifest: &Manifest, input: &str) -> Option<f64> {
    let size = manifest.check_input(input).ok()?;
    match size_of(manifest).filter(|_| manifest.cost.size.is_none()) {
        #[expect(clippy::cast_precision_loss, reason = "at most limits::TENSOR_ELEMENTS_MAX")]
        Some(proposed) => Some(manifest.parse_input(input).ok()?.get(&proposed.input)?.data().len() as f64),
        None => Some(size),
    }
}

/// What the manifest says that the size is; where it says nothing, what it could say: the elements of the first input that may vary.
fn size_of(manifest: &Manifest) -> Option<SizeOf> {
    let varies = |dim: &Dim| matches!(dim, Dim::Symbol(_));
    let proposed = || {
        let input = manifest.inputs.iter().find(|spec| spec.shape.iter().any(varies))?;
        Some(SizeOf { input: input.name.clone(), by: SizeBy::Elements })
    };
    match manifest.runner {
        Runner::Tensor => manifest.cost.size.clone().or_else(proposed),
        // Their runner says what the size is, and the manifest cannot.
        Runner::Text | Runner::Stepped | Runner::Scripted => manifest.cost.size.clone(),
    }
}

/// Memory that is really there of the process that this thread has started; `None` where there is none or the system does not tell.
fn resident_bytes() -> Option<u64> {
    let children = fs::read_to_string("/proc/thread-self/children").ok()?;
    let status = fs::read_to_string(format!("/proc/{}/status", children.split_whitespace().next()?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests;
