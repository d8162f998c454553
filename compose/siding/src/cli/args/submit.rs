//! The words of `siding submit`: one job from an input, or many from lines.

use clap::Args;
use siding_client::JobId;

use super::Follow;

/// How it is used.
pub(super) const EXAMPLES: &str = "Examples:
  siding submit spin --input '{\"x\":{\"shape\":[1,64],\"data\":[...]},\"iters\":{\"shape\":[],\"data\":[40000]}}'
  siding submit magika --input @bytes.json --wait=5
  generate | siding submit spin - --watch
  siding submit --jsonl jobs.jsonl --key nightly-17    many jobs, one JSON object a line: {\"model\":\"spin\",\"input\":{...}}";

/// `siding submit`
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The model to run
    #[arg(required_unless_present = "jsonl")]
    pub model: Option<String>,
    /// The model's input: a JSON object, @FILE, or - for stdin
    #[arg(long, value_name = "JSON", required_unless_present_any = ["stdin", "jsonl"])]
    pub input: Option<String>,
    /// Submit many jobs, one JSON object a line as the API takes them, from this file or - for stdin; prints what became of each
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "input", "stdin", "model_version", "expected_ms", "delay_ms", "start_at", "id", "wait", "watch"])]
    pub jsonl: Option<String>,
    /// With --jsonl: accept all jobs or none; at most 1000
    #[arg(long, requires = "jsonl", conflicts_with = "model")]
    pub atomic: bool,
    /// Read the input from stdin
    #[arg(value_name = "-", conflicts_with = "input", value_parser = ["-"])]
    pub stdin: Option<String>,
    /// The model's version; the newest by default
    #[arg(long = "version", value_name = "VERSION")]
    pub model_version: Option<String>,
    /// How long one run is expected to take, in milliseconds; decides the lane
    #[arg(long, value_name = "MS")]
    pub expected_ms: Option<u64>,
    /// Start not before so many milliseconds from now
    #[arg(long, value_name = "MS", conflicts_with = "start_at")]
    pub delay_ms: Option<u64>,
    /// Start not before this time, as RFC 3339: 2026-12-01T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub start_at: Option<String>,
    /// The job's id, a UUID: the same again under this id is the same job
    #[arg(long, value_name = "UUID", conflicts_with = "key")]
    pub id: Option<JobId>,
    /// An idempotency key: the same again under this key is the same job
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// What to do after it was accepted.
    #[command(flatten)]
    pub follow: Follow,
}
