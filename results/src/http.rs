//! The showing side of `/v1`: one job, lists, results and event streams. It decides how stored truth is
//! shown and how many streams are open; it never writes, and holds at most one page of events for each caller.

mod events;
mod jobs;
mod list;
mod sse;
mod streams;

use std::sync::Arc;

use siding_core::{api::Reader, cache::Cache, clock::Clock, config, drain::Drain, follow::Follower, store::Feed};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use streams::Streams;

/// What the routes need.
pub struct ResultsState {
    /// Reads jobs.
    pub reader: Reader,
    /// Reads events for those who do not stream.
    pub feed: Arc<dyn Feed>,
    /// Follows jobs for those who do.
    pub follower: Follower,
    /// Remembers the views of finished jobs.
    pub cache: Arc<dyn Cache>,
    /// Times heartbeats.
    pub clock: Arc<dyn Clock>,
    /// Tells streams that the service is stopping.
    pub drain: Drain,
    /// Heartbeat and reconnection time.
    pub stream: config::Stream,
    /// Room for open streams; one for the whole process.
    pub streams: Streams,
}

/// The routes, with their OpenAPI. Unknown paths and methods are left to the binary, which merges all routers.
#[must_use]
pub fn router(state: ResultsState) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::result))
        .routes(routes!(events::events))
        .with_state(Arc::new(state))
}

#[cfg(test)]
mod tests;
