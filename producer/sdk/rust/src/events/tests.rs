//! Event streams over connections that break.

use super::*;
use crate::fake_server::{FakeServer, answer, header, stream};

const JOB: &str = "0190b7c0-0000-7000-8000-000000000000";

fn event(seq: u64, kind: &str) -> String {
    format!("id: {seq}\nevent: {kind}\ndata: {{\"seq\":{seq},\"kind\":\"{kind}\",\"at_ms\":5,\"attempt\":1,\"data\":{{}}}}\n\n")
}

/// Follows a job after event `after` through the server's `answers`. Returns the numbers seen, how it ended, and the cursors that
/// the client sent.
async fn check(after: u64, answers: Vec<String>, expected: &[u64], ending: &str, cursors: &[&str]) {
    let server = FakeServer::start(answers).await;
    let client = Client::new(&server.url).expect("a client");
    let mut events = client.events(JOB.parse().expect("an id"), after);
    let (mut seen, mut end) = (Vec::new(), "over".to_owned());
    while let Some(next) = events.next().await {
        match next {
            Ok(event) => seen.push(event.seq),
            Err(error) => end = error.to_string(),
        }
    }
    assert_eq!(seen, expected);
    assert!(end.contains(ending), "{end:?} should contain {ending:?}");
    assert!(events.next().await.is_none(), "the end is the end");
    let requests = server.requests().await;
    let sent: Vec<_> = requests.iter().map(|request| header(request, "last-event-id").unwrap_or("none")).collect();
    assert_eq!(sent, cursors);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_without_gap_or_repeat() {
    let first = stream(&format!("retry: 1\n\n: hb\n\n{}{}id: 3\ndata: {{\"se", event(1, "queued"), event(2, "started")));
    let second = stream(&format!("{}{}{}", event(2, "started"), event(3, "progress"), event(4, "succeeded")));
    check(0, vec![first, second], &[1, 2, 3, 4], "over", &["none", "2"]).await;
}

#[tokio::test]
async fn a_stream_ends_after_the_terminal_event_whatever_follows() {
    let text = stream(&format!("{}{}", event(8, "failed"), event(9, "queued")));
    check(7, vec![text], &[8], "over", &["7"]).await;
}

#[tokio::test]
async fn no_content_means_that_nothing_can_follow() {
    check(4, vec![answer("204 No Content", "", "")], &[], "over", &["4"]).await;
}

#[tokio::test]
async fn an_overloaded_or_stopping_server_is_asked_again() {
    let busy = answer("503 Service Unavailable", "Retry-After: 0\r\n", "{}");
    let stopping = stream("retry: 1\n\n");
    let rest = stream(&format!("{}{}", event(1, "queued"), event(2, "canceled")));
    check(0, vec![busy, stopping, String::new(), rest], &[1, 2], "over", &["none"; 4]).await;
}

#[tokio::test]
async fn a_gap_a_refusal_and_a_foreign_answer_are_errors() {
    let gap = stream(&format!("{}{}", event(1, "queued"), event(3, "started")));
    check(0, vec![gap], &[1], "event 3 came after event 1", &["none"]).await;
    let missing = answer("404 Not Found", "", r#"{"status":404,"code":"unknown_job","title":"t","detail":"there is no job"}"#);
    check(0, vec![missing], &[], "there is no job", &["none"]).await;
    let page = answer("200 OK", "Content-Type: text/html\r\n", "<html>");
    check(0, vec![page], &[], "expected an event stream", &["none"]).await;
    check(0, vec![stream("data: {}\n\n")], &[], "not Siding's", &["none"]).await;
}

#[test]
fn details_are_read_for_their_kind_only() {
    let event: Event = serde_json::from_str(
        r#"{"seq":2,"kind":"started","at_ms":1,"attempt":1,"data":{"worker":"w","lane":"short","waited_ms":7,"why":"new"}}"#,
    )
    .expect("an event");
    assert_eq!(event.started().map(|started| (started.waited_ms, started.takeover)), Some((7, false)));
    assert_eq!(event.progress(), None);
    let unknown: Event = serde_json::from_str(r#"{"seq":3,"kind":"demoted","at_ms":1}"#).expect("an event");
    assert_eq!(unknown.kind, EventKind::Unknown);
}
