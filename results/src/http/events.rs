//! A job's events: as a stream that replays and then follows, or as one page of JSON. Everything shown comes from the store in
//! order; a reconnecting caller goes on from its cursor, so a stream may end at any time without harm.
//!
//! A stream is pulled by its connection: it reads the next page only when the one before has been taken, so a caller that does
//! not read costs one page and no store connection.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use serde::Deserialize;
use siding_core::{
    api::{EventList, EventView, path::JobPath},
    error,
    follow::Following,
    id::{EventSeq, JobId},
    job::Event,
    limits,
    problem::{Code, Problem},
    retry::{Policy, retry},
    store,
};

use super::{ResultsState, list::bad_query, sse, streams::Open};

/// When a caller for whom there is no stream may come back.
const NO_ROOM_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The query of a job's events.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only events after this one; 0, the default, for all. The `Last-Event-ID` header wins over it.
    #[param(value_type = Option<u32>)]
    after: Option<String>,
}

/// Shows a job's events: replayed from the cursor, then live.
///
/// A stream of server-sent events, or with `Accept: application/json` one page of what there is. `id:` is the event's number and
/// the cursor; the stream ends after the terminal event.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "events",
    params(
        ("id" = String, Path, description = "The job's id."),
        EventsQuery,
        ("Last-Event-ID" = Option<u32>, Header, description = "The last event seen; sent by reconnecting clients."),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` (default) or `application/json`."),
    ),
    responses(
        (status = 200, description = "The events.", content(
            (EventView = "text/event-stream"),
            (EventList = "application/json"),
        )),
        (status = 204, description = "The terminal event was seen; there is nothing to follow."),
        (status = 400, description = "invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "unknown_job", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "too_many_streams, unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn events(
    State(state): State<Arc<ResultsState>>,
    JobPath(id): JobPath,
    query: Result<Query<EventsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let after = cursor(&headers, query.after.as_deref())?;
    let record = state.reader.record(id).await?;
    if after > record.event_seq {
        let detail = format!("The cursor {after} lies beyond the job's newest event, {}.", record.event_seq);
        return Err(Problem::new(Code::InvalidRequest, detail).about(id));
    }
    if wants_json(&headers) {
        return page(&state, id, after).await;
    }
    if record.state.is_terminal() && after == record.event_seq {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let open = state.streams.open().ok_or_else(|| {
        Problem::new(Code::TooManyStreams, "As many event streams are open as this process holds.").after(NO_ROOM_RETRY_AFTER)
    })?;
    let following = state.follower.follow(id, after);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(live(Live { state, following, _open: open, step: Step::Open }, id))).into_response())
}

async fn page(state: &ResultsState, job: JobId, after: EventSeq) -> Result<Response, Problem> {
    let events = retry(Policy::StoreRequest, || state.feed.events(job, after, limits::EVENTS_PAGE_MAX)).await?;
    Ok(Json(EventList { events: events.into_iter().map(EventView::from).collect() }).into_response())
}

/// Where a stream starts: the header of a reconnecting client wins over the query of its first request.
fn cursor(headers: &HeaderMap, after: Option<&str>) -> Result<EventSeq, Problem> {
    let (name, text) = match headers.get("last-event-id") {
        Some(value) => ("Last-Event-ID", value.to_str().unwrap_or_default()),
        None => ("after", after.unwrap_or("0")),
    };
    // Digits only: `parse` alone would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .map(EventSeq)
        .ok_or_else(|| Problem::new(Code::InvalidRequest, format!("{name} must be the number of an event, or 0 for all.")))
}

/// Whether the caller asks for JSON and not for a stream.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = |wanted: &str| {
        let values = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted))
    };
    accepts("application/json") && !accepts("text/event-stream")
}

/// One open stream.
struct Live {
    state: Arc<ResultsState>,
    following: Following,
    _open: Open,
    step: Step,
}

/// What a stream does next.
enum Step {
    Open,
    Follow,
    End,
}

fn live(live: Live, job: JobId) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(live, move |mut live| async move {
        let retry_ms = live.state.stream.retry_ms;
        let bytes = match live.step {
            Step::Open => {
                live.step = Step::Follow;
                sse::opening(retry_ms)
            }
            Step::Follow => live.follow(job).await?,
            Step::End => return None,
        };
        Some((Ok(bytes), live))
    })
}

impl Live {
    /// The next bytes; `None` when the stream ends without a word.
    async fn follow(&mut self, job: JobId) -> Option<Bytes> {
        let heartbeat = Duration::from_millis(self.state.stream.heartbeat_ms);
        tokio::select! {
            biased;
            () = self.state.drain.stopping() => {
                self.step = Step::End;
                Some(sse::stopping(self.state.stream.retry_ms))
            }
            events = self.following.next() => self.show(job, events),
            () = self.state.clock.sleep(heartbeat) => Some(sse::heartbeat()),
        }
    }

    fn show(&mut self, job: JobId, events: Result<Vec<Event>, store::Error>) -> Option<Bytes> {
        let shown = events
            .map_err(|cause| error::chain(&cause))
            .and_then(|events| sse::page(events).map_err(|cause| error::chain(&cause)));
        match shown {
            Ok(bytes) => {
                if self.following.is_over() {
                    self.step = Step::End;
                }
                Some(bytes)
            }
            Err(cause) => {
                tracing::warn!(job.id = %job, error = %cause, "an event stream ends because its events cannot be read; its caller resumes by cursor");
                None
            }
        }
    }
}
