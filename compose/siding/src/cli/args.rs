//! The words of the command line. Their help is the reference; `compose/siding/tests` calls them as a person would.

mod bench;
mod dead;
mod models;
mod settings;
mod submit;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use siding_client::JobId;

pub use settings::{ConfigCommand, Log, RoleArgs, SettingsArgs, UpArgs};

pub use bench::{BenchIsolation, IsolationArgs};
pub use dead::{DeadCommand, DeadFilterArgs, DeadListArgs, DealArgs};
pub use models::{CheckArgs, ModelsCommand};
pub use submit::SubmitArgs;

use crate::output::Format;

const EXAMPLES: &str = "Examples:
  siding up                                      run everything here, data in .siding/
  siding submit spin --input @input.json --watch submit a job and watch it live
  siding jobs list --state queued,running        what waits and what runs
  siding doctor                                  what is missing on this machine, and the command that mends it

Exit codes: 0 done; 1 the job failed or was canceled; 2 the request is wrong; 3 the server cannot be reached; 4 it took too long.";

/// A queue in front of inference workers in which short jobs never wait behind long ones.
#[derive(Debug, Parser)]
#[command(name = "siding", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What every command knows.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command knows.
#[derive(Debug, Args)]
pub struct Global {
    /// The server to talk to
    #[arg(long, global = true, env = "SIDING_SERVER", value_name = "URL", default_value = "http://127.0.0.1:7433")]
    pub server: String,
    /// How results are printed
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    /// Print results and errors only; of a job, its id
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in this process: broker, store, one worker, the API on one loopback port
    #[command(after_help = "Example:\n  siding up --data /var/lib/siding --listen 127.0.0.1:7433 --log json")]
    Up(UpArgs),
    /// Run one of several producers: accepts, publishes and rescues jobs
    #[command(after_help = "Example:\n  siding producer --config siding.toml --listen 127.0.0.1:7433")]
    Producer(RoleArgs),
    /// Run one of several workers: runs jobs; its port is for health and metrics
    #[command(after_help = "Example:\n  siding worker --config siding.toml --listen 127.0.0.1:7435")]
    Worker(RoleArgs),
    /// Run one of several results services: shows jobs and streams their events
    #[command(after_help = "Example:\n  siding results --config siding.toml --listen 127.0.0.1:7434")]
    Results(RoleArgs),
    /// Bring the schema of the Postgres database up to date; safe while others do the same
    #[command(after_help = "Example:\n  SIDING_STORE__URL_FILE=/run/secrets/owner siding migrate")]
    Migrate(SettingsArgs),
    /// Submit a job
    #[command(after_help = submit::EXAMPLES)]
    Submit(SubmitArgs),
    /// List, show, watch, cancel or retry jobs
    Jobs {
        /// Which of these.
        #[command(subcommand)]
        command: JobsCommand,
    },
    /// Show or check the settings
    Config {
        /// Which of these.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// List, show, run again or drop jobs that failed
    Dead {
        /// Which of these.
        #[command(subcommand)]
        command: DeadCommand,
    },
    /// List, show or check models; without a word more, list them
    Models {
        /// Which of these.
        #[command(subcommand)]
        command: Option<ModelsCommand>,
    },
    /// List the lanes and what is in them
    Lanes,
    /// Check this machine and say how to mend what is wrong
    Doctor(DoctorArgs),
    /// Start a server and drive it: many short jobs on a real model while a long one runs
    #[command(after_help = "Example:\n  siding demo --seconds 20")]
    Demo(DemoArgs),
    /// Measure Siding on this machine; prints JSON lines
    Bench {
        /// Which of these.
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// A model in a process of its own; a worker starts it
    #[command(name = siding_worker::runtime::isolated::SUBCOMMAND, hide = true)]
    ModelProcess,
    /// Print a completion script
    #[command(after_help = "Example:\n  siding completions bash > ~/.local/share/bash-completion/completions/siding")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What to do with an accepted job.
#[derive(Debug, Args)]
pub struct Follow {
    /// Wait for the job's end, at most so many seconds
    #[arg(long, value_name = "SECS", num_args = 0..=1, require_equals = true)]
    pub wait: Option<Option<u64>>,
    /// Print the job's events until its end
    #[arg(long)]
    pub watch: bool,
}

/// `siding jobs`
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List jobs, newest first
    #[command(after_help = "Example:\n  siding jobs list --state failed,expired --model magika --output jsonl")]
    List(ListArgs),
    /// Show one job with its output
    Get {
        /// The job.
        id: JobId,
    },
    /// Print a finished job's output alone, as the model wrote it
    #[command(after_help = "Example:\n  siding jobs result 0190b7c0-0000-7000-8000-000000000000 > output.json")]
    Result {
        /// The job.
        id: JobId,
    },
    /// Print a job's events, live, until its end
    #[command(after_help = "Example:\n  siding jobs watch 0190b7c0-0000-7000-8000-000000000000 --output jsonl")]
    Watch(WatchArgs),
    /// Ask for a job's end
    Cancel {
        /// The job.
        id: JobId,
    },
    /// Run a finished job again, as a new job
    Retry {
        /// The job.
        id: JobId,
        /// What to do with the new job.
        #[command(flatten)]
        follow: Follow,
    },
}

/// `siding jobs list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only jobs in these states
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    pub state: Vec<siding_client::State>,
    /// Only jobs of this model
    #[arg(long)]
    pub model: Option<String>,
    /// Only jobs in this lane
    #[arg(long)]
    pub lane: Option<String>,
    /// At most so many jobs
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

fn parse_state(text: &str) -> Result<siding_client::State, String> {
    use siding_client::State as S;
    let states = [S::Queued, S::Running, S::Cancelling, S::Succeeded, S::Failed, S::Canceled, S::Expired];
    let words = || states.map(S::as_str).join(", ");
    states.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("must be one of {}", words()))
}

/// `siding jobs watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The job.
    pub id: JobId,
    /// Only events after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub after: u64,
    /// Give up after so many seconds; the job goes on
    #[arg(long, value_name = "SECS")]
    pub timeout: Option<u64>,
}

/// `siding doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where jobs and results are kept
    #[arg(long, value_name = "DIR", default_value = ".siding")]
    pub data: PathBuf,
    /// The settings to check.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// `siding demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The model repository; by default the one that `make setup` put into the cache
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Where the demo's jobs are kept; a temporary folder by default
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How long the long job is to run, in seconds; above 10, so that it has another lane than the short ones
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(11..=110))]
    pub seconds: u64,
}

/// `siding bench`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Jobs that do nothing, through everything, durably; over the servers of SIDING_STORE__URL (a database for this alone: it is filled with jobs) and SIDING_BROKER__URL
    Dispatch(DispatchArgs),
    /// One model through everything, beside a raw ONNX Runtime loop in the same run
    Inference(InferenceArgs),
    /// One model in a process of its own, beside the same model in this process
    Isolation(IsolationArgs),
}

/// `siding bench inference`
#[derive(Debug, Args)]
pub struct InferenceArgs {
    /// The model to measure [default: every one of the repository]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The model repository [default: the one that `make setup` fetched]
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Seconds that bare loop and system are each measured in one round
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Rounds; the last line has their medians
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,
    /// How many times as large as the manifest's example the input is
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub factor: usize,
    /// Whether the system runs the model in processes of their own; the raw loop never does
    #[arg(long, value_enum, value_name = "WHEN", default_value = "never")]
    pub isolation: BenchIsolation,
}

impl From<InferenceArgs> for crate::bench::inference::Options {
    fn from(args: InferenceArgs) -> Self {
        let InferenceArgs { model, models, seconds, rounds, factor, isolation } = args;
        let measure = std::time::Duration::from_secs(seconds);
        Self { model, models, measure, rounds, factor, isolation: isolation.into() }
    }
}

/// `siding bench dispatch`
#[derive(Debug, Args)]
pub struct DispatchArgs {
    /// Jobs in one round
    #[arg(long, value_name = "N", default_value_t = crate::bench::dispatch::Options::default().jobs)]
    pub jobs: usize,
    /// Jobs that are under way at any time
    #[arg(long, value_name = "N", default_value_t = crate::bench::dispatch::Options::default().in_flight)]
    pub in_flight: usize,
    /// Jobs one after the other, to measure a single one's time
    #[arg(long, value_name = "N", default_value_t = crate::bench::dispatch::Options::default().latency_jobs)]
    pub latency_jobs: usize,
    /// Rounds; the last line has their medians
    #[arg(long, value_name = "N", default_value_t = crate::bench::dispatch::Options::default().rounds)]
    pub rounds: usize,
}

impl From<DispatchArgs> for crate::bench::dispatch::Options {
    fn from(args: DispatchArgs) -> Self {
        let DispatchArgs { jobs, in_flight, latency_jobs, rounds } = args;
        Self { jobs, in_flight, latency_jobs, rounds }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_input_is_given_exactly_once() {
        let rows = [
            ("siding submit m --input {}", true),
            ("siding submit m -", true),
            ("siding submit m --input -", true),
            ("siding submit m --input @file --wait --watch", true),
            ("siding submit m --input {} --wait=5 --id 0190b7c0-0000-7000-8000-000000000000", true),
            ("siding submit --jsonl -", true),
            ("siding submit --jsonl jobs.jsonl --key k --atomic", true),
            ("siding submit m --jsonl -", false),
            ("siding submit --jsonl - --watch", false),
            ("siding submit m --input {} --atomic", false),
            ("siding submit m", false),
            ("siding submit m - --input {}", false),
            ("siding submit m file", false),
            ("siding submit m --input {} --id 1", false),
            ("siding submit m --input {} --start-at 2026-12-01T08:00:00Z", true),
            ("siding submit m --input {} --start-at 2026-12-01T08:00:00Z --delay-ms 1", false),
            ("siding submit m --input {} --id 0190b7c0-0000-7000-8000-000000000000 --key k", false),
            ("siding jobs list --state queued,running --limit 3", true),
            ("siding jobs list --state paused", false),
            ("siding dead list", true),
            ("siding dead replay --all --limit 10", true),
            ("siding dead replay --code panicked --model m --dry-run", true),
            ("siding dead drop 0190b7c0-0000-7000-8000-000000000000 0190b7c0-0000-7000-8000-000000000001", true),
            ("siding dead replay", false),
            ("siding dead drop --dry-run", false),
            ("siding dead replay --all --model m", false),
            ("siding dead replay 0190b7c0-0000-7000-8000-000000000000 --all", false),
            ("siding dead replay 0190b7c0-0000-7000-8000-000000000000 --limit 1", false),
            ("siding up --listen localhost", false),
            ("siding up --database postgres://h/d --amqp amqp://h --redis redis://h", true),
            ("siding config show --origin --output json", true),
            ("siding config check --config siding.toml", true),
            ("siding config", false),
            ("siding producer --config siding.toml --listen 127.0.0.1:0 --log json", true),
            ("siding worker --data elsewhere", false),
            ("siding migrate --database postgres://h/d", true),
            ("siding models --output json", true),
            ("siding models show spin", true),
            ("siding models show", false),
            ("siding models check", true),
            ("siding models check spin ./folder/1 --models elsewhere --seconds 5", true),
        ];
        for (line, ok) in rows {
            assert_eq!(parse(line).is_ok(), ok, "{line}");
        }
    }

    #[test]
    fn a_wait_may_have_a_limit() {
        for (line, expected) in [("--wait", Some(None)), ("--wait=5", Some(Some(5))), ("--watch", None)] {
            let cli = parse(&format!("siding submit m --input {{}} {line}")).expect("valid");
            let Command::Submit(args) = cli.command else { panic!("a submit") };
            assert_eq!(args.follow.wait, expected);
        }
    }
}
