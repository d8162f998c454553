//! Jobs as a caller sees them, and what a caller asks for. Words that this version does not know become `Unknown`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::Error;

/// Names one job for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id, for [`Submission::with_id`].
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

/// A text that is no job id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job id is a UUID written as 8-4-4-4-12 hexadecimal digits")]
pub struct InvalidJobId;

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
            _ => Err(InvalidJobId),
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Accepted; waits for its time, its turn or a worker.
    Queued,
    /// A worker runs it.
    Running,
    /// Running, and told to stop.
    Cancelling,
    /// Ended with a result.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended by the caller.
    Canceled,
    /// Not started before its start deadline.
    Expired,
    /// A word that this client does not know; not known to be an end.
    #[serde(other)]
    Unknown,
}

impl State {
    /// Whether the job never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Expired)
    }

    /// The word that the interface uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long one run is expected to take, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Estimate {
    /// Half of such runs take at most this long.
    pub p50_ms: f64,
    /// Nine of ten take at most this long.
    pub p90_ms: f64,
    /// Where the numbers come from, for example `hint` or `manifest`.
    #[serde(default)]
    pub source: String,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The word to branch on.
    pub code: String,
    /// One sentence for a person.
    #[serde(default)]
    pub message: String,
}

/// Where a job's parts are found: paths on the same server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Urls {
    /// The job.
    #[serde(rename = "self")]
    pub job: String,
    /// Its events.
    pub events: String,
    /// Its output.
    pub result: String,
    /// Where to cancel it.
    pub cancel: String,
}

/// A job. Times are milliseconds since the Unix epoch by the server's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Where it stands.
    pub state: State,
    /// Whether it is queued for a time that has not come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scheduled: bool,
    /// What runs.
    pub model: String,
    /// Which version.
    pub version: String,
    /// Where it waits or has waited.
    pub lane: String,
    /// How long it is expected to run.
    pub estimate: Estimate,
    /// Its newest attempt; 0 before the first.
    #[serde(default)]
    pub attempt: u32,
    /// How many attempts have failed.
    #[serde(default)]
    pub failures: u32,
    /// How many may.
    #[serde(default)]
    pub attempts_max: u32,
    /// When it was accepted.
    pub created_at_ms: i64,
    /// Since when, or from when, it may run.
    pub due_at_ms: i64,
    /// When its newest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at_ms: Option<i64>,
    /// Until when it must have started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline_at_ms: Option<i64>,
    /// How long one attempt may run, in milliseconds.
    #[serde(default)]
    pub run_timeout_ms: u64,
    /// How long one step of it may take, in milliseconds, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout_ms: Option<u64>,
    /// What its cancel met, when it is canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// How many jobs of its lane are due before it, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Its output as JSON text, once it has succeeded. Lists leave it out, and so does the server when it is large:
    /// [`crate::Client::result`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// How large the output is, in bytes of JSON text, when it was left out because of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// The job that this one runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<JobId>,
    /// The newest job that runs this one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_by: Option<JobId>,
    /// When somebody let its failure rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_at_ms: Option<i64>,
    /// Its newest event: a cursor for [`crate::Client::events`].
    #[serde(default)]
    pub event_seq: u64,
    /// Where its parts are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Urls>,
}

/// What a cancel met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cancel {
    /// A word: `queued`, `not_started`, `between_steps`, `inside_run`, `killed`, `given_up`, `other_end`, or a newer one.
    pub met: String,
    /// How much was computed after it was asked for, at most, in milliseconds.
    pub spent_ms: u64,
}

/// What a caller asks for.
///
/// ```
/// # fn main() -> Result<(), siding_client::Error> {
/// use std::time::Duration;
///
/// let submission = siding_client::Submission::new("spin", &serde_json::json!({"iters": {"data": [7]}}))?
///     .expecting(Duration::from_millis(200))
///     .with_attempts_max(1);
/// assert_eq!(submission.model(), "spin");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[must_use]
pub struct Submission {
    #[serde(skip)]
    pub(crate) id: Option<JobId>,
    #[serde(skip)]
    pub(crate) key: Option<String>,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    input: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_deadline_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stall_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_max: Option<u32>,
}

impl Submission {
    /// Asks for one run of `model` on `input`, a JSON object (a [`RawValue`] is sent as it is).
    ///
    /// # Errors
    /// [`Error::Input`] when `input` cannot be written as JSON.
    pub fn new<T: Serialize + ?Sized>(model: impl Into<String>, input: &T) -> Result<Self, Error> {
        Ok(Self {
            id: None,
            key: None,
            model: model.into(),
            version: None,
            input: serde_json::value::to_raw_value(input).map_err(Error::Input)?,
            expected_ms: None,
            delay_ms: None,
            start_at: None,
            start_deadline_ms: None,
            run_timeout_ms: None,
            stall_timeout_ms: None,
            attempts_max: None,
        })
    }

    /// The model's name.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Names the job: submitting the same again under this id answers with the first job, something else is refused.
    pub fn with_id(self, id: JobId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Uses this idempotency key (1 to 255 visible ASCII characters) instead of one made for each call, so that a repeat by
    /// another process is the same job.
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Runs this version instead of the newest.
    pub fn with_version(self, version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), ..self }
    }

    /// Says how long one run is expected to take; it decides the lane.
    pub fn expecting(self, run: Duration) -> Self {
        Self { expected_ms: Some(millis(run)), ..self }
    }

    /// Starts not before this long from now. Replaces a time given before.
    pub fn delayed(self, by: Duration) -> Self {
        Self { delay_ms: Some(millis(by)), start_at: None, ..self }
    }

    /// Starts not before this time, as RFC 3339 (`2026-12-01T08:00:00Z`), which the server checks. Replaces a delay given before.
    pub fn starting_at(self, time: impl Into<String>) -> Self {
        Self { start_at: Some(time.into()), delay_ms: None, ..self }
    }

    /// Expires the job when it has not started this long after it was due.
    pub fn with_start_deadline(self, after_due: Duration) -> Self {
        Self { start_deadline_ms: Some(millis(after_due)), ..self }
    }

    /// Ends an attempt that runs longer.
    pub fn with_run_timeout(self, timeout: Duration) -> Self {
        Self { run_timeout_ms: Some(millis(timeout)), ..self }
    }

    /// Ends an attempt one of whose steps takes longer.
    pub fn with_stall_timeout(self, timeout: Duration) -> Self {
        Self { stall_timeout_ms: Some(millis(timeout)), ..self }
    }

    /// Fails the job after this many failed attempts.
    pub fn with_attempts_max(self, attempts: u32) -> Self {
        Self { attempts_max: Some(attempts), ..self }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_a_newer_server_is_understood() {
        let text = r#"{"id":"0190b7c0-0000-7000-8000-000000000000","state":"paused","model":"m","version":"1","lane":"short",
            "estimate":{"p50_ms":1.5,"p90_ms":2.0,"source":"oracle","p99_ms":9},"created_at_ms":1,"due_at_ms":1,"colour":"red",
            "output":{"y": [1.10]},"urls":{"self":"/a","events":"/b","result":"/c","cancel":"/d","logs":"/e"}}"#;
        let job: Job = serde_json::from_str(text).expect("tolerated");
        assert_eq!(job.state, State::Unknown);
        assert!(!job.state.is_terminal());
        assert_eq!(job.output.expect("kept").get(), r#"{"y": [1.10]}"#, "the output is not re-written");
    }

    #[test]
    fn a_submission_says_only_what_was_asked() {
        let plain = Submission::new("m", &serde_json::json!({"a": 1})).expect("json");
        assert_eq!(serde_json::to_string(&plain).expect("json"), r#"{"model":"m","input":{"a":1}}"#);
        let full = plain
            .with_id(JobId::generate())
            .with_key("k")
            .with_version("2")
            .expecting(Duration::from_millis(5))
            .delayed(Duration::from_secs(1))
            .with_start_deadline(Duration::from_secs(2))
            .with_run_timeout(Duration::from_secs(3))
            .with_stall_timeout(Duration::from_millis(3_500))
            .with_attempts_max(4);
        let expected = r#"{"model":"m","version":"2","input":{"a":1},"expected_ms":5,"delay_ms":1000,"start_deadline_ms":2000,"run_timeout_ms":3000,"stall_timeout_ms":3500,"attempts_max":4}"#;
        assert_eq!(serde_json::to_string(&full).expect("json"), expected);
        let scheduled = full.starting_at("2026-12-01T08:00:00Z");
        let expected = expected.replace(r#""delay_ms":1000"#, r#""start_at":"2026-12-01T08:00:00Z""#);
        assert_eq!(serde_json::to_string(&scheduled).expect("json"), expected, "one of both");
    }
}
