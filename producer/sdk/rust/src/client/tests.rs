//! Calls whose answers are lost, refused or foreign.

use super::*;
use crate::fake_server::{FakeServer, answer, header};

const JOB: &str = r#"{"id":"0190b7c0-0000-7000-8000-000000000000","state":"queued","model":"m","version":"1","lane":"short",
    "estimate":{"p50_ms":1,"p90_ms":2,"source":"hint"},"created_at_ms":1,"due_at_ms":1}"#;

fn submission() -> Submission {
    Submission::new("m", &serde_json::json!({})).expect("json")
}

#[tokio::test]
async fn all_tries_of_one_submit_carry_one_key_and_two_submits_two() {
    let busy = answer("503 Service Unavailable", "Retry-After: 0\r\n", "{}");
    let accepted = answer("202 Accepted", "", JOB);
    let server = FakeServer::start(vec![String::new(), busy, accepted.clone(), accepted]).await;
    let client = Client::new(&server.url).expect("a client");
    for _ in 0..2 {
        client.submit(&submission()).await.expect("accepted");
    }
    let requests = server.requests().await;
    let keys: Vec<_> = requests.iter().map(|request| header(request, "idempotency-key").expect("a key")).collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0], keys[2]);
    assert_ne!(keys[0], keys[3]);
}

#[tokio::test]
async fn all_tries_of_one_batch_carry_one_key_and_its_answer_is_told_job_by_job() {
    let body = format!(
        r#"{{"accepted":1,"jobs":[{{"status":"accepted","job":{JOB}}},{{"status":"deferred","job":{JOB}}},
        {{"status":"refused","problem":{{"status":404,"code":"unknown_model","detail":"There is no model m."}}}}]}}"#
    );
    let server = FakeServer::start(vec![String::new(), answer("200 OK", "", &body)]).await;
    let client = Client::new(&server.url).expect("a client");
    let batch = Batch::new([submission(), submission(), submission()]).expect("json");
    let outcomes = client.submit_all(&batch).await.expect("answered");
    let words: Vec<_> = outcomes.iter().map(|outcome| outcome.status).collect();
    assert_eq!(words, [crate::OutcomeStatus::Accepted, crate::OutcomeStatus::Unknown, crate::OutcomeStatus::Refused]);
    let results: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.into_result().map_err(|problem| problem.to_string())).collect();
    assert!(results[0].is_ok() && results[1].is_ok(), "an unknown word with a job is a job: {results:?}");
    assert_eq!(results[2].as_ref().expect_err("refused"), "There is no model m.");
    let requests = server.requests().await;
    assert!(requests[1].starts_with("POST /v1/jobs:batch HTTP/1.1"), "{}", requests[1]);
    assert!(header(&requests[0], "idempotency-key").is_some());
    assert_eq!(header(&requests[0], "idempotency-key"), header(&requests[1], "idempotency-key"));
}

#[tokio::test]
async fn a_named_job_is_put_and_a_wait_is_asked_for_in_the_header() {
    let server = FakeServer::start(vec![answer("200 OK", "", JOB)]).await;
    let client = Client::new(&format!("{}/behind/a/proxy", server.url)).expect("a client");
    let id = JobId::generate();
    client.submit_waiting(&submission().with_id(id), Duration::from_millis(2500)).await.expect("accepted");
    let request = &server.requests().await[0];
    assert!(request.starts_with(&format!("PUT /behind/a/proxy/v1/jobs/{id} HTTP/1.1")), "{request}");
    assert_eq!(header(request, "prefer"), Some("wait=2"));
    assert_eq!(header(request, "idempotency-key"), None);
}

#[tokio::test]
async fn results_that_live_apart_are_read_there_and_everything_else_is_asked_of_the_server() {
    let accepting = FakeServer::start(vec![answer("202 Accepted", "", JOB), answer("200 OK", "", JOB)]).await;
    let showing = FakeServer::start(vec![answer("200 OK", "", JOB), answer("204 No Content", "", "")]).await;
    let client = Client::new(&accepting.url).expect("a client").with_results(&showing.url).expect("an address");
    let job = client.submit(&submission()).await.expect("accepted").id;
    client.cancel(job).await.expect("accepted");
    client.get(job).await.expect("shown");
    assert!(client.events(job, 1).next().await.is_none());
    let lines = |requests: Vec<String>| {
        requests.iter().map(|request| request.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(lines(accepting.requests().await), ["POST /v1/jobs".to_owned(), format!("POST /v1/jobs/{job}/cancel")]);
    assert_eq!(lines(showing.requests().await), [format!("GET /v1/jobs/{job}"), format!("GET /v1/jobs/{job}/events")]);
    assert!(client.with_results("https://elsewhere").is_err());
}

#[tokio::test]
async fn running_a_job_again_is_not_repeated_when_its_answer_is_lost() {
    let server = FakeServer::start(vec![String::new()]).await;
    let client = Client::new(&server.url).expect("a client");
    let error = client.retry(JobId::generate()).await.expect_err("lost");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(server.requests().await.len(), 1);
}

#[tokio::test]
async fn a_refusal_arrives_as_the_server_words_it() {
    let body = r#"{"type":"/problems/invalid","title":"The request does not fit","status":422,"detail":"The input does not fit.",
        "code":"invalid","retryable":false,"errors":[{"pointer":"/input/x","detail":"missing"}],"new":1}"#;
    let page = answer("500 Internal Server Error", "Content-Type: text/html\r\n", "<html>");
    let server = FakeServer::start(vec![answer("422 Unprocessable Content", "", body), page]).await;
    let client = Client::new(&server.url).expect("a client");
    let error = client.submit(&submission()).await.expect_err("refused");
    assert_eq!(error.to_string(), "The input does not fit: /input/x missing");
    assert_eq!(error.problem().map(|problem| (problem.status, problem.code.as_str())), Some((422, "invalid")));
    let error = client.models().await.expect_err("refused");
    assert_eq!(error.to_string(), "the server answered 500 Internal Server Error");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_list_is_read_page_by_page_to_its_end() {
    use futures::TryStreamExt;
    let page = |next: &str| answer("200 OK", "", &format!(r#"{{"jobs":[{JOB},{JOB}],"next_cursor":{next}}}"#));
    let server = FakeServer::start(vec![page("\"c1\""), page("null")]).await;
    let client = Client::new(&server.url).expect("a client");
    let jobs: Vec<Job> = client.list_all(JobFilter::default()).try_collect().await.expect("both pages");
    assert_eq!(jobs.len(), 4);
    assert!(server.requests().await[1].starts_with("GET /v1/jobs?cursor=c1 "));
}

#[tokio::test]
async fn nobody_there_and_an_unusable_address_are_told_apart() {
    // The port was ours a moment ago, so nobody listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let client = Client::new(&format!("http://127.0.0.1:{port}")).expect("a client");
    let error = client.is_ready().await.expect_err("nobody");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    for bad in ["", "127.0.0.1:7433", "https://example.org", "http://", "http://h/?q", "unix:/run/x"] {
        let error = Client::new(bad).expect_err(bad);
        assert!(matches!(error, Error::Address { .. }), "{bad}: {error:?}");
    }
}
