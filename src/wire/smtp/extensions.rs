//! What a server offers in its answer to EHLO (RFC 5321, section 4.1.1.1).

use crate::wire::smtp::Reply;

/// The extensions that matter to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// SIZE (RFC 1870), with the limit announced; 0 means none.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eightbitmime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// The mechanisms of AUTH (RFC 4954), in upper case.
    pub auth: Vec<String>,
}

/// An address or a message needs SMTPUTF8 (RFC 6531), and the server does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message needs SMTPUTF8, which the server does not offer")]
pub struct SmtpUtf8Missing;

impl Extensions {
    /// Reads the lines behind the first one, which holds the server's name.
    pub fn from_ehlo(reply: &Reply) -> Self {
        let mut found = Self::default();
        for line in reply.lines.iter().skip(1) {
            let line = String::from_utf8_lossy(line).to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default() {
                "SIZE" => found.size = Some(words.next().and_then(|word| word.parse().ok()).unwrap_or(0)),
                "8BITMIME" => found.eightbitmime = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "DSN" => found.dsn = true,
                "PIPELINING" => found.pipelining = true,
                "STARTTLS" => found.starttls = true,
                "ENHANCEDSTATUSCODES" => found.enhanced_status_codes = true,
                "AUTH" => found.auth = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        found
    }

    /// All that a [`MailFrom`](crate::wire::smtp::MailFrom) can use.
    pub fn all() -> Self {
        Self {
            size: Some(0),
            eightbitmime: true,
            smtputf8: true,
            dsn: true,
            pipelining: true,
            starttls: false,
            enhanced_status_codes: true,
            auth: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_exchange_is_read_and_its_first_line_is_only_a_name() {
        let lines = [
            "DSN.outlook.com Hello [192.0.2.1]",
            "SIZE 157286400",
            "PIPELINING",
            "dsn",
            "AUTH LOGIN XOAUTH2",
            "8BITMIME",
            "CHUNKING",
        ];
        let reply = Reply { code: 250, lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect() };
        let found = Extensions::from_ehlo(&reply);
        let expected = Extensions {
            size: Some(157_286_400),
            pipelining: true,
            dsn: true,
            eightbitmime: true,
            auth: vec!["LOGIN".into(), "XOAUTH2".into()],
            ..Extensions::default()
        };
        assert_eq!(found, expected);
        assert_eq!(Extensions::from_ehlo(&Reply::new(250, "DSN")), Extensions::default());
    }
}
