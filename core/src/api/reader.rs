//! Reading jobs for an answer: record, position and output of one job, from store and blobs, under the policy for requests. It
//! never writes and never caches.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    JobView,
    answer::{Answers, Held, keeping},
};
use crate::{
    blob::{self, Blobs},
    clock::Clock,
    error,
    id::JobId,
    job::State,
    limits,
    problem::Problem,
    retry::{Policy, retry},
    store::{self, JobRecord, Jobs, Payload},
};

/// Reads jobs.
#[derive(Clone)]
pub struct Reader {
    jobs: Arc<dyn Jobs>,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    answers: Answers,
}

impl Reader {
    /// Reads from that store and those blobs; `clock` says which jobs wait for their time, `answers` how much is on its way to callers.
    #[must_use]
    pub fn new(jobs: Arc<dyn Jobs>, blobs: Blobs, clock: Arc<dyn Clock>, answers: Answers) -> Self {
        Self { jobs, blobs, clock, answers }
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
    pub async fn view(&self, record: JobRecord, output: Option<Output>) -> Result<Shown, Problem> {
        let position = match record.state {
            State::Queued => retry(Policy::StoreRequest, || self.jobs.position(record.id)).await?,
            _ => None,
        };
        let mut shown = Shown { view: JobView { position, ..self.show(record) }, room: None };
        match output {
            Some(Output::Text { text, room }) => {
                shown.view.output = Some(raw(shown.view.id, &text)?);
                shown.room = Some(room);
            }
            Some(Output::Large { bytes }) => shown.view.output_bytes = Some(bytes),
            Some(Output::Lost) | None => {}
        }
        Ok(shown)
    }

    /// The output of a job that has one, as far as its view shows it. One that is missing or damaged is logged here.
    ///
    /// # Errors
    /// As `record`; `unavailable` also when other answers hold all the room.
    pub async fn output(&self, job: JobId) -> Result<Output, Problem> {
        match self.payload(job).await? {
            Payload::Inline(text) => self.shown(Bytes::copy_from_slice(text.as_bytes())).await,
            Payload::Blob(blob) if blob.bytes() > limits::VIEW_OUTPUT_BYTES_MAX as u64 => {
                Ok(Output::Large { bytes: blob.bytes() })
            }
            Payload::Blob(blob) => {
                let room = self.answers.for_view(limits::VIEW_OUTPUT_BYTES_MAX).await?;
                match retry::<_, blob::Error, _, _>(Policy::StoreRequest, || self.blobs.get(&blob)).await {
                    Ok(text) => Ok(Output::Text { text, room }),
                    Err(error) => self.lost(job, error).map(|()| Output::Lost),
                }
            }
        }
    }

    /// An output that is in hand already.
    ///
    /// # Errors
    /// `unavailable` when other answers hold all the room.
    pub async fn shown(&self, text: Bytes) -> Result<Output, Problem> {
        let room = self.answers.for_view(text.len()).await?;
        Ok(Output::Text { text, room })
    }

    /// Where the output of a job that has one lies.
    ///
    /// # Errors
    /// As `record`.
    pub async fn payload(&self, job: JobId) -> Result<Payload, Problem> {
        let payload = retry(Policy::StoreRequest, || self.jobs.output(job)).await?;
        payload.ok_or_else(|| Problem::unknown_job(job))
    }

    /// The blobs, and the room for what is read of them for callers.
    #[must_use]
    pub fn blobs(&self) -> (&Blobs, &Answers) {
        (&self.blobs, &self.answers)
    }

    /// Logs an output that is missing or damaged.
    ///
    /// # Errors
    /// When the blob store cannot say that.
    pub fn lost(&self, job: JobId, error: blob::Error) -> Result<(), Problem> {
        match error {
            lost @ (blob::Error::Missing(_) | blob::Error::Damaged(_)) => {
                tracing::error!(job.id = %job, error = %error::chain(&lost), "an output is lost; the job is shown without it");
                Ok(())
            }
            error @ blob::Error::Unavailable(_) => Err(error.into()),
        }
    }
}

/// A job's output as far as its view shows it.
#[derive(Debug)]
pub enum Output {
    /// All of it, as JSON text, and the room that it takes.
    Text {
        /// The text.
        text: Bytes,
        /// Its room.
        room: Held,
    },
    /// It is too large to be shown.
    Large {
        /// How large.
        bytes: u64,
    },
    /// It is missing or damaged: everything else about the job is still true.
    Lost,
}

/// A job's view, and the room that it takes.
#[derive(Debug)]
pub struct Shown {
    /// The view.
    pub view: JobView,
    room: Option<Held>,
}

impl Shown {
    /// The view as JSON text that holds its room until it has been written.
    ///
    /// # Errors
    /// `internal` when it cannot be written as JSON, which its types rule out.
    pub fn into_bytes(self) -> Result<Bytes, Problem> {
        let text = serde_json::to_vec(&self.view).map_err(|error| Problem::internal(&error))?;
        Ok(keeping(text, self.room))
    }
}

fn raw(job: JobId, text: &[u8]) -> Result<Box<RawValue>, Problem> {
    serde_json::from_slice(text).map_err(|source| {
        Problem::internal(&store::Error::Broken { what: "an output is JSON text", source: source.into() }).about(job)
    })
}
