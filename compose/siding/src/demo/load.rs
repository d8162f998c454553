//! The demo's load: a long job, many short ones while it runs, and a worker that dies in the middle of it. It decides what is shown and what
//! counts as well; every number was measured.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use siding_client::{Client, Event, EventKind, Job, Resumes, State};

use super::{
    failed, long,
    magika::{self, Magika},
    server::Server,
    short::{self, Shorts},
};
use crate::{
    cli::exit::Failed,
    output::{Output, Paint, human},
};

/// Short jobs are submitted during this share of the long job's expected time, so that it outlasts them.
const SHORT_SHARE: f64 = 0.5;
/// The 99th percentile of the short jobs' waits that the demo stands for, in milliseconds: far below the long job's time, far above
/// what a quiet machine needs (tens of milliseconds), so that a busy disk or neighbour is not taken for a defect.
pub const WAIT_P99_MS_MAX: u64 = 2_000;

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The short jobs.
    pub shorts: Shorts,
    /// The long job after its end.
    pub long: Job,
    /// Whether the long job was running when the last short one had ended.
    pub outlasted: bool,
    /// How far the long job was when its worker was killed.
    pub killed_at: u64,
    /// The checkpoint that it went on from after that.
    pub resumed: Option<Resumes>,
}

impl Outcome {
    /// Whether everything went as Siding promises; else the sentence that says what did not.
    pub fn check(&self) -> Result<(), String> {
        let Shorts { done, failures } = &self.shorts;
        if let Some(first) = failures.first() {
            return Err(format!("{} short jobs failed; the first: {first}", failures.len()));
        }
        if done.is_empty() {
            return Err("no short job was run".to_owned());
        }
        if done.iter().any(|short| short.said.is_empty()) {
            return Err("a model said nothing".to_owned());
        }
        let p99 = quantile(done.iter().map(|short| short.waited_ms), 0.99);
        if p99 > WAIT_P99_MS_MAX {
            return Err(format!(
                "one short job in a hundred waited {} or more; at most {} is promised here",
                human::millis(p99),
                human::millis(WAIT_P99_MS_MAX)
            ));
        }
        if self.long.state != State::Succeeded {
            let why = self.long.failure.as_ref().map_or(String::new(), |failure| format!(": {}", failure.message));
            return Err(format!("the long job is {}{why}", self.long.state));
        }
        if !self.outlasted {
            return Err("the long job ended before the last short one, so nothing was shown: try a larger --seconds".to_owned());
        }
        if self.resumed.is_none() {
            return Err("the long job did not go on from a checkpoint after its worker was killed".to_owned());
        }
        Ok(())
    }
}

/// The smallest value that at least the share `q` of the values do not pass; 0 when there are none.
pub fn quantile(values: impl Iterator<Item = u64>, q: f64) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a few thousand values"
    )]
    let rank = (values.len() as f64 * q).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Runs the whole load. The server is killed and started again on the way.
pub async fn run(
    server: &mut Server,
    output: &Output,
    magika: &Magika,
    files: &[PathBuf],
    target: Duration,
) -> Result<Outcome, Failed> {
    let client = Client::new(&server.url)?;
    check_models(&client).await?;
    // The hint is what was just measured here; without it, the manifest's cost (of another machine) would choose the lane.
    let steps = long::steps_for(target, long::measure_step(&client).await?);
    let job = client.submit(&long::submission(steps)?.expecting(target)).await?;
    let expected = human::duration(job.estimate.p50_ms);
    output.line(&format!(
        "Long job {}: {}, a landscape out of noise in {steps} steps, expected {expected}, lane {}.",
        job.id,
        long::TERRAIN,
        job.lane
    ))?;
    let mut long = long::Followed::new(&job);
    long.until(&client, "started", short::PATIENCE, |_, event| event.kind == EventKind::Started).await?;
    output.line(&format!(
        "It runs. Meanwhile, short jobs: {} tells the types of files, {} writes names, letter by letter:",
        magika::MODEL,
        short::ROMANIZER
    ))?;
    output.line("")?;
    let bar = live_bar(output);
    let shorts = short::run(&client, output, magika, files, target.mul_f64(SHORT_SHARE), &bar).await?;
    bar.finish_and_clear();
    let now = client.get(job.id).await?;
    let outlasted = now.state == State::Running;
    // Machines differ and get busy: many times the expected time, but not for ever.
    let patience = target * 10 + short::PATIENCE;
    // Up to now, and one step more, so that there is something to lose.
    let has_more_to_lose =
        |long: &long::Followed, event: &Event| long.saved && event.seq > now.event_seq && event.kind == EventKind::Progress;
    long.until(&client, "saved", patience, has_more_to_lose).await?;
    let killed_at = long.done;
    output.line("")?;
    output.line(&format!("{} short jobs are done, and the long one is at step {killed_at} of {steps}.", shorts.done.len()))?;
    output.line(
        &output.paint(Paint::Bad, "Now its worker is killed: SIGKILL for the whole server, nothing is saved at the last moment."),
    )?;
    server.kill().await?;
    let dead = Instant::now();
    server.start_again()?;
    server.wait_until_ready().await?;
    output.line(&format!(
        "The server was started again over the same folder and is ready after {:.1} s.",
        dead.elapsed().as_secs_f64()
    ))?;
    let ended = long.read_to_end(&client, output, patience).await?;
    Ok(Outcome { shorts, long: ended, outlasted, killed_at, resumed: long.resumed })
}

fn live_bar(output: &Output) -> ProgressBar {
    let target = if output.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is a constant");
    let bar = ProgressBar::with_draw_target(None, target).with_style(style);
    if output.live {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}

/// Every model that the demo uses must be there.
async fn check_models(client: &Client) -> Result<(), Failed> {
    let models = client.models().await?;
    for name in [magika::MODEL, short::ROMANIZER, long::TERRAIN] {
        if models.models.iter().all(|model| model.name != name) {
            let why = models.broken.iter().find(|broken| broken.folder.starts_with(name)).map(|broken| broken.error.clone());
            let why = why.unwrap_or_else(|| "it is not there".to_owned());
            return Err(failed(format!("the model {name} cannot be served: {why}; run `make setup`")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::short::Short;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let hundred = || 1..=100_u64;
        for (q, expected) in [(0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100), (0.0, 1)] {
            assert_eq!(quantile(hundred(), q), expected, "{q}");
        }
        assert_eq!(quantile([7].into_iter(), 0.99), 7);
        assert_eq!(quantile([].into_iter(), 0.99), 0);
    }

    #[test]
    fn an_outcome_is_good_only_when_everything_was_shown() {
        let long = |state: &str| -> Job {
            serde_json::from_value(serde_json::json!({
                "id": "0190b7c0-0000-7000-8000-000000000000", "state": state, "model": "terrain", "version": "1", "lane": "medium",
                "estimate": {"p50_ms": 1.0, "p90_ms": 1.0}, "created_at_ms": 1, "due_at_ms": 1,
            }))
            .expect("a job")
        };
        let short = |said: &str, waited_ms| Short { said: said.into(), waited_ms, end_to_end_ms: waited_ms };
        let shorts = |done: Vec<Short>| Shorts { done, failures: Vec::new() };
        let resumed: Resumes = serde_json::from_value(serde_json::json!({"done": 7, "total": 20, "after_seq": 9})).expect("ours");
        let good = Outcome {
            shorts: shorts(vec![short("rust 99.0 %", 3); 200]),
            long: long("succeeded"),
            outlasted: true,
            killed_at: 8,
            resumed: Some(resumed),
        };
        assert_eq!(good.check(), Ok(()));
        let rows = [
            (
                Outcome { shorts: Shorts { failures: vec!["a: b".into()], ..good.shorts.clone() }, ..good.clone() },
                "1 short jobs failed; the first: a: b",
            ),
            (Outcome { shorts: shorts(Vec::new()), ..good.clone() }, "no short job"),
            (Outcome { shorts: shorts(vec![short("", 1)]), ..good.clone() }, "said nothing"),
            (Outcome { shorts: shorts(vec![short("x", 2_001); 3]), ..good.clone() }, "at most 2.0 s is promised"),
            (Outcome { long: long("failed"), ..good.clone() }, "the long job is failed"),
            (Outcome { outlasted: false, ..good.clone() }, "try a larger --seconds"),
            (Outcome { resumed: None, ..good.clone() }, "did not go on from a checkpoint"),
        ];
        for (outcome, expected) in rows {
            let why = outcome.check().expect_err(expected);
            assert!(why.contains(expected), "{why:?} should contain {expected:?}");
        }
    }
}
