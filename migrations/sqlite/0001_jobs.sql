-- Jobs and their events. The CHECKs repeat the state machine of core/src/job/state.rs and the promises of
-- core/src/store/records.rs: whoever writes, by code or by hand, cannot store a job that contradicts itself.
-- Times are milliseconds since the Unix epoch, UTC. Identifiers are UUIDs in their hyphenated form.

CREATE TABLE job (
  id                  TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
  model               TEXT    NOT NULL,
  version             TEXT    NOT NULL,
  lane                TEXT    NOT NULL,
  state               TEXT    NOT NULL
                      CHECK (state IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'canceled', 'expired')),
  attempt             INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  failures            INTEGER NOT NULL DEFAULT 0 CHECK (failures BETWEEN 0 AND attempts_max),
  attempts_max        INTEGER NOT NULL CHECK (attempts_max > 0),
  event_seq           INTEGER NOT NULL CHECK (event_seq > 0),
  created_at          INTEGER NOT NULL,
  due_at              INTEGER NOT NULL,
  published_at        INTEGER,
  start_deadline_at   INTEGER,
  run_timeout_ms      INTEGER NOT NULL CHECK (run_timeout_ms >= 0),
  started_at          INTEGER,
  finished_at         INTEGER,
  worker              TEXT,
  lease_until         INTEGER,
  cancel_requested_at INTEGER,
  failure_code        TEXT,
  failure_message     TEXT,
  p50_ms              REAL    NOT NULL CHECK (p50_ms >= 0),
  p90_ms              REAL    NOT NULL CHECK (p90_ms >= 0),
  estimate_source     TEXT    NOT NULL,
  retry_of            TEXT,
  traceparent         TEXT,
  idempotency_key     TEXT,
  fingerprint         BLOB    NOT NULL CHECK (length(fingerprint) = 32),
  input_blob          TEXT,
  output_blob         TEXT,
  -- Last, because they may be long: reading or changing the columns before them leaves their pages alone.
  input               TEXT,
  output              TEXT,

  CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'canceled', 'expired'))),
  CHECK ((worker IS NOT NULL) = (state IN ('running', 'cancelling'))),
  CHECK ((lease_until IS NOT NULL) = (state IN ('running', 'cancelling'))),
  CHECK ((failure_code IS NOT NULL) = (state = 'failed')),
  CHECK ((failure_message IS NOT NULL) = (state = 'failed')),
  CHECK (cancel_requested_at IS NOT NULL OR state <> 'cancelling'),
  -- A first attempt that was handed back unstarted has none.
  CHECK (started_at IS NULL OR attempt > 0),
  CHECK (started_at IS NOT NULL OR state NOT IN ('running', 'cancelling', 'succeeded', 'failed')),
  CHECK ((input IS NULL) <> (input_blob IS NULL)),
  CHECK ((output IS NOT NULL) + (output_blob IS NOT NULL) = (state = 'succeeded'))
) STRICT;

-- One key, one job. Partial: most jobs have none and cost nothing here.
CREATE UNIQUE INDEX job_idempotency_key ON job (idempotency_key) WHERE idempotency_key IS NOT NULL;
-- The outbox: what the relay publishes next.
CREATE INDEX job_unpublished ON job (due_at) WHERE state = 'queued' AND published_at IS NULL;
-- Position in a lane and what waits there.
CREATE INDEX job_queued ON job (lane, due_at) WHERE state = 'queued';
-- What the sweep rescues. A lease is set exactly while a job runs.
CREATE INDEX job_leased ON job (lease_until) WHERE lease_until IS NOT NULL;
-- What the sweep expires: jobs that were to start by some time and never have.
CREATE INDEX job_start_deadline ON job (start_deadline_at)
  WHERE state = 'queued' AND started_at IS NULL AND start_deadline_at IS NOT NULL;
-- Lists, newest first.
CREATE INDEX job_created ON job (created_at, id);
-- Lists of those that ended badly. Partial: a job that succeeds costs nothing here.
CREATE INDEX job_unsuccessful ON job (state, created_at, id) WHERE state IN ('failed', 'canceled', 'expired');

CREATE TABLE event (
  job_id  TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  seq     INTEGER NOT NULL CHECK (seq > 0),
  kind    TEXT    NOT NULL
          CHECK (kind IN ('queued', 'started', 'progress', 'output', 'retrying', 'interrupted', 'cancelling',
                          'succeeded', 'failed', 'canceled', 'expired')),
  at      INTEGER NOT NULL,
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  data    TEXT    NOT NULL CHECK (json_valid(data)),
  PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;
