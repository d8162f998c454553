//! Telemetry: where logs go and which metrics exist. It decides names and forms; it never decides what is worth telling (the code
//! that makes a transition does). Payloads, secrets and callers' URLs never enter a log line or a label.

pub mod metrics;

use std::io::IsTerminal;

pub use metrics::{AttemptEnd, CheckpointRefused, DealtWith, Metrics, PublishOutcome, Source};
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
    // lapin logs each error of a connection itself, several times; the broker's supervisor tells it once, with what follows from it.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{default_filter},lapin=off")));
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

/// The trace id of a W3C `traceparent` (`00-<32 hex digits>-…`), for the field `trace.id` of a job's log lines; empty when there is none.
#[must_use]
pub fn trace_id(traceparent: Option<&str>) -> &str {
    traceparent.and_then(|header| header.split('-').nth(1)).filter(|id| id.len() == 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_the_second_part_of_the_header() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let header = format!("00-{id}-b7ad6b7169203331-01");
        for (given, expected) in [(Some(header.as_str()), id), (Some("00-short-x-01"), ""), (Some(""), ""), (None, "")] {
            assert_eq!(trace_id(given), expected, "{given:?}");
        }
    }
}
