-- Dead jobs: failed, and nobody has dealt with them. Dealing with one is a mark on its row; its state stays.
-- The columns stand behind the long ones, where alone SQLite can add them: who reads them from a job with a long input or output walks
-- past its pages.

ALTER TABLE job ADD COLUMN retried_by TEXT CHECK (retried_by IS NULL OR (length(retried_by) = 36 AND finished_at IS NOT NULL));
ALTER TABLE job ADD COLUMN dropped_at INTEGER CHECK (dropped_at IS NULL OR state = 'failed');

-- Lists of dead jobs, the newest failure first. Partial: it shrinks as they are dealt with.
CREATE INDEX job_dead ON job (finished_at, id) WHERE state = 'failed' AND retried_by IS NULL AND dropped_at IS NULL;
