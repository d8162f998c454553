//! One job, its result and lists: what each route answers, good and bad.

use super::*;

#[tokio::test]
async fn a_job_is_shown_as_it_stands() {
    let service = Service::start().await;
    let (first, job) = (service.submit().await, service.submit().await);
    let show = async || service.get(&format!("/v1/jobs/{job}"), &[]).await.json();
    let queued = show().await;
    assert_eq!((&queued["state"], &queued["position"], &queued["output"]), (&json!("queued"), &json!(1), &Value::Null));
    service.claim(first).await;
    assert_eq!(show().await["position"], json!(0), "what is not finished is not remembered");
    let attempt = service.claim(job).await;
    let running = show().await;
    assert_eq!((&running["state"], &running["attempt"], &running["position"]), (&json!("running"), &json!(1), &Value::Null));
    service.finish(job, attempt, succeeded(r#"{"y":[1.0]}"#)).await;
    for _ in 0..2 {
        let done = show().await;
        assert_eq!((&done["state"], &done["output"], &done["event_seq"]), (&json!("succeeded"), &json!({"y": [1.0]}), &json!(3)));
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_its_code() {
    let service = Service::start().await;
    let job = service.submit().await;
    let nobody = JobId::generate();
    let rows = [
        (format!("/v1/jobs/{nobody}"), Code::UnknownJob),
        (format!("/v1/jobs/{nobody}/events"), Code::UnknownJob),
        ("/v1/jobs/1".into(), Code::InvalidRequest),
        ("/v1/jobs/..%2f..%2fetc%2fpasswd".into(), Code::InvalidRequest),
        ("/v1/jobs/%00".into(), Code::InvalidRequest),
        ("/v1/jobs/%ff/result".into(), Code::InvalidRequest),
        ("/v1/jobs?limit=0".into(), Code::InvalidRequest),
        ("/v1/jobs?limit=501".into(), Code::InvalidRequest),
        ("/v1/jobs?limit=-1".into(), Code::InvalidRequest),
        ("/v1/jobs?state=queued,asleep".into(), Code::InvalidRequest),
        ("/v1/jobs?model=../x".into(), Code::InvalidRequest),
        ("/v1/jobs?lane=".into(), Code::InvalidRequest),
        ("/v1/jobs?cursor=1.2.3".into(), Code::InvalidRequest),
        ("/v1/jobs?order=asc".into(), Code::InvalidRequest),
        ("/v1/jobs?limit=1&limit=2".into(), Code::InvalidRequest),
        (format!("/v1/jobs/{job}/events?after=-1"), Code::InvalidRequest),
        (format!("/v1/jobs/{job}/events?after=%2b1"), Code::InvalidRequest),
        (format!("/v1/jobs/{job}/events?after="), Code::InvalidRequest),
        (format!("/v1/jobs/{job}/events?after=4294967296"), Code::InvalidRequest),
        (format!("/v1/jobs/{job}/events?after=2"), Code::InvalidRequest),
        (format!("/v1/jobs/{job}/events?since=1"), Code::InvalidRequest),
    ];
    for (path, code) in rows {
        let problem = check(&service.get(&path, &[]).await, code);
        assert!(!problem.detail.is_empty(), "{path}");
    }
    check(&service.get(&format!("/v1/jobs/{job}/events"), &[("last-event-id", "x")]).await, Code::InvalidRequest);
}

#[tokio::test]
async fn pages_show_every_matching_job_once_newest_first() {
    let service = Service::start().await;
    let mut jobs = Vec::new();
    for i in 0..5 {
        let job = service.submit().await;
        service.clock.advance(Duration::from_millis(i % 2));
        jobs.push(job.to_string());
    }
    let mut expected = jobs.clone();
    expected.reverse();
    for limit in [1, 2, 3, 5, 500] {
        let (mut seen, mut path) = (Vec::new(), format!("/v1/jobs?limit={limit}"));
        loop {
            let page = service.get(&path, &[]).await.json();
            seen.extend(page["jobs"].as_array().expect("jobs").iter().map(|job| job["id"].as_str().expect("id").to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/v1/jobs?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
    service.claim(jobs[0].parse().expect("id")).await;
    let rows = [
        ("state=running", 1),
        ("state=queued,running", 5),
        ("state=failed", 0),
        ("model=other", 0),
        ("lane=instant&model=spin", 5),
    ];
    for (query, count) in rows {
        let page = service.get(&format!("/v1/jobs?{query}"), &[]).await.json();
        assert_eq!(page["jobs"].as_array().map(Vec::len), Some(count), "{query}");
    }
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems_too() {
    let mut service = Service::start().await;
    service.router = siding_core::problem::with_fallbacks(service.router);
    let long = "x".repeat(10_000);
    for path in ["/", "/v1/job", "/v1/jobs/", &format!("/{long}")] {
        assert!(check(&service.get(path, &[]).await, Code::UnknownPath).detail.len() < 300);
    }
    let request = Request::delete("/v1/jobs").body(Body::empty()).expect("request");
    let response = service.router.clone().oneshot(request).await.expect("routed");
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
}

#[tokio::test]
async fn a_job_whose_output_is_lost_is_shown_without_it_and_only_its_result_fails() {
    let service = Service::start().await;
    let elsewhere = Blobs::new(Arc::new(InMemory::new()));
    let lost = elsewhere.put("\"an output\"".into()).await.expect("in memory");
    let job = service.finished(Finish::Succeeded { output: Payload::Blob(lost) }).await;
    for _ in 0..2 {
        let answer = service.get(&format!("/v1/jobs/{job}"), &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
        let view: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
        assert_eq!((&view["state"], view.get("output")), (&"succeeded".into(), None));
    }
    let problem = check(&service.get(&format!("/v1/jobs/{job}/result"), &[]).await, Code::Internal);
    assert!(problem.detail.contains("blob store"), "{}", problem.detail);
    // Put back, it is shown: the view without it was not remembered.
    service.blobs.put("\"an output\"".into()).await.expect("in memory");
    let answer = service.get(&format!("/v1/jobs/{job}"), &[]).await;
    let view: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
    assert_eq!(view["output"], "an output");
}
