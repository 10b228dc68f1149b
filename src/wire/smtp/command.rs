//! MAIL and RCPT with their parameters: read from the client, checked, and written anew for Exchange.
//!
//! Nothing of the client's line is copied: what goes upstream is written from values that were understood. `AUTH=`
//! (RFC 4954, section 5) is dropped, since Exchange is told by our own login who sends.

use std::fmt;

use crate::wire::smtp::{Extensions, Path, Reply, SmtpUtf8Missing};

/// `MAIL FROM:<reverse-path> [SP parameters]` (RFC 5321, section 4.1.1.2)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom {
    /// The sender, or nobody.
    pub path: Path,
    /// `SIZE=` (RFC 1870, section 6).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461, section 4.3).
    pub ret: Option<Ret>,
    /// `ENVID=` (RFC 3461, section 4.4).
    pub envid: Option<Xtext>,
}

/// `RCPT TO:<forward-path> [SP parameters]` (RFC 5321, section 4.1.1.3)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptTo {
    /// The recipient; never nobody.
    pub path: Path,
    /// `NOTIFY=` (RFC 3461, section 4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=` (RFC 3461, section 4.2): the type of the address, `;`, and the address in xtext.
    pub orcpt: Option<Xtext>,
}

/// How the message is coded (RFC 6152). `BINARYMIME` needs CHUNKING and is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// What a report returns of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

/// When the sender wants a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// `NEVER`
    Never,
    /// At least one of these.
    On {
        /// `SUCCESS`
        success: bool,
        /// `FAILURE`
        failure: bool,
        /// `DELAY`
        delay: bool,
    },
}

/// A text already in the coding of RFC 3461, section 4, and kept in it: printable, without space or `=`, `+` only before two
/// upper-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xtext(String);

/// Why MAIL or RCPT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `FROM:` or `TO:` is missing.
    #[error("the command is not complete")]
    Syntax,
    /// The path is not one.
    #[error("the address is not well formed")]
    Path,
    /// RCPT for nobody.
    #[error("the recipient is missing")]
    NoRecipient,
    /// A parameter that is known, with a value that is not one, or given twice.
    #[error("the value of a parameter is not well formed")]
    Value,
    /// A parameter that was not offered.
    #[error("a parameter is not supported")]
    UnknownParameter,
    /// An address outside ASCII without `SMTPUTF8` (RFC 6531, section 3.5).
    #[error("the address needs SMTPUTF8")]
    NeedsSmtpUtf8,
}

impl Refusal {
    /// The reply to the client.
    pub fn reply(self) -> Reply {
        match self {
            Self::Syntax => Reply::new(501, "5.5.4 The command is not complete"),
            Self::Path => Reply::new(501, "5.1.7 The address is not well formed"),
            Self::NoRecipient => Reply::new(501, "5.1.3 The recipient is missing"),
            Self::Value => Reply::new(501, "5.5.4 The value of a parameter is not well formed"),
            Self::UnknownParameter => Reply::new(555, "5.5.4 A parameter is not supported"),
            Self::NeedsSmtpUtf8 => Reply::new(553, "5.6.7 The address needs SMTPUTF8"),
        }
    }
}

impl MailFrom {
    /// A sender without parameters.
    pub fn new(path: Path) -> Self {
        let smtputf8 = path.needs_smtputf8();
        Self { path, size: None, body: None, smtputf8, ret: None, envid: None }
    }

    /// Reads what stands behind `MAIL `: `FROM:<ann@contoso.example> SIZE=500`.
    ///
    /// # Errors
    ///
    /// Why it is refused. Parameters are never ignored, except `AUTH=`.
    pub fn parse(arguments: &[u8]) -> Result<Self, Refusal> {
        let (path, rest) = Path::split_from(after_keyword(arguments, b"FROM:")?)?;
        let mut mail = Self { path, size: None, body: None, smtputf8: false, ret: None, envid: None };
        let mut auth = None;
        for (keyword, value) in parameters(rest)? {
            match (keyword.to_ascii_uppercase().as_slice(), value) {
                (b"SIZE", Some(value)) => once(&mut mail.size, size(value))?,
                (b"BODY", Some(value)) => once(&mut mail.body, body(value)?)?,
                (b"SMTPUTF8", None) if !mail.smtputf8 => mail.smtputf8 = true,
                (b"RET", Some(value)) => once(&mut mail.ret, ret(value))?,
                (b"ENVID", Some(value)) => once(&mut mail.envid, Xtext::read(value, MAX_ENVID_OCTETS))?,
                (b"AUTH", Some(_)) => once(&mut auth, Some(()))?,
                (b"SIZE" | b"BODY" | b"SMTPUTF8" | b"RET" | b"ENVID" | b"AUTH", _) => return Err(Refusal::Value),
                _ => return Err(Refusal::UnknownParameter),
            }
        }
        if mail.path.needs_smtputf8() && !mail.smtputf8 {
            return Err(Refusal::NeedsSmtpUtf8);
        }
        Ok(mail)
    }

    /// The sender's address, or `None` for `<>`.
    pub fn address(&self) -> Option<&str> {
        self.path.address()
    }

    /// The command with everything in it, and its line end.
    pub fn command(&self) -> Vec<u8> {
        self.format(&Extensions::all())
    }

    /// Appends the command for a server that has these extensions; what it does not have is left out.
    ///
    /// # Errors
    ///
    /// The message needs SMTPUTF8, and the server does not have it. Nothing has been appended then.
    pub fn write_command(&self, extensions: &Extensions, out: &mut Vec<u8>) -> Result<(), SmtpUtf8Missing> {
        if (self.smtputf8 || self.path.needs_smtputf8()) && !extensions.smtputf8 {
            return Err(SmtpUtf8Missing);
        }
        out.extend_from_slice(&self.format(extensions));
        Ok(())
    }

    fn format(&self, extensions: &Extensions) -> Vec<u8> {
        let mut line = format!("MAIL FROM:{}", self.path);
        if let (Some(size), Some(_)) = (self.size, extensions.size) {
            line.push_str(&format!(" SIZE={size}"));
        }
        if let (Some(body), true) = (self.body, extensions.eightbitmime) {
            line.push_str(match body {
                Body::SevenBit => " BODY=7BIT",
                Body::EightBitMime => " BODY=8BITMIME",
            });
        }
        if self.smtputf8 || self.path.needs_smtputf8() {
            line.push_str(" SMTPUTF8");
        }
        if extensions.dsn {
            if let Some(ret) = self.ret {
                line.push_str(if ret == Ret::Full { " RET=FULL" } else { " RET=HDRS" });
            }
            if let Some(envid) = &self.envid {
                line.push_str(&format!(" ENVID={envid}"));
            }
        }
        line.push_str("\r\n");
        line.into_bytes()
    }
}

impl RcptTo {
    /// A recipient without parameters.
    pub fn new(path: Path) -> Self {
        Self { path, notify: None, orcpt: None }
    }

    /// Reads what stands behind `RCPT `: `TO:<bob@contoso.example> NOTIFY=NEVER`.
    ///
    /// Whether MAIL said `SMTPUTF8` is for the caller to compare with [`Path::needs_smtputf8`].
    ///
    /// # Errors
    ///
    /// Why it is refused. Parameters are never ignored.
    pub fn parse(arguments: &[u8]) -> Result<Self, Refusal> {
        let (path, rest) = Path::split_from(after_keyword(arguments, b"TO:")?)?;
        if path.address().is_none() {
            return Err(Refusal::NoRecipient);
        }
        let mut recipient = Self::new(path);
        for (keyword, value) in parameters(rest)? {
            match (keyword.to_ascii_uppercase().as_slice(), value) {
                (b"NOTIFY", Some(value)) => once(&mut recipient.notify, notify(value))?,
                (b"ORCPT", Some(value)) => once(&mut recipient.orcpt, original_recipient(value))?,
                (b"NOTIFY" | b"ORCPT", _) => return Err(Refusal::Value),
                _ => return Err(Refusal::UnknownParameter),
            }
        }
        Ok(recipient)
    }

    /// The recipient's address.
    pub fn address(&self) -> Option<&str> {
        self.path.address()
    }

    /// The command with everything in it, and its line end.
    pub fn command(&self) -> Vec<u8> {
        self.format(&Extensions::all())
    }

    /// Appends the command for a server that has these extensions; what it does not have is left out.
    ///
    /// # Errors
    ///
    /// The address needs SMTPUTF8, and the server does not have it. Nothing has been appended then.
    pub fn write_command(&self, extensions: &Extensions, out: &mut Vec<u8>) -> Result<(), SmtpUtf8Missing> {
        if self.path.needs_smtputf8() && !extensions.smtputf8 {
            return Err(SmtpUtf8Missing);
        }
        out.extend_from_slice(&self.format(extensions));
        Ok(())
    }

    fn format(&self, extensions: &Extensions) -> Vec<u8> {
        let mut line = format!("RCPT TO:{}", self.path);
        if extensions.dsn {
            if let Some(notify) = self.notify {
                line.push_str(&format!(" NOTIFY={notify}"));
            }
            if let Some(orcpt) = &self.orcpt {
                line.push_str(&format!(" ORCPT={orcpt}"));
            }
        }
        line.push_str("\r\n");
        line.into_bytes()
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::On { success, failure, delay } = self else { return f.write_str("NEVER") };
        let words = [(*success, "SUCCESS"), (*failure, "FAILURE"), (*delay, "DELAY")];
        let chosen: Vec<&str> = words.iter().filter(|(chosen, _)| *chosen).map(|(_, word)| *word).collect();
        f.write_str(&chosen.join(","))
    }
}

impl Xtext {
    /// The text in its coding.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `xtext = *( xchar / hexchar )` (RFC 3461, section 4)
    fn read(value: &[u8], max_octets: usize) -> Option<Self> {
        if value.is_empty() || value.len() > max_octets {
            return None;
        }
        let mut octets = value.iter();
        while let Some(octet) = octets.next() {
            let hexadecimal =
                |digit: Option<&u8>| digit.is_some_and(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
            match octet {
                b'+' if hexadecimal(octets.next()) && hexadecimal(octets.next()) => {}
                b'!'..=b'~' if !matches!(octet, b'+' | b'=') => {}
                _ => return None,
            }
        }
        String::from_utf8(value.to_vec()).ok().map(Self)
    }
}

impl fmt::Display for Xtext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 3461, section 4.4
const MAX_ENVID_OCTETS: usize = 100;
/// RFC 3461, section 4.2
const MAX_ORCPT_OCTETS: usize = 500;

fn after_keyword<'a>(arguments: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], Refusal> {
    let arguments = arguments.trim_ascii_start();
    match arguments.split_at_checked(keyword.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(keyword) => Ok(rest),
        _ => Err(Refusal::Syntax),
    }
}

/// A keyword and, behind `=`, its value.
type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

/// `esmtp-param = esmtp-keyword ["=" esmtp-value]` (RFC 5321, section 4.1.2)
fn parameters(rest: &[u8]) -> Result<Vec<Parameter<'_>>, Refusal> {
    let words = rest.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (keyword, value) = match memchr::memchr(b'=', word) {
                Some(place) => (word.get(..place).unwrap_or_default(), word.get(place + 1..)),
                None => (word, None),
            };
            let keyword_fine = !keyword.is_empty() && keyword.iter().all(|o| o.is_ascii_alphanumeric() || *o == b'-');
            let value_fine = value.is_none_or(|v| !v.is_empty() && v.iter().all(|o| (b'!'..=b'~').contains(o)));
            if keyword_fine && value_fine { Ok((keyword, value)) } else { Err(Refusal::Value) }
        })
        .collect()
}

/// Sets a parameter that was read, unless it was set before.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Refusal> {
    match (place.is_some(), value) {
        (false, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(Refusal::Value),
    }
}

/// `size-value = 1*20DIGIT`
fn size(value: &[u8]) -> Option<u64> {
    let digits = (1..=20).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn body(value: &[u8]) -> Result<Option<Body>, Refusal> {
    match value.to_ascii_uppercase().as_slice() {
        b"7BIT" => Ok(Some(Body::SevenBit)),
        b"8BITMIME" => Ok(Some(Body::EightBitMime)),
        b"BINARYMIME" => Err(Refusal::UnknownParameter),
        _ => Ok(None),
    }
}

fn ret(value: &[u8]) -> Option<Ret> {
    match value.to_ascii_uppercase().as_slice() {
        b"FULL" => Some(Ret::Full),
        b"HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

fn notify(value: &[u8]) -> Option<Notify> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(|octet| *octet == b',') {
        let flag = match word.to_ascii_uppercase().as_slice() {
            b"SUCCESS" => &mut success,
            b"FAILURE" => &mut failure,
            b"DELAY" => &mut delay,
            _ => return None,
        };
        *flag = true;
    }
    Some(Notify::On { success, failure, delay })
}

/// `original-recipient-address = addr-type ";" xtext`
fn original_recipient(value: &[u8]) -> Option<Xtext> {
    let kind_octets = memchr::memchr(b';', value)?;
    let kind = value.get(..kind_octets)?;
    let kind_fine = !kind.is_empty() && kind.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    (kind_fine && value.len() > kind_octets + 1).then(|| Xtext::read(value, MAX_ORCPT_OCTETS)).flatten()
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
