//! Accepting and cancelling.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::{Row, query};

use super::{
    SqliteStore, errors,
    rows::{self, JobInsert, Reading, job_columns},
    write::{Jobs, id_array, insert_events},
};
use crate::{
    id::{IdempotencyKey, JobId},
    store::{
        Cancelled, Error, JobRecord, NewJob, Submissions, Submitted,
        decide::{Ledger, Stored},
    },
};

/// Inserts the jobs whose id and key are free, in order, and their events; returns which ones.
const BEGIN_AND_INSERT: &str = "BEGIN IMMEDIATE; INSERT INTO job (id, model, version, lane, state, event_seq, attempts_max, created_at, due_at, start_deadline_at, \
       run_timeout_ms, p50_ms, p90_ms, estimate_source, retry_of, traceparent, idempotency_key, fingerprint, input, input_blob) \
     SELECT value ->> 'id', value ->> 'model', value ->> 'version', value ->> 'lane', 'queued', 1, value ->> 'attempts_max', \
       value ->> 'created_at', value ->> 'due_at', value ->> 'start_deadline_at', value ->> 'run_timeout_ms', \
       value ->> 'p50_ms', value ->> 'p90_ms', value ->> 'estimate_source', value ->> 'retry_of', value ->> 'traceparent', \
       value ->> 'idempotency_key', unhex(value ->> 'fingerprint'), value ->> 'input', value ->> 'input_blob' \
     FROM json_each(?1) WHERE true \
     ON CONFLICT DO NOTHING RETURNING id, idempotency_key";

const INSERT_EVENTS_AND_COMMIT: &str = concat!(insert_events!(), "; COMMIT");

/// The jobs that stand under these ids (`?1`) or idempotency keys (`?2`).
const STANDING: &str = concat!(
    "SELECT ",
    job_columns!(),
    ", j.idempotency_key, j.fingerprint FROM json_each(?1) AS wanted CROSS JOIN job AS j ON j.id = wanted.value \
     UNION ALL SELECT ",
    job_columns!(),
    ", j.idempotency_key, j.fingerprint FROM json_each(?2) AS wanted CROSS JOIN job AS j ON j.idempotency_key = wanted.value"
);

const BEGIN_ONE: &str = concat!("BEGIN IMMEDIATE; SELECT ", job_columns!(), " FROM job AS j WHERE j.id = ?1");

#[async_trait]
impl Submissions for SqliteStore {
    async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, Error> {
        let mut turn = self.writer.turn().await?;
        let mut ledger = Ledger::at(self.clock.now());
        let accepted: Vec<Stored> = jobs.iter().map(|new| Stored::accept(new, &mut ledger)).collect();
        let inserts = rows::array(jobs.iter().zip(&accepted).map(|(new, stored)| JobInsert::of(new, &stored.job)))?;
        let inserted = turn.part(query(BEGIN_AND_INSERT).bind(inserts)).await?;
        let mut created = HashSet::with_capacity(inserted.len());
        for row in &inserted {
            let row = Reading(row);
            let id = row.parsed::<JobId>("id").map_err(|cause| errors::broken("an inserted job's id", cause))?;
            let key = row.get::<Option<String>>("idempotency_key");
            created.insert((id, key.map_err(|cause| errors::broken("an inserted job's key", cause))?));
        }
        // Two jobs of this group may name one id or one key: the first of them was inserted.
        let is_created: Vec<bool> = jobs.iter().map(|new| created.remove(&(new.id, key_of(new)))).collect();
        let mut keep = is_created.iter();
        ledger.events.retain(|_| keep.next().copied().unwrap_or(false));
        let events = rows::events(&ledger.events)?;
        turn.whole(query(INSERT_EVENTS_AND_COMMIT).bind("[]").bind(events).bind(ledger.now.0)).await?;
        drop(turn);
        self.answers(&jobs, accepted, &is_created).await
    }

    async fn cancel(&self, job: JobId) -> Result<Option<Cancelled>, Error> {
        let (turn, rows) = self.begin(query(BEGIN_ONE).bind(job.to_string())).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let mut jobs = Jobs::of(&rows)?;
        let cancelled = jobs.get_mut(job).map(|stored| {
            let changed = stored.cancel(&mut ledger);
            Cancelled { job: stored.job.clone(), changed }
        });
        self.commit(turn, &jobs, &ledger).await?;
        Ok(cancelled)
    }
}

impl SqliteStore {
    /// What to answer for each job: the accepted record, or the job that stands in its place.
    async fn answers(&self, jobs: &[NewJob], accepted: Vec<Stored>, is_created: &[bool]) -> Result<Vec<Submitted>, Error> {
        let refused = || jobs.iter().zip(is_created).filter(|(_, created)| !**created).map(|(new, _)| new);
        let standing = if refused().next().is_some() { self.standing(refused()).await? } else { Standing::default() };
        let answer = |((new, stored), created): ((&NewJob, Stored), &bool)| {
            if *created {
                return Ok(Submitted::Created(stored.job));
            }
            let (fingerprint, job) = standing
                .of(new)
                .ok_or_else(|| errors::broken("a refused job must have one that stands", sqlx::Error::RowNotFound))?;
            let same = *fingerprint == new.fingerprint;
            Ok(if same { Submitted::Existing(job.clone()) } else { Submitted::Mismatch(job.clone()) })
        };
        jobs.iter().zip(accepted).zip(is_created).map(answer).collect()
    }

    async fn standing(&self, refused: impl Iterator<Item = &NewJob> + Clone) -> Result<Standing, Error> {
        let ids = id_array(refused.clone().map(|new| new.id))?;
        let keys = rows::array(refused.filter_map(|new| new.idempotency_key.as_ref().map(IdempotencyKey::as_str)))?;
        let mut standing = Standing::default();
        for row in &self.readers.rows(query(STANDING).bind(ids).bind(keys)).await? {
            let job = rows::job(row)?;
            let fingerprint: Vec<u8> = row.try_get("fingerprint").map_err(errors::of)?;
            let fingerprint =
                fingerprint.try_into().map_err(|_| errors::broken("a fingerprint has 32 bytes", "another length"))?;
            if let Some(key) = row.try_get::<Option<String>, _>("idempotency_key").map_err(errors::of)? {
                standing.by_key.insert(key, job.id);
            }
            standing.by_id.insert(job.id, (fingerprint, job));
        }
        Ok(standing)
    }
}

/// Jobs that were there first.
#[derive(Default)]
struct Standing {
    by_id: HashMap<JobId, ([u8; 32], JobRecord)>,
    by_key: HashMap<String, JobId>,
}

impl Standing {
    /// The job that `new` met: under its id, else under its key.
    fn of(&self, new: &NewJob) -> Option<&([u8; 32], JobRecord)> {
        let by_key = || self.by_key.get(new.idempotency_key.as_ref()?.as_str());
        self.by_id.get(&new.id).or_else(|| self.by_id.get(by_key()?))
    }
}

fn key_of(new: &NewJob) -> Option<String> {
    new.idempotency_key.as_ref().map(|key| key.as_str().to_owned())
}
