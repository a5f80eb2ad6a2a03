//! How the program waits: at most until a deadline. A signal that asks the program to end can end a wait sooner.

use std::fmt::{self, Display};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::os::signals;

/// How often a wait looks at the clock and for a signal.
pub const POLL: Duration = Duration::from_millis(5);
/// How long a thread has to start.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// The moment at which a wait ends, and how a signal changes it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
    /// The time that is left after the first signal. `None`: signals don't count.
    grace: Option<Duration>,
}

/// Why a wait ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The timeout of this many seconds passed.
    TimedOut(u64),
    /// This signal asked the program to end.
    Signal(i32),
    /// The system could not start a thread for the work.
    NoThread,
}

impl Deadline {
    /// `timeout` from now. A signal ends it at once.
    pub fn after(timeout: Duration) -> Deadline {
        Deadline { at: Instant::now() + timeout, timeout, grace: Some(Duration::ZERO) }
    }

    /// The same deadline. A signal, if signals count, ends it after `grace`: for a reply that should not be lost.
    pub fn with_grace(self, grace: Duration) -> Deadline {
        Deadline { grace: self.grace.map(|_| grace), ..self }
    }

    /// The same deadline. No signal ends it: for the work that the signal causes.
    pub fn ignoring_signals(self) -> Deadline {
        Deadline { grace: None, ..self }
    }

    /// The same deadline, or `timeout` from now if that is sooner.
    pub fn within(self, timeout: Duration) -> Deadline {
        let at = Instant::now() + timeout;
        if at < self.at { Deadline { at, timeout, ..self } } else { self }
    }

    /// The time that is left; zero once it has ended.
    pub fn remaining(&self) -> Duration {
        let end = match (self.grace, signals::came()) {
            (Some(grace), Some((_, came_at))) => self.at.min(came_at + grace),
            _ => self.at,
        };
        end.saturating_duration_since(Instant::now())
    }

    /// The signal that asked the program to end, if one did and signals count. There may be grace left.
    pub fn signal(&self) -> Option<i32> {
        signals::came().filter(|_| self.grace.is_some()).map(|(signal, _)| signal)
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Option<WaitError> {
        let timed_out = WaitError::TimedOut(self.timeout.as_secs());
        self.remaining().is_zero().then(|| self.signal().map_or(timed_out, WaitError::Signal))
    }

    /// Waits until `look` finds something. It is called every 5 ms, and when [`Background`] work of this thread is
    /// done.
    ///
    /// # Errors
    /// The deadline came first.
    pub fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> Result<T, WaitError> {
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            thread::park_timeout(POLL.min(self.remaining()));
        }
    }

    /// Waits for the thread's result.
    ///
    /// # Errors
    /// The deadline came first, or the thread did not start within [`START_TIMEOUT`], or not at all.
    pub fn result_of<T>(&self, work: Background<T>) -> Result<T, WaitError> {
        let result = self.wait(|| match work.result.lock().ok()?.take() {
            None if work.may_be_running() => None,
            result => Some(result),
        });
        result?.ok_or(WaitError::NoThread)
    }

    /// Waits for the result of `work`, which runs in its own thread.
    ///
    /// # Errors
    /// As for [`Deadline::result_of`].
    pub fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, WaitError> {
        self.result_of(Background::spawn(work))
    }
}

/// Work in its own thread. If nobody waits for it any more, it goes on: a DNS lookup, for example, can't be
/// interrupted.
pub struct Background<T> {
    /// When the thread was made, if the operating system could.
    spawned_at: Option<Instant>,
    has_started: Arc<AtomicBool>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts the work. That no thread could be started shows when the result is waited for. If a thread has no memory
    /// to start with, it panics in std, and std reports nothing then. A channel is no alternative: the thread would
    /// drop its end of the channel in that panic, which aborts the program.
    pub fn spawn(work: impl FnOnce() -> T + Send + 'static) -> Background<T> {
        let (has_started, result) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let (starts, done) = (has_started.clone(), result.clone());
        let waiting = thread::current();
        // Boxed, so that `spawn` is compiled for one type.
        let work: Box<dyn FnOnce() + Send> = Box::new(move || {
            starts.store(true, Ordering::SeqCst);
            let value = work();
            // It is always Ok: no thread panics while it holds the lock.
            if let Ok(mut done) = done.lock() {
                *done = Some(value);
            }
            waiting.unpark();
        });
        let spawned_at = thread::Builder::new().spawn(work).ok().map(|_| Instant::now());
        Background { spawned_at, has_started, result }
    }
}

impl<T> Background<T> {
    /// False if there is no result, and no thread that could still make one.
    pub fn may_be_running(&self) -> bool {
        let is_new = self.spawned_at.is_some_and(|spawned_at| spawned_at.elapsed() < START_TIMEOUT);
        is_new || self.has_started.load(Ordering::SeqCst)
    }
}

impl Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::TimedOut(1) => f.write_str("the timeout of 1 second passed"),
            WaitError::TimedOut(secs) => write!(f, "the timeout of {secs} seconds passed"),
            WaitError::Signal(signal) => write!(f, "{} asked token-mint to end", signals::name(*signal)),
            WaitError::NoThread => f.write_str("the system could not start a thread"),
        }
    }
}

impl From<WaitError> for io::Error {
    fn from(ended: WaitError) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, ended.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_a_thread_is_not_waited_for() {
        let deadline = Deadline::after(Duration::from_secs(10));
        for spawned_at in [None, Some(Instant::now() - START_TIMEOUT)] {
            let work: Background<()> = Background { spawned_at, has_started: Arc::default(), result: Arc::default() };
            assert_eq!(deadline.result_of(work), Err(WaitError::NoThread));
        }
        assert!(deadline.remaining() > Duration::from_secs(9));
        assert_eq!(deadline.wait_for(|| 1), Ok(1));
    }
}
