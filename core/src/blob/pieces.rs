//! A blob read piece by piece, never held whole. Damage is found at its end, so the last piece is given out only when all of them were the
//! ones that were put: whoever has got the whole length has got the right bytes.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};

use super::{BlobRef, Blobs, Error};
use crate::limits;

/// A blob that is being read.
pub struct Pieces {
    blobs: Blobs,
    blob: BlobRef,
    /// Bytes that were taken.
    taken: u64,
    hash: Sha256,
}

impl Blobs {
    /// Begins to read a blob.
    ///
    /// # Errors
    /// `Missing`, `Damaged` when its length is not what was put, `Unavailable`.
    pub async fn pieces(&self, blob: &BlobRef) -> Result<Pieces, Error> {
        let found = self.0.head(&blob.path()).await.map_err(|error| of(blob, error))?;
        if found.size != blob.bytes {
            return Err(Error::Damaged(blob.clone()));
        }
        Ok(Pieces { blobs: self.clone(), blob: blob.clone(), taken: 0, hash: Sha256::new() })
    }
}

impl Pieces {
    /// The length of the next piece; 0 at the end.
    #[must_use]
    pub fn next_len(&self) -> usize {
        let left = usize::try_from(self.blob.bytes - self.taken).unwrap_or(usize::MAX);
        left.min(limits::RESULT_PIECE_BYTES)
    }

    /// Reads the next piece, without taking it: a call that fails may be repeated.
    ///
    /// # Errors
    /// `Missing`, `Unavailable`.
    pub async fn read(&self) -> Result<Bytes, Error> {
        let until = self.taken + self.next_len() as u64;
        let piece = self.blobs.0.get_range(&self.blob.path(), self.taken..until).await;
        piece.map_err(|error| of(&self.blob, error))
    }

    /// Takes a piece that was read, and goes on to the next one.
    ///
    /// # Errors
    /// `Damaged` when it is not what was put: for its length at once, for its content at the last piece.
    pub fn take(&mut self, piece: &Bytes) -> Result<(), Error> {
        let whole = piece.len() == self.next_len();
        self.hash.update(piece);
        self.taken += piece.len() as u64;
        let intact = whole && (self.next_len() > 0 || <[u8; 32]>::from(self.hash.clone().finalize()) == self.blob.digest);
        if intact { Ok(()) } else { Err(Error::Damaged(self.blob.clone())) }
    }
}

fn of(blob: &BlobRef, error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::Missing(blob.clone()),
        error => Error::Unavailable(error),
    }
}
