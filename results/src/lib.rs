//! siding-results: shows jobs: their state, their results and their events, live. It must never change a job; it meets the other
//! services only in broker and store.

pub mod http;
