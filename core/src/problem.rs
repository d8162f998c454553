//! Problems: every error answer of `/v1`, in the form of RFC 9457 (`application/problem+json`). It decides what a caller is told,
//! never what has happened: texts come from typed errors, and no cause (host, SQL, path) ever reaches a field of `Problem`.
//! Turning an inner error into a `Problem` is the one place where its chain is logged.

pub mod code;

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

pub use code::Code;

use crate::{
    blob,
    error::{self, Classified},
    id::{Invalid, JobId},
    job::Failure,
    store,
    tensor::InputProblem,
};

/// The media type of an error answer.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// One error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// Names the code's page, relative to the service: `/problems/<code>`.
    #[serde(rename = "type")]
    pub type_ref: String,
    /// What the code means, in a few words; always the same for one code.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
    /// What to branch on.
    pub code: Code,
    /// Whether to repeat the very same request, after `Retry-After` where it is given.
    pub retryable: bool,
    /// The job that the answer is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub job_id: Option<JobId>,
    /// Each wrong value of the request body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<WrongValue>,
    /// Why the job that the answer is about failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When to come back; the `Retry-After` header.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One wrong value of a request body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WrongValue {
    /// JSON pointer (RFC 6901) into the request body.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Problem {
    /// An answer of that code; `detail` is one sentence for the caller, who reads it alone.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let facts = code.facts();
        Self {
            type_ref: format!("/problems/{code}"),
            title: facts.title.to_owned(),
            status: facts.status.as_u16(),
            detail: detail.into(),
            code,
            retryable: facts.retryable,
            job_id: None,
            errors: Vec::new(),
            failure: None,
            retry_after: None,
        }
    }

    /// The answer to a call that failed inside: says nothing, and logs the chain.
    #[must_use]
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error::chain(cause), "a request failed inside; the caller was told only that");
        Self::new(Code::Internal, "The request failed inside the service. The cause is in the service's log.")
    }

    /// The answer to a call that the service cannot serve for a moment.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(Code::Unavailable, detail).after(retry_after)
    }

    /// The answer about a job that does not exist.
    #[must_use]
    pub fn unknown_job(job: JobId) -> Self {
        Self::new(Code::UnknownJob, format!("There is no job {job}.")).about(job)
    }

    /// Names the job.
    #[must_use]
    pub fn about(mut self, job: JobId) -> Self {
        self.job_id = Some(job);
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Names the wrong values of the body.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<WrongValue>) -> Self {
        self.errors = errors;
        self
    }

    /// Says why the job failed.
    #[must_use]
    pub fn with_failure(mut self, failure: Option<Failure>) -> Self {
        self.failure = failure;
        self
    }
}

impl From<InputProblem> for WrongValue {
    fn from(problem: InputProblem) -> Self {
        Self { pointer: problem.pointer, detail: problem.detail }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::new(Code::InvalidRequest, sentence(&invalid.to_string()))
    }
}

/// How long a caller is asked to wait for a store or blob store that does not answer, and for a disk to be freed.
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);
const RETRY_AFTER_FULL: Duration = Duration::from_secs(30);

impl From<store::Error> for Problem {
    /// Logs the chain.
    fn from(cause: store::Error) -> Self {
        let wait = match &cause {
            store::Error::Unavailable(_) => RETRY_AFTER_BUSY,
            store::Error::Full(_) => RETRY_AFTER_FULL,
            store::Error::ReadOnly(_)
            | store::Error::Corrupt(_)
            | store::Error::SchemaUnknown { .. }
            | store::Error::SchemaOld { .. }
            | store::Error::Broken { .. } => {
                return Self::internal(&cause);
            }
        };
        tracing::warn!(error = %error::chain(&cause), "a request was refused because the store cannot serve it now");
        Self::unavailable("The store cannot answer at the moment; nothing has changed.", wait)
    }
}

impl From<blob::Error> for Problem {
    /// Logs the chain.
    fn from(cause: blob::Error) -> Self {
        if !cause.is_transient() {
            return Self::internal(&cause);
        }
        tracing::warn!(error = %error::chain(&cause), "a request was refused because the blob store cannot serve it now");
        Self::unavailable("The blob store cannot answer at the moment; nothing has changed.", RETRY_AFTER_BUSY)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it comes from a code's facts");
        let body = serde_json::to_vec(&self).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            // Rounded up: a caller that comes back in time must not come back early.
            let secs = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(&secs.to_string()).expect("digits"));
        }
        response
    }
}

/// The text of an error as a sentence for a caller.
#[must_use]
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    let mut sentence: String = first.chain(chars).collect();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

/// Answers unknown paths and wrong methods of `router` with problems. For the binary, once all routes are merged.
pub fn with_fallbacks(router: Router) -> Router {
    router.fallback(unknown_path).method_not_allowed_fallback(wrong_method)
}

async fn unknown_path(uri: Uri) -> Problem {
    // The caller's own text, cut so that the answer stays small.
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(Code::UnknownPath, format!("There is nothing at {path}. The routes are in /openapi.json."))
}

async fn wrong_method(method: Method) -> Problem {
    // As above: a method may be any word.
    let method: String = method.as_str().chars().take(20).collect();
    Problem::new(Code::WrongMethod, format!("This resource has no method {method}; the Allow header names those it has."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_looks_like_this_for_ever() {
        let job: JobId = "0190b7c0-0000-7000-8000-000000000001".parse().expect("uuid");
        let problem = Problem::new(Code::InvalidInput, "The input does not fit model spin.")
            .about(job)
            .with_errors(vec![WrongValue { pointer: "/input/n".into(), detail: "must be a number".into() }])
            .after(Duration::from_millis(1500));
        let golden = concat!(
            r#"{"type":"/problems/invalid_input","title":"The request is well-formed but a value does not fit","status":422,"#,
            r#""detail":"The input does not fit model spin.","code":"invalid_input","retryable":false,"#,
            r#""job_id":"0190b7c0-0000-7000-8000-000000000001","errors":[{"pointer":"/input/n","detail":"must be a number"}]}"#
        );
        assert_eq!(serde_json::to_string(&problem).expect("json"), golden);
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2", "rounded up");
    }

    #[test]
    fn no_cause_reaches_a_caller() {
        let secret = || -> store::Source { "/var/lib/siding.sqlite: SELECT * FROM jobs on host db7".into() };
        let rows = [
            (Problem::from(store::Error::Unavailable(secret())), Code::Unavailable),
            (Problem::from(store::Error::Full(secret())), Code::Unavailable),
            (Problem::from(store::Error::ReadOnly(secret())), Code::Internal),
            (Problem::from(store::Error::Broken { what: "a promise", source: secret() }), Code::Internal),
        ];
        for (problem, code) in rows {
            assert_eq!(problem.code, code);
            assert_eq!(problem.retry_after.is_some(), problem.retryable, "{code}");
            let text = serde_json::to_string(&problem).expect("json");
            assert!(!text.contains("sqlite") && !text.contains("SELECT") && !text.contains("db7"), "{text}");
        }
    }
}
