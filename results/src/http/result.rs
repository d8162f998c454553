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
    job,
    problem::{Code, Problem},
    retry::{Policy, retry},
    store::{JobRecord, Payload},
};

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
        let mut pieces = retry(Policy::StoreRequest, || blobs.pieces(blob)).await.map_err(Failed::Blob)?;
        let room = answers.for_first_piece(pieces.next_len()).await.map_err(Failed::NoRoom)?;
        let first = next(&mut pieces, room).await.map_err(Failed::Blob)?;
        Ok((pieces, first))
    };
    let (pieces, first) = match begun.await {
        Ok(begun) => begun,
        Err(Failed::NoRoom(problem)) => return Err(problem),
        Err(Failed::Blob(error)) => return Err(state.reader.lost(job, error).err().unwrap_or_else(|| lost(job))),
    };
    let rest = Rest { pieces, first: Some(first), answers: answers.clone(), job };
    let mut response = json(Body::from_stream(rest.into_stream()));
    response.headers_mut().insert(header::CONTENT_LENGTH, blob.bytes().into());
    Ok(response)
}

/// Why an answer cannot begin.
enum Failed {
    Blob(blob::Error),
    NoRoom(Problem),
}

/// Reads a piece into `room`.
async fn next(pieces: &mut Pieces, room: Held) -> Result<Bytes, blob::Error> {
    let piece = retry(Policy::StoreRequest, || pieces.read()).await?;
    pieces.take(&piece)?;
    Ok(keeping(piece, room))
}

/// What is still to be sent of a result.
struct Rest {
    pieces: Pieces,
    first: Option<Bytes>,
    answers: Answers,
    job: JobId,
}

impl Rest {
    /// Pulled by the connection: a piece is read when the ones before it have gone on their way. An error cuts the connection before the
    /// announced length is reached, which is how a caller learns that the result is not whole.
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, |mut rest| async move {
            if let Some(first) = rest.first.take() {
                return Ok(Some((first, rest)));
            }
            let len = rest.pieces.next_len();
            if len == 0 {
                return Ok(None);
            }
            let room = rest.answers.for_piece(len).await;
            let piece = next(&mut rest.pieces, room).await.map_err(|cause| {
                tracing::error!(job.id = %rest.job, error = %error::chain(&cause), "a result breaks off: its blob cannot be read to its end");
                io::Error::other(cause)
            })?;
            Ok(Some((piece, rest)))
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
