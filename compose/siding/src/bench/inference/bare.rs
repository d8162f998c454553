//! What the system is measured against: the same model on the same input, on as many threads as there are slots, with nothing of the queue
//! around it. For a model of tensors that is ONNX Runtime's own call and nothing else; for the other runners it is the runner, and how much
//! of its time ONNX Runtime had is measured with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use siding_core::{
    drain::Drain,
    model::{manifest::Runner, repository::Model},
};
use siding_worker::runtime::{
    LoadedModel, ModelRuntime, RunControl, RunError,
    onnx::{Onnx, raw::Raw, session_time},
};
use tokio::sync::oneshot;

use super::super::Durations;

/// Runs in the latency part of a round.
const ALONE: usize = 100;
/// The latency part ends after so long, with at least one run.
const ALONE_MAX: Duration = Duration::from_secs(10);

/// One slot's worth of the model.
pub enum Bare {
    /// ONNX Runtime alone.
    Raw(Raw),
    /// The runner, with its input.
    Runner(Box<dyn LoadedModel>, Arc<str>),
}

/// What several of them did together.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Runs a second, all threads together.
    pub runs_per_s: f64,
    /// The share of the threads' time that ONNX Runtime had; 1 for the raw loop.
    pub session_share: f64,
}

impl Bare {
    /// Loads the model for one slot.
    pub fn load(onnx: &Onnx, model: &Model, input: &Arc<str>) -> anyhow::Result<Self> {
        Ok(match model.manifest.runner {
            Runner::Tensor => Self::Raw(onnx.raw(model, input)?),
            Runner::Text | Runner::Stepped | Runner::Scripted => Self::Runner(onnx.load(model)?, input.clone()),
        })
    }

    fn run(&mut self) -> Result<(), RunError> {
        match self {
            Self::Raw(raw) => raw.run(),
            Self::Runner(model, input) => model.run(input, &RunControl::new(drop)).map(drop),
        }
    }
}

/// Runs the first one alone, again and again.
pub async fn alone(mut bares: Vec<Bare>) -> anyhow::Result<(Durations, Vec<Bare>)> {
    let run = move || {
        let (mut durations, begun) = (Durations::default(), Instant::now());
        for _ in 0..ALONE {
            let started = Instant::now();
            bares[0].run()?;
            durations.add(started.elapsed());
            if begun.elapsed() > ALONE_MAX {
                break;
            }
        }
        Ok((durations, bares))
    };
    blocking(vec![run]).await?.remove(0)
}

/// Runs all of them at once for `measure`.
pub async fn together(bares: Vec<Bare>, measure: Duration) -> anyhow::Result<(Limit, Vec<Bare>)> {
    let until = Instant::now() + measure;
    let loops = bares.into_iter().map(|mut bare| {
        move || {
            let (started, before, mut runs) = (Instant::now(), session_time(), 0_u32);
            while runs == 0 || Instant::now() < until {
                bare.run()?;
                runs += 1;
            }
            let took = started.elapsed().as_secs_f64();
            let share = match &bare {
                Bare::Raw(_) => 1.0,
                Bare::Runner(..) => (session_time() - before).as_secs_f64() / took,
            };
            anyhow::Ok((f64::from(runs) / took, share, bare))
        }
    });
    let (mut runs_per_s, mut shares, mut back) = (0.0, 0.0, Vec::new());
    for ended in blocking(loops.collect()).await? {
        let (per_s, share, bare) = ended?;
        runs_per_s += per_s;
        shares += share;
        back.push(bare);
    }
    #[expect(clippy::cast_precision_loss, reason = "slots are few")]
    let session_share = shares / back.len() as f64;
    Ok((Limit { runs_per_s, session_share }, back))
}

/// Runs blocking `work` on threads of their own, all at once, and returns what they return.
pub async fn blocking<T: Send + 'static>(work: Vec<impl FnOnce() -> T + Send + 'static>) -> anyhow::Result<Vec<T>> {
    let drain = Drain::new();
    let mut answers = Vec::new();
    for work in work {
        let (answer, answered) = oneshot::channel();
        // Nobody waits for the answer only when another thread has failed before.
        drain.spawn_blocking(move || drop(answer.send(work())));
        answers.push(answered);
    }
    Ok(futures::future::try_join_all(answers).await?)
}
