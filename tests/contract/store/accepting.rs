//! What submitting and cancelling promise, as checks.

use std::time::Duration;

use futures::future::join_all;
use siding_core::{
    blob::BlobRef,
    clock::Timestamp,
    estimate::{Estimate, Source},
    id::{Attempt, EventSeq, JobId},
    job::{CancelMet, Canceled, EventKind, State},
    store::{Acceptance, JobRecord, NewJob, Payload, Start, Submitted},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{Given, RUN, SECOND, finish, new_job, stopped, text};

pub async fn an_accepted_job_reads_back_as_it_was_answered(seam: &StoreSeam) {
    let first = seam.queued().await;
    let new = NewJob {
        retry_of: Some(first),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        start: Start::In(5 * SECOND),
        start_deadline: Some(7 * SECOND),
        stall_timeout: Some(3 * SECOND),
        idempotency_key: Some("key-1".parse().expect("a valid key")),
        ..new_job()
    };
    let answered = seam.accept(new.clone()).await;
    let expected = JobRecord {
        id: new.id,
        model: new.model,
        version: new.version,
        lane: new.lane,
        estimate: new.estimate,
        state: State::Queued,
        attempt: Attempt(0),
        failures: 0,
        attempts_max: 3,
        created_at: seam.now(),
        due_at: seam.now().plus(5 * SECOND),
        start_deadline_at: Some(seam.now().plus(12 * SECOND)),
        run_timeout: new.run_timeout,
        stall_timeout: new.stall_timeout,
        started_at: None,
        finished_at: None,
        worker: None,
        failure: None,
        canceled: None,
        has_output: false,
        event_seq: EventSeq(1),
        retry_of: Some(first),
        retried_by: None,
        dropped_at: None,
        traceparent: new.traceparent,
    };
    assert_eq!(answered, expected);
    assert_eq!(seam.job(new.id).await, expected);
    assert_eq!(seam.store.input(new.id).await.expect("read"), Some(new.input));
    assert_eq!(seam.store.output(new.id).await.expect("read"), None);
    let data = serde_json::json!({
        "lane": "instant",
        "estimate": {"p50_ms": 200.5, "p90_ms": 300.25, "source": "hint"},
        "due_at_ms": seam.now().0 + 5000,
        "retry_of": first,
    });
    assert_eq!(seam.last_data(new.id).await, data);
}

pub async fn a_start_at_a_time_is_due_then_and_at_once_when_it_has_passed(seam: &StoreSeam) {
    let now = seam.now();
    let later = now.plus(90 * SECOND);
    for (at, due_at) in [(later, later), (now, now), (Timestamp(0), now)] {
        let new = NewJob { start: Start::At(at), start_deadline: Some(SECOND), ..new_job() };
        let job = seam.accept(new).await;
        assert_eq!((job.due_at, job.start_deadline_at), (due_at, Some(due_at.plus(SECOND))), "{at}");
        assert_eq!(seam.job(job.id).await, job);
        seam.cancel_one(job.id).await;
    }
}

pub async fn an_input_in_a_blob_stays_there(seam: &StoreSeam) {
    let blob: BlobRef = format!("sha256:{}:70000", "ab".repeat(32)).parse().expect("a valid reference");
    let job = seam.accept(NewJob { input: Payload::Blob(blob.clone()), ..new_job() }).await.id;
    assert_eq!(seam.store.input(job).await.expect("read"), Some(Payload::Blob(blob.clone())));
    assert_eq!(seam.start(job).await.input, Payload::Blob(blob));
}

pub async fn a_job_that_does_not_exist_has_nothing(seam: &StoreSeam) {
    let unknown = JobId::generate();
    assert_eq!(seam.store.get(unknown).await.expect("read"), None);
    assert_eq!(seam.store.input(unknown).await.expect("read"), None);
    assert_eq!(seam.store.output(unknown).await.expect("read"), None);
    assert_eq!(seam.store.position(unknown).await.expect("read"), None);
    assert!(seam.events_of(unknown).await.is_empty());
    assert_eq!(seam.store.cancel(vec![unknown]).await.expect("read"), [None]);
}

pub async fn a_group_of_cancels_is_answered_in_order_and_each_job_changes_once(seam: &StoreSeam) {
    let (queued, running, unknown) = (seam.queued().await, seam.running().await.job, JobId::generate());
    let answers = seam.store.cancel(vec![running, unknown, queued, running]).await.expect("the store takes it");
    let found: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(|it| (it.job.id, it.job.state, it.changed))).collect();
    let expected = [
        Some((running, State::Cancelling, true)),
        None,
        Some((queued, State::Canceled, true)),
        Some((running, State::Cancelling, false)),
    ];
    assert_eq!(found, expected);
    assert!(seam.store.cancel(Vec::new()).await.expect("nothing to do").is_empty());
}

/// What a second submission shares with the first one.
struct Repeat {
    same_id: bool,
    same_key: bool,
    same_request: bool,
    expected: &'static str,
}

pub async fn a_repeat_is_the_first_job_and_a_different_request_is_a_mismatch(seam: &StoreSeam) {
    let row = |same_id, same_key, same_request, expected| Repeat { same_id, same_key, same_request, expected };
    let rows = [
        row(false, false, true, "created"),
        row(false, true, true, "existing"),
        row(false, true, false, "mismatch"),
        row(true, false, true, "existing"),
        row(true, false, false, "mismatch"),
        row(true, true, true, "existing"),
        row(true, true, false, "mismatch"),
    ];
    for (index, row) in rows.iter().enumerate() {
        for in_one_group in [true, false] {
            let key = |name: &str| Some(format!("{name}-{index}-{in_one_group}").parse().expect("a valid key"));
            let first = NewJob { idempotency_key: key("first"), ..new_job() };
            let second = NewJob {
                id: if row.same_id { first.id } else { JobId::generate() },
                idempotency_key: key(if row.same_key { "first" } else { "second" }),
                fingerprint: if row.same_request { first.fingerprint } else { [2; 32] },
                ..new_job()
            };
            let answers = if in_one_group {
                seam.store.submit(vec![first.clone(), second.clone()]).await.expect("submit")
            } else {
                vec![seam.submit_one(first.clone()).await, seam.submit_one(second.clone()).await]
            };
            assert!(matches!(&answers[0], Submitted::Created(job) if job.id == first.id), "{answers:?}");
            let (word, job) = match &answers[1] {
                Submitted::Created(job) => ("created", job),
                Submitted::Existing(job) => ("existing", job),
                Submitted::Mismatch(job) => ("mismatch", job),
                Submitted::Withheld | Submitted::NotDead => panic!("each for itself"),
            };
            assert_eq!(word, row.expected, "row {index}, in one group: {in_one_group}");
            assert_eq!(job.id, if word == "created" { second.id } else { first.id }, "row {index}");
            assert_eq!(seam.kinds(first.id).await, [EventKind::Queued], "a repeat tells nothing");
        }
    }
}

pub async fn a_repeat_is_answered_with_the_job_as_it_stands(seam: &StoreSeam) {
    let first = NewJob { idempotency_key: Some("k".parse().expect("a valid key")), ..new_job() };
    seam.accept(first.clone()).await;
    seam.start(first.id).await;
    match seam.submit_one(NewJob { id: JobId::generate(), ..first.clone() }).await {
        Submitted::Existing(job) => assert_eq!(job, seam.job(first.id).await),
        other => panic!("{other:?}"),
    }
}

pub async fn submissions_of_one_key_at_once_make_one_job(seam: &StoreSeam) {
    let same = || NewJob { idempotency_key: Some("once".parse().expect("a valid key")), ..new_job() };
    let answers = join_all((0..8).map(|_| seam.submit_one(same()))).await;
    let created = answers.iter().filter(|answer| matches!(answer, Submitted::Created(_))).count();
    assert_eq!(created, 1, "{answers:?}");
}

pub async fn a_full_group_is_answered_in_order(seam: &StoreSeam) {
    let jobs: Vec<NewJob> = (0..256).map(|_| new_job()).collect();
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let answers = seam.store.submit(jobs).await.expect("submit");
    let answered: Vec<JobId> =
        answers.iter().filter_map(|answer| if let Submitted::Created(job) = answer { Some(job.id) } else { None }).collect();
    assert_eq!(answered, ids);
}

pub async fn a_batch_of_a_thousand_is_answered_in_order_and_read_back(seam: &StoreSeam) {
    let first = seam.queued().await;
    let mut jobs: Vec<NewJob> = (0..1000).map(|_| new_job()).collect();
    jobs[500].id = first;
    let answers = seam.store.submit_as(jobs.clone(), Acceptance::Whole).await.expect("submit");
    for (index, (job, answer)) in jobs.iter().zip(&answers).enumerate() {
        match answer {
            Submitted::Created(created) => assert_eq!((created.id, index == 500), (job.id, false)),
            Submitted::Existing(there) => assert_eq!((there.id, index), (first, 500), "what stands is no hindrance"),
            other => panic!("{index}: {other:?}"),
        }
    }
    assert_eq!(seam.store.backlog(10_000).await.expect("read"), 1000, "all of them are due");
    assert_eq!(seam.job(jobs[999].id).await.event_seq, EventSeq(1));
}

/// How the jobs of a submission hang together, whether the mismatch is with a job that stands (or with another one of the
/// submission), and the answers.
type Mismatched = (Acceptance, bool, [&'static str; 4]);

pub async fn a_mismatch_hinders_the_others_of_its_whole_and_nobody_else(seam: &StoreSeam) {
    let rows: [Mismatched; 4] = [
        (Acceptance::Each, true, ["created", "mismatch", "existing", "created"]),
        (Acceptance::Each, false, ["created", "mismatch", "existing", "created"]),
        (Acceptance::Whole, true, ["withheld", "mismatch", "existing", "withheld"]),
        (Acceptance::Whole, false, ["withheld", "mismatch", "existing", "withheld"]),
    ];
    for (acceptance, with_standing, expected) in rows {
        let standing = seam.queued().await;
        let first = new_job();
        let met = if with_standing { standing } else { first.id };
        let jobs = vec![
            first,
            NewJob { id: met, fingerprint: [9; 32], ..new_job() },
            NewJob { id: standing, ..new_job() },
            NewJob { start: Start::In(SECOND), ..new_job() },
        ];
        let answers = seam.store.submit_as(jobs.clone(), acceptance).await.expect("submit");
        let words = answers.iter().map(|answer| match answer {
            Submitted::Created(_) => "created",
            Submitted::Existing(_) => "existing",
            Submitted::Mismatch(_) => "mismatch",
            Submitted::Withheld => "withheld",
            Submitted::NotDead => "not dead",
        });
        assert_eq!(words.collect::<Vec<_>>(), expected, "{acceptance:?}, with a standing job: {with_standing}");
        for job in [&jobs[0], &jobs[3]] {
            let written = seam.store.get(job.id).await.expect("read").is_some();
            assert_eq!(written, acceptance == Acceptance::Each, "{acceptance:?}");
        }
    }
}

pub async fn an_absurd_estimate_or_duration_does_not_stop_a_group(seam: &StoreSeam) {
    let estimate = |ms| Estimate { p50_ms: ms, p90_ms: ms, source: Source::Manifest };
    let absurd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX].map(|ms| NewJob { estimate: estimate(ms), ..new_job() });
    let endless = NewJob {
        start: Start::In(Duration::MAX),
        start_deadline: Some(Duration::MAX),
        run_timeout: Duration::from_millis(u64::MAX >> 1),
        stall_timeout: None,
        ..new_job()
    };
    let jobs: Vec<NewJob> = absurd.into_iter().chain([endless]).collect();
    for answer in seam.store.submit(jobs).await.expect("submit") {
        let Submitted::Created(job) = answer else { panic!("{answer:?}") };
        assert_eq!(seam.job(job.id).await, job);
        assert!(job.estimate.p50_ms.is_finite() && job.estimate.p90_ms.is_finite(), "{job:?}");
    }
}

pub async fn a_cancel_ends_what_waits_and_asks_what_runs_to_stop(seam: &StoreSeam) {
    let rows = [
        (State::Queued, State::Canceled, true),
        (State::Running, State::Cancelling, true),
        (State::Cancelling, State::Cancelling, false),
        (State::Succeeded, State::Succeeded, false),
        (State::Failed, State::Failed, false),
        (State::Canceled, State::Canceled, false),
        (State::Expired, State::Expired, false),
    ];
    for (before, after, changed) in rows {
        let job = seam.in_state(before).await;
        let events = seam.kinds(job).await.len();
        let cancelled = seam.cancel_one(job).await;
        assert_eq!((cancelled.job.state, cancelled.changed), (after, changed), "{before}");
        assert_eq!(cancelled.job, seam.job(job).await);
        assert_eq!(seam.kinds(job).await.len(), events + usize::from(changed), "one event a change, none without one");
    }
}

pub async fn a_canceled_event_tells_where_the_cancel_met_the_job(seam: &StoreSeam) {
    let waiting = seam.in_state(State::Canceled).await;
    assert_eq!(seam.last_data(waiting).await, serde_json::json!({"while": "queued", "met": "queued", "spent_ms": 0}));
    let work = seam.running().await;
    seam.cancel_one(work.job).await;
    seam.pass(2 * SECOND);
    seam.record_one(finish(&work, stopped())).await;
    let data =
        serde_json::json!({"while": "running", "met": "inside_run", "stopped_after_ms": 2000, "spent_ms": 250, "run_ms": 250});
    assert_eq!(seam.last_data(work.job).await, data);
    let canceled = Canceled { met: CancelMet::InsideRun, spent: RUN };
    assert_eq!(seam.job(work.job).await.canceled, Some(canceled), "the job tells the same");
}

pub async fn an_input_of_any_text_reads_back_exactly(seam: &StoreSeam) {
    for json in [r#""""#, "null", r#"{"a": [1, 2.50, 1e9] }"#, r#""\u0000 \ud83d\ude00 𝄞 ' ; -- DROP TABLE job""#] {
        let job = seam.accept(NewJob { input: text(json), ..new_job() }).await.id;
        assert_eq!(seam.store.input(job).await.expect("read"), Some(text(json)));
    }
    let large = format!("\"{}\"", "\\\"x".repeat(20_000));
    let job = seam.accept(NewJob { input: text(&large), ..new_job() }).await.id;
    assert_eq!(seam.start(job).await.input, text(&large));
}
