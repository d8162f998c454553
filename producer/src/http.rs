//! The accepting side of `/v1`: submit, cancel, retry, models and lanes. It turns requests into `Submission`s and refusals into
//! problems; it decides nothing about a job, and no byte of a body is held beyond `limits::BODIES_BYTES_MAX`.

mod batch;
mod body;
mod catalog;
mod dead;
mod jobs;
mod prefer;
pub(crate) mod refusal;

use std::sync::Arc;

use siding_core::{
    api::{ModelList, Reader},
    broker::EventBus,
    follow::Follower,
    lane::Lanes,
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use batch::Batches;
pub use body::Bodies;

use crate::intake::Intake;

/// What the routes need.
pub struct ProducerState {
    /// Accepts jobs.
    pub intake: Arc<dyn Intake>,
    /// Reads them back.
    pub reader: Reader,
    /// Waits for their ends.
    pub follower: Follower,
    /// What can be run.
    pub catalog: Arc<dyn Catalog>,
    /// Where workers hear what is wanted of them.
    pub bus: Arc<dyn EventBus>,
    /// The configured lanes.
    pub lanes: Lanes,
    /// Room for request bodies; one for the whole process.
    pub bodies: Bodies,
    /// Room for batches; one for the whole process.
    pub batches: Batches,
}

/// What `/v1/models` shows. Cheap: called for each request.
pub trait Catalog: Send + Sync {
    /// Every version that can be served, and every folder that cannot.
    fn list(&self) -> ModelList;
}

/// The routes, with their OpenAPI. Unknown paths and methods are left to the binary, which merges all routers.
#[must_use]
pub fn router(state: ProducerState) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(jobs::submit))
        .routes(routes!(jobs::put))
        .routes(routes!(batch::submit))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(dead::replay))
        .routes(routes!(dead::drop))
        .routes(routes!(catalog::models))
        .routes(routes!(catalog::model))
        .routes(routes!(catalog::load))
        .routes(routes!(catalog::unload))
        .routes(routes!(catalog::lanes))
        .with_state(Arc::new(state))
}

#[cfg(test)]
mod tests;
