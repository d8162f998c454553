//! The showing side of `/v1`: one job, lists, results and event streams. It decides how stored truth is
//! shown and how many streams are open; it never writes, and holds at most one page of events for each caller.

mod dead;
mod events;
mod jobs;
mod list;
mod result;
mod sse;
mod streams;

use std::sync::Arc;

use siding_core::{
    api::Reader,
    cache::Cache,
    clock::Clock,
    config,
    drain::Drain,
    follow::Follower,
    store::{Dead, Feed},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use streams::Streams;

/// What the routes need.
pub struct ResultsState {
    /// Reads jobs.
    pub reader: Reader,
    /// Reads events for those who do not stream.
    pub feed: Arc<dyn Feed>,
    /// Reads dead jobs.
    pub dead: Arc<dyn Dead>,
    /// Follows jobs for those who do.
    pub follower: Follower,
    /// Remembers outputs.
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
        .routes(routes!(result::result))
        .routes(routes!(dead::list))
        .routes(routes!(events::events))
        .with_state(Arc::new(state))
}

#[cfg(test)]
mod tests;
