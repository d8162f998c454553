//! siding-client
