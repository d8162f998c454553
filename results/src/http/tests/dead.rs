//! The list of dead jobs.

use super::*;

#[tokio::test]
async fn dead_jobs_are_listed_page_by_page_until_somebody_deals_with_them() {
    let service = Service::start().await;
    let mut dead = Vec::new();
    for i in 0..5 {
        dead.push(service.finished(failed()).await.to_string());
        service.clock.advance(Duration::from_millis(i % 2));
    }
    service.finished(succeeded("1")).await;
    dead.reverse();
    for limit in [1, 2, 5, 500] {
        let (mut seen, mut path) = (Vec::new(), format!("/v1/dead?limit={limit}"));
        loop {
            let page = service.get(&path, &[]).await.json();
            seen.extend(page["jobs"].as_array().expect("jobs").iter().map(|job| job["id"].as_str().expect("id").to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/v1/dead?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, dead, "limit {limit}");
    }
    let show = async |job: &str| service.get(&format!("/v1/jobs/{job}"), &[]).await.json();
    assert_eq!(show(&dead[0]).await.get("dropped_at_ms"), None);
    siding_core::store::Dead::drop_dead(&*service.store, &[dead[0].parse().expect("id")]).await.expect("store");
    assert!(show(&dead[0]).await["dropped_at_ms"].is_i64(), "a view that was shown before does not hide it");
    let rows = [
        ("", 4),
        ("model=spin&lane=instant&code=runtime_error", 4),
        ("model=other", 0),
        ("code=panicked", 0),
        ("failed_since=2023-11-14T22:13:20Z", 4),
        ("failed_until=2023-11-14T22:13:20Z", 0),
        ("failed_until=2023-11-14T23:13:20.001%2B01:00", 2),
    ];
    for (query, count) in rows {
        let page = service.get(&format!("/v1/dead?{query}"), &[]).await.json();
        assert_eq!(page["jobs"].as_array().map(Vec::len), Some(count), "{query}: {page}");
    }
    for query in
        ["code=sad", "failed_since=yesterday", "failed_until=1700000000000", "limit=0", "state=failed", "model=../x", "cursor=x"]
    {
        let problem = check(&service.get(&format!("/v1/dead?{query}"), &[]).await, Code::InvalidRequest);
        assert!(!problem.detail.is_empty(), "{query}");
    }
}
