-- Checkpoints: where the newest saved state of a job's computation lies, how far that is, which attempt wrote it, and the number of the event
-- that told of it: pieces of output before that event stand. The four are set together, until the job ends. No CHECK names another column:
-- a process of the version before moves jobs without knowing these.

ALTER TABLE job ADD COLUMN checkpoint_blob TEXT;
ALTER TABLE job ADD COLUMN checkpoint_done INTEGER CHECK (checkpoint_done >= 0);
ALTER TABLE job ADD COLUMN checkpoint_total INTEGER CHECK (checkpoint_total >= 0);
ALTER TABLE job ADD COLUMN checkpoint_attempt INTEGER CHECK (checkpoint_attempt > 0);
ALTER TABLE job ADD COLUMN checkpoint_seq INTEGER CHECK (checkpoint_seq > 0);

-- How long one step of a run may take, where that is limited.
ALTER TABLE job ADD COLUMN stall_timeout_ms INTEGER CHECK (stall_timeout_ms > 0);

-- The newest attempt that has ended otherwise than handed back before its start: without one, the job has not started, whatever claimed it, and
-- its start deadline holds. Of older rows nobody knows: what was started counts as begun.
ALTER TABLE job ADD COLUMN begun_attempt INTEGER CHECK (begun_attempt > 0);
UPDATE job SET begun_attempt = attempt WHERE state IN ('queued', 'running', 'cancelling') AND attempt > 0 AND started_at IS NOT NULL;

-- What the cancel of a canceled job met, and how much was computed after it was asked for.
ALTER TABLE job ADD COLUMN cancel_met TEXT;
ALTER TABLE job ADD COLUMN cancel_spent_ms INTEGER CHECK (cancel_spent_ms >= 0);

-- Two further kinds of events. SQLite changes a CHECK only with its table.
CREATE TABLE event_of_more_kinds (
  job_id  TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  seq     INTEGER NOT NULL CHECK (seq > 0),
  kind    TEXT    NOT NULL
          CHECK (kind IN ('queued', 'started', 'progress', 'output', 'checkpoint', 'restarted', 'retrying', 'interrupted', 'cancelling',
                          'succeeded', 'failed', 'canceled', 'expired')),
  at      INTEGER NOT NULL,
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  data    TEXT    NOT NULL CHECK (json_valid(data)),
  PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO event_of_more_kinds SELECT job_id, seq, kind, at, attempt, data FROM event;
DROP TABLE event;
ALTER TABLE event_of_more_kinds RENAME TO event;
