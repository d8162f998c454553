//! Claiming: who gets a job, and what happens to one whose worker is lost.

use futures::future::join;
use siding_core::{
    id::{Attempt, EventSeq, JobId, MessageId, WorkerId},
    job::{EventKind, FailureCode, Finish, InterruptReason, State},
    store::{Claim, Claimed, Extended, NewJob, Recorded, Skip, Start, Work},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{DEADLINE, Given, LEASE, SECOND, claim, drained, failed, finish, lease, new_job, succeeded, takeover};

/// `Ok` for granted.
async fn check(seam: &StoreSeam, claim: Claim, expected: Result<(), Skip>) {
    let claimed = seam.claim_one(WorkerId::generate(), claim).await;
    let outcome = match &claimed {
        Claimed::Run(_) => Ok(()),
        Claimed::Skip(skip) => Err(skip.clone()),
    };
    assert_eq!(outcome, expected, "{claim:?}: {claimed:?}");
}

pub async fn a_claim_is_answered_by_where_the_job_stands(seam: &StoreSeam) {
    let rows = [
        (State::Queued, Ok(())),
        (State::Running, Err(Skip::Held)),
        (State::Cancelling, Err(Skip::Held)),
        (State::Succeeded, Err(Skip::Finished)),
        (State::Failed, Err(Skip::Finished)),
        (State::Canceled, Err(Skip::Finished)),
        (State::Expired, Err(Skip::Finished)),
    ];
    for (state, expected) in rows {
        let job = seam.in_state(state).await;
        check(seam, claim(job), expected).await;
    }
    check(seam, claim(JobId::generate()), Err(Skip::Unknown)).await;
    let later = seam.accept(NewJob { start: Start::In(SECOND), ..new_job() }).await.id;
    check(seam, claim(later), Err(Skip::NotDue)).await;
    check(seam, takeover(later), Err(Skip::NotDue)).await;
    seam.pass(SECOND);
    check(seam, claim(later), Ok(())).await;
}

pub async fn a_claim_hands_out_all_that_a_run_needs(seam: &StoreSeam) {
    let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let new = NewJob { traceparent: traceparent.clone(), stall_timeout: Some(SECOND), ..new_job() };
    seam.accept(new.clone()).await;
    seam.pass(3 * SECOND);
    let worker = WorkerId::generate();
    let expected = Work {
        job: new.id,
        attempt: Attempt(1),
        model: new.model,
        version: new.version,
        lane: new.lane,
        input: new.input,
        estimate: new.estimate,
        run_timeout: new.run_timeout,
        stall_timeout: new.stall_timeout,
        checkpoint: None,
        failures: 0,
        attempts_max: 3,
        waited: 3 * SECOND,
        takeover: false,
        event_seq: EventSeq(2),
        traceparent,
    };
    assert_eq!(seam.claim_one(worker, claim(new.id)).await, Claimed::Run(Box::new(expected)));
    let job = seam.job(new.id).await;
    assert_eq!((job.state, job.worker, job.started_at), (State::Running, Some(worker), Some(seam.now())));
    let data = serde_json::json!({"worker": worker, "lane": "instant", "waited_ms": 3000, "takeover": false});
    assert_eq!(seam.last_data(new.id).await, data);
}

pub async fn a_group_of_claims_is_answered_in_order_whatever_each_becomes(seam: &StoreSeam) {
    let (queued, held, over) = (seam.queued().await, seam.running().await.job, seam.in_state(State::Canceled).await);
    let claims = [claim(over), claim(queued), claim(JobId::generate()), claim(held)];
    let claimed = seam.store.claim(WorkerId::generate(), &claims).await.expect("claim");
    assert_eq!(claimed[0], Claimed::Skip(Skip::Finished));
    assert!(matches!(&claimed[1], Claimed::Run(work) if work.job == queued));
    assert_eq!(claimed[2..], [Claimed::Skip(Skip::Unknown), Claimed::Skip(Skip::Held)]);
    assert!(seam.store.claim(WorkerId::generate(), &[]).await.expect("nothing is claimed").is_empty());
}

pub async fn a_job_named_twice_in_one_group_is_claimed_once(seam: &StoreSeam) {
    let job = seam.queued().await;
    let claimed = seam.store.claim(WorkerId::generate(), &[claim(job), claim(job), takeover(job)]).await.expect("claim");
    assert!(matches!(&claimed[0], Claimed::Run(work) if work.attempt == Attempt(1)));
    assert_eq!(claimed[1..], [Claimed::Skip(Skip::Held), Claimed::Skip(Skip::Held)]);
}

pub async fn of_two_workers_at_once_one_gets_the_job(seam: &StoreSeam) {
    let job = seam.queued().await;
    let (a, b) = join(seam.claim_one(WorkerId::generate(), claim(job)), seam.claim_one(WorkerId::generate(), claim(job))).await;
    let granted = [&a, &b].into_iter().filter(|claimed| matches!(claimed, Claimed::Run(_))).count();
    assert_eq!(granted, 1, "{a:?} {b:?}");
}

pub async fn a_claim_after_the_start_deadline_expires_the_job(seam: &StoreSeam) {
    let with_deadline = || NewJob { start_deadline: Some(DEADLINE), ..new_job() };
    let (in_time, late) = (seam.accept(with_deadline()).await.id, seam.accept(with_deadline()).await.id);
    seam.pass(DEADLINE);
    check(seam, claim(in_time), Ok(())).await;
    seam.pass(SECOND);
    check(seam, claim(late), Err(Skip::Ended { state: State::Expired, seq: EventSeq(2), released: None })).await;
    check(seam, claim(late), Err(Skip::Finished)).await;
    assert_eq!(seam.job(late).await.state, State::Expired);
    assert_eq!(seam.kinds(late).await, [EventKind::Queued, EventKind::Expired]);
}

pub async fn a_job_that_has_started_once_has_kept_its_deadline(seam: &StoreSeam) {
    let job = seam.accept(NewJob { start_deadline: Some(DEADLINE), ..new_job() }).await.id;
    let work = seam.start(job).await;
    seam.record_one(finish(&work, drained())).await;
    seam.pass(DEADLINE + SECOND);
    assert_eq!(seam.store.sweep(10).await.expect("sweep"), []);
    check(seam, claim(job), Ok(())).await;
}

pub async fn a_job_that_was_claimed_ahead_and_handed_back_has_not_started(seam: &StoreSeam) {
    let job = seam.accept(NewJob { start_deadline: Some(DEADLINE), ..new_job() }).await.id;
    for reason in [InterruptReason::NotStarted, InterruptReason::ModelResting, InterruptReason::NotStarted] {
        let work = seam.start(job).await;
        let unstarted = Finish::Interrupted { reason, due_in: std::time::Duration::ZERO };
        assert!(matches!(seam.record_one(finish(&work, unstarted)).await, Recorded::Done { state: State::Queued, .. }));
        assert_eq!(seam.job(job).await.started_at, None, "{reason:?}");
    }
    seam.pass(DEADLINE + SECOND);
    assert_eq!(seam.store.sweep(10).await.expect("sweep")[0].state, State::Expired);
}

pub async fn a_job_that_has_begun_once_keeps_its_deadline_whatever_is_handed_back_later(seam: &StoreSeam) {
    let job = seam.accept(NewJob { start_deadline: Some(DEADLINE), ..new_job() }).await.id;
    let work = seam.start(job).await;
    seam.record_one(finish(&work, drained())).await;
    let work = seam.start(job).await;
    let unstarted = Finish::Interrupted { reason: InterruptReason::NotStarted, due_in: std::time::Duration::ZERO };
    seam.record_one(finish(&work, unstarted)).await;
    seam.pass(DEADLINE + SECOND);
    assert_eq!(seam.store.sweep(10).await.expect("sweep"), []);
}

pub async fn a_takeover_fences_the_lost_attempt_off(seam: &StoreSeam) {
    let lost = seam.running().await;
    let worker = WorkerId::generate();
    let Claimed::Run(work) = seam.claim_one(worker, takeover(lost.job)).await else { panic!("a takeover is granted") };
    assert_eq!((work.attempt, work.failures, work.takeover), (Attempt(2), 1, true));
    assert_eq!(seam.job(lost.job).await.worker, Some(worker));
    use EventKind as E;
    assert_eq!(seam.kinds(lost.job).await, [E::Queued, E::Started, E::Retrying, E::Started]);
    assert_eq!(seam.last_data(lost.job).await["takeover"], true);
    assert_eq!(seam.record_one(finish(&lost, succeeded())).await, Recorded::Fenced);
    assert_eq!(seam.store.extend(WorkerId::generate(), &[lease(&lost)]).await.expect("extend"), [Extended::Lost]);
    assert!(matches!(seam.record_one(finish(&work, succeeded())).await, Recorded::Done { state: State::Succeeded, .. }));
}

pub async fn only_the_message_that_a_job_was_claimed_with_takes_it_over(seam: &StoreSeam) {
    let with = |job, message| Claim { message, ..takeover(job) };
    let held = seam.running().await.job;
    for other in [None, Some(MessageId::generate())] {
        check(seam, with(held, other), Err(Skip::Held)).await;
    }
    assert_eq!(seam.job(held).await.attempt, Attempt(1), "a doubled message costs no healthy attempt");
    let nameless = seam.queued().await;
    check(seam, Claim { message: None, ..claim(nameless) }, Ok(())).await;
    check(seam, with(nameless, None), Err(Skip::Held)).await;
    // The next attempt is held by its own message, not by the first one's.
    let next = MessageId::generate();
    check(seam, takeover(held), Ok(())).await;
    let work = seam.running().await;
    seam.record_one(finish(&work, drained())).await;
    check(seam, Claim { message: Some(next), ..claim(work.job) }, Ok(())).await;
    check(seam, takeover(work.job), Err(Skip::Held)).await;
    seam.cancel_one(work.job).await;
    check(seam, takeover(work.job), Err(Skip::Held)).await;
    check(seam, with(work.job, Some(next)), Err(Skip::Ended { state: State::Canceled, seq: EventSeq(6), released: None })).await;
    // A lease that is over holds against nobody.
    seam.pass(LEASE);
    check(seam, with(nameless, None), Ok(())).await;
}

pub async fn a_takeover_of_a_job_that_waits_is_a_claim(seam: &StoreSeam) {
    let job = seam.queued().await;
    check(seam, takeover(job), Ok(())).await;
    assert_eq!(seam.kinds(job).await, [EventKind::Queued, EventKind::Started]);
    assert_eq!(seam.last_data(job).await["takeover"], false);
}

pub async fn a_lease_that_is_over_is_taken_without_waiting_for_the_sweep(seam: &StoreSeam) {
    let lost = seam.running().await;
    seam.pass(LEASE - SECOND);
    check(seam, claim(lost.job), Err(Skip::Held)).await;
    seam.pass(SECOND);
    check(seam, claim(lost.job), Ok(())).await;
    assert_eq!(seam.job(lost.job).await.failures, 1);
    assert_eq!(seam.record_one(finish(&lost, succeeded())).await, Recorded::Fenced);
}

pub async fn a_takeover_that_finds_the_attempts_spent_fails_the_job(seam: &StoreSeam) {
    let job = seam.accept(NewJob { attempts_max: 1, ..new_job() }).await.id;
    let lost = seam.start(job).await;
    check(seam, takeover(job), Err(Skip::Ended { state: State::Failed, seq: EventSeq(3), released: None })).await;
    let job = seam.job(lost.job).await;
    assert_eq!((job.state, job.failures), (State::Failed, 1));
    assert_eq!(job.failure.map(|failure| failure.code), Some(FailureCode::WorkerLost));
    assert_eq!(seam.last_data(lost.job).await["code"], "worker_lost");
}

pub async fn a_takeover_of_a_job_that_is_to_stop_ends_it(seam: &StoreSeam) {
    let lost = seam.running().await;
    seam.cancel_one(lost.job).await;
    check(seam, takeover(lost.job), Err(Skip::Ended { state: State::Canceled, seq: EventSeq(4), released: None })).await;
    assert_eq!(seam.job(lost.job).await.state, State::Canceled);
    assert_eq!(seam.record_one(finish(&lost, succeeded())).await, Recorded::Fenced);
}

pub async fn a_retried_job_waits_for_its_time_and_counts_its_wait_from_there(seam: &StoreSeam) {
    let first = seam.running().await;
    seam.record_one(finish(&first, failed(Some(seam.now().plus(5 * SECOND))))).await;
    check(seam, claim(first.job), Err(Skip::NotDue)).await;
    seam.pass(6 * SECOND);
    let second = seam.start(first.job).await;
    assert_eq!((second.attempt, second.failures, second.waited), (Attempt(2), 1, SECOND));
}
