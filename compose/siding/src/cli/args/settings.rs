//! The words of the command line that set or show settings: what `siding up` and the roles are started with. It decides which flag sets which
//! key; what a key means stands in `core/src/config/defaults.toml`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use siding_core::{
    config::{SecretUrl, Sources},
    telemetry::LogForm,
};

/// Settings: a file, and what the command line sets over it and over the variables.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Settings that replace defaults; `siding config show` lists them all
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one [default: 127.0.0.1:7433]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Postgres, for example postgres://siding@127.0.0.1/siding; a password is safer in SIDING_STORE__URL_FILE [default: SQLite]
    #[arg(long, value_name = "URL")]
    pub database: Option<SecretUrl>,
    /// RabbitMQ, for example amqp://127.0.0.1:5672; a password is safer in SIDING_BROKER__URL_FILE [default: a broker in this process]
    #[arg(long, value_name = "URL")]
    pub amqp: Option<SecretUrl>,
    /// Redis, for example redis://127.0.0.1:6379 [default: a cache in this process]
    #[arg(long, value_name = "URL")]
    pub redis: Option<SecretUrl>,
    /// The model repository [default: the one that `make setup` put into the cache]
    #[arg(long, value_name = "DIR")]
    pub models: Option<String>,
}

impl SettingsArgs {
    /// Everything that the settings come from, in its order.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources::of_process(self.config.as_deref())
            .flag("--listen", "server.listen", self.listen)
            .flag("--database", "store.url", self.database.as_ref().map(SecretUrl::expose))
            .flag("--amqp", "broker.url", self.amqp.as_ref().map(SecretUrl::expose))
            .flag("--redis", "cache.url", self.redis.as_ref().map(SecretUrl::expose))
            .flag("--models", "models.folder", self.models.as_deref())
    }
}

/// `siding up`
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where jobs and results are kept
    #[arg(long, value_name = "DIR", default_value = ".siding")]
    pub data: PathBuf,
    /// Everything else.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How log lines look
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log: Log,
}

/// `siding producer`, `siding worker`, `siding results`
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Everything: the store, the broker and the folder of large inputs must be named, because other processes share them.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How log lines look
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log: Log,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Log {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<Log> for LogForm {
    fn from(log: Log) -> Self {
        match log {
            Log::Text => Self::Text,
            Log::Json => Self::Json,
        }
    }
}

/// `siding config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting that holds, passwords hidden
    #[command(after_help = "Example:\n  siding config show --origin --config siding.toml")]
    Show {
        /// Print where each value comes from: default, file and line, variable, or flag
        #[arg(long)]
        origin: bool,
        /// What to show.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Name everything that is wrong with the settings
    #[command(after_help = "Example:\n  siding config check --config siding.toml")]
    Check {
        /// What to check.
        #[command(flatten)]
        settings: SettingsArgs,
    },
}
