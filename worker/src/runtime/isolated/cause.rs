//! Why a model process is no more: what its exit status, and what we did to it, mean. Pure. The text is for a caller: it names signals and
//! codes, never a file or what the process has printed.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::sys::signal::Signal;

/// What Rust's runtime ends a process with after a panic of its first thread; `serve` ends with it after a panic of a model's.
pub(super) const PANICKED: i32 = 101;

/// Why a model process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A signal that native code brings on itself.
    Signal(Signal),
    /// It asked for more memory than it may have, and the system or its own runtime ended it.
    OutOfMemory,
    /// Somebody outside killed it. When nobody did so by hand, it was the system, which was short of memory.
    KilledFromOutside,
    /// Its model's code panicked.
    Panicked,
    /// Its model's code ended it.
    Exited(i32),
    /// It went on after its stop, and was killed.
    NotStopping,
    /// It did not answer in time, and was killed.
    Silent,
    /// It said something that makes no sense, and was killed.
    Nonsense,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "was ended by {signal}"),
            Self::OutOfMemory => write!(f, "needed more memory than it may have"),
            Self::KilledFromOutside => write!(f, "was killed from outside, most likely because the machine is short of memory"),
            Self::Panicked => write!(f, "panicked"),
            Self::Exited(code) => write!(f, "ended by itself with code {code}"),
            Self::NotStopping => write!(f, "did not stop and was killed"),
            Self::Silent => write!(f, "did not answer in time and was killed"),
            Self::Nonsense => write!(f, "gave an answer that makes no sense and was killed"),
        }
    }
}

/// The cause of an end that nobody here has brought about. `refused_memory`: whether it has said that memory was refused to it.
pub(super) fn of(status: ExitStatus, refused_memory: bool) -> Cause {
    match status.signal().map(Signal::try_from) {
        Some(Ok(Signal::SIGABRT)) if refused_memory => Cause::OutOfMemory,
        Some(Ok(Signal::SIGKILL)) => Cause::KilledFromOutside,
        Some(Ok(signal)) => Cause::Signal(signal),
        // A real-time signal has no name.
        Some(Err(_)) => Cause::KilledFromOutside,
        None if status.code() == Some(PANICKED) => Cause::Panicked,
        None => Cause::Exited(status.code().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_cause_and_its_words() {
        let (signal, code) = (|number: i32| number, |code: i32| code << 8);
        let rows = [
            (signal(6), false, Cause::Signal(Signal::SIGABRT), "was ended by SIGABRT"),
            (signal(6), true, Cause::OutOfMemory, "needed more memory than it may have"),
            (signal(11), true, Cause::Signal(Signal::SIGSEGV), "was ended by SIGSEGV"),
            (
                signal(9),
                false,
                Cause::KilledFromOutside,
                "was killed from outside, most likely because the machine is short of memory",
            ),
            (
                signal(40),
                false,
                Cause::KilledFromOutside,
                "was killed from outside, most likely because the machine is short of memory",
            ),
            (code(101), false, Cause::Panicked, "panicked"),
            (code(3), false, Cause::Exited(3), "ended by itself with code 3"),
            (code(0), false, Cause::Exited(0), "ended by itself with code 0"),
        ];
        for (raw, refused_memory, cause, words) in rows {
            let found = of(ExitStatus::from_raw(raw), refused_memory);
            assert_eq!((found, found.to_string().as_str()), (cause, words), "{raw}");
        }
    }
}
