//! The metrics, all of them, as OpenTelemetry instruments that Prometheus reads at `/metrics`. Names and label values come from here
//! and are bounded: lanes and models are configuration, everything else is an enum. One `Metrics` per process part, passed by
//! handle, so that two systems in one test do not count into each other.

mod models;

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter, MeterProvider, UpDownCounter},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use crate::{
    broker::Standing,
    id::{LaneName, ModelName},
    job::State,
};

/// How an attempt ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// With a result.
    Succeeded,
    /// With an error, for good.
    Failed,
    /// With an error, to be tried again.
    Retrying,
    /// Handed back.
    Interrupted,
    /// Stopped after a cancel.
    Stopped,
    /// Its worker was lost: the sweep or the next claim found it.
    Lost,
    /// Its record was refused: another attempt holds the job.
    Fenced,
}

impl AttemptEnd {
    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Retrying => "retrying",
            Self::Interrupted => "interrupted",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::Fenced => "fenced",
        }
    }
}

/// What became of a publication, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has it.
    Confirmed,
    /// The broker does not want it.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Which loop published, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Right behind the submission.
    FastPath,
    /// The relay.
    Relay,
}

/// How a dead job was dealt with, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DealtWith {
    /// Run again, by a request for this one job.
    Retried,
    /// Run again, by a request for dead jobs.
    Replayed,
    /// Let rest.
    Dropped,
}

impl DealtWith {
    /// The word used in labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }
}

/// Where a checkpoint was refused, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointRefused {
    /// The blob store did not take it: the run goes on without.
    Write,
    /// The state is larger than one may be: the run goes on without.
    TooLarge,
    /// A run could not go on from it and began from nothing.
    Read,
}

/// Every instrument. Cheap to use from any thread.
#[derive(Debug)]
pub struct Metrics {
    /// Those of models.
    pub models: models::Models,
    registry: Registry,
    /// Keeps the reader alive; dropped with the handle.
    _provider: SdkMeterProvider,
    submitted: Counter<u64>,
    refused: Counter<u64>,
    finished: Counter<u64>,
    dealt_with: Counter<u64>,
    attempts: Counter<u64>,
    published: Counter<u64>,
    skipped: Counter<u64>,
    wait: Histogram<f64>,
    run: Histogram<f64>,
    cancel: Histogram<f64>,
    store_errors: Counter<u64>,
    unpublished: Gauge<u64>,
    slots_busy: Gauge<u64>,
    slots: Gauge<u64>,
    streams: UpDownCounter<i64>,
    broker_connected: Gauge<u64>,
    broker_blocked: Gauge<u64>,
    hints_dropped: Counter<u64>,
    lost_messages: Counter<u64>,
    unreadable: Counter<u64>,
    dead_letters: Counter<u64>,
    dead_letters_kept: Gauge<u64>,
    checkpoints: Counter<u64>,
    checkpoint_bytes: Counter<u64>,
    checkpoint_seconds: Histogram<f64>,
    checkpoints_refused: Counter<u64>,
    model_crashes: Counter<u64>,
    model_loads_refused: Counter<u64>,
}

/// Upper bounds of the wait and run histograms, in seconds: lanes reach from milliseconds to hours.
const SECONDS: [f64; 15] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 1800.0, 7200.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh instruments with a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .expect("a fresh registry has no collector to conflict with");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("siding");
        let count = |name: &'static str, about: &'static str| meter.u64_counter(name).with_description(about).build();
        Self {
            submitted: count("siding_jobs_submitted", "Jobs accepted, by lane."),
            refused: count("siding_submissions_refused", "Submissions refused, by reason."),
            finished: count("siding_jobs_finished", "Jobs that reached a terminal state, by lane, model and state."),
            dealt_with: count("siding_dead_jobs_dealt_with", "Dead jobs that somebody dealt with, by lane and how."),
            attempts: count("siding_job_attempts", "Attempts ended, by lane and how."),
            published: count("siding_publications", "Messages published, by path and outcome."),
            skipped: count("siding_deliveries_skipped", "Deliveries whose job was not ours to run, by reason."),
            store_errors: count("siding_store_errors", "Store calls that failed, by call."),
            wait: seconds(&meter, "siding_job_wait_seconds", "From due to started, by lane."),
            run: seconds(&meter, "siding_job_run_seconds", "Computation of one attempt, by lane."),
            cancel: seconds(
                &meter,
                "siding_cancel_to_stopped_seconds",
                "From the worker's hearing of a cancel to the end of the computation.",
            ),
            unpublished: gauge(&meter, "siding_unpublished_jobs", "Due jobs that the broker has not taken yet."),
            slots_busy: gauge(&meter, "siding_slots_busy", "Slots that run a job."),
            slots: gauge(&meter, "siding_slots", "Slots of this worker."),
            streams: meter.i64_up_down_counter("siding_streams_open").with_description("Event streams open now.").build(),
            broker_connected: gauge(&meter, "siding_broker_connected", "Whether there is a connection to the broker."),
            broker_blocked: gauge(&meter, "siding_broker_blocked", "Whether the broker takes no messages."),
            hints_dropped: count("siding_hints_dropped", "Hints that did not go out to other processes."),
            lost_messages: count("siding_messages_lost", "Messages that were in no queue although their jobs waited for them."),
            unreadable: count("siding_messages_unreadable", "Messages that were set aside because they cannot be read."),
            dead_letters: count("siding_dead_letters", "Dead letters that were read back, by what was done."),
            dead_letters_kept: gauge(&meter, "siding_dead_letters_kept", "Dead letters that nobody can read."),
            checkpoints: count("siding_checkpoints", "Checkpoints written."),
            checkpoint_bytes: count("siding_checkpoint_bytes", "Bytes of checkpoints written."),
            checkpoint_seconds: seconds(
                &meter,
                "siding_checkpoint_seconds",
                "Writing of one checkpoint, for which its run waits.",
            ),
            checkpoints_refused: count("siding_checkpoints_refused", "Checkpoints that were not taken, or not gone on from."),
            model_crashes: count("siding_model_crashes", "Model processes that crashed or had to be killed, by model."),
            model_loads_refused: count(
                "siding_model_loads_refused",
                "Loads refused because the model has crashed too often, by model.",
            ),
            models: models::Models::new(&meter),
            registry,
            _provider: provider,
        }
    }

    /// The current values in Prometheus' text form.
    #[must_use]
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// A job was accepted.
    pub fn submitted(&self, lane: &LaneName) {
        self.submitted.add(1, &[label("lane", lane.as_str())]);
    }

    /// So many submissions were refused; `reason` is a problem code.
    pub fn refused(&self, reason: &'static str, count: u64) {
        self.refused.add(count, &[KeyValue::new("reason", reason)]);
    }

    /// A job reached a terminal state.
    pub fn finished(&self, lane: &LaneName, model: &ModelName, state: State) {
        self.finished
            .add(1, &[label("lane", lane.as_str()), label("model", model.as_str()), KeyValue::new("state", state.as_str())]);
    }

    /// A dead job was dealt with.
    pub fn dealt_with(&self, lane: &LaneName, how: DealtWith) {
        self.dealt_with.add(1, &[label("lane", lane.as_str()), KeyValue::new("how", how.as_str())]);
    }

    /// An attempt ended.
    pub fn attempt(&self, lane: &LaneName, end: AttemptEnd) {
        self.attempts.add(1, &[label("lane", lane.as_str()), KeyValue::new("end", end.as_str())]);
    }

    /// Messages were published.
    pub fn published(&self, source: Source, outcome: PublishOutcome, count: u64) {
        let source = match source {
            Source::FastPath => "fast_path",
            Source::Relay => "relay",
        };
        let outcome = match outcome {
            PublishOutcome::Confirmed => "confirmed",
            PublishOutcome::Refused => "refused",
            PublishOutcome::Unknown => "unknown",
        };
        self.published.add(count, &[KeyValue::new("source", source), KeyValue::new("outcome", outcome)]);
    }

    /// A delivery was settled without running its job.
    pub fn skipped(&self, reason: &'static str) {
        self.skipped.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// A store call failed, after its retries.
    pub fn store_error(&self, call: &'static str) {
        self.store_errors.add(1, &[KeyValue::new("call", call)]);
    }

    /// A job waited this long before it started.
    pub fn waited(&self, lane: &LaneName, waited: Duration) {
        self.wait.record(waited.as_secs_f64(), &[label("lane", lane.as_str())]);
    }

    /// An attempt computed this long.
    pub fn ran(&self, lane: &LaneName, run: Duration) {
        self.run.record(run.as_secs_f64(), &[label("lane", lane.as_str())]);
    }

    /// A cancelled computation stopped this long after its worker heard of the cancel.
    pub fn stopped_after(&self, after: Duration) {
        self.cancel.record(after.as_secs_f64(), &[]);
    }

    /// So many due jobs wait for the broker.
    pub fn unpublished(&self, jobs: usize) {
        self.unpublished.record(jobs as u64, &[]);
    }

    /// So many of the worker's slots run a job.
    pub fn slots(&self, busy: usize, all: usize) {
        self.slots_busy.record(busy as u64, &[]);
        self.slots.record(all as u64, &[]);
    }

    /// The broker stands so.
    pub fn broker(&self, standing: Standing) {
        self.broker_connected.record(u64::from(standing != Standing::Away), &[]);
        self.broker_blocked.record(u64::from(standing == Standing::Blocked), &[]);
    }

    /// Hints were dropped on their way to other processes.
    pub fn hints_dropped(&self, hints: usize) {
        self.hints_dropped.add(hints as u64, &[]);
    }

    /// Jobs waited for messages that were in no queue.
    pub fn lost_messages(&self, messages: u64) {
        self.lost_messages.add(messages, &[]);
    }

    /// A message was set aside.
    pub fn unreadable(&self) {
        self.unreadable.add(1, &[]);
    }

    /// A dead letter was read back.
    pub fn dead_letter(&self, done: &'static str) {
        self.dead_letters.add(1, &[KeyValue::new("done", done)]);
    }

    /// So many dead letters wait for a human.
    pub fn dead_letters_kept(&self, letters: u64) {
        self.dead_letters_kept.record(letters, &[]);
    }

    /// A checkpoint was written, which took the run so long.
    pub fn checkpoint_written(&self, bytes: u64, took: Duration) {
        self.checkpoints.add(1, &[]);
        self.checkpoint_bytes.add(bytes, &[]);
        self.checkpoint_seconds.record(took.as_secs_f64(), &[]);
    }

    /// A checkpoint was refused.
    pub fn checkpoint_refused(&self, at: CheckpointRefused) {
        let at = match at {
            CheckpointRefused::Write => "write",
            CheckpointRefused::TooLarge => "too_large",
            CheckpointRefused::Read => "read",
        };
        self.checkpoints_refused.add(1, &[KeyValue::new("at", at)]);
    }

    /// The process of a model crashed, or had to be killed.
    pub fn model_crashed(&self, model: &ModelName) {
        self.model_crashes.add(1, &[label("model", model.as_str())]);
    }

    /// A model was not loaded because it has crashed too often.
    pub fn model_load_refused(&self, model: &ModelName) {
        self.model_loads_refused.add(1, &[label("model", model.as_str())]);
    }

    /// A stream opened (`1`) or closed (`-1`).
    pub fn streams_changed(&self, by: i64) {
        self.streams.add(by, &[]);
    }
}

fn label(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

fn seconds(meter: &Meter, name: &'static str, about: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_description(about).with_boundaries(SECONDS.to_vec()).build()
}

fn gauge(meter: &Meter, name: &'static str, about: &'static str) -> Gauge<u64> {
    meter.u64_gauge(name).with_description(about).build()
}

#[cfg(test)]
mod tests;
