//! The words of the benches about processes of models. It decides nothing but what each word stands for.

use std::path::PathBuf;

use clap::Args;
use siding_core::config::Isolation;

use crate::bench;

/// What a bench measures: not `new`, which changes in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchIsolation {
    /// In this process.
    Never,
    /// In processes of their own.
    Always,
}

impl From<BenchIsolation> for Isolation {
    fn from(when: BenchIsolation) -> Self {
        match when {
            BenchIsolation::Never => Self::Never,
            BenchIsolation::Always => Self::Always,
        }
    }
}

/// `siding bench isolation`
#[derive(Debug, Args)]
pub struct IsolationArgs {
    /// The model to measure
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// The model repository [default: the one that `make setup` fetched]
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// A job's input [default: the manifest's example]
    #[arg(long, value_name = "JSON")]
    pub input: Option<String>,
    /// Runs in each of the two places
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub runs: usize,
}

impl From<IsolationArgs> for bench::isolation::Options {
    fn from(args: IsolationArgs) -> Self {
        let IsolationArgs { model, models, input, runs } = args;
        Self { model, models, input, runs }
    }
}
