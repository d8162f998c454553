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
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_prometheus_reads() {
        let metrics = Metrics::new();
        let lane: LaneName = "instant".parse().expect("name");
        metrics.submitted(&lane);
        metrics.submitted(&lane);
        metrics.waited(&lane, Duration::from_millis(3));
        let text = metrics.render();
        assert!(text.contains("siding_jobs_submitted_total{lane=\"instant\"} 2"), "{text}");
        assert!(text.contains("siding_job_wait_seconds_count{lane=\"instant\"} 1"), "{text}");
    }

    /// Every instrument with a value, whatever it is.
    fn touched() -> Metrics {
        let metrics = Metrics::new();
        let (lane, model) = ("instant".parse().expect("name"), "m".parse().expect("name"));
        metrics.submitted(&lane);
        metrics.refused("busy", 1);
        metrics.finished(&lane, &model, State::Succeeded);
        metrics.dealt_with(&lane, DealtWith::Dropped);
        metrics.attempt(&lane, AttemptEnd::Succeeded);
        metrics.published(Source::Relay, PublishOutcome::Confirmed, 1);
        metrics.skipped("held");
        metrics.store_error("claim");
        metrics.waited(&lane, Duration::ZERO);
        metrics.ran(&lane, Duration::ZERO);
        metrics.stopped_after(Duration::ZERO);
        metrics.unpublished(0);
        metrics.slots(1, 2);
        metrics.streams_changed(1);
        metrics.broker(Standing::Connected);
        metrics.hints_dropped(1);
        metrics.lost_messages(1);
        metrics.unreadable();
        metrics.dead_letter("published");
        metrics.dead_letters_kept(0);
        metrics.models.touch(&model);
        metrics
    }

    /// `name | type | labels` of every metric in Prometheus' text.
    fn told(text: &str) -> Vec<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let row = |(name, kind): (&str, &str)| {
            let sample = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let inside = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let names = inside.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            let labels: Vec<_> = names.filter(|name| *name != "le").map(|name| format!("`{name}`")).collect();
            format!("`{name}` | {kind} | {}", if labels.is_empty() { "none".into() } else { labels.join(", ") })
        };
        types.map(row).collect()
    }

    #[test]
    fn every_metric_of_the_code_is_in_the_document_and_no_other() {
        let mut rendered = told(&touched().render());
        rendered.sort();
        let page = include_str!("../../../docs/telemetry.md");
        let marked = page.split("<!-- metrics:begin -->").nth(1).and_then(|rest| rest.split("<!-- metrics:end -->").next());
        let rows = marked.expect("the table is marked").lines().filter(|line| line.starts_with("| `"));
        let mut documented: Vec<_> = rows.map(|row| row.trim_matches(['|', ' ']).rsplit_once(" | ").expect("cells").0).collect();
        documented.sort_unstable();
        assert_eq!(documented, rendered);
    }

    #[test]
    fn no_metric_of_the_code_is_left_untouched() {
        let code =
            [include_str!("metrics.rs").split("#[cfg(test)]").next().unwrap_or_default(), include_str!("metrics/models.rs")]
                .concat();
        let names: Vec<&str> = code.split('"').filter(|text| text.starts_with("siding_") && !text.contains(' ')).collect();
        assert!(names.len() > 10, "the names were found");
        let text = touched().render();
        for name in names {
            assert!(text.contains(&format!("# TYPE {name}")), "{name} is not in:\n{text}");
        }
    }
}
