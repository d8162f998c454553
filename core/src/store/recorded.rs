//! What an attempt records and what a store keeps of it. Plain data: nothing here looks into a saved state, and nothing is decided.

use std::{sync::Arc, time::Duration};

use crate::{
    blob::BlobRef,
    id::{Attempt, EventSeq, JobId},
    job::{Finish, RestartReason, State},
};

/// One thing that an attempt did.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The job.
    pub job: JobId,
    /// The fence.
    pub attempt: Attempt,
    /// What it did.
    pub change: RecordChange,
}

/// What an attempt did.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordChange {
    /// It got this far.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, when known.
        total: Option<u64>,
    },
    /// It produced a piece of output: JSON text of at most `limits::INLINE_BYTES_MAX`.
    Output {
        /// The piece.
        chunk: Arc<str>,
    },
    /// Its state was saved: another attempt goes on from here.
    Checkpoint {
        /// Where the state lies.
        blob: BlobRef,
        /// Units done.
        done: u64,
        /// Units in all, when known.
        total: Option<u64>,
    },
    /// It could not go on from the job's checkpoint and has begun from nothing.
    Restarted {
        /// Why.
        reason: RestartReason,
    },
    /// It ended.
    Finish {
        /// How.
        finish: Finish,
        /// How long the computation took, measured by the worker.
        run: Duration,
    },
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Committed.
    Done {
        /// The job's state after it.
        state: State,
        /// The number of the event that tells it.
        seq: EventSeq,
        /// The checkpoint's blob that nothing refers to any more.
        released: Option<BlobRef>,
    },
    /// Refused: the attempt is not the job's newest, or the job is not running. Throw the result away.
    Fenced,
}

/// The newest checkpoint of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where the state lies.
    pub blob: BlobRef,
    /// How far the computation was.
    pub done: u64,
    /// Out of how much, when that is known.
    pub total: Option<u64>,
    /// The attempt that wrote it.
    pub attempt: Attempt,
    /// The event that told of it: pieces of output before that event stand, those after it come again.
    pub after_seq: EventSeq,
}
