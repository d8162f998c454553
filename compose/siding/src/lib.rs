//! siding
