//! One deadline over everything the program does.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The moment at which the program gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// That long from now.
    pub fn after(timeout: Duration) -> Deadline {
        Deadline { at: Instant::now() + timeout, timeout }
    }

    /// The time that is left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// What `work` gives, if it does in time. It has a thread of its own, and is left to itself once nobody waits for it.
    pub fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        // Without a thread there is no waiting.
        thread::Builder::new().spawn(move || sender.send(work())).ok()?;
        receiver.recv_timeout(self.remaining()).ok()
    }

    /// The time that was given for everything together.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}
