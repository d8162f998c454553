//! What is asked for: one job, or many in one request. It decides the fields of a submission, once for both, and how many jobs one request
//! may name; whether a job can be accepted is not its to say.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{JobView, Rfc3339};
use crate::{
    id::{IdempotencyKey, JobId, ModelName, ModelVersion},
    limits,
    problem::Problem,
};

/// A submission's fields, and those that it has besides.
macro_rules! submission {
    ($(#[$doc:meta])* pub struct $name:ident { $($besides:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($besides)*
            /// The model to run.
            #[schema(value_type = String)]
            pub model: ModelName,
            /// Its version; the newest when absent. The job keeps the version it was accepted with.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(value_type = Option<String>)]
            pub version: Option<ModelVersion>,
            /// The model's input: an object whose form the model defines (`GET /v1/models/{name}`).
            #[schema(value_type = Object)]
            pub input: Box<RawValue>,
            /// How long one run is expected to take, in milliseconds. Picks the lane; without it the model's cost profile does.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub expected_ms: Option<u64>,
            /// How long after its acceptance the job is due, in milliseconds.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub delay_ms: Option<u64>,
            /// When the job is due, as RFC 3339 (`2026-12-01T08:00:00Z`), at most 30 days ahead; at once when that has passed. Not beside
            /// `delay_ms`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(value_type = Option<String>, format = DateTime)]
            pub start_at: Option<Rfc3339>,
            /// How long after it is due the job may still be started, in milliseconds; then it expires.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub start_deadline_ms: Option<u64>,
            /// How long one attempt may run, in milliseconds; the lane's `run_timeout_ms` when absent.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub run_timeout_ms: Option<u64>,
            /// How long one step of a run that has several may take, in milliseconds; the lane's `stall_timeout_ms` when absent.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub stall_timeout_ms: Option<u64>,
            /// How many attempts may fail before the job does.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub attempts_max: Option<u32>,
        }
    };
}

submission! {
    /// A submission: the body of `POST /v1/jobs` and `PUT /v1/jobs/{id}`.
    pub struct SubmitRequest {}
}

submission! {
    /// One job of a batch: a submission with its own id or key, which the request for a single job has elsewhere.
    pub struct BatchItem {
        /// The job's id, a UUID: a repeat under this id is the same job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>, format = Uuid)]
        pub id: Option<JobId>,
        /// The job's own idempotency key; not beside `id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        pub idempotency_key: Option<IdempotencyKey>,
    }
}

impl BatchItem {
    /// The submission, without id and key.
    #[must_use]
    pub fn into_request(self) -> SubmitRequest {
        SubmitRequest {
            model: self.model,
            version: self.version,
            input: self.input,
            expected_ms: self.expected_ms,
            delay_ms: self.delay_ms,
            start_at: self.start_at,
            start_deadline_ms: self.start_deadline_ms,
            run_timeout_ms: self.run_timeout_ms,
            stall_timeout_ms: self.stall_timeout_ms,
            attempts_max: self.attempts_max,
        }
    }
}

/// The body of `POST /v1/jobs:batch`. Its jobs are read one by one, so that one that is wrong hinders no other.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// The jobs, 1 to 1000.
    #[serde(borrow, deserialize_with = "texts")]
    #[schema(value_type = Vec<BatchItem>)]
    pub jobs: Vec<&'a RawValue>,
    /// Whether all of them are to be accepted or none; `false` when absent.
    #[serde(default)]
    pub atomic: bool,
}

/// The texts of the jobs. Reading stops behind the last that a batch may have, before more of them cost memory.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'de RawValue>, D::Error> {
    struct Texts;

    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an array of 1 to {} jobs", limits::BATCH_JOBS_MAX)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = seq.next_element()? {
                if texts.len() == limits::BATCH_JOBS_MAX {
                    return Err(serde::de::Error::invalid_length(texts.len() + 1, &self));
                }
                texts.push(text);
            }
            if texts.is_empty() { Err(serde::de::Error::invalid_length(0, &self)) } else { Ok(texts) }
        }
    }

    deserializer.deserialize_seq(Texts)
}

/// The answer to a batch: what became of each job, in the order of the request.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BatchAnswer {
    /// How many were accepted by this request.
    pub accepted: usize,
    /// How many had been accepted before.
    pub existing: usize,
    /// How many were refused.
    pub refused: usize,
    /// One for each job of the request, in its order.
    pub jobs: Vec<BatchOutcome>,
}

/// What became of one job of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BatchOutcome {
    /// In a word.
    pub status: BatchStatus,
    /// The job as it stands; absent exactly when it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    /// Why it was refused. Its pointers begin at the request's body: `/jobs/17/model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What became of one job of a batch, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// It was accepted, and is durable.
    Accepted,
    /// It was accepted before, under the same id or key: the job as it stands now.
    Existing,
    /// It was not accepted; nothing of it was written.
    Refused,
}

impl BatchAnswer {
    /// The answer with these outcomes.
    #[must_use]
    pub fn new(jobs: Vec<BatchOutcome>) -> Self {
        let count = |status| jobs.iter().filter(|outcome| outcome.status == status).count();
        Self {
            accepted: count(BatchStatus::Accepted),
            existing: count(BatchStatus::Existing),
            refused: count(BatchStatus::Refused),
            jobs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::json,
        problem::{Code, WrongValue},
    };

    #[test]
    fn the_answer_to_a_batch_looks_like_this_for_ever() {
        let problem = Problem::new(Code::InvalidInput, "It does not fit.")
            .with_errors(vec![WrongValue { pointer: "/jobs/0/input".into(), detail: "no".into() }]);
        let outcome = BatchOutcome { status: BatchStatus::Refused, job: None, problem: Some(problem) };
        let golden = concat!(
            r#"{"accepted":0,"existing":0,"refused":1,"jobs":[{"status":"refused","problem":{"type":"/problems/invalid_input","#,
            r#""title":"The request is well-formed but a value does not fit","status":422,"detail":"It does not fit.","#,
            r#""code":"invalid_input","retryable":false,"errors":[{"pointer":"/jobs/0/input","detail":"no"}]}}]}"#
        );
        assert_eq!(serde_json::to_string(&BatchAnswer::new(vec![outcome])).expect("json"), golden);
    }

    #[test]
    fn a_batch_is_read_without_looking_into_its_jobs_and_no_further_than_it_may_be_long() {
        let of = |count: usize| format!(r#"{{"jobs":[{}]}}"#, vec!["{}"; count].join(","));
        let endless = format!(r#"{{"jobs":[{}"#, "1,".repeat(1_000_000));
        let rows = [
            (of(1), Ok(1)),
            (of(limits::BATCH_JOBS_MAX), Ok(limits::BATCH_JOBS_MAX)),
            (r#"{"jobs":[7,{"x":1,"x":1},null],"atomic":true}"#.into(), Ok(3)),
            (of(0), Err((Code::InvalidRequest, "/jobs"))),
            (of(limits::BATCH_JOBS_MAX + 1), Err((Code::InvalidRequest, "/jobs"))),
            (endless, Err((Code::InvalidRequest, "/jobs"))),
            ("{}".into(), Err((Code::InvalidRequest, ""))),
            ("[]".into(), Err((Code::InvalidRequest, ""))),
            (r#"{"jobs":{}}"#.into(), Err((Code::InvalidRequest, "/jobs"))),
            (r#"{"jobs":[{}],"jobs":[{}]}"#.into(), Err((Code::InvalidRequest, ""))),
            (r#"{"jobs":[{}],"atomic":1}"#.into(), Err((Code::InvalidRequest, "/atomic"))),
            (r#"{"jobs":[{}],"whole":true}"#.into(), Err((Code::InvalidRequest, "/whole"))),
            (r#"{"jobs":[{]}"#.into(), Err((Code::MalformedJson, ""))),
            (r#"{"jobs":[{}]} x"#.into(), Err((Code::MalformedJson, ""))),
            (r#"{"jobs":[{}]"#.into(), Err((Code::MalformedJson, ""))),
        ];
        for (body, expected) in rows {
            let read = json::parse_shell::<BatchRequest<'_>>(body.as_bytes()).map(|batch| batch.jobs.len());
            let found =
                read.map_err(|problem| (problem.code, problem.errors.first().map_or(String::new(), |at| at.pointer.clone())));
            assert_eq!(found, expected.map_err(|(code, pointer)| (code, pointer.to_owned())), "{:.60}", body);
        }
    }
}
