//! `siding bench inference`: a model through everything, beside a bare loop in the same process: the same sessions, as many threads as there
//! are slots, the same input. Bare loop and system take turns, so that a busy neighbour disturbs both alike.

mod bare;
mod checkpoints;
mod stops;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use siding_core::{
    clock::SystemClock,
    config::{Isolation, Settings},
    model::{
        catalog::Catalog,
        locate,
        manifest::{Manifest, Runner},
        repository::{Model, Repository},
    },
    telemetry::Metrics,
    tensor::{Datatype, Dim, TensorSpec},
};
use siding_producer::submit::Submission;
use siding_worker::runtime::{choose::Runtimes, onnx::Onnx};

use super::{Durations, Quantiles, median, print_line};
use crate::{
    check,
    process::guarded,
    seams::{self, Place, Seams},
    services::Services,
};

use bare::{Bare, Limit};

/// How the bench is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's name, whose newest version is measured; every model of the repository when `None`.
    pub model: Option<String>,
    /// The repository; the one that `make setup` fetched when `None`.
    pub models: Option<PathBuf>,
    /// How long each of bare loop and system is measured in one round.
    pub measure: Duration,
    /// Rounds; the printed figures are medians over them.
    pub rounds: usize,
    /// How many times as large as the manifest's example the input is.
    pub factor: usize,
    /// Whether the system runs the model in processes of their own: never, or always.
    pub isolation: Isolation,
}

/// One round, or the medians of all of them.
#[derive(Debug, Clone, Serialize)]
struct Line {
    bench: &'static str,
    model: String,
    runner: Runner,
    /// Whether the system ran the model in processes of their own; the raw loop never does.
    isolation: &'static str,
    round: Option<usize>,
    slots: usize,
    jobs_per_s: f64,
    /// The bare loop, one thread a slot.
    limit_jobs_per_s: f64,
    /// The share of the bare loop's time that ONNX Runtime had; 1 where the bare loop is nothing but its call.
    session_share: f64,
    /// The system to ONNX Runtime alone: `jobs_per_s / limit_jobs_per_s * session_share`.
    ratio: f64,
    /// One bare run, alone.
    raw: Quantiles,
    /// One job from submit to the follower's knowing the end, alone.
    idle: Quantiles,
    /// What the system adds to the model's own time, at the median.
    added_p50_ms: f64,
    /// From `stop` until the run has returned; measured once, told with the medians.
    stopped: Option<Quantiles>,
    /// What a checkpoint costs, where there is one; told with the medians.
    checkpoint: Option<checkpoints::Cost>,
}

/// Jobs in the latency part of a round.
const ALONE: usize = 100;
/// The latency part ends after so long, with at least one job.
const ALONE_MAX: Duration = Duration::from_secs(10);
/// Jobs submitted and not finished in the throughput part, for each slot.
const IN_FLIGHT_PER_SLOT: usize = 8;
/// How long one job may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the bench and prints one line a round and one of medians, for each model.
///
/// # Errors
/// When the model or the system cannot be started, or a job does not succeed.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut settings = Settings::load(None)?;
    // Never "new": what is measured must not change in the middle.
    settings.worker.isolation = options.isolation;
    let folder = options.models.clone().or_else(|| locate::cache_dir().map(|cache| locate::models_dir(&cache)));
    let folder = folder.context("no model repository: name one with --models, or run `make setup`")?;
    let repository = Repository::open(&folder, false)?;
    let onnx = Arc::new(Onnx::open(&settings.worker.onnxruntime, &["cpu"])?);
    let models = match &options.model {
        Some(name) => vec![repository.resolve(&name.parse()?, None)?],
        None => repository.models().to_vec(),
    };
    if models.is_empty() {
        bail!("the repository has no model");
    }
    let data = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (_held, services) =
        start(data.path(), &settings, &Catalog::of(repository), Runtimes::open(&settings.worker.onnxruntime, false)).await?;
    for model in models {
        let input: Arc<str> = match (&model.manifest.example, model.manifest.runner) {
            (Some(example), _) => example.as_str().into(),
            (None, Runner::Tensor) => zeros(&model.manifest).into(),
            (None, runner) => {
                bail!("model {}: a model of runner {runner} is measured on its [example], and has none", model.manifest.name)
            }
        };
        let input = match options.factor {
            0 | 1 => input,
            factor => match check::larger(&model.manifest, &input, factor) {
                Some(larger) => larger.into(),
                None => {
                    tracing::warn!(model.name = %model.manifest.name, factor, "its example cannot be made so large; left out");
                    continue;
                }
            },
        };
        let bench = Bench { options: &options, model, input, services: &services, settings: &settings };
        bench.measure(&onnx, settings.slots()).await?;
    }
    Ok(services.stop().await?)
}

async fn start(
    data: &Path,
    settings: &Settings,
    catalog: &Catalog,
    runtimes: Runtimes,
) -> anyhow::Result<(seams::Held, Services)> {
    let held = seams::hold(data)?;
    let seams = Seams::open(&Place::Alone(data.to_path_buf()), settings, Arc::new(SystemClock)).await?;
    let runtime = guarded(Arc::new(runtimes), settings, &Arc::new(Metrics::new()));
    let services = Services::start(&seams, settings, catalog, runtime)?;
    Ok((held, services))
}

struct Bench<'a> {
    options: &'a Options,
    model: Arc<Model>,
    input: Arc<str>,
    services: &'a Services,
    settings: &'a Settings,
}

impl Bench<'_> {
    async fn measure(&self, onnx: &Arc<Onnx>, slots: usize) -> anyhow::Result<()> {
        let mut bares = (0..slots).map(|_| Bare::load(onnx, &self.model, &self.input)).collect::<Result<Vec<_>, _>>()?;
        let mut lines = Vec::new();
        for round in 1..=self.options.rounds {
            let (line, back) = self.round(round, bares).await?;
            bares = back;
            print_line(&line)?;
            lines.push(line);
        }
        drop(bares);
        let stopped = Some(stops::measure(onnx, &self.model, &self.input).await?.quantiles());
        let checkpoint = checkpoints::measure(&self.settings.worker, &self.model, &self.input).await?;
        print_line(&Line { stopped, checkpoint, ..self.medians(&lines) })
    }

    async fn round(&self, round: usize, bares: Vec<Bare>) -> anyhow::Result<(Line, Vec<Bare>)> {
        let slots = bares.len();
        let (raw_alone, bares) = bare::alone(bares).await?;
        let (mut alone, begun) = (Durations::default(), Instant::now());
        for _ in 0..ALONE {
            alone.add(self.one_job().await?);
            if begun.elapsed() > ALONE_MAX {
                break;
            }
        }
        let (Limit { runs_per_s, session_share }, bares) = bare::together(bares, self.options.measure).await?;
        let jobs_per_s = self.together(slots * IN_FLIGHT_PER_SLOT).await?;
        let (raw, idle) = (raw_alone.quantiles(), alone.quantiles());
        let line = Line {
            bench: "inference",
            model: self.model.manifest.name.to_string(),
            runner: self.model.manifest.runner,
            isolation: word(self.options.isolation),
            round: Some(round),
            slots,
            jobs_per_s,
            limit_jobs_per_s: runs_per_s,
            session_share,
            ratio: jobs_per_s / runs_per_s * session_share,
            raw,
            idle,
            added_p50_ms: idle.p50_ms - raw.p50_ms,
            stopped: None,
            checkpoint: None,
        };
        Ok((line, bares))
    }

    fn medians(&self, lines: &[Line]) -> Line {
        let of = |pick: fn(&Line) -> f64| median(lines.iter().map(pick).collect());
        Line {
            bench: "inference",
            model: self.model.manifest.name.to_string(),
            runner: self.model.manifest.runner,
            isolation: word(self.options.isolation),
            round: None,
            slots: lines.first().map_or(0, |line| line.slots),
            jobs_per_s: of(|line| line.jobs_per_s),
            limit_jobs_per_s: of(|line| line.limit_jobs_per_s),
            session_share: of(|line| line.session_share),
            ratio: of(|line| line.ratio),
            raw: Quantiles { p50_ms: of(|line| line.raw.p50_ms), p99_ms: of(|line| line.raw.p99_ms) },
            idle: Quantiles { p50_ms: of(|line| line.idle.p50_ms), p99_ms: of(|line| line.idle.p99_ms) },
            added_p50_ms: of(|line| line.added_p50_ms),
            stopped: None,
            checkpoint: None,
        }
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
            stall_timeout_ms: None,
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

fn word(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Never => "never",
        Isolation::New => "new",
        Isolation::Always => "always",
    }
}

/// An input of zeros, every free dimension 1; for models whose manifest has no example.
pub(crate) fn zeros(manifest: &Manifest) -> String {
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
