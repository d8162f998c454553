//! The demo's load: one long job, and many short ones while it runs. Every number comes from the server's events or from this side's
//! clock; nothing is estimated.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use siding_client::{Client, EventKind, Job, JobId, State, Submission};

use super::{
    failed,
    magika::{self, Magika, Verdict},
};
use crate::{
    cli::exit::Failed,
    output::{Output, Paint, human},
};

/// The model that runs as long as it is told to.
const SPIN: &str = "spin";
/// How many numbers one row of its input has.
const SPIN_WIDTH: usize = 64;
/// How long the run that measures its speed is meant to take, in milliseconds.
const CALIBRATION_MS: f64 = 300.0;
/// Short jobs that are under way at any time.
const IN_FLIGHT: usize = 4;
/// One short job is submitted so often.
const SUBMIT_EVERY: Duration = Duration::from_millis(40);
/// One short job in so long a time is shown.
const SHOW_EVERY: Duration = Duration::from_millis(150);
/// Short jobs are submitted during this share of the long job's expected time, so that it outlasts them.
const SHORT_SHARE: f64 = 0.6;
/// How long one job of the demo may take that is not the long one.
const SHORT_PATIENCE: Duration = Duration::from_secs(60);
/// The 99th percentile of the short jobs' waits that the demo stands for, in milliseconds: far below the long job's time, far above
/// what a quiet machine needs (tens of milliseconds), so that a busy disk or neighbour is not taken for a defect.
pub const WAIT_P99_MS_MAX: u64 = 2_000;

/// One short job.
#[derive(Debug, Clone)]
pub struct Short {
    /// What the model said.
    pub verdict: Verdict,
    /// How long it was due before a worker started it, by the server's clock.
    pub waited_ms: u64,
    /// From before it was submitted until its end was known here.
    pub end_to_end_ms: u64,
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The short jobs that succeeded.
    pub short: Vec<Short>,
    /// What went wrong with the others.
    pub failures: Vec<String>,
    /// The long job after its end.
    pub long: Job,
    /// Whether the long job was running when the last short one had ended.
    pub outlasted: bool,
}

impl Outcome {
    /// Whether everything went as Siding promises; else the sentence that says what did not.
    pub fn check(&self) -> Result<(), String> {
        if let Some(first) = self.failures.first() {
            return Err(format!("{} short jobs failed; the first: {first}", self.failures.len()));
        }
        if self.short.is_empty() {
            return Err("no short job was run".to_owned());
        }
        if self.short.iter().any(|short| short.verdict.label.is_empty()) {
            return Err("a file got no label".to_owned());
        }
        let p99 = quantile(self.short.iter().map(|short| short.waited_ms), 0.99);
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

/// Runs the whole load.
pub async fn run(
    client: &Client,
    output: &Output,
    magika: &Magika,
    files: &[PathBuf],
    target: Duration,
) -> Result<Outcome, Failed> {
    let iterations = iterations_for(client, target).await?;
    // The hint is what was just measured here; without it, the manifest's cost (of another machine) would choose the lane.
    let long = client.submit(&spin(iterations)?.expecting(target)).await?;
    let expected = human::duration(long.estimate.p50_ms);
    output.line(&format!("Long job {}: {SPIN}, {iterations} iterations, expected {expected}, lane {}.", long.id, long.lane))?;
    wait_for_start(client, long.id).await?;
    output.line(&format!("It runs. Meanwhile, short jobs on {}, a real model that tells a file's type:", magika::MODEL))?;
    output.line("")?;
    let bar = live_bar(output);
    let (short, failures) = run_short(client, output, magika, files, target.mul_f64(SHORT_SHARE), &bar).await?;
    let outlasted = client.get(long.id).await?.state == State::Running;
    bar.set_message(format!("{} short jobs are done; the long one still runs", short.len()));
    if !output.live {
        output.line(&format!("{} short jobs are done; waiting for the long one.", short.len()))?;
    }
    // Machines differ and get busy: many times the expected time, but not for ever.
    let patience = target * 10 + SHORT_PATIENCE;
    let long = tokio::time::timeout(patience, client.wait(long.id)).await;
    bar.finish_and_clear();
    let long = long.map_err(|_| failed(format!("the long job has not ended within {} s", patience.as_secs())))??;
    Ok(Outcome { short, failures, long, outlasted })
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

/// How many iterations of the long model take `target` here: the manifest's cost is a guess about another machine, so one short run
/// is measured after a first one that loads the model.
async fn iterations_for(client: &Client, target: Duration) -> Result<u64, Failed> {
    let models = client.models().await?;
    let missing = |name: &str| {
        let why = models.broken.iter().find(|broken| broken.folder.starts_with(name)).map(|broken| broken.error.clone());
        failed(format!(
            "the model {name} cannot be served: {}; run `make setup`",
            why.unwrap_or_else(|| "it is not there".to_owned())
        ))
    };
    let model = |name: &str| models.models.iter().find(|model| model.name == name).ok_or_else(|| missing(name));
    model(magika::MODEL)?;
    let per_unit_ms = model(SPIN)?.cost.as_ref().map_or(0.0, |cost| cost.per_unit_ms);
    if per_unit_ms <= 0.0 {
        return Err(failed(format!("the manifest of {SPIN} does not say what one iteration costs")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of iterations, positive")]
    let count = |ms: f64, per_unit_ms: f64| (ms / per_unit_ms).max(1.0) as u64;
    let probe = count(CALIBRATION_MS, per_unit_ms);
    run_spin(client, 1).await?;
    let ran_ms = run_spin(client, probe).await?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds and iterations of one short run")]
    let measured = ran_ms.max(1) as f64 / probe as f64;
    Ok(count(target.as_secs_f64() * 1000.0, measured))
}

/// Runs the long model once and says how long it ran, in milliseconds.
async fn run_spin(client: &Client, iterations: u64) -> Result<u64, Failed> {
    let job = client.submit(&spin(iterations)?).await?;
    let job =
        tokio::time::timeout(SHORT_PATIENCE, client.wait(job.id)).await.map_err(|_| failed("the first job did not end"))??;
    Failed::unless_succeeded(&job)?;
    let ran = job.finished_at_ms.zip(job.started_at_ms).map_or(0, |(finished, started)| finished - started);
    Ok(u64::try_from(ran).unwrap_or(0))
}

fn spin(iterations: u64) -> Result<Submission, Failed> {
    let row = [0.125_f32; SPIN_WIDTH];
    let input = serde_json::json!({
        "x": {"shape": [1, SPIN_WIDTH], "data": &row[..]},
        "iters": {"shape": [], "data": [iterations]},
    });
    Ok(Submission::new(SPIN, &input)?)
}

async fn wait_for_start(client: &Client, id: JobId) -> Result<(), Failed> {
    let started = async {
        let mut events = client.events(id, 0);
        while let Some(event) = events.next().await {
            let event = event?;
            if event.kind == EventKind::Started {
                return Ok(());
            }
            if event.kind.is_terminal() {
                break;
            }
        }
        Err(failed("the long job ended before it started"))
    };
    tokio::time::timeout(SHORT_PATIENCE, started).await.map_err(|_| failed("the long job was not started"))?
}

/// Submits short jobs for as long as `during` and waits for all of them.
async fn run_short(
    client: &Client,
    output: &Output,
    magika: &Magika,
    files: &[PathBuf],
    during: Duration,
    bar: &ProgressBar,
) -> Result<(Vec<Short>, Vec<String>), Failed> {
    let mut ticks = tokio::time::interval(SUBMIT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let begun = Instant::now();
    let due = stream::unfold((ticks, 0), |(mut ticks, i)| async move {
        ticks.tick().await;
        (begun.elapsed() < during).then(|| (&files[i % files.len()], (ticks, i + 1)))
    });
    let work = due.map(|file| async move { (file, classify(client, magika, file).await) });
    let mut done = pin!(work.buffer_unordered(IN_FLIGHT));
    let (mut short, mut failures, mut shown_at) = (Vec::new(), Vec::new(), None::<Instant>);
    while let Some((file, result)) = done.next().await {
        let name = shown_name(file);
        match result {
            Err(why) => {
                bar.suspend(|| output.line(&output.paint(Paint::Bad, &format!("  {name}: {why}"))))?;
                failures.push(format!("{name}: {why}"));
            }
            Ok(one) => {
                if shown_at.is_none_or(|at| at.elapsed() >= SHOW_EVERY) {
                    shown_at = Some(Instant::now());
                    bar.suspend(|| output.line(&line(output, &name, &one)))?;
                }
                short.push(one);
            }
        }
        bar.set_message(format!("the long job runs; {} short jobs are done", short.len()));
    }
    Ok((short, failures))
}

fn line(output: &Output, name: &str, short: &Short) -> String {
    let Verdict { label, confidence, sure } = &short.verdict;
    let sure = if *sure { "" } else { " (not sure)" };
    let told = format!("{label:<12} {:>5.1} %", confidence * 100.0);
    format!("  {name:<48} -> {}  waited {:>4} ms{sure}", output.paint(Paint::Good, &told), short.waited_ms)
}

/// A file's path from here, cut from the left when it is long.
fn shown_name(file: &Path) -> String {
    const CHARS_MAX: usize = 48;
    let here = std::env::current_dir().unwrap_or_default();
    let name = file.strip_prefix(&here).unwrap_or(file).display().to_string();
    let chars = name.chars().count();
    if chars <= CHARS_MAX { name } else { format!("…{}", name.chars().skip(chars - CHARS_MAX + 1).collect::<String>()) }
}

/// One short job, as any caller would run it: submit, follow, read the result.
async fn classify(client: &Client, magika: &Magika, file: &Path) -> Result<Short, String> {
    let content = tokio::fs::read(file).await.map_err(|error| error.to_string())?;
    let submission = Submission::new(magika::MODEL, &magika.input(&content)).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let run = async {
        let job = client.submit(&submission).await.map_err(|error| error.to_string())?;
        let (mut waited_ms, mut end) = (None, None);
        let mut events = client.events(job.id, 0);
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| error.to_string())?;
            waited_ms = event.started().map(|started| started.waited_ms).or(waited_ms);
            end = event.kind.is_terminal().then_some(event).or(end);
        }
        let end_to_end_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match end {
            Some(end) if end.kind == EventKind::Succeeded => {}
            Some(end) => return Err(end.failure().map_or(end.kind.to_string(), |failure| failure.message)),
            None => return Err("its events ended before it did".to_owned()),
        }
        let waited_ms = waited_ms.ok_or("no event told when it started")?;
        let result = client.result(job.id).await.map_err(|error| error.to_string())?;
        Ok(Short { verdict: magika.verdict(&result)?, waited_ms, end_to_end_ms })
    };
    tokio::time::timeout(SHORT_PATIENCE, run).await.map_err(|_| format!("not done within {} s", SHORT_PATIENCE.as_secs()))?
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "id": "0190b7c0-0000-7000-8000-000000000000", "state": state, "model": "spin", "version": "1", "lane": "medium",
                "estimate": {"p50_ms": 1.0, "p90_ms": 1.0}, "created_at_ms": 1, "due_at_ms": 1,
            }))
            .expect("a job")
        };
        let verdict = Verdict { label: "rust".into(), confidence: 1.0, sure: true };
        let short = |waited_ms| Short { verdict: verdict.clone(), waited_ms, end_to_end_ms: waited_ms };
        let good = Outcome { short: vec![short(3); 200], failures: Vec::new(), long: long("succeeded"), outlasted: true };
        assert_eq!(good.check(), Ok(()));
        let rows = [
            (Outcome { failures: vec!["a: b".into()], ..good.clone() }, "1 short jobs failed; the first: a: b"),
            (Outcome { short: Vec::new(), ..good.clone() }, "no short job"),
            (Outcome { short: vec![short(2_001); 3], ..good.clone() }, "at most 2.0 s is promised"),
            (Outcome { long: long("failed"), ..good.clone() }, "the long job is failed"),
            (Outcome { outlasted: false, ..good.clone() }, "try a larger --seconds"),
        ];
        for (outcome, expected) in rows {
            let why = outcome.check().expect_err(expected);
            assert!(why.contains(expected), "{why:?} should contain {expected:?}");
        }
    }
}
