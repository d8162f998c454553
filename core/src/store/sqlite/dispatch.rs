//! The outbox: what is due and not yet published.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, query};

use super::{SqliteStore, connection::Durability, errors, rows};
use crate::{
    clock::Timestamp,
    id::LaneName,
    store::{
        Dispatch, DueJob, Error, Lost, Publication,
        rows::{PublicationRow, array, due_array, limit, ms},
    },
};

const DUE: &str = concat!(
    "SELECT ",
    due_array!("json_array"),
    " FROM job AS j INDEXED BY job_unpublished \
     WHERE state = 'queued' AND published_at IS NULL AND due_at <= ?1 \
       AND lane NOT IN (SELECT value FROM json_each(?3)) ORDER BY due_at, id LIMIT ?2"
);

const MARK: &str = "UPDATE job SET published_at = ?2 FROM json_each(?1) AS p \
     WHERE job.id = p.value ->> 'job' AND job.attempt = p.value ->> 'attempt' AND job.state = 'queued' \
       AND job.published_at IS NULL AND job.due_at <= ?2";

const BACKLOG: &str = "SELECT count(*) AS n FROM (SELECT 1 FROM job INDEXED BY job_unpublished \
     WHERE state = 'queued' AND published_at IS NULL AND due_at <= ?1 LIMIT ?2)";

const NEXT_DUE: &str = "SELECT min(due_at) AS due_at FROM job INDEXED BY job_unpublished \
     WHERE state = 'queued' AND published_at IS NULL AND due_at > ?1";

/// Forgets marks up to `?2`, of lane `?1` or, where that is NULL, of all.
const FORGET: &str = "UPDATE job SET published_at = NULL \
       WHERE state = 'queued' AND published_at IS NOT NULL AND (?1 IS NULL OR (lane = ?1 AND published_at <= ?2)); \
     SELECT changes()";

#[async_trait]
impl Dispatch for SqliteStore {
    async fn due(&self, most: usize, except: &[LaneName]) -> Result<Vec<DueJob>, Error> {
        let except = array(except.iter().map(LaneName::as_str))?;
        let due = query(DUE).bind(self.clock.now().0).bind(limit(most)).bind(except);
        self.readers.rows(due).await?.iter().map(rows::due).collect()
    }

    async fn mark_published(&self, published: &[Publication]) -> Result<(), Error> {
        let array = array(published.iter().map(PublicationRow::from))?;
        let mut turn = self.writer.turn(Durability::Process).await?;
        let now = self.clock.now();
        turn.whole(query(MARK).bind(array).bind(now.0)).await.map(drop)
    }

    async fn backlog(&self, most: usize) -> Result<usize, Error> {
        let counted = self.readers.row(query(BACKLOG).bind(self.clock.now().0).bind(limit(most))).await?;
        let count: u64 = counted.map_or(Ok(0), |row| row.try_get("n")).map_err(errors::of)?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, Error> {
        let now = self.clock.now();
        let found = self.readers.row(query(NEXT_DUE).bind(now.0)).await?;
        let due_at: Option<i64> = found.map_or(Ok(None), |row| row.try_get("due_at")).map_err(errors::of)?;
        Ok(due_at.map(|due_at| Timestamp(due_at).since(now)))
    }

    async fn forget_published(&self, lost: &Lost) -> Result<u64, Error> {
        let mut turn = self.writer.turn(Durability::Process).await?;
        let now = self.clock.now();
        let (lane, older_than) = lost.scope().unzip();
        let until = older_than.map(|age| now.0.saturating_sub(ms(age)));
        let forget = query(FORGET).bind(lane.map(|lane| lane.as_str().to_owned())).bind(until);
        rows::count(&turn.whole(forget).await?)
    }
}
