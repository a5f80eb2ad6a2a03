//! One deadline over everything the program does.

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

    /// The time that was given for everything together.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}
