//! Threads that come and go with connections.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// Counts its threads, so that a stop can wait for all of them.
#[derive(Clone, Default)]
pub(crate) struct ThreadGroup {
    shared: Arc<(Mutex<usize>, Condvar)>,
}

struct Member(ThreadGroup);

impl Drop for Member {
    fn drop(&mut self) {
        let (count, changed) = &*self.0.shared;
        *count.lock() -= 1;
        changed.notify_all();
    }
}

impl ThreadGroup {
    /// Starts a thread; says in the log when the system has none to give.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> bool {
        *self.shared.0.lock() += 1;
        let member = Member(self.clone());
        let run = move || {
            let _member = member;
            work();
        };
        match std::thread::Builder::new().name(name.into()).spawn(run) {
            Ok(_) => true,
            Err(error) => {
                warn!(thread = name, %error, "thread not started");
                false
            }
        }
    }

    /// Waits until all threads have ended. False if some had not after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (count, changed) = &*self.shared;
        let mut count = count.lock();
        while *count > 0 {
            if changed.wait_until(&mut count, deadline).timed_out() {
                return *count == 0;
            }
        }
        true
    }
}
