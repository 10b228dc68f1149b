//! POP3 (RFC 1939): status lines of a server, with the response codes of RFC 2449, section 8.

/// A status line, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// `+OK` rather than `-ERR`.
    pub ok: bool,
    /// What stands in brackets behind it, such as `SYS/TEMP`.
    pub code: Option<&'a [u8]>,
    /// The text behind that.
    pub text: &'a [u8],
}

/// Reads a status line, already without its end; `None` if it is none.
///
/// `+OK` and `-ERR` are upper case by RFC 1939, section 3; lower case is taken too.
pub fn status(line: &[u8]) -> Option<Status<'_>> {
    let (ok, rest) = match (line.get(..3), line.get(..4)) {
        (Some(word), _) if word.eq_ignore_ascii_case(b"+OK") => (true, line.get(3..).unwrap_or_default()),
        (_, Some(word)) if word.eq_ignore_ascii_case(b"-ERR") => (false, line.get(4..).unwrap_or_default()),
        _ => return None,
    };
    let text = match rest.split_first() {
        None => rest,
        Some((b' ', text)) => text,
        Some(_) => return None,
    };
    let in_brackets = text.strip_prefix(b"[").and_then(|inside| {
        let end = memchr::memchr(b']', inside)?;
        let after = inside.get(end + 1..)?;
        Some((inside.get(..end)?, after.strip_prefix(b" ").unwrap_or(after)))
    });
    Some(match in_brackets {
        Some((code, text)) => Status { ok, code: Some(code), text },
        None => Status { ok, code: None, text },
    })
}

/// Whether a line says `+OK`.
pub fn is_ok(line: &[u8]) -> bool {
    status(line).is_some_and(|status| status.ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_with_its_code() {
        for (line, expected) in [
            (&b"+OK"[..], Some((true, None, ""))),
            (b"+OK ", Some((true, None, ""))),
            (b"+OK User successfully authenticated.", Some((true, None, "User successfully authenticated."))),
            (b"-ERR [SYS/TEMP] later", Some((false, Some("SYS/TEMP"), "later"))),
            (b"-ERR [AUTH]", Some((false, Some("AUTH"), ""))),
            (b"-ERR [open", Some((false, None, "[open"))),
            (b"+ ", None),
            (b"+OKAY", None),
            (b"", None),
            (b"-ER", None),
        ] {
            let expected =
                expected.map(|(ok, code, text)| Status { ok, code: code.map(str::as_bytes), text: text.as_bytes() });
            assert_eq!(status(line), expected, "{line:?}");
            assert_eq!(is_ok(line), expected.is_some_and(|status| status.ok));
        }
    }
}
