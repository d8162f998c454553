//! The words of `siding dead`: which dead jobs are meant, and what is to become of them.

use clap::{Args, Subcommand};
use siding_client::{DeadFilter, JobId};

const REPLAY_EXAMPLES: &str = "Examples:
  siding dead replay --code worker_lost --dry-run       which jobs would be run again
  siding dead replay --code worker_lost                 run them again
  siding dead replay 0190b7c0-0000-7000-8000-000000000000";

/// `siding dead`
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead jobs, the newest failure first
    #[command(after_help = "Example:\n  siding dead list --model magika --since 2026-12-01T00:00:00Z --output jsonl")]
    List(DeadListArgs),
    /// Show one job with the failures of its attempts
    Show {
        /// The job.
        id: JobId,
    },
    /// Run dead jobs again, as new jobs
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(DealArgs),
    /// Let dead jobs rest; they are kept
    #[command(after_help = "Example:\n  siding dead drop --until 2026-11-01T00:00:00Z")]
    Drop(DealArgs),
}

/// Which dead jobs.
#[derive(Debug, Clone, Args)]
pub struct DeadFilterArgs {
    /// Only jobs of this model
    #[arg(long)]
    pub model: Option<String>,
    /// Only jobs in this lane
    #[arg(long)]
    pub lane: Option<String>,
    /// Only jobs with this failure code
    #[arg(long)]
    pub code: Option<String>,
    /// Only jobs that failed at this time or later, as RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only jobs that failed before this time, as RFC 3339
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

impl From<DeadFilterArgs> for DeadFilter {
    fn from(args: DeadFilterArgs) -> Self {
        let DeadFilterArgs { model, lane, code, since, until } = args;
        Self { model, lane, code, failed_since: since, failed_until: until }
    }
}

/// `siding dead list`
#[derive(Debug, Args)]
pub struct DeadListArgs {
    /// Which of them.
    #[command(flatten)]
    pub filter: DeadFilterArgs,
    /// At most so many jobs
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

/// `siding dead replay` and `siding dead drop`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["ids", "all", "model", "lane", "code", "since", "until"]))]
pub struct DealArgs {
    /// These jobs
    #[arg(value_name = "JOB", conflicts_with_all = ["all", "model", "lane", "code", "since", "until", "limit"])]
    pub ids: Vec<JobId>,
    /// All dead jobs
    #[arg(long, conflicts_with_all = ["model", "lane", "code", "since", "until"])]
    pub all: bool,
    /// Which of them.
    #[command(flatten)]
    pub filter: DeadFilterArgs,
    /// At most so many jobs; all that match by default
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Only print which jobs they are
    #[arg(long)]
    pub dry_run: bool,
}
