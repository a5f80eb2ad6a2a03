//! How the program waits: until a deadline at most, and no longer than a signal that asks it to end allows.

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
pub enum WaitError {
    /// The time was up; the seconds that were given.
    TimedOut(u64),
    /// This signal asked the program to end.
    Signal(i32),
    /// The operating system did not start a thread for the work.
    NoThread,
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

    /// The same deadline without grace: nothing can be lost yet.
    pub fn without_grace(self) -> Deadline {
        Deadline { grace: self.grace.map(|_| Duration::ZERO), ..self }
    }

    /// The same deadline, which no signal ends: for what has to be done because of the signal.
    pub fn ignoring_signals(self) -> Deadline {
        Deadline { grace: None, ..self }
    }

    /// The same deadline, or that long from now if that is sooner.
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

    /// What `look` finds, asked again and again: every now and then, and when [`Background`] work is done that this
    /// thread began.
    ///
    /// # Errors
    /// [`WaitError`], if the deadline came first.
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

    /// Waits for a thread's result.
    ///
    /// # Errors
    /// [`WaitError`], if the deadline came first, or there is no thread.
    pub fn result_of<T>(&self, work: Background<T>) -> Result<T, WaitError> {
        let result = self.wait(|| match work.result.lock().ok()?.take() {
            None if work.may_be_running() => None,
            result => Some(result),
        });
        result?.ok_or(WaitError::NoThread)
    }

    /// The result of `work`, which a thread of its own does.
    ///
    /// # Errors
    /// As for [`Deadline::result_of`].
    pub fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, WaitError> {
        self.result_of(Background::spawn(work))
    }
}

/// Work in a thread of its own. It is left to itself once nobody waits for it: a DNS lookup can't be interrupted, say.
pub struct Background<T> {
    /// When the thread was made, if the operating system could.
    spawned_at: Option<Instant>,
    has_started: Arc<AtomicBool>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T: Send + 'static> Background<T> {
    /// Begins the work. Whether there is a thread for it shows when its result is waited for: one without memory to start
    /// with panics in std, and std reports nothing. That is also why there is no channel here: std would drop its end,
    /// and that aborts.
    pub fn spawn(work: impl FnOnce() -> T + Send + 'static) -> Background<T> {
        let (has_started, result) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let (starts, done) = (has_started.clone(), result.clone());
        let waiting = thread::current();
        // Boxed, so that `spawn` is compiled for one type.
        let work: Box<dyn FnOnce() + Send> = Box::new(move || {
            starts.store(true, Ordering::SeqCst);
            let value = work();
            // Nobody panics while it is locked.
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
    fn may_be_running(&self) -> bool {
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
            WaitError::NoThread => f.write_str("the system did not start a thread for it"),
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
