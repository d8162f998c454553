//! The job's state machine: one `apply`, and every other move is an error. The same moves stand as CHECKs and WHERE clauses
//! in SQL. A terminal state never changes; running a finished job again is a new job that names the old one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a job stands. `queued` includes waiting for a due time; there is no state for "published".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted; waits for its due time, for a delivery or for a slot.
    Queued,
    /// Claimed by a worker under a lease.
    Running,
    /// Running, and told to stop.
    Cancelling,
    /// Ended with a result. Terminal.
    Succeeded,
    /// Ended with an error, attempts spent or the error permanent. Terminal.
    Failed,
    /// Ended because the caller said so. Terminal.
    Canceled,
    /// Not started before its start deadline. Terminal.
    Expired,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A worker claims it.
    Claim,
    /// Its attempt produced a result.
    Succeed,
    /// Its attempt failed for good.
    Fail,
    /// Its attempt failed, was lost or was interrupted, and another one will follow.
    Requeue,
    /// The caller asks for its end.
    Cancel,
    /// Its worker has stopped the computation after a cancel.
    Stopped,
    /// Its start deadline has passed.
    Expire,
}

/// The refusal of a move that the machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot {change:?}")]
pub struct Illegal {
    /// The state it is in.
    pub from: State,
    /// What was tried.
    pub change: Change,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Cancelling, Self::Succeeded, Self::Failed, Self::Canceled, Self::Expired];

    /// The state after `change`.
    ///
    /// # Errors
    /// `Illegal` when this state does not have that move; the caller's view of the job is out of date.
    pub fn apply(self, change: Change) -> Result<Self, Illegal> {
        use Change as C;
        match (self, change) {
            (Self::Queued, C::Claim) => Ok(Self::Running),
            (Self::Queued, C::Cancel) => Ok(Self::Canceled),
            (Self::Queued, C::Expire) => Ok(Self::Expired),
            (Self::Running | Self::Cancelling, C::Succeed) => Ok(Self::Succeeded),
            (Self::Running, C::Fail) => Ok(Self::Failed),
            (Self::Running, C::Requeue) => Ok(Self::Queued),
            (Self::Running | Self::Cancelling, C::Cancel) => Ok(Self::Cancelling),
            // Nobody waits for another try of a job that was told to stop: however its attempt ends, it is canceled.
            (Self::Cancelling, C::Stopped | C::Fail | C::Requeue) => Ok(Self::Canceled),
            (from, change) => Err(Illegal { from, change }),
        }
    }

    /// Whether this state never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Expired)
    }

    /// The word used in SQL, JSON, logs and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = crate::id::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| crate::id::Invalid {
            kind: "state",
            problem: format!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")),
        })
    }
}

impl Change {
    /// Every change, for tables.
    pub const ALL: [Self; 7] = [Self::Claim, Self::Succeed, Self::Fail, Self::Requeue, Self::Cancel, Self::Stopped, Self::Expire];
}

#[cfg(test)]
mod tests {
    use super::{Change as C, State as S, *};

    #[test]
    fn the_machine_has_these_moves_and_no_other() {
        let moves = [
            (S::Queued, C::Claim, S::Running),
            (S::Queued, C::Cancel, S::Canceled),
            (S::Queued, C::Expire, S::Expired),
            (S::Running, C::Succeed, S::Succeeded),
            (S::Running, C::Fail, S::Failed),
            (S::Running, C::Requeue, S::Queued),
            (S::Running, C::Cancel, S::Cancelling),
            (S::Cancelling, C::Cancel, S::Cancelling),
            (S::Cancelling, C::Succeed, S::Succeeded),
            (S::Cancelling, C::Stopped, S::Canceled),
            (S::Cancelling, C::Fail, S::Canceled),
            (S::Cancelling, C::Requeue, S::Canceled),
        ];
        for from in S::ALL {
            for change in C::ALL {
                let expected = moves.iter().find(|m| m.0 == from && m.1 == change).map(|m| m.2);
                assert_eq!(from.apply(change).ok(), expected, "{from} {change:?}");
            }
        }
    }

    #[test]
    fn a_terminal_state_has_no_way_out() {
        for from in S::ALL.into_iter().filter(|s| s.is_terminal()) {
            for change in C::ALL {
                assert_eq!(from.apply(change), Err(Illegal { from, change }));
            }
        }
    }

    #[test]
    fn a_state_is_read_back_as_it_is_written() {
        for state in S::ALL {
            assert_eq!(state.as_str().parse::<S>().expect("own word"), state);
            assert_eq!(serde_json::to_string(&state).expect("json"), format!("\"{state}\""));
        }
    }
}
