//! Answers that hold room while they are on their way: what bounds them is given back when they have been written, or when their
//! connection is gone, and not before. It decides how much may be on its way at once and who waits; it decides nothing about what is answered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{limits, problem::Problem};

/// Room is given out in pieces of this size.
const PIECE_BYTES: usize = 1024;
/// How long an answer waits for room before its caller is told to come back.
const PATIENCE: Duration = Duration::from_secs(1);
/// When that is.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `bytes` that keep `kept` alive until the last copy of them is dropped. A server drops a piece of a body once the connection has taken it.
#[must_use]
pub fn keeping<K: Send + Sync + 'static>(bytes: impl Into<Bytes>, kept: K) -> Bytes {
    Bytes::from_owner(Keeping { bytes: bytes.into(), _kept: kept })
}

struct Keeping<K> {
    bytes: Bytes,
    _kept: K,
}

impl<K> AsRef<[u8]> for Keeping<K> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Room for the outputs of jobs on their way to callers. Clones are the same room.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Views and results have rooms of their own: callers who fetch large results keep nobody from seeing how a job stands.
    views: Room,
    results: Room,
}

/// Room that is held; given back when dropped.
#[derive(Debug)]
pub struct Held {
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Clone)]
struct Room {
    pieces: Arc<Semaphore>,
    all: usize,
}

impl Default for Answers {
    /// Room as `limits` says.
    fn default() -> Self {
        Self::of(limits::VIEWS_BYTES_MAX, limits::RESULTS_BYTES_MAX)
    }
}

impl Answers {
    /// Room for so many bytes of outputs in views, and so many of pieces of results.
    #[must_use]
    pub fn of(views_bytes_max: usize, results_bytes_max: usize) -> Self {
        Self { views: Room::of(views_bytes_max), results: Room::of(results_bytes_max) }
    }

    /// Room for an output in a view.
    ///
    /// # Errors
    /// `unavailable` when there is none within a second.
    pub async fn for_view(&self, bytes: usize) -> Result<Held, Problem> {
        soon(self.views.hold(bytes)).await
    }

    /// Room for the first piece of a result.
    ///
    /// # Errors
    /// `unavailable` when there is none within a second.
    pub async fn for_first_piece(&self, bytes: usize) -> Result<Held, Problem> {
        soon(self.results.hold(bytes)).await
    }

    /// Room for a further piece of a result, when it is there: pieces that are written or whose connection is cut make some.
    pub async fn for_piece(&self, bytes: usize) -> Held {
        self.results.hold(bytes).await
    }

    /// How many bytes are held now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.views.held_bytes() + self.results.held_bytes()
    }
}

impl Room {
    fn of(bytes_max: usize) -> Self {
        let all = bytes_max / PIECE_BYTES;
        Self { pieces: Arc::new(Semaphore::new(all)), all }
    }

    async fn hold(&self, bytes: usize) -> Held {
        // Whatever is larger than the room takes all of it.
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES).min(self.all)).unwrap_or(u32::MAX);
        Held { _permit: self.pieces.clone().acquire_many_owned(pieces).await.expect("it is never closed") }
    }

    fn held_bytes(&self) -> usize {
        (self.all - self.pieces.available_permits()) * PIECE_BYTES
    }
}

async fn soon(room: impl Future<Output = Held>) -> Result<Held, Problem> {
    let full = || Problem::unavailable("Other answers hold all the room; nothing has changed.", RETRY_AFTER);
    tokio::time::timeout(PATIENCE, room).await.map_err(|_| full())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    #[test]
    fn what_an_answer_holds_is_given_back_with_the_last_piece_of_it() {
        let held = Arc::new(());
        let mut answer = keeping("an answer", held.clone());
        let piece = answer.split_to(2);
        drop(answer);
        assert_eq!(Arc::strong_count(&held), 2);
        assert_eq!(piece, "an");
        drop(piece);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_for_which_there_is_no_room_is_told_to_come_back_and_a_further_piece_waits() {
        let answers = Answers::of(4 * PIECE_BYTES, 2 * PIECE_BYTES);
        let view = answers.for_view(3 * PIECE_BYTES + 1).await.expect("there is room");
        let refused = answers.for_view(1).await.expect_err("there is none");
        assert_eq!((refused.code, refused.retry_after.is_some()), (Code::Unavailable, true));
        let piece = answers.for_first_piece(usize::MAX).await.expect("results have their own room, and all of it is enough");
        assert!(answers.for_first_piece(1).await.is_err());
        assert_eq!(answers.held_bytes(), 6 * PIECE_BYTES);
        let further = answers.clone();
        let waits = async move { drop(further.for_piece(PIECE_BYTES).await) };
        let gives = async {
            tokio::time::advance(PATIENCE * 10).await;
            drop(piece);
        };
        tokio::join!(waits, gives);
        drop(view);
        assert_eq!(answers.held_bytes(), 0);
    }
}
