//! Readers that do not read, and readers that go away.

use std::time::{Duration, Instant};

use serde_json::json;
use siding_core::job::State;
use siding_tests::harness::{Profile, TestSystem};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn open_stream(system: &TestSystem, job: siding_core::id::JobId) -> TcpStream {
    let address = system.url.trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).await.expect("the server listens");
    let request = format!("GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("the request is taken");
    let mut first = [0; 1];
    socket.read_exact(&mut first).await.expect("the answer begins");
    socket
}

async fn readers_that_do_not_read_hold_up_neither_the_job_nor_other_readers(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "stream", "chunks": 5_000})).await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(open_stream(&system, job).await);
    }
    let started = Instant::now();
    let mut reader = system.client.events(job.to_string().parse().expect("an id"), 0);
    let mut last = 0;
    while let Some(event) = reader.next().await {
        let event = event.expect("an event");
        assert_eq!(event.seq, last + 1, "no gap, no repeat");
        last = event.seq;
    }
    assert_eq!(last, 5_003);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(system.ended(job).await.state, State::Succeeded);
    drop(stuck);
    system.finish().await;
}

async fn a_cut_reader_goes_on_from_its_cursor(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "stream", "chunks": 200})).await;
    let id: siding_client::JobId = job.to_string().parse().expect("an id");
    let mut cursor = 0;
    let mut connections = 0;
    while cursor < 203 {
        let mut events = system.client.events(id, cursor);
        connections += 1;
        for _ in 0..17 {
            let Some(event) = events.next().await else { break };
            let event = event.expect("an event");
            assert_eq!(event.seq, cursor + 1, "no gap, no repeat over a cut");
            cursor = event.seq;
        }
    }
    assert!(connections >= 12);
    system.finish().await;
}

siding_tests::on_every_profile!(
    readers_that_do_not_read_hold_up_neither_the_job_nor_other_readers,
    a_cut_reader_goes_on_from_its_cursor,
);
