-- Dead jobs: failed, and nobody has dealt with them. Dealing with one is a mark on its row; its state stays.

ALTER TABLE job ADD COLUMN retried_by UUID CHECK (retried_by IS NULL OR finished_at IS NOT NULL);
ALTER TABLE job ADD COLUMN dropped_at BIGINT CHECK (dropped_at IS NULL OR state = 'failed');

-- Lists of dead jobs, the newest failure first. Partial: it shrinks as they are dealt with.
CREATE INDEX job_dead ON job (finished_at, id) WHERE state = 'failed' AND retried_by IS NULL AND dropped_at IS NULL;
