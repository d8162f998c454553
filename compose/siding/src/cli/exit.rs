//! How a command ends: five exit codes, each a thing that a script would do differently, and one line that says why.

use std::{io, process::ExitCode};

use siding_client::{Error, Job};
use siding_core::error::chain;

use crate::output;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failed {
    /// The job failed, was cancelled or has expired; or a check of ours failed. Code 1.
    Ended(String),
    /// The request cannot be served as it is: wrong arguments, no such job, an input that does not fit. Code 2.
    Usage(String),
    /// The server is not there, or cannot do it at the moment. Code 3.
    Unreachable(String),
    /// It took longer than the caller wanted to wait; the job goes on. Code 4.
    Timeout(String),
    /// Whoever read our output has gone away: no more is wanted, and nothing is wrong.
    NobodyReads,
}

impl Failed {
    /// Says why on stderr and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (code, text) = match self {
            Self::Ended(text) => (1, text),
            Self::Usage(text) => (2, text),
            Self::Unreachable(text) => (3, text),
            Self::Timeout(text) => (4, text),
            Self::NobodyReads => return ExitCode::SUCCESS,
        };
        if !text.is_empty() {
            output::complain(&format!("siding: {text}"));
        }
        ExitCode::from(code)
    }

    /// Nothing when the job has succeeded; what became of it when it has ended otherwise.
    pub fn unless_succeeded(job: &Job) -> Result<(), Self> {
        if !job.state.is_terminal() || job.state == siding_client::State::Succeeded {
            return Ok(());
        }
        let why = job.failure.as_ref().map_or(String::new(), |failure| format!(": {} ({})", failure.message, failure.code));
        Err(Self::Ended(format!("job {} is {}{why}", job.id, job.state)))
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let text = chain(&error);
        match &error {
            Error::Problem(problem) if problem.status == 429 || problem.status >= 500 => Self::Unreachable(text),
            Error::Problem(_) | Error::Input(_) | Error::Address { .. } => Self::Usage(text),
            Error::Unreachable { .. } => Self::Unreachable(format!(
                "{text}\n  Is it running? `siding up` starts one here; `siding doctor` looks for the cause."
            )),
            Error::Protocol { .. } => Self::Unreachable(text),
            Error::Timeout { .. } => Self::Timeout(text),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Ended(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<io::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::Ended(format!("{error:#}")),
        }
    }
}
