//! The clock, and the dates of HTTP.

use std::time::{SystemTime, UNIX_EPOCH};

/// 31 Dec 9999 23:59:59. httpdate panics at later dates.
pub const LATEST_UNIX_SECS: u64 = 253_402_300_799;

/// The current time in Unix seconds.
pub fn now_unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The Unix seconds of an HTTP date (RFC 9110, section 5.6.7).
pub fn of_http_date(text: &str) -> Option<u64> {
    Some(httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_nothing_else() {
        for (unix_secs, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_790_000_000, "Mon, 21 Sep 2026 14:13:20 GMT"),
            (LATEST_UNIX_SECS, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(of_http_date(text), Some(unix_secs), "{text}");
        }
        for text in ["", "soon", "-1", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1969 08:49:37 GMT"] {
            assert_eq!(of_http_date(text), None, "{text}");
        }
    }
}
