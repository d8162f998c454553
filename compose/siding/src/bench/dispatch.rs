//! `siding bench dispatch`: jobs that compute nothing, through everything and durable: submit, commit, publish, claim, run, record, event,
//! follow. The limit on one machine is the same rows written by the same store, called directly in full groups, with nothing else running. With
//! Postgres and RabbitMQ (`SIDING_STORE__URL`, `SIDING_BROKER__URL`) it is a raw loop: the same rows by plain statements and as many confirmed,
//! consumed and acknowledged messages, without any code of ours around them.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use siding_core::{
    broker::rabbitmq::{self, raw::RawQueue},
    clock::SystemClock,
    config::Settings,
    estimate::{Estimate, Source},
    id::{JobId, LaneName, WorkerId},
    job::Finish,
    lane::Lane,
    limits,
    model::{catalog::Catalog, repository::Repository},
    store::{
        Claim, Claimed, NewJob, Payload, Record, RecordChange, Start,
        postgres::{self, raw::RawRows},
    },
};
use siding_producer::submit::Submission;
use siding_worker::runtime::scripted::Scripted;

use super::{Durations, Quantiles, median, print_line};
use crate::{
    seams::{self, Place, Seams},
    services::Services,
};

/// How the bench is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Jobs in one round of the throughput part.
    pub jobs: usize,
    /// Jobs submitted and not yet finished at any time in the throughput part.
    pub in_flight: usize,
    /// Jobs in the latency part, one after the other.
    pub latency_jobs: usize,
    /// Rounds; the printed figures are medians over them.
    pub rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { jobs: 20_000, in_flight: 1_000, latency_jobs: 1_000, rounds: 3 }
    }
}

/// One round, or the medians of all of them.
#[derive(Debug, Clone, Serialize)]
struct Line {
    bench: &'static str,
    round: Option<usize>,
    /// The setting `store.durability`.
    durability: String,
    jobs: usize,
    in_flight: usize,
    jobs_per_s: f64,
    /// The store alone, or the raw loop over Postgres and RabbitMQ: same rows, full groups.
    limit_jobs_per_s: f64,
    ratio: f64,
    /// From submit to the follower's knowing the end, with `in_flight` others.
    loaded: Quantiles,
    /// The same, alone.
    idle: Quantiles,
}

/// How long one job may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the bench and prints one line a round and one of medians.
///
/// # Errors
/// When the system cannot be started or a job does not end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for round in 1..=options.rounds {
        let line = round_of(options, round).await?;
        print_line(&line)?;
        lines.push(line);
    }
    let of = |pick: fn(&Line) -> f64| median(lines.iter().map(pick).collect());
    print_line(&Line {
        bench: "dispatch",
        round: None,
        durability: durability()?,
        jobs: options.jobs,
        in_flight: options.in_flight,
        jobs_per_s: of(|line| line.jobs_per_s),
        limit_jobs_per_s: of(|line| line.limit_jobs_per_s),
        ratio: of(|line| line.ratio),
        loaded: Quantiles { p50_ms: of(|line| line.loaded.p50_ms), p99_ms: of(|line| line.loaded.p99_ms) },
        idle: Quantiles { p50_ms: of(|line| line.idle.p50_ms), p99_ms: of(|line| line.idle.p99_ms) },
    })
}

async fn round_of(options: Options, round: usize) -> anyhow::Result<Line> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let settings = settings()?;
    let on_servers = !settings.store.url.is_empty() && !settings.broker.url.is_empty();
    if !settings.store.url.is_empty() {
        postgres::migrate(settings.store.url.expose()).await.context("the database cannot be migrated")?;
    }
    let (jobs_per_s, loaded, idle) = through_everything(options, &settings, &folder.path().join("system")).await?;
    let limit_jobs_per_s = match on_servers {
        true => servers_alone(options.jobs, &settings).await?,
        false => store_alone(options.jobs, &settings, &folder.path().join("limit")).await?,
    };
    Ok(Line {
        bench: "dispatch",
        round: Some(round),
        durability: durability()?,
        jobs: options.jobs,
        in_flight: options.in_flight,
        jobs_per_s,
        limit_jobs_per_s,
        ratio: jobs_per_s / limit_jobs_per_s,
        loaded,
        idle,
    })
}

/// The defaults with what `SIDING_<SECTION>__<KEY>` changes, for comparing settings.
fn settings() -> anyhow::Result<Settings> {
    let mut settings = Settings::load(None)?;
    settings.worker.scripted = true;
    // Queues of its own: what others have in theirs is not measured, and not touched.
    settings.broker.region = format!("bench-{}", JobId::generate().as_uuid().simple());
    Ok(settings)
}

fn durability() -> anyhow::Result<String> {
    Ok(format!("{:?}", settings()?.store.durability).to_lowercase())
}

fn lane_names(settings: &Settings) -> Vec<LaneName> {
    settings.lanes.iter().map(|lane| lane.name.clone()).collect()
}

async fn open(data: &Path, settings: &Settings) -> anyhow::Result<(seams::Held, Seams)> {
    let held = seams::hold(data)?;
    let seams = Seams::open(&Place::Alone(data.to_path_buf()), settings, Arc::new(SystemClock)).await?;
    Ok((held, seams))
}

async fn through_everything(options: Options, settings: &Settings, data: &Path) -> anyhow::Result<(f64, Quantiles, Quantiles)> {
    let (_held, seams) = open(data, settings).await?;
    let models = data.join("models");
    write_noop_model(&models)?;
    let catalog = Catalog::of(Repository::open(&models, true)?);
    let services = Services::start(&seams, settings, &catalog, Arc::new(Scripted::new()))?;
    let mut idle = Durations::default();
    for _ in 0..options.latency_jobs {
        idle.add(one_job(&services).await?);
    }
    let started = Instant::now();
    let mut ended = stream::iter(0..options.jobs).map(|_| one_job(&services)).buffer_unordered(options.in_flight);
    let mut loaded = Durations::default();
    while let Some(took) = ended.next().await {
        loaded.add(took?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
    let jobs_per_s = options.jobs as f64 / started.elapsed().as_secs_f64();
    drop(ended);
    services.stop().await?;
    seams.close().await;
    if !settings.broker.url.is_empty() {
        rabbitmq::raw::delete_region(&settings.broker, &lane_names(settings)).await?;
    }
    Ok((jobs_per_s, loaded.quantiles(), idle.quantiles()))
}

fn write_noop_model(models: &Path) -> anyhow::Result<()> {
    let folder = models.join("noop").join("1");
    std::fs::create_dir_all(&folder)?;
    let manifest = "name = \"noop\"\nversion = \"1\"\ndescription = \"Computes nothing.\"\nlicense = \"Apache-2.0 OR MIT\"\nsource = \"bench\"\nrunner = \"scripted\"\n\n[cost]\nbase_ms = 0.0\n";
    std::fs::write(folder.join("model.toml"), manifest)?;
    Ok(())
}

async fn one_job(services: &Services) -> anyhow::Result<Duration> {
    let submission = Submission {
        id: None,
        idempotency_key: None,
        model: "noop".parse()?,
        version: None,
        input: r#"{"op":"noop"}"#.into(),
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
    let intake = services.intake().context("a producer runs")?;
    let accepted = intake.submit(submission).await?;
    match services.follower().context("a producer runs")?.finished(accepted.job.id, PATIENCE).await {
        Some(event) if event.kind.as_str() == "succeeded" => Ok(started.elapsed()),
        Some(event) => bail!("job {} ended as {}", accepted.job.id, event.kind),
        None => bail!("job {} did not end within {PATIENCE:?}", accepted.job.id),
    }
}

/// What a message of ours weighs, in bytes.
const ENVELOPE_BYTES: usize = 300;
/// Chains of submit, claim and record that write at once, so that one chain's text is made while another's is written.
const CHAINS: usize = 4;

/// Jobs a second that the store takes when it is called directly: submit, claim, record, each in full groups.
async fn store_alone(jobs: usize, settings: &Settings, data: &Path) -> anyhow::Result<f64> {
    let (_held, seams) = open(data, settings).await?;
    let lane = settings.lanes()?.as_slice()[0].clone();
    let started = Instant::now();
    futures::future::try_join_all((0..CHAINS).map(|_| chain(&seams, &lane, jobs / CHAINS))).await?;
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
    Ok((jobs / CHAINS * CHAINS) as f64 / started.elapsed().as_secs_f64())
}

async fn chain(seams: &Seams, lane: &Lane, jobs: usize) -> anyhow::Result<()> {
    let worker = WorkerId::generate();
    let mut done = 0;
    while done < jobs {
        let group: Vec<NewJob> = (0..limits::GROUP_ROWS_MAX.min(jobs - done)).map(|_| noop_row(&lane.name)).collect();
        let claims: Vec<Claim> =
            group.iter().map(|job| Claim { job: job.id, lease: lane.lease(), message: None, takeover: false }).collect();
        done += group.len();
        seams.submissions.submit(group).await?;
        let records: Vec<Record> = seams.attempts.claim(worker, &claims).await?.into_iter().filter_map(finished_record).collect();
        anyhow::ensure!(records.len() == claims.len(), "every claim is granted");
        seams.attempts.record(&records).await?;
    }
    Ok(())
}

/// Jobs a second of the raw loop over the servers: rows, messages and rows again, in full groups, in as many chains.
async fn servers_alone(jobs: usize, settings: &Settings) -> anyhow::Result<f64> {
    let mut chains = Vec::new();
    for _ in 0..CHAINS {
        chains.push((RawRows::open(&settings.store).await?, RawQueue::open(&settings.broker).await?));
    }
    let started = Instant::now();
    let chains = chains.into_iter().map(|(rows, queue)| raw_chain(rows, queue, jobs / CHAINS));
    let chains = futures::future::try_join_all(chains).await?;
    let took = started.elapsed();
    for (rows, queue) in chains {
        queue.delete().await?;
        rows.close().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
    Ok((jobs / CHAINS * CHAINS) as f64 / took.as_secs_f64())
}

async fn raw_chain(mut rows: RawRows, mut queue: RawQueue, jobs: usize) -> anyhow::Result<(RawRows, RawQueue)> {
    let mut done = 0;
    while done < jobs {
        let group: Vec<JobId> = (0..limits::GROUP_ROWS_MAX.min(jobs - done)).map(|_| JobId::generate()).collect();
        done += group.len();
        rows.submit(&group).await?;
        // As large as an envelope.
        queue.publish(&vec![vec![b'x'; ENVELOPE_BYTES]; group.len()]).await?;
        anyhow::ensure!(rows.claim(&group).await? == group.len(), "every row is there");
        rows.record(&group).await?;
        queue.take(group.len()).await?;
    }
    Ok((rows, queue))
}

fn noop_row(lane: &LaneName) -> NewJob {
    NewJob {
        id: JobId::generate(),
        model: "noop".parse().expect("valid name"),
        version: "1".parse().expect("valid version"),
        input: Payload::Inline(r#"{"op":"noop"}"#.into()),
        idempotency_key: None,
        fingerprint: [0; 32],
        lane: lane.clone(),
        estimate: Estimate { p50_ms: 0.0, p90_ms: 0.0, source: Source::Manifest },
        attempts_max: 3,
        start: Start::In(Duration::ZERO),
        start_deadline: None,
        run_timeout: Duration::from_secs(30),
        stall_timeout: None,
        retry_of: None,
        traceparent: None,
    }
}

fn finished_record(claimed: Claimed) -> Option<Record> {
    let Claimed::Run(work) = claimed else { return None };
    let finish = Finish::Succeeded { output: Payload::Inline("null".into()) };
    let change = RecordChange::Finish { finish, run: Duration::ZERO };
    Some(Record { job: work.job, attempt: work.attempt, change })
}
