-- Jobs and their events. The CHECKs repeat the state machine of core/src/job/state.rs and the promises of
-- core/src/store/records.rs: whoever writes, by code or by hand, cannot store a job that contradicts itself.
-- Times are milliseconds since the Unix epoch, UTC. Words and names are ASCII and are compared byte by byte.

CREATE TABLE job (
  id                  UUID             NOT NULL PRIMARY KEY,
  model               TEXT COLLATE "C" NOT NULL,
  version             TEXT COLLATE "C" NOT NULL,
  lane                TEXT COLLATE "C" NOT NULL,
  state               TEXT COLLATE "C" NOT NULL
                      CHECK (state IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'canceled', 'expired')),
  attempt             BIGINT           NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  failures            BIGINT           NOT NULL DEFAULT 0 CHECK (failures BETWEEN 0 AND attempts_max),
  attempts_max        BIGINT           NOT NULL CHECK (attempts_max > 0),
  event_seq           BIGINT           NOT NULL CHECK (event_seq > 0),
  created_at          BIGINT           NOT NULL,
  due_at              BIGINT           NOT NULL,
  published_at        BIGINT,
  start_deadline_at   BIGINT,
  run_timeout_ms      BIGINT           NOT NULL CHECK (run_timeout_ms >= 0),
  started_at          BIGINT,
  finished_at         BIGINT,
  worker              UUID,
  lease_until         BIGINT,
  cancel_requested_at BIGINT,
  failure_code        TEXT COLLATE "C",
  failure_message     TEXT,
  p50_ms              DOUBLE PRECISION NOT NULL CHECK (p50_ms >= 0),
  p90_ms              DOUBLE PRECISION NOT NULL CHECK (p90_ms >= 0),
  estimate_source     TEXT COLLATE "C" NOT NULL,
  retry_of            UUID,
  traceparent         TEXT COLLATE "C",
  idempotency_key     TEXT COLLATE "C",
  fingerprint         BYTEA            NOT NULL CHECK (length(fingerprint) = 32),
  input_blob          TEXT COLLATE "C",
  output_blob         TEXT COLLATE "C",
  -- JSON as text: jsonb would reorder keys, and refuses U+0000.
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
  CHECK (num_nonnulls(output, output_blob) = (state = 'succeeded')::int)
) WITH (
  -- A job is written about six times in its life: room on its page for newer versions, and a vacuum that comes early.
  fillfactor = 75,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_analyze_scale_factor = 0.02
);

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
  job_id  UUID             NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  seq     BIGINT           NOT NULL CHECK (seq > 0),
  kind    TEXT COLLATE "C" NOT NULL
          CHECK (kind IN ('queued', 'started', 'progress', 'output', 'retrying', 'interrupted', 'cancelling',
                          'succeeded', 'failed', 'canceled', 'expired')),
  at      BIGINT           NOT NULL,
  attempt BIGINT           NOT NULL CHECK (attempt >= 0),
  -- The cast fails for what is not JSON.
  data    TEXT             NOT NULL CHECK (data::json IS NOT NULL),
  PRIMARY KEY (job_id, seq)
);
