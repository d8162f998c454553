//! Which implementation fills each seam of a process, decided from its settings alone, and what such a process may do about the jobs of the last
//! run. Pure; it refuses what cannot work, and never opens anything.

use std::path::{Path, PathBuf};

use siding_core::config::Settings;

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All roles in one process, with a data folder that it holds alone.
    Alone(PathBuf),
    /// One of several processes that meet in a store and a broker.
    Shared,
}

/// What fills the seams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The store.
    pub store: Store,
    /// The broker.
    pub broker: Broker,
    /// The cache.
    pub cache: Cache,
    /// The folder of large inputs and outputs.
    pub blobs: PathBuf,
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// A SQLite file, which no other process uses.
    Sqlite(PathBuf),
    /// The Postgres of `store.url`, which others may use.
    Postgres,
}

impl Store {
    /// Its name, for people.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// In this process: it forgets everything with it.
    InProcess,
    /// The RabbitMQ of `broker.url`, which others may use.
    RabbitMq,
}

impl Broker {
    /// Its name, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::RabbitMq => "rabbitmq",
        }
    }
}

/// Which cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// In this process.
    InProcess,
    /// The Redis of `cache.url`.
    Redis,
}

impl Cache {
    /// Its name, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Redis => "redis",
        }
    }
}

/// Why no choice can work: one line for each key that is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these settings cannot work for one of several processes:{}", .0.iter().map(|line| format!("\n  {line}")).collect::<String>())]
pub struct Impossible(pub Vec<&'static str>);

/// What a process that starts may do to the jobs that it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// End every lease: true only where no worker of this store can be alive.
    pub end_leases: bool,
    /// Count every queued job as unpublished: true where messages that were published may be gone.
    pub forget_published: bool,
}

impl Choice {
    /// Chooses.
    ///
    /// # Errors
    /// `Impossible` names every key that is missing.
    pub fn of(settings: &Settings, place: &Place) -> Result<Self, Impossible> {
        let missing = match place {
            Place::Alone(_) => Vec::new(),
            Place::Shared => missing(settings),
        };
        if !missing.is_empty() {
            return Err(Impossible(missing));
        }
        let in_folder = |name: &str| match place {
            Place::Alone(data) => data.join(name),
            Place::Shared => PathBuf::from(name),
        };
        Ok(Self {
            store: if settings.store.url.is_empty() { Store::Sqlite(in_folder("siding.sqlite")) } else { Store::Postgres },
            broker: if settings.broker.url.is_empty() { Broker::InProcess } else { Broker::RabbitMq },
            cache: if settings.cache.url.is_empty() { Cache::InProcess } else { Cache::Redis },
            blobs: match settings.blobs.folder.as_str() {
                "" => in_folder("blobs"),
                folder => Path::new(folder).to_path_buf(),
            },
        })
    }

    /// What a start over this choice may do.
    ///
    /// A SQLite file is held by one process, so after its start no worker is alive; workers of a Postgres may be. The broker inside a process has
    /// forgotten what the last run had published. RabbitMQ has not; but a SQLite file may have been used with another broker before, so its
    /// jobs are published once more (the claim absorbs what comes twice), while a Postgres has other producers whose messages are alive.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        let alone = matches!(self.store, Store::Sqlite(_));
        Recovery { end_leases: alone, forget_published: alone || self.broker == Broker::InProcess }
    }
}

fn missing(settings: &Settings) -> Vec<&'static str> {
    let keys = [
        (settings.store.url.is_empty(), "store.url is empty: a SQLite file belongs to one process; give a postgres:// URL"),
        (
            settings.broker.url.is_empty(),
            "broker.url is empty: nobody else hears the broker inside a process; give an amqp:// URL",
        ),
        (settings.blobs.folder.is_empty(), "blobs.folder is empty: every process must see the same folder; name it"),
    ];
    keys.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(store: &str, broker: &str, blobs: &str) -> Settings {
        let mut settings = Settings::default();
        settings.store.url = store.into();
        settings.broker.url = broker.into();
        settings.blobs.folder = blobs.to_owned();
        settings
    }

    #[test]
    fn one_of_several_processes_is_refused_what_it_would_have_to_itself() {
        let rows = [
            ("", "", "", vec!["store.url", "broker.url", "blobs.folder"]),
            ("postgres://h/d", "", "/b", vec!["broker.url"]),
            ("", "amqp://h", "/b", vec!["store.url"]),
            ("postgres://h/d", "amqp://h", "", vec!["blobs.folder"]),
            ("postgres://h/d", "amqp://h", "/b", vec![]),
        ];
        for (store, broker, blobs, expected) in rows {
            let chosen = Choice::of(&settings(store, broker, blobs), &Place::Shared);
            let Impossible(lines) = chosen.err().unwrap_or(Impossible(Vec::new()));
            let keys: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().next()).collect();
            assert_eq!(keys, expected, "{store} {broker} {blobs}");
        }
    }

    #[test]
    fn a_start_ends_only_leases_that_nobody_can_hold_and_forgets_only_messages_that_may_be_gone() {
        let rows = [
            // Store, broker, ends leases, forgets published.
            ("", "", true, true),
            ("", "amqp://h", true, true),
            ("postgres://h/d", "", false, true),
            ("postgres://h/d", "amqp://h", false, false),
        ];
        for (store, broker, end_leases, forget_published) in rows {
            let alone = Choice::of(&settings(store, broker, ""), &Place::Alone("data".into())).expect("possible");
            assert_eq!(alone.recovery(), Recovery { end_leases, forget_published }, "{store} {broker}");
            assert_eq!(alone.blobs, PathBuf::from("data/blobs"));
        }
        let shared = Choice::of(&settings("postgres://h/d", "amqp://h", "b"), &Place::Shared).expect("possible");
        assert_eq!(shared.recovery(), Recovery { end_leases: false, forget_published: false });
    }
}
