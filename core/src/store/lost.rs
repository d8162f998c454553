//! Messages that the broker has lost: which jobs they were for. It decides no job's state; a job whose publication is forgotten is published again.

use std::time::Duration;

use crate::id::LaneName;

/// Which messages the broker has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// All: it remembers nothing.
    All,
    /// Those of one queue (deleted, or emptied) that were marked as published so long ago or longer. What was marked since then may
    /// have gone to the queue that took its place.
    Lane {
        /// The lane.
        lane: LaneName,
        /// The age of the mark, on the store's clock.
        older_than: Duration,
    },
}

impl Lost {
    /// The lane, and the age of marks from which on they are meant; `None` for all lanes and ages.
    pub(super) fn scope(&self) -> Option<(&LaneName, Duration)> {
        match self {
            Self::All => None,
            Self::Lane { lane, older_than } => Some((lane, *older_than)),
        }
    }
}
