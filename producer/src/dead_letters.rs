//! Dead letters: messages that the broker has set aside, read back until none is left. It decides what a dead letter's job still needs of
//! it; it must never decide anything about the job itself, which is the store's matter, and never throw away a letter that somebody
//! could miss.
//!
//! A job that is queued and still stands where the letter says waits for a message that will not come, because its row is marked as
//! published: the message is published again, and the letter is acknowledged once the broker has confirmed that. In this order: a crash in
//! between doubles the message, and the claim absorbs it. Every other letter is of no use to its job and is acknowledged.
//!
//! A lane that refuses a message is left out until the next look. Its letters are kept in hand until then, so that what
//! stands behind them is reached.
//!
//! Among the letters lies the word that a lane's queue was lost with its messages: then the lane's queued jobs count as unpublished again and
//! the relay publishes them; a message that was not lost comes twice, and the claim absorbs it.
//!
//! May run in many processes at once: the broker hands each letter to one of them.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use siding_core::{
    broker::{DeadLetters, Delivery, Loss, Published, Publisher},
    clock::Clock,
    drain::Drain,
    envelope::{Due, Envelope},
    error::chain,
    id::{LaneName, MessageId},
    job::State,
    lane::Lanes,
    retry::{Policy, retry},
    store::{Dispatch, JobRecord, Jobs, Lost},
    telemetry::Metrics,
};

/// How often the dead letters are looked at: a job behind one has been handed out many times and can wait a little longer.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Letters that are taken at once.
const LETTERS_MAX: usize = 64;
/// Letters of lanes that refuse messages, kept in hand during one look; what stands behind more of them waits for room in those lanes.
const KEPT_MAX: usize = 1024;

/// What the loop works with.
pub struct Parts {
    /// Where dead letters come from.
    pub letters: Arc<dyn DeadLetters>,
    /// Where messages go.
    pub publisher: Arc<dyn Publisher>,
    /// What is known of their jobs.
    pub jobs: Arc<dyn Jobs>,
    /// Where publications are forgotten.
    pub outbox: Arc<dyn Dispatch>,
    /// Which lanes there are.
    pub lanes: Lanes,
    /// Times the turns.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// What a dead letter's job needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A message: it has no other.
    Publish,
    /// Nothing: it is over.
    Finished,
    /// Nothing: somebody has claimed it, and its lease stands for it.
    Claimed,
    /// Nothing: it has moved on to another attempt, which has a message or a due time of its own.
    Superseded,
    /// Nothing: there is no such job.
    Unknown,
}

impl Need {
    fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "published",
            Self::Finished => "finished",
            Self::Claimed => "claimed",
            Self::Superseded => "superseded",
            Self::Unknown => "unknown",
        }
    }
}

fn need(letter: &Due, job: Option<&JobRecord>) -> Need {
    match job {
        None => Need::Unknown,
        Some(job) if job.state.is_terminal() => Need::Finished,
        Some(job) if job.state != State::Queued => Need::Claimed,
        Some(job) if job.attempt != letter.attempt => Need::Superseded,
        Some(_) => Need::Publish,
    }
}

/// Starts the loop; it ends at the stop signal.
pub fn start(drain: &Drain, parts: Parts) {
    let stop = drain.clone();
    drain.spawn(async move {
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                () = parts.clock.sleep(LOOK_EVERY) => {}
            }
            let mut look = Look::default();
            while turn(&parts, &mut look).await && !stop.is_stopping() {}
        }
    });
}

/// What one look at the dead letters has come upon. What it keeps goes back to the broker when it is dropped, and is found at the next look.
#[derive(Default)]
struct Look {
    /// Lanes that have refused a message.
    refusing: Vec<LaneName>,
    /// Their letters.
    kept: Vec<Box<dyn Delivery>>,
}

/// What became of reading one letter back.
enum ReadBack {
    /// It is settled.
    Settled,
    /// Its lane refuses messages.
    Kept(Box<dyn Delivery>),
    /// Store or broker did not answer.
    Away,
}

/// Reads back a group of letters. Returns whether there may be more to do in this look.
async fn turn(parts: &Parts, look: &mut Look) -> bool {
    let found = match parts.letters.take(LETTERS_MAX).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(error = chain(&error), "cannot look at the dead letters; will try again");
            return false;
        }
    };
    parts.metrics.dead_letters_kept(found.unreadable);
    let full = found.letters.len() == LETTERS_MAX;
    let mut done = true;
    for loss in found.losses {
        done = done && make_up_for(parts, loss).await;
    }
    for letter in found.letters {
        // A letter that is not settled goes back when it is dropped, and is found at the next look.
        if !done {
            break;
        }
        match read_back(parts, &mut look.refusing, letter).await {
            ReadBack::Settled => {}
            ReadBack::Kept(letter) => look.kept.push(letter),
            ReadBack::Away => done = false,
        }
    }
    full && done && look.kept.len() + LETTERS_MAX <= KEPT_MAX
}

/// Counts the queued jobs of each lost queue as unpublished, whenever they were marked, then acknowledges the loss.
async fn make_up_for(parts: &Parts, loss: Box<dyn Loss>) -> bool {
    for lane in loss.lanes() {
        let lost = Lost::Lane { lane: lane.clone(), older_than: Duration::ZERO };
        match retry(Policy::Loop, || parts.outbox.forget_published(&lost)).await {
            // A region's first process finds no queue either.
            Ok(0) => tracing::info!(lane.name = %lane, "a lane's queue is new, and no job waits for a message in it"),
            Ok(jobs) => {
                tracing::error!(lane.name = %lane, jobs.queued = jobs, "a lane's queue was lost; its queued jobs are published again");
            }
            Err(error) => {
                parts.metrics.store_error("forget_published");
                tracing::error!(lane.name = %lane, error = chain(&error), "the jobs of a lost queue cannot be published again; will try again");
                return false;
            }
        }
    }
    parts.metrics.dead_letter("queue_lost");
    // Stale: it is found again, and the jobs are forgotten once more.
    loss.ack().await.is_ok()
}

/// Does what the letter's job needs.
async fn read_back(parts: &Parts, refusing: &mut Vec<LaneName>, letter: Box<dyn Delivery>) -> ReadBack {
    let due = letter.envelope().due().clone();
    let job = match retry(Policy::Loop, || parts.jobs.get(due.job)).await {
        Ok(job) => job,
        Err(error) => {
            parts.metrics.store_error("get");
            tracing::error!(job.id = %due.job, error = chain(&error), "cannot read a dead letter's job; will try again");
            return ReadBack::Away;
        }
    };
    let need = need(&due, job.as_ref());
    if let (Need::Publish, Some(job)) = (need, &job) {
        // The lane as it is now: the letter's may have been removed from the configuration.
        let lane = parts.lanes.get_or_longest(&job.lane).name.clone();
        if refusing.contains(&lane) {
            return ReadBack::Kept(letter);
        }
        // A publication of its own: a claim must not take it for the one that was set aside.
        let again = Due { lane: lane.clone(), message: Some(MessageId::generate()), ..due.clone() };
        match parts.publisher.publish(vec![Envelope::V1(again)]).await.as_slice() {
            [Published::Confirmed] => {}
            [Published::Refused] => {
                tracing::warn!(lane.name = %lane, "a lane takes no message; its dead letters are kept and read back later");
                refusing.push(lane);
                return ReadBack::Kept(letter);
            }
            _ => return ReadBack::Away,
        }
    }
    parts.metrics.dead_letter(need.as_str());
    tracing::warn!(job.id = %due.job, lane.name = %due.lane, done = need.as_str(), "a dead letter was read back");
    // Stale: the broker hands it out again, and the next look finds nothing left to do for it.
    letter.ack().await.map_or(ReadBack::Away, |()| ReadBack::Settled)
}
