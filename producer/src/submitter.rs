//! The submitter: the I/O around `admission`. Its order is the promise: check, take a place in the group, store the input, commit the
//! row, answer; publish behind. What is refused for overload has stored nothing.
//! It never answers before the commit, and it holds no state that a restart would miss.

mod batch;
mod dead;
mod fit;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use siding_core::{
    blob::Blobs,
    broker::{EventBus, Hint},
    clock::Clock,
    drain::Drain,
    error::{Classified, Transience},
    id::{IdempotencyKey, JobId},
    job::State,
    lane::Lanes,
    limits,
    model::catalog::Catalog,
    offload::{NoResult, Offload},
    retry::{Policy, retry},
    store::{
        self, Cancelled, Dead, DueJob, JobRecord, Jobs, NewJob, Submissions, Submitted,
        group::{CallError, Grouped, Place},
    },
    telemetry::{DealtWith, Metrics, trace_id},
};

use self::fit::{Fitter, Fitting};
use crate::{
    admission::{self, Checked},
    dispatch::Outbox,
    intake::Intake,
    submit::{Accepted, Batch, Deal, Dealt, Refusal, Submission},
};

/// When a refused caller is told to come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the submitter works with.
pub struct Parts {
    /// The models that can be asked for.
    pub catalog: Catalog,
    /// Where inputs too large for a row go.
    pub blobs: Blobs,
    /// Where large inputs are checked.
    pub offload: Offload,
    /// Where rows go.
    pub submissions: Arc<dyn Submissions>,
    /// Where jobs are looked up.
    pub jobs: Arc<dyn Jobs>,
    /// Where jobs that are to be run again are read, and dead ones dropped.
    pub dead: Arc<dyn Dead>,
    /// Who publishes.
    pub outbox: Outbox,
    /// Who is told of cancels.
    pub bus: Arc<dyn EventBus>,
    /// Tells how far ahead a scheduled start lies.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where jobs are routed to.
    pub lanes: Lanes,
    /// The settings of `[submit]`.
    pub settings: siding_core::config::Submit,
}

/// The id under which a job was submitted.
#[derive(Debug, Clone, Copy)]
enum Under {
    /// The caller's: whoever submits the same again finds the same job.
    Chosen(JobId),
    /// Made for this call: a job that exists under it is this call's own, and an answer of the store was lost.
    Generated(JobId),
}

/// Accepts jobs.
pub struct Submitter {
    parts: Parts,
    /// Commits rows in groups.
    group: Grouped<NewJob, Submitted, store::Error>,
    /// Commits cancels in groups.
    cancels: Grouped<JobId, Option<Cancelled>, store::Error>,
    in_flight: InFlight,
    /// Tells what does not go through a group that the service is stopping.
    drain: Drain,
}

impl Submitter {
    /// Starts the group commit on `drain`.
    #[must_use]
    pub fn start(drain: &Drain, parts: Parts) -> Arc<Self> {
        let submissions = parts.submissions.clone();
        let group = Grouped::start(drain, limits::SUBMISSIONS_WAITING_MAX, move |jobs: Vec<NewJob>| {
            let submissions = submissions.clone();
            // A repeat after an unknown outcome is safe: the ids are given, so the rows would be found as existing.
            async move { retry(Policy::StoreRequest, || submissions.submit(jobs.clone())).await }
        });
        let submissions = parts.submissions.clone();
        let cancels = Grouped::start(drain, limits::SUBMISSIONS_WAITING_MAX, move |jobs: Vec<JobId>| {
            let submissions = submissions.clone();
            // A repeat changes nothing more: a job ends once.
            async move { retry(Policy::StoreRequest, || submissions.cancel(jobs.clone())).await }
        });
        Arc::new(Self { parts, group, cancels, in_flight: InFlight::default(), drain: drain.clone() })
    }

    async fn accept(&self, submission: Submission) -> Result<Accepted, Refusal> {
        self.admit()?;
        let fitting = self.fit(submission).await?;
        // Held until the answer: a second request with the key meanwhile is a conflict, whatever its payload.
        let _guard = match &fitting.submission.idempotency_key {
            Some(key) => Some(self.in_flight.enter(key).ok_or(Refusal::InFlight)?),
            None => None,
        };
        let place = self.group.reserve().map_err(|error| self.not_called("submit", error))?;
        let chosen = fitting.submission.id;
        let job = self.with_stored_input(fitting).await?;
        let under = Under::of(&job, chosen);
        self.commit(place, job, under).await
    }

    /// Checks what needs neither store nor blobs, beside the executor when it is long.
    async fn fit(&self, submission: Submission) -> Result<Fitting, Refusal> {
        let (fitter, bytes) = (self.fitter(), submission.input.len());
        self.parts.offload.run(bytes, move || fitter.fit(submission)).await.unwrap_or_else(|no_result| Err(internal(no_result)))
    }

    fn fitter(&self) -> Fitter {
        Fitter { catalog: self.parts.catalog.clone(), now: self.parts.clock.now() }
    }

    /// The job's row, once its input lies where the row says.
    async fn with_stored_input(&self, fitting: Fitting) -> Result<NewJob, Refusal> {
        let Fitting { submission, model, size, fingerprint } = fitting;
        let input = self.parts.blobs.store_text(submission.input.clone()).await;
        let input = input.map_err(|error| failed("inputs cannot be stored", error.transience(), error))?;
        let checked = Checked {
            manifest: &model.manifest,
            size,
            fingerprint,
            input,
            lanes: &self.parts.lanes,
            attempts_max: self.parts.settings.attempts_max,
        };
        Ok(admission::new_job(&submission, checked))
    }

    /// Overload is refused before any work is done for it.
    fn admit(&self) -> Result<(), Refusal> {
        if self.parts.outbox.backlog() >= self.parts.settings.unpublished_max {
            return Err(Refusal::Unavailable {
                why: "too many accepted jobs wait for the broker",
                retry_after: RETRY_AFTER,
                source: None,
            });
        }
        Ok(())
    }

    /// What a caller is told whose call through a group came to nothing.
    fn not_called(&self, call: &'static str, error: CallError<store::Error>) -> Refusal {
        match error {
            CallError::Overloaded => Refusal::Busy { retry_after: RETRY_AFTER },
            CallError::Stopping => stopping(),
            CallError::Failed(error) => {
                self.parts.metrics.store_error(call);
                store_failed(error.transience(), error)
            }
        }
    }

    async fn commit(
        &self,
        place: Place<NewJob, Submitted, store::Error>,
        job: NewJob,
        under: Under,
    ) -> Result<Accepted, Refusal> {
        let submitted = place.call(job).await.map_err(|error| self.not_called("submit", error))?;
        let accepted = self.tell(under, submitted)?;
        if accepted.created && !self.offer(&accepted.job) {
            self.parts.bus.send(&[Hint::Due]);
        }
        Ok(accepted)
    }

    /// Counts and logs what was accepted; says what of a submission was refused.
    fn tell(&self, under: Under, submitted: Submitted) -> Result<Accepted, Refusal> {
        let (Under::Chosen(id) | Under::Generated(id)) = under;
        match under.own(submitted) {
            Submitted::Created(job) => {
                self.parts.metrics.submitted(&job.lane);
                tracing::info!(job.id = %job.id, job.state = %job.state, lane.name = %job.lane, model.name = %job.model,
                    estimate.p50_ms = job.estimate.p50_ms, estimate.source = ?job.estimate.source,
                    trace.id = trace_id(job.traceparent.as_deref()), "job accepted");
                Ok(Accepted { job, created: true })
            }
            Submitted::Existing(job) => Ok(Accepted { job, created: false }),
            Submitted::Mismatch(job) if job.id == id => Err(Refusal::IdTaken(id)),
            Submitted::Mismatch(job) => Err(Refusal::KeyReused(job.id)),
            // Only a replay is told that a job is not dead, and it looks for itself.
            Submitted::Withheld | Submitted::NotDead => Err(Refusal::Withheld),
        }
    }

    /// Offers a job for the fast path. `false` for one that is left to the relay, which is to be woken: it is not due yet, or the window
    /// is full.
    fn offer(&self, job: &JobRecord) -> bool {
        job.due_at <= job.created_at && self.parts.outbox.offer(due(job))
    }

    async fn ask_to_end(&self, job: JobId) -> Result<Cancelled, Refusal> {
        let cancelled = self.cancels.call(job).await.map_err(|error| self.not_called("cancel", error))?;
        let cancelled = cancelled.ok_or(Refusal::UnknownJob(job))?;
        let now = &cancelled.job;
        if cancelled.changed {
            tracing::info!(job.id = %job, job.state = %now.state, lane.name = %now.lane, "cancel accepted");
            if now.state == State::Canceled {
                self.parts.metrics.finished(&now.lane, &now.model, now.state);
            }
            let event = Hint::Event { job, seq: now.event_seq, terminal: now.state.is_terminal() };
            self.parts.bus.send(&[Hint::Cancel { job }, event]);
        }
        if let Some(useless) = &cancelled.released {
            self.parts.blobs.discard(std::slice::from_ref(useless)).await;
        }
        Ok(cancelled)
    }

    async fn run_again(&self, first: JobId) -> Result<Accepted, Refusal> {
        self.admit()?;
        let (dead, wanted) = (&self.parts.dead, [first]);
        let found = retry(Policy::StoreRequest, || dead.with_inputs(&wanted)).await;
        let found = found.map_err(|error| store_failed(error.transience(), error))?;
        let (record, input) = found.into_iter().flatten().next().ok_or(Refusal::UnknownJob(first))?;
        if !record.state.is_terminal() {
            return Err(Refusal::NotFinished(first));
        }
        let place = self.group.reserve().map_err(|error| self.not_called("submit", error))?;
        let job = admission::again(&record, input, &self.parts.lanes);
        let under = Under::of(&job, None);
        let accepted = self.commit(place, job, under).await?;
        if record.is_dead() {
            self.tell_dealt_with(&record, DealtWith::Retried, Some(accepted.job.id));
        }
        Ok(accepted)
    }

    fn count<T>(&self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &result {
            self.parts.metrics.refused(refusal.reason(), 1);
        }
        result
    }
}

impl Under {
    fn of(job: &NewJob, chosen: Option<JobId>) -> Self {
        chosen.map_or(Self::Generated(job.id), Self::Chosen)
    }

    /// What this call has created counts as created, although only the repeat of the call to the store has told so.
    fn own(self, submitted: Submitted) -> Submitted {
        match (self, submitted) {
            (Self::Generated(id), Submitted::Existing(job)) if job.id == id => Submitted::Created(job),
            (_, submitted) => submitted,
        }
    }
}

#[async_trait]
impl Intake for Submitter {
    async fn submit(&self, submission: Submission) -> Result<Accepted, Refusal> {
        let result = self.accept(submission).await;
        self.count(result)
    }

    async fn submit_batch(&self, batch: Batch) -> Result<Vec<Result<Accepted, Refusal>>, Refusal> {
        self.count_batch(batch).await
    }

    async fn cancel(&self, job: JobId) -> Result<Cancelled, Refusal> {
        let result = self.ask_to_end(job).await;
        self.count(result)
    }

    async fn retry(&self, job: JobId) -> Result<Accepted, Refusal> {
        let result = self.run_again(job).await;
        self.count(result)
    }

    async fn deal_with_dead(&self, deal: Deal) -> Result<Dealt, Refusal> {
        let result = self.deal_with(deal).await;
        self.count(result)
    }
}

fn stopping() -> Refusal {
    Refusal::Unavailable { why: "the service is stopping", retry_after: RETRY_AFTER, source: None }
}

fn internal(no_result: NoResult) -> Refusal {
    Refusal::Internal { why: "the check of an input has no result", source: Box::new(no_result) }
}

/// What passes is worth coming back for; what does not is the operator's.
fn failed<E>(why: &'static str, transience: Transience, error: E) -> Refusal
where
    E: std::error::Error + Send + Sync + 'static,
{
    let source = Box::new(error);
    match transience {
        Transience::Transient => Refusal::Unavailable { why, retry_after: RETRY_AFTER, source: Some(source) },
        Transience::Permanent => Refusal::Internal { why, source },
    }
}

fn store_failed<E: std::error::Error + Send + Sync + 'static>(transience: Transience, error: E) -> Refusal {
    failed("the store does not answer", transience, error)
}

fn due(job: &JobRecord) -> DueJob {
    DueJob {
        id: job.id,
        attempt: job.attempt,
        lane: job.lane.clone(),
        model: job.model.clone(),
        version: job.version.clone(),
        due_at: job.due_at,
        expected_ms: job.estimate.p50_ms,
        traceparent: job.traceparent.clone(),
    }
}

/// The idempotency keys that requests of this process carry right now. Only the 409 leans on it: that one key makes one job is the
/// store's doing. Bounded by the requests that are open.
#[derive(Default)]
struct InFlight(Arc<Mutex<HashSet<IdempotencyKey>>>);

struct Entered {
    keys: Arc<Mutex<HashSet<IdempotencyKey>>>,
    key: IdempotencyKey,
}

impl InFlight {
    fn enter(&self, key: &IdempotencyKey) -> Option<Entered> {
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        fresh.then(|| Entered { keys: self.0.clone(), key: key.clone() })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
