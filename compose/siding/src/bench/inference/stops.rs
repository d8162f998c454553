//! How long a run goes on after it was told to stop. The model runs without a pause, and is stopped at moments that have nothing to do with what
//! it is doing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use siding_core::model::repository::Model;
use siding_worker::runtime::{LoadedModel, ModelRuntime, RunControl, RunError, onnx::Onnx};

use super::{super::Durations, bare::blocking};

/// How often it is stopped.
const STOPS: u64 = 50;
/// Longest time until a stop; the moments are spread evenly below it.
const STOP_WITHIN_MS: u64 = 200;

/// Stops the model so often; from the call of `stop` until the run has returned.
pub async fn measure(onnx: &Onnx, model: &Model, input: &Arc<str>) -> anyhow::Result<Durations> {
    let mut loaded = onnx.load(model)?;
    let mut durations = Durations::default();
    for stop in 0..STOPS {
        let control = Arc::new(RunControl::new(drop));
        let running = {
            let (input, control) = (input.clone(), control.clone());
            blocking(vec![move || (run_until_stopped(&mut *loaded, &input, &control), loaded)])
        };
        let stopping = async {
            // A step that has no divisor in common with the span visits all of it.
            tokio::time::sleep(Duration::from_millis(1 + stop * 61 % STOP_WITHIN_MS)).await;
            let told = Instant::now();
            control.stop();
            told
        };
        let (ran, told) = tokio::join!(running, stopping);
        let (ended, back) = ran?.remove(0);
        loaded = back;
        durations.add(ended?.saturating_duration_since(told));
    }
    Ok(durations)
}

/// When the run that was stopped had returned.
fn run_until_stopped(loaded: &mut dyn LoadedModel, input: &str, control: &RunControl) -> Result<Instant, RunError> {
    loop {
        match loaded.run(input, control) {
            Ok(_) if !control.is_stopped() => {}
            Ok(_) | Err(RunError::Stopped) => return Ok(Instant::now()),
            Err(error) => return Err(error),
        }
    }
}
