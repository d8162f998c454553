//! Dealing with a dead job without running it again. Its state stays; so does its row.

use super::Stored;
use crate::clock::Timestamp;

impl Stored {
    /// Drops a dead job at `now`. Returns whether it was one.
    pub(super) fn drop_dead(&mut self, now: Timestamp) -> bool {
        let dead = self.job.is_dead();
        if dead {
            self.job.dropped_at = Some(now);
        }
        dead
    }
}
