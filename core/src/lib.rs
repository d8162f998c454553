//! siding-core: what every Siding service agrees on. It decides the words, the job's states, the pure policies and the seams
//! (broker, store, cache, blob, clock), each with its local implementation beside it. It must never know a service: no
//! HTTP route, no worker loop, no command line lives here.

pub mod api;
pub mod blob;
pub mod broker;
pub mod cache;
pub mod clock;
pub mod config;
pub mod drain;
pub mod envelope;
pub mod error;
pub mod estimate;
pub mod follow;
pub mod id;
pub mod job;
pub mod lane;
pub mod limits;
pub mod model;
pub mod offload;
pub mod problem;
pub mod retry;
pub mod schedule;
pub mod store;
pub mod telemetry;
pub mod tensor;
