//! `compose/services`, the tests' own servers, as somebody at a shell meets it: what is missing is named, and nothing that it started outlives it. No test
//! here may start a server: those of the harness do (`tests/fault/servers.rs`).

use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compose/services");

/// Where Python is, for calls that find nothing on their path.
fn python() -> String {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().expect("python3 is installed");
    String::from_utf8(asked.stdout).expect("a path is UTF-8").trim().to_owned()
}

#[test]
fn a_missing_server_is_named_with_the_command_that_installs_it_and_the_way_around() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Without a path there is no Redis to be found, and no apt-get either, so that root is told like anybody else.
    let refused: Output = Command::new(python())
        .args(["-B", SCRIPT, "start", "redis", "--dir"])
        .arg(folder.path().join("server"))
        .env("PATH", folder.path())
        .output()
        .expect("python3 is installed");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    for words in ["siding: redis-server missing", "apt-get install", "SIDING_TEST_REDIS_URL"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("Traceback"), "{told}");
}
