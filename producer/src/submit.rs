//! The words of accepting a job: what is asked for, what was accepted, why it was refused. No behaviour; `admission` decides and
//! `submitter` does.

use std::{sync::Arc, time::Duration};

use siding_core::{
    api::{DeadOutcome, DeadSkipped},
    clock::Timestamp,
    id::{IdempotencyKey, JobId, ModelName, ModelVersion},
    problem::Problem,
    store::{Acceptance, DeadFilter, JobRecord},
    tensor::InputProblem,
};

/// What a caller asks for, parsed but not yet checked against model and limits.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The caller's id for the job (`PUT`); generated when `None`.
    pub id: Option<JobId>,
    /// The caller's key for repeats.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What is to run.
    pub model: ModelName,
    /// Which version; the newest when `None`.
    pub version: Option<ModelVersion>,
    /// The model's input as JSON text.
    pub input: Arc<str>,
    /// The caller's hint: how long one run is expected to take, in milliseconds.
    pub expected_ms: Option<u64>,
    /// How long after now the job is due, in milliseconds.
    pub delay_ms: Option<u64>,
    /// When the job is due.
    pub start_at: Option<Timestamp>,
    /// How long after it is due the job may still be started, in milliseconds; the lane's when `None`.
    pub start_deadline_ms: Option<u64>,
    /// How long one attempt may run, in milliseconds; the lane's when `None`.
    pub run_timeout_ms: Option<u64>,
    /// How long one step of it may take, in milliseconds; the lane's when `None`.
    pub stall_timeout_ms: Option<u64>,
    /// How many attempts may fail; the setting's when `None`.
    pub attempts_max: Option<u32>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// Many jobs that are asked for in one request.
#[derive(Debug)]
pub struct Batch {
    /// The jobs, in order; one that could not be read is there as its refusal.
    pub jobs: Vec<Result<Submission, Refusal>>,
    /// The caller's key for repeats of the whole request: each job without an id or key of its own has this one and its place.
    pub key: Option<IdempotencyKey>,
    /// What the refusal of one means for the others.
    pub acceptance: Acceptance,
}

/// Dead jobs that are to be dealt with.
#[derive(Debug, Clone)]
pub struct Deal {
    /// Which.
    pub which: Which,
    /// What is to become of them.
    pub how: How,
    /// Whether only to tell which they are.
    pub dry_run: bool,
}

/// Which dead jobs are meant.
#[derive(Debug, Clone)]
pub enum Which {
    /// These; the others among them that are not dead are skipped.
    Jobs(Vec<JobId>),
    /// The newest failures that match, at most so many.
    Matching {
        /// What they have in common.
        filter: DeadFilter,
        /// How many.
        limit: usize,
    },
}

/// What is to become of dead jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Each is run again, as a new job.
    Replay,
    /// Each is let rest.
    Drop,
}

/// What became of dead jobs.
#[derive(Debug, Clone, Default)]
pub struct Dealt {
    /// Those that were dealt with (or would be), and the jobs that run them again.
    pub jobs: Vec<DeadOutcome>,
    /// Those that were named and not dealt with.
    pub skipped: Vec<DeadSkipped>,
    /// Whether jobs that are meant are left.
    pub more: bool,
}

/// An accepted submission.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The job as it stands.
    pub job: JobRecord,
    /// Whether this call created it; `false` for a repeat.
    pub created: bool,
}

/// Why a submission, cancel or retry was refused. Nothing has happened.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such model; the known ones are listed.
    #[error("there is no model {model}; known models: {known}")]
    UnknownModel {
        /// What was asked for.
        model: ModelName,
        /// The names that exist, comma-separated.
        known: String,
    },
    /// The model has no such version.
    #[error("model {model} has no version {version}; it has {known}")]
    UnknownVersion {
        /// The model.
        model: ModelName,
        /// What was asked for.
        version: ModelVersion,
        /// The versions that exist, comma-separated.
        known: String,
    },
    /// The model is in the repository but cannot be served; the text says why.
    #[error("model {model} cannot be served: {why}")]
    BrokenModel {
        /// The model.
        model: ModelName,
        /// What is wrong with it.
        why: String,
    },
    /// The input does not fit the model, or a field is out of range. Pointers are JSON pointers into the request body.
    #[error("the request does not fit")]
    Invalid(Vec<InputProblem>),
    /// One job of a batch is not JSON, or not a submission.
    #[error("{}", .0.detail)]
    Unreadable(Box<Problem>),
    /// It could have been accepted, but not so another job of its atomic batch.
    #[error("another job of the atomic batch was refused")]
    Withheld,
    /// A request with the same idempotency key is being handled right now.
    #[error("a request with this Idempotency-Key is being handled")]
    InFlight,
    /// The idempotency key belongs to another request.
    #[error("this Idempotency-Key was used for another request, job {0}")]
    KeyReused(JobId),
    /// The id belongs to another request's job.
    #[error("job {0} exists and was asked for differently")]
    IdTaken(JobId),
    /// There is no such job.
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    /// Only a finished job can be run again.
    #[error("job {0} is not finished")]
    NotFinished(JobId),
    /// Too many calls wait for the store (429).
    #[error("too many requests are waiting")]
    Busy {
        /// When to come back.
        retry_after: Duration,
    },
    /// Too many accepted jobs wait for the broker, the store does not answer, or the service is stopping (503). The cause is for the log.
    #[error("jobs cannot be accepted now: {why}")]
    Unavailable {
        /// For the caller.
        why: &'static str,
        /// When to come back.
        retry_after: Duration,
        /// For the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store or the blob store failed in a way that does not pass by itself (500). The cause is for the log.
    #[error("the request failed inside the service: {why}")]
    Internal {
        /// Which part, in the log's words.
        why: &'static str,
        /// For the log.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Refusal {
    /// The word for metrics; also the problem code of the HTTP answer.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown_model",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::BrokenModel { .. } => "broken_model",
            Self::Invalid(_) => "invalid_input",
            Self::Unreadable(problem) => problem.code.as_str(),
            Self::Withheld => "batch_refused",
            Self::InFlight => "idempotency_in_flight",
            Self::KeyReused(_) => "idempotency_key_reused",
            Self::IdTaken(_) => "id_taken",
            Self::UnknownJob(_) => "unknown_job",
            Self::NotFinished(_) => "not_finished",
            Self::Busy { .. } => "busy",
            Self::Unavailable { .. } => "unavailable",
            Self::Internal { .. } => "internal",
        }
    }
}
