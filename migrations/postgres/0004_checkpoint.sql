-- Checkpoints: where the newest saved state of a job's computation lies, how far that is, which attempt wrote it, and the number of the event
-- that told of it: pieces of output before that event stand. The four are set together, until the job ends. No CHECK names another column:
-- a process of the version before moves jobs without knowing these.

ALTER TABLE job ADD COLUMN checkpoint_blob TEXT COLLATE "C";
ALTER TABLE job ADD COLUMN checkpoint_done BIGINT CHECK (checkpoint_done >= 0);
ALTER TABLE job ADD COLUMN checkpoint_total BIGINT CHECK (checkpoint_total >= 0);
ALTER TABLE job ADD COLUMN checkpoint_attempt BIGINT CHECK (checkpoint_attempt > 0);
ALTER TABLE job ADD COLUMN checkpoint_seq BIGINT CHECK (checkpoint_seq > 0);

-- How long one step of a run may take, where that is limited.
ALTER TABLE job ADD COLUMN stall_timeout_ms BIGINT CHECK (stall_timeout_ms > 0);

-- The newest attempt that has ended otherwise than handed back before its start: without one, the job has not started, whatever claimed it, and
-- its start deadline holds. Of older rows nobody knows: what was started counts as begun.
ALTER TABLE job ADD COLUMN begun_attempt BIGINT CHECK (begun_attempt > 0);
UPDATE job SET begun_attempt = attempt WHERE state IN ('queued', 'running', 'cancelling') AND attempt > 0 AND started_at IS NOT NULL;

-- What the cancel of a canceled job met, and how much was computed after it was asked for.
ALTER TABLE job ADD COLUMN cancel_met TEXT COLLATE "C";
ALTER TABLE job ADD COLUMN cancel_spent_ms BIGINT CHECK (cancel_spent_ms >= 0);

-- Two further kinds of events. What is there has passed the narrower CHECK and is not looked at again: the table may be long, and nobody could
-- use it meanwhile.
ALTER TABLE event DROP CONSTRAINT event_kind_check;
ALTER TABLE event ADD CONSTRAINT event_kind_check
  CHECK (kind IN ('queued', 'started', 'progress', 'output', 'checkpoint', 'restarted', 'retrying', 'interrupted', 'cancelling',
                  'succeeded', 'failed', 'canceled', 'expired')) NOT VALID;
