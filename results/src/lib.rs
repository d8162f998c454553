//! siding-results
