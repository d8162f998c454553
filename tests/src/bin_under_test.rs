//! The program, built as part of the tests' own package so that a suite can start it, kill it and start it again.

use std::process::ExitCode;

fn main() -> ExitCode {
    siding::cli::main()
}
