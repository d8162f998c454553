//! Many jobs in one request, and what became of each. It decides the form of the request; how long a batch may be and what is wrong with
//! a job is the server's to say.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    error::{Error, Problem},
    job::{Job, JobId, Submission},
};

/// Jobs for one request: at most 1000, and at most 16 MiB.
///
/// ```no_run
/// # async fn example(client: siding_client::Client) -> Result<(), siding_client::Error> {
/// use siding_client::{Batch, Submission};
///
/// let echo = |value: u32| Submission::new("echo", &serde_json::json!({"value": value}));
/// let batch = Batch::new([echo(1)?, echo(2)?])?.with_key("order-17");
/// for outcome in client.submit_all(&batch).await? {
///     match outcome.into_result() {
///         Ok(job) => println!("{} {}", job.id, job.state),
///         Err(problem) => println!("refused: {problem}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Batch {
    jobs: Vec<Box<RawValue>>,
    pub(crate) key: Option<String>,
    atomic: bool,
}

/// One job as a batch writes it.
#[derive(Serialize)]
struct Item<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(flatten)]
    submission: &'a Submission,
}

#[derive(Serialize)]
struct Body<'a> {
    jobs: &'a [Box<RawValue>],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    atomic: bool,
}

impl Batch {
    /// A batch of these jobs. A job with an id is sent without its key.
    ///
    /// # Errors
    /// [`Error::Input`] when a submission cannot be written as JSON.
    pub fn new(jobs: impl IntoIterator<Item = Submission>) -> Result<Self, Error> {
        let write = |submission: Submission| {
            let idempotency_key = submission.key.as_deref().filter(|_| submission.id.is_none());
            to_raw_value(&Item { id: submission.id, idempotency_key, submission: &submission }).map_err(Error::Input)
        };
        Ok(Self::of_json(jobs.into_iter().map(write).collect::<Result<_, _>>()?))
    }

    /// A batch of jobs that are JSON objects already, each as `POST /v1/jobs` takes it, with an `id` or `idempotency_key` if it has one.
    pub fn of_json(jobs: Vec<Box<RawValue>>) -> Self {
        Self { jobs, key: None, atomic: false }
    }

    /// Uses this idempotency key instead of one made for each call: a repeat of the batch by another process makes no second job.
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Accepts all of the jobs or none.
    pub fn atomic(self) -> Self {
        Self { atomic: true, ..self }
    }

    pub(crate) fn to_body(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(&Body { jobs: &self.jobs, atomic: self.atomic }).map_err(Error::Input)
    }
}

/// What became of one job of a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// In a word.
    pub status: OutcomeStatus,
    /// The job as it stands, unless it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Why it was refused; its pointers begin at the batch: `/jobs/17/model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What became of one job of a batch, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutcomeStatus {
    /// Accepted by this call.
    Accepted,
    /// Accepted before, under the same id or key.
    Existing,
    /// Not accepted.
    Refused,
    /// A word that this client does not know.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// The job, or why there is none.
    ///
    /// # Errors
    /// The server's refusal; an empty one, when it gave neither.
    pub fn into_result(self) -> Result<Job, Problem> {
        self.job.ok_or_else(|| self.problem.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_says_of_each_job_what_was_asked_and_under_which_name() {
        let submission = || Submission::new("m", &serde_json::json!({"a": 1})).expect("json");
        let id: JobId = "0190b7c0-0000-7000-8000-000000000000".parse().expect("a UUID");
        let jobs = [submission(), submission().with_key("k").with_attempts_max(1), submission().with_key("k").with_id(id)];
        let batch = Batch::new(jobs).expect("json");
        let plain = r#"{"model":"m","input":{"a":1}}"#;
        let expected = format!(
            r#"{{"jobs":[{plain},{{"idempotency_key":"k","model":"m","input":{{"a":1}},"attempts_max":1}},{{"id":"{id}","model":"m","input":{{"a":1}}}}]}}"#
        );
        assert_eq!(String::from_utf8(batch.to_body().expect("json")).expect("UTF-8"), expected);
        let atomic = Batch::new([submission()]).expect("json").atomic();
        assert_eq!(atomic.to_body().expect("json"), format!(r#"{{"jobs":[{plain}],"atomic":true}}"#).into_bytes());
    }
}
