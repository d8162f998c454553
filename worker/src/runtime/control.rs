//! One run's controls: the ways in for "stop" and "kill", and the way out for progress and partial output. It decides when the hook of a
//! runtime is called; it never decides why or when a run is stopped or killed, and it never blocks the one who does so.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What a run reports before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It got this far.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, when known.
        total: Option<u64>,
    },
    /// A piece of output: JSON text.
    Output(String),
}

type Hook = Box<dyn Fn() + Send + Sync>;
type Sink = Box<dyn Fn(Report) + Send + Sync>;

/// One way to reach a run from outside: a wish, and what the run wants done when it is spoken.
#[derive(Default)]
struct Reach {
    /// Written once by whoever asks, read by the run.
    asked: AtomicBool,
    /// Set by the run while it can be reached, called by whoever asks.
    hook: Mutex<Option<Hook>>,
}

impl Reach {
    /// Returns whether there was a hook to call.
    fn ask(&self) -> bool {
        self.asked.store(true, Ordering::SeqCst);
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        hook.as_ref().inspect(|hook| hook()).is_some()
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    fn during<T>(&self, hook: impl Fn() + Send + Sync + 'static, body: impl FnOnce() -> T) -> T {
        struct Unhook<'a>(&'a Reach);
        impl Drop for Unhook<'_> {
            fn drop(&mut self) {
                *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
        {
            let mut slot = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_asked() {
                hook();
            }
            *slot = Some(Box::new(hook));
        }
        let _unhook = Unhook(self);
        body()
    }
}

/// Shared by the thread that runs and whoever may stop it.
pub struct RunControl {
    stop: Reach,
    kill: Reach,
    /// Set once, by whoever stops it for a reason of the caller's or the worker's own; read when its process has been killed.
    excused: AtomicBool,
    sink: Sink,
}

impl fmt::Debug for RunControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunControl").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

impl RunControl {
    /// Controls for one run whose reports go to `sink`. The sink may block: that is how a full recorder slows a run down.
    #[must_use]
    pub fn new(sink: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Self { stop: Reach::default(), kill: Reach::default(), excused: AtomicBool::new(false), sink: Box::new(sink) }
    }

    /// Asks the run to end. Safe to call at any time, any number of times, from any thread.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Whoever stops it does so for a reason that says nothing about the model: that it then does not end says nothing either.
    pub fn excuse(&self) {
        self.excused.store(true, Ordering::SeqCst);
    }

    /// Whether it was excused.
    #[must_use]
    pub fn is_excused(&self) -> bool {
        self.excused.load(Ordering::SeqCst)
    }

    /// Whether the run was asked to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    /// Runs `body` while `hook` interrupts it on `stop`; the hook is gone when this returns. When the stop came first, the hook is
    /// called before `body` starts: no stop is lost between the two.
    pub fn interruptible<T>(&self, hook: impl Fn() + Send + Sync + 'static, body: impl FnOnce() -> T) -> T {
        self.stop.during(hook, body)
    }

    /// Ends by force a run that was stopped and does not heed it: the second and last level. Returns whether there is anything that can be
    /// killed; without it, the run can only be given up. Safe at any time, as `stop`.
    pub fn kill(&self) -> bool {
        self.kill.ask()
    }

    /// Whether the run was killed: what its body returns then is the end of a stopped run, whatever it looks like.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.kill.is_asked()
    }

    /// Runs `body` while `hook` ends by force what it waits for, on `kill`: a model's process is killed, and `body` finds its socket
    /// closed. The hook must not block, and is gone when this returns. It may stand around `interruptible` or inside of it.
    pub fn killable<T>(&self, hook: impl Fn() + Send + Sync + 'static, body: impl FnOnce() -> T) -> T {
        self.kill.during(hook, body)
    }

    /// Reports something before the end.
    pub fn report(&self, report: Report) {
        (self.sink)(report);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU32};

    use super::*;

    #[test]
    fn a_stop_reaches_the_hook_before_during_and_never_after() {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = || {
            let calls = calls.clone();
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        };
        let during = RunControl::new(drop);
        during.interruptible(counted(), || during.stop());
        assert_eq!(calls.load(Ordering::SeqCst), 1, "during");
        during.stop();
        assert_eq!(calls.load(Ordering::SeqCst), 1, "after");
        during.interruptible(counted(), || ());
        assert_eq!(calls.load(Ordering::SeqCst), 2, "before");
    }

    #[test]
    fn a_kill_reaches_only_what_can_be_killed_and_is_no_stop() {
        let killed = Arc::new(AtomicBool::new(false));
        let control = RunControl::new(drop);
        assert!(!control.kill(), "there is nothing to kill yet");
        let hook = {
            let killed = killed.clone();
            move || killed.store(true, Ordering::SeqCst)
        };
        let reached = control.killable(hook, || control.interruptible(|| unreachable!("nobody stops it"), || control.kill()));
        assert!(reached && killed.load(Ordering::SeqCst));
        assert!(!control.kill(), "its hook is gone");
        assert!(control.is_killed() && !control.is_stopped());
    }

    #[test]
    fn a_panic_in_the_run_removes_the_hook() {
        let control = RunControl::new(drop);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            control.interruptible(|| unreachable!("hook is gone"), || panic!("run"))
        }));
        assert!(caught.is_err());
        control.stop();
    }
}
