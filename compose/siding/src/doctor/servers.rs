//! The checks of the servers that the settings name: reachable, ours to use, with the schema that we know. Each looks within a bounded time. They change no
//! job; queues that RabbitMQ lacks are declared, as by every start.

use std::time::Duration;

use siding_core::{
    broker::{self, rabbitmq::RabbitBroker},
    cache::redis::RedisCache,
    config::Settings,
    drain::Drain,
    error::chain,
    id::{JobId, LaneName},
    store::{
        self, Submissions,
        postgres::{self, PostgresStore},
    },
};
use uuid::Uuid;

use super::Finding;

/// How long the connections that a check has made may take to end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Every server that the settings name.
pub async fn all(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !settings.store.url.is_empty() {
        findings.push(database(settings).await);
    }
    if !settings.broker.url.is_empty() {
        findings.push(rabbitmq(settings).await);
    }
    if !settings.cache.url.is_empty() {
        findings.push(cache(settings).await);
    }
    findings
}

async fn database(settings: &Settings) -> Finding {
    let url = &settings.store.url;
    // A cancel of nobody locks and reads the rows that it would change: it needs what serving needs.
    let asked = async { PostgresStore::connect(&settings.store).await?.cancel(vec![JobId::from(Uuid::nil())]).await };
    let error = match asked.await {
        Ok(_) => {
            let version = postgres::schema_version();
            return Finding::ok("database", format!("{url} answers, lets us in, and has schema version {version}"));
        }
        Err(error) => error,
    };
    let fix = match &error {
        store::Error::SchemaOld { .. } => "siding migrate",
        store::Error::SchemaUnknown { .. } => "start the version of siding that has written it",
        store::Error::Unavailable(_) => "start Postgres there, or correct store.url: host, port, user, password, database",
        store::Error::Full(_) => "make room on the server's disk",
        store::Error::ReadOnly(_) | store::Error::Corrupt(_) => "look at the server: it must take writes",
        store::Error::Broken { .. } => "grant the user SELECT, INSERT, UPDATE and DELETE on the tables, or correct store.url",
    };
    Finding::failed("database", format!("{url}: {}", chain(&error)), fix)
}

async fn rabbitmq(settings: &Settings) -> Finding {
    let (url, region, drain) = (&settings.broker.url, &settings.broker.region, Drain::new());
    let lanes: Vec<LaneName> = settings.lanes.iter().map(|lane| lane.name.clone()).collect();
    let connected = RabbitBroker::connect(&settings.broker, &lanes, settings.dispatch.queue_messages_max, &drain).await;
    let finding = match &connected {
        Ok(_) => Finding::ok("broker", format!("{url} answers, lets us in, and has the queues of region {region}")),
        Err(error @ broker::Error::Misconfigured(_)) => {
            let fix = "correct broker.url and broker.region, or the user's permissions on its virtual host";
            Finding::failed("broker", format!("{url}: {}", chain(error)), fix)
        }
        Err(error) => {
            Finding::failed("broker", format!("{url}: {}", chain(error)), "start RabbitMQ there, or correct broker.url")
        }
    };
    match drain.stopped(CLOSE_PATIENCE).await {
        Ok(()) => finding,
        Err(unfinished) => Finding::warning("broker", format!("{url}: {unfinished}"), "look at its log"),
    }
}

/// Only a warning: a cache that is away has forgotten, and everything works.
async fn cache(settings: &Settings) -> Finding {
    let url = &settings.cache.url;
    match RedisCache::connect(url) {
        Ok(cache) if cache.answers().await => Finding::ok("cache", format!("{url} answers and lets us in")),
        Ok(_) => {
            Finding::warning("cache", format!("{url} does not answer, or not to us"), "start Redis there, or correct cache.url")
        }
        Err(error) => Finding::failed("cache", format!("{url}: {}", chain(&error)), "correct cache.url"),
    }
}
