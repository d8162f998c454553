//! Reading jobs for an answer: record, position and output of one job, from store and blobs, under the policy for requests. It
//! never writes and never caches.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::JobView;
use crate::{
    blob::{self, Blobs},
    clock::Clock,
    error,
    id::JobId,
    job::State,
    problem::Problem,
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

    /// The whole view of a job: with its position while it is queued, and with `output` once it has one.
    ///
    /// # Errors
    /// As `record`.
    pub async fn view(&self, record: JobRecord, output: Option<Output>) -> Result<JobView, Problem> {
        let position = match record.state {
            State::Queued => retry(Policy::StoreRequest, || self.jobs.position(record.id)).await?,
            _ => None,
        };
        let output = match output {
            Some(Output::Text(text)) => Some(raw(record.id, &text)?),
            Some(Output::Lost) | None => None,
        };
        Ok(JobView { position, output, ..self.show(record) })
    }

    /// The output of a job that has one. One that is missing or damaged is logged here.
    ///
    /// # Errors
    /// As `record`.
    pub async fn output(&self, job: JobId) -> Result<Output, Problem> {
        let payload = retry(Policy::StoreRequest, || self.jobs.output(job)).await?;
        let payload = payload.ok_or_else(|| Problem::unknown_job(job))?;
        match retry::<_, blob::Error, _, _>(Policy::StoreRequest, || self.blobs.load_text(&payload)).await {
            Ok(text) => Ok(Output::Text(Bytes::copy_from_slice(text.as_bytes()))),
            Err(lost @ (blob::Error::Missing(_) | blob::Error::Damaged(_))) => {
                tracing::error!(job.id = %job, error = %error::chain(&lost), "an output is lost; the job is shown without it");
                Ok(Output::Lost)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A job's output as far as it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// All of it, as JSON text.
    Text(Bytes),
    /// It is missing or damaged: everything else about the job is still true.
    Lost,
}

fn raw(job: JobId, text: &[u8]) -> Result<Box<RawValue>, Problem> {
    serde_json::from_slice(text).map_err(|source| {
        Problem::internal(&store::Error::Broken { what: "an output is JSON text", source: source.into() }).about(job)
    })
}
