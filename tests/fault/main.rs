//! Faults: what breaks in operation, broken on purpose. Each test disturbs a whole system and leaves the judgement to the harness: every
//! accepted job in exactly one terminal state, one terminal event, no lease left, nothing unpublished, nothing unsettled.

mod answers;
mod bad_place;
mod broker;
mod cache;
mod consumer_timeout;
mod given;
mod killing;
mod model_process;
mod pausing;
mod process;
mod roles;
mod runbooks;
mod servers;
mod store;
mod streams;
mod worker;
