//! What a cancel met, as callers are told: where the job was, and what was computed after it. It stops nothing.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::id::Invalid;

/// Where a cancel met its job. New words may be added; a word never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelMet {
    /// It waited; nothing was computed.
    Queued,
    /// A worker had claimed it and had not begun to compute.
    NotStarted,
    /// Between two steps: nothing ran at that moment.
    BetweenSteps,
    /// Inside a step, or inside a run that has no steps; the run heeded it.
    InsideRun,
    /// The run did not heed it in time and was ended by force.
    Killed,
    /// The run did not heed it and could not be ended: it computes on, and its result is refused.
    GivenUp,
    /// The attempt ended otherwise meanwhile: by an error, by a drain, or because its worker was lost.
    OtherEnd,
}

impl CancelMet {
    /// Every word.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::NotStarted, Self::BetweenSteps, Self::InsideRun, Self::Killed, Self::GivenUp, Self::OtherEnd];

    /// The word used in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::NotStarted => "not_started",
            Self::BetweenSteps => "between_steps",
            Self::InsideRun => "inside_run",
            Self::Killed => "killed",
            Self::GivenUp => "given_up",
            Self::OtherEnd => "other_end",
        }
    }

    /// Whether anything was computed after the cancel.
    #[must_use]
    pub fn was_computing(self) -> bool {
        !matches!(self, Self::Queued | Self::NotStarted)
    }
}

impl FromStr for CancelMet {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|met| met.as_str() == text).ok_or_else(|| Invalid {
            kind: "word for what a cancel met",
            problem: format!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")),
        })
    }
}

/// What is kept of a canceled job's cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canceled {
    /// What it met.
    pub met: CancelMet,
    /// How much was computed after it was asked for, at most: the way of the cancel to the worker and of the end to the store count as
    /// computing, because no clock is shared. Zero when nothing ran.
    pub spent: Duration,
}

/// Why a job began from nothing although it had a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartReason {
    /// The saved state is not in the blob store.
    Missing,
    /// Its bytes are not the ones that were written.
    Damaged,
    /// It was written in a form that this worker does not know.
    Version,
    /// It belongs to another job, model, version, file or input.
    Foreign,
    /// The model does not go on from it.
    Refused,
}

impl RestartReason {
    /// The word used in events and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Version => "version",
            Self::Foreign => "foreign",
            Self::Refused => "refused",
        }
    }
}
