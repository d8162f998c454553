//! siding-worker: takes deliveries, claims jobs, runs models on their own threads and records what happened. It must never accept
//! a job, decide a lane or talk to a caller; it meets the other services only in broker and store.

pub mod runtime;
