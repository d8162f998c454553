//! The program, built as part of the tests' own package so that a suite can start it, kill it (also at a
//! kill point) and start it again.

use std::process::ExitCode;

fn main() -> ExitCode {
    siding::cli::main_over(siding_tests::kill_points::armed)
}
