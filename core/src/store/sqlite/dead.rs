//! Dead jobs: reading them by their index, and marking those that are dropped.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::query;

use super::{SqliteStore, connection::Durability, rows};
use crate::{
    id::JobId,
    job::FailureCode,
    store::{
        Dead, DeadFilter, Dropped, Error, JobRecord, Page, Payload,
        decide::{Jobs, Ledger},
        rows::{array, id_array, job_array, limit},
    },
};

/// Model (`?1`), lane (`?2`) and failure code (`?3`) filter where they are not NULL; `?4` and `?5` are when the failures begin and end; `?6` and `?7` are where
/// the page starts.
pub(super) const LIST_DEAD: &str = concat!(
    "SELECT ",
    job_array!("json_array"),
    " FROM job AS j INDEXED BY job_dead WHERE j.state = 'failed' AND j.retried_by IS NULL AND j.dropped_at IS NULL \
       AND (?1 IS NULL OR j.model = ?1) AND (?2 IS NULL OR j.lane = ?2) AND (?3 IS NULL OR j.failure_code = ?3) \
       AND j.finished_at >= ?4 AND j.finished_at < ?5 AND (j.finished_at, j.id) < (?6, ?7) \
     ORDER BY j.finished_at DESC, j.id DESC LIMIT ?8"
);

const WITH_INPUTS: &str = concat!(
    "SELECT json_group_array(json_array(",
    job_array!("json_array"),
    ", j.input, j.input_blob)) FROM json_each(?1) AS wanted CROSS JOIN job AS j ON j.id = wanted.value"
);

const BEGIN_DROP: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(",
    job_array!("json_array"),
    ") FROM json_each(?1) AS wanted CROSS JOIN job AS j ON j.id = wanted.value"
);

const DROP_AND_COMMIT: &str = "UPDATE job SET dropped_at = ?2 FROM json_each(?1) AS dropped WHERE job.id = dropped.value; COMMIT";

#[async_trait]
impl Dead for SqliteStore {
    async fn dead(&self, filter: &DeadFilter, page: Page) -> Result<Vec<JobRecord>, Error> {
        // Nothing failed after the end of time: the first page has a start like every other.
        let (before_at, before_id) = page.before.map_or((i64::MAX, String::new()), |(at, id)| (at.0, id.to_string()));
        let list = query(LIST_DEAD)
            .bind(filter.model.as_ref().map(|model| model.as_str().to_owned()))
            .bind(filter.lane.as_ref().map(|lane| lane.as_str().to_owned()))
            .bind(filter.code.map(FailureCode::as_str))
            .bind(filter.failed_since.map_or(i64::MIN, |since| since.0))
            .bind(filter.failed_until.map_or(i64::MAX, |until| until.0))
            .bind(before_at)
            .bind(before_id)
            .bind(limit(page.limit));
        self.lists.rows(list).await?.iter().map(rows::job).collect()
    }

    async fn with_inputs(&self, jobs: &[JobId]) -> Result<Vec<Option<(JobRecord, Payload)>>, Error> {
        let found = self.readers.rows(query(WITH_INPUTS).bind(id_array(jobs.iter().copied())?)).await?;
        let (stored, inputs) = rows::stored_with_inputs(&found)?;
        let by_id: HashMap<JobId, (JobRecord, Payload)> =
            stored.into_iter().map(|stored| stored.job).zip(inputs).map(|(job, input)| (job.id, (job, input))).collect();
        Ok(jobs.iter().map(|job| by_id.get(job).cloned()).collect())
    }

    async fn drop_dead(&self, wanted: &[JobId]) -> Result<Vec<Option<Dropped>>, Error> {
        let ids = id_array(wanted.iter().copied())?;
        let (mut turn, rows) = self.begin(Durability::Disk, query(BEGIN_DROP).bind(ids)).await?;
        let ledger = Ledger::at(self.clock.now());
        let mut jobs = Jobs::new(rows::stored(&rows)?);
        let dropped = jobs.drop_dead(wanted, &ledger);
        let changed: Vec<JobId> = dropped.iter().flatten().filter(|it| it.changed).map(|it| it.job.id).collect();
        if changed.is_empty() {
            turn.nothing_written().await?;
        } else {
            turn.whole(query(DROP_AND_COMMIT).bind(array(changed)?).bind(ledger.now.0)).await?;
        }
        Ok(dropped)
    }
}
