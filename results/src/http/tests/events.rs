//! Event streams: replay, following, cursors, heartbeats, ends, bounds.

use super::*;

/// The request's query and headers, and the events it tells.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(u32, &'a str)]);

/// A stream in reading.
struct Reading {
    body: BodyDataStream,
}

impl Reading {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        let piece = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("in time")?;
        Some(String::from_utf8(piece.expect("a body").to_vec()).expect("UTF-8"))
    }

    /// All that is left.
    async fn rest(&mut self) -> String {
        let mut text = String::new();
        while let Some(piece) = self.next().await {
            text.push_str(&piece);
        }
        text
    }
}

async fn stream(service: &Service, job: JobId, query: &str, headers: &[(&str, &str)]) -> Reading {
    let response = service.open(&format!("/v1/jobs/{job}/events{query}"), headers).await;
    assert_eq!(response.status(), StatusCode::OK);
    let header = |name: &str| response.headers()[name].to_str().expect("ASCII").to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-cache, no-transform".into(), "no".into()));
    Reading { body: response.into_body().into_data_stream() }
}

/// The `id:` and `event:` of every event in the text, in order.
fn told(text: &str) -> Vec<(u32, String)> {
    let events = text.split("\n\n").filter(|event| event.starts_with("id: "));
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {event}")).to_owned()
    };
    events
        .map(|event| {
            let data: Value = serde_json::from_str(&field(event, "data: ")).expect("JSON");
            let (id, kind) = (field(event, "id: ").parse().expect("number"), field(event, "event: "));
            assert_eq!((&data["seq"], &data["kind"]), (&json!(id), &json!(kind)));
            (id, kind)
        })
        .collect()
}

fn expected(events: &[(u32, &str)]) -> Vec<(u32, String)> {
    events.iter().map(|(id, kind)| (*id, (*kind).to_owned())).collect()
}

#[tokio::test]
async fn a_finished_job_is_replayed_from_the_cursor_and_the_stream_ends() {
    let service = Service::start().await;
    let job = service.finished(succeeded("1")).await;
    let all: &[(u32, &str)] = &[(1, "queued"), (2, "started"), (3, "succeeded")];
    let rows: [Row; 5] = [
        ("", &[], all),
        ("?after=0", &[], all),
        ("?after=1", &[], &all[1..]),
        ("", &[("last-event-id", "2")], &all[2..]),
        ("?after=2", &[("last-event-id", "1")], &all[1..]),
    ];
    for (query, headers, events) in rows {
        let text = stream(&service, job, query, headers).await.rest().await;
        assert!(text.starts_with("retry: 3000\n\n"), "{text}");
        assert_eq!(told(&text), expected(events), "{query} {headers:?}");
    }
    assert_eq!((service.streams.open_count(), service.follower.followed_count()), (0, 0));
}

#[tokio::test]
async fn who_has_seen_the_end_is_told_that_there_is_no_more() {
    let service = Service::start().await;
    let job = service.finished(failed()).await;
    let answer = service.get(&format!("/v1/jobs/{job}/events?after=3"), &[]).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
}

#[tokio::test]
async fn a_stream_goes_from_replay_to_live_without_gap_or_repeat() {
    let service = Service::start().await;
    let job = service.submit().await;
    let mut reading = stream(&service, job, "", &[]).await;
    let mut text = reading.next().await.expect("retry");
    text.push_str(&reading.next().await.expect("replayed"));
    let work = async {
        let attempt = service.claim(job).await;
        for done in 1..=3 {
            service.progress(job, attempt, done).await;
        }
        service.finish(job, attempt, succeeded("1")).await;
    };
    let (rest, ()) = tokio::join!(reading.rest(), work);
    text.push_str(&rest);
    let kinds = [(1, "queued"), (2, "started"), (3, "progress"), (4, "progress"), (5, "progress"), (6, "succeeded")];
    assert_eq!(told(&text), expected(&kinds));
}

#[tokio::test]
async fn a_reader_that_reconnects_anywhere_sees_every_event_once() {
    let service = Service::start().await;
    let job = service.submit().await;
    let attempt = service.claim(job).await;
    let (mut seen, mut cursor) = (Vec::new(), 0);
    for done in 1..=5 {
        service.progress(job, attempt, done).await;
        let mut reading = stream(&service, job, "", &[("last-event-id", &cursor.to_string())]).await;
        reading.next().await.expect("retry");
        seen.extend(told(&reading.next().await.expect("a page")));
        cursor = seen.last().expect("something").0;
    }
    assert_eq!(seen.iter().map(|(id, _)| *id).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    assert_eq!((service.streams.open_count(), service.follower.followed_count()), (0, 0), "dropped readers leave nothing");
}

#[tokio::test]
async fn an_idle_stream_shows_that_it_lives() {
    let service = Service::start().await;
    let job = service.submit().await;
    let mut reading = stream(&service, job, "?after=1", &[]).await;
    reading.next().await.expect("retry");
    for _ in 0..2 {
        // Polled first, the stream waits on the clock before time moves.
        let (piece, ()) = tokio::join!(biased; reading.next(), async { service.clock.advance(Duration::from_secs(15)) });
        assert_eq!(piece.as_deref(), Some(": hb\n\n"));
    }
}

#[tokio::test]
async fn a_stopping_service_ends_its_streams_at_once() {
    let service = Service::start().await;
    let job = service.submit().await;
    let mut reading = stream(&service, job, "?after=1", &[]).await;
    reading.next().await.expect("retry");
    let stop = async { service.drain.stop() };
    let (rest, ()) = tokio::join!(reading.rest(), stop);
    assert_eq!(rest, "retry: 3000\n: the service is stopping; go on from the last id\n\n");
    assert_eq!(service.streams.open_count(), 0);
}

#[tokio::test]
async fn a_stream_too_many_is_refused_and_the_next_one_after_a_close_is_not() {
    let service = Service::with_room(1, Answers::default()).await;
    let job = service.submit().await;
    let open = stream(&service, job, "", &[]).await;
    let refused = service.get(&format!("/v1/jobs/{job}/events"), &[]).await;
    check(&refused, Code::TooManyStreams);
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    drop(open);
    stream(&service, job, "", &[]).await;
}

#[tokio::test]
async fn for_a_reader_that_does_not_read_nothing_is_read() {
    let service = Service::start().await;
    let job = service.submit().await;
    let attempt = service.claim(job).await;
    let mut reading = stream(&service, job, "", &[]).await;
    reading.next().await.expect("retry");
    for done in 1..=300 {
        service.progress(job, attempt, done).await;
    }
    // A page read before would hold two events only; this one is read now, and holds no more than a page may.
    let first = told(&reading.next().await.expect("a page"));
    assert!(first.len() <= siding_core::limits::EVENTS_PAGE_MAX && first.len() > 2, "{}", first.len());
    service.finish(job, attempt, succeeded("1")).await;
    let rest = told(&reading.rest().await);
    let ids: Vec<u32> = first.iter().chain(&rest).map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=303).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_are_one_page_of_json_for_who_asks_for_it() {
    let service = Service::start().await;
    let job = service.finished(succeeded("1")).await;
    let rows =
        [("application/json", "", 3), ("application/json; q=0.9", "?after=2", 1), ("text/html, application/json", "?after=3", 0)];
    for (accept, query, count) in rows {
        let answer = service.get(&format!("/v1/jobs/{job}/events{query}"), &[("accept", accept)]).await;
        assert_eq!((answer.status, answer.json()["events"].as_array().map(Vec::len)), (StatusCode::OK, Some(count)), "{accept}");
    }
    for accept in ["*/*", "text/event-stream", "application/json, text/event-stream"] {
        let answer = service.get(&format!("/v1/jobs/{job}/events"), &[("accept", accept)]).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream", "{accept}");
    }
}
