//! Lists of jobs, page by page.

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::job::{Job, State};

/// Which jobs a list shows. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of this model.
    pub model: Option<String>,
    /// In this lane.
    pub lane: Option<String>,
    /// Jobs in one page; the server's own number when `None`.
    pub page_size: Option<usize>,
}

impl JobFilter {
    pub(crate) fn write_to(&self, url: &mut Url, cursor: Option<&str>) {
        let states = self.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(",");
        let limit = self.page_size.map(|limit| limit.to_string());
        let fields = [
            ("state", (!states.is_empty()).then_some(states.as_str())),
            ("model", self.model.as_deref()),
            ("lane", self.lane.as_deref()),
            ("limit", limit.as_deref()),
            ("cursor", cursor),
        ];
        let given: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        if !given.is_empty() {
            url.query_pairs_mut().extend_pairs(given);
        }
    }
}

/// One page of a list, newest jobs first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobPage {
    /// The jobs, without their outputs.
    pub jobs: Vec<Job>,
    /// Where the next page begins; `None` when there is none.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_writes_only_what_it_filters_by() {
        let rows = [
            (JobFilter::default(), None, "http://h/v1/jobs"),
            (
                JobFilter { states: vec![State::Queued, State::Running], ..JobFilter::default() },
                Some("a b&c"),
                "http://h/v1/jobs?state=queued%2Crunning&cursor=a+b%26c",
            ),
            (
                JobFilter { model: Some("m".into()), lane: Some("l".into()), page_size: Some(5), ..JobFilter::default() },
                None,
                "http://h/v1/jobs?model=m&lane=l&limit=5",
            ),
        ];
        for (filter, cursor, expected) in rows {
            let mut url = Url::parse("http://h/v1/jobs").expect("url");
            filter.write_to(&mut url, cursor);
            assert_eq!(url.as_str(), expected);
        }
    }
}
