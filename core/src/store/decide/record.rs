//! Recording what an attempt did, under its fence.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{Data, Ledger, Stored, tell};
use crate::{
    blob::BlobRef,
    id::EventSeq,
    job::{
        CancelMet, Finish,
        state::{Change, Illegal, State},
    },
    store::{Checkpoint, Error, Record, RecordChange, Recorded},
};

impl Stored {
    /// Applies one record. A record whose attempt is not the newest or not running, or that asks for a move which the state
    /// machine does not have (stopped without a cancel), is refused.
    ///
    /// # Errors
    /// `Broken` when a chunk is not JSON, before anything is changed.
    pub(super) fn record(&mut self, record: &Record, ledger: &mut Ledger) -> Result<Recorded, Error> {
        let running = matches!(self.job.state, State::Running | State::Cancelling);
        if !running || record.attempt != self.job.attempt {
            return Ok(Recorded::Fenced);
        }
        let seq = match &record.change {
            RecordChange::Progress { done, total } => Ok(self.tell(Data::Progress { done: *done, total: *total }, ledger)),
            RecordChange::Output { chunk } => {
                let chunk = RawValue::from_string(chunk.to_string())
                    .map_err(|error| Error::broken("a piece of output is not JSON", error))?;
                Ok(self.tell(Data::Output { chunk }, ledger))
            }
            RecordChange::Checkpoint { blob, done, total } => Ok(self.keep_checkpoint(blob, *done, *total, ledger)),
            RecordChange::Restarted { reason } => {
                self.release_checkpoint();
                Ok(self.tell(Data::Restarted { reason: reason.as_str() }, ledger))
            }
            RecordChange::Finish { finish, run } => self.finish(finish, *run, ledger),
        };
        Ok(match seq {
            Ok(seq) => Recorded::Done { state: self.job.state, seq, released: self.released.take() },
            Err(Illegal { .. }) => Recorded::Fenced,
        })
    }

    fn keep_checkpoint(&mut self, blob: &BlobRef, done: u64, total: Option<u64>, ledger: &mut Ledger) -> EventSeq {
        self.release_checkpoint();
        // A record that is repeated because its answer was lost names the blob that it has brought itself.
        self.released.take_if(|released| released == blob);
        let after_seq = self.tell(Data::Checkpoint { done, total, bytes: blob.bytes() }, ledger);
        self.checkpoint = Some(Checkpoint { blob: blob.clone(), done, total, attempt: self.job.attempt, after_seq });
        after_seq
    }

    fn finish(&mut self, finish: &Finish, run: Duration, ledger: &mut Ledger) -> Result<EventSeq, Illegal> {
        match finish {
            Finish::Succeeded { output } => {
                self.apply(Change::Succeed, ledger.now)?;
                self.job.has_output = true;
                self.output = Some(output.clone());
                Ok(self.tell(Data::Succeeded { run_ms: tell::ms(run) }, ledger))
            }
            Finish::Failed { failure, retry_at } => self.fail(failure.clone(), *retry_at, Some(run), ledger),
            Finish::Stopped { met } => {
                self.apply(Change::Stopped, ledger.now)?;
                Ok(self.tell_canceled(*met, Some(run), ledger))
            }
            Finish::Interrupted { reason, due_in } => {
                if self.apply(Change::Requeue, ledger.now)? == State::Canceled {
                    return Ok(self.tell_canceled(CancelMet::OtherEnd, Some(run), ledger));
                }
                self.job.due_at = ledger.now.plus(*due_in);
                match (reason.is_before_start(), self.begun) {
                    // Handed back before its start, like all before it: the job has not started, and its start deadline still holds.
                    (true, None) => self.job.started_at = None,
                    (true, Some(_)) => {}
                    (false, _) => self.begun = Some(self.job.attempt),
                }
                Ok(self.tell(Data::Interrupted { reason: reason.as_str(), run_ms: tell::ms(run) }, ledger))
            }
        }
    }
}
