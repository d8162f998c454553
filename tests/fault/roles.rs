//! Roles as processes, over real servers: one of several dies or leaves, and the others go on.

use std::time::Duration;

use serde_json::json;
use siding::services::Role;
use siding_client::{Client, Event, Events, State};
use siding_tests::harness::{
    child::{Cluster, Urls},
    database::Schema,
    eventually,
};

use super::given::{PATIENCE, PROGRAM, all_end_well, ended, running, submission};

/// Reads the next event, which follows the stream's cursor: no gap, no repeat, over how many processes ever.
async fn next(events: &mut Events) -> Option<Event> {
    let before = events.cursor();
    let event = events.next().await?.expect("an event");
    assert_eq!(event.seq, before + 1, "no gap, no repeat");
    Some(event)
}

/// Reads on until the event of this number; returns it.
async fn read_until(events: &mut Events, seq: u64) -> u64 {
    while events.cursor() < seq {
        next(events).await.expect("the job runs");
    }
    seq
}

/// Reads the rest of the events of a job that succeeds.
async fn read_to_the_end(events: &mut Events) {
    let mut last = None;
    while let Some(event) = next(events).await {
        last = Some(event.kind);
    }
    assert_eq!(last.map(|kind| kind.as_str().to_owned()).as_deref(), Some("succeeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_from_any_producer_over_any_worker_to_any_results() {
    let cluster = Cluster::new(PROGRAM).await;
    let producers = [cluster.start(Role::Producer).await, cluster.start(Role::Producer).await];
    let workers = [cluster.start(Role::Worker).await, cluster.start(Role::Worker).await];
    let results = [cluster.start(Role::Results).await, cluster.start(Role::Results).await];
    let mut jobs = Vec::new();
    for round in 0..20 {
        let client = Cluster::client(&producers[round % 2], &results[round / 2 % 2]);
        jobs.push(client.submit(&submission("scripted", &json!({"op": "echo", "value": round}))).await.expect("accepted").id);
    }
    for (round, job) in jobs.into_iter().enumerate() {
        let client = Cluster::client(&producers[0], &results[round % 2]);
        assert_eq!(client.wait(job).await.expect("it ends").state, State::Succeeded);
        assert_eq!(client.result(job).await.expect("a result").get(), round.to_string());
    }
    // A wait in the producer hears of an end that a worker in another process has recorded.
    let client = Cluster::client(&producers[1], &results[0]);
    let waited = client.submit_waiting(&submission("scripted", &json!({"op": "delay", "ms": 50})), PATIENCE).await;
    assert_eq!(waited.expect("accepted").state, State::Succeeded);
    cluster.at_rest().await;
    all_end_well(producers.into_iter().chain(workers).chain(results)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_serves_its_own_routes_health_and_metrics_and_no_others() {
    let cluster = Cluster::new(PROGRAM).await;
    let rows = [
        (Role::Producer, [("/v1/lanes", 200), ("/v1/jobs?limit=1", 405)]),
        (Role::Results, [("/v1/lanes", 404), ("/v1/jobs?limit=1", 200)]),
        (Role::Worker, [("/v1/lanes", 404), ("/v1/jobs?limit=1", 404)]),
    ];
    for (role, own) in rows {
        let process = cluster.start(role).await;
        let everywhere = ["/health/live", "/health/ready", "/metrics", "/openapi.json"].map(|path| (path, 200));
        for (path, status) in everywhere.into_iter().chain(own) {
            let answer = reqwest::get(format!("{}{path}", process.url)).await.expect("an answer");
            assert_eq!(answer.status().as_u16(), status, "{role} {path}");
        }
        assert!(process.terminate().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_killed_worker_run_again_on_another_one() {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let first = cluster.start(Role::Worker).await;
    let client = Cluster::client(&producer, &results);
    let script = json!({"op": "delay", "ms": 3_000, "steps": 30});
    let short = client.submit(&submission("scripted", &script)).await.expect("accepted").id;
    let long = client.submit(&submission("scripted-long", &script)).await.expect("accepted").id;
    running(&client, short).await;
    running(&client, long).await;
    first.kill().await;
    let second = cluster.start(Role::Worker).await;
    for job in [short, long] {
        let ended = ended(&client, job).await;
        assert_eq!((ended.state, ended.attempt), (State::Succeeded, 2), "{ended:?}");
    }
    cluster.at_rest().await;
    all_end_well([producer, results, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stood_still_past_its_lease_is_refused_when_it_goes_on() {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let still = cluster.start(Role::Worker).await;
    let client = Cluster::client(&producer, &results);
    let script = json!({"op": "delay", "ms": 3_000, "steps": 30});
    let job = client.submit(&submission("scripted-long", &script)).await.expect("accepted").id;
    running(&client, job).await;
    still.pause();
    let other = cluster.start(Role::Worker).await;
    let ended = ended(&client, job).await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 2), "{ended:?}");
    still.resume();
    let after = client.submit(&submission("scripted", &json!({"op": "noop"}))).await.expect("accepted").id;
    assert_eq!(client.wait(after).await.expect("it ends").state, State::Succeeded);
    cluster.at_rest().await;
    assert_eq!(client.get(job).await.expect("kept").attempt, 2, "what the first attempt said is thrown away");
    all_end_well([producer, results, still, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_killed_producer_are_published_by_another_one() {
    let cluster = Cluster::new(PROGRAM).await;
    let (first, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let client = Cluster::client(&first, &results);
    let mut jobs = Vec::new();
    for _ in 0..20 {
        let delayed = submission("scripted", &json!({"op": "noop"})).delayed(Duration::from_millis(300));
        jobs.push(client.submit(&delayed).await.expect("accepted").id);
    }
    first.kill().await;
    let (second, worker) = (cluster.start(Role::Producer).await, cluster.start(Role::Worker).await);
    for job in jobs {
        assert_eq!(ended(&client, job).await.state, State::Succeeded);
    }
    cluster.at_rest().await;
    all_end_well([second, results, worker]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_at_another_results_process_from_its_cursor() {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, worker) = (cluster.start(Role::Producer).await, cluster.start(Role::Worker).await);
    let (first, second) = (cluster.start(Role::Results).await, cluster.start(Role::Results).await);
    let client = Cluster::client(&producer, &first);
    let job =
        client.submit(&submission("scripted", &json!({"op": "delay", "ms": 1_500, "steps": 15}))).await.expect("accepted").id;
    let mut events = client.events(job, 0);
    let cursor = read_until(&mut events, 4).await;
    drop(events);
    first.kill().await;
    read_to_the_end(&mut Cluster::client(&producer, &second).events(job, cursor)).await;
    cluster.at_rest().await;
    all_end_well([producer, worker, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_results_process_that_stands_still_go_on_elsewhere_and_with_it() {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, worker) = (cluster.start(Role::Producer).await, cluster.start(Role::Worker).await);
    let (first, second) = (cluster.start(Role::Results).await, cluster.start(Role::Results).await);
    let client = Cluster::client(&producer, &first);
    let job =
        client.submit(&submission("scripted", &json!({"op": "delay", "ms": 3_000, "steps": 30}))).await.expect("accepted").id;
    let (mut stays, mut leaves) = (client.events(job, 0), client.events(job, 0));
    read_until(&mut stays, 4).await;
    let cursor = read_until(&mut leaves, 4).await;
    first.pause();
    // One reader comes back elsewhere, and is told everything while the first process stands still.
    drop(leaves);
    let other = Cluster::client(&producer, &second);
    read_to_the_end(&mut other.events(job, cursor)).await;
    assert_eq!(ended(&other, job).await.state, State::Succeeded);
    // The other one waited. What it was not told meanwhile is told now, in order.
    first.resume();
    read_to_the_end(&mut stays).await;
    cluster.at_rest().await;
    all_end_well([producer, worker, first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_worker_hands_back_what_does_not_end_in_time_and_it_is_no_failure() {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let first = cluster.start(Role::Worker).await;
    let client = Cluster::client(&producer, &results);
    let script = json!({"op": "delay", "ms": 3_000, "steps": 300});
    let job = client.submit(&submission("scripted", &script)).await.expect("accepted").id;
    running(&client, job).await;
    assert!(first.terminate().await, "it stops well");
    let second = cluster.start(Role::Worker).await;
    let ended = ended(&client, job).await;
    assert_eq!((ended.state, ended.failures, ended.attempt), (State::Succeeded, 0, 2), "{ended:?}");
    cluster.at_rest().await;
    all_end_well([producer, results, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_process_at_once_and_its_jobs_go_on_elsewhere() {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let first = cluster.start(Role::Worker).await;
    let client = Cluster::client(&producer, &results);
    let job =
        client.submit(&submission("scripted", &json!({"op": "delay", "ms": 3_000, "steps": 300}))).await.expect("accepted").id;
    running(&client, job).await;
    first.ask_to_stop();
    // Two signals at once may count as one.
    eventually("the first signal was heard", PATIENCE, || async {
        match reqwest::get(format!("{}/health/ready", first.url)).await {
            Ok(answer) if answer.status().is_success() => Err("it is ready".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    first.ask_to_stop();
    assert!(!first.ended().await, "it says that it did not stop in order");
    let second = cluster.start(Role::Worker).await;
    assert_eq!(ended(&client, job).await.state, State::Succeeded);
    cluster.at_rest().await;
    all_end_well([producer, results, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_a_schema_is_filled_by_one_command_and_refused_by_roles() {
    let empty = Schema::empty().await;
    let urls = Urls { database: Some(empty.url().to_owned()), ..Urls::default() };
    let cluster = Cluster::over(PROGRAM, urls, "").await;
    for role in ["producer", "worker", "results"] {
        let (started, said) = cluster.command(&[role, "--listen", "127.0.0.1:0"]).await;
        assert!(!started && said.contains("siding migrate"), "{role}: {said}");
    }
    let (_, found) = cluster.command(&["doctor", "--output", "json"]).await;
    assert!(found.contains("siding migrate"), "{found}");
    let (done, said) = cluster.command(&["migrate", "--output", "json"]).await;
    assert!(done && said.starts_with(r#"{"from":0,"to":"#), "{said}");
    let (done, said) = cluster.command(&["migrate"]).await;
    assert!(done && said.contains("already"), "{said}");
    assert!(cluster.start(Role::Producer).await.terminate().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_in_one_process_over_servers_fills_an_empty_database_and_leaves_the_work_of_others_alone() {
    let empty = Schema::empty().await;
    let urls = Urls { database: Some(empty.url().to_owned()), ..Urls::default() };
    let cluster = Cluster::over(PROGRAM, urls, "").await;
    let first = cluster.start_up().await;
    let client = Client::new(&first.url).expect("an address");
    let job = client
        .submit(&submission("scripted-long", &json!({"op": "delay", "ms": 1_500, "steps": 15})))
        .await
        .expect("accepted")
        .id;
    running(&client, job).await;
    // Its start ends no lease: the first one's worker is alive.
    let second = cluster.start_up().await;
    let ended = ended(&Client::new(&second.url).expect("an address"), job).await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 1), "{ended:?}");
    cluster.at_rest().await;
    all_end_well([first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_looks_at_every_server_that_the_settings_name_and_tells_no_password() {
    let cluster = Cluster::new(PROGRAM).await;
    let verdict = |said: &str, check: &str| {
        let report: serde_json::Value = serde_json::from_str(said.lines().next().expect("a report")).expect("JSON");
        let finding =
            report["findings"].as_array().and_then(|all| all.iter().find(|one| one["check"] == check)).expect("looked at");
        finding["verdict"].as_str().expect("a word").to_owned()
    };
    let (_, said) = cluster.command(&["doctor", "--output", "json"]).await;
    for check in ["database", "broker", "cache"] {
        assert_eq!(verdict(&said, check), "ok", "{said}");
    }
    // Nobody listens at port 1.
    let nowhere = [
        "--database",
        "postgres://u:geheim@127.0.0.1:1/d",
        "--amqp",
        "amqp://u:geheim@127.0.0.1:1",
        "--redis",
        "redis://:geheim@127.0.0.1:1",
    ];
    let (well, said) = cluster.command(&[&["doctor", "--output", "json"], &nowhere[..]].concat()).await;
    assert!(!well && !said.contains("geheim"), "{said}");
    for (check, expected) in [("database", "failed"), ("broker", "failed"), ("cache", "warning")] {
        assert_eq!(verdict(&said, check), expected, "{said}");
    }
}
