//! Dead jobs: those that ended `failed` and that nobody has dealt with. The seam for looking at them and for dealing with them; what it
//! means to be dead is said here once, for every implementation. It moves no job's state: failed is for ever.

use async_trait::async_trait;

use super::{Error, JobRecord, Page, Payload};
use crate::{
    clock::Timestamp,
    id::{JobId, LaneName, ModelName},
    job::{FailureCode, State},
};

/// Which dead jobs are meant. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Of this model.
    pub model: Option<ModelName>,
    /// In this lane.
    pub lane: Option<LaneName>,
    /// Failed for this reason.
    pub code: Option<FailureCode>,
    /// Failed at this time or later.
    pub failed_since: Option<Timestamp>,
    /// Failed before this time.
    pub failed_until: Option<Timestamp>,
}

/// What became of dropping a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// The job after it.
    pub job: JobRecord,
    /// Whether this call changed anything: the job was dead.
    pub changed: bool,
}

/// Looking at dead jobs, and dropping them. Running one again is a submission (`Acceptance::Replays`).
#[async_trait]
pub trait Dead: Send + Sync {
    /// Dead jobs that match, the newest failure first (by time, then id), at most `page.limit`; `page.before` is a time of failure.
    async fn dead(&self, filter: &DeadFilter, page: Page) -> Result<Vec<JobRecord>, Error>;

    /// Jobs with their inputs, whatever their state. One answer for each, in order; `None` when there is no such job.
    async fn with_inputs(&self, jobs: &[JobId]) -> Result<Vec<Option<(JobRecord, Payload)>>, Error>;

    /// Marks dead jobs as dropped, in one transaction; others stay as they are. One answer for each, in order; `None` when there is no
    /// such job.
    async fn drop_dead(&self, jobs: &[JobId]) -> Result<Vec<Option<Dropped>>, Error>;
}

impl JobRecord {
    /// Whether it failed and nobody has run it again or dropped it.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state == State::Failed && self.retried_by.is_none() && self.dropped_at.is_none()
    }
}
