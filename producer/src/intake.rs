//! Intake: what the HTTP layer needs of the submitter, as a seam, so that routes are tested without a store. It decides nothing.

use async_trait::async_trait;
use siding_core::{id::JobId, store::Cancelled};

use crate::submit::{Accepted, Batch, Deal, Dealt, Refusal, Submission};

/// Accepts jobs and what callers ask of them.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Accepts a job; durable when it returns.
    ///
    /// # Errors
    /// `Refusal`; nothing has happened.
    async fn submit(&self, submission: Submission) -> Result<Accepted, Refusal>;

    /// Accepts many jobs in one transaction; durable when it returns. One answer for each, in order.
    ///
    /// # Errors
    /// `Refusal::InFlight`, `Refusal::Busy`, `Refusal::Unavailable` and `Refusal::Internal` for the whole batch; nothing has happened.
    async fn submit_batch(&self, batch: Batch) -> Result<Vec<Result<Accepted, Refusal>>, Refusal>;

    /// Asks for a job's end.
    ///
    /// # Errors
    /// `Refusal::UnknownJob`, `Refusal::Busy`, `Refusal::Unavailable`, `Refusal::Internal`.
    async fn cancel(&self, job: JobId) -> Result<Cancelled, Refusal>;

    /// Runs a finished job again, as a new job that names it.
    ///
    /// # Errors
    /// `Refusal::UnknownJob`, `Refusal::NotFinished` and those of `submit`.
    async fn retry(&self, job: JobId) -> Result<Accepted, Refusal>;

    /// Runs dead jobs again or drops them, in groups; a group is one transaction. Safe to repeat: a job that was dealt with is not dead.
    /// When a group fails after others have succeeded, the answer tells what was done, and that there is more.
    ///
    /// # Errors
    /// `Refusal::Unavailable`, `Refusal::Internal`; nothing has happened.
    async fn deal_with_dead(&self, deal: Deal) -> Result<Dealt, Refusal>;
}
