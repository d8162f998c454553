//! The demo's long job: a model of landscapes that takes noise out of a picture, step by step. It runs as long as it is told to, tells how far it
//! is, and goes on from its last checkpoint when its worker is killed.

use std::time::{Duration, Instant};

use siding_client::{Client, Event, EventKind, Job, JobId, Resumes, State, Submission};

use super::{failed, short::PATIENCE};
use crate::{cli::exit::Failed, output::Output};

/// The model.
pub const TERRAIN: &str = "terrain";
/// Fewest steps, so that there is something to resume.
const STEPS_MIN: u64 = 8;
/// Most steps that its manifest allows.
const STEPS_MAX: u64 = 400;
/// What all its draws depend on.
const SEED: u64 = 42;

/// A submission of so many steps.
pub fn submission(steps: u64) -> Result<Submission, Failed> {
    let input = serde_json::json!({
        "steps": steps,
        "seed": SEED,
        "difficulty": {"shape": [1], "data": [0.7]},
    });
    Ok(Submission::new(TERRAIN, &input)?)
}

/// How many steps take about `target`, when one takes `step`.
pub fn steps_for(target: Duration, step: Duration) -> u64 {
    let steps = target.as_secs_f64() / step.as_secs_f64().max(1e-3);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole thousands at the most, and none below 0")]
    let steps = steps.round() as u64;
    steps.clamp(STEPS_MIN, STEPS_MAX)
}

/// Makes some landscapes and says how long one step took: the quickest counts, because a neighbour who leaves must not make the long job short.
pub async fn measure_step(client: &Client) -> Result<Duration, Failed> {
    const STEPS: u32 = 2;
    const TRIES: usize = 3;
    let mut quickest = Duration::MAX;
    // The first one also loads the model.
    for steps in std::iter::once(1).chain([STEPS; TRIES]) {
        let job = client.submit(&submission(u64::from(steps))?).await?;
        let ended = tokio::time::timeout(PATIENCE, client.wait(job.id)).await;
        let job = ended.map_err(|_| failed("the first landscape was not made"))??;
        Failed::unless_succeeded(&job)?;
        let ran_ms = job.finished_at_ms.zip(job.started_at_ms).map_or(0, |(finished, started)| finished - started);
        quickest = quickest.min(Duration::from_millis(u64::try_from(ran_ms).unwrap_or(0)) / steps);
    }
    Ok(quickest)
}

/// The long job as its events tell it.
#[derive(Debug, Clone)]
pub struct Followed {
    /// Its id.
    pub id: JobId,
    /// The last event that was read.
    pub cursor: u64,
    /// How far it is.
    pub done: u64,
    /// Whether its state has been saved.
    pub saved: bool,
    /// The checkpoint that its newest attempt goes on from.
    pub resumed: Option<Resumes>,
    /// Whether it has ended.
    pub ended: bool,
}

impl Followed {
    /// A job of which nothing was read yet.
    pub fn new(job: &Job) -> Self {
        Self { id: job.id, cursor: 0, done: 0, saved: false, resumed: None, ended: false }
    }

    fn read(&mut self, event: &Event) {
        self.cursor = event.seq;
        self.done = event.progress().map_or(self.done, |progress| progress.done);
        self.saved |= event.kind == EventKind::Checkpoint;
        if let Some(started) = event.started() {
            self.resumed = started.resumes;
        }
        self.ended |= event.kind.is_terminal();
    }

    /// Reads on until an event is `reached`, which is `what` for a message.
    pub async fn until(
        &mut self,
        client: &Client,
        what: &str,
        patience: Duration,
        reached: impl Fn(&Self, &Event) -> bool,
    ) -> Result<(), Failed> {
        let read = async {
            let mut events = client.events(self.id, self.cursor);
            while let Some(event) = events.next().await {
                let event = event?;
                self.read(&event);
                if reached(self, &event) {
                    return Ok(());
                }
                if self.ended {
                    break;
                }
            }
            Err(failed(format!("the long job ended before it was {what}: try a larger --seconds")))
        };
        let waited = tokio::time::timeout(patience, read).await;
        waited.map_err(|_| failed(format!("the long job was not {what} within {} s", patience.as_secs())))?
    }

    /// Reads on until its end, and says where it goes on.
    pub async fn read_to_end(&mut self, client: &Client, output: &Output, patience: Duration) -> Result<Job, Failed> {
        let begun = Instant::now();
        let read = async {
            let mut events = client.events(self.id, self.cursor);
            while let Some(event) = events.next().await {
                let event = event?;
                self.read(&event);
                if let Some(resumes) = event.started().and_then(|started| started.resumes) {
                    let of = resumes.total.map_or(String::new(), |total| format!(" of {total}"));
                    output.line(&format!(
                        "The long job goes on from step {}{of}, {:.1} s after the server was ready again (attempt {}).",
                        resumes.done,
                        begun.elapsed().as_secs_f64(),
                        event.attempt
                    ))?;
                }
            }
            Ok::<(), Failed>(())
        };
        let read = tokio::time::timeout(patience, read).await;
        read.map_err(|_| failed(format!("the long job has not ended within {} s", patience.as_secs())))??;
        let job = client.get(self.id).await?;
        if matches!(job.state, State::Queued | State::Running) {
            Err(failed("the long job's events ended before it did"))
        } else {
            Ok(job)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_job_has_as_many_steps_as_its_time_allows_and_its_manifest_takes() {
        let secs = Duration::from_secs;
        let rows = [
            (secs(16), Duration::from_millis(320), 50),
            (secs(16), secs(1), 16),
            (secs(16), secs(10), 8),
            (secs(60), Duration::from_millis(320), 188),
            (secs(200), Duration::from_millis(320), 400),
            (secs(16), Duration::ZERO, 400),
        ];
        for (target, step, expected) in rows {
            assert_eq!(steps_for(target, step), expected, "{target:?} {step:?}");
        }
    }
}
