//! Durations as people write them: `30s 5m 4h 7d`.

use std::time::Duration;

/// A text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration; write a whole number and one of s, m, h, d, such as 30s, 5m, 4h or 7d")]
pub struct NotADuration {
    text: String,
}

/// Reads `30s`, `5m`, `4h` or `7d`.
///
/// # Errors
///
/// Anything else, and what is longer than 1000 years.
pub fn parse_duration(text: &str) -> Result<Duration, NotADuration> {
    let wrong = || NotADuration { text: text.to_owned() };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds_each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds_each)).ok_or_else(wrong)?;
    if seconds > 1000 * 366 * 86_400 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::parse_duration;

    #[test]
    fn durations_are_a_number_and_one_unit() {
        for (text, seconds) in [
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("4h", Some(14_400)),
            ("90d", Some(7_776_000)),
            ("0s", Some(0)),
            ("", None),
            ("d", None),
            ("90", None),
            ("+1d", None),
            ("1.5h", None),
            ("1h30m", None),
            ("7 d", None),
            ("7D", None),
            ("99999999999999999999d", None),
            ("9999999d", None),
            ("5µ", None),
        ] {
            assert_eq!(parse_duration(text).ok().map(|d| d.as_secs()), seconds, "{text:?}");
        }
    }
}
