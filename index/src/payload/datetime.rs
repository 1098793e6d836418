//! Dates in payloads.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Microseconds since the epoch of an RFC 3339 date: `2024-05-01T12:00:00.5Z`, with an offset (`+02:00`), with a blank
/// for the `T`, without a zone (then UTC), without seconds, or the day alone. `None` for any other text.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    // The parser below also takes forms that RFC 3339 does not know (week dates, signed years, zone names), and it
    // would be asked about every string of every row: look at the shape first.
    let shaped =
        (10..=40).contains(&bytes.len()) && bytes[4] == b'-' && bytes[7] == b'-' && bytes[0].is_ascii_digit();
    if !shaped || bytes.contains(&b'[') || !text.is_char_boundary(10) {
        return None;
    }
    let zoned = bytes[10..].iter().any(|b| matches!(b, b'Z' | b'z' | b'+' | b'-'));
    let at = if zoned {
        text.parse::<Timestamp>().ok()?
    } else {
        text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()
    };
    Some(at.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::parse_datetime;

    #[test]
    fn reads_the_documented_forms() {
        let noon = Some(1_714_564_800_000_000);
        for text in [
            "2024-05-01T12:00:00Z",
            "2024-05-01T12:00:00z",
            "2024-05-01t12:00:00.000Z",
            "2024-05-01T14:00:00+02:00",
            "2024-05-01T05:30:00-06:30",
            "2024-05-01T12:00:00",
            "2024-05-01 12:00:00",
            "2024-05-01T12:00",
        ] {
            assert_eq!(parse_datetime(text), noon, "{text}");
        }
        assert_eq!(parse_datetime("2024-05-01"), noon.map(|n| n - 43_200_000_000));
        assert_eq!(parse_datetime("1969-12-31T23:59:59.999999Z"), Some(-1));
        assert_eq!(parse_datetime("2024-05-01T12:00:00.123456789Z"), noon.map(|n| n + 123_456));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "2024",
            "2024-05",
            "2024-13-01",
            "2024-02-30",
            "2024-05-01T25:00:00Z",
            "2024-05-01T12:00:00+99:00",
            "2024-05-01T12:00:00[Europe/Paris]",
            "2024-W18-3",
            "+002024-05-01",
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "12:00:00",
            "2024-05-0é",
            "yesterday",
        ] {
            assert_eq!(parse_datetime(text), None, "{text}");
        }
    }
}
