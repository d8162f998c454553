//! siding-tests: what the suites share. It decides how a system under test is started, disturbed and checked; it holds no test.

pub mod harness;
pub mod kill_points;
