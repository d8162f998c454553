//! Reading jobs for an answer: record, position and output of one job, from store and blobs, under the policy for requests. It
//! never writes and never caches.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::JobView;
use crate::{
    blob::{self, Blobs},
    clock::Clock,
    error,
    id::JobId,
    job::State,
    problem::{Code, Problem},
    retry::{Policy, retry},
    store::{self, JobRecord, Jobs},
};

/// Reads jobs.
#[derive(Clone)]
pub struct Reader {
    jobs: Arc<dyn Jobs>,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
}

impl Reader {
    /// Reads from that store and those blobs; `clock` says which jobs wait for their time.
    #[must_use]
    pub fn new(jobs: Arc<dyn Jobs>, blobs: Blobs, clock: Arc<dyn Clock>) -> Self {
        Self { jobs, blobs, clock }
    }

    /// The store's own reading side.
    #[must_use]
    pub fn jobs(&self) -> &Arc<dyn Jobs> {
        &self.jobs
    }

    /// The job as it is stored.
    ///
    /// # Errors
    /// `unknown_job`; `unavailable` or `internal` when the store fails.
    pub async fn record(&self, job: JobId) -> Result<JobRecord, Problem> {
        let found = retry(Policy::StoreRequest, || self.jobs.get(job)).await?;
        found.ok_or_else(|| Problem::unknown_job(job))
    }

    /// The view of a job as it stands now, without its position and output.
    #[must_use]
    pub fn show(&self, record: JobRecord) -> JobView {
        JobView::new(record, self.clock.now())
    }

    /// The whole view of a job: with its position while it is queued, and with its output once it has one. An output that is
    /// missing or damaged is left out: everything else about the job is still true.
    ///
    /// # Errors
    /// As `record`.
    pub async fn view(&self, record: JobRecord) -> Result<JobView, Problem> {
        let position = match record.state {
            State::Queued => retry(Policy::StoreRequest, || self.jobs.position(record.id)).await?,
            _ => None,
        };
        let output = match record.has_output {
            true => self.load(record.id).await?,
            false => None,
        };
        Ok(JobView { position, output, ..self.show(record) })
    }

    /// The output of a job that has one.
    ///
    /// # Errors
    /// As `record`; `internal` also for an output that is missing or damaged.
    pub async fn output(&self, job: JobId) -> Result<Box<RawValue>, Problem> {
        let lost = || {
            Problem::new(
                Code::Internal,
                "The job has succeeded, but its output is missing or damaged in the service's blob store.",
            )
        };
        self.load(job).await?.ok_or_else(|| lost().about(job))
    }

    /// `None` for an output that is missing or damaged, which is logged here.
    async fn load(&self, job: JobId) -> Result<Option<Box<RawValue>>, Problem> {
        let payload = retry(Policy::StoreRequest, || self.jobs.output(job)).await?;
        let payload = payload.ok_or_else(|| Problem::unknown_job(job))?;
        let text = match retry::<_, blob::Error, _, _>(Policy::StoreRequest, || self.blobs.load_text(&payload)).await {
            Ok(text) => text,
            Err(lost @ (blob::Error::Missing(_) | blob::Error::Damaged(_))) => {
                tracing::error!(job.id = %job, error = %error::chain(&lost), "an output is lost; the job is shown without it");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let output = RawValue::from_string(text.to_string()).map_err(|source| {
            Problem::internal(&store::Error::Broken { what: "an output is JSON text", source: source.into() }).about(job)
        })?;
        Ok(Some(output))
    }
}
