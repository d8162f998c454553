//! The real program as child processes, to be killed, stopped and told to end at any moment: everything in one over a folder (`ChildSystem`), or one
//! role each over real servers (`Cluster`). They are ended when the test ends, however the test ends.

mod cluster;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use siding_client::Client;
use siding_core::{clock::SystemClock, config::Settings, id::LaneName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{eventually, invariants, models};
use siding::seams::{self, Place, Seams};

pub use cluster::{Cluster, Urls};

/// How long the program may take to say where it is, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Settings for a system that is killed often: short polls, and nobody to hear that it is leaving.
const CONFIG: &str = "[server]\nunready_ms = 0\n\n[worker]\nscripted = true\nslots = 2\ndrain_ms = 500\n\n\
    [dispatch]\nrelay_poll_ms = 50\nsweep_poll_ms = 50\n";

/// One running process of the program.
pub struct ChildProcess {
    /// Where it listens.
    pub url: String,
    child: Child,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts `program` with these arguments and waits until it says where it listens. What it logs, from level `warn`, is added to `log`.
    ///
    /// # Panics
    /// When it does not start; the message has its log.
    pub async fn start<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>, log: &Path) -> Self {
        Self::start_with(program, arguments, &[], log).await
    }

    /// The same, with these variables in its environment.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_with<A: AsRef<OsStr>>(
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(log).expect("the test's folder can be written");
        let mut child = Command::new(program)
            .args(arguments)
            .env("RUST_LOG", "warn")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it says where it is in time");
        let line = line.expect("stdout can be read");
        let url = line.as_deref().and_then(|line| line.split_whitespace().find(|word| word.starts_with("http://")));
        let Some(url) = url else {
            panic!("{program} did not start: {}", std::fs::read_to_string(log).unwrap_or_default());
        };
        Self { url: url.to_owned(), child, log: log.to_owned() }
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has been reaped.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it is not reaped")
    }

    /// Kills it with SIGKILL and reaps it.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a running child can be killed");
    }

    /// Waits until it has died by a signal.
    ///
    /// # Panics
    /// When it lives on, or ends otherwise.
    pub async fn died(mut self) {
        let status =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it dies in time").expect("it can be waited for");
        assert!(status.code().is_none(), "it was to die by a signal, not to end with {status}");
    }

    /// What it has logged, from the level that its `RUST_LOG` says (`warn` when the test sets none).
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log can be read")
    }

    /// A metric as its `/metrics` says it now: `name`, or `name{label="value"}` for a part of it. The sum over all other labels; 0 when nothing was
    /// counted yet.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metric(&self, series: &str) -> f64 {
        let (name, label) = series.split_once('{').map_or((series, ""), |(name, label)| (name, label.trim_end_matches('}')));
        let asked = async { reqwest::get(format!("{}/metrics", self.url)).await?.text().await };
        let text = tokio::time::timeout(PATIENCE, asked).await.expect("it answers in time").expect("text");
        let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        lines.filter(|line| line.contains(label)).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Waits until it stands still, because it has stopped itself at a point (`kill_points::PAUSE_VARIABLE`).
    ///
    /// # Panics
    /// When it goes on.
    pub async fn stands_still(&self) {
        let id = self.child.id().expect("it is not reaped");
        eventually("the process stands still", PATIENCE, || async {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).map_err(|error| error.to_string())?;
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state == Some('T') { Ok(()) } else { Err(format!("its state is {state:?}")) }
        })
        .await;
    }

    /// Stops it where it is (SIGSTOP): its connections stay open and it does nothing.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Asks it to stop with SIGTERM; it goes on meanwhile.
    ///
    /// # Panics
    /// When it does not run.
    pub fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// Waits for its end and returns whether it ended well.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(mut self) -> bool {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").expect("it can be waited for").success()
    }

    /// Asks it to stop with SIGTERM and returns whether it ended well.
    ///
    /// # Panics
    /// When it does not run, or does not end in time.
    pub async fn terminate(self) -> bool {
        self.ask_to_stop();
        self.ended().await
    }

    /// Its resident memory, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let id = self.child.id().expect("it is not reaped");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux tells of a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has some");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().expect("it is not reaped").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill is everywhere");
        assert!(sent.success(), "process {id} has ended by itself");
    }
}

/// A folder with data, models and configuration, and the program that runs over it, when it runs.
pub struct ChildSystem {
    program: &'static str,
    folder: TempDir,
    process: Option<ChildProcess>,
}

impl ChildSystem {
    /// A fresh folder for `program` (the suite's own `CARGO_BIN_EXE_…`); nothing runs yet.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        Self::with(program, "")
    }

    /// The same, with these further settings of the section `worker`, a line each.
    ///
    /// # Panics
    /// As `new`.
    #[must_use]
    pub fn with(program: &'static str, worker: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_models(folder.path());
        let config = CONFIG.replace("[worker]\n", &format!("[worker]\n{worker}\n"));
        std::fs::write(folder.path().join("siding.toml"), config).expect("the folder can be written");
        Self { program, folder, process: None }
    }

    /// Starts the program on a free port and waits until it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&mut self) -> Client {
        let at = |name: &str| self.path().join(name).into_os_string();
        let arguments = ["up", "--listen", "127.0.0.1:0", "--data"].map(Into::into).into_iter();
        let places = [at("data"), "--models".into(), at("models"), "--config".into(), at("siding.toml")];
        let process = ChildProcess::start(self.program, arguments.chain(places), &self.path().join("up.log")).await;
        let client = Client::new(&process.url).expect("a valid address");
        self.process = Some(process);
        client
    }

    /// The running program.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn process(&self) -> &ChildProcess {
        self.process.as_ref().expect("it runs")
    }

    /// Kills the program with SIGKILL and reaps it.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        self.process.take().expect("it runs").kill().await;
    }

    /// Asks the program to stop with SIGTERM and returns whether it ended well.
    ///
    /// # Panics
    /// When it does not run, or does not end in time.
    pub async fn terminate(&mut self) -> bool {
        self.process.take().expect("it runs").terminate().await
    }

    /// The program's resident memory, in bytes.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.process.as_ref().expect("it runs").resident_bytes()
    }

    /// What is wrong with what the program left behind; it must not run.
    ///
    /// # Panics
    /// When the folder cannot be opened.
    pub async fn violations(&self) -> Vec<String> {
        let data = self.data();
        let settings = Settings::default();
        let _held = seams::hold(&data).expect("the program has ended");
        let place = Place::Alone(data);
        let seams = Seams::open(&place, &settings, std::sync::Arc::new(SystemClock)).await.expect("the data are intact");
        violations(&seams, &settings).await
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

fn write_models(folder: &Path) {
    models::write_scripted(&folder.join("models"), "scripted", "1", 0.0);
    models::write_scripted(&folder.join("models"), "scripted-long", "1", 600_000.0);
}

async fn violations(seams: &Seams, settings: &Settings) -> Vec<String> {
    let lanes: Vec<LaneName> = settings.lanes.iter().map(|lane| lane.name.clone()).collect();
    invariants::violations(&*seams.jobs, &*seams.feed, &*seams.dispatch, &*seams.consumer, &lanes).await
}
