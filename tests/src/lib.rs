//! siding-tests
