//! A system of several processes, one role each, over real servers: every test has its own schema and region. It decides with which settings
//! they start; which of them run, and how they end, is the test's.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use siding::{
    seams::{Place, Seams},
    services::Role,
};
use siding_client::Client;
use siding_core::{clock::SystemClock, config::Settings, id::LaneName};
use tempfile::TempDir;

use super::{CONFIG, ChildProcess, violations, write_models};
use crate::harness::{database::Schema, eventually, rabbitmq::Region, servers};

/// How long a system may take to come to rest.
const REST_MAX: Duration = Duration::from_secs(30);
/// How often the broker hands a message out: few, so that a test can spend them.
const DELIVERIES_MAX: u32 = 100;
/// The lease of every lane: what a killed worker holds is free after it.
const LEASE_SECS: u64 = 2;

/// Where a cluster's processes find their servers, when these are not the shared ones: behind a proxy that cuts, or servers of the
/// test's own.
#[derive(Debug, Clone, Default)]
pub struct Urls {
    /// Instead of the test's schema on the shared Postgres. Its schema must be up to date.
    pub database: Option<String>,
    /// Instead of the shared RabbitMQ. The region is the test's own all the same.
    pub amqp: Option<String>,
    /// Instead of the shared Redis.
    pub redis: Option<String>,
}

/// The ground of a system of several processes.
pub struct Cluster {
    program: &'static str,
    folder: TempDir,
    settings: Settings,
    started: AtomicUsize,
    _schema: Schema,
    region: Region,
}

impl Cluster {
    /// A fresh ground on the shared servers for `program` (the suite's own `CARGO_BIN_EXE_…`); nothing runs yet.
    ///
    /// # Panics
    /// When the servers are not there.
    pub async fn new(program: &'static str) -> Self {
        Self::over(program, Urls::default(), "").await
    }

    /// A fresh ground whose processes find their servers at `urls`, with further lines of configuration.
    ///
    /// # Panics
    /// When the servers are not there.
    pub async fn over(program: &'static str, urls: Urls, more: &str) -> Self {
        let mut settings = Settings::default();
        for lane in &mut settings.lanes {
            lane.lease_secs = LEASE_SECS;
        }
        let lanes: Vec<LaneName> = settings.lanes.iter().map(|lane| lane.name.clone()).collect();
        let schema = Schema::new().await;
        let region = urls.amqp.as_ref().map_or_else(|| Region::new(&lanes), |url| Region::at(url, &lanes));
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_models(folder.path());
        settings.store.url = urls.database.unwrap_or_else(|| schema.url().to_owned()).into();
        settings.broker = region.settings();
        settings.broker.deliveries_max = DELIVERIES_MAX;
        settings.cache.url = urls.redis.unwrap_or_else(servers::redis_url).into();
        settings.blobs.folder = folder.path().join("blobs").to_str().expect("UTF-8").to_owned();
        settings.models.folder = folder.path().join("models").to_str().expect("UTF-8").to_owned();
        let cluster = Self { program, folder, settings, started: AtomicUsize::new(0), _schema: schema, region };
        std::fs::write(cluster.config(), cluster.configuration(more)).expect("the folder can be written");
        cluster
    }

    fn configuration(&self, more: &str) -> String {
        let Settings { store, broker, cache, blobs, models, lanes, .. } = &self.settings;
        let mut text = format!(
            "{CONFIG}\n[store]\nurl = {:?}\n\n[broker]\nurl = {:?}\nregion = {:?}\ndeliveries_max = {}\n\n[cache]\nurl = {:?}\n\n[blobs]\nfolder = {:?}\n\n\
             [models]\nfolder = {:?}\n\n{more}\n",
            store.url.expose(),
            broker.url.expose(),
            broker.region,
            broker.deliveries_max,
            cache.url.expose(),
            blobs.folder,
            models.folder,
        );
        for lane in lanes {
            text.push_str(&format!("\n[[lanes]]\n{}", toml::to_string(lane).expect("a lane is TOML")));
        }
        text
    }

    /// The file with its settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("siding.toml")
    }

    /// Its part of the broker.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Its settings, as far as the test set them.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Starts one more process of this role on a free port and waits until it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self, role: Role) -> ChildProcess {
        self.start_with(role, &[]).await
    }

    /// The same, with further variables in its environment.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(&self, role: Role, variables: &[(&str, &str)]) -> ChildProcess {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.folder.path().join(format!("{number}-{role}.log"));
        let config = self.config().into_os_string();
        let arguments = [role.as_str().into(), "--listen".into(), "127.0.0.1:0".into(), "--config".into(), config];
        ChildProcess::start_with(self.program, arguments, variables, &log).await
    }

    /// Starts everything in one process over the same servers, on a free port, with a data folder of its own, and waits until it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_up(&self) -> ChildProcess {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let (log, data) =
            (self.folder.path().join(format!("{number}-up.log")), self.folder.path().join(format!("{number}-data")));
        let places = ["--data".into(), data.into_os_string(), "--config".into(), self.config().into_os_string()];
        let arguments = ["up", "--listen", "127.0.0.1:0"].map(Into::into).into_iter();
        ChildProcess::start(self.program, arguments.chain(places), &log).await
    }

    /// Runs a command with these settings to its end; returns whether it went well, and what it printed on stdout and stderr.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn command(&self, words: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::new(self.program);
        let command = command.args(words).arg("--config").arg(self.config()).kill_on_drop(true).output();
        let ended = tokio::time::timeout(REST_MAX, command).await.expect("it ends in time").expect("the program starts");
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (ended.status.success(), said.concat())
    }

    /// A client of this producer that reads from these results.
    ///
    /// # Panics
    /// Never: both have said their addresses.
    #[must_use]
    pub fn client(producer: &ChildProcess, results: &ChildProcess) -> Client {
        Client::new(&producer.url).and_then(|client| client.with_results(&results.url)).expect("valid addresses")
    }

    /// The test's own look at store and broker, beside the processes.
    ///
    /// # Panics
    /// When the servers are away.
    pub async fn seams(&self) -> Seams {
        Seams::open(&Place::Shared, &self.settings, Arc::new(SystemClock)).await.expect("the servers are there")
    }

    /// Waits until everything accepted is over and the promises are kept.
    ///
    /// # Panics
    /// With what is wrong, when it stays so.
    pub async fn at_rest(&self) {
        let seams = self.seams().await;
        eventually("the system comes to rest with its promises kept", REST_MAX, || async {
            let found = violations(&seams, &self.settings).await;
            if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
        })
        .await;
        seams.close().await;
    }
}
