//! Answers that hold room while they are on their way: what bounds them is given back when they have been written, or when their
//! connection is gone, and not before. It decides nothing about what is answered.

use bytes::Bytes;

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

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
}
