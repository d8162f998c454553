//! siding-worker
