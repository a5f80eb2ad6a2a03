//! Times: an API token's expiry in words, and the dates of HTTP.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in Unix seconds.
pub fn now_unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-09-21 14:13:20 UTC (15 minutes left)`. `now` and `expires` are Unix seconds, up to the year 9999.
pub fn describe(expires: u64, now: u64) -> String {
    let left = match expires.checked_sub(now) {
        None | Some(0) => "in the past: is this machine's clock right?".to_owned(),
        Some(1..90) => "about a minute left".to_owned(),
        Some(secs) => format!("{} minutes left", (secs + 30) / 60),
    };
    format!("{} ({left})", utc(expires))
}

/// `2026-09-21 14:13:20 UTC`: date and time by the Gregorian calendar, counted from 0000-03-01 so that a leap day ends its year
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
pub fn utc(unix_secs: u64) -> String {
    let (days, secs) = (unix_secs / 86_400 + 719_468, unix_secs % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The Unix seconds of `Sun, 06 Nov 1994 08:49:37 GMT`, the only form of a date that servers may send (RFC 9110, section
/// 5.6.7). `None` for anything else, and for years far in the future.
pub fn of_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [_, day, month, year, time, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let number = |text: &str, most| text.parse::<u64>().ok().filter(|number| *number <= most && text.len() <= 4);
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year) = (number(day, 31)?, number(year, 9999).filter(|year| *year >= 1970)?);
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>()[..] else { return None };
    let time = number(hour, 23)? * 3600 + number(minute, 59)? * 60 + number(second, 60)?;
    // The reverse of `utc` (`days_from_civil`).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day.checked_sub(1)?;
    Some((days - 719_468) * 86_400 + time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values printed by `date -u -d @SECONDS`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_secs, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_790_000_000, "2026-09-21 14:13:20 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(unix_secs), text);
        }
    }

    #[test]
    fn an_http_date_is_read_and_nothing_else() {
        for (text, unix_secs) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("Fri, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Mon, 21 Sep 2026 14:13:20 GMT", 1_790_000_000),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(of_http_date(text), Some(unix_secs), "{text}");
        }
        for text in [
            "",
            "soon",
            "-1",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, -6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(of_http_date(text), None, "{text}");
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
