//! Accepting many jobs in one request: what is wrong with one hinders no other, unless the caller wants all or none. It decides the order
//! (check all, store their inputs, commit once, publish) and what the jobs of one request share; what makes one job acceptable is
//! the submitter's. Nothing is committed before everything that can be checked was.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use siding_core::{
    broker::Hint,
    error::Classified,
    id::{IdempotencyKey, JobId},
    limits,
    retry::{Policy, retry},
    store::{Acceptance, JobRecord, NewJob, Submitted},
};

use super::{Entered, Fitting, Submitter, Under, internal, stopping, store_failed};
use crate::submit::{Accepted, Batch, Refusal, Submission};

/// What became of each job of a batch.
type Outcomes = Vec<Result<Accepted, Refusal>>;

impl Submitter {
    /// Accepts the batch, and counts each refused job: those of a batch that is refused as a whole, too.
    pub(super) async fn count_batch(&self, batch: Batch) -> Result<Outcomes, Refusal> {
        let jobs = batch.jobs.len() as u64;
        let outcomes = self.accept_batch(batch).await.inspect_err(|refusal| {
            self.parts.metrics.refused(refusal.reason(), jobs);
        })?;
        for refusal in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            self.parts.metrics.refused(refusal.reason(), 1);
        }
        Ok(outcomes)
    }

    async fn accept_batch(&self, batch: Batch) -> Result<Outcomes, Refusal> {
        self.admit()?;
        if self.drain.is_stopping() {
            return Err(stopping());
        }
        let _guard = match &batch.key {
            Some(key) => Some(self.in_flight.enter(key).ok_or(Refusal::InFlight)?),
            None => None,
        };
        let mut entering = Entering::default();
        let fitting = self.fit_all(batch.jobs).await?.into_iter().enumerate();
        let fitting = fitting.map(|(index, fits)| self.enter(with_key(fits?, batch.key.as_ref(), index), &mut entering));
        let fitting: Vec<Result<Fitting, Refusal>> = fitting.collect();
        if batch.acceptance == Acceptance::Whole && fitting.iter().any(Result::is_err) {
            return withheld(fitting);
        }
        let (fit, refused) = apart(fitting);
        let outcomes = if fit.is_empty() { Vec::new() } else { self.commit_batch(fit, batch.acceptance).await? };
        let outcomes = together(outcomes, refused);
        self.publish_batch(&outcomes);
        Ok(outcomes)
    }

    /// Checks each job; all of them in one go, because many short ones are long too.
    async fn fit_all(&self, jobs: Vec<Result<Submission, Refusal>>) -> Result<Vec<Result<Fitting, Refusal>>, Refusal> {
        let (fitter, bytes) = (self.fitter(), jobs.iter().flatten().map(|job| job.input.len()).sum());
        let fit_all = move || jobs.into_iter().map(|job| job.and_then(|job| fitter.fit(job))).collect();
        self.parts.offload.run(bytes, fit_all).await.map_err(internal)
    }

    /// The keys of single jobs are in flight too: a request with one of them meanwhile is a conflict.
    fn enter(&self, fitting: Fitting, entering: &mut Entering) -> Result<Fitting, Refusal> {
        if let Some(key) = &fitting.submission.idempotency_key
            && !entering.keys.contains(key)
        {
            entering.guards.push(self.in_flight.enter(key).ok_or(Refusal::InFlight)?);
            entering.keys.insert(key.clone());
        }
        Ok(fitting)
    }

    /// One transaction. A repeat after an unknown outcome is safe: the ids are given, so the rows would be found as existing.
    async fn commit_batch(&self, fit: Vec<Fitting>, acceptance: Acceptance) -> Result<Outcomes, Refusal> {
        let chosen: Vec<Option<JobId>> = fit.iter().map(|fitting| fitting.submission.id).collect();
        let stored = stream::iter(fit).map(|fitting| self.with_stored_input(fitting)).buffered(limits::BATCH_BLOBS_AT_ONCE);
        let jobs: Vec<NewJob> = stored.try_collect().await?;
        let submissions = &self.parts.submissions;
        let submitted = retry(Policy::StoreRequest, || submissions.submit_as(jobs.clone(), acceptance)).await;
        let submitted: Vec<Submitted> = submitted.map_err(|error| {
            self.parts.metrics.store_error("submit");
            store_failed(error.transience(), error)
        })?;
        let under = jobs.iter().zip(chosen).map(|(job, chosen)| Under::of(job, chosen));
        Ok(under.zip(submitted).map(|(under, submitted)| self.tell(under, submitted)).collect())
    }

    /// Offers what is due at once. What is not, or finds no place in the window, is left to the relay, which is woken once.
    fn publish_batch(&self, outcomes: &Outcomes) {
        let accepted = || outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
        let created: Vec<&JobRecord> = accepted().filter(|accepted| accepted.created).map(|accepted| &accepted.job).collect();
        let offered = created.iter().filter(|job| self.offer(job)).count();
        if offered < created.len() {
            self.parts.bus.send(&[Hint::Due]);
        }
        tracing::info!(
            jobs.accepted = created.len(),
            jobs.existing = accepted().count() - created.len(),
            jobs.refused = outcomes.len() - accepted().count(),
            "batch handled"
        );
    }
}

/// The keys that a batch has in flight: those of its jobs, each once.
#[derive(Default)]
struct Entering {
    keys: HashSet<IdempotencyKey>,
    guards: Vec<Entered>,
}

/// A job without id and key has the batch's key and its place.
fn with_key(mut fitting: Fitting, key: Option<&IdempotencyKey>, index: usize) -> Fitting {
    let submission = &mut fitting.submission;
    if submission.id.is_none() && submission.idempotency_key.is_none() {
        submission.idempotency_key = key.map(|key| key.of_place(index));
    }
    fitting
}

/// Nothing of a whole is accepted when one of its jobs is refused. One that is in flight may be accepted later, and with it the whole.
fn withheld(fitting: Vec<Result<Fitting, Refusal>>) -> Result<Outcomes, Refusal> {
    if fitting.iter().any(|fits| matches!(fits, Err(Refusal::InFlight))) {
        return Err(Refusal::InFlight);
    }
    Ok(fitting.into_iter().map(|fits| Err(fits.err().unwrap_or(Refusal::Withheld))).collect())
}

/// Those that fit, in order, and for each place the refusal of the one that does not.
fn apart(fitting: Vec<Result<Fitting, Refusal>>) -> (Vec<Fitting>, Vec<Option<Refusal>>) {
    let mut fit = Vec::with_capacity(fitting.len());
    let refused = fitting.into_iter().map(|fits| fits.map(|fitting| fit.push(fitting)).err()).collect();
    (fit, refused)
}

/// The other way round: the outcomes of those that fit at the places where nothing was refused.
fn together(outcomes: Outcomes, refused: Vec<Option<Refusal>>) -> Outcomes {
    let mut outcomes = outcomes.into_iter();
    refused.into_iter().filter_map(|refusal| refusal.map_or_else(|| outcomes.next(), |refusal| Some(Err(refusal)))).collect()
}
