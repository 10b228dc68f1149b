//! Reading the values of options: every one is checked here, so that a wrong one is wrong usage and nothing has happened yet.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use ipnet::IpNet;

use crate::base::{Mailbox, Protocol, is_host_name};
use crate::config;

/// An address of a mailbox.
pub(super) fn address(text: &str) -> Result<Mailbox, String> {
    text.parse::<Mailbox>().map_err(|error| error.to_string())
}

/// A login name: not empty, and without what no login may have.
pub(super) fn login(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 254 {
        return Err("a login name has 1 to 254 octets".to_owned());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a login name has no space or control character in it".to_owned());
    }
    Ok(text.to_owned())
}

/// What an administrator calls an app password.
pub(super) fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 100 {
        return Err("a label has 1 to 100 characters, such as \"scanner, second floor\"".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("a label has no control character in it".to_owned());
    }
    Ok(text.to_owned())
}

/// One of the protocols.
pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    text.to_ascii_lowercase().parse()
}

/// A network or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    config::parse_network(text).ok_or_else(|| "write a network as 10.1.0.0/16, 10.1.2.3 or fd00::/8".to_owned())
}

/// A sender: an address, or a domain with `@` in front. In lower case, as they are compared.
pub(super) fn sender(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let is_domain = text.strip_prefix('@').is_some_and(is_host_name);
    if is_domain || text.parse::<Mailbox>().is_ok() {
        return Ok(text);
    }
    Err("write an address as alice@contoso.com, or a domain as @contoso.com".to_owned())
}

/// How a message is delivered.
pub(super) fn delivery(text: &str) -> Result<config::DeliveryMode, String> {
    match text {
        "assured" => Ok(config::DeliveryMode::Assured),
        "direct" => Ok(config::DeliveryMode::Direct),
        _ => Err("write `assured` or `direct`".to_owned()),
    }
}

/// When an app password ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// This long from now.
    After(chrono::Duration),
    /// With this day, in UTC.
    EndOf(NaiveDate),
}

impl Expiry {
    /// The moment, if it lies ahead.
    pub(super) fn moment(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let moment = match self {
            Self::After(span) => now.checked_add_signed(span)?,
            Self::EndOf(day) => day.and_time(NaiveTime::from_hms_opt(23, 59, 59)?).and_utc(),
        };
        (moment > now).then_some(moment)
    }
}

/// `90d`, or a date.
pub(super) fn expiry(text: &str) -> Result<Expiry, String> {
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(Expiry::EndOf(day));
    }
    let wrong = || "write a span such as 90d, or a date such as 2027-05-31".to_owned();
    let span = config::parse_duration(text).map_err(|_| wrong())?;
    chrono::Duration::from_std(span).map(Expiry::After).map_err(|_| wrong())
}

/// When an app password begins to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// This long from now.
    After(chrono::Duration),
    /// At the beginning of this day, in UTC.
    BeginningOf(NaiveDate),
}

impl Start {
    /// The moment.
    pub(super) fn moment(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::After(span) => now.checked_add_signed(span).unwrap_or(DateTime::<Utc>::MAX_UTC),
            Self::BeginningOf(day) => day.and_time(NaiveTime::MIN).and_utc(),
        }
    }
}

/// A beginning: a span from now, or a date.
pub(super) fn start(text: &str) -> Result<Start, String> {
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(Start::BeginningOf(day));
    }
    span(text).map(Start::After).map_err(|_| "write a span such as 12h, or a date such as 2027-05-31".to_owned())
}

/// A span of time, up to ten years.
pub(super) fn span(text: &str) -> Result<chrono::Duration, String> {
    let wrong = || "write a span such as 24h or 90d".to_owned();
    let span = config::parse_duration(text).map_err(|_| wrong())?;
    let span = chrono::Duration::from_std(span).map_err(|_| wrong())?;
    if span.is_zero() || span > chrono::Duration::days(3660) { Err(wrong()) } else { Ok(span) }
}

/// A time of overlap: none (`0d`), or up to a year.
pub(super) fn overlap(text: &str) -> Result<chrono::Duration, String> {
    let wrong = || "write a span such as 7d or 12h, up to 365d; 0d lets the old one end at once".to_owned();
    let span = config::parse_duration(text).map_err(|_| wrong())?;
    let span = chrono::Duration::from_std(span).map_err(|_| wrong())?;
    if span > chrono::Duration::days(365) { Err(wrong()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    #[test]
    fn an_expiry_is_a_span_or_the_end_of_a_day_and_lies_ahead() {
        let now = Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).unwrap();
        for (text, moment) in [
            ("90d", Some("2027-02-21T12:00:00+00:00")),
            ("12h", Some("2026-11-24T00:00:00+00:00")),
            ("2027-05-31", Some("2027-05-31T23:59:59+00:00")),
            ("2026-11-23", Some("2026-11-23T23:59:59+00:00")),
            ("2026-11-22", None),
            ("0d", None),
        ] {
            let found = expiry(text).unwrap().moment(now).map(|moment| moment.to_rfc3339());
            assert_eq!(found.as_deref(), moment, "{text}");
        }
        for text in ["", "tomorrow", "2027-02-30", "31.05.2027", "90", "-1d", "99999999999d"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_written_as_it_is_read() {
        for text in ["2d", "12h", "90m", "36h", "365d", "30s"] {
            assert_eq!(crate::admin::tables::span_words(span(text).unwrap()), text);
        }
    }

    #[test]
    fn values_that_could_do_harm_are_refused() {
        for text in ["", " ", "a b", "a\r\n", "a\0"] {
            assert!(login(text).is_err(), "{text:?}");
        }
        for text in ["", "  ", "a\nb", "\u{1b}[2J"] {
            assert!(label(text).is_err(), "{text:?}");
        }
        assert_eq!(label(" Scanner ").as_deref(), Ok("Scanner"));
        assert_eq!(network("10.1.2.3/8").map(|network| network.to_string()).as_deref(), Ok("10.0.0.0/8"));
        assert!(network("10.1.2").is_err() && network("10.0.0.0/33").is_err());
        assert_eq!(delivery("assured"), Ok(config::DeliveryMode::Assured));
        assert!(delivery("later").is_err());
        assert_eq!(protocol("IMAP"), Ok(Protocol::Imap));
    }
}
