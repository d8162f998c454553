//! The raw loop: the rows of a job's life written by plain statements over whole groups, with nothing of ours around them and nothing decided. It
//! exists only as the limit that `siding bench dispatch` measures beside the system; no job is written here.

use sqlx::{ConnectOptions, Connection, PgConnection, query};

use super::{errors, open};
use crate::{
    config,
    id::{JobId, WorkerId},
    store::Error,
};

/// Accepts jobs `$1` with their first events.
const SUBMIT: &str = "WITH accepted AS (INSERT INTO job (id, model, version, lane, state, event_seq, attempts_max, created_at, due_at, \
       run_timeout_ms, p50_ms, p90_ms, estimate_source, fingerprint, input) \
     SELECT id, 'noop', '1', 'instant', 'queued', 1, 3, t.now, t.now, 30000, 0, 0, 'manifest', decode(repeat('00', 32), 'hex'), '{\"op\":\"noop\"}' \
     FROM unnest($1::text[]::uuid[]) AS id, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS t RETURNING id, created_at) \
     INSERT INTO event (job_id, seq, kind, at, attempt, data) SELECT id, 1, 'queued', created_at, 0, '{\"lane\":\"instant\"}' FROM accepted";

/// Starts jobs `$1` for worker `$2`, with their events, and returns their inputs.
const CLAIM: &str = "WITH started AS (UPDATE job SET state = 'running', attempt = 1, event_seq = 2, worker = $2::text::uuid, \
       started_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
       lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 15000 \
     WHERE id = ANY ($1::text[]::uuid[]) RETURNING id, started_at, input), \
     told AS (INSERT INTO event (job_id, seq, kind, at, attempt, data) SELECT id, 2, 'started', started_at, 1, '{\"lane\":\"instant\"}' FROM started) \
     SELECT input FROM started";

/// Ends jobs `$1` well, with their events.
const RECORD: &str = "WITH ended AS (UPDATE job SET state = 'succeeded', event_seq = 3, worker = NULL, lease_until = NULL, output = 'null', \
       finished_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
     WHERE id = ANY ($1::text[]::uuid[]) RETURNING id, finished_at) \
     INSERT INTO event (job_id, seq, kind, at, attempt, data) SELECT id, 3, 'succeeded', finished_at, 1, '{\"run_ms\":0}' FROM ended";

/// One connection that writes the rows of jobs that nobody runs.
pub struct RawRows {
    connection: PgConnection,
    worker: String,
}

impl RawRows {
    /// Connects; the schema must be there.
    ///
    /// # Errors
    /// As any call.
    pub async fn open(settings: &config::Store) -> Result<Self, Error> {
        let connection = open::options(settings.url.expose())?.connect().await.map_err(errors::of)?;
        Ok(Self { connection, worker: WorkerId::generate().to_string() })
    }

    /// Commits the rows of a group of accepted jobs.
    ///
    /// # Errors
    /// As any call.
    pub async fn submit(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        query(SUBMIT).bind(ids(jobs)).execute(&mut self.connection).await.map(drop).map_err(errors::of)
    }

    /// Commits their claims and reads their inputs.
    ///
    /// # Errors
    /// As any call.
    pub async fn claim(&mut self, jobs: &[JobId]) -> Result<usize, Error> {
        let inputs =
            query(CLAIM).bind(ids(jobs)).bind(self.worker.clone()).fetch_all(&mut self.connection).await.map_err(errors::of)?;
        Ok(inputs.len())
    }

    /// Commits their ends.
    ///
    /// # Errors
    /// As any call.
    pub async fn record(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        query(RECORD).bind(ids(jobs)).execute(&mut self.connection).await.map(drop).map_err(errors::of)
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// As any call.
    pub async fn close(self) -> Result<(), Error> {
        self.connection.close().await.map_err(errors::of)
    }
}

fn ids(jobs: &[JobId]) -> Vec<String> {
    jobs.iter().map(ToString::to_string).collect()
}
