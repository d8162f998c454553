//! `POST /v1/dead:replay` and `POST /v1/dead:drop`: dealing with jobs that failed. It decides which requests are clear enough to act on; a request that
//! names nothing deals with nothing.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use siding_core::{
    api::{DeadAnswer, DeadRequest},
    limits,
    problem::{Code, Problem, WrongValue},
};

use super::{ProducerState, refusal};
use crate::submit::{Deal, How, Which};

/// Runs dead jobs again.
///
/// Each becomes a new job that names the old one; the old one is marked in the same transaction and is dead no more. Safe to repeat.
#[utoipa::path(
    post, path = "/v1/dead:replay", tag = "dead", request_body = DeadRequest,
    responses(
        (status = 200, description = "What became of each.", body = DeadAnswer),
        (status = 400, description = "malformed_json, invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "busy", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn replay(State(state): State<Arc<ProducerState>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    deal(&state, &headers, body, How::Replay).await
}

/// Lets dead jobs rest.
///
/// Their rows stay, and a single one can still be run again. Safe to repeat.
#[utoipa::path(
    post, path = "/v1/dead:drop", tag = "dead", request_body = DeadRequest,
    responses(
        (status = 200, description = "What became of each.", body = DeadAnswer),
        (status = 400, description = "malformed_json, invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "busy", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn drop(State(state): State<Arc<ProducerState>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    deal(&state, &headers, body, How::Drop).await
}

async fn deal(state: &ProducerState, headers: &HeaderMap, body: Body, how: How) -> Result<Response, Problem> {
    let request: DeadRequest = state.bodies.read(headers, body).await?.value;
    let dry_run = request.dry_run;
    let deal = Deal { which: which(request)?, how, dry_run };
    let dealt = {
        // It bounds the inputs in hand. The answer has ids alone, and whoever is slow to read it holds up nobody.
        let _open = state.batches.deal()?;
        state.intake.deal_with_dead(deal).await.map_err(refusal::problem)?
    };
    let answer = DeadAnswer { dry_run, count: dealt.jobs.len(), jobs: dealt.jobs, skipped: dealt.skipped, more: dealt.more };
    Ok(Json(answer).into_response())
}

fn which(request: DeadRequest) -> Result<Which, Problem> {
    let most = limits::DEAD_JOBS_MAX;
    let limit = request.limit.unwrap_or(most);
    match (request.filter, request.ids) {
        (Some(_), None) if !(1..=most).contains(&limit) => Err(wrong("/limit", format!("must be from 1 to {most}"))),
        (Some(filter), None) => Ok(Which::Matching { filter: filter.into(), limit }),
        (None, Some(_)) if request.limit.is_some() => Err(wrong("/limit", "stands only beside filter".into())),
        (None, Some(ids)) if ids.is_empty() || ids.len() > most => Err(wrong("/ids", format!("must be 1 to {most} ids"))),
        (None, Some(ids)) => Ok(Which::Jobs(ids)),
        _ => Err(wrong("", "must have filter or ids, one of both; an empty filter is all dead jobs".into())),
    }
}

fn wrong(pointer: &str, detail: String) -> Problem {
    let problem = Problem::new(Code::InvalidRequest, format!("The body does not fit: {pointer} {detail}."));
    problem.with_errors(vec![WrongValue { pointer: pointer.into(), detail }])
}
