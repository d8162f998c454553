//! The demo's short jobs, on two real models: what kind of file is this, and how is this name written with Latin letters? Every number comes from
//! the server's events or from this side's clock; nothing is estimated.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use serde::Deserialize;
use siding_client::{Client, EventKind, Submission};

use super::magika::{self, Magika};
use crate::{
    cli::exit::Failed,
    output::{Output, Paint},
};

/// The model that writes names, letter by letter.
pub const ROMANIZER: &str = "romanizer";
/// Names as people have them.
const NAMES: [&str; 8] = ["محمد", "فاطمة", "يوسف", "عبدالرحمن", "خديجة", "إبراهيم", "زينب", "عمر"];
/// One short job in so many writes a name.
const NAME_EVERY: usize = 4;
/// Short jobs that are under way at any time.
const IN_FLIGHT: usize = 4;
/// One short job is submitted so often.
const SUBMIT_EVERY: Duration = Duration::from_millis(40);
/// One short job in so long a time is shown.
const SHOW_EVERY: Duration = Duration::from_millis(150);
/// How long one job of the demo may take that is not the long one.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One short job.
#[derive(Debug, Clone)]
pub struct Short {
    /// What the model said; empty when it said nothing.
    pub said: String,
    /// How long it was due before a worker started it, by the server's clock.
    pub waited_ms: u64,
    /// From before it was submitted until its end was known here.
    pub end_to_end_ms: u64,
}

/// What one short job is about.
#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    File(&'a Path),
    Name(&'a str),
}

/// What came of the short jobs.
#[derive(Debug, Clone, Default)]
pub struct Shorts {
    /// Those that succeeded.
    pub done: Vec<Short>,
    /// What went wrong with the others.
    pub failures: Vec<String>,
}

/// Submits short jobs for as long as `during` and waits for all of them.
pub async fn run(
    client: &Client,
    output: &Output,
    magika: &Magika,
    files: &[PathBuf],
    during: Duration,
    bar: &ProgressBar,
) -> Result<Shorts, Failed> {
    let mut ticks = tokio::time::interval(SUBMIT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let begun = Instant::now();
    let due = stream::unfold((ticks, 0), |(mut ticks, i)| async move {
        ticks.tick().await;
        (begun.elapsed() < during).then(|| (subject(files, i), (ticks, i + 1)))
    });
    let work = due.map(|subject| async move { (subject, job(client, magika, subject).await) });
    let mut ended = pin!(work.buffer_unordered(IN_FLIGHT));
    let (mut shorts, mut shown_at) = (Shorts::default(), None::<Instant>);
    while let Some((subject, result)) = ended.next().await {
        let name = shown(subject);
        match result {
            Err(why) => {
                bar.suspend(|| output.line(&output.paint(Paint::Bad, &format!("  {name}: {why}"))))?;
                shorts.failures.push(format!("{name}: {why}"));
            }
            Ok(one) => {
                if shown_at.is_none_or(|at| at.elapsed() >= SHOW_EVERY) {
                    shown_at = Some(Instant::now());
                    let said = output.paint(Paint::Good, &format!("{:<22}", one.said));
                    bar.suspend(|| output.line(&format!("  {name:<48} -> {said}  waited {:>4} ms", one.waited_ms)))?;
                }
                shorts.done.push(one);
            }
        }
        bar.set_message(format!("the long job runs; {} short jobs are done", shorts.done.len()));
    }
    Ok(shorts)
}

fn subject(files: &[PathBuf], index: usize) -> Subject<'_> {
    match index % NAME_EVERY {
        0 => Subject::Name(NAMES[index / NAME_EVERY % NAMES.len()]),
        _ => Subject::File(&files[index % files.len()]),
    }
}

/// What it is about, from here: a path is cut from the left when it is long.
fn shown(subject: Subject<'_>) -> String {
    const CHARS_MAX: usize = 48;
    let file = match subject {
        Subject::File(file) => file,
        Subject::Name(name) => return name.to_owned(),
    };
    let here = std::env::current_dir().unwrap_or_default();
    let path = file.strip_prefix(&here).unwrap_or(file).display().to_string();
    let chars = path.chars().count();
    if chars <= CHARS_MAX { path } else { format!("…{}", path.chars().skip(chars - CHARS_MAX + 1).collect::<String>()) }
}

/// One short job from its input to what the model said. An error is a sentence.
async fn job(client: &Client, magika: &Magika, subject: Subject<'_>) -> Result<Short, String> {
    let submission = match subject {
        Subject::File(file) => {
            let content = tokio::fs::read(file).await.map_err(|error| error.to_string())?;
            Submission::new(magika::MODEL, &magika.input(&content))
        }
        Subject::Name(name) => Submission::new(ROMANIZER, &serde_json::json!({ "text": name })),
    };
    let submission = submission.map_err(|error| error.to_string())?;
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
        let said = match subject {
            Subject::File(_) => magika.verdict(&result)?.to_string(),
            Subject::Name(_) => written(result.get())?,
        };
        Ok(Short { said, waited_ms, end_to_end_ms })
    };
    tokio::time::timeout(PATIENCE, run).await.map_err(|_| format!("not done within {} s", PATIENCE.as_secs()))?
}

/// The name that the model has written.
fn written(output: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Output {
        text: String,
    }
    let output: Output = serde_json::from_str(output).map_err(|error| format!("the output is not as expected: {error}"))?;
    Ok(output.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_take_turns_and_come_again() {
        let files = [PathBuf::from("a"), PathBuf::from("b")];
        let told: Vec<_> = (0..9).map(|index| shown(subject(&files, index))).collect();
        assert_eq!(told, [NAMES[0], "b", "a", "b", NAMES[1], "b", "a", "b", NAMES[2]]);
    }

    #[test]
    fn what_the_model_wrote_is_read_from_its_output() {
        assert_eq!(written(r#"{"text":"Omar","tokens":[1,2]}"#).as_deref(), Ok("Omar"));
        assert!(written("{}").is_err());
    }
}
