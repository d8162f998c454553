//! Blobs: inputs and outputs too large for a row, in any store that the `object_store` crate reaches. Names are content addresses
//! (SHA-256), so no caller's text ever becomes a path, a second put of the same bytes is harmless, and damage is found on reading.

mod pieces;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use sha2::{Digest, Sha256};

pub use pieces::Pieces;

use crate::{
    error::{Classified, Transience},
    id::Invalid,
    limits,
    store::Payload,
};

/// Where a blob lies and how large it is: `sha256:<64 hex digits>:<bytes>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobRef {
    digest: [u8; 32],
    bytes: u64,
}

impl BlobRef {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn hex(&self) -> String {
        hex(&self.digest)
    }

    fn path(&self) -> Path {
        let hex = self.hex();
        // Two levels keep folders of the local file system small.
        Path::from(format!("{}/{}", &hex[..2], hex))
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}:{}", self.hex(), self.bytes)
    }
}

impl std::str::FromStr for BlobRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (digits, bytes) = text.strip_prefix("sha256:")?.split_once(':')?;
            if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                return None;
            }
            let mut digest = [0; 32];
            for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
            Some(Self { digest, bytes: bytes.parse().ok()? })
        };
        parse().ok_or_else(|| Invalid { kind: "blob reference", problem: "must be sha256:<64 hex digits>:<bytes>".into() })
    }
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// Why a blob call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The blob store cannot be reached or is full.
    #[error("the blob store is not available")]
    Unavailable(#[source] object_store::Error),
    /// There is no such blob.
    #[error("blob {0} is missing")]
    Missing(BlobRef),
    /// The bytes are not the ones that were put.
    #[error("blob {0} is damaged")]
    Damaged(BlobRef),
}

impl Classified for Error {
    fn transience(&self) -> Transience {
        match self {
            Self::Unavailable(_) => Transience::Transient,
            Self::Missing(_) | Self::Damaged(_) => Transience::Permanent,
        }
    }
}

/// SHA-256, a piece at a time: between two, whoever else has something to do gets onto the executor.
async fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for piece in bytes.chunks(limits::EXECUTOR_BYTES_MAX) {
        hash.update(piece);
        tokio::task::yield_now().await;
    }
    hash.finalize().into()
}

/// A text as bytes, without a copy.
struct Text(Arc<str>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The blob store.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<dyn ObjectStore>);

impl Blobs {
    /// Keeps blobs in `store`, at its root.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }

    /// Stores `bytes`; durable when it returns. Putting the same bytes twice is harmless.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put(&self, bytes: Bytes) -> Result<BlobRef, Error> {
        let blob = BlobRef { digest: digest(&bytes).await, bytes: bytes.len() as u64 };
        self.0.put(&blob.path(), PutPayload::from_bytes(bytes)).await.map_err(Error::Unavailable)?;
        Ok(blob)
    }

    /// Reads a blob and checks it.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Unavailable`.
    pub async fn get(&self, blob: &BlobRef) -> Result<Bytes, Error> {
        let bytes = match self.0.get(&blob.path()).await {
            Ok(found) => found.bytes().await.map_err(Error::Unavailable)?,
            Err(object_store::Error::NotFound { .. }) => return Err(Error::Missing(blob.clone())),
            Err(error) => return Err(Error::Unavailable(error)),
        };
        let intact = bytes.len() as u64 == blob.bytes && digest(&bytes).await == blob.digest;
        if intact { Ok(bytes) } else { Err(Error::Damaged(blob.clone())) }
    }

    /// Removes a blob that nothing refers to any more. One that is gone already is removed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove(&self, blob: &BlobRef) -> Result<(), Error> {
        match self.0.delete(&blob.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::Unavailable(error)),
        }
    }

    /// Removes checkpoints that nothing refers to any more, as far as the store answers soon. What stays is a blob too many: a log line, and
    /// nobody's failure.
    pub async fn discard(&self, useless: &[BlobRef]) {
        let until = tokio::time::Instant::now() + Duration::from_secs(limits::BLOBS_REMOVE_SECS_MAX);
        let mut left = 0;
        for blob in useless {
            // One that is refused says nothing about the next; one that gets no answer uses the patience up for all.
            let removed = tokio::time::timeout_at(until, self.remove(blob)).await;
            left += usize::from(!matches!(removed, Ok(Ok(()))));
        }
        if left > 0 {
            tracing::warn!(blobs = left, "cannot remove checkpoints that are of no use any more; they stay in the blob store");
        }
    }

    /// JSON text as a payload: inline when small, a blob when not.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn store_text(&self, text: Arc<str>) -> Result<Payload, Error> {
        if text.len() <= limits::INLINE_BYTES_MAX {
            return Ok(Payload::Inline(text));
        }
        self.put(Bytes::from_owner(Text(text))).await.map(Payload::Blob)
    }

    /// A payload's JSON text.
    ///
    /// # Errors
    /// As `get`; also `Damaged` when the blob is not UTF-8.
    pub async fn load_text(&self, payload: &Payload) -> Result<Arc<str>, Error> {
        match payload {
            Payload::Inline(text) => Ok(text.clone()),
            Payload::Blob(blob) => {
                let bytes = self.get(blob).await?;
                let text = std::str::from_utf8(&bytes).map_err(|_| Error::Damaged(blob.clone()))?;
                Ok(text.into())
            }
        }
    }
}
