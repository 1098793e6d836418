//! Ages as people write them: `90d`, `12h`, `30m`, `45s`, `2w`, `1y`.

/// Reads an age in seconds, for clap.
pub fn parse_seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no age; write a number and a unit, such as 90d, 12h, 30m or 45s");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).filter(|&s| s > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::parse_seconds;

    #[test]
    fn ages() {
        assert_eq!(parse_seconds("90d"), Ok(7_776_000));
        assert_eq!(parse_seconds("2w"), Ok(1_209_600));
        assert_eq!(parse_seconds("45s"), Ok(45));
        for bad in
            ["", "d", "90", "0d", "-1d", "1.5h", "9 d", "99999999999999999999d", "18446744073709551615y"]
        {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
