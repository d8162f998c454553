//! Store faults on request, in the three forms that real stores have: the call does not happen and fails; it happens and fails all the
//! same (the answer was lost); it is never answered. Wraps any implementation of `Attempts` and `Submissions`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use siding_core::{
    id::{JobId, WorkerId},
    store::{
        Acceptance, Attempts, Cancelled, Claim, Claimed, Error, Extended, Lease, NewJob, Record, Recorded, Rescued, Submissions,
        Submitted,
    },
};

/// Which call is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `Submissions::submit_as`, and so `submit`
    Submit,
    /// `Attempts::claim`
    Claim,
    /// `Attempts::extend`
    Extend,
    /// `Attempts::record`
    Record,
}

/// How it is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens; the caller is told that the store is away.
    Refused,
    /// It happens; the caller is told that the store is away.
    AnswerLost,
    /// Nothing happens, and nobody is told.
    Stalled,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<Call, (Fault, u32)>>);

impl Faults {
    /// Disturbs the next `times` calls.
    ///
    /// # Panics
    /// When another test thread panicked while it held the lock.
    pub fn inject(&self, call: Call, fault: Fault, times: u32) {
        self.0.lock().expect("no panic under this lock").insert(call, (fault, times));
    }

    /// Ends all disturbance.
    ///
    /// # Panics
    /// When another test thread panicked while it held the lock.
    pub fn heal(&self) {
        self.0.lock().expect("no panic under this lock").clear();
    }

    /// How many faults of this call are still to come.
    ///
    /// # Panics
    /// When another test thread panicked while it held the lock.
    pub fn left(&self, call: Call) -> u32 {
        self.0.lock().expect("no panic under this lock").get(&call).map_or(0, |(_, times)| *times)
    }

    fn next(&self, call: Call) -> Option<Fault> {
        let mut faults = self.0.lock().expect("no panic under this lock");
        let (fault, times) = faults.get_mut(&call)?;
        if *times == 0 {
            return None;
        }
        *times -= 1;
        Some(*fault)
    }

    async fn disturb<T>(&self, call: Call, act: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.next(call) {
            None => act.await,
            Some(Fault::Refused) => Err(away()),
            Some(Fault::Stalled) => std::future::pending().await,
            Some(Fault::AnswerLost) => act.await.and(Err(away())),
        }
    }
}

fn away() -> Error {
    Error::Unavailable("injected by a test".into())
}

/// A store that is disturbed.
pub struct Disturbed {
    /// The faults to come.
    pub faults: Arc<Faults>,
    /// Where jobs are accepted.
    pub submissions: Arc<dyn Submissions>,
    /// Where they are claimed and recorded.
    pub attempts: Arc<dyn Attempts>,
}

#[async_trait]
impl Submissions for Disturbed {
    async fn submit_as(&self, jobs: Vec<NewJob>, acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        self.faults.disturb(Call::Submit, self.submissions.submit_as(jobs, acceptance)).await
    }

    async fn cancel(&self, jobs: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error> {
        self.submissions.cancel(jobs).await
    }
}

#[async_trait]
impl Attempts for Disturbed {
    async fn claim(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.faults.disturb(Call::Claim, self.attempts.claim(worker, claims)).await
    }

    async fn extend(&self, worker: WorkerId, leases: &[Lease]) -> Result<Vec<Extended>, Error> {
        self.faults.disturb(Call::Extend, self.attempts.extend(worker, leases)).await
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, Error> {
        self.faults.disturb(Call::Record, self.attempts.record(records)).await
    }

    async fn sweep(&self, limit: usize) -> Result<Vec<Rescued>, Error> {
        self.attempts.sweep(limit).await
    }

    async fn end_all_leases(&self) -> Result<u64, Error> {
        self.attempts.end_all_leases().await
    }
}

/// How long a fault test waits for the system to come round.
pub const RECOVERY_MAX: Duration = Duration::from_secs(20);
