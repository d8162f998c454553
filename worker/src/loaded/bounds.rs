//! How much a worker keeps loaded, and what goes when there is no room for another copy: pure. It never looks at what a copy is, only at what it counts
//! for.

use siding_core::model::repository::Model;

/// Copies that a worker keeps loaded, for each of its slots.
const COPIES_PER_SLOT: usize = 8;
/// What one copy counts for: the bytes of its files and half as many again, for what a session keeps beside its weights, and so much for a
/// session without any. Measured: 105 MB for 90 MB of weights, 6 MB for a model of 17 KB.
const COPY_BYTES_MIN: u64 = 8 << 20;

/// How much a worker may keep loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Copies, running ones included.
    pub copies_max: usize,
    /// What they count for, in bytes; 0 for no bound but the other.
    pub bytes_max: u64,
}

impl Bounds {
    /// Those of a worker with so many slots and `worker.models_bytes_max`.
    #[must_use]
    pub fn of(slots: usize, bytes_max: u64) -> Self {
        Self { copies_max: slots * COPIES_PER_SLOT, bytes_max }
    }

    pub(super) fn fits(self, copies: usize, bytes: u64) -> bool {
        copies <= self.copies_max && (self.bytes_max == 0 || bytes <= self.bytes_max)
    }
}

/// How many of the idle copies, the one not used for longest first, must go so that one of `needed` bytes fits beside the others; `None` when
/// it does not fit even then. `idle` has their bytes, `held` the number and bytes of all copies, these included.
pub(super) fn evict(idle: &[u64], held: (usize, u64), needed: u64, bounds: Bounds) -> Option<usize> {
    let (mut copies, mut bytes) = (held.0 + 1, held.1.saturating_add(needed));
    if bounds.fits(copies, bytes) {
        return Some(0);
    }
    idle.iter()
        .position(|gone| {
            (copies, bytes) = (copies - 1, bytes.saturating_sub(*gone));
            bounds.fits(copies, bytes)
        })
        .map(|last| last + 1)
}

/// What a copy of it counts for.
pub(super) fn bytes_of(version: &Model) -> u64 {
    let files = version.file_bytes();
    if version.manifest.file.is_none() { 0 } else { files + files / 2 + COPY_BYTES_MIN }
}
