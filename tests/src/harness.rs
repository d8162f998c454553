//! The harness: whole systems for tests. A `TestSystem` runs in this process on the ground of a profile, with faults on request; a
//! `ChildSystem` is the real program, to be killed. Both check the promises when a test ends (`invariants`).

pub mod child;
pub mod cut;
pub mod database;
pub mod eventually;
pub mod faults;
pub mod invariants;
pub mod models;
pub mod processes;
pub mod profile;
pub mod proxy;
pub mod rabbitmq;
pub mod seams;
pub mod servers;
pub mod system;

pub use eventually::eventually;
pub use profile::Profile;
pub use system::{Options, TestSystem};
