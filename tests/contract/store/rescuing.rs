//! The sweep, and the end of all leases.

use siding_core::{
    id::{Attempt, EventSeq},
    job::{EventKind, FailureCode, State},
    store::{NewJob, Recorded, Rescued, Start},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{DEADLINE, Given, LEASE, SECOND, finish, lane, new_job, succeeded};

pub async fn a_lost_attempt_is_requeued_when_its_lease_is_over_and_not_before(seam: &StoreSeam) {
    let work = seam.running().await;
    seam.pass(LEASE - SECOND);
    assert_eq!(seam.store.sweep(10).await.expect("sweep"), []);
    seam.pass(SECOND);
    let expected = Rescued {
        job: work.job,
        lane: lane("instant"),
        model: work.model.clone(),
        state: State::Queued,
        seq: EventSeq(3),
        code: Some(FailureCode::WorkerLost),
        released: None,
    };
    assert_eq!(seam.store.sweep(10).await.expect("sweep"), [expected]);
    let job = seam.job(work.job).await;
    assert_eq!((job.failures, job.due_at, job.worker), (1, seam.now(), None));
    let told = seam.last_data(work.job).await;
    assert_eq!((&told["code"], &told["due_at_ms"]), (&"worker_lost".into(), &seam.now().0.into()));
    assert_eq!(seam.store.due(10, &[]).await.expect("read").len(), 1, "it is published again");
    assert_eq!(seam.store.sweep(10).await.expect("sweep"), [], "once");
    assert_eq!(seam.record_one(finish(&work, succeeded())).await, Recorded::Fenced);
    assert_eq!(seam.start(work.job).await.attempt, Attempt(2));
}

pub async fn a_lost_attempt_that_was_the_last_one_fails_the_job(seam: &StoreSeam) {
    let job = seam.accept(NewJob { attempts_max: 1, ..new_job() }).await.id;
    seam.start(job).await;
    seam.pass(LEASE);
    let swept = seam.store.sweep(10).await.expect("sweep");
    assert_eq!((swept[0].state, swept[0].code), (State::Failed, Some(FailureCode::WorkerLost)));
    let failure = seam.job(job).await.failure.expect("it failed");
    assert_eq!(failure.code, FailureCode::WorkerLost);
}

pub async fn a_lost_attempt_that_was_to_stop_is_canceled(seam: &StoreSeam) {
    let job = seam.in_state(State::Cancelling).await;
    seam.pass(LEASE);
    let swept = seam.store.sweep(10).await.expect("sweep");
    assert_eq!((swept[0].job, swept[0].state), (job, State::Canceled));
    assert_eq!(seam.kinds(job).await.last(), Some(&EventKind::Canceled));
}

pub async fn a_job_that_was_not_started_in_time_expires(seam: &StoreSeam) {
    let job = seam.accept(NewJob { start_deadline: Some(DEADLINE), start: Start::In(SECOND), ..new_job() }).await.id;
    seam.pass(SECOND + DEADLINE);
    assert_eq!(seam.store.sweep(10).await.expect("sweep"), []);
    seam.pass(SECOND);
    let swept = seam.store.sweep(10).await.expect("sweep");
    assert_eq!((swept[0].job, swept[0].state, swept[0].code), (job, State::Expired, None));
    assert_eq!(seam.kinds(job).await, [EventKind::Queued, EventKind::Expired]);
    assert_eq!(seam.store.sweep(10).await.expect("sweep"), [], "once");
}

pub async fn a_sweep_takes_at_most_its_limit_of_each(seam: &StoreSeam) {
    for _ in 0..3 {
        seam.accept(NewJob { start_deadline: Some(SECOND), ..new_job() }).await;
        seam.running().await;
    }
    seam.pass(LEASE);
    for expected in [4, 2, 0] {
        let swept = seam.store.sweep(2).await.expect("sweep");
        assert_eq!(swept.len(), expected, "{swept:?}");
    }
}

pub async fn the_end_of_all_leases_hands_every_running_job_to_the_next_sweep(seam: &StoreSeam) {
    let (running, cancelling) = (seam.running().await.job, seam.in_state(State::Cancelling).await);
    let waiting = seam.queued().await;
    assert_eq!(seam.store.end_all_leases().await.expect("end"), 2);
    assert_eq!(seam.store.end_all_leases().await.expect("end"), 0, "they are over");
    assert_eq!(seam.store.sweep(10).await.expect("sweep").len(), 2);
    let states = [seam.job(running).await.state, seam.job(cancelling).await.state, seam.job(waiting).await.state];
    assert_eq!(states, [State::Queued, State::Canceled, State::Queued]);
}
