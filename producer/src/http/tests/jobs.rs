//! One job: submitted, refused, repeated, waited for, cancelled, run again; and the catalog.

use super::*;

#[tokio::test]
async fn a_submission_is_answered_with_the_job_and_where_it_is() {
    let service = Service::start().await;
    let answer = service.post("/v1/jobs", &[], echo(1)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.headers[header::LOCATION], format!("/v1/jobs/{}", id(&answer)));
    assert_eq!(
        (&answer.body["state"], &answer.body["lane"], &answer.body["event_seq"]),
        (&json!("queued"), &json!("instant"), &json!(1))
    );
    assert!(!answer.headers.contains_key("idempotent-replayed"));
}

#[tokio::test]
async fn bad_input_is_refused_with_its_code_and_accepts_nothing() {
    let service = Service::start().await;
    let with = |field: &str| format!(r#"{{"model":"script","input":{{"op":"noop"}},{field}}}"#);
    let json: &[(&str, &str)] = &[];
    let too_large = (limits::BODY_BYTES_MAX + 1).to_string();
    let announced = [("content-length", too_large.as_str())];
    let rows: Vec<Row> = vec![
        ("nothing", json, String::new(), Code::MalformedJson),
        ("not JSON", json, "{".into(), Code::MalformedJson),
        ("depth bomb", json, format!(r#"{{"model":"script","input":{}"#, r#"{"a":"#.repeat(100_000)), Code::MalformedJson),
        ("huge number", json, with("\"delay_ms\":1e999"), Code::MalformedJson),
        ("duplicate key", json, with("\"model\":\"script\""), Code::MalformedJson),
        ("not an object", json, "[]".into(), Code::InvalidRequest),
        ("unknown field", json, with("\"priority\":9"), Code::InvalidRequest),
        ("input is no object", json, r#"{"model":"script","input":[1]}"#.into(), Code::InvalidRequest),
        ("path trick", json, r#"{"model":"../../etc","input":{}}"#.into(), Code::InvalidRequest),
        ("unknown model", json, r#"{"model":"nobody","input":{}}"#.into(), Code::UnknownModel),
        ("unknown version", json, with("\"version\":\"7\""), Code::UnknownVersion),
        ("unfit input", json, r#"{"model":"script","input":{"op":"dance"}}"#.into(), Code::InvalidInput),
        ("no time", json, with("\"start_at\":\"tomorrow\""), Code::InvalidRequest),
        ("a time too far", json, with("\"start_at\":\"2999-01-01T00:00:00Z\""), Code::InvalidInput),
        ("two starts", json, with("\"start_at\":\"2023-11-14T22:13:20Z\",\"delay_ms\":1"), Code::InvalidInput),
        ("out of range", json, with("\"attempts_max\":0"), Code::InvalidInput),
        ("no content type", &[("content-type", "")], echo(1), Code::UnsupportedMediaType),
        ("a form", &[("content-type", "application/x-www-form-urlencoded")], echo(1), Code::UnsupportedMediaType),
        ("compressed", &[("content-encoding", "gzip")], echo(1), Code::UnsupportedMediaType),
        ("announced too large", &announced, echo(1), Code::BodyTooLarge),
        ("too large", json, " ".repeat(limits::BODY_BYTES_MAX + 1), Code::BodyTooLarge),
        ("bad key", &[("idempotency-key", "a b")], echo(1), Code::InvalidRequest),
        ("two keys", &[("idempotency-key", "a"), ("idempotency-key", "b")], echo(1), Code::InvalidRequest),
    ];
    for (why, headers, body, code) in rows {
        let problem = check(&service.post("/v1/jobs", headers, body).await, code);
        assert!(!problem.detail.is_empty() && problem.type_ref.ends_with(code.as_str()), "{why}: {problem:?}");
    }
    let lanes = service.get("/v1/lanes").await.body;
    assert!(
        lanes["lanes"].as_array().expect("lanes").iter().all(|lane| lane["queued"] == 0 && lane["scheduled"] == 0),
        "{lanes}"
    );
}

#[tokio::test]
async fn a_chunked_body_is_cut_off_at_the_limit_without_being_held() {
    let service = Service::start().await;
    let chunk = bytes::Bytes::from(vec![b' '; 1024 * 1024]);
    let pulled = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = pulled.clone();
    let endless = futures::stream::repeat_with(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::convert::Infallible>(chunk.clone())
    });
    check(&service.post("/v1/jobs", &[], Body::from_stream(endless)).await, Code::BodyTooLarge);
    assert_eq!(pulled.load(std::sync::atomic::Ordering::SeqCst), limits::BODY_BYTES_MAX / (1024 * 1024) + 1);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let bodies = Bodies::of(limits::BODIES_BYTES_MAX, Duration::ZERO, Offload::new(&Drain::new()));
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().expect("header"))]);
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>());
    let refused = bodies.read::<Value>(&headers, never).await.err().map(|problem| problem.code);
    assert_eq!(refused, Some(Code::BodyTooSlow));
}

#[tokio::test]
async fn a_body_for_which_there_is_no_room_is_told_to_come_back_and_leaves_no_trace() {
    let service = Service::with_room(32 * 1024).await;
    let answer = service.post("/v1/jobs", &[], " ".repeat(33 * 1024)).await;
    assert!(check(&answer, Code::Busy).retryable);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    assert_eq!(service.post("/v1/jobs", &[], echo(1)).await.status, StatusCode::ACCEPTED, "the room was given back");
}

#[tokio::test]
async fn a_repeated_key_is_one_job_and_another_payload_is_refused() {
    let service = Service::start().await;
    let first = service.post("/v1/jobs", &[("idempotency-key", "\"k-1\"")], echo(1)).await;
    let again = service.post("/v1/jobs", &[("idempotency-key", "k-1")], echo(1)).await;
    assert_eq!((again.status, id(&again)), (StatusCode::ACCEPTED, id(&first)), "quoted and bare are one key");
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = service.post("/v1/jobs", &[("idempotency-key", "k-1")], echo(2)).await;
    assert_eq!(check(&other, Code::IdempotencyKeyReused).job_id, Some(id(&first)));
}

#[tokio::test]
async fn a_chosen_id_is_one_job_and_another_payload_is_refused() {
    let service = Service::start().await;
    let path = format!("/v1/jobs/{}", JobId::generate());
    for replayed in [false, true] {
        let answer = service.call(request("PUT", &path, &[], echo(1))).await;
        assert_eq!(
            (answer.status, answer.headers[header::LOCATION].to_str().expect("ASCII")),
            (StatusCode::ACCEPTED, path.as_str())
        );
        assert_eq!(answer.headers.contains_key("idempotent-replayed"), replayed);
    }
    check(&service.call(request("PUT", &path, &[], echo(2))).await, Code::IdTaken);
    for bad in ["/v1/jobs/1", "/v1/jobs/..%2f..%2fetc%2fpasswd", "/v1/jobs/%ff"] {
        check(&service.call(request("PUT", bad, &[], echo(1))).await, Code::InvalidRequest);
    }
}

#[tokio::test]
async fn a_preferred_wait_is_answered_with_the_finished_job() {
    let service = Service::start().await;
    let job = JobId::generate();
    let put = request("PUT", &format!("/v1/jobs/{job}"), &[("prefer", "wait=30")], echo(7));
    let work = async {
        service.followed(1).await;
        service.finish(job, r#"{"y":7}"#).await;
    };
    let (answer, ()) = tokio::join!(service.call(put), work);
    assert_eq!((answer.status, &answer.body["output"]), (StatusCode::OK, &json!({"y": 7})), "{}", answer.body);
    assert_eq!(answer.headers["preference-applied"], "wait=30");
    assert_eq!(service.follower.followed_count(), 0);

    // A repeat of the finished job does not wait at all.
    let again = service.call(request("PUT", &format!("/v1/jobs/{job}"), &[("prefer", "wait=30")], echo(7))).await;
    assert_eq!((again.status, &again.body["state"]), (StatusCode::OK, &json!("succeeded")));
}

#[tokio::test]
async fn a_preferred_wait_that_is_over_is_answered_with_the_accepted_job() {
    let service = Service::start().await;
    let advance = async {
        service.followed(1).await;
        service.clock.advance(Duration::from_secs(2));
    };
    let (answer, ()) = tokio::join!(service.post("/v1/jobs", &[("prefer", "wait=2")], echo(1)), advance);
    assert_eq!(
        (answer.status, &answer.headers["preference-applied"]),
        (StatusCode::ACCEPTED, &"wait=2".parse().expect("header"))
    );
    let at_once = service.post("/v1/jobs", &[("prefer", "respond-async")], echo(1)).await;
    assert_eq!(at_once.headers["preference-applied"], "respond-async");
}

#[tokio::test]
async fn a_stopping_service_answers_those_who_wait() {
    let service = Service::start().await;
    let stop = async {
        service.followed(1).await;
        service.drain.stop();
    };
    let (answer, ()) = tokio::join!(service.post("/v1/jobs", &[("prefer", "wait=60")], echo(1)), stop);
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    check(&service.post("/v1/jobs", &[], echo(1)).await, Code::Unavailable);
}

#[tokio::test]
async fn a_cancel_tells_whether_the_job_is_over_or_being_stopped() {
    let service = Service::start().await;
    let cancel = async |job: JobId| service.post(&format!("/v1/jobs/{job}/cancel"), &[], "").await;
    let queued = id(&service.post("/v1/jobs", &[], echo(1)).await);
    for _ in 0..2 {
        let answer = cancel(queued).await;
        assert_eq!((answer.status, &answer.body["state"]), (StatusCode::OK, &json!("canceled")));
    }
    let running = id(&service.post("/v1/jobs", &[], echo(1)).await);
    let claim = Claim { job: running, lease: Duration::from_secs(60), message: None, takeover: false };
    service.store.claim(WorkerId::generate(), &[claim]).await.expect("store");
    let answer = cancel(running).await;
    assert_eq!((answer.status, &answer.body["state"]), (StatusCode::ACCEPTED, &json!("cancelling")));
    check(&cancel(JobId::generate()).await, Code::UnknownJob);
}

#[tokio::test]
async fn a_scheduled_job_is_shown_as_such_until_its_time_and_can_be_cancelled_before() {
    let service = Service::start().await;
    let at = |time: &str| json!({"model": "script", "input": {"op": "noop"}, "start_at": time}).to_string();
    // The service's time is 2023-11-14T22:13:20Z.
    let answer = service.post("/v1/jobs", &[("idempotency-key", "k")], at("2023-11-14T22:14:20Z")).await;
    assert_eq!((&answer.body["scheduled"], &answer.body["due_at_ms"]), (&json!(true), &json!(1_700_000_060_000_i64)));
    let lanes = service.get("/v1/lanes").await.body;
    assert_eq!((&lanes["lanes"][0]["queued"], &lanes["lanes"][0]["scheduled"]), (&json!(0), &json!(1)));

    let cancelled = service.post(&format!("/v1/jobs/{}/cancel", id(&answer)), &[], "").await;
    assert_eq!((&cancelled.body["state"], cancelled.body.get("scheduled")), (&json!("canceled"), None));

    service.clock.advance(Duration::from_secs(120));
    let repeat = service.post("/v1/jobs", &[("idempotency-key", "k")], at("2023-11-14T22:14:20Z")).await;
    assert_eq!((repeat.status, id(&repeat)), (StatusCode::ACCEPTED, id(&answer)), "a repeat may come after the time");
    let late = service.post("/v1/jobs", &[], at("2023-11-14T22:14:20Z")).await;
    assert_eq!((late.body.get("scheduled"), &late.body["due_at_ms"]), (None, &late.body["created_at_ms"]));
}

#[tokio::test]
async fn a_retry_is_a_new_job_that_names_the_old_one() {
    let service = Service::start().await;
    let retry = async |job: JobId| service.post(&format!("/v1/jobs/{job}/retry"), &[], "").await;
    let job = id(&service.post("/v1/jobs", &[], echo(1)).await);
    assert!(!check(&retry(job).await, Code::NotFinished).retryable);
    service.finish(job, "1").await;
    let answer = retry(job).await;
    assert_eq!((answer.status, &answer.body["retry_of"]), (StatusCode::ACCEPTED, &json!(job.to_string())));
    assert_ne!(id(&answer), job);
    check(&retry(JobId::generate()).await, Code::UnknownJob);
}

#[tokio::test]
async fn models_and_lanes_show_what_can_be_run_and_where_it_waits() {
    let service = Service::start().await;
    service.post("/v1/jobs", &[], echo(1)).await;
    let model = json!({
        "name": "script", "version": "1", "runner": "scripted", "description": "d", "license": "MIT",
        "inputs": [], "outputs": [], "cost": {"base_ms": 1.0, "per_unit_ms": 0.0},
    });
    for path in ["/v1/models", "/v1/models/script"] {
        assert_eq!(service.get(path).await.body, json!({"models": [model], "broken": []}));
    }
    check(&service.get("/v1/models/nobody").await, Code::UnknownModel);
    check(&service.get("/v1/models/..%2fscript").await, Code::InvalidRequest);
    let lanes = service.get("/v1/lanes").await.body;
    assert_eq!((&lanes["lanes"][0]["name"], &lanes["lanes"][0]["queued"]), (&json!("instant"), &json!(1)));
}
