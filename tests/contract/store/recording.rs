//! Recording under the fence, and keeping a lease.

use std::sync::Arc;

use siding_core::{
    blob::BlobRef,
    id::{Attempt, EventSeq, JobId, WorkerId},
    job::{EventKind, Failure, FailureCode, Finish, State},
    store::{Error, Extended, Lease, NewJob, Payload, Record, RecordChange, Recorded},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{Given, LEASE, SECOND, drained, failed, finish, lease, new_job, progress, record, stopped, succeeded, text};

pub async fn an_attempt_ends_as_the_state_machine_says(seam: &StoreSeam) {
    let later = Some(seam.now().plus(SECOND));
    let rows = [
        (succeeded(), State::Succeeded, State::Succeeded),
        (failed(None), State::Failed, State::Canceled),
        (failed(later), State::Queued, State::Canceled),
        (drained(), State::Queued, State::Canceled),
    ];
    for (how, while_running, while_cancelling) in rows {
        for (cancelled, expected) in [(false, while_running), (true, while_cancelling)] {
            let work = seam.running().await;
            if cancelled {
                seam.cancel_one(work.job).await;
            }
            let recorded = seam.record_one(finish(&work, how.clone())).await;
            let job = seam.job(work.job).await;
            assert_eq!(
                recorded,
                Recorded::Done { state: expected, seq: job.event_seq, released: None },
                "{how:?}, cancelled: {cancelled}"
            );
            assert_eq!(job.state, expected);
        }
    }
}

pub async fn a_stop_counts_only_when_the_caller_asked_for_it(seam: &StoreSeam) {
    let work = seam.running().await;
    assert_eq!(seam.record_one(finish(&work, stopped())).await, Recorded::Fenced);
    assert_eq!(seam.job(work.job).await.state, State::Running);
    seam.cancel_one(work.job).await;
    let recorded = seam.record_one(finish(&work, stopped())).await;
    assert_eq!(recorded, Recorded::Done { state: State::Canceled, seq: EventSeq(4), released: None });
}

pub async fn records_of_one_attempt_in_one_group_apply_in_order(seam: &StoreSeam) {
    let work = seam.running().await;
    let chunk = record(&work, RecordChange::Output { chunk: Arc::from(r#"{"token": "a"}"#) });
    let group = [progress(&work, 1), chunk, finish(&work, succeeded()), progress(&work, 2)];
    let recorded = seam.store.record(&group).await.expect("record");
    let done = |state, seq| Recorded::Done { state, seq: EventSeq(seq), released: None };
    assert_eq!(recorded, [done(State::Running, 3), done(State::Running, 4), done(State::Succeeded, 5), Recorded::Fenced]);
    let events = seam.events_of(work.job).await;
    let told: Vec<(EventKind, serde_json::Value)> =
        events[2..].iter().map(|event| (event.kind, serde_json::from_str(event.data.get()).expect("JSON"))).collect();
    let expected = [
        (EventKind::Progress, serde_json::json!({"done": 1, "total": 10})),
        (EventKind::Output, serde_json::json!({"chunk": {"token": "a"}})),
        (EventKind::Succeeded, serde_json::json!({"run_ms": 250})),
    ];
    assert_eq!(told, expected);
}

pub async fn progress_of_unknown_size_names_no_total(seam: &StoreSeam) {
    let work = seam.running().await;
    seam.record_one(record(&work, RecordChange::Progress { done: u64::from(u32::MAX), total: None })).await;
    assert_eq!(seam.last_data(work.job).await, serde_json::json!({"done": u32::MAX}));
}

pub async fn a_group_mixes_jobs_and_is_answered_in_order(seam: &StoreSeam) {
    let (a, b) = (seam.running().await, seam.running().await);
    let unknown = Record { job: JobId::generate(), ..progress(&a, 1) };
    let group = [finish(&a, succeeded()), unknown, progress(&b, 1), finish(&b, failed(None))];
    let states: Vec<Option<State>> = seam
        .store
        .record(&group)
        .await
        .expect("record")
        .iter()
        .map(|recorded| match recorded {
            Recorded::Done { state, .. } => Some(*state),
            Recorded::Fenced => None,
        })
        .collect();
    assert_eq!(states, [Some(State::Succeeded), None, Some(State::Running), Some(State::Failed)]);
    assert!(seam.store.record(&[]).await.expect("nothing is recorded").is_empty());
}

pub async fn only_the_newest_attempt_of_a_job_that_runs_may_record(seam: &StoreSeam) {
    for state in State::ALL {
        let job = seam.in_state(state).await;
        let attempt = seam.job(job).await.attempt;
        let runs = matches!(state, State::Running | State::Cancelling);
        for (attempt, may) in [(attempt, runs), (Attempt(attempt.0 + 1), false)] {
            let change = RecordChange::Progress { done: 1, total: None };
            let recorded = seam.record_one(Record { job, attempt, change }).await;
            assert_eq!(matches!(recorded, Recorded::Done { .. }), may, "{state}, attempt {attempt}");
        }
    }
}

pub async fn a_group_is_written_whole_or_not_at_all(seam: &StoreSeam) {
    let (good, bad) = (seam.running().await, seam.running().await);
    let broken = record(&bad, RecordChange::Output { chunk: Arc::from("not JSON") });
    let error = seam.store.record(&[finish(&good, succeeded()), broken]).await.expect_err("the group is refused");
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    for work in [&good, &bad] {
        assert_eq!(seam.kinds(work.job).await, [EventKind::Queued, EventKind::Started]);
    }
    assert!(matches!(seam.record_one(finish(&good, succeeded())).await, Recorded::Done { .. }), "the store goes on");
}

pub async fn an_output_reads_back_exactly(seam: &StoreSeam) {
    let blob: BlobRef = format!("sha256:{}:70000", "cd".repeat(32)).parse().expect("a valid reference");
    for output in [text(r#"{"a": [1, 2.50, "ü\" "] }"#), text("null"), Payload::Blob(blob)] {
        let work = seam.running().await;
        seam.record_one(finish(&work, Finish::Succeeded { output: output.clone() })).await;
        assert_eq!(seam.store.output(work.job).await.expect("read"), Some(output));
        let job = seam.job(work.job).await;
        assert_eq!((job.has_output, job.finished_at, job.worker), (true, Some(seam.now()), None));
    }
}

pub async fn text_that_no_database_keeps_costs_no_other_job_its_record(seam: &StoreSeam) {
    let (odd, broken, plain) = (seam.running().await, seam.running().await, seam.running().await);
    // JSON may hold any escape; a message comes from a runtime, and may hold any character.
    let chunk = r#"{"text":"\u0000 \ud83d"}"#;
    let failure = Failure::new(FailureCode::RuntimeError, "zero: \0, a private one: \u{f8ff}");
    let group = [
        record(&odd, RecordChange::Output { chunk: Arc::from(chunk) }),
        finish(&broken, Finish::Failed { failure, retry_at: None }),
        finish(&plain, Finish::Succeeded { output: text(chunk) }),
    ];
    let recorded = seam.store.record(&group).await.expect("record");
    assert!(recorded.iter().all(|recorded| matches!(recorded, Recorded::Done { .. })), "{recorded:?}");
    let told = seam.events_of(odd.job).await;
    assert_eq!(told.last().expect("it was told").data.get(), format!(r#"{{"chunk":{chunk}}}"#));
    assert_eq!(seam.store.output(plain.job).await.expect("read"), Some(text(chunk)));
    let failure = seam.job(broken.job).await.failure.expect("it failed");
    assert_eq!(failure.message, "zero: \u{fffd}, a private one: \u{f8ff}");
    assert_eq!(seam.last_data(broken.job).await["message"], failure.message);
}

pub async fn a_failed_attempt_waits_for_its_retry_unpublished(seam: &StoreSeam) {
    let work = seam.running().await;
    let retry_at = seam.now().plus(5 * SECOND);
    seam.record_one(finish(&work, failed(Some(retry_at)))).await;
    let job = seam.job(work.job).await;
    assert_eq!((job.state, job.failures, job.due_at, job.failure), (State::Queued, 1, retry_at, None));
    let data = serde_json::json!({"code": "runtime_error", "message": "it broke", "due_at_ms": retry_at, "run_ms": 250});
    assert_eq!(seam.last_data(work.job).await, data);
    assert_eq!(seam.store.backlog(10).await.expect("read"), 0, "not due yet");
    seam.pass(5 * SECOND);
    assert_eq!(seam.store.due(10, &[]).await.expect("read").len(), 1, "due and unpublished");
}

pub async fn no_job_fails_more_often_than_it_may(seam: &StoreSeam) {
    let job = seam.accept(NewJob { attempts_max: 2, ..new_job() }).await.id;
    for expected in [State::Queued, State::Failed] {
        let work = seam.start(job).await;
        seam.record_one(finish(&work, failed(Some(seam.now())))).await;
        assert_eq!(seam.job(job).await.state, expected);
    }
    let job = seam.job(job).await;
    assert_eq!((job.failures, job.attempt), (2, Attempt(2)));
    assert_eq!(job.failure.map(|failure| (failure.code, failure.message)), Some((FailureCode::RuntimeError, "it broke".into())));
}

pub async fn an_interrupted_attempt_does_not_count_and_is_due_at_once(seam: &StoreSeam) {
    let work = seam.running().await;
    seam.pass(SECOND);
    seam.record_one(finish(&work, drained())).await;
    let job = seam.job(work.job).await;
    assert_eq!((job.state, job.failures, job.attempt, job.due_at), (State::Queued, 0, Attempt(1), seam.now()));
    assert_eq!(seam.last_data(work.job).await, serde_json::json!({"reason": "drain", "run_ms": 250}));
    assert_eq!(seam.store.due(10, &[]).await.expect("read").len(), 1);
    assert_eq!(seam.start(work.job).await.attempt, Attempt(2));
}

pub async fn a_lease_is_extended_for_its_holder_alone(seam: &StoreSeam) {
    let (held, cancelling, over) = (seam.running().await, seam.running().await, seam.running().await);
    seam.cancel_one(cancelling.job).await;
    seam.record_one(finish(&over, succeeded())).await;
    let worker_of = |job| async move { seam.job(job).await.worker.expect("it runs") };
    let old = Lease { attempt: Attempt(held.attempt.0 + 1), ..lease(&held) };
    let unknown = Lease { job: JobId::generate(), ..lease(&held) };
    let extended = seam.store.extend(worker_of(held.job).await, &[lease(&held), old, lease(&over), unknown]).await;
    assert_eq!(extended.expect("extend"), [Extended::Held, Extended::Lost, Extended::Lost, Extended::Lost]);
    let extended = seam.store.extend(worker_of(cancelling.job).await, &[lease(&cancelling)]).await;
    assert_eq!(extended.expect("extend"), [Extended::CancelRequested]);
    let extended = seam.store.extend(WorkerId::generate(), &[lease(&held)]).await;
    assert_eq!(extended.expect("extend"), [Extended::Lost], "another worker");
    assert!(seam.store.extend(WorkerId::generate(), &[]).await.expect("nothing is extended").is_empty());
}

pub async fn an_extended_lease_holds_from_the_extension_on(seam: &StoreSeam) {
    let work = seam.running().await;
    let worker = seam.job(work.job).await.worker.expect("it runs");
    for _ in 0..3 {
        seam.pass(LEASE - SECOND);
        assert_eq!(seam.store.sweep(10).await.expect("sweep"), []);
        assert_eq!(seam.store.extend(worker, &[lease(&work)]).await.expect("extend"), [Extended::Held]);
    }
    assert_eq!(seam.kinds(work.job).await, [EventKind::Queued, EventKind::Started], "extending tells nothing");
    seam.pass(LEASE);
    assert_eq!(seam.store.sweep(10).await.expect("sweep").len(), 1);
}
