//! Real servers for tests: the shared ones (given by the environment or started by `make services`), and private ones that a test
//! may kill. It decides where they are; it must never start a shared one, nor touch a process that it has not started itself.

use std::{
    collections::HashMap,
    net::{TcpStream, ToSocketAddrs},
    process::Stdio,
    time::Duration,
};

use siding_core::model::locate;
use tempfile::TempDir;

/// `python3` runs this folder.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compose/services");
/// How long a shared server may take to accept a connection.
const ANSWER: Duration = Duration::from_secs(5);

/// RabbitMQ's URL, with a user who may do everything. Tests share it: each takes a region of its own.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn amqp_url() -> String {
    shared(Kind::RabbitMq)
}

/// Postgres's URL, with a user who may create databases. Tests share it: each takes a database or a schema of its own.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn database_url() -> String {
    shared(Kind::Postgres)
}

/// Redis's URL. Tests share it: each takes a prefix of its own.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn redis_url() -> String {
    shared(Kind::Redis)
}

/// The servers that Siding can stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RabbitMQ.
    RabbitMq,
    /// Postgres.
    Postgres,
    /// Redis.
    Redis,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::RabbitMq => "SIDING_TEST_AMQP_URL",
            Self::Postgres => "SIDING_TEST_DATABASE_URL",
            Self::Redis => "SIDING_TEST_REDIS_URL",
        }
    }
}

/// The variable, else what `make services` has written if it answers.
fn shared(kind: Kind) -> String {
    if let Some(url) = std::env::var(kind.variable()).ok().filter(|url| !url.is_empty()) {
        return url;
    }
    let env = locate::cache_dir().expect("HOME is set").join("services/env");
    let started = std::fs::read_to_string(env).ok().and_then(|text| values(&text).remove(kind.variable()));
    match started {
        Some(url) if answers(&url) => url,
        _ => panic!("{} is not running: `make services` starts it (or set {})", kind.name(), kind.variable()),
    }
}

fn answers(url: &str) -> bool {
    let url = reqwest::Url::parse(url).expect("make services writes URLs");
    let place = (url.host_str().expect("a host"), url.port().expect("a port"));
    let addresses = place.to_socket_addrs().expect("an address");
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, ANSWER).is_ok())
}

/// Lines of `NAME=value`.
fn values(text: &str) -> HashMap<&str, String> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name, value.to_owned())).collect()
}

/// A server of one test, to be killed, stopped and started again. It is gone when this is dropped, and also when the test's process is
/// killed.
pub struct Private {
    kind: Kind,
    folder: TempDir,
    durable: bool,
    url: String,
    pid: u32,
}

impl Private {
    /// Starts one whose data survive the server's end but not a power cut. RabbitMQ takes 6 s and more.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(kind: Kind) -> Self {
        Self::start_with(kind, false).await
    }

    /// Starts one that forces its commits to the disk.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_durable(kind: Kind) -> Self {
        Self::start_with(kind, true).await
    }

    async fn start_with(kind: Kind, durable: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut server = Self { kind, folder, durable, url: String::new(), pid: 0 };
        server.restart().await;
        server
    }

    /// Where it listens: always the same, over every end and start.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's main process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Starts it again, with the same port and data, and returns when it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        let owner = std::process::id().to_string();
        let mut arguments = vec!["start", self.kind.name(), "--owner", owner.as_str()];
        arguments.extend(self.durable.then_some("--durable"));
        let answer = self.script(&arguments, &[]).await.unwrap_or_else(|told| panic!("{told}"));
        let mut values = values(&answer);
        self.url = values.remove("URL").expect("the script says where it is");
        self.pid = values.remove("PID").expect("the script says which process it is").parse().expect("a number");
    }

    /// Ends it in order, as an operator would.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&mut self) {
        self.script(&["stop"], &[]).await.unwrap_or_else(|told| panic!("{told}"));
    }

    /// Kills it with everything that it has started, as a power cut of its machine would, and returns when all are gone.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        // Stopped first, so that none sees another die and starts it again.
        self.pause();
        let all = self.processes();
        signal("KILL", &all);
        super::eventually("a killed server is gone", ANSWER, || async {
            let left: Vec<_> = all.iter().filter(|pid| parent(**pid).is_some()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("still there: {left:?}")) }
        })
        .await;
    }

    /// Stops all its processes where they are: connections stay open and nothing answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        // The main process first, so that it starts no other meanwhile.
        signal("STOP", &[self.pid]);
        signal("STOP", &self.processes());
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        signal("CONT", &self.processes());
    }

    /// Sends its main process a signal by name: `QUIT` is Postgres's immediate stop.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        signal(name, &[self.pid]);
    }

    /// What `rabbitmqctl` answers to these arguments.
    ///
    /// # Panics
    /// When it fails, or the server is another one.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        self.script(&["ctl"], arguments).await.unwrap_or_else(|told| panic!("{told}"))
    }

    /// What `rabbitmqctl`, or a superuser's `psql`, answers to these arguments and a file with this text, or what it complains of.
    ///
    /// # Errors
    /// The complaint, when it fails.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn ask(&self, arguments: &[&str], text: &str) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        std::fs::write(file.path(), text).expect("it can be written");
        self.script(&["ctl", "--file", file.path().to_str().expect("UTF-8")], arguments).await
    }

    /// Host and port, as they stand in its URL.
    #[must_use]
    pub fn place(&self) -> &str {
        let (_, place) = self.url.rsplit_once('@').expect("the script's URLs have a password");
        place.split('/').next().unwrap_or(place)
    }

    /// The server and its descendants.
    fn processes(&self) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").expect("the list of processes can be read");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let parents: HashMap<u32, u32> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let is_ours = |pid: &u32| std::iter::successors(Some(*pid), |pid| parents.get(pid).copied()).any(|pid| pid == self.pid);
        parents.keys().copied().filter(is_ours).collect()
    }

    async fn script(&self, verb: &[&str], command: &[&str]) -> Result<String, String> {
        let mut call = tokio::process::Command::new("python3");
        call.arg(SCRIPT).args(verb).arg("--dir").arg(self.folder.path());
        if !command.is_empty() {
            call.arg("--").args(command);
        }
        let done = call.stdin(Stdio::null()).output().await.expect("python3 is installed");
        if done.status.success() {
            return Ok(String::from_utf8(done.stdout).expect("it writes UTF-8"));
        }
        let told = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        Err(format!("{} {verb:?} {command:?}: {told}", self.kind.name()))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let mut call = std::process::Command::new("python3");
        call.arg(SCRIPT).args(["stop", "--remove", "--dir"]).arg(self.folder.path()).stdin(Stdio::null());
        // The script's watcher does the same a second later when this fails; a panic here would hide the test's own.
        if let Err(error) = call.status() {
            eprintln!("{} could not be stopped: {error}", self.kind.name());
        }
    }
}

/// The parent of a process; `None` when it is gone or only waits to be reaped.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.next()?.parse().ok() }
}

fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    // One of several may have ended by itself meanwhile, which makes `kill` complain about that one.
    let sent = std::process::Command::new("kill").arg(format!("-{name}")).args(&pids).stderr(Stdio::null()).status();
    assert!(sent.expect("kill is everywhere").success() || pids.len() > 1, "no process {pids:?}");
}
