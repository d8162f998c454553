//! A changed job's row: all that a change of state may touch, and nothing else.

use serde::Serialize;

use super::{columns, ms};
use crate::{
    clock::Timestamp,
    id::{Attempt, EventSeq, JobId, MessageId, WorkerId},
    store::decide::Stored,
};

/// A changed job, as the update statement reads it: all that a change of state may touch.
#[derive(Serialize)]
pub(in crate::store) struct JobUpdate<'a> {
    id: JobId,
    state: &'static str,
    attempt: Attempt,
    failures: u32,
    event_seq: EventSeq,
    due_at: Timestamp,
    published_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    worker: Option<WorkerId>,
    lease_until: Option<Timestamp>,
    claimed_message: Option<MessageId>,
    cancel_requested_at: Option<Timestamp>,
    failure_code: Option<&'static str>,
    failure_message: Option<&'a str>,
    output: Option<&'a str>,
    output_blob: Option<String>,
    cancel_met: Option<&'static str>,
    cancel_spent_ms: Option<i64>,
    checkpoint_blob: Option<String>,
    checkpoint_done: Option<u64>,
    checkpoint_total: Option<u64>,
    checkpoint_attempt: Option<Attempt>,
    checkpoint_seq: Option<EventSeq>,
    begun_attempt: Option<Attempt>,
}

impl<'a> JobUpdate<'a> {
    pub(in crate::store) fn of(stored: &'a Stored) -> Self {
        let job = &stored.job;
        let (output, output_blob) = columns(stored.output.as_ref());
        let checkpoint = stored.checkpoint.as_ref();
        Self {
            id: job.id,
            state: job.state.as_str(),
            attempt: job.attempt,
            failures: job.failures,
            event_seq: job.event_seq,
            due_at: job.due_at,
            published_at: stored.published_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            worker: job.worker,
            lease_until: stored.lease_until,
            claimed_message: stored.claimed_message,
            cancel_requested_at: stored.cancel_requested_at,
            failure_code: job.failure.as_ref().map(|failure| failure.code.as_str()),
            failure_message: job.failure.as_ref().map(|failure| failure.message.as_str()),
            output,
            output_blob,
            cancel_met: job.canceled.map(|canceled| canceled.met.as_str()),
            cancel_spent_ms: job.canceled.map(|canceled| ms(canceled.spent)),
            checkpoint_blob: checkpoint.map(|checkpoint| checkpoint.blob.to_string()),
            checkpoint_done: checkpoint.map(|checkpoint| checkpoint.done.min(COUNT_MAX)),
            checkpoint_total: checkpoint.and_then(|checkpoint| checkpoint.total).map(|total| total.min(COUNT_MAX)),
            checkpoint_attempt: checkpoint.map(|checkpoint| checkpoint.attempt),
            checkpoint_seq: checkpoint.map(|checkpoint| checkpoint.after_seq),
            begun_attempt: stored.begun,
        }
    }
}

/// What SQL counts to.
const COUNT_MAX: u64 = i64::MAX as u64;
