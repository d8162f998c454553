//! A job's output alone. What lies in a blob goes to its caller piece by piece, as fast as the caller takes it, and is never held whole. It
//! decides when the answer begins (when a first piece is in hand) and that a damaged one is not completed; it never looks into an output.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use siding_core::{
    api::{
        answer::{Answers, Held, keeping},
        path::JobPath,
    },
    blob::{self, BlobRef, Pieces},
    error,
    id::JobId,
    job, limits,
    problem::{Code, Problem},
    retry::{Policy, retry},
    store::{JobRecord, Payload},
};

use tokio::sync::Semaphore;

use super::ResultsState;

/// Gives a job's output alone, however large it is.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/result", tag = "jobs",
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The model's output.", body = serde_json::Value),
        (status = 400, description = "invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "unknown_job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "not_finished", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "no_result: failed, canceled or expired", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn result(State(state): State<Arc<ResultsState>>, JobPath(id): JobPath) -> Result<Response, Problem> {
    let record = state.reader.record(id).await?;
    match record.state {
        job::State::Succeeded => match state.reader.payload(id).await? {
            Payload::Inline(text) => Ok(json(Body::from(text.to_string()))),
            Payload::Blob(blob) => in_pieces(&state, id, &blob).await,
        },
        job::State::Queued | job::State::Running | job::State::Cancelling => {
            let detail = format!("Job {id} is {}; its result comes with its terminal event.", record.state);
            Err(Problem::new(Code::NotFinished, detail).about(id))
        }
        job::State::Failed | job::State::Canceled | job::State::Expired => Err(no_result(record)),
    }
}

/// The answer begins once the first piece is in hand: until then, what goes wrong still has a status of its own.
async fn in_pieces(state: &ResultsState, job: JobId, blob: &BlobRef) -> Result<Response, Problem> {
    let (blobs, answers) = state.reader.blobs();
    let begun = async {
        let pieces = retry(Policy::StoreRequest, || blobs.pieces(blob)).await.map_err(Failed::Blob)?;
        let room = answers.for_first_piece(pieces.next_len()).await.map_err(Failed::NoRoom)?;
        let own = Arc::new(Semaphore::new(limits::RESULT_PIECES_HELD_MAX));
        let mut sending = Sending { pieces, first: None, own, answers: answers.clone(), job };
        sending.first = Some(sending.next(room).await.map_err(Failed::Blob)?);
        Ok(sending)
    };
    let sending = match begun.await {
        Ok(sending) => sending,
        Err(Failed::NoRoom(problem)) => return Err(problem),
        Err(Failed::Blob(error)) => return Err(state.reader.lost(job, error).err().unwrap_or_else(|| lost(job))),
    };
    let mut response = json(Body::from_stream(sending.into_stream()));
    response.headers_mut().insert(header::CONTENT_LENGTH, blob.bytes().into());
    Ok(response)
}

/// Why an answer cannot begin.
enum Failed {
    Blob(blob::Error),
    NoRoom(Problem),
}

/// A result on its way.
struct Sending {
    pieces: Pieces,
    /// Read before the answer began.
    first: Option<Bytes>,
    /// One permit for each piece of this result that may be on its way.
    own: Arc<Semaphore>,
    answers: Answers,
    job: JobId,
}

impl Sending {
    /// Reads the next piece into `room`, which it holds until it has been written.
    async fn next(&mut self, room: Held) -> Result<Bytes, blob::Error> {
        let own = self.own.clone().acquire_owned().await.expect("it is never closed");
        let piece = retry(Policy::StoreRequest, || self.pieces.read()).await?;
        self.pieces.take(&piece)?;
        Ok(keeping(piece, (own, room)))
    }

    /// The bytes that go on their way next; `None` at the end.
    async fn go_on(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let len = self.pieces.next_len();
        if len == 0 {
            return Ok(None);
        }
        // First this: a result whose pieces are not taken keeps no place in the queue for room.
        drop(self.own.acquire().await.expect("it is never closed"));
        let room = self.answers.for_piece(len).await;
        self.next(room).await.map(Some).map_err(|cause| {
            tracing::error!(job.id = %self.job, error = %error::chain(&cause), "a result breaks off: its blob cannot be read to its end");
            io::Error::other(cause)
        })
    }

    /// Pulled by the connection: a piece is read when those before it have gone on their way. An error cuts the connection before the
    /// announced length is reached, which is how a caller learns that the result is not whole.
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, |mut sending| async move {
            let bytes = sending.go_on().await?;
            Ok(bytes.map(|bytes| (bytes, sending)))
        })
    }
}

fn lost(job: JobId) -> Problem {
    let detail = "The job has succeeded, but its output is missing or damaged in the service's blob store.";
    Problem::new(Code::Internal, detail).about(job)
}

fn no_result(record: JobRecord) -> Problem {
    let how = match &record.failure {
        Some(failure) => format!("Job {} has failed: {}", record.id, failure.message),
        None => format!("Job {} is {}.", record.id, record.state),
    };
    Problem::new(Code::NoResult, how).about(record.id).with_failure(record.failure)
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
