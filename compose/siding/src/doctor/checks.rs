//! The single checks of `siding doctor`. Each looks at one thing, within a bounded time, and returns what it found.

use std::{io, path::Path, process::Stdio, time::Duration};

use crate::seams;
use siding_client::Client;
use siding_core::{config::Settings, error::chain, model::repository::Repository};
use siding_worker::runtime::{
    ModelRuntime,
    onnx::{Onnx, Options, Unavailable},
};
use tokio::{net::TcpListener, process::Command};

use super::Finding;
use crate::output::human;

/// Free space below which a warning is given, in bytes: room for a day of small jobs.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// How long another program may take to answer.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(20);

/// The library is present, loads, and is a version that we know.
pub fn onnxruntime(settings: &Settings) -> Finding {
    match Onnx::with(&settings.worker.onnxruntime, Options::of(settings)) {
        Ok(runtime) => {
            let report = runtime.report();
            let found = format!("{} on {}, from {}", report.version, report.providers_active.join(", "), report.library);
            if !report.providers_refused.is_empty() {
                let refused = report.providers_refused.iter().map(|(name, why)| format!("{name}: {why}"));
                let found = format!("{found}; not active: {}", refused.collect::<Vec<_>>().join("; "));
                return Finding::warning("onnxruntime", found, "see docs/gpu.md, or take it out of worker.providers");
            }
            Finding::ok("onnxruntime", found)
        }
        Err(error) => {
            // What the caller of a job may not see, the operator of this machine may.
            let at = match &error {
                Unavailable::Missing { path } => path.as_ref().map(|path| path.display().to_string()),
                Unavailable::Unusable { path, said } => Some(format!("{}: {said}", path.display())),
                Unavailable::AnotherLoaded { path } => Some(path.display().to_string()),
            };
            Finding::failed(
                "onnxruntime",
                format!("{error} ({})", at.unwrap_or_else(|| "no place is known".to_owned())),
                "make setup",
            )
        }
    }
}

/// The model repository is there, and each model in it can be served.
pub fn models(folder: Option<&Path>, scripted: bool) -> Vec<Finding> {
    let Some(folder) = folder else {
        return vec![Finding::failed("models", "no folder is known", "make setup, or name one with --models")];
    };
    let repository = match Repository::open(folder, scripted) {
        Ok(repository) => repository,
        Err(error) => {
            let found = format!("{}: {}", folder.display(), chain(&error));
            return vec![Finding::failed("models", found, "make setup, or name another folder with --models")];
        }
    };
    let mut findings = vec![match repository.models().len() {
        0 => Finding::failed("models", format!("none in {}", folder.display()), "make setup"),
        count => Finding::ok("models", format!("{count} in {}", folder.display())),
    }];
    findings.extend(repository.broken().iter().map(|broken| {
        let fix = format!("correct or remove {}", folder.join(&broken.folder).display());
        Finding::failed("model", format!("{}: {}", broken.folder, broken.why), fix)
    }));
    findings
}

/// The data folder can be made, written and taken.
pub fn data(folder: &Path, is_running: bool) -> Finding {
    let existed = folder.exists();
    let held = seams::hold(folder);
    let finding = match &held {
        Ok(_) => Finding::ok("data", format!("{} is writable and free", folder.display())),
        Err(seams::Error::InUse(_)) if is_running => {
            Finding::ok("data", format!("{} is in use by the running server", folder.display()))
        }
        Err(error) => Finding::failed("data", chain(error), "name another folder with --data"),
    };
    drop(held);
    if !existed
        && folder.exists()
        && let Err(error) = std::fs::remove_dir_all(folder)
    {
        return Finding::warning("data", format!("{}: {error}", folder.display()), "remove the folder");
    }
    finding
}

/// There is room to keep jobs.
pub fn disk_space(folder: &Path) -> Finding {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let existing = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match nix::sys::statvfs::statvfs(existing) {
        Ok(volume) => {
            let free = volume.blocks_available().saturating_mul(volume.fragment_size());
            let found = format!("{} free at {}", human::bytes(free), existing.display());
            if free < FREE_BYTES_MIN {
                return Finding::warning("disk", found, "free some space, or name another volume with --data");
            }
            Finding::ok("disk", found)
        }
        Err(error) => Finding::warning("disk", format!("{}: {error}", existing.display()), "look at the volume"),
    }
}

/// The address is free for a server of ours, or one answers there (then the second part is true).
pub async fn server(client: &Client) -> (Finding, bool) {
    let address = client.address();
    match client.is_ready().await {
        Ok(true) => return (Finding::ok("server", format!("{address} answers and is ready")), true),
        Ok(false) => {
            let found = format!("{address} answers and is not ready: it starts, stops, or cannot read its store");
            return (Finding::warning("server", found, "wait a moment, then look at its log"), true);
        }
        Err(_) => {}
    }
    // Nobody answers there. When the address is this machine's, is its port free?
    let Some(local) = loopback(address) else {
        let found = format!("{address} does not answer");
        return (Finding::failed("server", found, "start it there, or name another with --server"), false);
    };
    let finding = match TcpListener::bind(&local).await {
        Ok(_) => Finding::ok("server", format!("none is running; {local} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::failed(
            "server",
            format!("{local} is used by something that is not siding"),
            "siding up --listen 127.0.0.1:0",
        ),
        Err(error) => Finding::failed("server", format!("{local}: {error}"), "siding up --listen 127.0.0.1:0"),
    };
    (finding, false)
}

fn loopback(address: &str) -> Option<String> {
    let host = address.strip_prefix("http://")?.split('/').next()?;
    let local = ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start));
    let with_port = if host.rsplit(':').next()?.parse::<u16>().is_ok() { host.to_owned() } else { format!("{host}:80") };
    local.then_some(with_port)
}

/// What `make setup` needs. Not needed to run.
pub async fn python() -> Vec<Finding> {
    let install = "apt-get install --yes python3 python3-pip";
    let mut findings = Vec::new();
    for (check, args) in [("python3", &["--version"] as &[&str]), ("pip", &["-m", "pip", "--version"])] {
        findings.push(match first_line("python3", args).await {
            Ok(line) => Finding::ok(check, line),
            Err(why) => Finding::warning(check, format!("{why} (only `make setup` needs it)"), install),
        });
    }
    findings
}

async fn first_line(program: &str, args: &[&str]) -> Result<String, String> {
    let run = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(PROGRAM_TIMEOUT, run).await.map_err(|_| format!("{program} does not answer"))?;
    let ended = ended.map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(if ended.status.success() { &ended.stdout } else { &ended.stderr }).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    if ended.status.success() { Ok(line) } else { Err(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_this_machine_is_tried_for_its_port() {
        let rows = [
            ("http://127.0.0.1:7433", Some("127.0.0.1:7433")),
            ("http://localhost", Some("localhost:80")),
            ("http://[::1]:5/base", Some("[::1]:5")),
            ("http://example.org:7433", None),
        ];
        for (address, expected) in rows {
            assert_eq!(loopback(address).as_deref(), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_missing_or_fails_is_told_from_one_that_answers() {
        assert!(first_line("there-is-no-such-program", &[]).await.is_err());
        assert_eq!(first_line("sh", &["-c", "echo one; echo two"]).await, Ok("one".to_owned()));
        assert_eq!(first_line("sh", &["-c", "echo why >&2; exit 1"]).await, Err("why".to_owned()));
    }
}
