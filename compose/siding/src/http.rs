//! One port for all roles of this process: the routes of those that run here, health, `/metrics`, `/openapi.json`, and a problem for everything
//! else. It decides what is served where; it never handles a job.

mod health;
mod patient;

use std::sync::Arc;

use axum::{
    Json, Router,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use siding_core::{api::Reader, drain::Drain, problem::with_fallbacks, telemetry::Metrics};
use siding_producer::http::{Batches, Bodies, ProducerState};
use siding_results::http::{ResultsState, Streams};
use tokio::net::TcpListener;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use patient::Patience;
use patient::Patient;

use crate::services::Services;

/// What is true of the whole API.
#[derive(OpenApi)]
#[openapi(info(
    title = "Siding",
    description = "Jobs for inference: submit, follow, cancel, run again. Errors are RFC 9457 problems; /problems/{code} explains each.",
    license(name = "Apache-2.0 OR MIT")
))]
struct Api;

/// Every route of this process. Streams end at the stop signal of the services' front.
pub fn router(services: &Services) -> Router {
    let mut router = OpenApiRouter::with_openapi(Api::openapi()).merge(health::router(services));
    let seams = services.seams();
    let reader = Reader::new(seams.jobs.clone(), seams.blobs.clone(), seams.clock.clone(), services.answers().clone());
    if let (Some(producer), Some(follower)) = (services.producer(), services.follower()) {
        router = router.merge(siding_producer::http::router(ProducerState {
            intake: producer.intake.clone(),
            reader: reader.clone(),
            follower: follower.clone(),
            catalog: Arc::new(producer.catalog.clone()),
            lanes: producer.lanes.clone(),
            bodies: Bodies::new(producer.offload.clone()),
            batches: Batches::default(),
        }));
    }
    if let (true, Some(follower)) = (services.is_results(), services.follower()) {
        router = router.merge(siding_results::http::router(ResultsState {
            reader,
            feed: seams.feed.clone(),
            dead: seams.dead.clone(),
            follower: follower.clone(),
            cache: seams.cache.clone(),
            clock: seams.clock.clone(),
            drain: services.front().clone(),
            stream: services.settings().stream.clone(),
            streams: Streams::new(services.metrics.clone()),
        }));
    }
    let (router, openapi) = router.split_for_parts();
    let openapi = Arc::new(openapi);
    let metrics = services.metrics.clone();
    let router = router
        .route("/openapi.json", get(move || async move { Json(openapi.as_ref().clone()) }))
        .route("/metrics", get(move || async move { exposition(&metrics) }));
    with_fallbacks(router)
}

/// Serves on `listener` until the stop signal of `drain`, then until the open connections have ended. A caller that is slower than
/// `patience` allows is cut off.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, drain: Drain, patience: Patience) -> std::io::Result<()> {
    // Events are small writes. With Nagle's algorithm each would wait for the client's delayed acknowledgement: 40 ms, measured.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    let listener = Patient { listener, patience };
    axum::serve(listener, router).with_graceful_shutdown(async move { drain.stopping().await }).await
}

fn exposition(metrics: &Metrics) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}
