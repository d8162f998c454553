//! The recorder: everything that this worker's attempts did, committed in groups, in order. Its order is the promise: commit, then
//! settle the delivery, then hint. It never decides what a run's end means (`verdict`) and never drops a result while the store may
//! still take it: it waits, and because its queue is bounded, the slots wait with it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use siding_core::{
    blob::Blobs,
    broker::{EventBus, Hint},
    clock::Clock,
    drain::Drain,
    envelope::Due,
    error::{Classified, chain},
    id::EventSeq,
    job::{FailureCode, Finish, State},
    limits,
    retry::{Policy, retry},
    store::{self, Attempts, Payload, Record, RecordChange, Recorded, Work},
    telemetry::{AttemptEnd, Metrics, trace_id},
};
use tokio::sync::mpsc;

use crate::{
    running::{Running, RunningJobs, StopReason},
    runtime::{RunControl, RunReport},
    verdict::{RunEnd, Verdict, failed, verdict},
};

/// Progress of one job is recorded at most so often; the newest report before the end of a run is not lost, the end says more.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What the recorder works with.
pub struct Parts {
    /// Where records go.
    pub store: Arc<dyn Attempts>,
    /// Where large outputs go.
    pub blobs: Blobs,
    /// Who is told.
    pub bus: Arc<dyn EventBus>,
    /// The list that a recorded job leaves.
    pub running: Arc<RunningJobs>,
    /// Times retries.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

struct Outgoing {
    record: Record,
    /// Set for the end of an attempt: what leaves the list and whose delivery is settled.
    end: Option<Arc<Running>>,
}

/// The way in. Cheap to clone; the loop ends when the last clone is gone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
}

struct Shared {
    blobs: Blobs,
    bus: Arc<dyn EventBus>,
    running: Arc<RunningJobs>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// Starts the loop. It does not watch the stop signal: it ends when nobody can hand it anything any more.
    #[must_use]
    pub fn start(drain: &Drain, parts: Parts) -> Self {
        let (queue, rx) = mpsc::channel(limits::RECORDS_WAITING_MAX);
        let Parts { store, blobs, bus, running, clock, metrics } = parts;
        let shared = Arc::new(Shared { blobs, bus, running, clock, metrics });
        drain.spawn(run(store, shared.clone(), rx));
        Self { queue, shared }
    }

    /// A claim was committed: tell whoever follows the job. When it took the job over, an attempt was lost with it.
    pub fn started(&self, work: &Work) {
        if work.takeover {
            self.shared.metrics.attempt(&work.lane, AttemptEnd::Lost);
            tracing::warn!(job.id = %work.job, attempt = work.attempt.0, lane.name = %work.lane, "job taken over from a lost worker");
        }
        self.shared.bus.send(&[Hint::Event { job: work.job, seq: work.event_seq, terminal: false }]);
    }

    /// A claim ended the job instead of starting it: tell whoever follows the job, and count its end.
    pub fn ended_by_claim(&self, due: &Due, state: State, seq: EventSeq) {
        // An expired job was never started; any other has lost the attempt that held it.
        if state != State::Expired {
            self.shared.metrics.attempt(&due.lane, AttemptEnd::Lost);
        }
        self.shared.metrics.finished(&due.lane, &due.model, state);
        tracing::warn!(job.id = %due.job, lane.name = %due.lane, job.state = %state, "a claim ended a job that could not be started");
        self.shared.bus.send(&[Hint::Event { job: due.job, seq, terminal: true }]);
    }

    /// Controls for a run of `work`, whose reports are recorded.
    #[must_use]
    pub fn control(&self, work: &Work) -> RunControl {
        let (queue, job, attempt) = (self.queue.clone(), work.job, work.attempt);
        let last_progress = Mutex::new(None::<Instant>);
        RunControl::new(move |report| {
            let change = match report {
                RunReport::Progress { done, total } => {
                    let mut last = last_progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if last.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
                        return;
                    }
                    *last = Some(Instant::now());
                    RecordChange::Progress { done, total }
                }
                RunReport::Output(chunk) => RecordChange::Output { chunk: chunk.into() },
            };
            // Blocks the slot's thread while the store is behind. A closed queue means that the worker has ended.
            drop(queue.blocking_send(Outgoing { record: Record { job, attempt, change }, end: None }));
        })
    }

    /// Records what a run did beside its reports, behind all that it has reported before. Called by a slot's thread; blocks while the store is
    /// behind. A closed queue means that the worker has ended.
    pub fn tell_blocking(&self, work: &Work, change: RecordChange) {
        drop(self.queue.blocking_send(Outgoing { record: Record { job: work.job, attempt: work.attempt, change }, end: None }));
    }

    /// A run has ended, as told by a slot's thread. Blocks while the store is behind.
    pub fn finished_blocking(&self, running: Arc<Running>, end: RunEnd, executor: &tokio::runtime::Handle) {
        executor.block_on(self.finished(running, end));
    }

    /// A run has ended, or will not begin. Waits while the store is behind.
    pub async fn finished(&self, running: Arc<Running>, end: RunEnd) {
        let run = running.ran_for();
        let stop = running.stopped();
        if let Some((StopReason::Cancel, heard_at)) = stop {
            self.shared.metrics.stopped_after(heard_at.elapsed());
        }
        let (now, draw, work) = (self.shared.clock.now(), rand::random(), &running.work);
        let finish = match verdict(end, stop.map(|(reason, _)| reason), work, now, draw) {
            Verdict::Succeeded(output) => match self.stored(output).await {
                Some(output) => Finish::Succeeded { output },
                // The result is lost with its blob store; the job is tried again.
                None => failed(FailureCode::RuntimeError, "the output could not be stored".into(), work, now, draw),
            },
            Verdict::Record(finish) => finish,
            Verdict::Discard => {
                self.shared.discard(&running).await;
                return;
            }
        };
        self.shared.metrics.ran(&running.work.lane, run);
        let record =
            Record { job: running.work.job, attempt: running.work.attempt, change: RecordChange::Finish { finish, run } };
        if self.queue.send(Outgoing { record, end: Some(running) }).await.is_err() {
            tracing::error!("the recorder has ended before the slots; its jobs come back when their leases are over");
        }
    }

    /// The output where it is kept; `None` when the blob store does not take it.
    async fn stored(&self, output: String) -> Option<Payload> {
        let output: Arc<str> = output.into();
        let blobs = &self.shared.blobs;
        match retry(Policy::StoreRecord, || blobs.store_text(output.clone())).await {
            Ok(payload) => Some(payload),
            Err(error) => {
                tracing::error!(error = chain(&error), "cannot store an output; the attempt fails");
                None
            }
        }
    }
}

async fn run(store: Arc<dyn Attempts>, shared: Arc<Shared>, mut queue: mpsc::Receiver<Outgoing>) {
    let mut group = Vec::with_capacity(limits::GROUP_ROWS_MAX);
    while queue.recv_many(&mut group, limits::GROUP_ROWS_MAX).await > 0 {
        let (records, ends): (Vec<_>, Vec<_>) = group.drain(..).map(|out| (out.record, out.end)).unzip();
        match retry(Policy::StoreRecord, || store.record(&records)).await {
            Ok(answers) => shared.conclude(&records, ends, &answers).await,
            Err(error) if error.is_transient() || records.len() == 1 => shared.give_up(&error, ends).await,
            // One record that the store cannot take must not cost the others theirs.
            Err(_) => record_one_by_one(&*store, &shared, records, ends).await,
        }
    }
}

async fn record_one_by_one(store: &dyn Attempts, shared: &Shared, records: Vec<Record>, ends: Vec<Option<Arc<Running>>>) {
    for (record, end) in records.into_iter().zip(ends) {
        let one = [record];
        match retry(Policy::StoreRecord, || store.record(&one)).await {
            Ok(answers) => shared.conclude(&one, vec![end], &answers).await,
            Err(error) => shared.give_up(&error, vec![end]).await,
        }
    }
}

impl Shared {
    /// After the commit: count, settle, hint.
    async fn conclude(&self, records: &[Record], ends: Vec<Option<Arc<Running>>>, answers: &[Recorded]) {
        let mut hints = Vec::with_capacity(answers.len());
        let mut useless = Vec::new();
        for ((record, end), answer) in records.iter().zip(ends).zip(answers) {
            let Recorded::Done { state, seq, released } = answer else {
                if let Some(running) = end {
                    self.metrics.attempt(&running.work.lane, AttemptEnd::Fenced);
                    tracing::warn!(job.id = %record.job, attempt = record.attempt.0, "record refused: the attempt is not the job's newest");
                    self.leave(&running).await;
                }
                continue;
            };
            let (state, seq) = (*state, *seq);
            hints.push(Hint::Event { job: record.job, seq, terminal: state.is_terminal() });
            useless.extend(released.clone());
            if let Some(running) = end {
                self.tell(&running.work, &record.change, state);
                if state == State::Queued {
                    hints.push(Hint::Due);
                }
                self.leave(&running).await;
            }
        }
        self.bus.send(&hints);
        // Behind everything that somebody waits for: nothing refers to these any more.
        self.blobs.discard(&useless).await;
    }

    fn tell(&self, work: &Work, change: &RecordChange, state: State) {
        let RecordChange::Finish { finish, run } = change else { return };
        let end = match finish {
            Finish::Succeeded { .. } => AttemptEnd::Succeeded,
            Finish::Failed { retry_at: Some(_), .. } => AttemptEnd::Retrying,
            Finish::Failed { retry_at: None, .. } => AttemptEnd::Failed,
            Finish::Stopped { .. } => AttemptEnd::Stopped,
            Finish::Interrupted { .. } => AttemptEnd::Interrupted,
        };
        self.metrics.attempt(&work.lane, end);
        if state.is_terminal() {
            self.metrics.finished(&work.lane, &work.model, state);
        }
        let run_ms = run.as_secs_f64() * 1e3;
        match finish {
            Finish::Failed { failure, .. } => {
                tracing::warn!(job.id = %work.job, attempt = work.attempt.0, lane.name = %work.lane,
                job.state = %state, failure.code = failure.code.as_str(), failure.message = failure.message, run_ms,
                trace.id = trace_id(work.traceparent.as_deref()), "attempt failed")
            }
            _ => {
                tracing::info!(job.id = %work.job, attempt = work.attempt.0, lane.name = %work.lane, job.state = %state, run_ms,
                trace.id = trace_id(work.traceparent.as_deref()), "attempt ended")
            }
        }
    }

    /// The job leaves the list and its delivery is settled: its effect is committed, or another attempt has it.
    async fn leave(&self, running: &Arc<Running>) {
        self.running.remove(running);
        if let Some(delivery) = running.take_delivery()
            && let Err(error) = delivery.ack().await
        {
            tracing::debug!(job.id = %running.work.job, error = chain(&error), "delivery was no longer ours; the store absorbs its duplicate");
        }
    }

    async fn discard(&self, running: &Arc<Running>) {
        self.metrics.attempt(&running.work.lane, AttemptEnd::Fenced);
        tracing::warn!(job.id = %running.work.job, attempt = running.work.attempt.0, "run discarded: its lease was lost");
        self.leave(running).await;
    }

    /// The store did not take the records for longer than a lease lasts, or never will. The deliveries go back unsettled and the leases run
    /// out: the jobs run again.
    async fn give_up(&self, error: &store::Error, ends: Vec<Option<Arc<Running>>>) {
        self.metrics.store_error("record");
        let ends: Vec<_> = ends.into_iter().flatten().collect();
        tracing::error!(error = chain(error), attempts = ends.len(), "cannot record; the jobs will run again");
        for running in ends {
            self.running.remove(&running);
            drop(running.take_delivery());
        }
    }
}
