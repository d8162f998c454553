//! A producer that stands still between the broker's confirm and its mark while another one relays, and then goes on: what it knew is old by then. It
//! decides when it goes on; that nothing is run twice is judged by the store.

use futures::future::join_all;
use serde_json::json;
use siding::{seams::Seams, services::Role};
use siding_client::Submission;
use siding_core::job::State;
use siding_tests::{
    harness::{child::Cluster, eventually, invariants},
    kill_points::{KillPoint, PAUSE_VARIABLE},
};

use super::given::{PATIENCE, PROGRAM};

/// Jobs that are submitted at once: enough that some are behind the confirm and some before it.
const JOBS: usize = 12;

/// When the producer that stood still goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resumed {
    /// It marks what nobody has claimed.
    BeforeTheWork,
    /// It marks what is over.
    BehindTheWork,
}

/// Waits until every job in the store has ended.
async fn all_are_over(seams: &Seams) {
    eventually("every accepted job is over", PATIENCE, || async {
        let open = invariants::all_jobs(&*seams.jobs).await.into_iter().filter(|job| !job.state.is_terminal()).count();
        if open == 0 { Ok(()) } else { Err(format!("{open} are not")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_marks_late_what_another_one_has_relayed_doubles_no_job() {
    check(Resumed::BeforeTheWork).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_marks_jobs_when_they_are_over_starts_none_of_them_again() {
    check(Resumed::BehindTheWork).await;
}

async fn check(resumed: Resumed) {
    let cluster = Cluster::new(PROGRAM).await;
    let results = cluster.start(Role::Results).await;
    let still = cluster.start_with(Role::Producer, &[(PAUSE_VARIABLE, &KillPoint::AfterPublish.to_string())]).await;
    let client = Cluster::client(&still, &results);
    let submission = Submission::new("scripted", &json!({"op": "noop"})).expect("a script is JSON");
    // Those that come too late are answered when it goes on.
    let submitted = join_all((0..JOBS).map(|_| client.submit(&submission)));
    let meanwhile = async {
        still.stands_still().await;
        let other = cluster.start(Role::Producer).await;
        let seams = cluster.seams().await;
        // Nobody works yet, so every message is in its queue.
        let (outside, lane) = (cluster.region().outside().await, &cluster.settings().lanes[0].name);
        eventually("what was confirmed and not marked is published again", PATIENCE, || async {
            let (accepted, sent) =
                (invariants::all_jobs(&*seams.jobs).await.len(), outside.count(&cluster.region().queue(lane)).await.0);
            let unmarked = seams.dispatch.backlog(JOBS).await.map_err(|error| error.to_string())?;
            if unmarked == 0 && sent as usize > accepted {
                Ok(())
            } else {
                Err(format!("{accepted} jobs, {sent} messages, {unmarked} unmarked"))
            }
        })
        .await;
        if resumed == Resumed::BeforeTheWork {
            still.resume();
        }
        let worker = cluster.start(Role::Worker).await;
        all_are_over(&seams).await;
        if resumed == Resumed::BehindTheWork {
            still.resume();
        }
        (other, worker, seams)
    };
    let (submitted, (other, worker, seams)) = tokio::join!(submitted, meanwhile);
    for job in submitted {
        job.expect("each is answered in the end");
    }
    all_are_over(&seams).await;
    cluster.at_rest().await;
    let jobs = invariants::all_jobs(&*seams.jobs).await;
    assert_eq!(jobs.len(), JOBS, "each submission is one job");
    for job in jobs {
        assert_eq!((job.state, job.attempt.0, job.failures), (State::Succeeded, 1, 0), "{job:?}");
    }
    seams.close().await;
    for process in [still, other, worker, results] {
        assert!(process.terminate().await, "it stops well");
    }
}
