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

    /// Whether its name begins like this (in lower case).
    pub(super) fn begins(&self, name: &str) -> bool {
        let own = self.octets.get(..self.name_octets).unwrap_or_default();
        own.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name.as_bytes()))
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
    let found = parsed(field.value())?;
    (bare_ats(field.value())? == found.len()).then_some(found)
}

/// All addresses that a reader may find in a field; `None` where they cannot be told with certainty.
///
/// Many scripts write `info@contoso.example <info@contoso.example>`, which needs quotes (RFC 5322, section 3.4). Which of the two counts is
/// not certain, but there are no others. For whom a message goes to that is not enough: one of the two would not get it.
pub(super) fn all_addresses(field: &Field<'_>) -> Option<Vec<String>> {
    addresses(field).or_else(|| {
        let (name, rest) = field.value().split_at_checked(angle(field.value())?)?;
        let mut both = parsed(name)?;
        both.extend(parsed(rest)?);
        (both.len() == 2 && bare_ats(name) == Some(1) && bare_ats(rest) == Some(1)).then_some(both)
    })
}

/// The addresses that the library reads in this value. Of a quoted local part it does not say what it is, so there are none then;
/// Exchange has no such addresses either.
fn parsed(value: &[u8]) -> Option<Vec<String>> {
    let text = [b"From:", value, b"\r\n"].concat();
    let message = MessageParser::new().with_address_headers().parse_headers(&text)?;
    let found: Vec<String> =
        message.from()?.iter().map(|address| address.address().map(str::to_owned)).collect::<Option<_>>()?;
    let is_plain = |address: &String| {
        let sides = address.split_once('@');
        sides.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
    };
    (!found.is_empty() && found.iter().all(is_plain)).then_some(found)
}

/// What an octet of a field's value belongs to (RFC 5322, sections 3.2.2 and 3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Comment,
    Quoted,
    Bare,
}

/// The octets of a value that are not escaped, each with its place and what it belongs to; last, whether quoted strings and comments end.
fn parts(value: &[u8], mut each: impl FnMut(usize, u8, Part)) -> bool {
    let (mut comments, mut quoted) = (0_usize, false);
    let mut octets = value.iter().copied().enumerate();
    while let Some((place, octet)) = octets.next() {
        match octet {
            b'\\' if quoted || comments > 0 => {
                octets.next();
            }
            b'"' if comments == 0 => quoted = !quoted,
            b'(' if !quoted => comments += 1,
            b')' if !quoted => match comments.checked_sub(1) {
                Some(left) => comments = left,
                None => return false,
            },
            _ if quoted => each(place, octet, Part::Quoted),
            _ if comments > 0 => each(place, octet, Part::Comment),
            _ => each(place, octet, Part::Bare),
        }
    }
    !quoted && comments == 0
}

/// How many `@` stand outside of quoted strings and comments; `None` where those do not end.
pub(super) fn bare_ats(value: &[u8]) -> Option<usize> {
    let mut count = 0;
    let ends = parts(value, |_, octet, part| count += usize::from(octet == b'@' && part == Part::Bare));
    ends.then_some(count)
}

/// Where the first angle bracket opens that belongs to an address.
fn angle(value: &[u8]) -> Option<usize> {
    let mut first = None;
    parts(value, |place, octet, part| {
        if octet == b'<' && part == Part::Bare {
            first.get_or_insert(place);
        }
    });
    first
}

/// What stands before the address in angle brackets, as it is written; `None` where that is more than a name, as in a group.
pub(super) fn display_name<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    let value = field.value();
    let name = value.get(..angle(value)?)?.trim_ascii();
    let mut is_more = false;
    let ends = parts(name, |_, octet, part| is_more |= part == Part::Bare && b":;,@<>".contains(&octet));
    (ends && !is_more && !name.is_empty()).then_some(name)
}

/// The Message-ID, without angle brackets.
pub(super) fn message_id(found: &[Field<'_>]) -> Option<String> {
    let field = found.iter().find(|field| field.is("message-id"))?;
    let text = String::from_utf8_lossy(field.value());
    let id = text.trim().trim_start_matches('<').trim_end_matches('>').trim();
    let is_one = !id.is_empty() && id.chars().all(|c| !c.is_whitespace() && !c.is_control());
    is_one.then(|| id.to_owned())
}
