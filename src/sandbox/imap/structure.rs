//! The parts of a message as IMAP numbers them, and ENVELOPE and BODYSTRUCTURE (RFC 3501, sections 6.4.5 and 7.4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Addr, Address, ContentType, Message, MessageParser, MimeHeaders};

/// How deep parts may be nested; Exchange stops at 30.
const DEPTH_LIMIT: usize = 30;

/// A message or one part of it, as octets.
pub(super) struct Part<'a> {
    /// The header with the empty line that ends it.
    pub(super) header: &'a [u8],
    /// What follows it.
    pub(super) body: &'a [u8],
    /// The header, read.
    fields: Option<Message<'a>>,
    inside: Inside<'a>,
}

enum Inside<'a> {
    Leaf,
    Multipart(Vec<Part<'a>>),
    Embedded(Box<Part<'a>>),
}

impl<'a> Part<'a> {
    /// Takes a message apart.
    pub(super) fn read(octets: &'a [u8]) -> Self {
        Self::read_at(octets, 0)
    }

    fn read_at(octets: &'a [u8], depth: usize) -> Self {
        let (header, body) = split_header(octets);
        let fields = MessageParser::default().parse_headers(header);
        let kind = fields.as_ref().and_then(|fields| fields.content_type());
        let boundary = kind.filter(|kind| kind.c_type.eq_ignore_ascii_case("multipart"));
        let boundary = boundary.and_then(|kind| kind.attribute("boundary")).filter(|boundary| !boundary.is_empty());
        let is_message = kind.is_some_and(|kind| {
            kind.c_type.eq_ignore_ascii_case("message")
                && kind.subtype().is_some_and(|s| s.eq_ignore_ascii_case("rfc822"))
        });
        let inside = if depth >= DEPTH_LIMIT {
            Inside::Leaf
        } else if let Some(boundary) = boundary {
            let parts: Vec<_> =
                split_multipart(body, boundary).into_iter().map(|part| Self::read_at(part, depth + 1)).collect();
            if parts.is_empty() { Inside::Leaf } else { Inside::Multipart(parts) }
        } else if is_message && depth > 0 {
            Inside::Embedded(Box::new(Self::read_at(body, depth + 1)))
        } else {
            Inside::Leaf
        };
        Self { header, body, fields, inside }
    }

    /// The part of this number; a message that is not a multipart is its own part 1.
    pub(super) fn find(&self, path: &[u32]) -> Option<&Part<'a>> {
        let Some((number, below)) = path.split_first() else { return Some(self) };
        let container = self.message().unwrap_or(self);
        match &container.inside {
            Inside::Multipart(parts) => parts.get(usize::try_from(*number).ok()?.checked_sub(1)?)?.find(below),
            _ if *number == 1 && below.is_empty() => Some(container),
            _ => None,
        }
    }

    /// The message that is embedded in this part.
    pub(super) fn message(&self) -> Option<&Part<'a>> {
        match &self.inside {
            Inside::Embedded(message) => Some(message),
            _ => None,
        }
    }

    /// `ENVELOPE`
    pub(super) fn envelope(&self) -> Vec<u8> {
        let mut out = Vec::from(&b"("[..]);
        nstring(&mut out, self.raw_field("Date").as_deref());
        out.push(b' ');
        nstring(&mut out, self.raw_field("Subject").as_deref());
        let fields = self.fields.as_ref();
        let from = fields.and_then(|fields| fields.from());
        // The sender and the reply address are the author where the header does not name them.
        let sender = fields.and_then(|fields| fields.sender()).or(from);
        let reply_to = fields.and_then(|fields| fields.reply_to()).or(from);
        let to = fields.and_then(|fields| fields.to());
        let cc = fields.and_then(|fields| fields.cc());
        let bcc = fields.and_then(|fields| fields.bcc());
        for addresses in [from, sender, reply_to, to, cc, bcc] {
            out.push(b' ');
            address_list(&mut out, addresses);
        }
        out.push(b' ');
        nstring(&mut out, self.raw_field("In-Reply-To").as_deref());
        out.push(b' ');
        nstring(&mut out, self.raw_field("Message-ID").as_deref());
        out.push(b')');
        out
    }

    /// `BODYSTRUCTURE`, or `BODY` without the extension data.
    pub(super) fn structure(&self, extended: bool) -> Vec<u8> {
        let mut out = Vec::from(&b"("[..]);
        let kind = self.fields.as_ref().and_then(|fields| fields.content_type());
        if let Inside::Multipart(parts) = &self.inside {
            for part in parts {
                out.extend(part.structure(extended));
            }
            out.push(b' ');
            string(&mut out, kind.and_then(|kind| kind.subtype()).unwrap_or("mixed").as_bytes());
            if extended {
                out.push(b' ');
                parameters(&mut out, kind);
                out.push(b' ');
                self.disposition(&mut out);
                out.extend_from_slice(b" NIL NIL");
            }
            out.push(b')');
            return out;
        }
        let (main, sub) =
            kind.map_or(("text", "plain"), |kind| (kind.c_type.as_ref(), kind.subtype().unwrap_or("plain")));
        // A multipart whose parts cannot be found is shown as what it is: octets.
        let (main, sub) =
            if main.eq_ignore_ascii_case("multipart") { ("application", "octet-stream") } else { (main, sub) };
        string(&mut out, main.as_bytes());
        out.push(b' ');
        string(&mut out, sub.as_bytes());
        out.push(b' ');
        if kind.is_none() {
            out.extend_from_slice(b"(\"charset\" \"us-ascii\")")
        } else {
            parameters(&mut out, kind)
        }
        out.push(b' ');
        nstring(&mut out, self.raw_field("Content-ID").as_deref());
        out.push(b' ');
        nstring(&mut out, self.raw_field("Content-Description").as_deref());
        out.push(b' ');
        let encoding = self.raw_field("Content-Transfer-Encoding").unwrap_or_else(|| b"7bit".to_vec());
        string(&mut out, &encoding.to_ascii_uppercase());
        out.extend_from_slice(format!(" {}", self.body.len()).as_bytes());
        let lines = memchr::memchr_iter(b'\n', self.body).count();
        if let Some(message) = self.message() {
            out.push(b' ');
            out.extend(message.envelope());
            out.push(b' ');
            out.extend(message.structure(extended));
            out.extend_from_slice(format!(" {lines}").as_bytes());
        } else if main.eq_ignore_ascii_case("text") {
            out.extend_from_slice(format!(" {lines}").as_bytes());
        }
        if extended {
            out.push(b' ');
            nstring(&mut out, self.raw_field("Content-MD5").as_deref());
            out.push(b' ');
            self.disposition(&mut out);
            out.extend_from_slice(b" NIL NIL");
        }
        out.push(b')');
        out
    }

    fn disposition(&self, out: &mut Vec<u8>) {
        let Some(disposition) = self.fields.as_ref().and_then(|fields| fields.content_disposition()) else {
            out.extend_from_slice(b"NIL");
            return;
        };
        out.push(b'(');
        string(out, disposition.c_type.as_bytes());
        out.push(b' ');
        parameters(out, Some(disposition));
        out.push(b')');
    }

    fn raw_field(&self, name: &str) -> Option<Vec<u8>> {
        raw_field(self.header, name)
    }
}

/// A header field as it is written, unfolded; the first of that name.
pub(super) fn raw_field(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let field = fields(header).find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))?.1;
    let value = field.get(memchr::memchr(b':', field)? + 1..)?;
    let unfolded: Vec<u8> = value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    Some(unfolded.trim_ascii().to_vec())
}

/// The fields of a header: name, and the whole field with its folded lines and line ends.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let mut end = 0;
        loop {
            end += memchr::memchr(b'\n', rest.get(end..)?).map_or(rest.len() - end, |at| at + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, next) = rest.split_at_checked(end)?;
        rest = next;
        if field.trim_ascii().is_empty() {
            return None;
        }
        let name = field.get(..memchr::memchr(b':', field).unwrap_or(field.len()))?;
        Some((name.trim_ascii(), field))
    })
}

/// The header with the empty line behind it, and the body.
pub(super) fn split_header(octets: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        at += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            break;
        }
    }
    octets.split_at(at)
}

/// What stands between the delimiter lines (RFC 2046, section 5.1.1); the CRLF in front of a delimiter belongs to it.
fn split_multipart<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let behind = line.strip_prefix(delimiter.as_bytes()).map(<[u8]>::trim_ascii_end);
        if matches!(behind, Some(b"" | b"--")) {
            if let Some(part) = start.and_then(|start| body.get(start..at)) {
                parts.push(part.strip_suffix(b"\r\n").or_else(|| part.strip_suffix(b"\n")).unwrap_or(part));
            }
            start = (behind == Some(b"")).then_some(at + line.len());
            if start.is_none() {
                return parts;
            }
        }
        at += line.len();
    }
    // The closing delimiter is missing: the last part goes to the end.
    parts.extend(start.and_then(|start| body.get(start..)));
    parts
}

fn parameters(out: &mut Vec<u8>, of: Option<&ContentType<'_>>) {
    let attributes = of.and_then(|of| of.attributes()).filter(|attributes| !attributes.is_empty());
    let Some(attributes) = attributes else {
        out.extend_from_slice(b"NIL");
        return;
    };
    out.push(b'(');
    for (number, attribute) in attributes.iter().enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        string(out, attribute.name.as_bytes());
        out.push(b' ');
        string(out, attribute.value.as_bytes());
    }
    out.push(b')');
}

fn address_list(out: &mut Vec<u8>, addresses: Option<&Address<'_>>) {
    let mut list = Vec::new();
    match addresses {
        None => {}
        Some(Address::List(addresses)) => addresses.iter().for_each(|address| write_address(&mut list, address)),
        Some(Address::Group(groups)) => {
            for group in groups {
                if let Some(name) = &group.name {
                    list.extend_from_slice(b"(NIL NIL ");
                    string(&mut list, &encoded_word(name));
                    list.extend_from_slice(b" NIL)");
                }
                group.addresses.iter().for_each(|address| write_address(&mut list, address));
                if group.name.is_some() {
                    list.extend_from_slice(b"(NIL NIL NIL NIL)");
                }
            }
        }
    }
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
    } else {
        out.push(b'(');
        out.extend(list);
        out.push(b')');
    }
}

fn write_address(out: &mut Vec<u8>, address: &Addr<'_>) {
    out.push(b'(');
    nstring(out, address.name.as_deref().map(encoded_word).as_deref());
    out.extend_from_slice(b" NIL ");
    let (local, domain) = match address.address.as_deref() {
        Some(address) => {
            address.rsplit_once('@').map_or((Some(address), None), |(local, domain)| (Some(local), Some(domain)))
        }
        None => (None, None),
    };
    nstring(out, local.map(str::as_bytes));
    out.push(b' ');
    nstring(out, domain.map(str::as_bytes));
    out.push(b')');
}

/// A name as it may stand in a header (RFC 2047).
fn encoded_word(name: &str) -> Vec<u8> {
    if name.is_ascii() {
        name.as_bytes().to_vec()
    } else {
        format!("=?utf-8?B?{}?=", STANDARD.encode(name)).into_bytes()
    }
}

/// `nstring = string / nil`
fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// `string = quoted / literal`
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() > 1000 || text.iter().any(|octet| !matches!(octet, b' '..=b'~') || matches!(octet, b'"' | b'\\')) {
        literal(out, text);
    } else {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }
}

/// `literal = "{" number "}" CRLF *CHAR8`
pub(super) fn literal(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(format!("{{{}}}\r\n", octets.len()).as_bytes());
    out.extend_from_slice(octets);
}
