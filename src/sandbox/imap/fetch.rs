//! FETCH: what is asked for, and how a message answers it (RFC 3501, sections 6.4.5 and 7.4.2).

use crate::sandbox::imap::parse::Parser;
use crate::sandbox::imap::structure::{Part, fields, literal, split_header, string};
use crate::sandbox::mailbox::Message;

/// One thing to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Body,
    BodyStructure,
    Envelope,
    /// A size that is near the real one, as Exchange gives it.
    EstimatedSize,
    Flags,
    InternalDate,
    Section(Section),
    Size,
    Uid,
}

/// `BODY[...]`, `BODY.PEEK[...]`, and the three RFC822 attributes, which mean the same under other names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The name in the answer.
    label: String,
    path: Vec<u32>,
    what: What,
    /// First octet and number of octets.
    partial: Option<(u32, u32)>,
    peek: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Header,
    Fields { names: Vec<String>, wanted: bool },
    Mime,
    Text,
    Whole,
}

/// `fetch-att`s, one or in parentheses, or one of the macros ALL, FAST, FULL.
pub(super) fn read_attributes(parser: &mut Parser<'_>) -> Option<Vec<Attribute>> {
    use Attribute::{Body, Envelope, Flags, InternalDate, Size};
    if parser.octet(b'(').is_none() {
        let mut after = parser.clone();
        let list = match after.attribute()?.as_str() {
            "ALL" => vec![Flags, InternalDate, Size, Envelope],
            "FAST" => vec![Flags, InternalDate, Size],
            "FULL" => vec![Flags, InternalDate, Size, Envelope, Body],
            _ => return Some(vec![read_attribute(parser)?]),
        };
        *parser = after;
        return Some(list);
    }
    let mut list = vec![read_attribute(parser)?];
    while parser.space().is_some() {
        list.push(read_attribute(parser)?);
    }
    parser.octet(b')')?;
    Some(list)
}

fn read_attribute(parser: &mut Parser<'_>) -> Option<Attribute> {
    let whole = |label: &str, what, peek| {
        Attribute::Section(Section { label: label.to_owned(), path: Vec::new(), what, partial: None, peek })
    };
    let name = parser.attribute()?;
    Some(match (name.as_str(), parser.peek()) {
        ("BODY" | "BODY.PEEK", Some(b'[')) => Attribute::Section(read_section(parser, name == "BODY.PEEK")?),
        ("BODY", _) => Attribute::Body,
        ("BODYSTRUCTURE", _) => Attribute::BodyStructure,
        ("ENVELOPE", _) => Attribute::Envelope,
        ("FLAGS", _) => Attribute::Flags,
        ("INTERNALDATE", _) => Attribute::InternalDate,
        ("RFC822", _) => whole("RFC822", What::Whole, false),
        ("RFC822.HEADER", _) => whole("RFC822.HEADER", What::Header, true),
        ("RFC822.TEXT", _) => whole("RFC822.TEXT", What::Text, false),
        ("RFC822.SIZE", _) => Attribute::Size,
        ("UID", _) => Attribute::Uid,
        _ => return None,
    })
}

/// `section = "[" [section-spec] "]"`, and `"<" number "." nz-number ">"` behind it
fn read_section(parser: &mut Parser<'_>, peek: bool) -> Option<Section> {
    parser.octet(b'[')?;
    let mut path = Vec::new();
    let mut spec = String::new();
    while parser.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        let number = parser.number().filter(|number| *number > 0)?;
        path.push(number);
        if parser.octet(b'.').is_none() {
            break;
        }
        if parser.peek() == Some(b']') {
            return None;
        }
    }
    for (at, number) in path.iter().enumerate() {
        spec.push_str(if at > 0 { "." } else { "" });
        spec.push_str(&number.to_string());
    }
    let what = if parser.peek() == Some(b']') {
        What::Whole
    } else {
        let name = parser.attribute()?;
        spec.push_str(if path.is_empty() { "" } else { "." });
        spec.push_str(&name);
        match name.as_str() {
            "HEADER" => What::Header,
            "TEXT" => What::Text,
            "MIME" if !path.is_empty() => What::Mime,
            "HEADER.FIELDS" | "HEADER.FIELDS.NOT" => {
                let names = read_names(parser)?;
                spec.push_str(&format!(" ({})", names.join(" ")));
                What::Fields { names, wanted: name == "HEADER.FIELDS" }
            }
            _ => return None,
        }
    };
    parser.octet(b']')?;
    let mut partial = None;
    let mut label = format!("BODY[{spec}]");
    if parser.octet(b'<').is_some() {
        let first = parser.number()?;
        parser.octet(b'.')?;
        partial = Some((first, parser.number().filter(|count| *count > 0)?));
        parser.octet(b'>')?;
        label.push_str(&format!("<{first}>"));
    }
    Some(Section { label, path, what, partial, peek })
}

fn read_names(parser: &mut Parser<'_>) -> Option<Vec<String>> {
    parser.space()?;
    parser.octet(b'(')?;
    let mut names = Vec::new();
    loop {
        names.push(String::from_utf8(parser.astring()?).ok()?);
        if parser.space().is_none() {
            break;
        }
    }
    parser.octet(b')')?;
    Some(names)
}

/// Whether fetching this marks the message as read.
pub(super) fn marks_as_seen(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| matches!(attribute, Attribute::Section(section) if !section.peek))
}

/// `message-data` for one message.
pub(super) fn answer(number: u32, message: &Message, recent: bool, attributes: &[Attribute]) -> Vec<u8> {
    let structured = |attribute: &Attribute| match attribute {
        Attribute::Body | Attribute::BodyStructure | Attribute::Envelope => true,
        Attribute::Section(section) => !section.path.is_empty(),
        _ => false,
    };
    let part = attributes.iter().any(structured).then(|| Part::read(&message.octets));
    let mut out = format!("* {number} FETCH (").into_bytes();
    for (at, attribute) in attributes.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        match (attribute, &part) {
            (Attribute::Flags, _) => out.extend(flags(message, recent).into_bytes()),
            (Attribute::InternalDate, _) => {
                let date = message.internal_date.format("%d-%b-%Y %H:%M:%S +0000");
                out.extend(format!("INTERNALDATE \"{date}\"").into_bytes());
            }
            (Attribute::Size, _) => out.extend(format!("RFC822.SIZE {}", message.octets.len()).into_bytes()),
            (Attribute::EstimatedSize, _) => {
                let estimate = message.octets.len() + message.octets.len() / 50 + 17;
                out.extend(format!("RFC822.SIZE {estimate}").into_bytes());
            }
            (Attribute::Uid, _) => out.extend(format!("UID {}", message.uid).into_bytes()),
            (Attribute::Section(section), part) => section.answer(&mut out, &message.octets, part.as_ref()),
            (Attribute::Envelope, Some(part)) => {
                out.extend_from_slice(b"ENVELOPE ");
                out.extend(part.envelope());
            }
            (Attribute::Body, Some(part)) => {
                out.extend_from_slice(b"BODY ");
                out.extend(part.structure(false));
            }
            (Attribute::BodyStructure, Some(part)) => {
                out.extend_from_slice(b"BODYSTRUCTURE ");
                out.extend(part.structure(true));
            }
            (Attribute::Envelope | Attribute::Body | Attribute::BodyStructure, None) => {}
        }
    }
    out.extend_from_slice(b")\r\n");
    out
}

/// `FLAGS (...)`; whether the message is recent depends on the session.
pub(super) fn flags(message: &Message, recent: bool) -> String {
    let mut flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
    if recent {
        flags.push("\\Recent");
    }
    format!("FLAGS ({})", flags.join(" "))
}

impl Section {
    fn answer(&self, out: &mut Vec<u8>, octets: &[u8], part: Option<&Part<'_>>) {
        out.extend_from_slice(self.label.as_bytes());
        out.push(b' ');
        let Some(mut found) = self.select(octets, part) else {
            out.extend_from_slice(b"NIL");
            return;
        };
        if let Some((first, count)) = self.partial {
            let first = usize::try_from(first).unwrap_or(usize::MAX).min(found.len());
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let last = first.saturating_add(count).min(found.len());
            found = found.get(first..last).unwrap_or_default().to_vec();
        }
        if found.is_empty() { string(out, b"") } else { literal(out, &found) }
    }

    /// The octets of the section, or nothing if the message has no such part.
    fn select(&self, octets: &[u8], part: Option<&Part<'_>>) -> Option<Vec<u8>> {
        // HEADER and TEXT of a part are those of the message embedded in it (RFC 3501, section 6.4.5).
        let (header, body) = match part.filter(|_| !self.path.is_empty()) {
            None => split_header(octets),
            Some(root) => {
                let part = root.find(&self.path)?;
                match &self.what {
                    What::Whole => return Some(part.body.to_vec()),
                    What::Mime => return Some(part.header.to_vec()),
                    What::Header | What::Text | What::Fields { .. } => {
                        let message = part.message()?;
                        (message.header, message.body)
                    }
                }
            }
        };
        Some(match &self.what {
            What::Whole => octets.to_vec(),
            What::Header | What::Mime => header.to_vec(),
            What::Text => body.to_vec(),
            What::Fields { names, wanted } => {
                let named = |name: &[u8]| names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name));
                let mut chosen: Vec<u8> = fields(header)
                    .filter(|(name, _)| named(name) == *wanted)
                    .flat_map(|(_, field)| field)
                    .copied()
                    .collect();
                chosen.extend_from_slice(b"\r\n");
                chosen
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::DateTime;

    use super::*;

    const NESTED: &str = "From: Ann <ann@contoso.test>\r\nTo: team: bob@contoso.test, c@x.test;\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
        Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
        Hello\r\nthere\r\n--b1\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: bob@contoso.test\r\n\r\ninner text\r\n\
        --b1\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b1--\r\nepilogue\r\n";

    fn fetch(octets: &str, attributes: &str) -> String {
        let message = Message {
            uid: 7,
            flags: BTreeSet::from(["\\Seen".to_owned()]),
            recent: false,
            internal_date: DateTime::UNIX_EPOCH,
            octets: octets.as_bytes().into(),
            changed: 0,
        };
        let mut parser = Parser::new(attributes.as_bytes());
        let attributes = read_attributes(&mut parser).filter(|_| parser.end().is_some());
        attributes.map_or("not understood".into(), |list| String::from_utf8(answer(1, &message, false, &list)).unwrap())
    }

    #[test]
    fn each_section_gives_its_octets_under_its_own_name() {
        for (asked, answered) in [
            ("BODY[1]", "BODY[1] {12}\r\nHello\r\nthere"),
            ("BODY.PEEK[1.MIME]", "BODY[1.MIME] {43}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"),
            ("BODY[2.HEADER]", "BODY[2.HEADER] {42}\r\nSubject: inner\r\nFrom: bob@contoso.test\r\n\r\n"),
            ("BODY[2.TEXT]", "BODY[2.TEXT] {10}\r\ninner text"),
            ("BODY[2.1]", "BODY[2.1] {10}\r\ninner text"),
            ("BODY[2.HEADER.FIELDS (subject)]", "BODY[2.HEADER.FIELDS (subject)] {18}\r\nSubject: inner\r\n\r\n"),
            ("BODY[3]", "BODY[3] {4}\r\nAAAA"),
            ("BODY[4]", "BODY[4] NIL"),
            ("BODY[1.HEADER]", "BODY[1.HEADER] NIL"),
            (
                "body[header.fields (Message-ID X)]",
                "BODY[HEADER.FIELDS (Message-ID X)] {21}\r\nMessage-ID: <1@x>\r\n\r\n",
            ),
            ("BODY[TEXT]<0.8>", "BODY[TEXT]<0> {8}\r\npreamble"),
            ("BODY[TEXT]<99999.8>", "BODY[TEXT]<99999> \"\""),
            ("(FLAGS UID)", "FLAGS (\\Seen) UID 7"),
            ("INTERNALDATE", "INTERNALDATE \"01-Jan-1970 00:00:00 +0000\""),
        ] {
            assert_eq!(fetch(NESTED, asked), format!("* 1 FETCH ({answered})\r\n"), "{asked}");
        }
        assert_eq!(fetch(NESTED, "BODY[]"), format!("* 1 FETCH (BODY[] {{{}}}\r\n{NESTED})\r\n", NESTED.len()));
        for asked in
            ["BODY[", "BODY[0]", "BODY[1.]", "BODY[MIME]", "BODY[]<0>", "(FLAGS", "NOTHING", "BODY[HEADER.FIELDS]"]
        {
            assert_eq!(fetch(NESTED, asked), "not understood", "{asked}");
        }
    }

    #[test]
    fn the_structure_names_every_part() {
        let inner = "((NIL NIL \"bob\" \"contoso.test\"))";
        let expected = format!(
            "* 1 FETCH (BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"7BIT\" 12 1 NIL NIL NIL NIL)\
             (\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 52 (NIL \"inner\" {inner} {inner} {inner} NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 10 0 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)\
             (\"application\" \"pdf\" (\"name\" \"a.pdf\") NIL NIL \"BASE64\" 4 NIL (\"attachment\" (\"filename\" \"a.pdf\")) NIL NIL) \
             \"mixed\" (\"boundary\" \"b1\") NIL NIL NIL))\r\n"
        );
        assert_eq!(fetch(NESTED, "BODYSTRUCTURE"), expected);
    }

    #[test]
    fn the_envelope_shows_the_header_as_written_and_groups_as_groups() {
        let ann = "((\"Ann\" NIL \"ann\" \"contoso.test\"))";
        let expected = format!(
            "* 1 FETCH (ENVELOPE (\"Mon, 23 Nov 2026 10:00:00 +0000\" \"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=\" {ann} {ann} {ann} \
             ((NIL NIL \"team\" NIL)(NIL NIL \"bob\" \"contoso.test\")(NIL NIL \"c\" \"x.test\")(NIL NIL NIL NIL)) \
             NIL NIL NIL \"<1@x>\"))\r\n"
        );
        assert_eq!(fetch(NESTED, "ENVELOPE"), expected);
    }

    #[test]
    fn a_message_without_parts_header_or_body_is_answered_too() {
        let text = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\"";
        for (octets, asked, answered) in [
            ("A: 1\r\n\r\nbody\r\n", "BODY[1]", "BODY[1] {6}\r\nbody\r\n".to_owned()),
            ("A: 1\r\n\r\nbody\r\n", "BODY", format!("BODY {text} 6 1)")),
            ("A: 1\r\n\r\n", "BODY[TEXT]", "BODY[TEXT] \"\"".to_owned()),
            ("A: 1", "RFC822.HEADER", "RFC822.HEADER {4}\r\nA: 1".to_owned()),
            ("", "(BODY[] BODY)", format!("BODY[] \"\" BODY {text} 0 0)")),
            ("\r\njust text", "BODY[TEXT]", "BODY[TEXT] {9}\r\njust text".to_owned()),
        ] {
            assert_eq!(fetch(octets, asked), format!("* 1 FETCH ({answered})\r\n"), "{octets:?} {asked}");
        }
    }
}
