//! The outbox: what is due and not yet published.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, query};

use super::{PostgresStore, errors, relaxed, rows, time::now, write::ids};
use crate::{
    id::LaneName,
    limits,
    store::{
        Dispatch, DueJob, Error, Lost, Publication,
        rows::{PublicationRow, array, due_array, limit, ms},
    },
};

const DUE: &str = concat!(
    "SELECT ",
    due_array!("json_build_array"),
    "::text FROM job AS j WHERE j.state = 'queued' AND j.published_at IS NULL AND j.due_at <= ",
    now!("$1"),
    " AND j.lane <> ALL ($3::text[]) ORDER BY j.due_at, j.id LIMIT $2"
);

/// Marks publications (`$1`, of the jobs `$3`). The rows are locked first, in the order of their ids, as everywhere, and found by them
/// alone: the CASE fits no other index. By its guesses about what is due, the planner would walk the whole outbox for each group.
const MARK: &str = concat!(
    "WITH ",
    relaxed!(),
    ", waiting AS MATERIALIZED (SELECT id, attempt FROM job WHERE id = ANY ($3::text[]::uuid[]) \
       AND CASE WHEN state = 'queued' AND published_at IS NULL THEN due_at <= ",
    now!("$2"),
    " ELSE false END ORDER BY id FOR NO KEY UPDATE) \
     UPDATE job SET published_at = ",
    now!("$2"),
    " FROM waiting \
       JOIN json_to_recordset($1::json) AS p(job uuid, attempt bigint) ON p.job = waiting.id AND p.attempt = waiting.attempt, \
       relaxed WHERE job.id = waiting.id AND relaxed.level = 'off'"
);

const BACKLOG: &str = concat!(
    "SELECT count(*) FROM (SELECT 1 FROM job WHERE state = 'queued' AND published_at IS NULL AND due_at <= ",
    now!("$1"),
    " LIMIT $2) AS due"
);

const NEXT_DUE: &str = concat!(
    "SELECT min(due_at) - ",
    now!("$1"),
    " FROM job WHERE state = 'queued' AND published_at IS NULL AND due_at > ",
    now!("$1")
);

/// Forgets at most `$4` marks that are at least `$2` milliseconds old, of lane `$1` or, where that is NULL, of all. It waits for the disk: a
/// forgotten mark that comes back would leave its job waiting for a message that is lost. It waits for nobody's lock: who holds one is
/// claiming, marking or ending the job, and what is still lost after that is found by the next look.
const FORGET: &str = concat!(
    "WITH p AS MATERIALIZED (SELECT id FROM job WHERE state = 'queued' AND published_at IS NOT NULL \
       AND ($1::text IS NULL OR (lane = $1 AND published_at <= ",
    now!("$3"),
    " - $2::bigint)) ORDER BY id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED), \
     forgotten AS (UPDATE job SET published_at = NULL FROM p WHERE job.id = p.id RETURNING 1) SELECT count(*) FROM forgotten"
);

#[async_trait]
impl Dispatch for PostgresStore {
    async fn due(&self, most: usize, except: &[LaneName]) -> Result<Vec<DueJob>, Error> {
        let except: Vec<&str> = except.iter().map(LaneName::as_str).collect();
        let due = query(DUE).bind(self.time.given()).bind(limit(most)).bind(except);
        self.sessions.rows(due).await?.iter().map(rows::due).collect()
    }

    async fn mark_published(&self, published: &[Publication]) -> Result<(), Error> {
        let array = array(published.iter().map(PublicationRow::from))?;
        let jobs = ids(published.iter().map(|publication| publication.job));
        self.sessions.rows(query(MARK).bind(array).bind(self.time.given()).bind(jobs)).await.map(drop)
    }

    async fn backlog(&self, most: usize) -> Result<usize, Error> {
        let counted = self.sessions.rows(query(BACKLOG).bind(self.time.given()).bind(limit(most))).await?;
        Ok(usize::try_from(rows::count(&counted)?).unwrap_or(usize::MAX))
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, Error> {
        let found = self.sessions.row(query(NEXT_DUE).bind(self.time.given())).await?;
        let ms: Option<i64> = found.map_or(Ok(None), |row| row.try_get(0)).map_err(errors::of)?;
        Ok(ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }

    async fn forget_published(&self, lost: &Lost) -> Result<u64, Error> {
        let (lane, older_than) = lost.scope().unzip();
        // A lost queue may have had a hundred thousand messages: one statement over them would pass its time and start over for ever.
        let mut forgotten = 0;
        loop {
            let forget = query(FORGET).bind(lane.map(LaneName::as_str)).bind(older_than.map(ms)).bind(self.time.given());
            let group = rows::count(&self.sessions.rows(forget.bind(limit(limits::GROUP_ROWS_MAX))).await?)?;
            forgotten += group;
            if group < limits::GROUP_ROWS_MAX as u64 {
                return Ok(forgotten);
            }
        }
    }
}
