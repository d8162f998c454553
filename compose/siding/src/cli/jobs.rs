//! `siding jobs list|get|result|cancel|retry`, and how a job is printed. Results only: what to do next is the caller's.

use std::{
    pin::pin,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, TryStreamExt};
use siding_client::{Client, Job, JobFilter, JobId};

use super::{
    args::{Follow, ListArgs},
    exit::Failed,
    submit,
};
use crate::output::{Format, Output, Table, human, paint_of};

/// Jobs that one request asks for.
const PAGE_JOBS: usize = 200;

/// `siding jobs list`
pub async fn list(client: &Client, output: &Output, args: ListArgs) -> Result<(), Failed> {
    let page_size = Some(args.limit.clamp(1, PAGE_JOBS));
    let filter = JobFilter { states: args.state, model: args.model, lane: args.lane, page_size };
    let mut jobs = pin!(client.list_all(filter).take(args.limit));
    if output.format == Format::Jsonl {
        while let Some(job) = jobs.try_next().await? {
            output.json(&job)?;
        }
        return Ok(());
    }
    let jobs: Vec<Job> = jobs.try_collect().await?;
    match output.format {
        _ if output.quiet => jobs.iter().try_for_each(|job| output.line(&job.id.to_string()))?,
        Format::Json => output.json(&serde_json::json!({ "jobs": jobs }))?,
        _ => print_table(output, &jobs)?,
    }
    Ok(())
}

fn print_table(output: &Output, jobs: &[Job]) -> Result<(), Failed> {
    let now = now_ms();
    let mut table = Table::new(&["JOB", "STATE", "MODEL", "LANE", ">EXPECTED", ">WAITED", ">RAN", ">FAILED", "ACCEPTED"]);
    for job in jobs {
        let ended = job.finished_at_ms.unwrap_or(now);
        let span = |from: i64, to: i64| human::millis(u64::try_from(to - from).unwrap_or(0));
        table.row([
            job.id.to_string(),
            stands(job),
            format!("{}/{}", job.model, job.version),
            job.lane.clone(),
            human::duration(job.estimate.p50_ms),
            span(job.due_at_ms.min(job.started_at_ms.unwrap_or(ended)), job.started_at_ms.unwrap_or(ended)),
            job.started_at_ms.map_or("-".to_owned(), |started| span(started, ended)),
            format!("{}/{}", job.failures, job.attempts_max),
            human::age(now, job.created_at_ms),
        ]);
        table.paint(1, paint_of(job.state));
    }
    output.table(&table)?;
    if jobs.is_empty() {
        output.note("no jobs");
    }
    Ok(())
}

/// `siding jobs get`
pub async fn get(client: &Client, output: &Output, id: JobId) -> Result<(), Failed> {
    print(output, &client.get(id).await?)
}

/// `siding jobs result`
pub async fn result(client: &Client, output: &Output, id: JobId) -> Result<(), Failed> {
    Ok(output.line(client.result(id).await?.get())?)
}

/// `siding jobs cancel`
pub async fn cancel(client: &Client, output: &Output, id: JobId) -> Result<(), Failed> {
    print(output, &client.cancel(id).await?)
}

/// `siding jobs retry`
pub async fn retry(client: &Client, output: &Output, id: JobId, follow: &Follow) -> Result<(), Failed> {
    let job = client.retry(id).await?;
    submit::follow(client, output, job, follow).await
}

/// Prints one job: its id alone, as JSON, or as lines of names and values.
pub fn print(output: &Output, job: &Job) -> Result<(), Failed> {
    if output.format != Format::Table {
        return Ok(output.json(job)?);
    }
    if output.quiet {
        return Ok(output.line(&job.id.to_string())?);
    }
    for (name, value) in details(job, now_ms()) {
        let value = if name == "state" { output.paint(paint_of(job.state), &value) } else { value };
        output.line(&format!("{name:<9} {value}"))?;
    }
    Ok(())
}

fn details(job: &Job, now: i64) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("job", job.id.to_string()),
        ("state", stands(job)),
        ("model", format!("{}/{}", job.model, job.version)),
        ("lane", job.lane.clone()),
        (
            "expected",
            format!(
                "{} (p90 {}, by {})",
                human::duration(job.estimate.p50_ms),
                human::duration(job.estimate.p90_ms),
                job.estimate.source
            ),
        ),
        ("attempts", format!("{} started, {} failed of {} allowed", job.attempt, job.failures, job.attempts_max)),
        ("accepted", human::age(now, job.created_at_ms)),
    ];
    let span = |from: i64, to: i64| human::millis(u64::try_from(to - from).unwrap_or(0));
    if job.due_at_ms > now && !job.state.is_terminal() && job.started_at_ms.is_none() {
        details.push(("due in", span(now, job.due_at_ms)));
    }
    if let Some(position) = job.position {
        details.push(("before it", format!("{position} jobs in its lane")));
    }
    if let Some(started) = job.started_at_ms {
        details.push(("started", human::age(now, started)));
        details.push(("ran", span(started, job.finished_at_ms.unwrap_or(now))));
    }
    if let Some(original) = job.retry_of {
        details.push(("retry of", original.to_string()));
    }
    if let Some(again) = job.retried_by {
        details.push(("run again", again.to_string()));
    }
    if let Some(at) = job.dropped_at_ms {
        details.push(("dropped", human::age(now, at)));
    }
    if let Some(failure) = &job.failure {
        details.push(("failure", format!("{}: {}", failure.code, failure.message)));
    }
    if let Some(result) = &job.output {
        details.push(("output", result.get().to_owned()));
    }
    if let Some(bytes) = job.output_bytes {
        details.push(("output", format!("{}: siding jobs result {}", human::bytes(bytes), job.id)));
    }
    details
}

/// The job's state; of one that waits for its time, that it does.
fn stands(job: &Job) -> String {
    if job.scheduled { format!("{}, scheduled", job.state) } else { job.state.to_string() }
}

pub(super) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_with_what_it_has() {
        let told = |extra: &str| {
            let job: Job = serde_json::from_str(&format!(
                r#"{{"id":"0190b7c0-0000-7000-8000-000000000000","state":"queued","model":"m","version":"1","lane":"short",
                "estimate":{{"p50_ms":1500,"p90_ms":2250,"source":"hint"}},"created_at_ms":1000,"due_at_ms":1000{extra}}}"#
            ))
            .expect("a job");
            details(&job, 5000).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
        };
        assert!(told(r#","scheduled":true"#).contains("state=queued, scheduled;"), "{}", told(r#","scheduled":true"#));
        let plain = told("");
        assert!(plain.contains("expected=1.5 s (p90 2.2 s, by hint)") && plain.ends_with("accepted=4s ago"), "{plain}");
        let rows = [
            (r#","position":3"#, "before it=3 jobs in its lane"),
            (r#","started_at_ms":2000"#, "ran=3.0 s"),
            (r#","started_at_ms":2000,"finished_at_ms":2500"#, "ran=500 ms"),
            (r#","failure":{"code":"panicked","message":"ouch"}"#, "failure=panicked: ouch"),
            (r#","output":{"y": 1}"#, "output={\"y\": 1}"),
            (r#","output_bytes":1048576"#, "output=1.0 MiB: siding jobs result 0190b7c0-0000-7000-8000-000000000000"),
        ];
        for (extra, expected) in rows {
            assert!(told(extra).ends_with(expected), "{}", told(extra));
        }
    }
}
