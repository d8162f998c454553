//! Lists, positions, counts and events.

use siding_core::{
    id::{EventSeq, JobId},
    job::{EventKind, State},
    store::{Counts, JobFilter, NewJob, Page, Start},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{Given, SECOND, finish, lane, new_job, progress, succeeded};

async fn list(seam: &StoreSeam, filter: &JobFilter) -> Vec<JobId> {
    let listed = seam.store.list(filter, Page { before: None, limit: 100 }).await.expect("read");
    listed.into_iter().map(|job| job.id).collect()
}

pub async fn a_list_shows_the_newest_first_and_its_pages_fit_together(seam: &StoreSeam) {
    let mut accepted = Vec::new();
    for _ in 0..3 {
        // Three of one moment: pages must not split on the time alone.
        for _ in 0..3 {
            accepted.push(seam.accept(new_job()).await);
        }
        seam.pass(SECOND);
    }
    accepted.sort_by_key(|job| std::cmp::Reverse((job.created_at, job.id)));
    for limit in [1, 2, 4, 100] {
        let mut listed = Vec::new();
        loop {
            let before = listed.last().map(|job: &siding_core::store::JobRecord| (job.created_at, job.id));
            let page = seam.store.list(&JobFilter::default(), Page { before, limit }).await.expect("read");
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            listed.extend(page);
        }
        assert_eq!(listed, accepted, "pages of {limit}");
    }
}

pub async fn a_list_shows_what_its_filter_asks_for(seam: &StoreSeam) {
    let queued = seam.queued().await;
    let running = seam.running().await.job;
    let other_model = seam.accept(NewJob { model: "spin".parse().expect("a valid name"), ..new_job() }).await.id;
    let other_lane = seam.accept(NewJob { lane: lane("long"), ..new_job() }).await.id;
    let filter = JobFilter::default;
    let model = |name: &str| Some(name.parse().expect("a valid name"));
    let rows = [
        (filter(), vec![queued, running, other_model, other_lane]),
        (JobFilter { states: vec![State::Running], ..filter() }, vec![running]),
        (JobFilter { states: vec![State::Queued, State::Running], ..filter() }, vec![queued, running, other_model, other_lane]),
        (JobFilter { states: vec![State::Failed], ..filter() }, vec![]),
        (JobFilter { model: model("spin"), ..filter() }, vec![other_model]),
        (JobFilter { model: model("none"), ..filter() }, vec![]),
        (JobFilter { lane: Some(lane("long")), ..filter() }, vec![other_lane]),
        (JobFilter { lane: Some(lane("long")), states: vec![State::Running], ..filter() }, vec![]),
    ];
    for (filter, mut expected) in rows {
        let mut listed = list(seam, &filter).await;
        listed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(listed, expected, "{filter:?}");
    }
}

pub async fn a_position_counts_what_is_due_before_in_the_same_lane(seam: &StoreSeam) {
    let first = seam.queued().await;
    seam.pass(SECOND);
    let second = seam.queued().await;
    seam.accept(NewJob { lane: lane("long"), ..new_job() }).await;
    let later = seam.accept(NewJob { start: Start::In(10 * SECOND), ..new_job() }).await.id;
    let position = |job| async move { seam.store.position(job).await.expect("read") };
    assert_eq!((position(first).await, position(second).await, position(later).await), (Some(0), Some(1), Some(2)));
    seam.start(first).await;
    assert_eq!((position(first).await, position(second).await, position(later).await), (None, Some(0), Some(1)));
}

pub async fn jobs_of_one_moment_have_positions_of_their_own(seam: &StoreSeam) {
    let jobs = (0..5).map(|_| new_job()).collect::<Vec<_>>();
    seam.store.submit(jobs.clone()).await.expect("submit");
    let mut positions = Vec::new();
    for job in &jobs {
        positions.push(seam.store.position(job.id).await.expect("read").expect("it waits"));
    }
    positions.sort_unstable();
    assert_eq!(positions, [0, 1, 2, 3, 4]);
}

pub async fn the_counts_tell_what_waits_and_runs_in_each_lane(seam: &StoreSeam) {
    assert_eq!(seam.store.counts().await.expect("read"), []);
    for state in State::ALL {
        seam.in_state(state).await;
    }
    seam.accept(NewJob { start: Start::In(60 * SECOND), ..new_job() }).await;
    let long = seam.accept(NewJob { lane: lane("long"), ..new_job() }).await.id;
    seam.start(long).await;
    let oldest = seam.now();
    seam.pass(3 * SECOND);
    let counts = seam.store.counts().await.expect("read");
    let instant = counts.iter().find(|counts| counts.lane == lane("instant")).expect("the lane has jobs");
    assert_eq!((instant.queued, instant.scheduled, instant.running), (1, 1, 2));
    assert!(instant.oldest_due_for >= Some(seam.now().since(oldest)), "{instant:?}");
    let long = Counts { lane: lane("long"), queued: 0, scheduled: 0, running: 1, oldest_due_for: None };
    assert_eq!(counts.iter().filter(|counts| **counts == long).count(), 1, "{counts:?}");
    assert_eq!(counts.len(), 2);
}

pub async fn a_lane_of_scheduled_jobs_has_no_oldest_one(seam: &StoreSeam) {
    seam.accept(NewJob { start: Start::In(SECOND), ..new_job() }).await;
    let expected =
        |queued, scheduled, oldest_due_for| Counts { lane: lane("instant"), queued, scheduled, running: 0, oldest_due_for };
    assert_eq!(seam.store.counts().await.expect("read"), [expected(0, 1, None)]);
    seam.pass(3 * SECOND);
    assert_eq!(seam.store.counts().await.expect("read"), [expected(1, 0, Some(2 * SECOND))]);
}

pub async fn events_are_read_in_pages_after_a_cursor(seam: &StoreSeam) {
    let work = seam.running().await;
    let records: Vec<_> = (1..=8).map(|done| progress(&work, done)).collect();
    seam.store.record(&records).await.expect("record");
    for (after, limit, expected) in
        [(0, 3, vec![1, 2, 3]), (3, 3, vec![4, 5, 6]), (8, 100, vec![9, 10]), (10, 5, vec![]), (99, 5, vec![])]
    {
        let events = seam.store.events(work.job, EventSeq(after), limit).await.expect("read");
        assert_eq!(events.iter().map(|event| event.seq.0).collect::<Vec<_>>(), expected, "after {after}");
        assert!(events.iter().all(|event| event.job == work.job && event.at == seam.now()));
    }
}

pub async fn the_terminal_event_of_each_job_is_found(seam: &StoreSeam) {
    let done = seam.running().await;
    seam.record_one(finish(&done, succeeded())).await;
    let jobs = [seam.queued().await, done.job, JobId::generate(), seam.running().await.job, done.job];
    let ended = seam.store.ended(&jobs).await.expect("read");
    let kinds: Vec<Option<EventKind>> = ended.iter().map(|event| event.as_ref().map(|event| event.kind)).collect();
    assert_eq!(kinds, [None, Some(EventKind::Succeeded), None, None, Some(EventKind::Succeeded)]);
    assert_eq!(ended[1].as_ref().map(|event| (event.job, event.seq)), Some((done.job, EventSeq(3))));
}
