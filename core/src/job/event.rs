//! Events: what a caller sees of a job. Every state transition is exactly one event, numbered per job without gaps and written in
//! the same transaction as the transition. An event is never changed or removed while its job is kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    clock::Timestamp,
    id::{Attempt, EventSeq, JobId},
    job::State,
};

/// What an event tells. The words are the `event:` field of a stream and a promise to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Accepted. Data: lane, why that lane, estimate.
    Queued,
    /// An attempt started. Data: worker, waited_ms, takeover.
    Started,
    /// How far the attempt is. Data: done, total when known.
    Progress,
    /// A piece of output before the end. Data: the piece. Void when `retrying` or `interrupted` follows without a `checkpoint` in between,
    /// or `restarted` follows.
    Output,
    /// The state of the computation was saved. Data: done, total when known, bytes. Outputs before it stand.
    Checkpoint,
    /// The attempt could not go on from the checkpoint and began from nothing. Data: reason. Outputs before it are void.
    Restarted,
    /// The attempt failed or was lost and another one will follow. Data: code, message, due_at_ms. Outputs since the newest `checkpoint`
    /// are void.
    Retrying,
    /// The attempt was handed back without having failed. Data: reason. Outputs since the newest `checkpoint` are void.
    Interrupted,
    /// The caller cancelled; the computation is being stopped.
    Cancelling,
    /// Ended with a result. Terminal.
    Succeeded,
    /// Ended with an error. Data: code, message. Terminal.
    Failed,
    /// Ended by the caller. Terminal.
    Canceled,
    /// Not started in time. Terminal.
    Expired,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Queued,
        Self::Started,
        Self::Progress,
        Self::Output,
        Self::Checkpoint,
        Self::Restarted,
        Self::Retrying,
        Self::Interrupted,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
        Self::Expired,
    ];

    /// The word used in SQL, JSON and the `event:` field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Progress => "progress",
            Self::Output => "output",
            Self::Checkpoint => "checkpoint",
            Self::Restarted => "restarted",
            Self::Retrying => "retrying",
            Self::Interrupted => "interrupted",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }

    /// Whether no event of the job follows this one.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Expired)
    }

    /// The event that tells that a job has reached a terminal `state`; `None` for a state that is not terminal.
    #[must_use]
    pub fn of_terminal(state: State) -> Option<Self> {
        match state {
            State::Succeeded => Some(Self::Succeeded),
            State::Failed => Some(Self::Failed),
            State::Canceled => Some(Self::Canceled),
            State::Expired => Some(Self::Expired),
            State::Queued | State::Running | State::Cancelling => None,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = crate::id::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| crate::id::Invalid {
            kind: "event kind",
            problem: format!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")),
        })
    }
}

/// One stored event.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Whose event it is.
    pub job: JobId,
    /// Its number within the job.
    pub seq: EventSeq,
    /// What it tells.
    pub kind: EventKind,
    /// When it was committed, by the store's clock.
    pub at: Timestamp,
    /// The attempt it belongs to; 0 before the first.
    pub attempt: Attempt,
    /// Details as a JSON object; which keys, says the kind.
    pub data: Box<RawValue>,
}
