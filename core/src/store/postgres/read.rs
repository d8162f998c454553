//! Reading jobs and events. Reading locks nothing and waits for no writer.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow, query};

use super::{PostgresStore, rows, time::now, write::ids};
use crate::{
    id::{EventSeq, JobId, LaneName},
    job::{Event, State},
    store::{
        Counts, Error, Feed, JobFilter, JobRecord, Jobs, Page, Payload, Source,
        rows::{job_array, limit},
    },
};

const GET: &str = concat!("SELECT ", job_array!("json_build_array"), "::text FROM job AS j WHERE j.id = $1::text::uuid");

const INPUT: &str = "SELECT input, input_blob FROM job WHERE id = $1::text::uuid";

const OUTPUT: &str = "SELECT output, output_blob FROM job WHERE id = $1::text::uuid";

/// The rest of a list: model (`$2`) and lane (`$3`) filter where they are not NULL; `$4` and `$5` are where the page starts.
macro_rules! list_page {
    () => {
        " AND ($2::text IS NULL OR j.model = $2) AND ($3::text IS NULL OR j.lane = $3) \
           AND (j.created_at, j.id) < ($4::bigint, $5::text::uuid) ORDER BY j.created_at DESC, j.id DESC LIMIT $6"
    };
}

/// As `LIST`, for one of the states in which few jobs end: without its index, the walk passes every job that succeeded.
pub(super) const LIST_UNSUCCESSFUL: &str = concat!(
    "SELECT ",
    job_array!("json_build_array"),
    "::text FROM job AS j WHERE j.state IN ('failed', 'canceled', 'expired') AND j.state = ($1::text[])[1]",
    list_page!()
);

/// States (`$1`, an array) filter where they are not NULL.
const LIST: &str = concat!(
    "SELECT ",
    job_array!("json_build_array"),
    "::text FROM job AS j WHERE ($1::text[] IS NULL OR j.state = ANY ($1))",
    list_page!()
);

const POSITION: &str = concat!(
    "SELECT (SELECT count(*) FROM job AS other WHERE other.state = 'queued' AND other.lane = j.lane AND other.due_at <= ",
    now!("$2"),
    " AND (other.due_at, other.id) < (j.due_at, j.id)) FROM job AS j WHERE j.id = $1::text::uuid AND j.state = 'queued'"
);

/// What waits, from one index, and what runs, from the other.
const COUNTS: &str = concat!(
    "SELECT lane, sum(queued)::bigint, sum(scheduled)::bigint, sum(running)::bigint, min(oldest) FROM (\
       SELECT lane, (due_at <= ",
    now!("$1"),
    ")::int AS queued, (due_at > ",
    now!("$1"),
    ")::int AS scheduled, 0 AS running, due_at - ",
    now!("$1"),
    " AS oldest FROM job WHERE state = 'queued' \
       UNION ALL SELECT lane, 0, 0, 1, NULL FROM job WHERE lease_until IS NOT NULL) AS each \
     GROUP BY lane ORDER BY lane"
);

const EVENTS: &str = "SELECT job_id::text, seq, kind, at, attempt, data FROM event \
     WHERE job_id = $1::text::uuid AND seq > $2 ORDER BY seq LIMIT $3";

/// A finished job's newest event is its terminal one.
const ENDED: &str = "SELECT e.job_id::text, e.seq, e.kind, e.at, e.attempt, e.data FROM job AS j \
     JOIN event AS e ON e.job_id = j.id AND e.seq = j.event_seq \
     WHERE j.id = ANY ($1::text[]::uuid[]) AND j.finished_at IS NOT NULL";

#[async_trait]
impl Jobs for PostgresStore {
    async fn get(&self, job: JobId) -> Result<Option<JobRecord>, Error> {
        self.sessions.row(query(GET).bind(job.to_string())).await?.as_ref().map(rows::job).transpose()
    }

    async fn input(&self, job: JobId) -> Result<Option<Payload>, Error> {
        match self.sessions.row(query(INPUT).bind(job.to_string())).await? {
            Some(row) => rows::payload_of(&row, "input", "input_blob"),
            None => Ok(None),
        }
    }

    async fn output(&self, job: JobId) -> Result<Option<Payload>, Error> {
        match self.sessions.row(query(OUTPUT).bind(job.to_string())).await? {
            Some(row) => rows::payload_of(&row, "output", "output_blob"),
            None => Ok(None),
        }
    }

    async fn list(&self, filter: &JobFilter, page: Page) -> Result<Vec<JobRecord>, Error> {
        let states: Vec<&str> = filter.states.iter().copied().map(State::as_str).collect();
        let text = match filter.states.as_slice() {
            [State::Failed | State::Canceled | State::Expired] => LIST_UNSUCCESSFUL,
            _ => LIST,
        };
        // No job is newer than the end of time: the first page has a start like every other.
        let (before_at, before_id) = page.before.map_or((i64::MAX, JobId::from(uuid::Uuid::nil())), |(at, id)| (at.0, id));
        let list = query(text)
            .bind(Some(states).filter(|states| !states.is_empty()))
            .bind(filter.model.as_ref().map(|model| model.as_str().to_owned()))
            .bind(filter.lane.as_ref().map(|lane| lane.as_str().to_owned()))
            .bind(before_at)
            .bind(before_id.to_string())
            .bind(limit(page.limit));
        self.sessions.list(list).await?.iter().map(rows::job).collect()
    }

    async fn position(&self, job: JobId) -> Result<Option<u64>, Error> {
        let found = self.sessions.rows(query(POSITION).bind(job.to_string()).bind(self.time.given())).await?;
        if found.is_empty() { Ok(None) } else { rows::count(&found).map(Some) }
    }

    async fn counts(&self) -> Result<Vec<Counts>, Error> {
        self.sessions.rows(query(COUNTS).bind(self.time.given())).await?.iter().map(counts).collect()
    }
}

fn counts(row: &PgRow) -> Result<Counts, Error> {
    let read = || -> Result<_, Source> {
        let queued: u64 = row.try_get::<i64, _>(1)?.try_into()?;
        let due_in: Option<i64> = row.try_get(4)?;
        let due_for = |due_in: i64| Duration::from_millis(u64::try_from(due_in.saturating_neg()).unwrap_or(0));
        Ok(Counts {
            lane: row.try_get::<&str, _>(0)?.parse::<LaneName>()?,
            queued,
            scheduled: row.try_get::<i64, _>(2)?.try_into()?,
            running: row.try_get::<i64, _>(3)?.try_into()?,
            oldest_due_for: due_in.filter(|_| queued > 0).map(due_for),
        })
    };
    read().map_err(|cause| Error::broken("a lane's counts", cause))
}

#[async_trait]
impl Feed for PostgresStore {
    async fn events(&self, job: JobId, after: EventSeq, most: usize) -> Result<Vec<Event>, Error> {
        let events = query(EVENTS).bind(job.to_string()).bind(i64::from(after.0)).bind(limit(most));
        self.sessions.rows(events).await?.iter().map(rows::event).collect()
    }

    async fn ended(&self, jobs: &[JobId]) -> Result<Vec<Option<Event>>, Error> {
        let mut ended = HashMap::with_capacity(jobs.len());
        for row in &self.sessions.rows(query(ENDED).bind(ids(jobs.iter().copied()))).await? {
            let event = rows::event(row)?;
            ended.insert(event.job, event);
        }
        Ok(jobs.iter().map(|job| ended.get(job).cloned()).collect())
    }
}
