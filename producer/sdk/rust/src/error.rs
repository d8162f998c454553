//! Errors: one variant for each thing that a caller would do differently. The server's own words arrive as a [`Problem`].

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, and says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// There was no connection, or it broke before the answer, and trying again did not help.
    #[error("the server at {server} cannot be reached")]
    Unreachable {
        /// The server's address as it was given.
        server: String,
        /// What the connection said.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The server did not answer in time.
    #[error("the server at {server} did not answer within {waited_ms} ms")]
    Timeout {
        /// The server's address as it was given.
        server: String,
        /// How long was waited for one answer, in milliseconds.
        waited_ms: u128,
    },
    /// The answer is not what Siding sends: another service, or a version that this client does not know.
    #[error("the answer is not Siding's: {what}")]
    Protocol {
        /// What is wrong with it.
        what: String,
        /// What the parser said.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The input cannot be written as JSON.
    #[error("the input cannot be written as JSON")]
    Input(#[source] serde_json::Error),
    /// The server's address cannot be used.
    #[error("the server's address {url:?} cannot be used: {why}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.retryable,
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Protocol { .. } | Self::Input(_) | Self::Address { .. } => false,
        }
    }

    /// The server's refusal, if that is what this is.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into(), source: None }
    }
}

/// A refusal as the server words it (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The word to branch on, for example `unknown_model`; empty when something between us and the server answered.
    #[serde(default)]
    pub code: String,
    /// The kind of refusal in a few words.
    #[serde(default)]
    pub title: String,
    /// What is wrong with this very request.
    #[serde(default)]
    pub detail: String,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// What is wrong with the request's body, place by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<InputProblem>,
    /// When to come back, if the server said so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One thing that is wrong with a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InputProblem {
    /// JSON pointer (RFC 6901) into the body.
    #[serde(default)]
    pub pointer: String,
    /// What is wrong and what would be right.
    #[serde(default)]
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [&self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        let Some(said) = said else { return write!(f, "the server answered {}", self.status) };
        if self.errors.is_empty() {
            return f.write_str(said);
        }
        let places: Vec<_> = self.errors.iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect();
        write!(f, "{}: {}", said.trim_end_matches('.'), places.join("; "))
    }
}
