//! The real program as a child process, to be killed with SIGKILL at any moment and started again over the same folder. It is ended when
//! the test ends, however the test ends.

use std::{path::Path, process::Stdio, time::Duration};

use siding_client::Client;
use siding_core::{clock::SystemClock, config::Settings, id::LaneName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{invariants, models};
use siding::seams::{self, Seams};

/// How long the program may take to say where it is, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Settings for a system that is killed often: short leases and polls.
const CONFIG: &str =
    "[worker]\nscripted = true\nslots = 2\ndrain_ms = 500\n\n[dispatch]\nrelay_poll_ms = 50\nsweep_poll_ms = 50\n";

/// A folder with data, models and configuration, and the program that runs over it, when it runs.
pub struct ChildSystem {
    program: &'static str,
    folder: TempDir,
    child: Option<Child>,
}

impl ChildSystem {
    /// A fresh folder for `program` (the suite's own `CARGO_BIN_EXE_…`); nothing runs yet.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        models::write_scripted(&folder.path().join("models"), "scripted", "1", 0.0);
        models::write_scripted(&folder.path().join("models"), "scripted-long", "1", 600_000.0);
        std::fs::write(folder.path().join("siding.toml"), CONFIG).expect("the folder can be written");
        Self { program, folder, child: None }
    }

    /// Starts the program on a free port and waits until it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&mut self) -> Client {
        let at = |name: &str| self.folder.path().join(name);
        let mut child = Command::new(self.program)
            .arg("up")
            .args(["--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(at("data"))
            .arg("--models")
            .arg(at("models"))
            .arg("--config")
            .arg(at("siding.toml"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it says where it is in time");
        let line = line.expect("stdout can be read").expect("it has not ended");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("the line names the address");
        self.child = Some(child);
        Client::new(url).expect("a valid address")
    }

    /// Kills the program with SIGKILL and reaps it.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("a running child can be killed");
    }

    /// Asks the program to stop with SIGTERM and returns whether it ended well.
    ///
    /// # Panics
    /// When it does not run, or does not end in time.
    pub async fn terminate(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        let id = child.id().expect("it is not reaped").to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.expect("kill is everywhere");
        assert!(sent.success());
        tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends in time").expect("it can be waited for").success()
    }

    /// The program's resident memory, in bytes.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        let statm = std::fs::read_to_string(format!("/proc/{id}/statm")).expect("Linux tells of a running process");
        let pages: usize = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("the second number");
        // The page size of every machine that Siding is built for.
        pages * 4096
    }

    /// What is wrong with what the program left behind; it must not run.
    ///
    /// # Panics
    /// When the folder cannot be opened.
    pub async fn violations(&self) -> Vec<String> {
        let data = self.data();
        let settings = Settings::default();
        let _held = seams::hold(&data).expect("the program has ended");
        let lanes: Vec<LaneName> = settings.lanes.iter().map(|lane| lane.name.clone()).collect();
        let seams = Seams::local(&data, &settings, &lanes, std::sync::Arc::new(SystemClock)).await.expect("the data are intact");
        invariants::violations(&*seams.jobs, &*seams.feed, &*seams.dispatch, &*seams.consumer, &lanes).await
    }

    /// Where the data lie.
    #[must_use]
    pub fn data(&self) -> std::path::PathBuf {
        self.path().join("data")
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}
