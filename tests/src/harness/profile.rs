//! Profiles: what a whole system under test stands on. It decides where each test's own part of a shared server is, so that tests that run at
//! once do not meet; it must never take a server away from another test.

use std::path::Path;

use siding::seams::Place;
use siding_core::{config::Settings, id::LaneName};
use tempfile::TempDir;

use super::{database::Schema, rabbitmq::Region, servers};

/// What a system stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// SQLite, and broker and cache inside the process: no server.
    Laptop,
    /// Postgres, RabbitMQ and Redis.
    Servers,
}

/// Makes each of these functions, which take a `Profile`, an own test on every profile; the module in the test's name says which.
#[macro_export]
macro_rules! on_every_profile {
    ($($test:ident),* $(,)?) => {
        mod laptop {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::harness::Profile::Laptop).await;
                }
            )*
        }

        mod servers {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::harness::Profile::Servers).await;
                }
            )*
        }
    };
}

/// A folder, and on servers a schema and a region, of one test's own. Gone when it is dropped.
pub struct Ground {
    folder: TempDir,
    servers: Option<(Schema, Region)>,
}

impl Ground {
    /// Prepares one.
    ///
    /// # Panics
    /// When the servers are not there.
    pub async fn new(profile: Profile, lanes: &[LaneName]) -> Self {
        let servers = match profile {
            Profile::Laptop => None,
            Profile::Servers => Some((Schema::new().await, Region::new(lanes))),
        };
        Self { folder: tempfile::tempdir().expect("a temporary folder"), servers }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a process with these settings stands.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.servers {
            None => Place::Alone(self.folder().join("data")),
            Some(_) => Place::Shared,
        }
    }

    /// Makes `settings` name this ground.
    ///
    /// # Panics
    /// When the folder's path is not UTF-8.
    pub fn put_into(&self, settings: &mut Settings) {
        let Some((schema, region)) = &self.servers else { return };
        settings.store.url = schema.url().into();
        settings.broker = siding_core::config::Broker { region: region.settings().region, ..settings.broker.clone() };
        settings.broker.url = region.settings().url;
        settings.cache.url = servers::redis_url().as_str().into();
        settings.blobs.folder = self.folder().join("blobs").to_str().expect("UTF-8").to_owned();
    }
}
