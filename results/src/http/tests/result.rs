//! Outputs: shown when they are small, fetched when they are large, and never held whole.

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use siding_core::limits;

use super::*;

impl Service {
    /// A job with an output whose JSON text has so many bytes.
    async fn with_output(&self, bytes: usize) -> (JobId, String) {
        let text = format!("\"{}\"", "x".repeat(bytes - 2));
        let output = self.blobs.store_text(text.as_str().into()).await.expect("blobs");
        (self.finished(Finish::Succeeded { output }).await, text)
    }

    /// What is read at this path, piece by piece, as a connection would take it: a piece that was taken is held no more.
    async fn read(&self, path: &str) -> Vec<u8> {
        let mut pieces = self.open(path, &[]).await.into_body().into_data_stream();
        let mut read = Vec::new();
        while let Some(piece) = pieces.next().await {
            read.extend_from_slice(&piece.expect("a piece"));
            assert!(self.answers.held_bytes() <= limits::RESULT_PIECE_BYTES);
        }
        read
    }
}

#[tokio::test]
async fn a_lost_output_is_an_error_that_says_nothing_of_where_it_lay() {
    let service = Service::start().await;
    let digits = "0".repeat(64);
    let output = Payload::Blob(format!("sha256:{digits}:9").parse().expect("reference"));
    let job = service.finished(Finish::Succeeded { output }).await;
    let problem = check(&service.get(&format!("/v1/jobs/{job}/result"), &[]).await, Code::Internal);
    assert!(!problem.detail.contains(&digits), "{}", problem.detail);
}

#[tokio::test]
async fn a_result_is_the_output_alone_or_says_why_there_is_none() {
    let service = Service::start().await;
    let result = async |job: JobId| service.get(&format!("/v1/jobs/{job}/result"), &[]).await;
    let done = result(service.finished(succeeded(r#"{"y":1}"#)).await).await;
    assert_eq!((done.status, done.body.as_ref()), (StatusCode::OK, br#"{"y":1}"#.as_slice()));
    assert_eq!(done.headers[header::CONTENT_TYPE], "application/json");
    check(&result(service.submit().await).await, Code::NotFinished);
    let problem = check(&result(service.finished(failed()).await).await, Code::NoResult);
    assert_eq!(problem.failure.map(|failure| failure.code), Some(FailureCode::RuntimeError));
    let canceled = service.submit().await;
    service.store.cancel(vec![canceled]).await.expect("store");
    assert!(check(&result(canceled).await, Code::NoResult).detail.contains("canceled"));
    check(&result(JobId::generate()).await, Code::UnknownJob);
}

#[tokio::test]
async fn a_view_shows_an_output_up_to_its_limit_and_says_how_large_a_larger_one_is() {
    let service = Service::start().await;
    let most = limits::VIEW_OUTPUT_BYTES_MAX;
    for bytes in [100, limits::INLINE_BYTES_MAX + 1, most, most + 1, 1_000_000] {
        let (job, text) = service.with_output(bytes).await;
        for _ in 0..2 {
            let answer = service.get(&format!("/v1/jobs/{job}"), &[]).await;
            let view = answer.json();
            let shown = (bytes <= most).then_some(bytes - 2);
            assert_eq!(view.get("output").and_then(Value::as_str).map(str::len), shown, "{bytes} bytes");
            assert_eq!(view.get("output_bytes").and_then(Value::as_u64), (bytes > most).then_some(bytes as u64), "{bytes} bytes");
        }
        let path = format!("/v1/jobs/{job}/result");
        assert!(service.read(&path).await == text.as_bytes(), "{bytes} bytes");
        assert_eq!(service.open(&path, &[]).await.headers()[header::CONTENT_LENGTH], bytes.to_string());
    }
    assert_eq!(service.answers.held_bytes(), 0, "everything was written");
}

#[tokio::test]
async fn of_a_result_that_nobody_reads_one_piece_is_held_and_its_end_gives_it_back() {
    let service = Service::start().await;
    let (job, text) = service.with_output(10 * limits::RESULT_PIECE_BYTES).await;
    let path = format!("/v1/jobs/{job}/result");
    let mut unread = Vec::new();
    for opened in 1..=20 {
        unread.push(service.open(&path, &[]).await);
        assert_eq!(service.answers.held_bytes(), opened * limits::RESULT_PIECE_BYTES);
    }
    drop(unread);
    assert_eq!(service.answers.held_bytes(), 0);
    assert!(service.read(&path).await == text.as_bytes());
}

#[tokio::test]
async fn of_one_result_two_pieces_are_on_their_way_at_most() {
    let service = Service::start().await;
    let (job, _) = service.with_output(10 * limits::RESULT_PIECE_BYTES).await;
    let mut pieces = service.open(&format!("/v1/jobs/{job}/result"), &[]).await.into_body().into_data_stream();
    let held = [pieces.next().await, pieces.next().await];
    // Polled, it waits for one of those that are held.
    assert!(futures::poll!(pieces.next()).is_pending());
    assert_eq!(service.answers.held_bytes(), limits::RESULT_PIECES_HELD_MAX * limits::RESULT_PIECE_BYTES);
    drop(held);
    assert!(pieces.next().await.expect("goes on").is_ok());
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_told_to_come_back() {
    let piece = limits::RESULT_PIECE_BYTES;
    let service = Service::with_room(1, Answers::of(limits::VIEW_OUTPUT_BYTES_MAX, piece)).await;
    let (large, text) = service.with_output(3 * piece).await;
    let (small, _) = service.with_output(limits::VIEW_OUTPUT_BYTES_MAX).await;
    for path in [format!("/v1/jobs/{large}/result"), format!("/v1/jobs/{small}")] {
        let unread = service.open(&path, &[]).await;
        let refused = service.get(&path, &[]).await;
        check(&refused, Code::Unavailable);
        assert!(refused.headers.contains_key(header::RETRY_AFTER));
        let state = service.get(&format!("/v1/jobs/{large}"), &[]).await;
        assert_eq!(
            (state.status, &state.json()["state"]),
            (StatusCode::OK, &json!("succeeded")),
            "how a job stands is told all the same"
        );
        drop(unread);
        assert_eq!(service.open(&path, &[]).await.status(), StatusCode::OK);
    }
    // Two callers of one result with room for one piece: both get all of it, in turns.
    let path = format!("/v1/jobs/{large}/result");
    let (one, other) = tokio::join!(service.read(&path), service.read(&path));
    assert!(one == text.as_bytes() && other == text.as_bytes());
}

#[tokio::test]
async fn a_damaged_result_never_reaches_its_announced_length() {
    let objects = Arc::new(InMemory::new());
    let service = Service::over(Blobs::new(objects.clone()), 1, Answers::default()).await;
    for pieces in [1, 3] {
        let (job, text) = service.with_output(pieces * limits::RESULT_PIECE_BYTES).await;
        let found: Vec<_> = objects.list(None).try_collect().await.expect("list");
        for object in found {
            objects.put(&object.location, PutPayload::from(text.replace('x', "y"))).await.expect("overwrite");
        }
        let path = format!("/v1/jobs/{job}/result");
        if pieces == 1 {
            // Nothing was sent yet: the damage has a status of its own.
            check(&service.get(&path, &[]).await, Code::Internal);
            continue;
        }
        let answer = service.open(&path, &[]).await;
        assert_eq!(answer.headers()[header::CONTENT_LENGTH], text.len().to_string());
        let lengths = answer.into_body().into_data_stream().map(|piece| piece.map(|piece| piece.len()));
        let lengths: Vec<_> = lengths.collect().await;
        let bytes: usize = lengths.iter().flatten().sum();
        assert!(lengths.last().is_some_and(Result::is_err) && bytes < text.len(), "{bytes} bytes");
        assert_eq!(service.answers.held_bytes(), 0);
    }
}
