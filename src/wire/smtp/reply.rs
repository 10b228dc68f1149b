//! Replies: reading Exchange's, writing ours, and shortening the first into the second.

use std::borrow::Cow;
use std::fmt;

use crate::base::Reference;

/// A reply (RFC 5321, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of each line, after code and separator.
    pub lines: Vec<Vec<u8>>,
}

/// An enhanced status code, such as `5.7.8` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl EnhancedCode {
    /// `status-code = class "." subject "." detail` (RFC 3463, section 2), at the beginning of a text and followed by a space
    /// or the end; also gives what stands behind it.
    fn split(text: &[u8]) -> Option<(Self, &[u8])> {
        let end = memchr::memchr(b' ', text).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        let mut parts = std::str::from_utf8(word).ok()?.split('.');
        let mut part =
            || parts.next().filter(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
        let (class, subject, detail) = (part()?, part()?, part()?);
        if parts.next().is_some() || !matches!(class, "2" | "4" | "5") {
            return None;
        }
        let code = Self(class.parse().ok()?, subject.parse().ok()?, detail.parse().ok()?);
        Some((code, rest.strip_prefix(b" ").unwrap_or(rest)))
    }
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, text: impl Into<Vec<u8>>) -> Self {
        Self { code, lines: vec![text.into()] }
    }

    /// The enhanced code of its first line, if there is one.
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        EnhancedCode::split(self.lines.first()?).map(|(code, _)| code)
    }

    /// 2xx: done.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx: go on.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4xx: not now.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: not like this.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The lines joined by spaces, with what is not UTF-8 replaced; for the log and for looking things up.
    pub fn text(&self) -> String {
        let lines: Vec<Cow<'_, str>> = self.lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        lines.join(" ")
    }

    /// Writes the reply with its line ends. A CR, LF or NUL in a text is written as a space.
    pub fn write(&self, out: &mut Vec<u8>) {
        let code = self.code.to_string();
        let last = self.lines.len().saturating_sub(1);
        if self.lines.is_empty() {
            out.extend_from_slice(code.as_bytes());
            out.extend_from_slice(b" \r\n");
        }
        for (number, line) in self.lines.iter().enumerate() {
            out.extend_from_slice(code.as_bytes());
            out.push(if number == last { b' ' } else { b'-' });
            out.extend(line.iter().map(|octet| if matches!(octet, b'\r' | b'\n' | 0) { b' ' } else { *octet }));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The reply as it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

/// Joins the lines of a reply.
#[derive(Debug)]
pub struct ReplyReader {
    max_line: usize,
    max_lines: usize,
    open: Option<Reply>,
}

/// What came is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedReply {
    /// There are no three digits, or neither space nor hyphen behind them.
    #[error("a line of the reply does not begin with a reply code")]
    NoCode,
    /// The lines of one reply have different codes.
    #[error("the lines of the reply have different codes")]
    CodesDiffer,
    /// A line is too long.
    #[error("a line of the reply is too long")]
    LineTooLong,
    /// There are too many lines.
    #[error("the reply has too many lines")]
    TooManyLines,
}

impl ReplyReader {
    /// Exchange's refusals are single lines of well over 512 octets, so 16 KiB is what a line should be given.
    pub const MAX_LINE_OCTETS: usize = 16 * 1024;

    /// Takes replies of at most so many lines of so many octets.
    pub fn new(max_line: usize, max_lines: usize) -> Self {
        Self { max_line, max_lines, open: None }
    }

    /// Takes a line without its end; gives the reply when it was the last one.
    ///
    /// # Errors
    ///
    /// What came is not a reply; the connection should be given up.
    pub fn push(&mut self, line: &[u8]) -> Result<Option<Reply>, MalformedReply> {
        if line.len() > self.max_line {
            return Err(MalformedReply::LineTooLong);
        }
        let digits =
            line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit)).ok_or(MalformedReply::NoCode)?;
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        if !(200..600).contains(&code) {
            return Err(MalformedReply::NoCode);
        }
        let (more, text) = match line.get(3..).and_then(<[u8]>::split_first) {
            None => (false, &[][..]), // a bare code is to be taken too (RFC 5321, section 4.2)
            Some((b' ', text)) => (false, text),
            Some((b'-', text)) => (true, text),
            Some(_) => return Err(MalformedReply::NoCode),
        };
        let mut reply = self.open.take().unwrap_or(Reply { code, lines: Vec::new() });
        if reply.code != code {
            return Err(MalformedReply::CodesDiffer);
        }
        if reply.lines.len() >= self.max_lines {
            return Err(MalformedReply::TooManyLines);
        }
        reply.lines.push(text.to_vec());
        if more {
            self.open = Some(reply);
            return Ok(None);
        }
        Ok(Some(reply))
    }
}

/// What the mail program is told when Exchange refuses a message or a recipient: code, enhanced code and first clause (up to
/// `;` or `[`), plus our reference. Hosts, servers and the names of exceptions stay in the log.
///
/// What passes by tomorrow becomes transient: the daily quota of recipients (`554 5.2.0`, `550 5.1.90`). What says that *we*
/// were not let in (530, 535, 5.7.3, 5.7.57, 5.7.139) is no fault of the client's, whose password was right.
pub fn shorten(reply: &Reply, reference: Reference) -> Reply {
    let first = reply.lines.first().map(Vec::as_slice).unwrap_or_default();
    let (enhanced, words) = match EnhancedCode::split(first) {
        Some((code, words)) => (Some(code), words),
        None => (None, first),
    };
    let whole = reply.text();
    let daily_quota = (reply.code == 554 && whole.contains("SubmissionQuotaExceeded"))
        || (reply.is_permanent() && enhanced == Some(EnhancedCode(5, 1, 90)));
    if daily_quota {
        return Reply::new(451, format!("4.7.1 The daily sending limit is reached, try again later, ref {reference}"));
    }
    let not_let_in =
        matches!(reply.code, 530 | 534 | 535 | 538) || matches!(enhanced, Some(EnhancedCode(5, 7, 3 | 57 | 139)));
    if not_let_in {
        return Reply::new(451, format!("4.7.0 The message cannot be sent now, ref {reference}"));
    }
    // A refusal stays one: what is neither 4xx nor 5xx has no business here and must not sound like success.
    let code = if (400..600).contains(&reply.code) { reply.code } else { 451 };
    let enhanced = enhanced.filter(|enhanced| u16::from(enhanced.0) == code / 100);
    let clause = words.split(|octet| matches!(octet, b';' | b'[')).next().unwrap_or_default();
    let mut text = enhanced.map(|enhanced| format!("{enhanced} ")).unwrap_or_default();
    let printable = |octet: &u8| if (b' '..=b'~').contains(octet) { char::from(*octet) } else { '?' };
    let clause: String = clause.iter().take(MAX_CLAUSE_OCTETS).map(printable).collect();
    match clause.trim() {
        "" => text.push_str("Refused"),
        clause => text.push_str(clause),
    }
    text.push_str(&format!(", ref {reference}"));
    Reply::new(code, text)
}

/// With code, enhanced code, reference and line end this stays below 512 octets (RFC 5321, section 4.5.3.1.5).
const MAX_CLAUSE_OCTETS: usize = 440;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&[u8]]) -> Result<Option<Reply>, MalformedReply> {
        let mut reader = ReplyReader::new(40, 3);
        let mut last = None;
        for line in lines {
            last = reader.push(line)?;
        }
        Ok(last)
    }

    #[test]
    fn a_reply_of_several_lines_has_one_code() {
        let reply = read(&[b"250-mx Hello", b"250-SIZE 5", b"250 DSN"]).unwrap().unwrap();
        assert_eq!(reply, Reply { code: 250, lines: vec![b"mx Hello".to_vec(), b"SIZE 5".to_vec(), b"DSN".to_vec()] });
        assert_eq!(reply.to_bytes(), b"250-mx Hello\r\n250-SIZE 5\r\n250 DSN\r\n");
        assert_eq!(read(&[b"354"]).unwrap().unwrap().lines, [b""]);
        for (lines, error) in [
            (&[&b"250-a"[..], b"251 b"][..], MalformedReply::CodesDiffer),
            (&[b"25"], MalformedReply::NoCode),
            (&[b"2500 a"], MalformedReply::NoCode),
            (&[b"+OK a"], MalformedReply::NoCode),
            (&[b"999 a"], MalformedReply::NoCode),
            (&[b"\xff\xff\xff a"], MalformedReply::NoCode),
            (&[b"250-a", b"250-b", b"250-c", b"250-d"], MalformedReply::TooManyLines),
            (&[&[b'2'; 41]], MalformedReply::LineTooLong),
        ] {
            assert_eq!(read(lines), Err(error), "{lines:?}");
        }
    }

    #[test]
    fn the_enhanced_code_is_read_where_there_is_one() {
        for (text, expected) in [
            ("2.1.0 OK", Some(EnhancedCode(2, 1, 0))),
            ("5.7.139", Some(EnhancedCode(5, 7, 139))),
            ("3.1.0 OK", None),
            ("2.1 OK", None),
            ("2.1.0.1 OK", None),
            ("2.1.x OK", None),
            ("2.1.1000 OK", None),
            ("OK", None),
            ("", None),
        ] {
            assert_eq!(Reply::new(250, text).enhanced(), expected, "{text}");
        }
    }

    #[test]
    fn nothing_in_a_text_can_end_its_line() {
        assert_eq!(Reply::new(550, "no\r\n250 yes\0").to_bytes(), b"550 no  250 yes \r\n");
        assert_eq!(Reply { code: 250, lines: vec![] }.to_bytes(), b"250 \r\n");
    }

    #[test]
    fn a_refusal_of_exchange_is_shortened_to_its_first_clause() {
        for (code, text, expected) in [
            (
                554,
                "5.2.252 SendAsDenied; a@x not allowed to send as b@x; STOREDRV.Submission.Exception:SendAsDenied [BeginDiagnosticData]",
                "554 5.2.252 SendAsDenied, ref 222222",
            ),
            (
                550,
                "5.1.10 RESOLVER.ADR.RecipientNotFound [HOST.prod.outlook.com]",
                "550 5.1.10 RESOLVER.ADR.RecipientNotFound, ref 222222",
            ),
            (
                432,
                "4.3.2 Concurrent connections limit exceeded. [Hostname=x]",
                "432 4.3.2 Concurrent connections limit exceeded., ref 222222",
            ),
            (
                554,
                "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed",
                "451 4.7.1 The daily sending limit is reached, try again later, ref 222222",
            ),
            (550, "5.1.90 daily limit", "451 4.7.1 The daily sending limit is reached, try again later, ref 222222"),
            (554, "5.2.0 Other thing", "554 5.2.0 Other thing, ref 222222"),
            (535, "5.7.139 Authentication unsuccessful", "451 4.7.0 The message cannot be sent now, ref 222222"),
            (530, "5.7.57 Client not authenticated", "451 4.7.0 The message cannot be sent now, ref 222222"),
            (550, "", "550 Refused, ref 222222"),
            (550, "[x]", "550 Refused, ref 222222"),
            (550, "4.1.1 odd", "550 odd, ref 222222"),
            (250, "2.0.0 OK", "451 OK, ref 222222"),
            (550, "na\u{ef}ve\ttab", "550 na??ve?tab, ref 222222"),
        ] {
            let short = shorten(&Reply::new(code, text), Reference::from_random(0));
            assert_eq!(String::from_utf8(short.to_bytes()).unwrap(), format!("{expected}\r\n"), "{code} {text}");
        }
        let long = shorten(&Reply::new(550, "5.7.1 ".to_owned() + &"x".repeat(9000)), Reference::from_random(0));
        assert!(long.to_bytes().len() <= 512);
    }
}
