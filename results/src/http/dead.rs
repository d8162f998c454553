//! `/v1/dead`: the list of dead jobs, by when they failed. It shows; dealing with them is the producer's.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use siding_core::{
    api::{JobList, Rfc3339},
    clock::Timestamp,
    problem::Problem,
    retry::{Policy, retry},
    store::{DeadFilter, JobRecord},
};

use super::{
    ResultsState,
    list::{bad_query, page, show},
};

/// The query of a list of dead jobs.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadQuery {
    /// Only jobs of this model.
    model: Option<String>,
    /// Only jobs of this lane.
    lane: Option<String>,
    /// Only jobs with this `failure.code`.
    code: Option<String>,
    /// Only jobs that failed at this time (RFC 3339) or later.
    failed_since: Option<String>,
    /// Only jobs that failed before this time (RFC 3339).
    failed_until: Option<String>,
    /// At most so many jobs: 1 to 500, 50 by default.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists dead jobs, the newest failure first: those that failed and that nobody has run again or dropped.
#[utoipa::path(
    get, path = "/v1/dead", tag = "dead", params(DeadQuery),
    responses(
        (status = 200, description = "One page.", body = JobList),
        (status = 400, description = "invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(state): State<Arc<ResultsState>>,
    query: Result<Query<DeadQuery>, QueryRejection>,
) -> Result<Json<JobList>, Problem> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let (filter, page) = (query.filter()?, page(query.limit.as_deref(), query.cursor.as_deref())?);
    let records = retry(Policy::StoreRequest, || state.dead.dead(&filter, page)).await?;
    // A dead job has ended.
    Ok(show(&state.reader, records, page, |job: &JobRecord| (job.finished_at.unwrap_or(job.created_at), job.id)))
}

impl DeadQuery {
    fn filter(&self) -> Result<DeadFilter, Problem> {
        let time = |text: &Option<String>| -> Result<Option<Timestamp>, Problem> {
            Ok(text.as_deref().map(str::parse::<Rfc3339>).transpose()?.map(|time| time.0))
        };
        Ok(DeadFilter {
            model: self.model.as_deref().map(str::parse).transpose()?,
            lane: self.lane.as_deref().map(str::parse).transpose()?,
            code: self.code.as_deref().map(str::parse).transpose()?,
            failed_since: time(&self.failed_since)?,
            failed_until: time(&self.failed_until)?,
        })
    }
}
