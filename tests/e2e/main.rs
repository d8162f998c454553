//! End to end: whole systems through their HTTP port, as callers see them.

mod lanes;
mod life;
mod stopping;
mod streams;
