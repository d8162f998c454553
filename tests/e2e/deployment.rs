//! The deployment's files, tried on real servers: the users that they make may do what the roles need and nothing else.

use std::{path::Path, process::Command};

use serde_json::json;
use siding::services::Role;
use siding_client::{State, Submission};
use siding_tests::harness::{
    child::{Cluster, Urls},
    rabbitmq::Outside,
    servers::{Kind, Private},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_siding-under-test");
const DEPLOYMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compose");

/// The passwords and URLs that `compose/passwords.py` makes.
struct Secrets(tempfile::TempDir);

impl Secrets {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = Command::new("python3")
            .args(["-B", &format!("{DEPLOYMENT}/passwords.py"), "--folder"])
            .arg(folder.path())
            .output()
            .expect("python3 is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(folder)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).expect("it was made")
    }

    /// A URL with the place that containers know replaced by a server's.
    fn url(&self, name: &str, place: &str, server: &Private) -> String {
        let url = self.read(name);
        assert!(url.contains(&format!("@{place}/")), "{name}");
        url.replace(place, server.place())
    }
}

/// What the images do at their first start.
async fn first_start(secrets: &Secrets, postgres: &Private, rabbitmq: &Private) {
    let roles = std::fs::read_to_string(Path::new(DEPLOYMENT).join("postgres/roles.sql")).expect("a file of the repository");
    let roles = roles.replace("/run/secrets", secrets.0.path().to_str().expect("UTF-8"));
    postgres.ask(&[], &roles).await.expect("the roles can be made");
    let definitions = secrets.read("rabbitmq_definitions");
    rabbitmq.ask(&["import_definitions"], &definitions).await.expect("the user can be made");
}

fn migrate(url: &str) {
    let done = Command::new(PROGRAM).args(["migrate", "--database", url]).output().expect("the program runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Every role runs jobs with these URLs: small and large, failing and canceled.
async fn all_roles_work(urls: Urls) {
    let cluster = Cluster::over(PROGRAM, urls, "").await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let worker = cluster.start(Role::Worker).await;
    let client = Cluster::client(&producer, &results);
    let large = "x".repeat(100 * 1024);
    for value in [json!("small"), json!(large)] {
        let submission = Submission::new("scripted", &json!({"op": "echo", "value": value})).expect("JSON");
        let job = client.submit(&submission).await.expect("accepted").id;
        assert_eq!(client.wait(job).await.expect("it ends").state, State::Succeeded);
        assert_eq!(client.result(job).await.expect("a result").get(), value.to_string());
    }
    let hanging = Submission::new("scripted", &json!({"op": "hang"})).expect("JSON");
    let job = client.submit(&hanging).await.expect("accepted").id;
    client.cancel(job).await.expect("it can be canceled");
    assert_eq!(client.wait(job).await.expect("it ends").state, State::Canceled);
    cluster.at_rest().await;
    for process in [worker, producer, results] {
        assert!(process.terminate().await, "it stops well");
    }
}

/// What the services' user in Postgres may not do.
async fn postgres_refuses(postgres: &Private, app: &str) {
    let rows = [
        ("CREATE TABLE more (id INT)", "permission denied"),
        ("CREATE TEMPORARY TABLE more (id INT)", "permission denied"),
        ("CREATE SCHEMA more", "permission denied"),
        ("CREATE DATABASE more", "permission denied"),
        ("ALTER TABLE job ADD COLUMN more INT", "must be owner"),
        ("DROP TABLE event", "must be owner"),
        ("TRUNCATE job CASCADE", "permission denied"),
        ("CREATE ROLE more", "permission denied"),
        ("SELECT pg_read_file('PG_VERSION')", "permission denied"),
        ("COPY job TO PROGRAM 'cat'", "must be superuser"),
    ];
    let ask = async |statement: &str| postgres.ask(&["--set=ON_ERROR_STOP=1"], &format!("\\connect {app}\n{statement};\n")).await;
    ask("SELECT count(*) FROM job").await.expect("it may read");
    for (statement, why) in rows {
        let refused = ask(statement).await.expect_err(statement);
        // The words of a newer version differ in a few places; that it is a refusal of rights does not.
        assert!([why, "permission denied"].iter().any(|why| refused.contains(why)), "{statement}: {refused}");
    }
}

/// What the services' user in RabbitMQ may not do.
async fn rabbitmq_refuses(amqp: &str) {
    let outside = Outside::at(amqp).await;
    for (queue, may) in [("siding.x", true), ("sidings", false), ("other", false), ("", false)] {
        assert_eq!(outside.may_declare(queue).await, may, "queue {queue:?}");
    }
    let elsewhere = format!("{}/%2f", amqp.strip_suffix("/siding").expect("its own vhost"));
    assert!(!Outside::admits(&elsewhere).await, "the default vhost is none of its business");
    let wrong = amqp.replacen("siding:", "siding:x", 1);
    assert!(!Outside::admits(&wrong).await, "a wrong password is one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_the_deployment_suffice_and_are_no_more() {
    let secrets = Secrets::new();
    let (postgres, rabbitmq) = tokio::join!(Private::start(Kind::Postgres), Private::start(Kind::RabbitMq));
    first_start(&secrets, &postgres, &rabbitmq).await;
    let app = secrets.url("store_url", "postgres:5432", &postgres);
    let amqp = secrets.url("broker_url", "rabbitmq:5672", &rabbitmq);
    migrate(&secrets.url("migrate_store_url", "postgres:5432", &postgres));
    all_roles_work(Urls { database: Some(app.clone()), amqp: Some(amqp.clone()), redis: None }).await;
    postgres_refuses(&postgres, &app).await;
    rabbitmq_refuses(&amqp).await;
}

#[test]
fn containers_are_put_together_as_their_tool_understands_it() {
    let file = format!("{DEPLOYMENT}/compose.yaml");
    let has_tool = Command::new("docker").args(["compose", "version"]).output().is_ok_and(|answer| answer.status.success());
    if !has_tool {
        eprintln!("docker compose is not installed here: the file was checked by tests/tidy alone");
        return;
    }
    let secrets = Secrets::new();
    let checked = Command::new("docker")
        .args(["compose", "--file", &file, "config", "--quiet"])
        .env("SIDING_SECRETS", secrets.0.path())
        .output()
        .expect("it is installed");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
