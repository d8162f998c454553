//! siding-client: the Rust SDK. It turns calls into Siding's HTTP interface and answers into types. It depends on no other crate of
//! Siding and must never guess: a job's state comes from the server, and an unknown word or field is passed over, not refused.
//!
//! Submitting is safe to repeat: each call of [`Client::submit`] makes its own idempotency key, so a try whose answer was lost
//! does not become a second job.
//!
//! ```no_run
//! # async fn example() -> Result<(), siding_client::Error> {
//! use siding_client::{Client, Submission};
//!
//! let client = Client::new("http://127.0.0.1:7433")?;
//! let x = vec![0.5; 64];
//! let input = serde_json::json!({"x": {"shape": [1, 64], "data": x}, "iters": {"shape": [], "data": [1000]}});
//! let job = client.submit(&Submission::new("spin", &input)?).await?;
//!
//! let mut events = client.events(job.id, 0);
//! while let Some(event) = events.next().await {
//!     let event = event?;
//!     println!("{} {}", event.seq, event.kind);
//! }
//! let output = client.result(job.id).await?;
//! println!("{output}");
//! # Ok(())
//! # }
//! ```

mod batch;
mod catalog;
mod client;
mod dead;
mod error;
mod events;
#[cfg(test)]
mod fake_server;
mod job;
mod list;
mod send;
mod sse;

pub use batch::{Batch, Outcome, OutcomeStatus};
pub use catalog::{BrokenModel, Cost, Lane, Model, Models, Tensor};
pub use client::Client;
pub use dead::{DeadFilter, Deal, Dealt, DealtWith, Skipped};
pub use error::{Error, InputProblem, Problem};
pub use events::{Checkpoint, Event, EventKind, Events, Progress, Resumes, Started};
pub use job::{Cancel, Estimate, Failure, InvalidJobId, Job, JobId, State, Submission, Urls};
pub use list::{JobFilter, JobPage};
