//! The one wait: for whatever the program waits, it ends at a deadline, and when a signal asks the program to end.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::os::signals;

/// How often a wait looks at the clock and for a signal.
pub const POLL: Duration = Duration::from_millis(5);

/// The moment at which a wait ends, and what a signal does to it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
    /// How much time is left after the first signal. `None`: signals don't count.
    grace: Option<Duration>,
}

/// Why a wait ended before what it waited for came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The time was up; the seconds that were given.
    TimedOut(u64),
    /// This signal asked the program to end.
    Signal(i32),
}

impl Deadline {
    /// That long from now. A signal ends it at once.
    pub fn after(timeout: Duration) -> Deadline {
        Deadline { at: Instant::now() + timeout, timeout, grace: Some(Duration::ZERO) }
    }

    /// The same deadline, which a signal ends that much later: for an answer that should not be lost.
    pub fn with_grace(self, grace: Duration) -> Deadline {
        Deadline { grace: Some(grace), ..self }
    }

    /// The same deadline, which no signal ends: for what has to be done because of the signal.
    pub fn despite_signals(self) -> Deadline {
        Deadline { grace: None, ..self }
    }

    /// The same deadline, or that long from now if that is sooner.
    pub fn within(self, timeout: Duration) -> Deadline {
        let sooner = Deadline { grace: self.grace, ..Deadline::after(timeout) };
        if sooner.at < self.at { sooner } else { self }
    }

    /// The time that is left; zero once it has ended.
    pub fn remaining(&self) -> Duration {
        let end = match (self.grace, signals::came()) {
            (Some(grace), Some((_, came_at))) => self.at.min(came_at + grace),
            _ => self.at,
        };
        end.saturating_duration_since(Instant::now())
    }

    /// The seconds that were given.
    pub fn timeout_secs(&self) -> u64 {
        self.timeout.as_secs()
    }

    /// The signal that asked the program to end, if one did and signals count. There may be grace left.
    pub fn signal(&self) -> Option<i32> {
        signals::came().filter(|_| self.grace.is_some()).map(|(signal, _)| signal)
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        if !self.remaining().is_zero() {
            return None;
        }
        Some(self.signal().map_or(Ended::TimedOut(self.timeout_secs()), Ended::Signal))
    }

    /// What `look` finds, asked again and again.
    ///
    /// # Errors
    /// [`Ended`], if the deadline came first.
    pub fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> Result<T, Ended> {
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            thread::sleep(POLL.min(self.remaining()));
        }
    }

    /// What comes through a channel.
    ///
    /// # Errors
    /// [`Ended`], if the deadline came first; also if nothing can come any more.
    pub fn receive<T>(&self, receiver: &mpsc::Receiver<T>) -> Result<T, Ended> {
        loop {
            match receiver.recv_timeout(POLL.min(self.remaining())) {
                Ok(received) => return Ok(received),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Ended::TimedOut(self.timeout_secs())),
                Err(mpsc::RecvTimeoutError::Timeout) => self.ended().map_or(Ok(()), Err)?,
            }
        }
    }

    /// What `work` gives. It has a thread of its own, and is left to itself once nobody waits for it.
    ///
    /// # Errors
    /// [`Ended`], if the deadline came first; also where no thread can be made.
    pub fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ended> {
        let (sender, receiver) = mpsc::channel();
        let _ = thread::Builder::new().spawn(move || sender.send(work())); // without a thread, nothing comes
        self.receive(&receiver)
    }
}

impl From<Ended> for io::Error {
    fn from(ended: Ended) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, ended.to_string())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::TimedOut(1) => f.write_str("the timeout of 1 second passed"),
            Ended::TimedOut(secs) => write!(f, "the timeout of {secs} seconds passed"),
            Ended::Signal(signal) => write!(f, "{} asked token-mint to end", signals::name(*signal)),
        }
    }
}
