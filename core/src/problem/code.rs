//! The codes of problems: one table of what each means, its status, whether to repeat the request, and what a
//! caller does about it. A code never changes its meaning; docs/api.md and `GET /problems/{code}` show this table.

use std::{fmt, str::FromStr};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::id::Invalid;

macro_rules! codes {
    ($($code:ident, $word:literal, $status:ident, $retry:ident, $title:literal, $help:literal;)*) => {
        /// What went wrong, in a word that callers may branch on. New words may be added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// What is the same for every problem of this code.
            #[must_use]
            pub fn facts(self) -> Facts {
                match self {
                    $(Self::$code => Facts {
                        word: $word,
                        status: StatusCode::$status,
                        retryable: Retry::$retry == Retry::Later,
                        title: $title,
                        help: $help,
                    },)*
                }
            }
        }
    };
}

#[derive(PartialEq, Eq)]
enum Retry {
    Later,
    Never,
}

/// What is the same for every problem of one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The code as it is written.
    pub word: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// Whether to repeat the very same request, after Retry-After where it is given.
    pub retryable: bool,
    /// What it means, in a few words.
    pub title: &'static str,
    /// What to do about it.
    pub help: &'static str,
}

codes! {
    MalformedJson, "malformed_json", BAD_REQUEST, Never, "The body is not acceptable JSON",
        "Mend the body at the line and column that `detail` names. Besides plain syntax, refused are: a key that stands twice in one object, a number beyond a 64-bit float, nesting and key counts beyond the limits.";
    InvalidRequest, "invalid_request", BAD_REQUEST, Never, "A part of the request is unknown, missing or of the wrong type",
        "`detail` names the header, parameter or field, and what would be right; `errors` points into the body.";
    UnknownPath, "unknown_path", NOT_FOUND, Never, "There is nothing at this path",
        "The routes are listed in /openapi.json.";
    WrongMethod, "wrong_method", METHOD_NOT_ALLOWED, Never, "The resource does not have this method",
        "Use a method that the Allow header names.";
    BodyTooSlow, "body_too_slow", REQUEST_TIMEOUT, Later, "The body did not arrive in time",
        "Send the body faster, or a smaller one.";
    BodyTooLarge, "body_too_large", PAYLOAD_TOO_LARGE, Never, "The body is larger than a request may be",
        "Send a smaller input. The limit stands in `detail`.";
    UnsupportedMediaType, "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, Never, "The body is not sent as JSON",
        "Send Content-Type: application/json and no Content-Encoding.";
    InvalidInput, "invalid_input", UNPROCESSABLE_ENTITY, Never, "The request is well-formed but a value does not fit",
        "`errors` names each wrong value by its JSON pointer. GET /v1/models/{name} shows what the model takes.";
    UnknownModel, "unknown_model", NOT_FOUND, Never, "There is no model of this name",
        "GET /v1/models lists the models.";
    UnknownVersion, "unknown_version", NOT_FOUND, Never, "The model has no such version",
        "Leave out `version` for the newest; GET /v1/models/{name} lists the versions.";
    BrokenModel, "broken_model", UNPROCESSABLE_ENTITY, Never, "The model is in the repository but cannot be served",
        "The operator has to mend the model; `detail` and GET /v1/models/{name} say what is wrong with it.";
    UnknownJob, "unknown_job", NOT_FOUND, Never, "There is no job of this id",
        "Check the id. A job is kept as long as its result.";
    IdempotencyInFlight, "idempotency_in_flight", CONFLICT, Later, "A request with this Idempotency-Key is being handled",
        "Send the same request again after Retry-After: it is answered with the first request's job.";
    IdempotencyKeyReused, "idempotency_key_reused", UNPROCESSABLE_ENTITY, Never, "The Idempotency-Key was used for another request",
        "Use a new key for a new request. `job_id` is the job of the first request with this key.";
    IdTaken, "id_taken", CONFLICT, Never, "The id belongs to another request's job",
        "Choose another id. The job of `job_id` was asked for differently and is not touched.";
    BatchRefused, "batch_refused", UNPROCESSABLE_ENTITY, Never, "Another job of the atomic batch was refused",
        "Nothing of the batch was accepted. `errors` names the jobs that were refused, each with its code; mend or leave them out, or send the batch without `atomic`.";
    NotFinished, "not_finished", CONFLICT, Never, "The job is not finished",
        "Follow /v1/jobs/{id}/events until its terminal event, then ask again.";
    NoResult, "no_result", GONE, Never, "The job has ended without a result",
        "`detail` says how it ended, and `failure` why. POST /v1/jobs/{id}/retry runs it again as a new job.";
    Busy, "busy", TOO_MANY_REQUESTS, Later, "Too many requests wait already",
        "Come back after Retry-After. Nothing was accepted.";
    TooManyStreams, "too_many_streams", SERVICE_UNAVAILABLE, Later, "As many event streams are open as the service holds",
        "Come back after Retry-After, or read the events as JSON (Accept: application/json). No event is lost: a stream resumes from the last id seen.";
    Unavailable, "unavailable", SERVICE_UNAVAILABLE, Later, "The service cannot do this now",
        "Come back after Retry-After. Nothing was accepted or changed.";
    Internal, "internal", INTERNAL_SERVER_ERROR, Never, "The service failed",
        "The cause is in the service's log; tell the operator when it happened. A submission with an Idempotency-Key can be repeated safely.";
}

impl Code {
    /// The code's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.facts().word
    }

    /// The page of this code: what it means and what to do, as plain text.
    #[must_use]
    pub fn page(self) -> String {
        let facts = self.facts();
        let repeat = if facts.retryable { "Repeat the same request" } else { "Do not simply repeat the same request" };
        format!("{}\n\nStatus: {}\nMeaning: {}.\nWhat to do: {}\n{repeat}.\n", facts.word, facts.status, facts.title, facts.help)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        found.ok_or_else(|| Invalid { kind: "problem code", problem: "is not one of the codes in docs/api.md".into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_of_every_code_what_this_table_says() {
        let document = include_str!("../../../docs/api.md");
        for &code in Code::ALL {
            let Facts { word, status, retryable, title, .. } = code.facts();
            let row = format!("| `{word}` | {} | {} | {title} |\n", status.as_u16(), if retryable { "yes" } else { "no" });
            assert!(document.contains(&row), "docs/api.md lacks {row}");
        }
    }

    #[test]
    fn a_code_is_read_back_as_it_is_written_and_has_one_spelling() {
        for &code in Code::ALL {
            assert_eq!(serde_json::to_string(&code).expect("json"), format!("\"{code}\""));
            assert_eq!(code.as_str().parse::<Code>().expect("own word"), code);
            assert!(code.facts().status.is_client_error() || code.facts().status.is_server_error());
        }
    }
}
