//! Accepting jobs: the way into `queued`, and who was there first.

use std::collections::HashMap;

use serde::Serialize;

use super::{Data, Ledger, Stored};
use crate::{
    estimate::Estimate,
    id::{Attempt, EventSeq, IdempotencyKey, JobId},
    job::State,
    store::{Acceptance, JobRecord, NewJob, Start, Submitted},
};

/// Longest duration that an estimate may name, in milliseconds: past it (or not a number) a broken cost profile speaks.
const ESTIMATE_MS_MAX: f64 = 1e12;

/// A job that stands under an id or a key.
#[derive(Debug, Clone)]
pub(in crate::store) struct Standing {
    pub job: JobRecord,
    pub idempotency_key: Option<String>,
    pub fingerprint: [u8; 32],
}

/// Jobs that were there first, by what a new one may meet them.
#[derive(Debug, Default)]
pub(in crate::store) struct Taken {
    jobs: Vec<Standing>,
    ids: HashMap<JobId, usize>,
    keys: HashMap<String, usize>,
}

/// The answers to a group of submissions, which of them are to be inserted, and which jobs they run again.
#[derive(Debug)]
pub(in crate::store) struct Accepted {
    /// One for each submission, in order.
    pub answers: Vec<Submitted>,
    /// Jobs that are to be marked.
    pub retried: Vec<Retried>,
}

/// A job that is run again, and the job that does.
#[derive(Debug, Serialize)]
pub(in crate::store) struct Retried {
    pub job: JobId,
    pub by: JobId,
}

impl Accepted {
    /// The submissions that are to be inserted, with the jobs that they become.
    pub(in crate::store) fn created<'a>(&'a self, jobs: &'a [NewJob]) -> impl Iterator<Item = (&'a NewJob, &'a JobRecord)> {
        jobs.iter().zip(&self.answers).filter_map(|(new, answer)| match answer {
            Submitted::Created(job) => Some((new, job)),
            Submitted::Existing(_) | Submitted::Mismatch(_) | Submitted::Withheld | Submitted::NotDead => None,
        })
    }

    /// Takes back what was accepted.
    fn withhold(&mut self, ledger: &mut Ledger) {
        let created = self.answers.iter_mut().filter(|answer| matches!(answer, Submitted::Created(_)));
        created.for_each(|answer| *answer = Submitted::Withheld);
        self.retried.clear();
        ledger.events.clear();
    }
}

/// Accepts `jobs` in order, each unless its id or key is taken, by a job that stands already or by one before it in the group. Of a whole
/// with a mismatch, none is accepted and nothing is told. `standing` holds the jobs that are run again, too: they are marked.
pub(in crate::store) fn accept(
    jobs: &[NewJob],
    acceptance: Acceptance,
    standing: Vec<Standing>,
    ledger: &mut Ledger,
) -> Accepted {
    let (mut taken, mut retried) = (Taken::default(), Vec::new());
    for standing in standing {
        taken.add(standing);
    }
    let accept_one = |new: &NewJob| {
        if let Some(first) = taken.by(new) {
            let job = first.job.clone();
            let same = first.fingerprint == new.fingerprint;
            return if same { Submitted::Existing(job) } else { Submitted::Mismatch(job) };
        }
        let first = new.retry_of.and_then(|first| taken.get_mut(first));
        if acceptance == Acceptance::Replays && !first.as_ref().is_some_and(|first| first.job.is_dead()) {
            return Submitted::NotDead;
        }
        // What has not ended is no job to run again: the schema would refuse its mark, and with it everybody in the group.
        if let Some(first) = first.filter(|first| first.job.state.is_terminal()) {
            first.job.retried_by = Some(new.id);
            retried.push(Retried { job: first.job.id, by: new.id });
        }
        let job = Stored::accept(new, ledger).job;
        let idempotency_key = new.idempotency_key.as_ref().map(|key| key.as_str().to_owned());
        taken.add(Standing { job: job.clone(), idempotency_key, fingerprint: new.fingerprint });
        Submitted::Created(job)
    };
    let answers = jobs.iter().map(accept_one).collect();
    let mut accepted = Accepted { answers, retried };
    let mismatch = |answer: &Submitted| matches!(answer, Submitted::Mismatch(_));
    if acceptance == Acceptance::Whole && accepted.answers.iter().any(mismatch) {
        accepted.withhold(ledger);
    }
    accepted
}

impl Taken {
    fn add(&mut self, standing: Standing) {
        let index = self.jobs.len();
        self.ids.insert(standing.job.id, index);
        if let Some(key) = &standing.idempotency_key {
            self.keys.insert(key.clone(), index);
        }
        self.jobs.push(standing);
    }

    fn get_mut(&mut self, job: JobId) -> Option<&mut Standing> {
        self.ids.get(&job).map(|index| &mut self.jobs[*index])
    }

    /// The job that `new` meets: under its id, else under its key.
    fn by(&self, new: &NewJob) -> Option<&Standing> {
        let by_key = || self.keys.get(new.idempotency_key.as_ref().map(IdempotencyKey::as_str)?);
        self.ids.get(&new.id).or_else(by_key).map(|index| &self.jobs[*index])
    }
}

impl Stored {
    /// The job as it is accepted.
    fn accept(new: &NewJob, ledger: &mut Ledger) -> Self {
        let due_at = match new.start {
            Start::In(delay) => ledger.now.plus(delay),
            // What is late waits from now on: a time long past would let it overtake everybody.
            Start::At(at) => at.max(ledger.now),
        };
        let job = JobRecord {
            id: new.id,
            model: new.model.clone(),
            version: new.version.clone(),
            lane: new.lane.clone(),
            estimate: Estimate { p50_ms: bounded(new.estimate.p50_ms), p90_ms: bounded(new.estimate.p90_ms), ..new.estimate },
            state: State::Queued,
            attempt: Attempt(0),
            failures: 0,
            attempts_max: new.attempts_max.max(1),
            created_at: ledger.now,
            due_at,
            start_deadline_at: new.start_deadline.map(|deadline| due_at.plus(deadline)),
            run_timeout: new.run_timeout,
            stall_timeout: new.stall_timeout,
            started_at: None,
            finished_at: None,
            worker: None,
            failure: None,
            canceled: None,
            has_output: false,
            event_seq: EventSeq(0),
            retry_of: new.retry_of,
            retried_by: None,
            dropped_at: None,
            traceparent: new.traceparent.clone(),
        };
        let mut stored = Self {
            job,
            lease_until: None,
            published_at: None,
            claimed_message: None,
            cancel_requested_at: None,
            checkpoint: None,
            begun: None,
            released: None,
            output: None,
            changed: true,
        };
        let data =
            Data::Queued { lane: new.lane.clone(), estimate: stored.job.estimate, due_at_ms: due_at, retry_of: new.retry_of };
        stored.tell(data, ledger);
        stored
    }
}

/// `ms` as a number that every database keeps exactly: bounded, and to the microsecond, which makes 15 digits.
fn bounded(ms: f64) -> f64 {
    let ms = if ms.is_nan() { ESTIMATE_MS_MAX } else { ms.clamp(0.0, ESTIMATE_MS_MAX) };
    (ms * 1e3).round() / 1e3
}
