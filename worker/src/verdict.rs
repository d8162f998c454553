//! What the end of a run means for its job: a pure decision. It never records anything, and it never overrules the store: a verdict is
//! a proposal under the attempt's fence.

use std::time::Duration;

use siding_core::{
    clock::Timestamp,
    job::{CancelMet, Failure, FailureCode, Finish, InterruptReason},
    schedule::retry::retry_at,
    store::Work,
};

use crate::{loaded::NotLoaded, running::StopReason, runtime::RunError};

/// When an attempt that lacked something which comes back by itself is due again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How the run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEnd {
    /// It returned an output: JSON text.
    Output(String),
    /// It returned an error of its own.
    Error(RunError),
    /// It was stopped and has ended because of that.
    Stopped(CancelMet),
    /// It panicked. What it said is in the log and nowhere else: it may name paths and values.
    Panicked,
    /// There is no copy of the model: this attempt has not begun to compute.
    NotLoaded(NotLoaded),
    /// The input's blob could not be read.
    NoInput,
    /// The input's blob is missing or damaged, and will stay so.
    InputLost,
    /// The blob of the checkpoint that it was to go on from could not be read.
    NoCheckpoint,
    /// It was handed back before it was started.
    NotStarted,
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The job is done; this is its output, still to be stored.
    Succeeded(String),
    /// Any other end, as it is recorded.
    Record(Finish),
    /// Nothing: the attempt is no longer ours.
    Discard,
}

/// A failed attempt, with the due time of the next one if there is one. `now` and `draw` (uniform in [0, 1)) are for that time.
#[must_use]
pub fn failed(code: FailureCode, message: String, work: &Work, now: Timestamp, draw: f64) -> Finish {
    let failure = Failure::new(code, message);
    let retry_at = retry_at(&failure, work.failures + 1, work.attempts_max, now, draw);
    Finish::Failed { failure, retry_at }
}

/// Decides. `now` and `draw` are as for `failed`.
#[must_use]
pub fn verdict(end: RunEnd, stop: Option<StopReason>, work: &Work, now: Timestamp, draw: f64) -> Verdict {
    let failed = |code, message| Verdict::Record(failed(code, message, work, now, draw));
    let handed_back = |reason, due_in| Verdict::Record(Finish::Interrupted { reason, due_in });
    let interrupted = |reason| handed_back(reason, Duration::ZERO);
    match end {
        // It was stopped before it computed: the reason for that says what it means, not what was missing.
        RunEnd::NotLoaded(_) | RunEnd::NoInput | RunEnd::NoCheckpoint
            if matches!(stop, Some(StopReason::Cancel | StopReason::Drain | StopReason::LeaseLost)) =>
        {
            verdict(RunEnd::Stopped(CancelMet::NotStarted), stop, work, now, draw)
        }
        // The run timeout counts from when the model is loaded: this is the limit of the loading.
        RunEnd::NotLoaded(NotLoaded::Refused(_) | NotLoaded::Crashed(_) | NotLoaded::Stopped)
            if stop == Some(StopReason::Timeout) =>
        {
            failed(FailureCode::ModelUnavailable, "the model was not loaded in time".into())
        }
        // A result is a result, whatever was asked for meanwhile; the fence refuses it if the attempt is no longer the newest.
        RunEnd::Output(output) => Verdict::Succeeded(output),
        RunEnd::Error(RunError::BadInput(message)) => failed(FailureCode::BadInput, message),
        RunEnd::Error(error @ RunError::OutputTooLarge { .. }) => failed(FailureCode::OutputTooLarge, error.to_string()),
        RunEnd::Error(RunError::Failed(message)) => failed(FailureCode::RuntimeError, message),
        RunEnd::Error(error @ RunError::BadCheckpoint(_)) => failed(FailureCode::RuntimeError, error.to_string()),
        // Told to stop and not there any more: however that came about, the reason for the stop says what it means.
        RunEnd::Error(RunError::Crashed(cause)) if stop.is_none() => {
            failed(FailureCode::ModelCrashed, format!("the process of the model {cause}"))
        }
        RunEnd::Error(RunError::Crashed(_)) => verdict(RunEnd::Stopped(CancelMet::Killed), stop, work, now, draw),
        RunEnd::Error(RunError::Stopped) => {
            failed(FailureCode::RuntimeError, "the runtime stopped the run without being asked".into())
        }
        RunEnd::Stopped(met) => match stop {
            Some(StopReason::Cancel) => Verdict::Record(Finish::Stopped { met }),
            Some(StopReason::Drain) => interrupted(InterruptReason::Drain),
            Some(StopReason::LeaseLost) => Verdict::Discard,
            Some(StopReason::Timeout) => {
                failed(FailureCode::RunTimeout, format!("the run passed its limit of {} ms", work.run_timeout.as_millis()))
            }
            Some(StopReason::Stall) => {
                let limit = work.stall_timeout.unwrap_or_default().as_millis();
                failed(FailureCode::Stalled, format!("a step of the run passed its limit of {limit} ms"))
            }
            None => failed(FailureCode::RuntimeError, "the run was stopped without a reason".into()),
        },
        RunEnd::Panicked => failed(FailureCode::Panicked, "the run panicked".into()),
        RunEnd::NotLoaded(NotLoaded::Refused(message)) => failed(FailureCode::ModelUnavailable, message),
        RunEnd::NotLoaded(NotLoaded::Crashed(cause)) => verdict(RunEnd::Error(RunError::Crashed(cause)), stop, work, now, draw),
        RunEnd::NotLoaded(NotLoaded::Resting(left)) => handed_back(InterruptReason::ModelResting, left),
        RunEnd::NotLoaded(NotLoaded::NoRoom) => handed_back(InterruptReason::NotStarted, TRY_AGAIN),
        RunEnd::NotLoaded(NotLoaded::Stopped) => {
            failed(FailureCode::RuntimeError, "the loading of the model was stopped without a reason".into())
        }
        RunEnd::NoInput => failed(FailureCode::RuntimeError, "the job's input could not be read".into()),
        // What was computed until then is not lost as long as the job may ask for it again.
        RunEnd::NoCheckpoint => handed_back(InterruptReason::NotStarted, TRY_AGAIN),
        RunEnd::InputLost => {
            let failure = Failure::new(FailureCode::RuntimeError, "the job's stored input is missing or damaged");
            Verdict::Record(Finish::Failed { failure, retry_at: None })
        }
        RunEnd::NotStarted => match stop {
            Some(StopReason::Cancel) => Verdict::Record(Finish::Stopped { met: CancelMet::NotStarted }),
            Some(StopReason::LeaseLost) => Verdict::Discard,
            Some(StopReason::Drain) => interrupted(InterruptReason::Drain),
            Some(StopReason::Timeout | StopReason::Stall) | None => interrupted(InterruptReason::NotStarted),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use siding_core::{
        estimate::{Estimate, Source},
        id::{Attempt, EventSeq, JobId},
        store::Payload,
    };

    use super::*;
    use crate::runtime::Cause;

    pub(crate) fn work(failures: u32) -> Work {
        Work {
            job: JobId::generate(),
            attempt: Attempt(1),
            model: "m".parse().expect("name"),
            version: "1".parse().expect("name"),
            lane: "instant".parse().expect("name"),
            input: Payload::Inline("{}".into()),
            estimate: Estimate { p50_ms: 1.0, p90_ms: 1.0, source: Source::Hint },
            run_timeout: Duration::from_millis(50),
            stall_timeout: None,
            checkpoint: None,
            failures,
            attempts_max: 3,
            waited: Duration::ZERO,
            takeover: false,
            event_seq: EventSeq(2),
            traceparent: None,
        }
    }

    fn check(rows: &[(RunEnd, Option<StopReason>, u32, &str)]) {
        for (end, stop, failures, expected) in rows {
            let found = match verdict(end.clone(), *stop, &work(*failures), Timestamp(0), 0.5) {
                Verdict::Succeeded(_) => "succeeded".into(),
                Verdict::Record(Finish::Failed { failure, retry_at }) => {
                    format!("{} {}", failure.code.as_str(), if retry_at.is_some() { "retried" } else { "final" })
                }
                Verdict::Record(Finish::Stopped { .. }) => "stopped".into(),
                Verdict::Record(Finish::Interrupted { reason, due_in }) if due_in.is_zero() => {
                    format!("interrupted {}", reason.as_str())
                }
                Verdict::Record(Finish::Interrupted { reason, due_in }) => {
                    format!("interrupted {} for {} s", reason.as_str(), due_in.as_secs())
                }
                Verdict::Record(Finish::Succeeded { .. }) => "succeeded before it is stored".into(),
                Verdict::Discard => "discard".into(),
            };
            assert_eq!(found, *expected, "{end:?} {stop:?}");
        }
    }

    #[test]
    fn every_end_of_a_run_has_one_meaning() {
        use StopReason as S;
        let stopped = || RunEnd::Stopped(CancelMet::InsideRun);
        let crashed = || RunEnd::Error(RunError::Crashed(Cause::NotStopping));
        let broke = || RunEnd::Error(RunError::Failed("x".into()));
        let ok = || RunEnd::Output("{}".into());
        check(&[
            (ok(), None, 0, "succeeded"),
            (ok(), Some(S::Cancel), 0, "succeeded"),
            (ok(), Some(S::LeaseLost), 0, "succeeded"),
            (broke(), None, 0, "runtime_error retried"),
            (broke(), None, 2, "runtime_error final"),
            (RunEnd::Error(RunError::BadInput("x".into())), None, 0, "bad_input final"),
            (RunEnd::Error(RunError::OutputTooLarge { bytes: 2, max: 1 }), None, 0, "output_too_large final"),
            (stopped(), Some(S::Cancel), 0, "stopped"),
            (stopped(), Some(S::Drain), 0, "interrupted drain"),
            (stopped(), Some(S::LeaseLost), 0, "discard"),
            (stopped(), Some(S::Timeout), 0, "run_timeout final"),
            (stopped(), Some(S::Stall), 0, "stalled retried"),
            (stopped(), None, 0, "runtime_error retried"),
            (RunEnd::Error(RunError::Stopped), None, 0, "runtime_error retried"),
            (crashed(), None, 0, "model_crashed retried"),
            (crashed(), Some(S::Cancel), 0, "stopped"),
            (crashed(), Some(S::Timeout), 0, "run_timeout final"),
            (crashed(), Some(S::Drain), 0, "interrupted drain"),
            (crashed(), Some(S::LeaseLost), 0, "discard"),
            (RunEnd::Panicked, None, 0, "panicked retried"),
            (RunEnd::InputLost, None, 0, "runtime_error final"),
            (RunEnd::NotStarted, None, 0, "interrupted not_started"),
            (RunEnd::NotStarted, Some(S::Drain), 0, "interrupted drain"),
            (RunEnd::NotStarted, Some(S::Cancel), 0, "stopped"),
            (RunEnd::NotStarted, Some(S::LeaseLost), 0, "discard"),
        ]);
    }

    #[test]
    fn what_was_missing_before_the_run_means_nothing_once_it_was_stopped() {
        use StopReason as S;
        let not_there = RunEnd::NotLoaded;
        let refused = || not_there(NotLoaded::Refused("x".into()));
        let resting = || not_there(NotLoaded::Resting(Duration::from_secs(30)));
        check(&[
            (RunEnd::NoCheckpoint, None, 2, "interrupted not_started for 5 s"),
            (RunEnd::NoCheckpoint, Some(S::Timeout), 2, "interrupted not_started for 5 s"),
            (RunEnd::NoCheckpoint, Some(S::Cancel), 0, "stopped"),
            (RunEnd::NoCheckpoint, Some(S::Drain), 0, "interrupted drain"),
            (RunEnd::NoCheckpoint, Some(S::LeaseLost), 0, "discard"),
            (refused(), None, 0, "model_unavailable retried"),
            (refused(), Some(S::Timeout), 0, "model_unavailable retried"),
            (refused(), Some(S::Cancel), 0, "stopped"),
            (refused(), Some(S::Drain), 2, "interrupted drain"),
            (refused(), Some(S::LeaseLost), 0, "discard"),
            (not_there(NotLoaded::Crashed(Cause::Silent)), None, 0, "model_crashed retried"),
            (not_there(NotLoaded::Crashed(Cause::Silent)), Some(S::Timeout), 0, "model_unavailable retried"),
            (not_there(NotLoaded::Crashed(Cause::Silent)), Some(S::Drain), 2, "interrupted drain"),
            (not_there(NotLoaded::Stopped), Some(S::Timeout), 0, "model_unavailable retried"),
            (not_there(NotLoaded::Stopped), Some(S::Cancel), 0, "stopped"),
            (not_there(NotLoaded::Stopped), Some(S::Drain), 2, "interrupted drain"),
            (not_there(NotLoaded::NoRoom), Some(S::Cancel), 0, "stopped"),
            (not_there(NotLoaded::NoRoom), Some(S::Drain), 2, "interrupted drain"),
            (not_there(NotLoaded::NoRoom), None, 2, "interrupted not_started for 5 s"),
            (resting(), None, 2, "interrupted model_resting for 30 s"),
            (resting(), Some(S::Cancel), 0, "stopped"),
            (resting(), Some(S::LeaseLost), 0, "discard"),
            (resting(), Some(S::Drain), 0, "interrupted drain"),
            (RunEnd::NoInput, None, 0, "runtime_error retried"),
            (RunEnd::NoInput, Some(S::Cancel), 0, "stopped"),
            (RunEnd::NoInput, Some(S::Drain), 2, "interrupted drain"),
        ]);
    }
}
