-- The message that a job's claim was made with: when the broker hands out this very message again, it has lost the job's holder.
ALTER TABLE job ADD COLUMN claimed_message TEXT
  CHECK (claimed_message IS NULL OR (length(claimed_message) = 36 AND state IN ('running', 'cancelling')));
