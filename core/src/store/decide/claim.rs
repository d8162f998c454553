//! Accepting a job and claiming it: the ways into `queued` and `running`.

use std::time::Duration;

use super::{Data, Ledger, Stored, tell};
use crate::{
    clock::Timestamp,
    estimate::Estimate,
    id::{Attempt, EventSeq, WorkerId},
    job::state::{Change, Illegal, State},
    store::{Claim, JobRecord, NewJob, Skip},
};

/// A started attempt, besides what the job's record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Started {
    pub waited: Duration,
    pub event_seq: EventSeq,
}

/// Longest duration that an estimate may name, in milliseconds: past it (or not a number) a broken cost profile speaks.
const ESTIMATE_MS_MAX: f64 = 1e12;

impl Stored {
    /// The job as it is accepted.
    pub(in crate::store) fn accept(new: &NewJob, ledger: &mut Ledger) -> Self {
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
        let mut stored =
            Self { job, lease_until: None, published_at: None, cancel_requested_at: None, output: None, changed: true };
        let data = Data::Queued { lane: new.lane.clone(), estimate: stored.job.estimate, due_at_ms: due_at };
        stored.tell(data, ledger);
        stored
    }

    /// Starts the next attempt for `worker`, if the job is there to be started. An attempt that has lost its worker is ended
    /// first, and the job may end with it.
    pub(in crate::store) fn claim(&mut self, worker: WorkerId, claim: &Claim, ledger: &mut Ledger) -> Result<Started, Skip> {
        let lost = matches!(self.job.state, State::Running | State::Cancelling);
        if lost {
            if !claim.takeover && !self.lease_is_over(ledger.now) {
                return Err(Skip::Held);
            }
            self.lose(ledger).map_err(|Illegal { .. }| Skip::Held)?;
        } else if self.is_overdue(ledger.now) {
            self.expire(ledger).map_err(|Illegal { .. }| Skip::Finished)?;
        }
        match self.job.state {
            State::Queued if self.job.due_at > ledger.now => Err(Skip::NotDue),
            State::Queued => self.start(worker, ledger.now.plus(claim.lease), lost, ledger).map_err(|_| Skip::Finished),
            State::Running | State::Cancelling => Err(Skip::Held),
            State::Succeeded | State::Failed | State::Canceled | State::Expired => Err(Skip::Finished),
        }
    }

    fn start(
        &mut self,
        worker: WorkerId,
        lease_until: Timestamp,
        takeover: bool,
        ledger: &mut Ledger,
    ) -> Result<Started, Illegal> {
        self.apply(Change::Claim, ledger.now)?;
        self.job.attempt = Attempt(self.job.attempt.0 + 1);
        self.job.worker = Some(worker);
        self.job.started_at = Some(ledger.now);
        self.lease_until = Some(lease_until);
        let waited = ledger.now.since(self.job.due_at);
        let data = Data::Started { worker, lane: self.job.lane.clone(), waited_ms: tell::ms(waited), takeover };
        Ok(Started { waited, event_seq: self.tell(data, ledger) })
    }
}

/// `ms` as a number that every database can keep.
fn bounded(ms: f64) -> f64 {
    if ms.is_nan() { ESTIMATE_MS_MAX } else { ms.clamp(0.0, ESTIMATE_MS_MAX) }
}
