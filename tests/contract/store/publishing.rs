//! The outbox: what is due and unpublished.

use siding_core::{
    id::{Attempt, JobId, LaneName, WorkerId},
    job::State,
    store::{Claimed, DueJob, Lost, NewJob, Publication, Skip, Start},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{Given, SECOND, claim, drained, failed, finish, lane, new_job};

async fn due(seam: &StoreSeam) -> Vec<JobId> {
    seam.store.due(100, &[]).await.expect("read").into_iter().map(|job| job.id).collect()
}

async fn mark(seam: &StoreSeam, job: JobId, attempt: u32) {
    seam.store.mark_published(&[Publication { job, attempt: Attempt(attempt) }]).await.expect("mark");
}

pub async fn what_is_due_is_listed_the_longest_due_first(seam: &StoreSeam) {
    let after = |secs| NewJob { start: Start::In(secs * SECOND), ..new_job() };
    let (third, first, second) = (seam.accept(after(3)).await, seam.accept(after(1)).await, seam.accept(after(2)).await);
    assert!(due(seam).await.is_empty());
    seam.pass(2 * SECOND);
    assert_eq!(due(seam).await, [first.id, second.id]);
    assert_eq!(seam.store.due(1, &[]).await.expect("read").len(), 1);
    seam.pass(SECOND);
    assert_eq!(due(seam).await, [first.id, second.id, third.id]);
}

pub async fn lanes_that_are_left_out_hide_no_other_lane(seam: &StoreSeam) {
    let of = |name: &str| NewJob { lane: lane(name), ..new_job() };
    let long = [seam.accept(of("long")).await.id, seam.accept(of("long")).await.id];
    seam.pass(SECOND);
    let (short, instant) = (seam.accept(of("short")).await.id, seam.accept(of("instant")).await.id);
    let due_but = |except: Vec<LaneName>| async move {
        let due = seam.store.due(2, &except).await.expect("read");
        due.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    let both = |mut ids: [JobId; 2]| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(due_but(vec![]).await, both(long));
    assert_eq!(due_but(vec![lane("long")]).await, both([short, instant]));
    assert_eq!(due_but(vec![lane("long"), lane("short")]).await, [instant]);
    assert!(due_but(vec![lane("long"), lane("short"), lane("instant")]).await.is_empty());
}

pub async fn a_due_job_comes_with_all_that_its_message_needs(seam: &StoreSeam) {
    let new = NewJob { traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()), ..new_job() };
    let job = seam.accept(new.clone()).await;
    let expected = DueJob {
        id: new.id,
        attempt: Attempt(0),
        lane: new.lane,
        model: new.model,
        version: new.version,
        due_at: job.due_at,
        expected_ms: 200.5,
        traceparent: new.traceparent,
    };
    assert_eq!(seam.store.due(10, &[]).await.expect("read"), [expected]);
}

pub async fn a_published_job_is_not_due_again(seam: &StoreSeam) {
    let (published, other) = (seam.queued().await, seam.queued().await);
    mark(seam, published, 0).await;
    mark(seam, published, 0).await;
    mark(seam, JobId::generate(), 0).await;
    seam.store.mark_published(&[]).await.expect("nothing is marked");
    assert_eq!(due(seam).await, [other]);
}

pub async fn a_mark_of_an_older_attempt_is_ignored(seam: &StoreSeam) {
    let work = seam.running().await;
    seam.record_one(finish(&work, drained())).await;
    mark(seam, work.job, 0).await;
    assert_eq!(due(seam).await, [work.job], "attempt 1 was handed back and is not published");
    mark(seam, work.job, 1).await;
    assert!(due(seam).await.is_empty());
}

pub async fn a_mark_of_a_job_that_does_not_wait_changes_nothing(seam: &StoreSeam) {
    for state in State::ALL.into_iter().filter(|state| *state != State::Queued) {
        let job = seam.in_state(state).await;
        let before = seam.job(job).await;
        mark(seam, job, before.attempt.0).await;
        assert_eq!(seam.job(job).await, before);
    }
    let work = seam.running().await;
    mark(seam, work.job, 1).await;
    seam.record_one(finish(&work, drained())).await;
    assert_eq!(due(seam).await, [work.job], "a job that comes back is unpublished");
}

pub async fn a_mark_of_a_job_that_is_not_due_is_ignored(seam: &StoreSeam) {
    let later = seam.accept(NewJob { start: Start::In(SECOND), ..new_job() }).await.id;
    mark(seam, later, 0).await;
    seam.pass(SECOND);
    assert_eq!(due(seam).await, [later]);
}

pub async fn a_job_whose_message_came_too_early_is_published_again(seam: &StoreSeam) {
    let job = seam.accept(NewJob { start: Start::In(5 * SECOND), ..new_job() }).await.id;
    seam.pass(5 * SECOND);
    mark(seam, job, 0).await;
    seam.clock.step_back(2 * SECOND);
    assert_eq!(seam.claim_one(WorkerId::generate(), claim(job)).await, Claimed::Skip(Skip::NotDue));
    seam.pass(2 * SECOND);
    assert_eq!(due(seam).await, [job], "the message was used up");
}

pub async fn a_published_job_that_comes_back_is_due_again(seam: &StoreSeam) {
    let job = seam.queued().await;
    mark(seam, job, 0).await;
    let work = seam.start(job).await;
    seam.record_one(finish(&work, failed(Some(seam.now().plus(SECOND))))).await;
    assert!(due(seam).await.is_empty());
    seam.pass(SECOND);
    assert_eq!(due(seam).await, [job]);
}

pub async fn the_next_due_time_is_known(seam: &StoreSeam) {
    let next = || async { seam.store.next_due_in().await.expect("read") };
    assert_eq!(next().await, None);
    seam.accept(NewJob { start: Start::In(5 * SECOND), ..new_job() }).await;
    assert_eq!(next().await, Some(5 * SECOND));
    seam.pass(4 * SECOND);
    assert_eq!(next().await, Some(SECOND));
    seam.pass(SECOND);
    assert_eq!(next().await, None, "what is due already hides nothing that comes");
    seam.accept(NewJob { start: Start::In(3 * SECOND), ..new_job() }).await;
    assert_eq!(next().await, Some(3 * SECOND));
}

pub async fn the_backlog_is_counted_up_to_a_limit(seam: &StoreSeam) {
    for _ in 0..3 {
        seam.queued().await;
    }
    seam.accept(NewJob { start: Start::In(SECOND), ..new_job() }).await;
    for (limit, expected) in [(0, 0), (2, 2), (3, 3), (usize::MAX, 3)] {
        assert_eq!(seam.store.backlog(limit).await.expect("read"), expected, "up to {limit}");
    }
}

pub async fn a_lost_broker_makes_every_waiting_job_unpublished(seam: &StoreSeam) {
    let (a, b) = (seam.queued().await, seam.queued().await);
    let running = seam.queued().await;
    for job in [a, b, running] {
        mark(seam, job, 0).await;
    }
    seam.start(running).await;
    assert!(due(seam).await.is_empty());
    assert_eq!(seam.store.forget_published(&Lost::All).await.expect("forget"), 2);
    let mut both = [a, b];
    both.sort_unstable();
    assert_eq!(due(seam).await, both);
    assert_eq!(seam.store.forget_published(&Lost::All).await.expect("forget"), 0);
}

pub async fn a_lost_queue_makes_its_old_publications_unpublished_and_no_others(seam: &StoreSeam) {
    let of = |name: &str| NewJob { lane: lane(name), ..new_job() };
    let (old, other_lane) = (seam.accept(of("long")).await.id, seam.accept(of("short")).await.id);
    let (running, unmarked) = (seam.accept(of("long")).await.id, seam.accept(of("long")).await.id);
    for job in [old, other_lane, running] {
        mark(seam, job, 0).await;
    }
    seam.start(running).await;
    seam.pass(10 * SECOND);
    let young = seam.accept(of("long")).await.id;
    mark(seam, young, 0).await;
    let forget = |name: &str, older_than| {
        let lost = Lost::Lane { lane: lane(name), older_than };
        async move { seam.store.forget_published(&lost).await.expect("forget") }
    };
    assert_eq!(forget("long", 11 * SECOND).await, 0, "nothing is so old");
    assert_eq!(forget("unknown", std::time::Duration::ZERO).await, 0);
    assert_eq!(forget("long", 10 * SECOND).await, 1);
    let mut expected = [old, unmarked];
    expected.sort_unstable();
    assert_eq!(due(seam).await, expected);
    assert_eq!(forget("long", std::time::Duration::ZERO).await, 1, "the young one");
    assert_eq!(forget("long", std::time::Duration::MAX).await, 0);
    assert_eq!(due(seam).await.len(), 3);
}
