//! Large bodies on a busy executor: whoever else has something to do gets to do it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use siding_core::api::{SubmitRequest, json};

use super::*;

/// The longest time for which `during` let nobody else onto the executor, which has one thread.
async fn longest_stall<T>(during: impl Future<Output = T>) -> (T, Duration) {
    let over = AtomicBool::new(false);
    let others = async {
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        while !over.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    };
    let during = async {
        let ended = during.await;
        over.store(true, Ordering::Relaxed);
        ended
    };
    // The others first, so that they look at the clock before anything is done.
    let (longest, ended) = tokio::join!(biased; others, during);
    (ended, longest)
}

/// `text` as it comes from a connection.
fn in_pieces(text: &str) -> Body {
    let pieces: Vec<_> = text
        .as_bytes()
        .chunks(64 * 1024)
        .map(|piece| Ok::<_, std::convert::Infallible>(bytes::Bytes::copy_from_slice(piece)))
        .collect();
    Body::from_stream(futures::stream::iter(pieces))
}

#[tokio::test]
async fn while_a_large_body_is_read_everybody_else_goes_on() {
    let service = Service::start().await;
    // A quarter of what a body may have: enough to tell, and soon done.
    let numbers = "[1,2.5,-3e4,\"text\"],".repeat(limits::BODY_BYTES_MAX / 4 / 20);
    let one = format!(r#"{{"model":"script","input":{{"op":"echo","value":[{}0]}}}}"#, numbers);
    let started = Instant::now();
    json::parse::<SubmitRequest>(one.as_bytes()).expect("it is good");
    let at_once = started.elapsed();
    let job = format!(r#"{{"model":"script","input":{{"op":"echo","value":[{}0]}}}}"#, &numbers[..20 * 175]);
    let many = format!(r#"{{"jobs":[{}]}}"#, vec![job; 1000].join(","));
    for (what, path, body) in [("one job", "/v1/jobs", one), ("a batch", "/v1/jobs:batch", many)] {
        let started = Instant::now();
        let (answer, stall) = longest_stall(service.post(path, &[], in_pieces(&body))).await;
        assert!(answer.status.is_success(), "{}", answer.body);
        println!(
            "{what} of {} bytes: in {:?}; the longest stall was {stall:?}; parsing the first alone took {at_once:?}",
            body.len(),
            started.elapsed()
        );
        assert!(stall < at_once / 2, "{what}: nobody else got onto the executor for {stall:?}");
    }
}
