//! Until when an API token is valid, in words.

use std::time::{Duration, UNIX_EPOCH};

use crate::time::{LATEST_UNIX_SECS, now_unix_secs};

/// Until when an API token is valid, in words.
pub fn validity(expires_unix_secs: Option<u64>) -> String {
    match expires_unix_secs {
        Some(expires) => format!("it is valid until {}", describe(expires, now_unix_secs())),
        None => "the index does not say until when it is valid (PyPI's tokens live 15 minutes)".to_owned(),
    }
}

/// `Mon, 21 Sep 2026 14:13:20 GMT (15 minutes left)`. `now` and `expires` are Unix seconds.
pub fn describe(expires: u64, now: u64) -> String {
    let left = match expires.checked_sub(now) {
        None | Some(0) => "in the past: is this machine's clock right?".to_owned(),
        Some(1..90) => "about a minute left".to_owned(),
        Some(secs) => format!("{} minutes left", (secs + 30) / 60),
    };
    format!("{} ({left})", utc(expires))
}

/// `Mon, 21 Sep 2026 14:13:20 GMT`. Dates after 9999 are shown as its last second.
pub fn utc(unix_secs: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_secs.min(LATEST_UNIX_SECS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_in_http() {
        for (unix_secs, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (LATEST_UNIX_SECS, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(utc(unix_secs), text);
        }
    }

    #[test]
    fn the_time_left_is_told_in_minutes() {
        for (left, text) in [(900, "15 minutes"), (895, "15 minutes"), (90, "2 minutes"), (89, "about a minute")] {
            assert_eq!(describe(1000 + left, 1000), format!("{} ({text} left)", utc(1000 + left)));
        }
        assert!(describe(1000, 1000).contains("clock") && describe(999, 1000).contains("clock"));
    }
}
