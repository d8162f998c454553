//! Accepting jobs: the way into `queued`, and who was there first.

use std::collections::HashMap;

use super::{Data, Ledger, Stored};
use crate::{
    estimate::Estimate,
    id::{Attempt, EventSeq, IdempotencyKey, JobId},
    job::State,
    store::{JobRecord, NewJob, Submitted},
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

/// The answers to a group of submissions, and which of them are to be inserted.
#[derive(Debug)]
pub(in crate::store) struct Accepted {
    /// One for each submission, in order.
    pub answers: Vec<Submitted>,
}

impl Accepted {
    /// The submissions that are to be inserted, with the jobs that they become.
    pub(in crate::store) fn created<'a>(&'a self, jobs: &'a [NewJob]) -> impl Iterator<Item = (&'a NewJob, &'a JobRecord)> {
        jobs.iter().zip(&self.answers).filter_map(|(new, answer)| match answer {
            Submitted::Created(job) => Some((new, job)),
            Submitted::Existing(_) | Submitted::Mismatch(_) => None,
        })
    }
}

/// Accepts `jobs` in order, each unless its id or key is taken, by a job that stands already or by one before it in the group.
pub(in crate::store) fn accept(jobs: &[NewJob], standing: Vec<Standing>, ledger: &mut Ledger) -> Accepted {
    let mut taken = Taken::default();
    for standing in standing {
        taken.add(standing);
    }
    let accept_one = |new: &NewJob| {
        if let Some(first) = taken.by(new) {
            let job = first.job.clone();
            let same = first.fingerprint == new.fingerprint;
            return if same { Submitted::Existing(job) } else { Submitted::Mismatch(job) };
        }
        let job = Stored::accept(new, ledger).job;
        let idempotency_key = new.idempotency_key.as_ref().map(|key| key.as_str().to_owned());
        taken.add(Standing { job: job.clone(), idempotency_key, fingerprint: new.fingerprint });
        Submitted::Created(job)
    };
    Accepted { answers: jobs.iter().map(accept_one).collect() }
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

    /// The job that `new` meets: under its id, else under its key.
    fn by(&self, new: &NewJob) -> Option<&Standing> {
        let by_key = || self.keys.get(new.idempotency_key.as_ref().map(IdempotencyKey::as_str)?);
        self.ids.get(&new.id).or_else(by_key).map(|index| &self.jobs[*index])
    }
}

impl Stored {
    /// The job as it is accepted.
    fn accept(new: &NewJob, ledger: &mut Ledger) -> Self {
        let due_at = ledger.now.plus(new.due_in);
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
            started_at: None,
            finished_at: None,
            worker: None,
            failure: None,
            has_output: false,
            event_seq: EventSeq(0),
            retry_of: new.retry_of,
            traceparent: new.traceparent.clone(),
        };
        let mut stored = Self {
            job,
            lease_until: None,
            published_at: None,
            claimed_message: None,
            cancel_requested_at: None,
            output: None,
            changed: true,
        };
        let data = Data::Queued { lane: new.lane.clone(), estimate: stored.job.estimate, due_at_ms: due_at };
        stored.tell(data, ledger);
        stored
    }
}

/// `ms` as a number that every database keeps exactly: bounded, and to the microsecond, which makes 15 digits.
fn bounded(ms: f64) -> f64 {
    let ms = if ms.is_nan() { ESTIMATE_MS_MAX } else { ms.clamp(0.0, ESTIMATE_MS_MAX) };
    (ms * 1e3).round() / 1e3
}
