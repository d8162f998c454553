//! Settings: every number that an operator may turn, from the compiled-in `defaults.toml` (which is the reference), a file, and
//! `SIDING_*` variables, in rising order. Checked once, here, before anything starts; inside, settings are only read.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use serde::Deserialize;

use crate::lane::{InvalidLanes, Lane, Lanes};

/// The documented defaults, compiled in.
pub const DEFAULTS: &str = include_str!("config/defaults.toml");

/// Everything an operator may turn. Each field is explained in `defaults.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[submit]`
    pub submit: Submit,
    /// `[dispatch]`
    pub dispatch: Dispatch,
    /// `[worker]`
    pub worker: Worker,
    /// `[stream]`
    pub stream: Stream,
    /// `[store]`
    pub store: Store,
    /// `[broker]`
    pub broker: Broker,
    /// `[cache]`
    pub cache: Cache,
    /// `[blobs]`
    pub blobs: Blobs,
    /// `[[lanes]]`
    pub lanes: Vec<Lane>,
}

/// Accepting jobs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// Due and unpublished jobs at which submission is refused with 503.
    pub unpublished_max: usize,
    /// Failed attempts allowed for jobs that name no limit.
    pub attempts_max: u32,
}

/// Publishing and rescuing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// How often the relay looks for due jobs when nobody wakes it, in milliseconds.
    pub relay_poll_ms: u64,
    /// How often the sweep looks for ended leases and passed deadlines, in milliseconds.
    pub sweep_poll_ms: u64,
    /// Messages that one lane's queue holds; further ones stay unpublished in the store.
    pub queue_messages_max: usize,
}

/// Running jobs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Jobs that run at once; 0 for one per core, at least 2.
    pub slots: usize,
    /// How long a drain waits for running jobs before it interrupts them, in milliseconds.
    pub drain_ms: u64,
    /// Whether manifests may use the scripted runner (echo, delay, fail, panic, hang). For tests and benches.
    pub scripted: bool,
    /// ONNX Runtime's shared library; empty for `ORT_DYLIB_PATH` or the one that `make setup` fetched.
    pub onnxruntime: String,
}

/// Event streams.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// How often an idle stream sends a comment, in milliseconds.
    pub heartbeat_ms: u64,
    /// How often a stream reads the store when no hint comes, in milliseconds.
    pub poll_ms: u64,
    /// What a stream tells clients to wait before reconnecting, in milliseconds.
    pub retry_ms: u64,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `postgres://…`; empty for SQLite in the data folder.
    pub url: String,
    /// Connections of this process to Postgres.
    pub connections: u32,
    /// How long a call waits for a connection, and a statement for another's lock, in milliseconds.
    pub busy_timeout_ms: u64,
    /// How long a statement may take on Postgres, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Connections for reading.
    pub readers: u32,
    /// What a commit survives.
    pub durability: Durability,
}

/// What an accepted job and a recorded end survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The death of the process at any moment; a power cut may take the last moments before it.
    Process,
    /// A power cut: the commit waits for the disk.
    Power,
}

/// The broker.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `amqp://…` or `amqps://…`; empty for the broker inside this process.
    pub url: String,
    /// The region: the first word of every queue's name.
    pub region: String,
    /// The heartbeat that is asked for, in seconds. A silent cut is noticed after two of them.
    pub heartbeat_secs: u16,
    /// How long a publication may wait for its confirm, in milliseconds; after it, nobody knows whether the broker has the message.
    pub confirm_timeout_ms: u64,
    /// Publications that may wait for their confirms at once.
    pub unconfirmed_max: usize,
    /// How often the broker hands a message out before it is set aside as a dead letter.
    pub deliveries_max: u32,
}

/// The cache.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// `redis://…`; empty for the cache inside this process.
    pub url: String,
    /// Most bytes it keeps.
    pub bytes_max: u64,
}

/// Large inputs and outputs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blobs {
    /// The folder, which every process of the system must see; empty for the data folder's.
    pub folder: String,
}

/// Why the settings cannot be used. The text names the key and, where there is one, the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or variable cannot be read as settings.
    #[error("the configuration cannot be read")]
    Unreadable(#[source] config::ConfigError),
    /// A value is out of range.
    #[error("{0}")]
    Invalid(String),
    /// The lanes are not a valid set.
    #[error(transparent)]
    Lanes(#[from] InvalidLanes),
}

impl Settings {
    /// Defaults, then `file` if given, then variables `SIDING_<SECTION>__<KEY>`.
    ///
    /// # Errors
    /// `Unreadable` or `Invalid` for the first value that is wrong, `Lanes` for a wrong lane.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        Self::load_with(
            file,
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Only variables with a section are settings: `SIDING_SERVER` and `SIDING_CACHE` speak to the command line and to `make`.
    fn load_with(file: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        let variables = variables.filter(|(name, _)| name.starts_with("SIDING_") && name.contains("__")).collect();
        let environment = config::Environment::with_prefix("SIDING").prefix_separator("_").separator("__");
        let mut builder = config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml).required(true));
        }
        let settings: Self = builder
            .add_source(environment.try_parsing(true).source(Some(variables)))
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(Error::Unreadable)?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Error> {
        self.lanes()?;
        let positive = [
            ("submit.unpublished_max", self.submit.unpublished_max as u64),
            ("submit.attempts_max", u64::from(self.submit.attempts_max)),
            ("dispatch.relay_poll_ms", self.dispatch.relay_poll_ms),
            ("dispatch.sweep_poll_ms", self.dispatch.sweep_poll_ms),
            ("dispatch.queue_messages_max", self.dispatch.queue_messages_max as u64),
            ("stream.heartbeat_ms", self.stream.heartbeat_ms),
            ("stream.poll_ms", self.stream.poll_ms),
            ("store.readers", u64::from(self.store.readers)),
            ("store.busy_timeout_ms", self.store.busy_timeout_ms),
            ("store.statement_timeout_ms", self.store.statement_timeout_ms),
            ("store.connections", u64::from(self.store.connections)),
            ("broker.heartbeat_secs", u64::from(self.broker.heartbeat_secs)),
            ("broker.confirm_timeout_ms", self.broker.confirm_timeout_ms),
            ("broker.unconfirmed_max", self.broker.unconfirmed_max as u64),
            ("broker.deliveries_max", u64::from(self.broker.deliveries_max)),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(Error::Invalid(format!("{key} must be above 0"))),
            None => Ok(()),
        }
    }

    /// The lanes as a valid set.
    ///
    /// # Errors
    /// `InvalidLanes` names the lane.
    pub fn lanes(&self) -> Result<Lanes, InvalidLanes> {
        Lanes::new(self.lanes.clone())
    }

    /// Slots of one worker: as configured, or one per core and at least 2, so that a long job leaves room for a short one.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self.worker.slots {
            0 => std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2),
            slots => slots,
        }
    }

    /// `dispatch.sweep_poll_ms` as a duration.
    #[must_use]
    pub fn sweep_poll(&self) -> Duration {
        Duration::from_millis(self.dispatch.sweep_poll_ms)
    }

    /// `dispatch.relay_poll_ms` as a duration.
    #[must_use]
    pub fn relay_poll(&self) -> Duration {
        Duration::from_millis(self.dispatch.relay_poll_ms)
    }
}

impl Default for Settings {
    /// The compiled-in defaults alone.
    fn default() -> Self {
        toml::from_str(DEFAULTS).expect("defaults.toml is compiled in and tested")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_defaults_are_complete_and_valid() {
        Settings::default().check().expect("valid");
    }

    #[test]
    fn a_variable_with_a_section_is_a_setting_and_every_other_is_not() {
        let load = |name: &str, value: &str| Settings::load_with(None, [(name.to_owned(), value.to_owned())].into_iter());
        assert_eq!(load("SIDING_WORKER__SLOTS", "4").expect("a setting").worker.slots, 4);
        for other in ["SIDING_CACHE", "SIDING_SERVER", "OTHER__SLOTS"] {
            assert_eq!(load(other, "anything").expect("not a setting"), Settings::default(), "{other}");
        }
        for (name, value) in [("SIDING_WORKER__SLOT", "4"), ("SIDING_WORKER__SLOTS", "many"), ("SIDING_STORE__READERS", "0")] {
            assert!(load(name, value).is_err(), "{name}={value}");
        }
    }
}
