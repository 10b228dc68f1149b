//! The nouns that every stage shares: mailbox, tenant, protocol, connection.

use std::fmt;
use std::str::FromStr;

/// One of the three protocols that a mail program speaks to us, and we to Exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// IMAP4rev1 (RFC 3501).
    Imap,
    /// POP3 (RFC 1939).
    Pop3,
    /// Message submission (RFC 6409).
    Smtp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Smtp, Protocol::Imap, Protocol::Pop3];

    /// The lower-case name used in the configuration, in JSON and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "imap" => Ok(Self::Imap),
            "pop3" => Ok(Self::Pop3),
            "smtp" => Ok(Self::Smtp),
            other => Err(format!("`{other}` is not a protocol; it is one of smtp, imap, pop3")),
        }
    }
}

/// The address of a mailbox, in lower case (ASCII), fit to stand in a SASL string and in an SMTP path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox(String);

/// A text is not the address of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// There is no `@`, or nothing on one side of it.
    #[error("it has no name or no domain around its `@`")]
    NoDomain,
    /// A space, control character, or one of `<>,;:\"()[]` is in it.
    #[error("it holds a character that no mailbox address has")]
    Character,
    /// It is over 254 octets (RFC 5321, section 4.5.3.1.3).
    #[error("it is longer than 254 octets")]
    TooLong,
}

impl Mailbox {
    /// The address as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands right of the last `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for Mailbox {
    type Err = MailboxError;

    fn from_str(text: &str) -> Result<Self, MailboxError> {
        if text.len() > 254 {
            return Err(MailboxError::TooLong);
        }
        // U+0001 in particular would end the user name in an XOAUTH2 string.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>,;:\\/\"()[]".contains(c)) {
            return Err(MailboxError::Character);
        }
        match text.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !local.contains('@') => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(MailboxError::NoDomain),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that the configuration gives a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantName(String);

impl TenantName {
    /// Takes the name as written.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a connection, counted from 1 since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_compared_in_any_case_and_holds_nothing_that_could_end_a_sasl_string() {
        for (text, expected) in [
            ("Alice@Contoso.TEST", Ok("alice@contoso.test")),
            ("o'neil+tag@x", Ok("o'neil+tag@x")),
            ("jörg@x.test", Ok("jörg@x.test")),
            ("alice", Err(MailboxError::NoDomain)),
            ("@x", Err(MailboxError::NoDomain)),
            ("a@", Err(MailboxError::NoDomain)),
            ("a@b@c", Err(MailboxError::NoDomain)),
            ("a b@c", Err(MailboxError::Character)),
            ("a\u{1}auth=Bearer x@c", Err(MailboxError::Character)),
            ("a\r\n@c", Err(MailboxError::Character)),
            ("u\\shared@c", Err(MailboxError::Character)),
            ("<a@c>", Err(MailboxError::Character)),
        ] {
            assert_eq!(text.parse::<Mailbox>().as_ref().map(Mailbox::as_str).map_err(|e| *e), expected, "{text:?}");
        }
        assert_eq!(format!("{}@x", "a".repeat(300)).parse::<Mailbox>(), Err(MailboxError::TooLong));
    }
}
