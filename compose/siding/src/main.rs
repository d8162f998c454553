//! The binary `siding`: every role and the operator's commands in one file. It only prepares the process and hands over to the
//! command line in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    disable_telemetry();
    siding::cli::main()
}

/// Newer versions of ONNX Runtime than ours send usage data unless this is set before they are loaded; whoever configures one by
/// path must not be surprised.
#[expect(unsafe_code, reason = "no other thread exists yet, so nobody reads the environment meanwhile")]
fn disable_telemetry() {
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}
