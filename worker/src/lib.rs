//! siding-worker: takes deliveries, claims jobs, runs models on their own threads and records what happened. It must never accept
//! a job, decide a lane or talk to a caller; it meets the other services only in broker and store.
//!
//! The way of a job through this crate, one module a station: `pump` (a lane's subscription) → `taking` (which lane, how many, claim) →
//! `slots` (ready queue and threads) → `execute` (one run, on a copy that `loaded` keeps, and its `checkpoint`s) → `verdict` (what the run's end means) → `recorder` (commit, settle,
//! hint). `keeper` extends leases and stops what must stop; `running` is the list of claimed jobs that all of them share.

pub mod checkpoint;
pub mod execute;
pub mod keeper;
pub mod loaded;
pub mod pump;
pub mod recorder;
pub mod running;
pub mod runtime;
pub mod slots;
pub mod taking;
pub mod verdict;
pub mod worker;

pub use worker::{Parts, Worker};
