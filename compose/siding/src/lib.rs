//! siding: how the parts are put together. This crate alone (with the test harness) names the implementations of seams; the services
//! never do. It holds no behaviour of a job. The command line lives here too, so that tests can be the program.

pub mod bench;
pub mod check;
pub mod cli;
mod demo;
mod doctor;
pub mod http;
mod output;
pub mod process;
pub mod seams;
pub mod services;
