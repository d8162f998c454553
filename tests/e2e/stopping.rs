//! Stopping: a cancel stops the computation, a timeout ends a run, a drain hands back what does not finish.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use siding_client::Submission;
use siding_core::{
    job::{CancelMet, FailureCode, State},
    model::repository::Model,
};
use siding_tests::harness::{Options, Profile, TestSystem, eventually};
use siding_worker::runtime::{
    Computation, LoadError, LoadedModel, ModelRuntime, RunError, RuntimeReport, State as SavedState, one_step, scripted::Scripted,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn client_id(job: siding_core::id::JobId) -> siding_client::JobId {
    job.to_string().parse().expect("one id, one spelling")
}

async fn cancelling_a_running_job_stops_its_computation(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "hang"})).await;
    system.in_state(job, State::Running).await;
    let asked = Instant::now();
    system.client.cancel(client_id(job)).await.expect("accepted");
    assert_eq!(system.ended(job).await.state, State::Canceled);
    assert!(asked.elapsed() < Duration::from_secs(1), "the hint stops the run, not the lease: {:?}", asked.elapsed());
    assert_eq!(system.event_kinds(job).await, ["queued", "started", "cancelling", "canceled"]);
    system.finish().await;
}

async fn cancelling_a_queued_job_ends_it_at_once_and_a_second_cancel_changes_nothing(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let submission = Submission::new("scripted", &json!({"op": "noop"})).expect("json").delayed(Duration::from_secs(3600));
    let job = system.submit_as(&submission).await;
    for _ in 0..2 {
        let answer = system.client.cancel(client_id(job)).await.expect("accepted");
        assert_eq!(answer.state, siding_client::State::Canceled);
    }
    assert_eq!(system.event_kinds(job).await, ["queued", "canceled"]);
    system.finish().await;
}

async fn a_cancelled_job_whose_cancel_hint_is_lost_is_stopped_when_its_lease_is_extended(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "hang"})).await;
    system.in_state(job, State::Running).await;
    // Straight into the store: nobody sends a hint.
    let cancelled = system.seams.submissions.cancel(vec![job]).await.expect("the store takes it");
    assert!(cancelled[0].is_some(), "the job exists");
    assert_eq!(system.ended(job).await.state, State::Canceled);
    system.finish().await;
}

async fn a_run_that_passes_its_timeout_fails_and_is_not_tried_again(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let submission =
        Submission::new("scripted", &json!({"op": "hang"})).expect("json").with_run_timeout(Duration::from_millis(150));
    let job = system.submit_as(&submission).await;
    let ended = system.ended(job).await;
    assert_eq!(ended.failure.expect("it failed").code, FailureCode::RunTimeout);
    assert_eq!(ended.attempt.0, 1);
    system.finish().await;
}

async fn a_stop_waits_neither_for_a_preferred_wait_nor_for_a_stream(profile: Profile) {
    let mut system = TestSystem::on(profile).await;
    let address = system.url.trim_start_matches("http://").to_owned();
    let job = system.submit("scripted", json!({"op": "hang"})).await;
    system.in_state(job, State::Running).await;
    let mut stream = system.client.events(client_id(job), 1);
    stream.next().await.expect("an event").expect("the stream is open");

    let id = siding_core::id::JobId::generate();
    let body = json!({"model": "scripted", "input": {"op": "hang"}}).to_string();
    let head = format!("PUT /v1/jobs/{id} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nPrefer: wait=60\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let mut waiting = tokio::net::TcpStream::connect(&address).await.expect("the server listens");
    waiting.write_all(request.as_bytes()).await.expect("the request is taken");
    eventually("the wait is open", TestSystem::patience(), || async {
        let stored = system.seams.jobs.get(id).await.expect("the store can be read");
        if stored.is_some_and(|job| job.state == State::Running) { Ok(()) } else { Err("it does not run yet".to_owned()) }
    })
    .await;

    let asked = Instant::now();
    system.services().front().stopped(Duration::from_secs(2)).await.expect("nothing holds it up");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    for job in [job, id] {
        system.seams.submissions.cancel(vec![job]).await.expect("the store takes it");
    }
    system.finish().await;
}

async fn a_drained_worker_finishes_what_it_can_and_hands_back_the_rest_uncounted(profile: Profile) {
    let mut options = Options::on(profile);
    options.settings.worker.drain_ms = 300;
    let mut system = TestSystem::start_with(options).await;
    let quick = system.submit("scripted", json!({"op": "delay", "ms": 100})).await;
    let slow = system.submit("scripted", json!({"op": "delay", "ms": 5_000, "steps": 500})).await;
    system.in_state(quick, State::Running).await;
    system.in_state(slow, State::Running).await;
    let worker = system.services().take_worker().expect("there is a worker");
    worker.stop().await.expect("it stops in time");
    assert_eq!(system.job(quick).await.state, State::Succeeded);
    let handed_back = system.job(slow).await;
    assert_eq!((handed_back.state, handed_back.failures), (State::Queued, 0));
    assert!(system.event_kinds(slow).await.contains(&"interrupted"));
    system.start_worker();
    system.in_state(slow, State::Running).await;
    system.client.cancel(client_id(slow)).await.expect("accepted");
    system.finish().await;
}

/// A runtime whose runs do not heed their stop until they are let go.
struct Deaf(Arc<(Mutex<bool>, Condvar)>);

impl ModelRuntime for Deaf {
    fn report(&self) -> RuntimeReport {
        Scripted::new().report()
    }

    fn load(&self, _: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl LoadedModel for Deaf {
    fn begin(&mut self, _: &str, _: Option<SavedState>) -> Result<Box<dyn Computation>, RunError> {
        let gate = self.0.clone();
        Ok(one_step(move |_| {
            let held = gate.0.lock().expect("no panic under this lock");
            drop(gate.1.wait_while(held, |let_go| !*let_go).expect("no panic under this lock"));
            Ok("\"late\"".into())
        }))
    }
}

async fn a_run_that_ignores_its_stop_costs_its_slot_and_no_further_attempt(profile: Profile) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let mut options = Options { runtime: Arc::new(Deaf(gate.clone())), ..Options::on(profile) };
    options.settings.worker.stop_patience_ms = 300;
    let mut system = TestSystem::start_with(options).await;
    let noop = Submission::new("scripted", &json!({"op": "noop"})).expect("json");
    let timed_out = system.submit_as(&noop.clone().with_run_timeout(Duration::from_millis(100))).await;
    let cancelled = system.submit_as(&noop).await;
    system.in_state(cancelled, State::Running).await;
    system.client.cancel(client_id(cancelled)).await.expect("accepted");
    let ended = system.ended(timed_out).await;
    assert_eq!((ended.failure.expect("it failed").code, ended.attempt.0), (FailureCode::RunTimeout, 1));
    let ended = system.ended(cancelled).await;
    assert_eq!((ended.state, ended.canceled.expect("it is told").met), (State::Canceled, CancelMet::GivenUp));
    let worker = system.services().take_worker().expect("there is a worker");
    assert_eq!(worker.slots_hung(), 2);
    *gate.0.lock().expect("no panic under this lock") = true;
    gate.1.notify_all();
    eventually("the slots are free again", TestSystem::patience(), || async {
        if worker.slots_hung() == 0 { Ok(()) } else { Err("they hang".to_owned()) }
    })
    .await;
    worker.stop().await.expect("it stops in time");
    assert_eq!(system.job(cancelled).await.state, State::Canceled, "what it says now is refused");
    system.finish().await;
}

/// A runtime whose loads take until they are let go.
struct Slow(Arc<(Mutex<bool>, Condvar)>);

impl ModelRuntime for Slow {
    fn report(&self) -> RuntimeReport {
        Scripted::new().report()
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        let held = self.0.0.lock().expect("no panic under this lock");
        drop(self.0.1.wait_while(held, |let_go| !*let_go).expect("no panic under this lock"));
        Scripted::new().load(model)
    }
}

async fn a_stop_that_meets_a_load_is_told_as_one_before_the_start(profile: Profile) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let mut options = Options { runtime: Arc::new(Slow(gate.clone())), ..Options::on(profile) };
    options.settings.worker.stop_patience_ms = 300;
    options.settings.worker.drain_ms = 100;
    let mut system = TestSystem::start_with(options).await;
    let noop = Submission::new("scripted", &json!({"op": "noop"})).expect("json").with_attempts_max(1);
    let (cancelled, drained) = (system.submit_as(&noop).await, system.submit_as(&noop).await);
    system.in_state(cancelled, State::Running).await;
    system.in_state(drained, State::Running).await;
    system.client.cancel(client_id(cancelled)).await.expect("accepted");
    let ended = system.ended(cancelled).await;
    assert_eq!((ended.state, ended.canceled.expect("it is told").met), (State::Canceled, CancelMet::NotStarted));
    let worker = system.services().take_worker().expect("there is a worker");
    worker.stop().await.expect_err("two slots hang in their loads");
    let handed_back = system.job(drained).await;
    assert_eq!((handed_back.state, handed_back.failures), (State::Queued, 0), "its only attempt is not used up");
    *gate.0.lock().expect("no panic under this lock") = true;
    gate.1.notify_all();
    system.start_worker();
    assert_eq!(system.ended(drained).await.state, State::Succeeded);
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_stop_that_meets_a_load_is_told_as_one_before_the_start,
    cancelling_a_running_job_stops_its_computation,
    cancelling_a_queued_job_ends_it_at_once_and_a_second_cancel_changes_nothing,
    a_cancelled_job_whose_cancel_hint_is_lost_is_stopped_when_its_lease_is_extended,
    a_run_that_passes_its_timeout_fails_and_is_not_tried_again,
    a_stop_waits_neither_for_a_preferred_wait_nor_for_a_stream,
    a_drained_worker_finishes_what_it_can_and_hands_back_the_rest_uncounted,
    a_run_that_ignores_its_stop_costs_its_slot_and_no_further_attempt,
);
