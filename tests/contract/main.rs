//! The contract suite: what every implementation of a seam must do, each behaviour tested once for all of them.

mod runtime;
