//! What a cancel meets in a run, and how it is told.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use serde_json::json;
use siding_core::{
    job::{CancelMet, State},
    model::repository::Model,
};
use siding_tests::harness::{Options, Profile, TestSystem, eventually};
use siding_worker::runtime::{
    Computation, LoadError, LoadedModel, ModelRuntime, Progress, RunControl, RunError, RunReport, RuntimeReport,
    State as SavedState, Step, scripted::Scripted,
};

/// How the runs of a runtime behave once they are told to stop.
#[derive(Clone, Copy)]
enum Manners {
    /// The step ends at once, and says that it was stopped.
    HearsItsStop,
    /// The step ends as it would have, soon.
    FinishesItsStep,
    /// The step goes on until it is killed, and then breaks.
    GoesOnUntilKilled,
}

struct Mannered(Manners);

impl ModelRuntime for Mannered {
    fn report(&self) -> RuntimeReport {
        Scripted::new().report()
    }

    fn load(&self, _: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        Ok(Box::new(Self(self.0)))
    }
}

impl LoadedModel for Mannered {
    fn begin(&mut self, _: &str, _: Option<SavedState>) -> Result<Box<dyn Computation>, RunError> {
        Ok(Box::new(Self(self.0)))
    }
}

impl Computation for Mannered {
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError> {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let open = {
            let gate = gate.clone();
            move || {
                *gate.0.lock().expect("no panic under this lock") = true;
                gate.1.notify_all();
            }
        };
        let wait = || {
            let shut = gate.0.lock().expect("no panic under this lock");
            drop(gate.1.wait_while(shut, |open| !*open).expect("no panic under this lock"));
        };
        // For whoever waits for the moment from which on it computes.
        control.report(RunReport::Output("0".into()));
        match self.0 {
            Manners::HearsItsStop => {
                control.interruptible(open, wait);
                Err(RunError::Stopped)
            }
            Manners::FinishesItsStep => {
                control.interruptible(open, wait);
                Ok(Step::More(Progress { done: 1, total: None }))
            }
            Manners::GoesOnUntilKilled => {
                control.killable(open, wait);
                Err(RunError::Failed("the model's process is gone".into()))
            }
        }
    }

    fn save(&self) -> Option<SavedState> {
        None
    }
}

async fn met_in(manners: Manners, profile: Profile, expected: CancelMet) {
    let mut options = Options { runtime: Arc::new(Mannered(manners)), ..Options::on(profile) };
    options.settings.worker.stop_patience_ms = 300;
    let system = TestSystem::start_with(options).await;
    let job = system.submit("scripted", json!({"op": "hang"})).await;
    eventually("it computes", TestSystem::patience(), || async {
        let kinds = system.event_kinds(job).await;
        if kinds.contains(&"output") { Ok(()) } else { Err(format!("{kinds:?}")) }
    })
    .await;
    let id = job.to_string().parse().expect("one id, one spelling");
    system.client.cancel(id).await.expect("accepted");
    let ended = system.ended(job).await;
    let canceled = ended.canceled.expect("a canceled job tells what its cancel met");
    assert_eq!((ended.state, canceled.met), (State::Canceled, expected));
    assert!(canceled.spent < Duration::from_secs(2), "{canceled:?}");
    let view = system.client.get(id).await.expect("the job is shown");
    assert_eq!(view.cancel.expect("callers are told").met, expected.as_str());
    system.finish().await;
}

async fn a_cancel_that_meets_a_step_is_heeded_inside_of_it(profile: Profile) {
    met_in(Manners::HearsItsStop, profile, CancelMet::InsideRun).await;
}

async fn a_cancel_that_a_step_does_not_hear_is_heeded_behind_it(profile: Profile) {
    met_in(Manners::FinishesItsStep, profile, CancelMet::BetweenSteps).await;
}

async fn a_run_that_does_not_heed_its_cancel_is_killed_where_it_can_be(profile: Profile) {
    met_in(Manners::GoesOnUntilKilled, profile, CancelMet::Killed).await;
}

siding_tests::on_every_profile!(
    a_cancel_that_meets_a_step_is_heeded_inside_of_it,
    a_cancel_that_a_step_does_not_hear_is_heeded_behind_it,
    a_run_that_does_not_heed_its_cancel_is_killed_where_it_can_be,
);
