//! What goes into the store and comes out of it. Plain data: no behaviour, no SQL, no serialisation.

use std::{sync::Arc, time::Duration};

use crate::{
    blob::BlobRef,
    clock::Timestamp,
    estimate::Estimate,
    id::{Attempt, EventSeq, IdempotencyKey, JobId, LaneName, MessageId, ModelName, ModelVersion, WorkerId},
    job::{Canceled, Failure, FailureCode, State},
    store::Checkpoint,
};

/// An input or output: JSON text in the row when small, a blob when not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The JSON text itself, at most `limits::INLINE_BYTES_MAX`.
    Inline(Arc<str>),
    /// Where the JSON text lies.
    Blob(BlobRef),
}

/// A job to be accepted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id, generated or chosen by the caller.
    pub id: JobId,
    /// What runs.
    pub model: ModelName,
    /// Which version; resolved at submission, so that a retry runs the same.
    pub version: ModelVersion,
    /// The model's input.
    pub input: Payload,
    /// The caller's key for repeated submissions.
    pub idempotency_key: Option<IdempotencyKey>,
    /// SHA-256 of what the caller asked for; tells a repeat from another request under the same id or key.
    pub fingerprint: [u8; 32],
    /// The lane it was routed to.
    pub lane: LaneName,
    /// Why: the estimate.
    pub estimate: Estimate,
    /// How many attempts may fail.
    pub attempts_max: u32,
    /// When it is due.
    pub start: Start,
    /// How long after it is due it may still be started.
    pub start_deadline: Option<Duration>,
    /// How long one attempt may run.
    pub run_timeout: Duration,
    /// How long one step of it may take; `None` for no limit.
    pub stall_timeout: Option<Duration>,
    /// The job that this one runs again. That job is marked with this one in the same transaction.
    pub retry_of: Option<JobId>,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
}

/// When a job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// So long after its acceptance; zero for at once.
    In(Duration),
    /// At this time, or at once when that has passed.
    At(Timestamp),
}

/// How the jobs of one submission hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Each for itself: a mismatch hinders no other.
    Each,
    /// As a whole: when one of them is a mismatch, none is written.
    Whole,
    /// Each for itself, and only if the job that it runs again is still dead: two replays of a job are one.
    Replays,
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// Accepted: committed.
    Created(JobRecord),
    /// The same request was accepted before: here is that job as it stands.
    Existing(JobRecord),
    /// The id or the idempotency key belongs to a job that was asked for differently.
    Mismatch(JobRecord),
    /// It would have been accepted, and was not: another one of its whole is a mismatch.
    Withheld,
    /// It was not accepted: the job that it would have run again is not dead (any more).
    NotDead,
}

/// A job as it is stored, without input and output.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// What runs.
    pub model: ModelName,
    /// Which version.
    pub version: ModelVersion,
    /// Where it waits or has waited.
    pub lane: LaneName,
    /// How long it is expected to run.
    pub estimate: Estimate,
    /// Where it stands.
    pub state: State,
    /// Its newest attempt; 0 before the first.
    pub attempt: Attempt,
    /// How many attempts have failed.
    pub failures: u32,
    /// How many may.
    pub attempts_max: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Since when, or from when, it may run.
    pub due_at: Timestamp,
    /// Until when it must have started.
    pub start_deadline_at: Option<Timestamp>,
    /// How long one attempt may run.
    pub run_timeout: Duration,
    /// How long one step of it may take.
    pub stall_timeout: Option<Duration>,
    /// When its newest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended; set exactly when the state is terminal.
    pub finished_at: Option<Timestamp>,
    /// Who runs it; set exactly while running or cancelling.
    pub worker: Option<WorkerId>,
    /// Why it failed; set exactly when the state is `failed`.
    pub failure: Option<Failure>,
    /// What its cancel met; set exactly when the state is `canceled`, except where an older version ended it.
    pub canceled: Option<Canceled>,
    /// Whether it has an output.
    pub has_output: bool,
    /// Its newest event.
    pub event_seq: EventSeq,
    /// The job that this one runs again.
    pub retry_of: Option<JobId>,
    /// The newest job that runs this one again.
    pub retried_by: Option<JobId>,
    /// When somebody who looked at its failure let it rest.
    pub dropped_at: Option<Timestamp>,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
}

/// Which jobs a list shows. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of this model.
    pub model: Option<ModelName>,
    /// In this lane.
    pub lane: Option<LaneName>,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only jobs accepted before this one (by time, then id); `None` for the newest.
    pub before: Option<(Timestamp, JobId)>,
    /// At most this many.
    pub limit: usize,
}

/// The jobs of one lane that are not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The lane.
    pub lane: LaneName,
    /// Queued and due.
    pub queued: u64,
    /// Queued for later.
    pub scheduled: u64,
    /// Running or cancelling.
    pub running: u64,
    /// How long the oldest queued and due job has been due.
    pub oldest_due_for: Option<Duration>,
}

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancelled {
    /// The job after it.
    pub job: JobRecord,
    /// Whether this call changed anything; a second cancel, or one after the end, does not.
    pub changed: bool,
    /// The checkpoint's blob that nothing refers to any more.
    pub released: Option<BlobRef>,
}

/// A due, unpublished job.
#[derive(Debug, Clone, PartialEq)]
pub struct DueJob {
    /// The job.
    pub id: JobId,
    /// Its newest attempt; the publication is marked under this number.
    pub attempt: Attempt,
    /// Its lane.
    pub lane: LaneName,
    /// Its model.
    pub model: ModelName,
    /// Its model's version.
    pub version: ModelVersion,
    /// Since when it is due.
    pub due_at: Timestamp,
    /// Median expected duration in milliseconds.
    pub expected_ms: f64,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
}

/// One confirmed publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// The job.
    pub job: JobId,
    /// Its newest attempt when it was published.
    pub attempt: Attempt,
}

/// A wish to run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// How long the claim is to hold.
    pub lease: Duration,
    /// The message that asks for it, which the claim remembers; `None` for one that carries no id.
    pub message: Option<MessageId>,
    /// Whether the broker has lost the message's holder (it is redelivered, on an `on_record` lane). When the holder's claim was made
    /// with this very message, its live lease is taken over at once, and the lost attempt counts as failed. Any other message (a
    /// doubled one, which somebody gave back) says nothing about the holder.
    pub takeover: bool,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// Ours to run.
    Run(Box<Work>),
    /// Not ours: settle the delivery and move on.
    Skip(Skip),
}

/// Why a claim was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// There is no such job.
    Unknown,
    /// The job was over before.
    Finished,
    /// This very claim ended the job: its deadline had passed, or its holder was lost with its attempts spent or a cancel under way.
    Ended {
        /// How.
        state: State,
        /// The number of the event that says so.
        seq: EventSeq,
        /// The checkpoint's blob that nothing refers to any more.
        released: Option<BlobRef>,
    },
    /// Another claim holds it under a live lease, and nothing says that its worker is lost.
    Held,
    /// It is queued for later; the relay will publish it then.
    NotDue,
}

/// A claimed job: all that a worker needs to run it.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The job.
    pub job: JobId,
    /// The fence for every write.
    pub attempt: Attempt,
    /// What runs.
    pub model: ModelName,
    /// Which version.
    pub version: ModelVersion,
    /// Where it waited.
    pub lane: LaneName,
    /// The model's input.
    pub input: Payload,
    /// How long it is expected to run.
    pub estimate: Estimate,
    /// How long it may run.
    pub run_timeout: Duration,
    /// How long one step may take.
    pub stall_timeout: Option<Duration>,
    /// What it goes on from.
    pub checkpoint: Option<Checkpoint>,
    /// How many attempts have failed before.
    pub failures: u32,
    /// How many may.
    pub attempts_max: u32,
    /// How long it was due before this claim.
    pub waited: Duration,
    /// Whether this claim ended an attempt that had lost its worker.
    pub takeover: bool,
    /// The number of the `started` event that this claim wrote.
    pub event_seq: EventSeq,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
}

/// A lease to extend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The fence.
    pub attempt: Attempt,
    /// How long the claim is to hold, from now.
    pub lease: Duration,
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// Still ours.
    Held,
    /// Still ours, and the caller wants the job to stop.
    CancelRequested,
    /// No longer ours: stop, and record nothing.
    Lost,
}

/// A job that the sweep moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// The job.
    pub job: JobId,
    /// Its lane.
    pub lane: LaneName,
    /// Its model.
    pub model: ModelName,
    /// Its state after the move.
    pub state: State,
    /// The number of the event that tells it.
    pub seq: EventSeq,
    /// `WorkerLost` for a lease that was over; `None` for a start deadline.
    pub code: Option<FailureCode>,
    /// The checkpoint's blob that nothing refers to any more.
    pub released: Option<BlobRef>,
}
