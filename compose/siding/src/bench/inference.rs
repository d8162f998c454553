//! `siding bench inference --model M`: one model through everything, beside a raw ONNX Runtime loop in the same process: the same sessions,
//! as many threads as there are slots, the same input. Raw and system take turns, so that a busy neighbour disturbs both alike.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use siding_core::{
    clock::SystemClock,
    config::Settings,
    drain::Drain,
    model::{
        catalog::Catalog,
        locate,
        manifest::{Manifest, Runner},
        repository::{Model, Repository},
    },
    tensor::{Datatype, Dim, TensorSpec},
};
use siding_producer::submit::Submission;
use siding_worker::runtime::{
    choose::Runtimes,
    onnx::{Onnx, raw::Raw},
};

use super::{Durations, Quantiles, median, print_line};
use tokio::sync::oneshot;

use crate::{
    seams::{self, Place, Seams},
    services::Services,
};

/// How the bench is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's name; its newest version is measured.
    pub model: String,
    /// The repository; the one that `make setup` fetched when `None`.
    pub models: Option<std::path::PathBuf>,
    /// How long each of raw and system is measured in one round.
    pub measure: Duration,
    /// Rounds; the printed figures are medians over them.
    pub rounds: usize,
}

/// One round, or the medians of all of them.
#[derive(Debug, Clone, Serialize)]
struct Line {
    bench: &'static str,
    model: String,
    round: Option<usize>,
    slots: usize,
    jobs_per_s: f64,
    /// The raw loop, one thread a slot.
    limit_jobs_per_s: f64,
    ratio: f64,
    /// One raw run, alone.
    raw: Quantiles,
    /// One job from submit to the follower's knowing the end, alone.
    idle: Quantiles,
    /// What the system adds to the model's own time, at the median.
    added_p50_ms: f64,
}

/// Jobs in the latency part of a round.
const ALONE: usize = 100;
/// Jobs submitted and not finished in the throughput part, for each slot.
const IN_FLIGHT_PER_SLOT: usize = 8;
/// How long one job may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the bench and prints one line a round and one of medians.
///
/// # Errors
/// When the model or the system cannot be started, or a job does not succeed.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let settings = Settings::load(None)?;
    let folder = options.models.clone().or_else(|| locate::cache_dir().map(|cache| locate::models_dir(&cache)));
    let folder = folder.context("no model repository: name one with --models, or run `make setup`")?;
    let repository = Repository::open(&folder, false)?;
    let model = repository.resolve(&options.model.parse()?, None)?;
    if model.manifest.runner != Runner::Tensor {
        bail!("model {} has runner {}; only `tensor` has a raw loop to compare with", options.model, model.manifest.runner);
    }
    let onnx = Onnx::open(&settings.worker.onnxruntime, &["cpu"])?;
    let input: Arc<str> = model.manifest.example.clone().unwrap_or_else(|| zeros(&model.manifest)).into();
    let mut raws = (0..settings.slots()).map(|_| onnx.raw(&model, &input)).collect::<Result<Vec<_>, _>>()?;
    let data = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (_held, services) = start(data.path(), &settings, &Catalog::of(repository), Runtimes::of(Ok(onnx), false)).await?;
    let bench = Bench { options: &options, model, input, services };
    let mut lines = Vec::new();
    for round in 1..=options.rounds {
        let (line, back) = bench.round(round, raws).await?;
        raws = back;
        print_line(&line)?;
        lines.push(line);
    }
    print_line(&medians(&lines))?;
    Ok(bench.services.stop().await?)
}

async fn start(
    data: &Path,
    settings: &Settings,
    catalog: &Catalog,
    runtimes: Runtimes,
) -> anyhow::Result<(seams::Held, Services)> {
    let held = seams::hold(data)?;
    let seams = Seams::open(&Place::Alone(data.to_path_buf()), settings, Arc::new(SystemClock)).await?;
    let services = Services::start(&seams, settings, catalog, Arc::new(runtimes))?;
    Ok((held, services))
}

struct Bench<'a> {
    options: &'a Options,
    model: Arc<Model>,
    input: Arc<str>,
    services: Services,
}

impl Bench<'_> {
    async fn round(&self, round: usize, raws: Vec<Raw>) -> anyhow::Result<(Line, Vec<Raw>)> {
        let slots = raws.len();
        let (raw_alone, raws) = raw_alone(raws).await?;
        let mut alone = Durations::default();
        for _ in 0..ALONE {
            alone.add(self.one_job().await?);
        }
        let (limit, raws) = raw_together(raws, self.options.measure).await?;
        let jobs_per_s = self.together(slots * IN_FLIGHT_PER_SLOT).await?;
        let (raw, idle) = (raw_alone.quantiles(), alone.quantiles());
        let line = Line {
            bench: "inference",
            model: self.options.model.clone(),
            round: Some(round),
            slots,
            jobs_per_s,
            limit_jobs_per_s: limit,
            ratio: jobs_per_s / limit,
            raw,
            idle,
            added_p50_ms: idle.p50_ms - raw.p50_ms,
        };
        Ok((line, raws))
    }

    /// Jobs a second with so many in flight all the time, for the measured time.
    async fn together(&self, in_flight: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        let until = started + self.options.measure;
        let jobs = stream::repeat(()).take_while(|()| std::future::ready(Instant::now() < until)).map(|()| self.one_job());
        let mut ended = std::pin::pin!(jobs.buffer_unordered(in_flight));
        let (mut in_time, mut last) = (0_u32, started.elapsed());
        while let Some(took) = ended.next().await {
            took?;
            // Only while all slots have work: the run-out at the end is not throughput.
            if Instant::now() < until {
                in_time += 1;
                last = started.elapsed();
            }
        }
        Ok(f64::from(in_time) / last.as_secs_f64())
    }

    async fn one_job(&self) -> anyhow::Result<Duration> {
        let submission = Submission {
            id: None,
            idempotency_key: None,
            model: self.model.manifest.name.clone(),
            version: Some(self.model.manifest.version.clone()),
            input: self.input.clone(),
            expected_ms: None,
            delay_ms: None,
            start_at: None,
            start_deadline_ms: None,
            run_timeout_ms: None,
            attempts_max: None,
            traceparent: None,
        };
        let started = Instant::now();
        let intake = self.services.intake().context("a producer runs")?;
        let accepted = intake.submit(submission).await?;
        match self.services.follower().context("a producer runs")?.finished(accepted.job.id, PATIENCE).await {
            Some(event) if event.kind.as_str() == "succeeded" => Ok(started.elapsed()),
            Some(event) => bail!("job {} ended as {}: {}", accepted.job.id, event.kind, event.data),
            None => bail!("job {} did not end within {PATIENCE:?}", accepted.job.id),
        }
    }
}

/// Runs blocking `work` on threads of their own, all at once, and returns what they return.
async fn blocking<T: Send + 'static>(work: Vec<impl FnOnce() -> T + Send + 'static>) -> anyhow::Result<Vec<T>> {
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

async fn raw_alone(mut raws: Vec<Raw>) -> anyhow::Result<(Durations, Vec<Raw>)> {
    let run = move || {
        let mut durations = Durations::default();
        for _ in 0..ALONE {
            let started = Instant::now();
            raws[0].run()?;
            durations.add(started.elapsed());
        }
        Ok((durations, raws))
    };
    blocking(vec![run]).await?.remove(0)
}

/// Runs a second, one thread for each raw loop.
async fn raw_together(raws: Vec<Raw>, measure: Duration) -> anyhow::Result<(f64, Vec<Raw>)> {
    let until = Instant::now() + measure;
    let loops = raws.into_iter().map(|mut raw| {
        move || {
            let (started, mut runs) = (Instant::now(), 0_u32);
            while Instant::now() < until {
                raw.run()?;
                runs += 1;
            }
            anyhow::Ok((f64::from(runs) / started.elapsed().as_secs_f64(), raw))
        }
    });
    let mut total = 0.0;
    let mut back = Vec::new();
    for ended in blocking(loops.collect()).await? {
        let (per_s, raw) = ended?;
        total += per_s;
        back.push(raw);
    }
    Ok((total, back))
}

fn medians(lines: &[Line]) -> Line {
    let of = |pick: fn(&Line) -> f64| median(lines.iter().map(pick).collect());
    Line {
        bench: "inference",
        model: lines.first().map(|line| line.model.clone()).unwrap_or_default(),
        round: None,
        slots: lines.first().map_or(0, |line| line.slots),
        jobs_per_s: of(|line| line.jobs_per_s),
        limit_jobs_per_s: of(|line| line.limit_jobs_per_s),
        ratio: of(|line| line.ratio),
        raw: Quantiles { p50_ms: of(|line| line.raw.p50_ms), p99_ms: of(|line| line.raw.p99_ms) },
        idle: Quantiles { p50_ms: of(|line| line.idle.p50_ms), p99_ms: of(|line| line.idle.p99_ms) },
        added_p50_ms: of(|line| line.added_p50_ms),
    }
}

/// An input of zeros, every free dimension 1; for models whose manifest has no example.
fn zeros(manifest: &Manifest) -> String {
    let tensor = |spec: &TensorSpec| {
        let shape: Vec<usize> = spec.shape.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 }).collect();
        let zero = match spec.datatype {
            Datatype::Bool => "false",
            Datatype::Bytes => "\"\"",
            _ => "0",
        };
        let data = vec![zero; shape.iter().product()].join(",");
        format!("\"{}\":{{\"shape\":{shape:?},\"data\":[{data}]}}", spec.name)
    };
    format!("{{{}}}", manifest.inputs.iter().map(tensor).collect::<Vec<_>>().join(","))
}
