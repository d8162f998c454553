//! Many callers of one large result at once: the process holds a bounded part of it, whether they read or not.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::join_all;
use serde_json::json;
use siding_client::{State, Submission};
use siding_core::limits;
use siding_tests::harness::{Options, TestSystem, child::ChildSystem, eventually, system::stored_id};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const MIB: usize = 1024 * 1024;
const CALLERS: usize = 200;
const RESULT_BYTES: usize = 8 * MIB;
/// What a caller reads at once.
const READ_BYTES: usize = 256 * 1024;
/// What the process may grow by while all of them fetch it: the room for pieces of results, and the same again for connections, sockets'
/// buffers, blocking threads and what the allocator keeps. Held whole, the results would take 1600 MiB.
const GROWTH_BYTES_MAX: usize = 2 * limits::RESULTS_BYTES_MAX;

/// A connection that has asked for the job's result, and whose answer has begun.
async fn asked(url: &str, job: &str) -> TcpStream {
    let address = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let request = format!("GET /v1/jobs/{job}/result HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("the request is taken");
    socket
}

/// Whether these bytes stand at this place of the result: a string of `x` in quotes. Compared as a whole, because 1.6 GiB are, in a debug build.
fn is_right(body: &[u8], at: usize) -> bool {
    const MIDDLE: &[u8] = &[b'x'; READ_BYTES];
    let end = at + body.len();
    let (first, last) = (usize::from(at == 0 && end > 0), usize::from(end == RESULT_BYTES && end > at));
    let quotes = body[..first].iter().chain(&body[body.len() - last..]).all(|byte| *byte == b'"');
    let middle = &body[first..body.len() - last];
    end <= RESULT_BYTES && quotes && middle == &MIDDLE[..middle.len()]
}

/// Asks for the result until there is room for its first piece, as a caller is told to, and reads it to its end; how many bytes it had, and
/// whether each was what the model gave.
async fn read_to_end(url: &str, job: &str, each: impl Fn()) -> (usize, bool) {
    loop {
        if let Some(got) = read_answer(asked(url, job).await, &each).await {
            return got;
        }
        tokio::task::yield_now().await;
    }
}

/// `None` when it was told to come back.
async fn read_answer(mut socket: TcpStream, each: impl Fn()) -> Option<(usize, bool)> {
    let (mut piece, mut head) = (vec![0; READ_BYTES], Vec::new());
    let (mut body, mut bytes, mut right) = (None, 0, true);
    while let Ok(read @ 1..) = socket.read(&mut piece).await {
        let begins = match body {
            Some(()) => 0,
            None => {
                let before = head.len();
                head.extend_from_slice(&piece[..read]);
                let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
                let said = String::from_utf8_lossy(&head[..end]);
                if said.starts_with("HTTP/1.1 503") {
                    assert!(said.contains("retry-after: "), "{said}");
                    return None;
                }
                assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
                body = Some(());
                end + 4 - before
            }
        };
        right &= is_right(&piece[begins..read], bytes);
        bytes += read - begins;
        each();
    }
    Some((bytes, right))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_callers_of_one_large_result_hold_a_bounded_part_of_it_and_get_all() {
    let mut system = ChildSystem::new(env!("CARGO_BIN_EXE_siding-under-test"));
    let client = system.start().await;
    let big = Submission::new("scripted", &json!({"op": "big", "bytes": RESULT_BYTES})).expect("a script is JSON");
    let job = client.submit(&big).await.expect("accepted");
    let job = client.wait(job.id).await.expect("it ends");
    assert_eq!((job.state, job.output_bytes), (State::Succeeded, Some(RESULT_BYTES as u64)));
    let (url, id) = (client.address().to_owned(), job.id.to_string());

    // One first, so that what every process grows by once is there.
    assert_eq!(read_to_end(&url, &id, || ()).await, (RESULT_BYTES, true));
    let before = system.resident_bytes();
    let highest = AtomicUsize::new(before);
    let look = || {
        highest.fetch_max(system.resident_bytes(), Ordering::Relaxed);
    };
    let callers = (0..CALLERS).map(|_| async { read_to_end(&url, &id, look).await });
    let got = join_all(callers).await;
    let growth = highest.into_inner() - before;
    println!("{CALLERS} callers of {} MiB at once: the process grew by {} MiB", RESULT_BYTES / MIB, growth / MIB);
    assert!(got.iter().all(|got| *got == (RESULT_BYTES, true)), "every caller gets all of it");
    assert!(growth < GROWTH_BYTES_MAX, "it grew by {} MiB", growth / MIB);
    assert!(system.terminate().await);
    assert_eq!(system.violations().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_do_not_read_their_results_are_cut_off_and_hold_nothing_any_more() {
    let mut options = Options::default();
    options.patience.window = Duration::from_millis(500);
    let mut system = TestSystem::start_with(options).await;
    let job = system.submit("scripted", json!({"op": "big", "bytes": RESULT_BYTES})).await;
    assert_eq!(system.ended(job).await.state, siding_core::job::State::Succeeded);
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut socket = asked(&system.url, &job.to_string()).await;
        socket.read_exact(&mut [0; 1]).await.expect("the answer begins");
        stalled.push(socket);
    }
    let answers = system.services().answers().clone();
    eventually("nothing is held for callers that do not read", TestSystem::patience(), || {
        let held = answers.held_bytes();
        async move { if held == 0 { Ok(()) } else { Err(format!("{held} bytes are held")) } }
    })
    .await;
    for mut socket in stalled {
        let mut got = Vec::new();
        // It ends early, with an error or without: whoever counts the announced bytes knows that it is not whole.
        drop(socket.read_to_end(&mut got).await);
        assert!(got.len() < RESULT_BYTES, "{} bytes", got.len());
    }
    // Whoever reads is served all the same.
    assert_eq!(system.client.result(job.to_string().parse().expect("an id")).await.expect("a result").get().len(), RESULT_BYTES);
    let shown = system.client.get(job.to_string().parse().expect("an id")).await.expect("a job");
    assert_eq!((stored_id(shown.id), shown.output_bytes, shown.output.is_none()), (job, Some(RESULT_BYTES as u64), true));
    system.finish().await;
}
