//! The words of `siding models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use siding_core::config::Sources;

const CHECK_EXAMPLES: &str = "Examples:
  siding models check                                every model of the repository
  siding models check magika spin/1                  some of them
  siding models check ./my-model/1                   one version's folder, before it goes into a repository
  siding models check --output json > costs.json     what a run costs here, for programs

Exit codes: 0 all is well; 1 something is wrong; 2 there is no such model.";

/// `siding models`
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the models that can run, and those that cannot
    List,
    /// Show one model as the server knows it
    #[command(after_help = "Example:\n  siding models show magika/1")]
    Show {
        /// The model; its newest version unless one is named
        #[arg(value_name = "NAME[/VERSION]")]
        model: String,
    },
    /// Ask every worker to load a version now, a copy for each slot, instead of with the first job
    #[command(after_help = "Example:\n  siding models load magika/1")]
    Load {
        /// The model: NAME for the version that new jobs get, or NAME/VERSION
        #[arg(value_name = "NAME[/VERSION]")]
        model: String,
    },
    /// Ask every worker to drop a version from memory once nothing runs it; the next job loads it again
    #[command(after_help = "Example:\n  siding models unload magika/1")]
    Unload {
        /// The model: NAME for the version that new jobs get, or NAME/VERSION
        #[arg(value_name = "NAME[/VERSION]")]
        model: String,
    },
    /// Check models without a server: files, tensors and example; and measure what a run costs
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
}

/// `siding models check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A model of the repository, a version's folder, or a whole repository [default: the repository]
    #[arg(value_name = "NAME[/VERSION]|FOLDER")]
    pub what: Vec<String>,
    /// The model repository [default: the one that `make setup` put into the cache]
    #[arg(long, value_name = "DIR")]
    pub models: Option<String>,
    /// Settings that replace defaults; `siding config show` lists them all
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long one model may take, in seconds
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub seconds: u64,
}

impl CheckArgs {
    /// Everything that the settings come from, in its order.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources::of_process(self.config.as_deref()).flag("--models", "models.folder", self.models.as_deref())
    }
}
