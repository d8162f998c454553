//! siding: how the parts are put together. This crate alone (with the test harness) names the implementations of seams; the services
//! never do. It holds no behaviour of a job.

pub mod bench;
pub mod http;
pub mod seams;
pub mod services;
pub mod up;
