//! The scheduling policies, all pure: the same code runs in the services and in a simulation. Each is a function of what it is
//! given, with `now` and random draws as arguments; none of them may do I/O or read a clock.

pub mod group;
pub mod next;
pub mod retry;
pub mod route;
