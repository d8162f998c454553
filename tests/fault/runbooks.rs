//! The runbooks, rehearsed: each test breaks what its runbook (`docs/runbooks`, of the same name) is about, in a system of several processes over servers of
//! its own, sees what the page says is seen, repairs as it says, and finds nothing lost.

mod backlog;
mod broker_blocked;
mod broker_down;
mod dead_letters;
mod given;
mod lease_storm;
mod store_down;
