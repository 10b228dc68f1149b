//! The fields of a header (RFC 5322, section 2.2), as ranges of its octets, and the addresses in them.

use mail_parser::MessageParser;

/// A field with its continuation lines and its last CRLF; or a line that is none, which has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) octets: &'a [u8],
    /// Octets before the colon; 0 where it is no field.
    name_octets: usize,
}

impl<'a> Field<'a> {
    /// Whether it has this name (in lower case).
    pub(super) fn is(&self, name: &str) -> bool {
        let own = self.octets.get(..self.name_octets).unwrap_or_default();
        // The syntax of before 2001 allows white space before the colon (RFC 5322, section 4.5).
        own.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    }

    /// What stands behind the colon, with the last CRLF.
    pub(super) fn value(&self) -> &'a [u8] {
        self.octets.get(self.name_octets + 1..).unwrap_or_default()
    }
}

/// Whether a message may begin with this line: a field, or the line that mailbox files begin with.
pub(super) fn may_begin(line: &[u8]) -> bool {
    name_octets(line) > 0 || line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// The octets of a field's name before the colon; 0 where the line begins no field.
fn name_octets(line: &[u8]) -> usize {
    let Some(colon) = memchr::memchr(b':', line) else { return 0 };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|octet| (b'!'..=b'~').contains(octet));
    if is_name { colon } else { 0 }
}

/// The fields of a header, in their order; together they are all of its octets.
pub(super) fn fields(header: &[u8]) -> Vec<Field<'_>> {
    let mut found: Vec<Field<'_>> = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    while at < header.len() {
        let rest = header.get(at..).unwrap_or_default();
        let line_octets = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let next = at + line_octets;
        let continues = header.get(next).is_some_and(|octet| matches!(octet, b' ' | b'\t'));
        if !continues {
            let octets = header.get(begin..next).unwrap_or_default();
            let first = memchr::memchr(b'\n', octets).map_or(octets.len(), |end| end + 1);
            found.push(Field { octets, name_octets: name_octets(octets.get(..first).unwrap_or_default()) });
            begin = next;
        }
        at = next;
    }
    found
}

/// The addresses in a field; `None` where they cannot be told with certainty. That is so as well where more `@` stand outside of quoted
/// strings and comments than addresses were found: another reader could find another one.
pub(super) fn addresses(field: &Field<'_>) -> Option<Vec<String>> {
    let text = [b"From:", field.value(), b"\r\n"].concat();
    let message = MessageParser::new().with_address_headers().parse_headers(&text)?;
    let found: Vec<String> =
        message.from()?.iter().map(|address| address.address().map(str::to_owned)).collect::<Option<_>>()?;
    let plain = found.iter().all(|address| address.chars().filter(|c| *c == '@').count() == 1);
    (plain && !found.is_empty() && bare_ats(field.value()) == Some(found.len())).then_some(found)
}

/// How many `@` stand outside of quoted strings and comments; `None` where those do not end.
pub(super) fn bare_ats(value: &[u8]) -> Option<usize> {
    let (mut count, mut comments, mut quoted) = (0, 0_usize, false);
    let mut octets = value.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' if quoted || comments > 0 => {
                octets.next();
            }
            b'"' if comments == 0 => quoted = !quoted,
            b'(' if !quoted => comments += 1,
            b')' if !quoted => comments = comments.checked_sub(1)?,
            b'@' if !quoted && comments == 0 => count += 1,
            _ => {}
        }
    }
    (!quoted && comments == 0).then_some(count)
}

/// What stands before the address in angle brackets, as it is written.
pub(super) fn display_name<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    let value = field.value();
    let mut quoted = false;
    let mut escaped = false;
    for (place, octet) in value.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => {
                return value.get(..place).map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
            }
            _ => {}
        }
    }
    None
}

/// The Message-ID, without angle brackets.
pub(super) fn message_id(found: &[Field<'_>]) -> Option<String> {
    let field = found.iter().find(|field| field.is("message-id"))?;
    let text = String::from_utf8_lossy(field.value());
    let id = text.trim().trim_start_matches('<').trim_end_matches('>').trim();
    let is_one = !id.is_empty() && id.chars().all(|c| !c.is_whitespace() && !c.is_control());
    is_one.then(|| id.to_owned())
}
