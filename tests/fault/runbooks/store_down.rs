//! Rehearses docs/runbooks/store-down.md over servers of its own: what the page says is seen must be seen, and nothing accepted is lost. It must never touch a shared server's state.

use std::time::Instant;

use serde_json::json;
use siding_core::store::postgres;
use siding_tests::harness::{
    child::Urls,
    servers::{Kind, Private},
};

use super::given::{Answer, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_down_refuses_in_time_and_everything_accepted_runs_when_it_is_back() {
    let mut database = Private::start_durable(Kind::Postgres).await;
    postgres::migrate(database.url()).await.expect("an empty database can be migrated");
    let system = System::over(Urls { database: Some(database.url().to_owned()), ..Urls::default() }, "").await;
    let script = json!({"op": "delay", "ms": 5});
    let mut jobs = Vec::new();
    for _ in 0..20 {
        jobs.push(system.accepted("scripted", &script).await);
    }
    jobs.push(system.accepted("scripted-long", &json!({"op": "delay", "ms": 1_500, "steps": 15})).await);

    // As a machine that loses its power: no checkpoint, no goodbye.
    database.kill().await;
    let asked = Instant::now();
    let answer = system.submit("scripted", &script).await;
    assert!(matches!(answer, Answer::Later(_)), "{answer:?}");
    println!("store down: refused within {:.2?}", asked.elapsed());
    assert_eq!(system.ready().await, 503);

    database.restart().await;
    let back = Instant::now();
    let (last, waited) = system.accepted_in_the_end("scripted", &script).await;
    jobs.push(last);
    for job in jobs {
        system.succeeds(job).await;
    }
    println!("store down: accepted again {waited:.2?} after its return, everything over after {:.2?}", back.elapsed());
    assert_eq!(system.ready().await, 200);
    system.finish().await;
}
