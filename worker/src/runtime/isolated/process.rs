//! One model process, seen from the worker: started, spoken to, killed, reaped. It decides how long an answer is waited for and what an end
//! means; it never leaves a process behind, and nothing that the process says or does can hurt the worker.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::CommandExt},
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use siding_core::{limits, model::manifest::Manifest};

use super::{
    cause::{self, Cause},
    wire::{self, Answer, Ask, Lost},
};

/// The hidden subcommand that the program is started with.
pub const SUBCOMMAND: &str = "model-process";

/// How long the end of a process may take after its connection has ended, and after it was killed.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How often its end is looked for meanwhile: nothing tells of it.
const END_POLL: Duration = Duration::from_millis(1);
/// How long a word to the process may take: its reader does nothing but read.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// What a model process may know of the worker's environment: where libraries are and which devices it may use. Not the settings, which
/// may hold passwords.
const VARIABLES: [&str; 8] = [
    "HOME",
    "XDG_CACHE_HOME",
    "SIDING_CACHE",
    "ORT_DYLIB_PATH",
    "ORT_DISABLE_TELEMETRY",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
];

pub(super) struct Process {
    /// Held for moments only: whoever kills must not wait for whoever reaps.
    child: Mutex<Child>,
    /// Why it was killed: written once, before the kill, by whoever kills first.
    killed: OnceLock<Cause>,
    /// Why it ended: written once, by whoever reaps.
    ended: OnceLock<Cause>,
    /// Frames go out whole: a stop comes from another thread than the rest.
    writer: Mutex<UnixStream>,
    /// Held from an ask to the end of its answer.
    reader: Mutex<BufReader<UnixStream>>,
    log: Mutex<Option<JoinHandle<()>>>,
    /// Written by the thread that reads its log.
    refused_memory: Arc<AtomicBool>,
    numbers: AtomicU64,
}

impl Process {
    /// Starts `program` for a model; it has been told nothing yet. The connection is its standard input, so that nothing that a library
    /// prints gets into it; it ends itself when the connection ends, and so with this process at the latest.
    pub(super) fn start(program: &Path, variables: &[(String, String)], model: &Manifest) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(WRITE_PATIENCE))?;
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .env_clear()
            .envs(VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C is for the worker, which lets its runs end.
            .process_group(0)
            .spawn()?;
        let refused_memory = Arc::new(AtomicBool::new(false));
        let log = child.stderr.take().map(|stderr| log(stderr, model, child.id(), refused_memory.clone())).transpose();
        let process = Self {
            child: Mutex::new(child),
            killed: OnceLock::new(),
            ended: OnceLock::new(),
            writer: Mutex::new(ours.try_clone()?),
            reader: Mutex::new(BufReader::new(ours)),
            log: Mutex::new(None),
            refused_memory,
            numbers: AtomicU64::new(0),
        };
        // From here on, dropping it ends the process.
        *locked(&process.log) = log?;
        Ok(process)
    }

    /// A number that nothing of this process has had.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether it has ended, or is to be treated so.
    pub(super) fn is_gone(&self) -> bool {
        self.killed.get().is_some() || self.ended.get().is_some()
    }

    /// Says one thing and waits for its answer, at most so long; reports that come before go to `report`.
    ///
    /// # Errors
    /// Why there is no answer: then the process has ended and is reaped.
    pub(super) fn exchange(
        &self,
        frame: &[u8],
        patience: Option<Duration>,
        mut report: impl FnMut(crate::runtime::RunReport),
    ) -> Result<Answer, Cause> {
        let mut reader = locked(&self.reader);
        let mut talk = || {
            reader.get_ref().set_read_timeout(patience)?;
            wire::write(&mut *locked(&self.writer), frame)?;
            loop {
                match Answer::of_frame(&wire::read(&mut *reader)?)? {
                    Answer::Report(reported) => report(reported),
                    answer => return Ok(answer),
                }
            }
        };
        talk().map_err(|lost| self.lost(&lost))
    }

    /// Says something that has no answer. That it is gone is noticed by the next exchange.
    pub(super) fn tell(&self, ask: &Ask) {
        let told = ask.to_frame().map(|frame| wire::write(&mut *locked(&self.writer), &frame));
        if let Some(Err(error)) = told {
            tracing::debug!(%error, "a model process could not be told");
        }
    }

    /// It gave an answer that is none to what it was asked.
    pub(super) fn nonsense(&self) -> Cause {
        self.lost(&Lost::Garbled)
    }

    /// Kills it with SIGKILL, for this reason unless there was one before. Does not wait for its end.
    pub(super) fn kill(&self, cause: Cause) {
        self.killed.get_or_init(|| cause);
        if let Err(error) = locked(&self.child).kill() {
            tracing::error!(%error, "a model process cannot be killed");
        }
    }

    fn lost(&self, lost: &Lost) -> Cause {
        match lost {
            Lost::Garbled => self.kill(Cause::Nonsense),
            Lost::Gone(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                self.kill(Cause::Silent);
            }
            Lost::Gone(_) => {}
        }
        self.reap()
    }

    /// Waits for its end, which is due, and says why it ended; kills it when the end does not come.
    fn reap(&self) -> Cause {
        *self.ended.get_or_init(|| {
            let status = self.wait().or_else(|| {
                self.kill(Cause::Silent);
                self.wait()
            });
            if status.is_none() {
                tracing::error!("a killed model process does not end: it hangs in the system, and stays until it does not");
            }
            self.wait_for_log();
            match (self.killed.get(), status) {
                (Some(cause), _) => *cause,
                (None, Some(status)) => cause::of(status, self.refused_memory.load(Ordering::Relaxed)),
                (None, None) => Cause::Silent,
            }
        })
    }

    fn wait(&self) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            match locked(&self.child).try_wait() {
                Ok(Some(status)) => return Some(status),
                Err(error) => {
                    tracing::error!(%error, "a model process cannot be waited for");
                    return None;
                }
                Ok(None) if started.elapsed() > END_PATIENCE => return None,
                Ok(None) => {}
            }
            thread::sleep(END_POLL);
        }
    }

    /// What it said last says why it ended.
    fn wait_for_log(&self) {
        let Some(log) = locked(&self.log).take() else { return };
        let started = Instant::now();
        while !log.is_finished() && started.elapsed() < END_PATIENCE {
            thread::sleep(END_POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.get().is_none() {
            self.kill(Cause::NotStopping);
            self.reap();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts what it prints into our log, bounded, until it ends.
fn log(stderr: ChildStderr, model: &Manifest, id: u32, refused_memory: Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
    let (name, version) = (model.name.clone(), model.version.clone());
    thread::Builder::new().name("model-log".into()).spawn(move || {
        let mut lines = BufReader::new(stderr);
        let mut count = 0;
        let mut line = Vec::new();
        // An unreadable pipe is one that has ended.
        while (&mut lines).take(limits::MODEL_LOG_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            // What Rust's runtime says before it aborts.
            if text.contains("memory allocation of ") {
                refused_memory.store(true, Ordering::Relaxed);
            }
            count += 1;
            match count {
                ..=limits::MODEL_LOG_LINES_MAX => {
                    tracing::warn!(model.name = %name, model.version = %version, process.id = id, line = text.trim_end(), "a model process says");
                }
                _ if count == limits::MODEL_LOG_LINES_MAX + 1 => {
                    tracing::warn!(model.name = %name, process.id = id, "a model process says more than is logged");
                }
                _ => {}
            }
            line.clear();
        }
    })
}
