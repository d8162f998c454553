//! What one attempt ends as. A worker decides it once and hands it to the recorder; it never changes afterwards.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::CancelMet;
use crate::{clock::Timestamp, id::Invalid, limits, store::Payload};

/// Why a job failed, in a word that callers may branch on. New words may be added; a word never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The input does not fit the model, although it passed submission.
    BadInput,
    /// The model could not be loaded: missing, corrupt, or different from its manifest.
    ModelUnavailable,
    /// The runtime refused or broke during the run.
    RuntimeError,
    /// The run panicked; it cost this job, not the worker.
    Panicked,
    /// The model's process crashed, or had to be killed; it cost this job, not the worker.
    ModelCrashed,
    /// The run passed its `run_timeout_ms`. Not tried again: the next run would pass it as well.
    RunTimeout,
    /// A step of the run took longer than its `stall_timeout_ms`.
    Stalled,
    /// The output is larger than a job may return.
    OutputTooLarge,
    /// The worker died or lost its lease while it ran this job.
    WorkerLost,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [Self; 9] = [
        Self::BadInput,
        Self::ModelUnavailable,
        Self::RuntimeError,
        Self::Panicked,
        Self::ModelCrashed,
        Self::RunTimeout,
        Self::Stalled,
        Self::OutputTooLarge,
        Self::WorkerLost,
    ];

    /// The word used in SQL, JSON and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadInput => "bad_input",
            Self::ModelUnavailable => "model_unavailable",
            Self::RuntimeError => "runtime_error",
            Self::Panicked => "panicked",
            Self::ModelCrashed => "model_crashed",
            Self::RunTimeout => "run_timeout",
            Self::Stalled => "stalled",
            Self::OutputTooLarge => "output_too_large",
            Self::WorkerLost => "worker_lost",
        }
    }

    /// Whether another attempt may end differently.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::BadInput | Self::OutputTooLarge | Self::RunTimeout => false,
            Self::ModelUnavailable
            | Self::RuntimeError
            | Self::Panicked
            | Self::ModelCrashed
            | Self::Stalled
            | Self::WorkerLost => true,
        }
    }
}

impl FromStr for FailureCode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|code| code.as_str() == text);
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            Invalid { kind: "failure code", problem: format!("must be one of {words}") }
        })
    }
}

/// A failed attempt's error. The text is for the caller: it names tensors, shapes and models, never hosts or paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    /// The word to branch on.
    pub code: FailureCode,
    /// One sentence for a person.
    pub message: String,
}

impl Failure {
    /// A failure whose text is cut to `limits::FAILURE_TEXT_BYTES_MAX` at a character boundary. U+0000 becomes U+FFFD: no database of text
    /// keeps it, and one runtime's message must not cost a whole group of records.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.contains('\0') {
            message = message.replace('\0', "\u{fffd}");
        }
        if message.len() > limits::FAILURE_TEXT_BYTES_MAX {
            let cut = message.floor_char_boundary(limits::FAILURE_TEXT_BYTES_MAX);
            message.truncate(cut);
        }
        Self { code, message }
    }
}

/// Why a running attempt went back to the queue without having failed. It does not count against the job's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterruptReason {
    /// The worker is shutting down.
    Drain,
    /// The worker could not start it soon: it claimed it ahead, found no room for its model, or could not read its checkpoint.
    NotStarted,
    /// The model has crashed too often there and is not loaded for a while.
    ModelResting,
}

impl InterruptReason {
    /// The word used in events and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::NotStarted => "not_started",
            Self::ModelResting => "model_resting",
        }
    }

    /// Whether the attempt was handed back before its model was asked for anything.
    #[must_use]
    pub fn is_before_start(self) -> bool {
        match self {
            Self::Drain => false,
            Self::NotStarted | Self::ModelResting => true,
        }
    }
}

/// How an attempt ends, as its worker records it.
#[derive(Debug, Clone, PartialEq)]
pub enum Finish {
    /// With a result.
    Succeeded {
        /// The model's answer.
        output: Payload,
    },
    /// With an error.
    Failed {
        /// What went wrong.
        failure: Failure,
        /// When the next attempt is due; `None` when there is none (see `schedule::retry`).
        retry_at: Option<Timestamp>,
    },
    /// The computation was stopped because the caller cancelled.
    Stopped {
        /// Where the cancel met it.
        met: CancelMet,
    },
    /// Handed back to the queue.
    Interrupted {
        /// Why.
        reason: InterruptReason,
        /// How long from the recording until it is due again.
        due_in: Duration,
    },
}
