//! End to end: whole systems through their HTTP port, as callers see them.

mod cancelling;
mod checkpoints;
mod deployment;
mod health;
mod inference;
mod lanes;
mod life;
mod reloading;
mod resuming;
mod services;
mod stopping;
mod streams;
mod texts;
mod warming;
