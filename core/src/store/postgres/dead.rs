//! Dead jobs: reading them by their index, and marking those that are dropped.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::query;

use super::{PostgresStore, rows, write::ids};
use crate::{
    id::JobId,
    job::FailureCode,
    store::{
        Dead, DeadFilter, Dropped, Error, JobRecord, Page, Payload,
        rows::{job_array, limit},
    },
};

/// Model (`$1`), lane (`$2`) and failure code (`$3`) filter where they are not NULL; `$4` and `$5` are when the failures begin and end; `$6`
/// and `$7` are where the page starts.
const LIST_DEAD: &str = concat!(
    "SELECT ",
    job_array!("json_build_array"),
    "::text FROM job AS j WHERE j.state = 'failed' AND j.retried_by IS NULL AND j.dropped_at IS NULL \
       AND ($1::text IS NULL OR j.model = $1) AND ($2::text IS NULL OR j.lane = $2) AND ($3::text IS NULL OR j.failure_code = $3) \
       AND j.finished_at >= $4::bigint AND j.finished_at < $5::bigint AND (j.finished_at, j.id) < ($6::bigint, $7::text::uuid) \
     ORDER BY j.finished_at DESC, j.id DESC LIMIT $8"
);

const WITH_INPUTS: &str = concat!(
    "SELECT ",
    job_array!("json_build_array"),
    "::text, j.input, j.input_blob FROM job AS j WHERE j.id = ANY ($1::text[]::uuid[])"
);

const DROP: &str = "UPDATE job SET dropped_at = $2::bigint WHERE id = ANY ($1::text[]::uuid[])";

#[async_trait]
impl Dead for PostgresStore {
    async fn dead(&self, filter: &DeadFilter, page: Page) -> Result<Vec<JobRecord>, Error> {
        // Nothing failed after the end of time: the first page has a start like every other.
        let (before_at, before_id) = page.before.map_or((i64::MAX, JobId::from(uuid::Uuid::nil())), |(at, id)| (at.0, id));
        let list = query(LIST_DEAD)
            .bind(filter.model.as_ref().map(|model| model.as_str().to_owned()))
            .bind(filter.lane.as_ref().map(|lane| lane.as_str().to_owned()))
            .bind(filter.code.map(FailureCode::as_str))
            .bind(filter.failed_since.map_or(i64::MIN, |since| since.0))
            .bind(filter.failed_until.map_or(i64::MAX, |until| until.0))
            .bind(before_at)
            .bind(before_id.to_string())
            .bind(limit(page.limit));
        self.sessions.list(list).await?.iter().map(rows::job).collect()
    }

    async fn with_inputs(&self, jobs: &[JobId]) -> Result<Vec<Option<(JobRecord, Payload)>>, Error> {
        let found = self.sessions.rows(query(WITH_INPUTS).bind(ids(jobs.iter().copied()))).await?;
        let (stored, mut inputs) = rows::stored_with_inputs(&found)?;
        let mut whole = |job: JobRecord| inputs.remove(&job.id).map(|input| (job.id, (job, input)));
        let found: HashMap<JobId, (JobRecord, Payload)> = stored.into_iter().filter_map(|stored| whole(stored.job)).collect();
        Ok(jobs.iter().map(|job| found.get(job).cloned()).collect())
    }

    async fn drop_dead(&self, wanted: &[JobId]) -> Result<Vec<Option<Dropped>>, Error> {
        let mut begun = self.begin(wanted.iter().copied()).await?;
        let dropped = begun.jobs.drop_dead(wanted, &begun.ledger);
        let changed: Vec<JobId> = dropped.iter().flatten().filter(|it| it.changed).map(|it| it.job.id).collect();
        if !changed.is_empty() {
            begun.session.rows(query(DROP).bind(ids(changed.into_iter())).bind(begun.ledger.now.0)).await?;
        }
        begun.session.commit().await?;
        Ok(dropped)
    }
}
