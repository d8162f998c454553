//! The demo's server: `siding up` as a child process on a loopback port. It is always stopped and waited for: by `stop`, and by the
//! drop of its handle when the demo itself breaks.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use siding_client::Client;
use tokio::process::{Child, Command};

use super::failed;
use crate::cli::exit::Failed;

/// The port that the other commands look at, taken when it is free.
const DEFAULT_PORT: u16 = 7433;
/// How long a server may take to become ready: it may have to load a library from a cold disk.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long between two looks at a starting server.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a server may take to drain before it is killed: its own limit for running jobs and a margin.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Lines of its log that are shown when it fails.
const LOG_LINES_SHOWN: usize = 20;

/// How often a long run of the demo's server saves its state, in milliseconds: often enough that there is a checkpoint within the demo's time.
const CHECKPOINT_MS: &str = "2000";

/// The running child.
pub struct Server {
    /// Where it listens.
    pub url: String,
    child: Child,
    port: u16,
    models: PathBuf,
    data: PathBuf,
}

impl Server {
    /// Starts it.
    pub fn start(models: &Path, data: &Path) -> Result<Self, Failed> {
        let port = free_port().map_err(|error| failed(format!("no free port on 127.0.0.1: {error}")))?;
        let child = spawn(port, models, data)?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), child, port, models: models.into(), data: data.into() })
    }

    /// Kills it: it has no moment left to save anything.
    pub async fn kill(&mut self) -> Result<(), Failed> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again over the same folder, on the same port.
    pub fn start_again(&mut self) -> Result<(), Failed> {
        self.child = spawn(self.port, &self.models, &self.data)?;
        Ok(())
    }

    /// Waits until it takes jobs.
    pub async fn wait_until_ready(&mut self) -> Result<(), Failed> {
        let client = Client::new(&self.url)?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(failed(format!("the server has ended before it was ready ({status}).{}", self.end_of_log())));
            }
            if matches!(client.is_ready().await, Ok(true)) {
                return Ok(());
            }
            if started.elapsed() > READY_MAX {
                let secs = READY_MAX.as_secs();
                return Err(failed(format!("the server was not ready within {secs} s.{}", self.end_of_log())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns when the server has ended by itself.
    pub async fn ended(&mut self) {
        // An error means that there is no child to wait for any more.
        drop(self.child.wait().await);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to drain and waits for its end.
    pub async fn stop(mut self) -> Result<(), Failed> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended a moment ago; the wait below tells how.
            match kill(Pid::from_raw(pid), Signal::SIGTERM) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(failed(format!("the server cannot be stopped: {error}"))),
            }
        }
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(failed(format!("the server did not end well ({status}).{}", self.end_of_log()))),
            Ok(Err(error)) => Err(failed(format!("the server cannot be waited for: {error}"))),
            Err(_) => {
                self.child.kill().await?;
                Err(failed(format!(
                    "the server did not stop within {} s and was killed.{}",
                    STOP_MAX.as_secs(),
                    self.end_of_log()
                )))
            }
        }
    }

    /// The last lines that it has written, for a message.
    pub fn end_of_log(&self) -> String {
        let text = std::fs::read(log(&self.data)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        if shown.is_empty() { String::new() } else { format!(" The end of its log:\n  {}", shown.join("\n  ")) }
    }
}

fn log(data: &Path) -> PathBuf {
    data.join("server.log")
}

fn spawn(port: u16, models: &Path, data: &Path) -> Result<Child, Failed> {
    let program = std::env::current_exe().map_err(|error| failed(format!("our own program cannot be found: {error}")))?;
    let log = log(data);
    let unwritable = |error: std::io::Error| failed(format!("{}: {error}", log.display()));
    let log_file = File::options().create(true).append(true).open(&log).map_err(unwritable)?;
    let errors = log_file.try_clone().map_err(unwritable)?;
    Command::new(program)
        .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data)
        .arg("--models")
        .arg(models)
        .env("SIDING_WORKER__CHECKPOINT_MS", CHECKPOINT_MS)
        .stdin(Stdio::null())
        .stdout(log_file)
        .stderr(errors)
        // A group of its own: Ctrl-C reaches the demo, which then stops the server in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("the server cannot be started: {error}")))
}

/// The default port when it is free, else any free one. Somebody may take it before the server does; then the server says so.
fn free_port() -> std::io::Result<u16> {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
    Ok(bind(DEFAULT_PORT).or_else(|_| bind(0))?.local_addr()?.port())
}
