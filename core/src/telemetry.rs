//! Telemetry: where logs go and which metrics exist. It decides names and forms; it never decides what is worth telling (the code
//! that makes a transition does). Payloads, secrets and callers' URLs never enter a log line or a label.

pub mod metrics;

use std::io::IsTerminal;

pub use metrics::{AttemptEnd, Metrics, PublishOutcome, Source};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Sends this process's logs to standard error, filtered by `RUST_LOG` or else by `default_filter` (for example `info`). The first call
/// of a process wins; further ones change nothing, so tests may call it too.
pub fn init_logs(form: LogForm, default_filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match form {
        LogForm::Text => {
            // Colour is for a person's terminal; a file or a pipe gets plain text.
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let layer = fmt::layer().with_ansi(colour).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
        LogForm::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init(),
    };
    drop(installed);
}
