//! The job: its states, what an attempt can end as, and the events that callers see. All of it is pure; docs/job-lifecycle.md
//! is checked against `state`.

pub mod cancel;
pub mod event;
pub mod outcome;
pub mod state;

pub use cancel::{CancelMet, Canceled, RestartReason};
pub use event::{Event, EventKind};
pub use outcome::{Failure, FailureCode, Finish, InterruptReason};
pub use state::{Change, Illegal, State};
