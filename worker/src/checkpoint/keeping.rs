//! Keeping checkpoints, on a slot's thread: writes the state of a computation when that is due, and reads the one that an attempt goes on from. It
//! decides when by `checkpoint_due` and nothing else; a checkpoint that cannot be written costs a log line and a count, never the job.

use std::{
    cell::OnceCell,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use siding_core::{
    blob::{self, Blobs},
    error::chain,
    job::RestartReason,
    limits,
    model::manifest::Manifest,
    retry::{Policy, retry},
    store::RecordChange,
    telemetry::{CheckpointRefused, Metrics},
};
use tokio::runtime::Handle;

use super::{Identity, Last, checkpoint_due, decode, encode};
use crate::{
    recorder::Recorder,
    running::Running,
    runtime::{Computation, Progress, State},
};

/// What checkpoints are kept with. One per slot.
#[derive(Clone)]
pub struct Keeping {
    /// Where states lie.
    pub blobs: Blobs,
    /// Where they are recorded.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// On which the slot's thread waits.
    pub executor: Handle,
    /// The time between two of one run, at least.
    pub interval: Duration,
}

/// Why a computation does not begin where the job's checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoState {
    /// It never can: it begins from nothing.
    Refused(RestartReason),
    /// The blob store does not answer: another attempt may find it.
    Unavailable,
}

/// The checkpoints of one run.
pub struct Kept<'a> {
    keeping: &'a Keeping,
    running: &'a Running,
    manifest: &'a Manifest,
    input: &'a str,
    /// Made when it is first asked for: most runs have no use for it, and it hashes the input.
    identity: OnceCell<Identity>,
    /// When the last one was finished, or the run began.
    last_at: Instant,
    /// How that went.
    last: Last,
}

impl Keeping {
    /// Those of this job's run, on the model of this manifest.
    #[must_use]
    pub fn of<'a>(&'a self, running: &'a Running, manifest: &'a Manifest, input: &'a str) -> Kept<'a> {
        Kept {
            keeping: self,
            running,
            manifest,
            input,
            identity: OnceCell::new(),
            last_at: Instant::now(),
            last: Last::Took(Duration::ZERO),
        }
    }
}

impl Kept<'_> {
    fn identity(&self) -> &Identity {
        self.identity.get_or_init(|| Identity::new(self.running.work.job, self.manifest, self.input))
    }

    /// The state that the job's checkpoint holds; `None` when it has none. Blocks.
    ///
    /// # Errors
    /// `NoState`.
    pub fn load(&self) -> Result<Option<State>, NoState> {
        let Some(checkpoint) = &self.running.work.checkpoint else { return Ok(None) };
        let blobs = &self.keeping.blobs;
        let patience = Duration::from_secs(limits::CHECKPOINT_SECS_MAX);
        let read = async { tokio::time::timeout(patience, retry(Policy::StoreRequest, || blobs.get(&checkpoint.blob))).await };
        let bytes = match self.keeping.executor.block_on(read) {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(blob::Error::Missing(_))) => return Err(NoState::Refused(RestartReason::Missing)),
            Ok(Err(blob::Error::Damaged(_))) => return Err(NoState::Refused(RestartReason::Damaged)),
            Ok(Err(error @ blob::Error::Unavailable(_))) => {
                tracing::error!(job.id = %self.running.work.job, error = chain(&error), "cannot read the job's checkpoint");
                return Err(NoState::Unavailable);
            }
            Err(_) => {
                tracing::error!(job.id = %self.running.work.job, "the blob store does not answer for the job's checkpoint");
                return Err(NoState::Unavailable);
            }
        };
        decode(&bytes, self.identity()).map(|(_, state)| Some(state)).map_err(NoState::Refused)
    }

    /// The run begins from nothing although the job has a checkpoint: it is recorded, and the checkpoint is gone. Blocks while the store is
    /// behind.
    pub fn restart(&self, reason: RestartReason) {
        let work = &self.running.work;
        tracing::warn!(job.id = %work.job, attempt = work.attempt.0, reason = reason.as_str(), "checkpoint refused; the job begins from nothing");
        self.keeping.metrics.checkpoint_refused(CheckpointRefused::Read);
        self.keeping.recorder.tell_blocking(work, RecordChange::Restarted { reason });
    }

    /// After a step: saves the state if that is due. Blocks while it is written. The first one of a run is due by the interval alone, because nobody
    /// knows yet what it takes.
    pub fn after_step(&mut self, computation: &dyn Computation, progress: Progress) {
        if checkpoint_due(self.last_at.elapsed(), self.last, self.keeping.interval) {
            self.save(computation, progress);
        }
    }

    /// After a step: saves the state, if the computation has one. Blocks while it is written.
    pub fn save(&mut self, computation: &dyn Computation, progress: Progress) {
        let begun = Instant::now();
        if let Some(state) = computation.save() {
            let saving = begun.elapsed();
            self.last = self.write(progress, &state).map_or(Last::Failed, |writing| Last::Took(saving + writing));
        }
        self.last_at = Instant::now();
    }

    /// Returns what encoding and putting took, without the wait for a store that is behind; `None` when it could not be written.
    fn write(&self, progress: Progress, state: &State) -> Option<Duration> {
        let (keeping, work) = (self.keeping, &self.running.work);
        let begun = Instant::now();
        let bytes = encode(self.identity(), work.attempt, progress, state);
        if bytes.len() > limits::CHECKPOINT_BYTES_MAX {
            keeping.metrics.checkpoint_refused(CheckpointRefused::TooLarge);
            tracing::warn!(job.id = %work.job, bytes = bytes.len(), "the state is too large for a checkpoint; the run goes on without");
            // It would be too large again: no reason to look sooner.
            return Some(begun.elapsed());
        }
        let patience = Duration::from_secs(limits::CHECKPOINT_SECS_MAX);
        let put = async { tokio::time::timeout(patience, keeping.blobs.put(Bytes::from(bytes))).await };
        let why = match keeping.executor.block_on(put) {
            Ok(Ok(blob)) => {
                let took = begun.elapsed();
                keeping.metrics.checkpoint_written(blob.bytes(), took);
                let Progress { done, total } = progress;
                keeping.recorder.tell_blocking(work, RecordChange::Checkpoint { blob, done, total });
                return Some(took);
            }
            Ok(Err(error)) => chain(&error).to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        keeping.metrics.checkpoint_refused(CheckpointRefused::Write);
        tracing::warn!(job.id = %work.job, attempt = work.attempt.0, error = why, "cannot write a checkpoint; the run goes on without");
        None
    }
}
