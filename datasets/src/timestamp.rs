//! Points in time as files write them, in milliseconds since 1970.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Reads an RFC 3339 date-time (with zone) or a plain date (midnight UTC).
pub(crate) fn parse_ms(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let midnight = date.and_then(|d| d.to_zoned(TimeZone::UTC).ok());
    midnight
        .map(|z| z.timestamp().as_millisecond())
        .ok_or_else(|| format!("{text:?} is no RFC 3339 time, such as 2026-11-21T10:00:00Z"))
}

/// A time in RFC 3339, UTC. `None` outside of the years that RFC 3339 can write.
pub(crate) fn rfc3339(seconds: i64, nanos: i32) -> Option<String> {
    Timestamp::new(seconds, nanos).ok().map(|t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        assert_eq!(parse_ms("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert_eq!(parse_ms("1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!(parse_ms("1970-01-02"), Ok(86_400_000));
        assert!(parse_ms("yesterday").is_err());
        assert_eq!(rfc3339(1, 500_000_000).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        assert_eq!(rfc3339(i64::MAX, 0), None);
    }
}
