//! Refusals as problems: the one table of what a caller is told when intake says no.

use std::time::Duration;

use siding_core::{
    error,
    problem::{self, Code, Problem},
};

use crate::submit::Refusal;

/// When to repeat a request whose twin is being handled.
const IN_FLIGHT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answer to a refused submission, cancel or retry. Logs the cause where there is one.
#[must_use]
pub fn problem(refusal: Refusal) -> Problem {
    let new = |code| Problem::new(code, problem::sentence(&refusal.to_string()));
    match &refusal {
        Refusal::UnknownModel { .. } => new(Code::UnknownModel),
        Refusal::UnknownVersion { .. } => new(Code::UnknownVersion),
        Refusal::BrokenModel { .. } => new(Code::BrokenModel),
        Refusal::Invalid(problems) => new(Code::InvalidInput).with_errors(problems.iter().cloned().map(Into::into).collect()),
        Refusal::Unreadable(problem) => Problem::clone(problem),
        Refusal::Withheld => new(Code::BatchRefused),
        Refusal::InFlight => new(Code::IdempotencyInFlight).after(IN_FLIGHT_RETRY_AFTER),
        Refusal::KeyReused(job) => new(Code::IdempotencyKeyReused).about(*job),
        Refusal::IdTaken(job) => new(Code::IdTaken).about(*job),
        Refusal::UnknownJob(job) => Problem::unknown_job(*job),
        Refusal::NotFinished(job) => new(Code::NotFinished).about(*job),
        Refusal::Busy { retry_after } => new(Code::Busy).after(*retry_after),
        Refusal::Internal { .. } => Problem::internal(&refusal),
        Refusal::Unavailable { retry_after, .. } => {
            tracing::warn!(error = %error::chain(&refusal), "a request was refused because the service cannot serve it now");
            new(Code::Unavailable).after(*retry_after)
        }
    }
}
