//! siding-producer: accepts jobs, estimates them, picks their lanes, publishes them, and rescues what was lost. It must never run
//! a model or write a result; it meets the other services only in broker and store.

pub mod admission;
pub mod dead_letters;
pub mod dispatch;
pub mod http;
pub mod intake;
pub mod lost;
pub mod submit;
pub mod submitter;
pub mod sweep;
