//! `siding jobs watch`: a job's events as they happen, with a progress bar where a person looks at it. It never touches the job; giving
//! up waiting leaves it running.

use std::{future::Future, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use siding_client::{Client, Event, EventKind, Job, JobId};

use super::{args::WatchArgs, exit::Failed, jobs};
use crate::output::{Format, Output, Paint, human};

/// `siding jobs watch`
pub async fn run(client: &Client, output: &Output, args: WatchArgs) -> Result<(), Failed> {
    let limit = args.timeout.map(Duration::from_secs);
    let job = follow(client, output, args.id, args.after, limit).await?;
    if output.format == Format::Table && !output.quiet {
        jobs::print(output, &job)?;
    }
    Failed::unless_succeeded(&job)
}

/// Prints the job's events after number `after` until its end, and returns it.
pub async fn follow(client: &Client, output: &Output, id: JobId, after: u64, limit: Option<Duration>) -> Result<Job, Failed> {
    let mut view = View::new(output);
    let followed = within(limit, id, async {
        let mut events = client.events(id, after);
        while let Some(event) = events.next().await {
            view.show(&event?)?;
        }
        Ok(client.get(id).await?)
    });
    let followed = followed.await;
    view.bar.finish_and_clear();
    followed
}

/// Waits for `work` at most `limit`.
pub async fn within<T>(limit: Option<Duration>, id: JobId, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let Some(limit) = limit else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let secs = limit.as_secs();
        Err(Failed::Timeout(format!("job {id} has not ended within {secs} s; it goes on: `siding jobs watch {id}`")))
    })
}

struct View<'a> {
    output: &'a Output,
    /// Hidden unless a person looks at it.
    bar: ProgressBar,
    /// When the first event that was shown happened.
    first_at_ms: Option<i64>,
}

impl<'a> View<'a> {
    fn new(output: &'a Output) -> Self {
        let target = if output.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_style(spinner());
        if output.live {
            bar.set_message("waiting");
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { output, bar, first_at_ms: None }
    }

    fn show(&mut self, event: &Event) -> Result<(), Failed> {
        if self.output.format != Format::Table {
            return Ok(self.output.json(event)?);
        }
        if self.output.quiet {
            return Ok(());
        }
        let since_first = event.at_ms - *self.first_at_ms.get_or_insert(event.at_ms);
        if let Some(progress) = event.progress().filter(|_| self.output.live) {
            self.bar.set_position(progress.done);
            if let Some(total) = progress.total {
                self.bar.set_length(total);
                self.bar.set_style(bar());
            }
            return Ok(());
        }
        self.bar.set_message(event.kind.to_string());
        let line = line(event, since_first, self.output);
        self.bar.suspend(|| self.output.line(&line))?;
        Ok(())
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} for {elapsed}").expect("the template is a constant")
}

fn bar() -> ProgressStyle {
    ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {eta} left").expect("the template is a constant")
}

/// One event as one line: seconds since the first, its word, and what it tells.
pub(super) fn line(event: &Event, since_first_ms: i64, output: &Output) -> String {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one job's life")]
    let secs = since_first_ms as f64 / 1000.0;
    let paint = match event.kind {
        EventKind::Succeeded => Paint::Good,
        EventKind::Failed | EventKind::Expired | EventKind::Retrying => Paint::Bad,
        EventKind::Started | EventKind::Interrupted | EventKind::Cancelling => Paint::Busy,
        _ => Paint::Dim,
    };
    let kind = output.paint(paint, &format!("{:<11}", event.kind));
    format!("{secs:>9.3} s  {kind}  {}", told(event)).trim_end().to_owned()
}

fn told(event: &Event) -> String {
    if let Some(started) = event.started() {
        let lost = if started.takeover { ", taken over from a lost worker" } else { "" };
        let resumes =
            started.resumes.map_or(String::new(), |resumes| format!(", goes on from {}", of(resumes.done, resumes.total)));
        let waited = human::millis(started.waited_ms);
        return format!("attempt {} in lane {}, waited {waited}{lost}{resumes}", event.attempt, started.lane);
    }
    if let Some(progress) = event.progress() {
        return of(progress.done, progress.total);
    }
    if let Some(saved) = event.checkpoint() {
        return format!("saved at {}, {}", of(saved.done, saved.total), human::bytes(saved.bytes));
    }
    if let Some(failure) = event.failure() {
        return format!("{}: {}", failure.code, failure.message);
    }
    if event.kind == EventKind::Queued {
        let lane = event.data.get("lane").and_then(Value::as_str).unwrap_or("unknown");
        let expected = event.data.pointer("/estimate/p50_ms").and_then(Value::as_f64);
        return format!(
            "lane {lane}{}",
            expected.map_or(String::new(), |ms| format!(", expected to run {}", human::duration(ms)))
        );
    }
    let span = |key: &str, word: &str| Some(format!("{word} {}", human::millis(event.data.get(key)?.as_u64()?)));
    let met = event.data.get("met").and_then(Value::as_str).map(|met| format!("met {}", met.replace('_', " ")));
    let spans: Vec<_> = [span("run_ms", "ran"), span("stopped_after_ms", "stopped after"), met].into_iter().flatten().collect();
    match &event.data {
        _ if !spans.is_empty() => spans.join(", "),
        Value::Object(data) if data.is_empty() => String::new(),
        Value::Null => String::new(),
        data => data.to_string(),
    }
}

fn of(done: u64, total: Option<u64>) -> String {
    total.map_or(done.to_string(), |total| format!("{done} of {total}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_what_it_tells() {
        let rows = [
            (
                r#""queued","data":{"lane":"short","estimate":{"p50_ms":1500.5}}"#,
                "    1.500 s  queued       lane short, expected to run 1.5 s",
            ),
            (r#""cancelling","data":{}"#, "    1.500 s  cancelling"),
            (
                r#""canceled","data":{"run_ms":900,"stopped_after_ms":33}"#,
                "    1.500 s  canceled     ran 900 ms, stopped after 33 ms",
            ),
            (
                r#""started","data":{"worker":"w","lane":"short","waited_ms":12,"takeover":true}"#,
                "    1.500 s  started      attempt 2 in lane short, waited 12 ms, taken over from a lost worker",
            ),
            (
                r#""started","data":{"worker":"w","lane":"short","waited_ms":12,"resumes":{"done":3,"total":4,"after_seq":9}}"#,
                "    1.500 s  started      attempt 2 in lane short, waited 12 ms, goes on from 3 of 4",
            ),
            (r#""checkpoint","data":{"done":3,"total":4,"bytes":1536}"#, "    1.500 s  checkpoint   saved at 3 of 4, 1.5 KiB"),
            (
                r#""canceled","data":{"while":"running","met":"between_steps","stopped_after_ms":33,"spent_ms":30}"#,
                "    1.500 s  canceled     stopped after 33 ms, met between steps",
            ),
            (r#""progress","data":{"done":3,"total":4}"#, "    1.500 s  progress     3 of 4"),
            (r#""progress","data":{"done":3}"#, "    1.500 s  progress     3"),
            (r#""failed","data":{"code":"panicked","message":"ouch"}"#, "    1.500 s  failed       panicked: ouch"),
            (r#""succeeded","data":{"run_ms":7}"#, "    1.500 s  succeeded    ran 7 ms"),
            (r#""interrupted","data":{"reason":"drain"}"#, "    1.500 s  interrupted  {\"reason\":\"drain\"}"),
            (r#""demoted""#, "    1.500 s  unknown"),
        ];
        let output = Output::plain();
        for (rest, expected) in rows {
            let event: Event =
                serde_json::from_str(&format!(r#"{{"seq":1,"at_ms":9,"attempt":2,"kind":{rest}}}"#)).expect("an event");
            assert_eq!(line(&event, 1500, &output), expected);
        }
    }
}
