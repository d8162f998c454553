//! Kill points: the program under test ends itself with SIGKILL, or stops itself with SIGSTOP, before or after a named call of a seam, so that a suite
//! hits a process exactly at a step of a job's life and not merely at some instant. It decides nothing else, and none of it is in the program that users run.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use nix::sys::signal::{Signal, raise};
use siding::seams::Seams;
use siding_core::{
    broker::{Published, Publisher},
    envelope::Envelope,
    id::{JobId, LaneName, WorkerId},
    store::{
        Acceptance, Attempts, Cancelled, Claim, Claimed, Dispatch, DueJob, Error, Extended, Lease, Lost, NewJob, Publication,
        Record, RecordChange, Recorded, Rescued, Submissions, Submitted,
    },
};

/// The variable that names the point where the process dies.
pub const VARIABLE: &str = "SIDING_KILL_AT";
/// The variable that names the point where it stands still, once, until somebody lets it go on.
pub const PAUSE_VARIABLE: &str = "SIDING_PAUSE_AT";

/// Where the process dies or stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// The submission is read and checked; nothing is written.
    BeforeSubmit,
    /// The job's row is committed; nobody is answered, nothing is published.
    AfterSubmit,
    /// The caller may be answered; the message is not sent.
    BeforePublish,
    /// The broker has confirmed the message; the row is not marked.
    AfterPublish,
    /// The row is marked.
    AfterMark,
    /// The sweep has moved a job; nobody is told.
    AfterSweep,
    /// The delivery is in hand; the job is not claimed.
    BeforeClaim,
    /// The claim is committed; nothing runs, and a delivery of an `on_claim` lane is not settled.
    AfterClaim,
    /// The run has ended and a large output is stored; nothing of it is recorded.
    BeforeRecord,
    /// The result is committed; the delivery is not settled, nobody is told.
    AfterRecord,
}

impl KillPoint {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 10] = [
        Self::BeforeSubmit,
        Self::AfterSubmit,
        Self::BeforePublish,
        Self::AfterPublish,
        Self::AfterMark,
        Self::AfterSweep,
        Self::BeforeClaim,
        Self::AfterClaim,
        Self::BeforeRecord,
        Self::AfterRecord,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::BeforeSubmit => "before-submit",
            Self::AfterSubmit => "after-submit",
            Self::BeforePublish => "before-publish",
            Self::AfterPublish => "after-publish",
            Self::AfterMark => "after-mark",
            Self::AfterSweep => "after-sweep",
            Self::BeforeClaim => "before-claim",
            Self::AfterClaim => "after-claim",
            Self::BeforeRecord => "before-record",
            Self::AfterRecord => "after-record",
        }
    }
}

impl fmt::Display for KillPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KillPoint {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|point| point.as_str() == name).ok_or_else(|| format!("there is no kill point {name}"))
    }
}

/// The seams, with the point that the environment names, if it names one.
///
/// # Panics
/// When it names one that does not exist: a test that hits nothing must not look as if it had.
#[must_use]
pub fn armed(mut seams: Seams) -> Seams {
    let ways = [(VARIABLE, Signal::SIGKILL), (PAUSE_VARIABLE, Signal::SIGSTOP)];
    let named = ways.into_iter().find_map(|(variable, signal)| Some((std::env::var(variable).ok()?, signal)));
    let Some((name, signal)) = named else { return seams };
    let armed = Arc::new(Armed {
        point: name.parse().expect("the test names a kill point"),
        signal,
        is_over: AtomicBool::new(false),
        submissions: seams.submissions.clone(),
        dispatch: seams.dispatch.clone(),
        attempts: seams.attempts.clone(),
        publisher: seams.publisher.clone(),
    });
    seams.submissions = armed.clone();
    seams.dispatch = armed.clone();
    seams.attempts = armed.clone();
    seams.publisher = armed;
    seams
}

struct Armed {
    point: KillPoint,
    signal: Signal,
    /// The first call that reaches the point sets it, so that a process that goes on is not stopped again.
    is_over: AtomicBool,
    submissions: Arc<dyn Submissions>,
    dispatch: Arc<dyn Dispatch>,
    attempts: Arc<dyn Attempts>,
    publisher: Arc<dyn Publisher>,
}

impl Armed {
    /// Ends or stops the process here and now, when this is the point. A signal that cannot be caught runs no destructor and closes no connection in order.
    fn reached(&self, point: KillPoint) {
        if self.point == point && !self.is_over.swap(true, Ordering::Relaxed) {
            raise(self.signal).expect("a process may signal itself");
        }
    }
}

#[async_trait]
impl Submissions for Armed {
    async fn submit_as(&self, jobs: Vec<NewJob>, acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        self.reached(KillPoint::BeforeSubmit);
        let answers = self.submissions.submit_as(jobs, acceptance).await?;
        self.reached(KillPoint::AfterSubmit);
        Ok(answers)
    }

    async fn cancel(&self, jobs: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error> {
        self.submissions.cancel(jobs).await
    }
}

#[async_trait]
impl Publisher for Armed {
    async fn publish(&self, messages: Vec<Envelope>) -> Vec<Published> {
        self.reached(KillPoint::BeforePublish);
        let outcomes = self.publisher.publish(messages).await;
        if outcomes.contains(&Published::Confirmed) {
            self.reached(KillPoint::AfterPublish);
        }
        outcomes
    }
}

#[async_trait]
impl Dispatch for Armed {
    async fn due(&self, limit: usize, except: &[LaneName]) -> Result<Vec<DueJob>, Error> {
        self.dispatch.due(limit, except).await
    }

    async fn mark_published(&self, published: &[Publication]) -> Result<(), Error> {
        self.dispatch.mark_published(published).await?;
        self.reached(KillPoint::AfterMark);
        Ok(())
    }

    async fn backlog(&self, limit: usize) -> Result<usize, Error> {
        self.dispatch.backlog(limit).await
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, Error> {
        self.dispatch.next_due_in().await
    }

    async fn forget_published(&self, lost: &Lost) -> Result<u64, Error> {
        self.dispatch.forget_published(lost).await
    }
}

#[async_trait]
impl Attempts for Armed {
    async fn claim(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.reached(KillPoint::BeforeClaim);
        let answers = self.attempts.claim(worker, claims).await?;
        if answers.iter().any(|answer| matches!(answer, Claimed::Run(_))) {
            self.reached(KillPoint::AfterClaim);
        }
        Ok(answers)
    }

    async fn extend(&self, worker: WorkerId, leases: &[Lease]) -> Result<Vec<Extended>, Error> {
        self.attempts.extend(worker, leases).await
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, Error> {
        let ends = records.iter().any(|record| matches!(record.change, RecordChange::Finish { .. }));
        if ends {
            self.reached(KillPoint::BeforeRecord);
        }
        let answers = self.attempts.record(records).await?;
        if ends {
            self.reached(KillPoint::AfterRecord);
        }
        Ok(answers)
    }

    async fn sweep(&self, limit: usize) -> Result<Vec<Rescued>, Error> {
        let rescued = self.attempts.sweep(limit).await?;
        if !rescued.is_empty() {
            self.reached(KillPoint::AfterSweep);
        }
        Ok(rescued)
    }

    async fn end_all_leases(&self) -> Result<u64, Error> {
        self.attempts.end_all_leases().await
    }
}
