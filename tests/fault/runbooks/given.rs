//! What the rehearsals share: a cluster of one process a role, submissions past the SDK's own repeats, and metrics as an operator reads them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use siding::services::Role;
use siding_client::{Client, JobId, State};
use siding_tests::harness::{
    child::{ChildProcess, Cluster, Urls},
    eventually,
};

pub use crate::given::PROGRAM;

/// How long a job may take over an outage.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long any answer may take, whatever is broken: no request hangs.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

/// One process of each role.
pub struct System {
    pub cluster: Cluster,
    pub producer: ChildProcess,
    pub worker: ChildProcess,
    pub results: ChildProcess,
    pub client: Client,
    http: reqwest::Client,
}

/// How a submission was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accepted(JobId),
    /// Refused for a while, with the time to come back in seconds.
    Later(u64),
}

impl System {
    pub async fn over(urls: Urls, more: &str) -> Self {
        let cluster = Cluster::over(PROGRAM, urls, more).await;
        let producer = cluster.start(Role::Producer).await;
        let worker = cluster.start(Role::Worker).await;
        let results = cluster.start(Role::Results).await;
        let client = Cluster::client(&producer, &results);
        let http = reqwest::Client::builder().timeout(ANSWER_MAX).build().expect("a client without special wishes");
        Self { cluster, producer, worker, results, client, http }
    }

    /// Submits once, past the SDK, which would repeat by itself.
    pub async fn submit(&self, model: &str, script: &Value) -> Answer {
        let body = json!({"model": model, "input": script, "attempts_max": 20});
        let answer = self.http.post(format!("{}/v1/jobs", self.producer.url)).json(&body).send().await;
        let answer = answer.expect("every request is answered in time");
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body: Value = answer.json().await.expect("JSON");
        match status {
            202 => Answer::Accepted(body["id"].as_str().expect("an id").parse().expect("an id")),
            503 => Answer::Later(retry_after.expect("a refusal for a while says for how long")),
            other => panic!("{other}: {body}"),
        }
    }

    pub async fn accepted(&self, model: &str, script: &Value) -> JobId {
        match self.submit(model, script).await {
            Answer::Accepted(job) => job,
            Answer::Later(_) => panic!("refused"),
        }
    }

    /// Submits until it is accepted; returns the job and how long that took.
    pub async fn accepted_in_the_end(&self, model: &str, script: &Value) -> (JobId, Duration) {
        let from = Instant::now();
        let job = eventually("a submission is accepted", PATIENCE, || async {
            match self.submit(model, script).await {
                Answer::Accepted(job) => Ok(job),
                later @ Answer::Later(_) => Err(format!("{later:?}")),
            }
        });
        (job.await, from.elapsed())
    }

    /// Waits for the end, over answers that fail meanwhile.
    pub async fn succeeds(&self, job: JobId) -> siding_client::Job {
        eventually("the job succeeds", PATIENCE, || async {
            let job = self.client.get(job).await.map_err(|error| error.to_string())?;
            if job.state == State::Succeeded { Ok(job) } else { Err(format!("{job:?}")) }
        })
        .await
    }

    pub async fn runs(&self, job: JobId) {
        eventually("the job runs", PATIENCE, || async {
            let job = self.client.get(job).await.map_err(|error| error.to_string())?;
            if job.state == State::Running { Ok(()) } else { Err(format!("{job:?}")) }
        })
        .await;
    }

    /// Waits until a metric of the producer is as told.
    pub async fn metric_is(&self, name: &str, holds: impl Fn(f64) -> bool) {
        eventually(name, PATIENCE, || async {
            let value = self.producer.metric(name).await;
            if holds(value) { Ok(()) } else { Err(format!("{name} is {value}")) }
        })
        .await;
    }

    /// The status of `/health/ready` of the producer.
    pub async fn ready(&self) -> u16 {
        let answer = self.http.get(format!("{}/health/ready", self.producer.url)).send().await;
        answer.expect("every request is answered in time").status().as_u16()
    }

    /// Waits for rest, checks the promises, and stops everything.
    pub async fn finish(self) {
        self.cluster.at_rest().await;
        for process in [self.producer, self.worker, self.results] {
            assert!(process.terminate().await, "it stops well");
        }
    }
}
