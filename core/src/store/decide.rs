//! What a write does to a job, decided purely from the job as it is stored, the wish and the time: the part of a store that has
//! nothing to do with a database. It must never read a clock or do I/O; an implementation loads jobs, calls this, and writes
//! the changed jobs and the told events in one transaction.

mod accept;
mod claim;
mod dead;
mod group;
mod record;
mod tell;

pub(super) use accept::{Accepted, Standing, accept};
use claim::Started;
pub(super) use group::{Jobs, extended};
pub(super) use tell::{Data, NewEvent};

use std::time::Duration;

use crate::{
    blob::BlobRef,
    clock::Timestamp,
    id::{Attempt, EventSeq, MessageId},
    job::{
        CancelMet, Canceled, Failure, FailureCode,
        state::{Change, Illegal, State},
    },
    store::{Checkpoint, JobRecord, Payload, Rescued},
};

/// A job with what only the store keeps of it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// What callers see.
    pub job: JobRecord,
    /// Until when its claim holds; set exactly while running or cancelling.
    pub lease_until: Option<Timestamp>,
    /// When the broker confirmed it, if it has since it was queued last.
    pub published_at: Option<Timestamp>,
    /// The message that its claim was made with, if that carried an id; only while running or cancelling.
    pub claimed_message: Option<MessageId>,
    /// When the caller asked for its end.
    pub cancel_requested_at: Option<Timestamp>,
    /// What the next attempt goes on from; none of a job that is over.
    pub checkpoint: Option<Checkpoint>,
    /// The newest attempt that has ended otherwise than handed back before its start.
    pub begun: Option<Attempt>,
    /// The checkpoint's blob that this call has made useless.
    pub released: Option<BlobRef>,
    /// The output, where this call brought one.
    pub output: Option<Payload>,
    /// Whether this call changed anything.
    pub changed: bool,
}

/// One call's time, and what it has to tell.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The call's one "now".
    pub now: Timestamp,
    /// In the order in which they happened.
    pub events: Vec<NewEvent>,
}

impl Ledger {
    pub(super) fn at(now: Timestamp) -> Self {
        Self { now, events: Vec::new() }
    }
}

impl Stored {
    /// The caller asks for the end. Returns whether that changed anything.
    pub(super) fn cancel(&mut self, ledger: &mut Ledger) -> bool {
        let before = self.job.state;
        match self.apply(Change::Cancel, ledger.now) {
            Ok(State::Canceled) => self.tell_canceled(CancelMet::Queued, None, ledger),
            Ok(_) if before == State::Cancelling => return false,
            Ok(_) => {
                self.cancel_requested_at = Some(ledger.now);
                self.tell(Data::Cancelling {}, ledger)
            }
            Err(Illegal { .. }) => return false,
        };
        true
    }

    /// What the sweep does: ends or requeues an attempt whose lease is over, expires a job that was not started in time.
    /// `None` when there is nothing to do.
    pub(super) fn sweep(&mut self, ledger: &mut Ledger) -> Option<Rescued> {
        let (seq, code) = if self.is_overdue(ledger.now) {
            (self.expire(ledger), None)
        } else if self.lease_is_over(ledger.now) {
            (self.lose(ledger), Some(FailureCode::WorkerLost))
        } else {
            return None;
        };
        let released = self.released.take();
        let job = &self.job;
        Some(Rescued {
            job: job.id,
            lane: job.lane.clone(),
            model: job.model.clone(),
            state: job.state,
            seq: seq.ok()?,
            code,
            released,
        })
    }

    /// Whether it was to start by now and never has. A job that has started once has kept its deadline: a retry may come later.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.job.state == State::Queued && self.job.started_at.is_none() && self.job.start_deadline_at.is_some_and(|at| at < now)
    }

    /// A lease holds up to, and not at, its end.
    fn lease_is_over(&self, now: Timestamp) -> bool {
        self.lease_until.is_some_and(|until| until <= now)
    }

    fn expire(&mut self, ledger: &mut Ledger) -> Result<EventSeq, Illegal> {
        self.apply(Change::Expire, ledger.now)?;
        Ok(self.tell(Data::Expired { start_deadline_at_ms: self.job.start_deadline_at }, ledger))
    }

    /// The attempt's worker is gone: the attempt has failed, and the next one is due at once. An attempt that had saved its state has made
    /// progress that the next one goes on from: it does not count as failed, or a job of 45 min would end with its third worker. One that
    /// kills its worker always at the same place saves nothing new before it, and counts.
    fn lose(&mut self, ledger: &mut Ledger) -> Result<EventSeq, Illegal> {
        let failure = Failure::new(FailureCode::WorkerLost, "the worker was lost while it ran this job");
        if self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.attempt == self.job.attempt) {
            return self.requeue(failure, ledger.now, None, ledger);
        }
        self.fail(failure, Some(ledger.now), None, ledger)
    }

    /// Another attempt follows at `due_at`; canceled if the caller asked for it. Whether it counts was decided.
    fn requeue(
        &mut self,
        failure: Failure,
        due_at: Timestamp,
        run: Option<Duration>,
        ledger: &mut Ledger,
    ) -> Result<EventSeq, Illegal> {
        if self.apply(Change::Requeue, ledger.now)? == State::Canceled {
            return Ok(self.tell_canceled(CancelMet::OtherEnd, run, ledger));
        }
        self.begun = Some(self.job.attempt);
        self.job.due_at = due_at;
        let data = Data::Retrying { code: failure.code, message: failure.message, due_at_ms: due_at, run_ms: run.map(tell::ms) };
        Ok(self.tell(data, ledger))
    }

    /// The attempt has failed: requeued for `retry_at` while attempts are left, else failed; canceled if the caller asked for it.
    fn fail(
        &mut self,
        failure: Failure,
        retry_at: Option<Timestamp>,
        run: Option<Duration>,
        ledger: &mut Ledger,
    ) -> Result<EventSeq, Illegal> {
        let failures = self.job.failures + 1;
        let retry_at = retry_at.filter(|_| failures < self.job.attempts_max);
        if let Some(due_at) = retry_at {
            let seq = self.requeue(failure, due_at, run, ledger)?;
            if self.job.state == State::Queued {
                self.job.failures = failures;
            }
            return Ok(seq);
        }
        if self.apply(Change::Fail, ledger.now)? == State::Canceled {
            return Ok(self.tell_canceled(CancelMet::OtherEnd, run, ledger));
        }
        self.job.failures = failures;
        self.job.failure = Some(failure.clone());
        let data = Data::Failed { code: failure.code, message: failure.message, run_ms: run.map(tell::ms) };
        Ok(self.tell(data, ledger))
    }

    /// Moves the state, and with it what is set exactly in some states.
    fn apply(&mut self, change: Change, now: Timestamp) -> Result<State, Illegal> {
        let state = self.job.state.apply(change)?;
        self.job.state = state;
        if !matches!(state, State::Running | State::Cancelling) {
            self.job.worker = None;
            self.lease_until = None;
            self.claimed_message = None;
        }
        if state == State::Queued {
            self.published_at = None;
        }
        if state.is_terminal() {
            self.job.finished_at = Some(now);
            self.release_checkpoint();
        }
        Ok(state)
    }

    /// Nothing goes on from the checkpoint any more.
    fn release_checkpoint(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take() {
            self.released = Some(checkpoint.blob);
        }
    }

    fn tell_canceled(&mut self, met: CancelMet, run: Option<Duration>, ledger: &mut Ledger) -> EventSeq {
        let stopped_after = self.cancel_requested_at.map(|at| ledger.now.since(at));
        let computed = stopped_after.unwrap_or_default().min(run.unwrap_or(Duration::MAX));
        let canceled = Canceled { met, spent: if met.was_computing() { computed } else { Duration::ZERO } };
        self.job.canceled = Some(canceled);
        self.tell(Data::canceled(canceled, stopped_after, run), ledger)
    }

    fn tell(&mut self, data: Data, ledger: &mut Ledger) -> EventSeq {
        self.changed = true;
        self.job.event_seq = EventSeq(self.job.event_seq.0 + 1);
        ledger.events.push(NewEvent {
            job: self.job.id,
            seq: self.job.event_seq,
            kind: data.kind(),
            attempt: self.job.attempt,
            data,
        });
        self.job.event_seq
    }
}
