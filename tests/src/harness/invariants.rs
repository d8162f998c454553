//! The promises, as checks over the store and the broker of a system that has come to rest: every accepted job in exactly one terminal
//! state with exactly one terminal event, events without gaps, no lease left, nothing due and unpublished, nothing unsettled.

use siding_core::{
    broker::Consumer,
    id::{EventSeq, LaneName},
    job::EventKind,
    store::{Dispatch, Feed, JobFilter, JobRecord, Jobs, Page},
};

/// Checks everything; returns what is wrong, one line each.
///
/// # Panics
/// When the store cannot be read.
pub async fn violations(
    jobs: &dyn Jobs,
    feed: &dyn Feed,
    dispatch: &dyn Dispatch,
    consumer: &dyn Consumer,
    lanes: &[LaneName],
) -> Vec<String> {
    let mut found = Vec::new();
    for job in all_jobs(jobs).await {
        found.extend(job_violations(&job, feed).await);
    }
    let unpublished = dispatch.backlog(usize::from(u16::MAX)).await.expect("the store can be read");
    if unpublished > 0 {
        found.push(format!("{unpublished} jobs are due and unpublished"));
    }
    for lane in lanes {
        let ready = consumer.ready_count(lane).await.expect("the lane has a queue");
        if ready > 0 {
            found.push(format!("{ready} messages wait in lane {lane}"));
        }
    }
    found
}

/// Every job of the store.
///
/// # Panics
/// When the store cannot be read.
pub async fn all_jobs(jobs: &dyn Jobs) -> Vec<JobRecord> {
    let mut all: Vec<JobRecord> = Vec::new();
    loop {
        let before = all.last().map(|job| (job.created_at, job.id));
        let page = jobs.list(&JobFilter::default(), Page { before, limit: 500 }).await.expect("the store can be read");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

async fn job_violations(job: &JobRecord, feed: &dyn Feed) -> Vec<String> {
    let mut found = Vec::new();
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(EventSeq(0), |event: &siding_core::job::Event| event.seq);
        let page = feed.events(job.id, after, 256).await.expect("the store can be read");
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    if !job.state.is_terminal() {
        found.push(format!("job {} rests in state {}", job.id, job.state));
    }
    if job.worker.is_some() {
        found.push(format!("job {} still has a holder", job.id));
    }
    let gapless = events.iter().enumerate().all(|(index, event)| event.seq.0 as usize == index + 1);
    if !gapless || events.last().map(|event| event.seq) != Some(job.event_seq) {
        let seqs: Vec<_> = events.iter().map(|event| event.seq.0).collect();
        found.push(format!("job {} has events {seqs:?}, its newest is {}", job.id, job.event_seq));
    }
    let terminal: Vec<EventKind> = events.iter().map(|event| event.kind).filter(|kind| kind.is_terminal()).collect();
    if terminal != EventKind::of_terminal(job.state).into_iter().collect::<Vec<_>>() {
        found.push(format!("job {} is {} and has the terminal events {terminal:?}", job.id, job.state));
    }
    if terminal.len() == 1 && !events.last().is_some_and(|event| event.kind.is_terminal()) {
        found.push(format!("job {} has events after its terminal one", job.id));
    }
    let starts = events.iter().filter(|event| event.kind == EventKind::Started).count();
    if starts != job.attempt.0 as usize {
        found.push(format!("job {} has {} attempts and {starts} started events", job.id, job.attempt));
    }
    found
}
