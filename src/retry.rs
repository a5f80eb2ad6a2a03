//! Repeats a step if that may help: up to four attempts, with a longer pause after each, all before the deadline.
//!
//! Which error may pass by itself is decided where the error is made ([`Error::is_transient`]): in `requests.rs` by the
//! reply's status, in `net/http_error.rs` by what became of the connection. `exchange.rs` adds that an ID token is
//! never sent twice.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::http::Http;

const MAX_ATTEMPTS: u32 = 4;
/// The shortest pause, after the first attempt; it doubles each time, and up to half of it is added at random, so that
/// many jobs that failed together don't come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The result of `attempt`, or its last error. `attempt` gets the number of failed attempts. A pause that the server
/// asks for (`Retry-After`) is respected. If a pause would last beyond the deadline, there is no further attempt.
///
/// # Errors
/// Those of `attempt`; or that a signal came, which wins.
pub fn run<T>(http: &Http, mut attempt: impl FnMut(u32) -> Result<T>) -> Result<T> {
    let Http { deadline, log, .. } = *http;
    let mut failed = 0;
    loop {
        Error::if_signal_came(deadline)?;
        let error = match attempt(failed) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        failed += 1;
        let pause = pause_after(failed).max(error.retry_after.unwrap_or_default());
        Error::if_signal_came(deadline)?;
        if failed == MAX_ATTEMPTS || !error.is_transient || pause >= deadline.remaining() {
            return Err(error);
        }
        // To format a float would take 13 KB of code.
        let (secs, tenths, next) = (pause.as_secs(), pause.subsec_millis() / 100, failed + 1);
        let text = format!("{error}; trying again in {secs}.{tenths} seconds (attempt {next} of {MAX_ATTEMPTS})");
        log.line(&text);
        let _ = deadline.within(pause).wait(|| deadline.signal());
    }
}

fn pause_after(failed: u32) -> Duration {
    let pause = FIRST_PAUSE * 2u32.saturating_pow(failed - 1);
    // The operating system seeds it (`RandomState` in std's documentation). No secret depends on it.
    let random = RandomState::new().build_hasher().finish() % 1000;
    pause + pause * random as u32 / 2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_half_a_second_and_vary() {
        for (failed, least) in [(1, 500), (2, 1000), (3, 2000)] {
            let pauses: Vec<u128> = (0..200).map(|_| pause_after(failed).as_millis()).collect();
            assert!(pauses.iter().all(|pause| (least..=least * 3 / 2).contains(pause)), "{pauses:?}");
            let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            assert!(most - least > 100, "{pauses:?}");
        }
    }
}
