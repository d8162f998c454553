//! Taking: which of the deliveries in hand become claims, and when. The decisions are `schedule::next` (which lane) and
//! `schedule::group` (how many); this loop only holds the hands, asks, claims, and puts what was granted into the ready queue. It never
//! claims what cannot start soon, and it stops claiming while the store does not answer.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use siding_core::{
    blob::Blobs,
    broker::Delivery,
    clock::Clock,
    drain::Drain,
    error::{Classified, chain},
    id::WorkerId,
    lane::{Ack, Lanes},
    retry::{Policy, retry},
    schedule::{
        group::claim_count,
        next::{LaneView, has_room, next, room},
    },
    store::{Attempts, Claim, Claimed, Payload, Skip, Work},
    telemetry::{Metrics, trace_id},
};
use tokio::sync::{mpsc, watch};

use crate::{
    pump::{InHand, Ticket},
    recorder::Recorder,
    running::{Running, RunningJobs},
    slots::{Ready, Slots, View},
    verdict::RunEnd,
};

/// How often the loop looks around when nothing wakes it.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// A delivery of an `on_claim` lane that cannot start for so long is given back, for another worker; unless it is the next to start.
const HELD_MAX: Duration = Duration::from_millis(250);
/// When nothing of an `on_claim` lane with room was in hand for so long, one delivery is asked for although no slot is free: only a
/// job in hand grows old before the policy, and without that a steady stream of short work would keep long work out for ever.
const UNSEEN_MAX: Duration = Duration::from_millis(200);
/// A claimed job that cannot start for so long because every slot is busy is handed back to the queue.
const READY_MAX: Duration = Duration::from_millis(250);
/// How long the reading of an input may take, with its second tries.
const INPUT_PATIENCE: Duration = Duration::from_secs(30);
/// Pause after the store has refused a claim.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// What the loop works with.
pub struct Parts {
    /// Who claims.
    pub worker: WorkerId,
    /// The lanes, shortest first.
    pub lanes: Lanes,
    /// Where claims are made.
    pub store: Arc<dyn Attempts>,
    /// Where large inputs lie.
    pub blobs: Blobs,
    /// Tells how old a delivery is.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where claimed jobs run.
    pub slots: Slots,
    /// Where claimed jobs are listed.
    pub running: Arc<RunningJobs>,
    /// Where what is handed back is recorded.
    pub recorder: Recorder,
}

struct Held {
    delivery: Box<dyn Delivery>,
    since: Instant,
}

/// The loop.
pub struct Taking {
    parts: Parts,
    /// Deliveries in hand, by lane, oldest first. Bounded by the lanes' prefetch.
    hands: Vec<VecDeque<Held>>,
    /// When something of the lane was in hand last.
    seen: Vec<Instant>,
    /// The way to ask the pumps of `on_claim` lanes for one delivery.
    tickets: Vec<watch::Sender<Ticket>>,
    ticket_last: u64,
    /// Until when no claim is made, after the store has failed.
    paused_until: Option<Instant>,
    drain: Drain,
}

impl Taking {
    /// A loop with empty hands; `tickets` has one sender for each lane, in order.
    #[must_use]
    pub fn new(parts: Parts, tickets: Vec<watch::Sender<Ticket>>, drain: Drain) -> Self {
        let hands = parts.lanes.as_slice().iter().map(|_| VecDeque::new()).collect();
        let seen = vec![Instant::now(); parts.lanes.as_slice().len()];
        Self { parts, hands, seen, tickets, ticket_last: 0, paused_until: None, drain }
    }

    /// Runs until the stop signal, then gives back what is in hand and what is claimed and not started.
    pub async fn run(mut self, mut deliveries: mpsc::Receiver<InHand>) {
        let mut arrived = Vec::new();
        loop {
            self.ask_for_long_work();
            tokio::select! {
                biased;
                () = self.drain.stopping() => break,
                taken = deliveries.recv_many(&mut arrived, usize::from(u8::MAX)) => if taken == 0 { break },
                () = self.parts.slots.changed() => {}
                () = tokio::time::sleep(self.look_again_in()) => {}
            }
            let since = Instant::now();
            for (lane, delivery) in arrived.drain(..) {
                // A ticket is served by one delivery; the next wish is another ticket. (Lanes without tickets do not look at theirs.)
                self.tickets[lane].send_replace(None);
                let kept = self.adopt(Held { delivery, since }).await;
                self.hands[lane].extend(kept);
                self.seen[lane] = since;
            }
            self.fill().await;
            self.give_back_held_too_long().await;
            for ready in self.parts.slots.take_back(Some(READY_MAX)) {
                self.parts.recorder.finished(ready.running, RunEnd::NotStarted).await;
            }
        }
        deliveries.close();
        while let Some((lane, delivery)) = deliveries.recv().await {
            self.hands[lane].push_back(Held { delivery, since: Instant::now() });
        }
        for held in std::mem::take(&mut self.hands).into_iter().flatten() {
            if let Some(held) = self.adopt(held).await {
                give_back(held.delivery).await;
            }
        }
        for ready in self.parts.slots.take_back(None) {
            ready.running.stop(crate::running::StopReason::Drain);
            self.parts.recorder.finished(ready.running, RunEnd::NotStarted).await;
        }
    }

    /// When nothing wakes the loop: something in hand is claimed when a slot is about to be free, not only once it is.
    fn look_again_in(&self) -> Duration {
        let ending_in = self.parts.slots.view().next_ending_in.filter(|_| self.hands.iter().any(|hands| !hands.is_empty()));
        ending_in.map_or(LOOK_AROUND, |ending_in| ending_in.min(LOOK_AROUND))
    }

    /// Claims as long as the policies find something to claim.
    async fn fill(&mut self) {
        while !self.is_paused() {
            let view = self.parts.slots.view();
            let views = self.lane_views(&view);
            let Some(lane) = next(&views) else { return };
            let expected = self.hands[lane].iter().map(|held| held.delivery.envelope().due().expected_ms);
            let count = claim_count(view.slots, room(&views, lane), expected);
            if count == 0 {
                // The chosen lane gets the next free slot: nothing of another lane is claimed ahead of it.
                return;
            }
            let mut group = Vec::with_capacity(count);
            for held in self.hands[lane].drain(..count).collect::<Vec<_>>() {
                // Again: the job may have been claimed since, with the stale delivery of the same message.
                group.extend(self.adopt(held).await);
            }
            self.claim(lane, group).await;
        }
    }

    fn is_paused(&mut self) -> bool {
        self.paused_until.is_some_and(|until| Instant::now() < until)
    }

    fn lane_views(&self, view: &View) -> Vec<LaneView> {
        let now = self.parts.clock.now();
        let slots = self.parts.slots.count();
        let lane_view = |(index, lane): (usize, &siding_core::lane::Lane)| {
            let head = self.hands[index].front().map(|held| held.delivery.envelope().due());
            let slots_max = lane.slots_max(slots);
            LaneView {
                head_waited_ms: head.map(|due| now.since(due.due_at_ms).as_secs_f64() * 1e3),
                head_service_ms: head.map_or(0.0, |due| due.expected_ms),
                running: view.by_lane[index],
                // A lane that may use every slot is limited by `claim_count` alone, which also looks ahead of the slots.
                slots_max: if slots_max == slots { usize::MAX } else { slots_max },
            }
        };
        self.parts.lanes.as_slice().iter().enumerate().map(lane_view).collect()
    }

    /// Asks the pumps of `on_claim` lanes for one delivery when it could start now or nothing of the lane was seen for long, and takes
    /// the wish back when neither holds.
    fn ask_for_long_work(&mut self) {
        let view = self.parts.slots.view();
        let views = self.lane_views(&view);
        for (index, lane) in self.parts.lanes.as_slice().iter().enumerate() {
            if lane.ack != Ack::OnClaim {
                continue;
            }
            if !self.hands[index].is_empty() {
                self.seen[index] = Instant::now();
            }
            let could_start = view.slots.idle > view.slots.ready;
            let unseen = self.seen[index].elapsed() >= UNSEEN_MAX;
            let wanted = self.hands[index].is_empty() && has_room(&views, index) && (could_start || unseen);
            let asked = self.tickets[index].borrow().is_some();
            if wanted != asked {
                self.ticket_last += 1;
                self.tickets[index].send_replace(wanted.then_some(self.ticket_last));
            }
        }
    }

    async fn give_back_held_too_long(&mut self) {
        let view = self.parts.slots.view();
        // What is next to start stays, as long as an end of what runs is in sight and the store grants claims.
        let stays = !self.is_paused() && view.slots.free_in_ms.is_finite();
        let chosen = next(&self.lane_views(&view)).filter(|_| stays);
        for (index, lane) in self.parts.lanes.as_slice().iter().enumerate() {
            if lane.ack == Ack::OnClaim
                && chosen != Some(index)
                && self.hands[index].front().is_some_and(|held| held.since.elapsed() > HELD_MAX)
            {
                for held in std::mem::take(&mut self.hands[index]) {
                    give_back(held.delivery).await;
                }
            }
        }
    }

    /// Takes a delivery whose job this worker runs, if it was brought by the very message that the job was claimed with: the connection
    /// was cut, and the broker, which cannot know that the worker lives, hands the message out again. The job runs on, and the new delivery is
    /// settled when it ends. Any other delivery is returned.
    async fn adopt(&self, held: Held) -> Option<Held> {
        let job = held.delivery.envelope().due().job;
        match self.parts.running.adopt(held.delivery) {
            Ok(stale) => {
                tracing::info!(job.id = %job, "the message of a running job has come back; the job runs on");
                settle(stale).await;
                None
            }
            Err(delivery) => Some(Held { delivery, ..held }),
        }
    }

    async fn claim(&mut self, index: usize, group: Vec<Held>) {
        if group.is_empty() {
            return;
        }
        let lane = &self.parts.lanes.as_slice()[index];
        let wish = |held: &Held| Claim {
            job: held.delivery.envelope().due().job,
            lease: lane.lease(),
            message: held.delivery.envelope().due().message,
            takeover: lane.ack == Ack::OnRecord && held.delivery.redelivered(),
        };
        let claims: Vec<Claim> = group.iter().map(wish).collect();
        let asked_at = Instant::now();
        // One try: the loop itself comes round again, and a claim whose answer was lost is found by the sweep.
        let answers = match self.parts.store.claim(self.parts.worker, &claims).await {
            Ok(answers) => answers,
            Err(error) => {
                self.parts.metrics.store_error("claim");
                tracing::error!(error = chain(&error), count = claims.len(), "cannot claim; pausing");
                self.paused_until = Some(Instant::now() + STORE_PAUSE);
                for held in group.into_iter().rev() {
                    self.hands[index].push_front(held);
                }
                return;
            }
        };
        let (ack, lease) = (lane.ack, lane.lease());
        let mut ready = Vec::with_capacity(answers.len());
        for (held, answer) in group.into_iter().zip(answers) {
            match answer {
                Claimed::Run(work) => {
                    let delivery = match ack {
                        Ack::OnRecord => Some(held.delivery),
                        Ack::OnClaim => {
                            settle(held.delivery).await;
                            None
                        }
                    };
                    ready.extend(self.begin(*work, index, lease, asked_at, delivery));
                }
                Claimed::Skip(why) => self.skip(held, why).await,
            }
        }
        self.parts.slots.push(ready);
    }

    async fn skip(&self, held: Held, why: Skip) {
        // The old and the new delivery of one message may have been claimed with together.
        let Some(held) = self.adopt(held).await else { return };
        let reason = skip_reason(&why);
        if let Skip::Ended { state, seq, released } = why {
            self.parts.recorder.ended_by_claim(held.delivery.envelope().due(), state, seq);
            if let Some(useless) = released {
                let blobs = self.parts.blobs.clone();
                self.drain.spawn(async move { blobs.discard(&[useless]).await });
            }
        }
        self.parts.metrics.skipped(reason);
        tracing::debug!(job.id = %held.delivery.envelope().due().job, reason, "delivery skipped");
        settle(held.delivery).await;
    }

    /// Lists a claimed job and makes it ready; a job whose input lies in a blob becomes ready once that is read.
    fn begin(
        &self,
        work: Work,
        lane_index: usize,
        lease: Duration,
        asked_at: Instant,
        delivery: Option<Box<dyn Delivery>>,
    ) -> Option<Ready> {
        self.parts.metrics.waited(&work.lane, work.waited);
        tracing::info!(job.id = %work.job, attempt = work.attempt.0, lane.name = %work.lane, model.name = %work.model,
            waited_ms = work.waited.as_secs_f64() * 1e3, trace.id = trace_id(work.traceparent.as_deref()), "job started");
        self.parts.recorder.started(&work);
        let input = work.input.clone();
        let control = self.parts.recorder.control(&work);
        let running = Arc::new(Running::new(work, lane_index, lease, control, asked_at, delivery));
        self.parts.running.insert(running.clone());
        match input {
            Payload::Inline(input) => Some(Ready { running, input, since: Instant::now() }),
            Payload::Blob(_) => {
                self.begin_from_blob(running, input);
                None
            }
        }
    }

    fn begin_from_blob(&self, running: Arc<Running>, input: Payload) {
        let (blobs, recorder) = (self.parts.blobs.clone(), self.parts.recorder.clone());
        let coming = self.parts.slots.expect(running.clone());
        self.drain.spawn(async move {
            let loaded = tokio::time::timeout(INPUT_PATIENCE, retry(Policy::StoreRequest, || blobs.load_text(&input))).await;
            let end = match loaded {
                Ok(Ok(input)) => return coming.arrived(input),
                Ok(Err(error)) => {
                    tracing::error!(job.id = %running.work.job, error = chain(&error), "cannot read the job's input");
                    // What is missing or damaged is so for the next attempt too.
                    if error.is_transient() { RunEnd::NoInput } else { RunEnd::InputLost }
                }
                Err(_) => {
                    tracing::error!(job.id = %running.work.job, waited_ms = INPUT_PATIENCE.as_millis(), "the blob store does not answer");
                    RunEnd::NoInput
                }
            };
            recorder.finished(running, end).await;
        });
    }
}

async fn settle(delivery: Box<dyn Delivery>) {
    let job = delivery.envelope().due().job;
    if let Err(error) = delivery.ack().await {
        tracing::debug!(job.id = %job, error = chain(&error), "delivery was no longer ours; the store absorbs its duplicate");
    }
}

async fn give_back(delivery: Box<dyn Delivery>) {
    let job = delivery.envelope().due().job;
    if let Err(error) = delivery.give_back().await {
        tracing::debug!(job.id = %job, error = chain(&error), "delivery was no longer ours");
    }
}

fn skip_reason(skip: &Skip) -> &'static str {
    match skip {
        Skip::Unknown => "unknown",
        Skip::Finished => "finished",
        Skip::Ended { .. } => "ended",
        Skip::Held => "held",
        Skip::NotDue => "not_due",
    }
}
