//! Lists of jobs, page by page. A cursor is the place of the last job shown, so pages neither repeat nor skip a job that stays in
//! the list, whatever is accepted meanwhile. Callers must not look into it: its form is ours to change.

use std::{str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use siding_core::{
    api::{JobList, Reader},
    clock::Timestamp,
    id::{Invalid, JobId},
    job, limits,
    problem::{Code, Problem},
    retry::{Policy, retry},
    store::{JobFilter, JobRecord, Page},
};

use super::ResultsState;

/// Jobs in a page when the caller names no limit.
const LIMIT_DEFAULT: usize = 50;

/// The query of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only jobs in one of these states, separated by commas.
    state: Option<String>,
    /// Only jobs of this model.
    model: Option<String>,
    /// Only jobs of this lane.
    lane: Option<String>,
    /// At most so many jobs: 1 to 500, 50 by default.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", params(ListQuery),
    responses(
        (status = 200, description = "One page.", body = JobList),
        (status = 400, description = "invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(state): State<Arc<ResultsState>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<JobList>, Problem> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let (filter, page) = query.parse()?;
    let records = retry(Policy::StoreRequest, || state.reader.jobs().list(&filter, page)).await?;
    Ok(show(&state.reader, records, page, |job| (job.created_at, job.id)))
}

/// The answer to a query that cannot be read.
pub fn bad_query(rejection: &QueryRejection) -> Problem {
    // The text may quote the caller's own; cut so that the answer stays small.
    let text: String = rejection.body_text().chars().take(300).collect();
    Problem::new(Code::InvalidRequest, text)
}

impl ListQuery {
    fn parse(&self) -> Result<(JobFilter, Page), Problem> {
        let filter = JobFilter {
            states: match &self.state {
                Some(states) => states.split(',').map(str::parse).collect::<Result<Vec<job::State>, _>>()?,
                None => Vec::new(),
            },
            model: self.model.as_deref().map(str::parse).transpose()?,
            lane: self.lane.as_deref().map(str::parse).transpose()?,
        };
        Ok((filter, page(self.limit.as_deref(), self.cursor.as_deref())?))
    }
}

/// The page that a query asks for.
pub(super) fn page(limit: Option<&str>, cursor: Option<&str>) -> Result<Page, Problem> {
    let limit = match limit {
        Some(text) => text.parse().ok().filter(|limit| (1..=limits::LIST_PAGE_MAX).contains(limit)).ok_or_else(|| {
            Problem::new(Code::InvalidRequest, format!("limit must be a number from 1 to {}.", limits::LIST_PAGE_MAX))
        })?,
        None => LIMIT_DEFAULT,
    };
    let cursor = cursor.map(str::parse::<Cursor>).transpose()?;
    Ok(Page { before: cursor.map(|Cursor(time, job)| (time, job)), limit })
}

/// One page of a list as callers see it; `place` is where a job stands in it.
pub(super) fn show(
    reader: &Reader,
    records: Vec<JobRecord>,
    page: Page,
    place: impl Fn(&JobRecord) -> (Timestamp, JobId),
) -> Json<JobList> {
    let last = records.last().filter(|_| records.len() == page.limit).map(place);
    let next_cursor = last.map(|(time, job)| Cursor(time, job).to_string());
    Json(JobList { jobs: records.into_iter().map(|record| reader.show(record)).collect(), next_cursor })
}

/// The place of a job in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor(Timestamp, JobId);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}.{}", self.0, self.1)
    }
}

impl FromStr for Cursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (time, job) = text.strip_prefix("1.")?.split_once('.')?;
            Some(Self(Timestamp(time.parse().ok()?), job.parse().ok()?))
        };
        parse().ok_or_else(|| Invalid { kind: "cursor", problem: "must be the next_cursor of an earlier page".into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_it_is_written_and_nothing_else_is_one() {
        let cursor = Cursor(Timestamp(1_700_000_000_000), JobId::generate());
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in
            ["", "1", "1.2", "1.x.0190b7c0-0000-7000-8000-000000000001", "2.1.0190b7c0-0000-7000-8000-000000000001", "1.1.'; --"]
        {
            assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
        }
    }
}
