//! Dead jobs on the wire: which are meant, and what became of dealing with them.

use serde::{Deserialize, Serialize};

use super::Rfc3339;
use crate::{
    id::{JobId, LaneName, ModelName},
    job::FailureCode,
    store::DeadFilter,
};

/// The body of `POST /v1/dead:replay` and `POST /v1/dead:drop`: `filter` or `ids`, one of both.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadRequest {
    /// The dead jobs that match, the newest failure first; `{}` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<DeadSelection>,
    /// These jobs, at most 1000. One that is not dead is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub ids: Option<Vec<JobId>>,
    /// With `filter`: at most so many jobs; 1 to 1000, 1000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only tell which jobs would be dealt with.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which dead jobs are meant. What is absent does not filter.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadSelection {
    /// Of this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub model: Option<ModelName>,
    /// In this lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub lane: Option<LaneName>,
    /// With this `failure.code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
    /// Failed at this time (RFC 3339) or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failed_since: Option<Rfc3339>,
    /// Failed before this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failed_until: Option<Rfc3339>,
}

impl From<DeadSelection> for DeadFilter {
    fn from(selection: DeadSelection) -> Self {
        Self {
            model: selection.model,
            lane: selection.lane,
            code: selection.code,
            failed_since: selection.failed_since.map(|time| time.0),
            failed_until: selection.failed_until.map(|time| time.0),
        }
    }
}

/// What became of dealing with dead jobs.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadAnswer {
    /// Whether nothing was done, because only the answer was asked for.
    pub dry_run: bool,
    /// How many jobs were dealt with, or would be.
    pub count: usize,
    /// Which.
    pub jobs: Vec<DeadOutcome>,
    /// Jobs that were named and are not dead.
    pub skipped: Vec<DeadSkipped>,
    /// Whether jobs that are meant are left: the same request again goes on with them.
    pub more: bool,
}

/// A dead job that was dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadOutcome {
    /// The job.
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    /// The job that runs it again; absent when it was dropped, and in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub retried_by: Option<JobId>,
}

/// A job that was named and not dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadSkipped {
    /// The job.
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    /// Why.
    pub reason: DeadSkipReason,
    /// The job that runs it again, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub retried_by: Option<JobId>,
}

/// Why a job was not dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadSkipReason {
    /// There is no such job.
    UnknownJob,
    /// It has not failed, or somebody has dealt with it before.
    NotDead,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_about_dead_jobs_looks_like_this_for_ever() {
        let id: JobId = "0190b7c0-0000-7000-8000-000000000001".parse().expect("uuid");
        let answer = DeadAnswer {
            dry_run: false,
            count: 1,
            jobs: vec![DeadOutcome { id, retried_by: Some(id) }],
            skipped: vec![DeadSkipped { id, reason: DeadSkipReason::NotDead, retried_by: None }],
            more: true,
        };
        let golden = concat!(
            r#"{"dry_run":false,"count":1,"jobs":[{"id":"0190b7c0-0000-7000-8000-000000000001","#,
            r#""retried_by":"0190b7c0-0000-7000-8000-000000000001"}],"#,
            r#""skipped":[{"id":"0190b7c0-0000-7000-8000-000000000001","reason":"not_dead"}],"more":true}"#
        );
        assert_eq!(serde_json::to_string(&answer).expect("json"), golden);
    }
}
