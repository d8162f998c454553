//! The store seam: the truth about jobs. Its traits are cut by role, so that a service holds only what it needs. Every call that
//! writes takes a group and is one transaction: all of it is committed, or none. The store reads its own clock (database
//! time); no caller passes a time for "now".
//!
//! `tests/contract` states what every implementation does; two dialects of SQL, one behaviour.

pub mod dead;
mod decide;
pub mod group;
mod lost;
pub mod postgres;
mod recorded;
pub mod records;
mod rows;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;

pub use dead::{Dead, DeadFilter, Dropped};
pub use lost::Lost;
pub use recorded::{Checkpoint, Record, RecordChange, Recorded};
pub use records::{
    Acceptance, Cancelled, Claim, Claimed, Counts, DueJob, Extended, JobFilter, JobRecord, Lease, NewJob, Page, Payload,
    Publication, Rescued, Skip, Start, Submitted, Work,
};

use crate::{
    error::{Classified, Transience},
    id::{EventSeq, JobId, LaneName, WorkerId},
    job::Event,
    limits,
};

/// Why a store call failed. Nothing of the call has happened, with one exception: an `Unavailable` whose connection was lost in the middle
/// of a commit may have happened. Repeating doubles no job, result or end: a submission is found by the id that it was given, a claim is
/// held (and swept when its lease is over), an end is fenced. Progress and pieces of output may be told twice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Locked by another process, out of connections, or not reachable: may pass.
    #[error("the store is busy or not reachable")]
    Unavailable(#[source] Source),
    /// The disk is full. Passes when somebody makes room.
    #[error("the store's disk is full")]
    Full(#[source] Source),
    /// The database cannot be written: read-only file, folder or file system.
    #[error("the store is read-only")]
    ReadOnly(#[source] Source),
    /// The database file is damaged or is not a database.
    #[error("the store's database is damaged")]
    Corrupt(#[source] Source),
    /// The database was written by a version that this one does not know.
    #[error("the store has schema version {found}, this program knows up to {known}")]
    SchemaUnknown {
        /// What the database says.
        found: i64,
        /// The newest migration of this program.
        known: i64,
    },
    /// The database was written by an older version, or by none.
    #[error("the store has schema version {found}, this program needs {needed}: run `siding migrate`")]
    SchemaOld {
        /// What the database says; 0 when it is empty.
        found: i64,
        /// The newest migration of this program.
        needed: i64,
    },
    /// A row does not hold what the schema promises, or a statement is wrong: a defect of ours.
    #[error("the store broke its contract: {what}")]
    Broken {
        /// Which promise.
        what: &'static str,
        /// What the database said.
        #[source]
        source: Source,
    },
}

/// A cause, whatever its type.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// A broken promise of the schema or of a statement.
    fn broken(what: &'static str, source: impl Into<Source>) -> Self {
        Self::Broken { what, source: source.into() }
    }
}

impl Classified for Error {
    fn transience(&self) -> Transience {
        match self {
            Self::Unavailable(_) | Self::Full(_) => Transience::Transient,
            Self::ReadOnly(_) | Self::Corrupt(_) | Self::SchemaUnknown { .. } | Self::SchemaOld { .. } | Self::Broken { .. } => {
                Transience::Permanent
            }
        }
    }
}

/// Accepting jobs and what callers ask of them.
#[async_trait]
pub trait Submissions: Send + Sync {
    /// Inserts the jobs with their `queued` events, in one transaction. One answer for each, in order. A job whose id or idempotency key
    /// is taken changes nothing: the first job stands (`Existing` or, with another fingerprint, `Mismatch`), and `acceptance` says what
    /// a mismatch means for the others.
    async fn submit_as(&self, jobs: Vec<NewJob>, acceptance: Acceptance) -> Result<Vec<Submitted>, Error>;

    /// As `submit_as`, each job for itself.
    async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, Error> {
        self.submit_as(jobs, Acceptance::Each).await
    }

    /// Asks for the jobs' end: a queued job is canceled at once, a running one becomes `cancelling`, a finished one stays. One
    /// answer for each, in order; `None` when there is no such job.
    async fn cancel(&self, jobs: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error>;
}

/// Reading jobs.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// The job, without input and output.
    async fn get(&self, job: JobId) -> Result<Option<JobRecord>, Error>;

    /// The job's input; `None` when there is no such job.
    async fn input(&self, job: JobId) -> Result<Option<Payload>, Error>;

    /// The job's output; `None` when there is no such job or it has none.
    async fn output(&self, job: JobId) -> Result<Option<Payload>, Error>;

    /// Jobs that match, newest first, at most `page.limit`.
    async fn list(&self, filter: &JobFilter, page: Page) -> Result<Vec<JobRecord>, Error>;

    /// How many due queued jobs of the same lane stand before this queued job; `None` when it is not queued.
    async fn position(&self, job: JobId) -> Result<Option<u64>, Error>;

    /// Jobs by lane and state, for `/v1/lanes` and metrics. Finished jobs are not counted.
    async fn counts(&self) -> Result<Vec<Counts>, Error>;
}

/// What is due and not yet published: the job rows as their own outbox.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Due, queued and unpublished jobs of all lanes but `except`, the longest due first, at most `limit`.
    async fn due(&self, limit: usize, except: &[LaneName]) -> Result<Vec<DueJob>, Error>;

    /// Marks these publications as confirmed. One whose job has moved on since (another attempt, another state) or is not due is
    /// ignored.
    async fn mark_published(&self, published: &[Publication]) -> Result<(), Error>;

    /// How many queued jobs are due and unpublished, counted up to `limit`.
    async fn backlog(&self, limit: usize) -> Result<usize, Error>;

    /// How long until the next queued, unpublished job becomes due; those that are due already do not count. `None` when there is
    /// none.
    async fn next_due_in(&self) -> Result<Option<Duration>, Error>;

    /// The broker has lost messages: the queued jobs that they were for count as unpublished again. Returns how many. A job that is forgotten and
    /// whose message is there after all is published twice; the claim absorbs the duplicate.
    /// It may go in several transactions: what was forgotten before an error stays forgotten, and a job that somebody else holds at this
    /// moment may be left out. A call that is repeated goes on with what is left.
    async fn forget_published(&self, lost: &Lost) -> Result<u64, Error>;
}

/// Attempts: claiming, keeping, recording, rescuing.
#[async_trait]
pub trait Attempts: Send + Sync {
    /// Claims jobs for `worker`, each as its job's next attempt, under a lease from now; returns their inputs. One answer for
    /// each, in order. A start deadline that has passed expires the job here; attempts that are spent fail it here. A job that is not
    /// due counts as unpublished again: its message is used up.
    async fn claim(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error>;

    /// Extends the leases from now, in one statement. One answer for each, in order.
    async fn extend(&self, worker: WorkerId, leases: &[Lease]) -> Result<Vec<Extended>, Error>;

    /// Records what attempts did, each under its fence, with one event each. One answer for each, in order. Several records of
    /// one attempt may stand in one group; they are applied in order.
    async fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, Error>;

    /// Requeues (or ends) running jobs whose lease is over and expires queued jobs whose start deadline has passed; at most
    /// `limit` of each. A lost attempt counts as failed.
    async fn sweep(&self, limit: usize) -> Result<Vec<Rescued>, Error>;

    /// Ends every lease now: the caller knows that no worker of this store is alive. The next `sweep` finds the jobs. Returns
    /// how many.
    async fn end_all_leases(&self) -> Result<u64, Error>;
}

/// Reading events.
#[async_trait]
pub trait Feed: Send + Sync {
    /// The job's events after `after`, in order, at most `limit`. Empty when there are none or there is no such job.
    async fn events(&self, job: JobId, after: EventSeq, limit: usize) -> Result<Vec<Event>, Error>;

    /// The terminal event of each job, in order; `None` for one that has none or does not exist. One statement where the
    /// implementation can; this one pages through every job's events.
    async fn ended(&self, jobs: &[JobId]) -> Result<Vec<Option<Event>>, Error> {
        let mut ended = Vec::with_capacity(jobs.len());
        for &job in jobs {
            let mut after = EventSeq::default();
            ended.push(loop {
                let Some(last) = self.events(job, after, limits::EVENTS_PAGE_MAX).await?.pop() else { break None };
                if last.kind.is_terminal() {
                    break Some(last);
                }
                after = last.seq;
            });
        }
        Ok(ended)
    }
}
