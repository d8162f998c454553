//! Reading request bodies: only JSON, only so large, only so slow, and all of them together only so much. A body is refused before
//! it is held: by its announced length, by what has arrived, or because others hold the room.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use siding_core::{
    api::json,
    limits,
    offload::Offload,
    problem::{Code, Problem},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room is given out in pieces of this size, so that a small body takes little.
const PIECE_BYTES: usize = 16 * 1024;
/// When a caller for whom there is no room may come back.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Room for request bodies, shared by all requests. Clones are the same room.
#[derive(Debug, Clone)]
pub struct Bodies {
    room: Arc<Semaphore>,
    patience: Duration,
    offload: Offload,
}

/// A body in hand, as a `T`, and the room it takes, given back when that is dropped.
pub struct Held<T> {
    /// The parsed body.
    pub value: T,
    /// Its place.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// `limits::BODIES_BYTES_MAX` of room, and `limits::BODY_READ_SECS_MAX` for a body to arrive. Large ones are parsed on `offload`.
    #[must_use]
    pub fn new(offload: Offload) -> Self {
        Self::of(limits::BODIES_BYTES_MAX, Duration::from_secs(limits::BODY_READ_SECS_MAX), offload)
    }

    /// Room for `bytes_max`; a body may take `patience` to arrive.
    #[must_use]
    pub fn of(bytes_max: usize, patience: Duration, offload: Offload) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes_max / PIECE_BYTES)), patience, offload }
    }

    /// Reads a JSON body into a `T`.
    ///
    /// # Errors
    /// Those of `read_with`; `malformed_json`, `invalid_request`.
    pub async fn read<T>(&self, headers: &HeaderMap, body: Body) -> Result<Held<T>, Problem>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.read_with(headers, body, json::parse).await
    }

    /// Reads a body that is sent as JSON, and parses it.
    ///
    /// # Errors
    /// `unsupported_media_type`, `body_too_large`, `body_too_slow`, `busy` when others hold the room; those of `parse`.
    pub async fn read_with<T, P>(&self, headers: &HeaderMap, body: Body, parse: P) -> Result<Held<T>, Problem>
    where
        T: Send + 'static,
        P: FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
    {
        check_headers(headers)?;
        let (bytes, room) = tokio::time::timeout(self.patience, self.collect(body)).await.map_err(|_| self.too_slow())??;
        let parsed = self.offload.run(bytes.len(), move || parse(&bytes)).await?;
        parsed.map(|value| Held { value, room })
    }

    async fn collect(&self, body: Body) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Code::InvalidRequest, "The body broke off before its end."))?;
            if chunk.len() > limits::BODY_BYTES_MAX - bytes.len() {
                return Err(too_large());
            }
            let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = (bytes.len() + chunk.len()).div_ceil(PIECE_BYTES).saturating_sub(held);
            if more > 0 {
                let permit =
                    self.room.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)).map_err(|_| busy())?;
                match room.as_mut() {
                    Some(room) => room.merge(permit),
                    None => room = Some(permit),
                }
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes, room))
    }

    fn too_slow(&self) -> Problem {
        Problem::new(Code::BodyTooSlow, format!("The body did not arrive within {} seconds.", self.patience.as_secs()))
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let media_type = text(header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Code::UnsupportedMediaType, "The body must be sent with Content-Type: application/json."));
    }
    if text(header::CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Problem::new(Code::UnsupportedMediaType, "The body must be sent without Content-Encoding."));
    }
    match text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > limits::BODY_BYTES_MAX as u64 => Err(too_large()),
        _ => Ok(()),
    }
}

fn too_large() -> Problem {
    Problem::new(Code::BodyTooLarge, format!("The body is larger than {} bytes.", limits::BODY_BYTES_MAX))
}

fn busy() -> Problem {
    Problem::new(Code::Busy, "Other requests hold all the room for bodies; nothing was accepted.").after(BUSY_RETRY_AFTER)
}
