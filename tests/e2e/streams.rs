//! Event streams: a caller that keeps its cursor misses nothing and sees nothing twice.

use std::time::Duration;

use serde_json::json;
use siding_tests::harness::{Profile, TestSystem};

fn client_id(job: siding_core::id::JobId) -> siding_client::JobId {
    job.to_string().parse().expect("one id, one spelling")
}

/// How long fifty streams of half a second may take on a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(60);

async fn a_stream_tells_everything_once_from_any_cursor_and_ends(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "stream", "chunks": 20})).await;
    let mut live = system.client.events(client_id(job), 0);
    let mut seen = Vec::new();
    while let Some(event) = live.next().await {
        seen.push(event.expect("an event"));
    }
    let seqs: Vec<u64> = seen.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=23).collect::<Vec<u64>>(), "queued, started, 20 outputs, succeeded");
    for after in [1, 10, 22, 23] {
        let mut replay = system.client.events(client_id(job), after);
        let mut count = 0;
        while let Some(event) = replay.next().await {
            event.expect("an event");
            count += 1;
        }
        assert_eq!(count, 23 - after, "after {after}");
    }
    system.finish().await;
}

async fn fifty_followers_of_one_running_job_all_see_its_end(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "delay", "ms": 400, "steps": 4})).await;
    let followers = (0..50).map(|_| {
        let mut events = system.client.events(client_id(job), 0);
        async move {
            let mut last = None;
            while let Some(event) = events.next().await {
                last = Some(event.expect("an event").kind);
            }
            last
        }
    });
    let ends = tokio::time::timeout(PATIENCE, futures::future::join_all(followers)).await.expect("all end");
    assert!(ends.iter().all(|last| last.is_some_and(|kind| kind.as_str() == "succeeded")), "{ends:?}");
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_stream_tells_everything_once_from_any_cursor_and_ends,
    fifty_followers_of_one_running_job_all_see_its_end,
);
