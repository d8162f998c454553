//! What the suites that start the real program share: which program, a submission, and waits for what becomes of a job. It judges nothing about it.

use std::time::Duration;

use siding_client::{Client, Job, JobId, State, Submission};
use siding_tests::harness::{child::ChildProcess, eventually};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_siding-under-test");
/// How long one job may take over a death and a restart.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A script that outlives many deaths.
pub fn submission(model: &str, script: &serde_json::Value) -> Submission {
    Submission::new(model, script).expect("a script is JSON").with_attempts_max(100)
}

/// The job, once it has ended.
pub async fn ended(client: &Client, job: JobId) -> Job {
    becomes(client, job, "the job ends", State::is_terminal).await
}

/// Waits until the job runs.
pub async fn running(client: &Client, job: JobId) {
    becomes(client, job, "the job runs", |state| state == State::Running).await;
}

async fn becomes(client: &Client, job: JobId, what: &str, holds: impl Fn(State) -> bool) -> Job {
    eventually(what, PATIENCE, || async {
        let job = client.get(job).await.map_err(|error| error.to_string())?;
        if holds(job.state) { Ok(job) } else { Err(format!("{job:?}")) }
    })
    .await
}

/// Ends the processes with SIGTERM, one after the other.
pub async fn all_end_well(processes: impl IntoIterator<Item = ChildProcess>) {
    for process in processes {
        assert!(process.terminate().await, "it stops well");
    }
}
