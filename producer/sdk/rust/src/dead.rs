//! Dead jobs: listing them, running them again, dropping them. It decides how such a request is written and when it may be repeated; which
//! jobs are dead is the server's to say.

use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use crate::{client::Client, error::Error, job::JobId, list::JobPage, send::Repeat};

/// Which dead jobs are meant. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeadFilter {
    /// Of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// In this lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// With this code of failure, for example `worker_lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Failed at this time (RFC 3339) or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_since: Option<String>,
    /// Failed before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_until: Option<String>,
}

impl DeadFilter {
    fn write_to(&self, url: &mut Url, limit: Option<usize>, cursor: Option<&str>) {
        let limit = limit.map(|limit| limit.to_string());
        let fields = [
            ("model", self.model.as_deref()),
            ("lane", self.lane.as_deref()),
            ("code", self.code.as_deref()),
            ("failed_since", self.failed_since.as_deref()),
            ("failed_until", self.failed_until.as_deref()),
            ("limit", limit.as_deref()),
            ("cursor", cursor),
        ];
        let given: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        if !given.is_empty() {
            url.query_pairs_mut().extend_pairs(given);
        }
    }
}

/// Dead jobs that are to be dealt with.
#[derive(Debug, Clone, Serialize)]
#[must_use]
pub struct Deal {
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<DeadFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<JobId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

impl Deal {
    /// The newest failures that match, at most 1000. Whoever replays until none is left sets `failed_until`: a replay that fails matches, too.
    pub fn matching(filter: DeadFilter) -> Self {
        Self { filter: Some(filter), ids: None, limit: None, dry_run: false }
    }

    /// These jobs, at most 1000. One that is not dead is skipped.
    pub fn jobs(ids: impl IntoIterator<Item = JobId>) -> Self {
        Self { filter: None, ids: Some(ids.into_iter().collect()), limit: None, dry_run: false }
    }

    /// At most so many of those that match.
    pub fn at_most(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Only asks which jobs they are.
    pub fn dry_run(self) -> Self {
        Self { dry_run: true, ..self }
    }

    /// Named jobs and dry runs have the same effect when they are repeated; a filter goes on with the next jobs that match.
    fn repeat(&self) -> Repeat {
        if self.dry_run || self.ids.is_some() { Repeat::Safe } else { Repeat::OnlyIfRefused }
    }
}

/// What became of dead jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dealt {
    /// Whether nothing was done.
    #[serde(default)]
    pub dry_run: bool,
    /// Those that were dealt with, or would be.
    pub jobs: Vec<DealtWith>,
    /// Those that were named and are not dead.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// Whether jobs that are meant are left: the same call again goes on with them.
    #[serde(default)]
    pub more: bool,
}

/// A dead job that was dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DealtWith {
    /// The job.
    pub id: JobId,
    /// The job that runs it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_by: Option<JobId>,
}

/// A job that was named and not dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Skipped {
    /// The job.
    pub id: JobId,
    /// Why, for example `not_dead`.
    #[serde(default)]
    pub reason: String,
    /// The job that runs it again, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_by: Option<JobId>,
}

impl Client {
    /// One page of dead jobs, the newest failure first, at most `limit` (the server's own number when `None`).
    ///
    /// # Errors
    /// [`Error::Problem`] for a wrong filter or cursor.
    pub async fn dead(&self, filter: &DeadFilter, limit: Option<usize>, cursor: Option<&str>) -> Result<JobPage, Error> {
        let mut url = self.results.url("v1/dead");
        filter.write_to(&mut url, limit, cursor);
        self.read_url(&self.results, url).await
    }

    /// Runs dead jobs again, each as a new job that names it. A job is run again once, however often it is asked for. A call with a filter is
    /// not repeated when its answer is lost: calling again goes on with what is left.
    ///
    /// # Errors
    /// [`Error::Problem`] for a wrong filter; others when the server stays away.
    pub async fn replay_dead(&self, deal: &Deal) -> Result<Dealt, Error> {
        self.deal("v1/dead:replay", deal).await
    }

    /// Lets dead jobs rest; they are kept. Repeated as [`Client::replay_dead`].
    ///
    /// # Errors
    /// As [`Client::replay_dead`].
    pub async fn drop_dead(&self, deal: &Deal) -> Result<Dealt, Error> {
        self.deal("v1/dead:drop", deal).await
    }

    async fn deal(&self, path: &str, deal: &Deal) -> Result<Dealt, Error> {
        let request = || self.request(&self.producer, Method::POST, path).json(deal);
        let response = self.producer.server.send(deal.repeat(), request).await?;
        self.producer.server.read_json(response).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deal_says_only_what_is_meant() {
        let id: JobId = "0190b7c0-0000-7000-8000-000000000000".parse().expect("a UUID");
        let filter = DeadFilter {
            code: Some("panicked".into()),
            failed_since: Some("2026-12-01T00:00:00Z".into()),
            ..DeadFilter::default()
        };
        let rows = [
            (Deal::matching(DeadFilter::default()), r#"{"filter":{}}"#.to_owned(), Repeat::OnlyIfRefused),
            (
                Deal::matching(filter.clone()).at_most(7).dry_run(),
                r#"{"filter":{"code":"panicked","failed_since":"2026-12-01T00:00:00Z"},"limit":7,"dry_run":true}"#.to_owned(),
                Repeat::Safe,
            ),
            (Deal::jobs([id]), format!(r#"{{"ids":["{id}"]}}"#), Repeat::Safe),
        ];
        for (deal, expected, repeat) in rows {
            assert_eq!((serde_json::to_string(&deal).expect("json"), deal.repeat()), (expected, repeat));
        }
        let mut url = Url::parse("http://h/v1/dead").expect("url");
        filter.write_to(&mut url, Some(5), Some("c"));
        assert_eq!(url.as_str(), "http://h/v1/dead?code=panicked&failed_since=2026-12-01T00%3A00%3A00Z&limit=5&cursor=c");
    }
}
