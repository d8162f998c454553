//! What one checkpoint costs its run: the state is copied, put into its form and written to a folder, as a slot does it. Only computations that
//! can be divided have one.

use std::{sync::Arc, time::Instant};

use anyhow::Context;
use bytes::Bytes;
use serde::Serialize;
use siding_core::{
    blob::Blobs,
    config,
    id::{Attempt, JobId},
    model::repository::Model,
};
use siding_worker::{
    checkpoint::{Identity, encode},
    runtime::{Computation, ModelRuntime, Progress, RunControl, Step, onnx::Onnx},
};

use super::super::{Durations, Quantiles};

/// How often it is written.
const WRITES: usize = 20;

/// One model's.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Its size.
    pub bytes: usize,
    /// Its time, for which the run waits.
    pub took: Quantiles,
    /// Its share of the run at the setting `worker.checkpoint_ms`.
    pub share: f64,
}

/// Measures on the example's state after the first step; `None` when its computation cannot be divided, or is over by then.
pub async fn measure(settings: &config::Worker, model: &Model, input: &Arc<str>) -> anyhow::Result<Option<Cost>> {
    // Each run a step: an example may be over within one of the usual length.
    let mut loaded = Onnx::open(&settings.onnxruntime, &["cpu"])?.with_step_ms(0).load(model)?;
    let computation = loaded.begin(input, None)?;
    let Some((computation, progress)) = after_a_step(computation)? else { return Ok(None) };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let blobs = Blobs::new(Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder.path())?));
    let identity = Identity::new(JobId::generate(), &model.manifest, input);
    let (mut took, mut bytes) = (Durations::default(), 0);
    for attempt in 0..WRITES {
        let started = Instant::now();
        let state = computation.save().context("a computation that could be saved cannot be saved")?;
        // Another attempt, other bytes: nothing is there already.
        let encoded = encode(&identity, Attempt(u32::try_from(attempt)?), progress, &state);
        bytes = encoded.len();
        blobs.put(Bytes::from(encoded)).await?;
        took.add(started.elapsed());
    }
    let took = took.quantiles();
    #[expect(clippy::cast_precision_loss, reason = "some seconds in milliseconds")]
    let share = took.p50_ms / settings.checkpoint_ms.max(1) as f64;
    Ok(Some(Cost { bytes, took, share }))
}

fn after_a_step(mut computation: Box<dyn Computation>) -> anyhow::Result<Option<(Box<dyn Computation>, Progress)>> {
    Ok(match computation.step(&RunControl::new(drop))? {
        Step::Done(_) => None,
        Step::More(progress) => computation.save().is_some().then_some((computation, progress)),
    })
}
