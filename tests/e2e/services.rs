//! `compose/services`, the tests' own servers, as somebody at a shell meets it: what is missing is named, and nothing that it started outlives it. No test
//! here may start a server: those of the harness do (`tests/fault/servers.rs`).

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::io::{AsyncBufReadExt, BufReader};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compose/services");
const PATIENCE: Duration = Duration::from_secs(60);

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

#[tokio::test]
async fn a_run_that_is_told_to_end_leaves_nothing_of_its_command_behind() {
    // A shell that waits for its child, in the way of `sh -c` in the Makefile, dies of the signal and leaves the child.
    let mut run = tokio::process::Command::new(python())
        .args(["-B", SCRIPT, "run", "--", "sh", "-c", "tail -f /dev/null & echo $!; wait"])
        // Given servers, so that none is started.
        .envs(["AMQP", "DATABASE", "REDIS"].map(|server| (format!("SIDING_TEST_{server}_URL"), "none")))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 is installed");
    let mut lines = BufReader::new(run.stdout.take().expect("it is piped")).lines();
    assert!(lines.next_line().await.expect("it can be read").is_some(), "the shell says which child it has");
    let id = run.id().expect("it is not reaped");
    kill(Pid::from_raw(id.try_into().expect("a process id")), Signal::SIGTERM).expect("it runs");
    let status = tokio::time::timeout(PATIENCE, run.wait()).await.expect("it ends in time").expect("it can be waited for");
    assert_eq!(status.code(), Some(143), "as a shell reports the signal");
    // The child holds the pipe's other end for as long as it lives.
    let more = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the child is gone").expect("it can be read");
    assert_eq!(more, None);
}
