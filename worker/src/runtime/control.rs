//! One run's controls: the way in for "stop" and the way out for progress and partial output. It decides when the hook of a
//! runtime is called; it never decides why a run is stopped, and it never blocks the one who stops it.

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

/// Shared by the thread that runs and whoever may stop it.
pub struct RunControl {
    /// Written once by `stop`, read by the run.
    stopped: AtomicBool,
    /// Set by the run while it can be interrupted from outside, called by `stop`.
    hook: Mutex<Option<Hook>>,
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
        Self { stopped: AtomicBool::new(false), hook: Mutex::new(None), sink: Box::new(sink) }
    }

    /// Asks the run to end. Safe to call at any time, any number of times, from any thread.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(hook) = &*self.hook.lock().unwrap_or_else(PoisonError::into_inner) {
            hook();
        }
    }

    /// Whether the run was asked to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Runs `body` while `hook` interrupts it on `stop`; the hook is gone when this returns. When the stop came first, the hook is
    /// called before `body` starts: no stop is lost between the two.
    pub fn interruptible<T>(&self, hook: impl Fn() + Send + Sync + 'static, body: impl FnOnce() -> T) -> T {
        struct Unhook<'a>(&'a RunControl);
        impl Drop for Unhook<'_> {
            fn drop(&mut self) {
                *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
        {
            let mut slot = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_stopped() {
                hook();
            }
            *slot = Some(Box::new(hook));
        }
        let _unhook = Unhook(self);
        body()
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
    fn a_panic_in_the_run_removes_the_hook() {
        let control = RunControl::new(drop);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            control.interruptible(|| unreachable!("hook is gone"), || panic!("run"))
        }));
        assert!(caught.is_err());
        control.stop();
    }
}
