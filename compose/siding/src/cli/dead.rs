//! `siding dead list|show|replay|drop`: jobs that failed and that nobody has dealt with. A replay or drop goes on, request by request, until
//! nothing that is meant is left; ended in the middle, the same command goes on. It never deals with what fails after it has begun.

use siding_client::{Client, DeadFilter, Deal, Dealt, Event, EventKind, Job, JobId};
use siding_core::{api::Rfc3339, clock::Timestamp};

use super::{
    args::{DeadCommand, DeadListArgs, DealArgs},
    exit::Failed,
    jobs, watch,
};
use crate::output::{Format, Output, Paint, Table, human};

/// Jobs that one request asks for.
const PAGE_JOBS: usize = 200;
/// Jobs that one request deals with at most.
const DEAL_JOBS: usize = 1000;

/// What is to become of dead jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Replay,
    Drop,
}

/// `siding dead`
pub async fn run(client: &Client, output: &Output, command: DeadCommand) -> Result<(), Failed> {
    match command {
        DeadCommand::List(args) => list(client, output, args).await,
        DeadCommand::Show { id } => show(client, output, id).await,
        DeadCommand::Replay(args) => deal(client, output, args, How::Replay).await,
        DeadCommand::Drop(args) => deal(client, output, args, How::Drop).await,
    }
}

async fn list(client: &Client, output: &Output, args: DeadListArgs) -> Result<(), Failed> {
    let filter = DeadFilter::from(args.filter);
    let (mut found, mut cursor): (Vec<Job>, Option<String>) = (Vec::new(), None);
    while found.len() < args.limit {
        let wanted = (args.limit - found.len()).min(PAGE_JOBS);
        let page = client.dead(&filter, Some(wanted), cursor.as_deref()).await?;
        if output.format == Format::Jsonl {
            page.jobs.iter().try_for_each(|job| output.json(job))?;
        }
        found.extend(page.jobs);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    match output.format {
        Format::Jsonl => Ok(()),
        Format::Json => Ok(output.json(&serde_json::json!({ "jobs": found }))?),
        Format::Table if output.quiet => Ok(found.iter().try_for_each(|job| output.line(&job.id.to_string()))?),
        Format::Table => print_table(output, &found),
    }
}

fn print_table(output: &Output, dead: &[Job]) -> Result<(), Failed> {
    let now = jobs::now_ms();
    let mut table = Table::new(&["JOB", "MODEL", "LANE", "FAILED", ">ATTEMPTS", "CODE", "WHY"]);
    for job in dead {
        let (code, why) = job.failure.as_ref().map_or(("", ""), |failure| (failure.code.as_str(), failure.message.as_str()));
        table.row([
            job.id.to_string(),
            format!("{}/{}", job.model, job.version),
            job.lane.clone(),
            job.finished_at_ms.map_or(String::new(), |at| human::age(now, at)),
            job.attempt.to_string(),
            code.to_owned(),
            why.to_owned(),
        ]);
        table.paint(5, Paint::Bad);
    }
    output.table(&table)?;
    if dead.is_empty() {
        output.note("no dead jobs");
    }
    Ok(())
}

/// The job, and what its attempts came to.
async fn show(client: &Client, output: &Output, id: JobId) -> Result<(), Failed> {
    let job = client.get(id).await?;
    let mut attempts = Vec::new();
    if job.state.is_terminal() {
        let mut events = client.events(id, 0);
        while let Some(event) = events.next().await {
            let event = event?;
            if matches!(event.kind, EventKind::Started | EventKind::Retrying | EventKind::Interrupted | EventKind::Failed) {
                attempts.push(event);
            }
        }
    }
    if output.format != Format::Table {
        return Ok(output.json(&serde_json::json!({ "job": job, "attempts": attempts }))?);
    }
    jobs::print(output, &job)?;
    let first = attempts.first().map_or(0, |event: &Event| event.at_ms);
    if !output.quiet {
        attempts.iter().try_for_each(|event| output.line(&watch::line(event, event.at_ms - first, output)))?;
    }
    Ok(())
}

async fn deal(client: &Client, output: &Output, args: DealArgs, how: How) -> Result<(), Failed> {
    let mut skipped = 0;
    let mut count = if args.ids.is_empty() { deal_matching(client, output, &args, how).await? } else { 0 };
    for ids in args.ids.chunks(DEAL_JOBS) {
        let dealt = ask(client, Deal::jobs(ids.iter().copied()), args.dry_run, how).await?;
        print(output, &dealt, how)?;
        count += dealt.jobs.len();
        skipped += dealt.skipped.len();
        if dealt.more {
            return Err(Failed::Unreachable("the server could not go on; the same command again does".to_owned()));
        }
    }
    if output.format == Format::Table && !output.quiet {
        let would = if args.dry_run { "would be " } else { "" };
        output.line(&format!("{count} {would}{}", past(how)))?;
    }
    match skipped {
        0 => Ok(()),
        _ => Err(Failed::Usage(format!("{skipped} of the jobs are not dead"))),
    }
}

/// Deals with what matches, request by request. Returns how many jobs that were.
async fn deal_matching(client: &Client, output: &Output, args: &DealArgs, how: How) -> Result<usize, Failed> {
    let filter = failed_so_far(client, args.filter.clone().into()).await?;
    let mut count = 0;
    loop {
        let left = args.limit.unwrap_or(usize::MAX) - count;
        if left == 0 {
            break;
        }
        let dealt = ask(client, Deal::matching(filter.clone()).at_most(left.min(DEAL_JOBS)), args.dry_run, how).await?;
        print(output, &dealt, how)?;
        count += dealt.jobs.len();
        // A dry run leaves them dead: another one would tell the same again.
        if dealt.dry_run && dealt.more && count < args.limit.unwrap_or(usize::MAX) {
            output.note(&format!("there are more than these {count}"));
        }
        if dealt.dry_run || !dealt.more || dealt.jobs.is_empty() {
            break;
        }
    }
    Ok(count)
}

/// The filter up to the newest failure that it matches now. A replay that fails matches a filter without an end, and as the newest: the next
/// request would run it again, and so on, and never come to the oldest.
async fn failed_so_far(client: &Client, filter: DeadFilter) -> Result<DeadFilter, Failed> {
    let newest = client.dead(&filter, Some(1), None).await?.jobs.pop();
    // The service's time of that failure, and not the time of this machine: their clocks may differ. None at all: before any failure.
    let end = newest.and_then(|job| job.finished_at_ms).map_or(Timestamp(0), |at| Timestamp(at + 1));
    Ok(DeadFilter { failed_until: Some(Rfc3339(end).to_string()), ..filter })
}

async fn ask(client: &Client, deal: Deal, dry_run: bool, how: How) -> Result<Dealt, Failed> {
    let deal = if dry_run { deal.dry_run() } else { deal };
    Ok(match how {
        How::Replay => client.replay_dead(&deal).await?,
        How::Drop => client.drop_dead(&deal).await?,
    })
}

fn print(output: &Output, dealt: &Dealt, how: How) -> Result<(), Failed> {
    if output.format != Format::Table {
        return Ok(output.json(dealt)?);
    }
    for job in &dealt.jobs {
        let line = match job.retried_by {
            Some(by) if output.quiet => by.to_string(),
            Some(by) => format!("{}  {} as {by}", job.id, past(how)),
            None if output.quiet => job.id.to_string(),
            None if dealt.dry_run => format!("{}  would be {}", job.id, past(how)),
            None => format!("{}  {}", job.id, past(how)),
        };
        output.line(&line)?;
    }
    if !output.quiet {
        for skipped in &dealt.skipped {
            let by = skipped.retried_by.map_or(String::new(), |by| format!(", run again as {by}"));
            output.line(&format!("{}  skipped: {}{by}", skipped.id, skipped.reason.replace('_', " ")))?;
        }
    }
    Ok(())
}

fn past(how: How) -> &'static str {
    match how {
        How::Replay => "replayed",
        How::Drop => "dropped",
    }
}
