//! The events that a store writes, with their data: what `EventKind` promises to callers, as types. It decides no transition.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    clock::Timestamp,
    estimate::Estimate,
    id::{Attempt, EventSeq, JobId, LaneName, WorkerId},
    job::{Canceled, EventKind, FailureCode},
    store::Checkpoint,
};

/// An event to be written.
#[derive(Debug, Serialize)]
pub(in crate::store) struct NewEvent {
    pub job: JobId,
    pub seq: EventSeq,
    pub kind: EventKind,
    pub attempt: Attempt,
    pub data: Data,
}

/// An event's data: a JSON object, whose keys say the kind. Durations are whole milliseconds.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::store) enum Data {
    Queued {
        lane: LaneName,
        estimate: Estimate,
        due_at_ms: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_of: Option<JobId>,
    },
    Started {
        worker: WorkerId,
        lane: LaneName,
        waited_ms: u64,
        takeover: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        resumes: Option<Resumes>,
    },
    Progress {
        done: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    Output {
        chunk: Box<RawValue>,
    },
    Checkpoint {
        done: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        bytes: u64,
    },
    Restarted {
        reason: &'static str,
    },
    Retrying {
        code: FailureCode,
        message: String,
        due_at_ms: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        run_ms: Option<u64>,
    },
    Interrupted {
        reason: &'static str,
        run_ms: u64,
    },
    Cancelling {},
    Succeeded {
        run_ms: u64,
    },
    Failed {
        code: FailureCode,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        run_ms: Option<u64>,
    },
    Canceled {
        r#while: &'static str,
        met: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        stopped_after_ms: Option<u64>,
        spent_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        run_ms: Option<u64>,
    },
    Expired {
        #[serde(skip_serializing_if = "Option::is_none")]
        start_deadline_at_ms: Option<Timestamp>,
    },
}

/// What a started attempt goes on from.
#[derive(Debug, Serialize)]
pub(in crate::store) struct Resumes {
    done: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    after_seq: EventSeq,
}

impl From<&Checkpoint> for Resumes {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self { done: checkpoint.done, total: checkpoint.total, after_seq: checkpoint.after_seq }
    }
}

impl Data {
    /// `stopped_after` is known of a job that ran.
    pub(super) fn canceled(canceled: Canceled, stopped_after: Option<Duration>, run: Option<Duration>) -> Self {
        Self::Canceled {
            r#while: if stopped_after.is_some() { "running" } else { "queued" },
            met: canceled.met.as_str(),
            stopped_after_ms: stopped_after.map(ms),
            spent_ms: ms(canceled.spent),
            run_ms: run.map(ms),
        }
    }

    pub(super) fn kind(&self) -> EventKind {
        match self {
            Self::Queued { .. } => EventKind::Queued,
            Self::Started { .. } => EventKind::Started,
            Self::Progress { .. } => EventKind::Progress,
            Self::Output { .. } => EventKind::Output,
            Self::Checkpoint { .. } => EventKind::Checkpoint,
            Self::Restarted { .. } => EventKind::Restarted,
            Self::Retrying { .. } => EventKind::Retrying,
            Self::Interrupted { .. } => EventKind::Interrupted,
            Self::Cancelling {} => EventKind::Cancelling,
            Self::Succeeded { .. } => EventKind::Succeeded,
            Self::Failed { .. } => EventKind::Failed,
            Self::Canceled { .. } => EventKind::Canceled,
            Self::Expired { .. } => EventKind::Expired,
        }
    }
}

/// Whole milliseconds, saturating.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
