//! Reading jobs and events, beside the writer.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use sqlx::{Row, query, sqlite::SqliteRow};

use super::{SqliteStore, errors, rows};
use crate::{
    clock::Timestamp,
    id::{EventSeq, JobId},
    job::{Event, State},
    store::{
        Counts, Error, Feed, JobFilter, JobRecord, Jobs, Page, Payload,
        rows::{array, id_array, job_array, limit},
    },
};

const GET: &str = concat!("SELECT ", job_array!("json_array"), " FROM job AS j WHERE j.id = ?1");

const INPUT: &str = "SELECT input, input_blob FROM job WHERE id = ?1";

const OUTPUT: &str = "SELECT output, output_blob FROM job WHERE id = ?1";

/// As `LIST`, for one of the states in which few jobs end: without its index, the walk passes every job that succeeded.
pub(super) const LIST_UNSUCCESSFUL: &str = concat!(
    "SELECT ",
    job_array!("json_array"),
    " FROM job AS j INDEXED BY job_unsuccessful WHERE j.state IN ('failed', 'canceled', 'expired') AND j.state = ?1 \
       AND (?2 IS NULL OR j.model = ?2) AND (?3 IS NULL OR j.lane = ?3) AND (j.created_at, j.id) < (?4, ?5) \
     ORDER BY j.created_at DESC, j.id DESC LIMIT ?6"
);

/// States (`?1`, an array), model (`?2`) and lane (`?3`) filter where they are not NULL; `?4` and `?5` are where the page starts.
const LIST: &str = concat!(
    "SELECT ",
    job_array!("json_array"),
    " FROM job AS j WHERE (?1 IS NULL OR j.state IN (SELECT value FROM json_each(?1))) \
       AND (?2 IS NULL OR j.model = ?2) AND (?3 IS NULL OR j.lane = ?3) AND (j.created_at, j.id) < (?4, ?5) \
     ORDER BY j.created_at DESC, j.id DESC LIMIT ?6"
);

const POSITION: &str = "SELECT (SELECT count(*) FROM job AS other INDEXED BY job_queued \
       WHERE other.state = 'queued' AND other.lane = j.lane AND other.due_at <= ?2 AND other.due_at < j.due_at) \
     + (SELECT count(*) FROM job AS other INDEXED BY job_queued \
       WHERE other.state = 'queued' AND other.lane = j.lane AND other.due_at = j.due_at AND j.due_at <= ?2 \
         AND other.id < j.id) AS position \
     FROM job AS j WHERE j.id = ?1 AND j.state = 'queued'";

/// What waits, from one index, and what runs, from the other.
const COUNTS: &str = "SELECT lane, sum(due_at <= ?1) AS queued, sum(due_at > ?1) AS scheduled, 0 AS running, min(due_at) AS oldest \
       FROM job INDEXED BY job_queued WHERE state = 'queued' GROUP BY lane \
     UNION ALL SELECT lane, 0, 0, count(*), NULL FROM job INDEXED BY job_leased WHERE lease_until IS NOT NULL GROUP BY lane \
     ORDER BY lane";

const EVENTS: &str =
    "SELECT job_id, seq, kind, at, attempt, data FROM event WHERE job_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";

/// A finished job's newest event is its terminal one.
const ENDED: &str = "SELECT e.job_id, e.seq, e.kind, e.at, e.attempt, e.data FROM json_each(?1) AS wanted \
     CROSS JOIN job AS j ON j.id = wanted.value AND j.finished_at IS NOT NULL \
     CROSS JOIN event AS e ON e.job_id = j.id AND e.seq = j.event_seq";

#[async_trait]
impl Jobs for SqliteStore {
    async fn get(&self, job: JobId) -> Result<Option<JobRecord>, Error> {
        self.readers.row(query(GET).bind(job.to_string())).await?.as_ref().map(rows::job).transpose()
    }

    async fn input(&self, job: JobId) -> Result<Option<Payload>, Error> {
        match self.readers.row(query(INPUT).bind(job.to_string())).await? {
            Some(row) => rows::payload_of(&row),
            None => Ok(None),
        }
    }

    async fn output(&self, job: JobId) -> Result<Option<Payload>, Error> {
        match self.readers.row(query(OUTPUT).bind(job.to_string())).await? {
            Some(row) => rows::payload_of(&row),
            None => Ok(None),
        }
    }

    async fn list(&self, filter: &JobFilter, page: Page) -> Result<Vec<JobRecord>, Error> {
        let (text, states) = match filter.states.as_slice() {
            [] => (LIST, None),
            [state @ (State::Failed | State::Canceled | State::Expired)] => (LIST_UNSUCCESSFUL, Some(state.as_str().to_owned())),
            states => (LIST, Some(array(states.iter().copied().map(State::as_str))?)),
        };
        // No job is newer than the end of time: the first page has a start like every other.
        let (before_at, before_id) = page.before.map_or((i64::MAX, String::new()), |(at, id)| (at.0, id.to_string()));
        let list = query(text)
            .bind(states)
            .bind(filter.model.as_ref().map(|model| model.as_str().to_owned()))
            .bind(filter.lane.as_ref().map(|lane| lane.as_str().to_owned()))
            .bind(before_at)
            .bind(before_id)
            .bind(limit(page.limit));
        self.lists.rows(list).await?.iter().map(rows::job).collect()
    }

    async fn position(&self, job: JobId) -> Result<Option<u64>, Error> {
        let found = self.readers.row(query(POSITION).bind(job.to_string()).bind(self.clock.now().0)).await?;
        found.map(|row| row.try_get("position").map_err(errors::of)).transpose()
    }

    async fn counts(&self) -> Result<Vec<Counts>, Error> {
        let now = self.clock.now();
        let mut lanes: Vec<Counts> = Vec::new();
        for row in &self.readers.rows(query(COUNTS).bind(now.0)).await? {
            let part = count(row, now)?;
            match lanes.last_mut() {
                Some(lane) if lane.lane == part.lane => {
                    lane.queued += part.queued;
                    lane.scheduled += part.scheduled;
                    lane.running += part.running;
                    lane.oldest_due_for = lane.oldest_due_for.max(part.oldest_due_for);
                }
                _ => lanes.push(part),
            }
        }
        Ok(lanes)
    }
}

fn count(row: &SqliteRow, now: Timestamp) -> Result<Counts, Error> {
    let queued: u64 = row.try_get("queued").map_err(errors::of)?;
    let oldest: Option<i64> = row.try_get("oldest").map_err(errors::of)?;
    let due_for = |at: i64| -> Duration { now.since(Timestamp(at)) };
    Ok(Counts {
        lane: row
            .try_get::<&str, _>("lane")
            .map_err(errors::of)?
            .parse()
            .map_err(|error| Error::broken("a lane's name", error))?,
        queued,
        scheduled: row.try_get("scheduled").map_err(errors::of)?,
        running: row.try_get("running").map_err(errors::of)?,
        oldest_due_for: oldest.filter(|_| queued > 0).map(due_for),
    })
}

#[async_trait]
impl Feed for SqliteStore {
    async fn events(&self, job: JobId, after: EventSeq, most: usize) -> Result<Vec<Event>, Error> {
        let events = query(EVENTS).bind(job.to_string()).bind(i64::from(after.0)).bind(limit(most));
        self.readers.rows(events).await?.iter().map(rows::event).collect()
    }

    async fn ended(&self, jobs: &[JobId]) -> Result<Vec<Option<Event>>, Error> {
        let mut ended = HashMap::with_capacity(jobs.len());
        for row in &self.readers.rows(query(ENDED).bind(id_array(jobs.iter().copied())?)).await? {
            let event = rows::event(row)?;
            ended.insert(event.job, event);
        }
        Ok(jobs.iter().map(|job| ended.get(job).cloned()).collect())
    }
}
