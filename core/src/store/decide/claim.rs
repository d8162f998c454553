//! Claiming a job: the way into `running`.

use std::time::Duration;

use super::{Data, Ledger, Stored, tell};
use crate::{
    id::{Attempt, EventSeq, WorkerId},
    job::state::{Change, Illegal, State},
    store::{Claim, Skip},
};

/// A started attempt, besides what the job's record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Started {
    pub waited: Duration,
    pub takeover: bool,
    pub event_seq: EventSeq,
}

impl Stored {
    /// Starts the next attempt for `worker`, if the job is there to be started. An attempt that has lost its worker is ended
    /// first, and the job may end with it.
    pub(super) fn claim(&mut self, worker: WorkerId, claim: &Claim, ledger: &mut Ledger) -> Result<Started, Skip> {
        let was_over = self.job.state.is_terminal();
        let lost = matches!(self.job.state, State::Running | State::Cancelling);
        if lost {
            if !self.has_lost_its_holder(claim) && !self.lease_is_over(ledger.now) {
                return Err(Skip::Held);
            }
            self.lose(ledger).map_err(|Illegal { .. }| Skip::Held)?;
        } else if self.is_overdue(ledger.now) {
            self.expire(ledger).map_err(|Illegal { .. }| Skip::Finished)?;
        }
        match self.job.state {
            State::Queued if self.job.due_at > ledger.now => {
                self.unpublish();
                Err(Skip::NotDue)
            }
            State::Queued => self.start(worker, claim, lost, ledger).map_err(|_| Skip::Finished),
            State::Running | State::Cancelling => Err(Skip::Held),
            _ if was_over => Err(Skip::Finished),
            state @ (State::Succeeded | State::Failed | State::Canceled | State::Expired) => {
                Err(Skip::Ended { state, seq: self.job.event_seq, released: self.released.take() })
            }
        }
    }

    /// Whether this claim says that the worker which holds the job is gone: the broker has taken its message back from it.
    fn has_lost_its_holder(&self, claim: &Claim) -> bool {
        claim.takeover && claim.message.is_some() && claim.message == self.claimed_message
    }

    /// Whoever asks settles the message: a job that came too early (the clock was set back) has to be published again.
    fn unpublish(&mut self) {
        if self.published_at.take().is_some() {
            self.changed = true;
        }
    }

    fn start(&mut self, worker: WorkerId, claim: &Claim, takeover: bool, ledger: &mut Ledger) -> Result<Started, Illegal> {
        self.apply(Change::Claim, ledger.now)?;
        self.job.attempt = Attempt(self.job.attempt.0 + 1);
        self.job.worker = Some(worker);
        self.job.started_at = Some(ledger.now);
        self.lease_until = Some(ledger.now.plus(claim.lease));
        self.claimed_message = claim.message;
        let waited = ledger.now.since(self.job.due_at);
        let resumes = self.checkpoint.as_ref().map(Into::into);
        let data = Data::Started { worker, lane: self.job.lane.clone(), waited_ms: tell::ms(waited), takeover, resumes };
        Ok(Started { waited, takeover, event_seq: self.tell(data, ledger) })
    }
}
