//! The deployment's files, tried on real servers: the users that they make may do what the roles need and nothing else.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

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

/// The passwords and URLs that `compose/passwords.py` makes, in a folder that it makes as well.
struct Secrets(tempfile::TempDir);

impl Secrets {
    fn new() -> Self {
        let secrets = Self(tempfile::tempdir().expect("a temporary folder"));
        secrets.make().unwrap_or_else(|told| panic!("{told}"));
        secrets
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("secrets")
    }

    /// Runs the script: what is missing is made. The error is what it complains of.
    fn make(&self) -> Result<(), String> {
        let made = Command::new("python3")
            .args(["-B", &format!("{DEPLOYMENT}/passwords.py"), "--folder"])
            .arg(self.folder())
            .output()
            .expect("python3 is installed");
        if made.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&made.stderr).into_owned()) }
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder().join(name)).expect("it was made");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder().join(name)).expect("it was made")
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
    let roles = roles.replace("/run/secrets", secrets.folder().to_str().expect("UTF-8"));
    postgres.ask(&[], &roles).await.expect("the roles can be made");
    let definitions = secrets.read("rabbitmq_definitions");
    rabbitmq.ask(&["import_definitions"], &definitions).await.expect("the user can be made");
}

/// As its container does it: with the settings of the deployment and the URL of the store, and no other.
fn migrate(url: &str) {
    let mut command = Command::new(PROGRAM);
    command.args(["migrate", "--config", &format!("{DEPLOYMENT}/siding.toml")]).env("SIDING_STORE__URL", url);
    let done = command.output().expect("the program runs");
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
fn passwords_are_made_only_where_nobody_else_may_enter() {
    let secrets = Secrets::new();
    let mode = |mode: u32| std::fs::set_permissions(secrets.folder(), Permissions::from_mode(mode)).expect("it is ours");
    for (others, made) in [(0o755, false), (0o710, false), (0o701, false), (0o700, true)] {
        secrets.remove("cache_url");
        secrets.remove("redis_password_conf");
        mode(others);
        let told = secrets.make();
        mode(0o700);
        assert_eq!(told.is_ok(), made, "{others:o}: {told:?}");
        assert_eq!(secrets.folder().join("cache_url").exists(), made, "{others:o}");
        assert!(made || told.is_err_and(|told| told.contains("chmod 700")));
        secrets.make().expect("it is closed");
    }
}

#[test]
fn a_password_that_is_changed_in_one_of_its_two_files_is_refused_until_it_is_in_both() {
    let rows = [
        ("postgres_app_password", "store_url"),
        ("postgres_owner_password", "migrate_store_url"),
        ("broker_url", "rabbitmq_definitions"),
        ("cache_url", "redis_password_conf"),
    ];
    let secrets = Secrets::new();
    for (password, made_from_it) in rows {
        let before = [password, made_from_it].map(|name| secrets.read(name));
        secrets.remove(made_from_it);
        secrets.make().expect("made again from the same password");
        assert_eq!(secrets.read(password), before[0]);
        secrets.remove(password);
        let told = secrets.make().expect_err("the other one is old");
        assert!(told.contains(&format!("Remove {made_from_it},")), "{told}");
        secrets.remove(made_from_it);
        secrets.make().expect("both are new");
        for (name, before) in [password, made_from_it].into_iter().zip(&before) {
            assert_ne!(secrets.read(name), *before, "{name}");
        }
    }
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
        .env("SIDING_SECRETS", secrets.folder())
        .output()
        .expect("it is installed");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
