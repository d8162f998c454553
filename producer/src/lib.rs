//! siding-producer
