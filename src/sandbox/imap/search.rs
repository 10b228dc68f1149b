//! SEARCH: its keys, and whether a message meets them (RFC 3501, section 6.4.4).

use chrono::{DateTime, NaiveDate};
use mail_parser::parsers::MessageStream;
use mail_parser::{HeaderValue, MessageParser, PartType};

use crate::sandbox::imap::parse::{Parser, SequenceSet};
use crate::sandbox::imap::structure::{fields, raw_field, split_header};
use crate::sandbox::mailbox::Message;

/// A condition.
#[derive(Debug)]
pub(super) enum Key {
    All(Vec<Key>),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    Numbers(SequenceSet),
    Uids(SequenceSet),
    Flag(String),
    Recent,
    Larger(u32),
    Smaller(u32),
    /// Compares the day on which it arrived.
    Arrived(When, NaiveDate),
    /// Compares the day in its Date field.
    Sent(When, NaiveDate),
    Field(String, Vec<u8>),
    Body(Vec<u8>),
    Text(Vec<u8>),
}

/// How two days compare.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Before,
    On,
    Since,
}

/// Where a message stands, which a condition may ask for.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) last_number: u32,
    pub(super) last_uid: u32,
    /// The session was the first to be told of it.
    pub(super) recent: bool,
}

/// How deep conditions may be nested.
const DEPTH_LIMIT: usize = 50;

/// One or more keys; all of them must be met.
pub(super) fn read_keys(parser: &mut Parser<'_>) -> Option<Key> {
    read_list(parser, 0)
}

fn read_list(parser: &mut Parser<'_>, depth: usize) -> Option<Key> {
    let mut keys = vec![read_key(parser, depth)?];
    while parser.space().is_some() {
        keys.push(read_key(parser, depth)?);
    }
    Some(Key::All(keys))
}

fn read_key(parser: &mut Parser<'_>, depth: usize) -> Option<Key> {
    if depth > DEPTH_LIMIT {
        return None;
    }
    if parser.octet(b'(').is_some() {
        let list = read_list(parser, depth + 1)?;
        parser.octet(b')')?;
        return Some(list);
    }
    if parser.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        return Some(Key::Numbers(parser.sequence_set()?));
    }
    let mut after = parser.clone();
    let Some(name) = after.keyword() else {
        // `*` begins a set too.
        return Some(Key::Numbers(parser.sequence_set()?));
    };
    *parser = after;
    let flag = |name: &str| Key::Flag(name.to_owned());
    let not = |key| Key::Not(Box::new(key));
    Some(match name.as_str() {
        "ALL" => Key::All(Vec::new()),
        "ANSWERED" => flag("\\Answered"),
        "DELETED" => flag("\\Deleted"),
        "DRAFT" => flag("\\Draft"),
        "FLAGGED" => flag("\\Flagged"),
        "SEEN" => flag("\\Seen"),
        "UNANSWERED" => not(flag("\\Answered")),
        "UNDELETED" => not(flag("\\Deleted")),
        "UNDRAFT" => not(flag("\\Draft")),
        "UNFLAGGED" => not(flag("\\Flagged")),
        "UNSEEN" => not(flag("\\Seen")),
        "RECENT" => Key::Recent,
        "OLD" => not(Key::Recent),
        "NEW" => Key::All(vec![Key::Recent, not(flag("\\Seen"))]),
        "NOT" => {
            parser.space()?;
            not(read_key(parser, depth + 1)?)
        }
        "OR" => {
            parser.space()?;
            let first = read_key(parser, depth + 1)?;
            parser.space()?;
            Key::Or(Box::new(first), Box::new(read_key(parser, depth + 1)?))
        }
        "UID" => {
            parser.space()?;
            Key::Uids(parser.sequence_set()?)
        }
        "LARGER" | "SMALLER" => {
            parser.space()?;
            let size = parser.number()?;
            if name == "LARGER" { Key::Larger(size) } else { Key::Smaller(size) }
        }
        "BEFORE" | "ON" | "SINCE" | "SENTBEFORE" | "SENTON" | "SENTSINCE" => {
            parser.space()?;
            let day = parser.date()?;
            let when = match name.trim_start_matches("SENT") {
                "BEFORE" => When::Before,
                "ON" => When::On,
                _ => When::Since,
            };
            if name.starts_with("SENT") { Key::Sent(when, day) } else { Key::Arrived(when, day) }
        }
        "KEYWORD" | "UNKEYWORD" => {
            parser.space()?;
            let key = Key::Flag(parser.atom()?);
            if name == "KEYWORD" { key } else { not(key) }
        }
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => {
            parser.space()?;
            Key::Field(name, lower(&parser.astring()?))
        }
        "HEADER" => {
            parser.space()?;
            let field = String::from_utf8(parser.astring()?).ok()?;
            parser.space()?;
            Key::Field(field, lower(&parser.astring()?))
        }
        "BODY" | "TEXT" => {
            parser.space()?;
            let text = lower(&parser.astring()?);
            if name == "BODY" { Key::Body(text) } else { Key::Text(text) }
        }
        _ => return None,
    })
}

impl Key {
    /// Whether the message meets the condition. Texts are compared decoded and without regard to ASCII case, as the index
    /// of Exchange holds them: what a person reads is found, not how it was encoded.
    pub(super) fn is_met(&self, message: &Message, place: Place) -> bool {
        match self {
            Self::All(keys) => keys.iter().all(|key| key.is_met(message, place)),
            Self::Not(key) => !key.is_met(message, place),
            Self::Or(one, other) => one.is_met(message, place) || other.is_met(message, place),
            Self::Numbers(set) => set.contains(place.number, place.last_number),
            Self::Uids(set) => set.contains(message.uid, place.last_uid),
            Self::Flag(flag) => message.flags.iter().any(|held| held.eq_ignore_ascii_case(flag)),
            Self::Recent => place.recent,
            Self::Larger(size) => message.octets.len() > usize::try_from(*size).unwrap_or(usize::MAX),
            Self::Smaller(size) => message.octets.len() < usize::try_from(*size).unwrap_or(usize::MAX),
            Self::Arrived(when, day) => when.holds(message.internal_date.date_naive(), *day),
            Self::Sent(when, day) => {
                let date = raw_field(split_header(&message.octets).0, "Date");
                let date = date.and_then(|date| String::from_utf8(date).ok());
                let date = date.and_then(|date| DateTime::parse_from_rfc2822(&date).ok());
                date.is_some_and(|date| when.holds(date.date_naive(), *day))
            }
            Self::Field(name, text) => {
                raw_field(split_header(&message.octets).0, name).is_some_and(|field| holds_text(&decoded(&field), text))
            }
            Self::Body(text) => body_holds(&message.octets, text),
            Self::Text(text) => header_holds(&message.octets, text) || body_holds(&message.octets, text),
        }
    }
}

impl When {
    fn holds(self, day: NaiveDate, other: NaiveDate) -> bool {
        match self {
            Self::Before => day < other,
            Self::On => day == other,
            Self::Since => day >= other,
        }
    }
}

fn lower(text: &[u8]) -> Vec<u8> {
    text.to_ascii_lowercase()
}

fn holds_text(octets: &[u8], lower_text: &[u8]) -> bool {
    memchr::memmem::find(&lower(octets), lower_text).is_some()
}

/// A header field with its encoded words (RFC 2047) read.
fn decoded(field: &[u8]) -> Vec<u8> {
    let line = [field, b"\n"].concat();
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.as_bytes().to_vec(),
        _ => field.to_vec(),
    }
}

fn header_holds(octets: &[u8], lower_text: &[u8]) -> bool {
    fields(split_header(octets).0).any(|(_, field)| holds_text(&decoded(field), lower_text))
}

/// Whether a text part holds the text once its transfer encoding and charset are undone; of an embedded message any part.
fn body_holds(octets: &[u8], lower_text: &[u8]) -> bool {
    let Some(message) = MessageParser::default().parse(octets) else {
        return holds_text(split_header(octets).1, lower_text);
    };
    let mut messages = vec![&message];
    while let Some(message) = messages.pop() {
        for part in &message.parts {
            match &part.body {
                PartType::Text(text) | PartType::Html(text) if holds_text(text.as_bytes(), lower_text) => return true,
                PartType::Message(embedded) => messages.push(embedded),
                _ => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts_are_searched_as_a_person_reads_them() {
        let octets = b"From: =?utf-8?Q?J=C3=B6rg_Mann?= <j@x.test>\r\nSubject: =?utf-8?B?R3LDvMOfZSBhdXM=?=\r\n =?utf-8?Q?_dem_Norden?=\r\n\
            MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nVGhlIGNvZGUgd29yZCBpcyBaYW56aWJhcg==\r\n--b\r\nContent-Type: text/html\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>A long =\r\nway</p>\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
            Subject: inner\r\n\r\nthe xylophone\r\n--b--\r\n";
        let message = Message {
            uid: 1,
            flags: BTreeSet::new(),
            recent: false,
            internal_date: DateTime::UNIX_EPOCH,
            octets: octets.as_slice().into(),
            changed: 0,
        };
        let place = Place { number: 1, last_number: 1, last_uid: 1, recent: false };
        for (keys, expected) in [
            ("SUBJECT \"aus dem norden\"", true),
            ("HEADER Subject norden", true),
            ("FROM \"rg Mann\"", true),
            ("FROM j@x.test", true),
            ("SUBJECT utf-8", false),
            ("BODY zanzibar", true),
            ("BODY \"a long way\"", true),
            ("BODY xylophone", true),
            ("BODY norden", false),
            ("TEXT norden", true),
            ("TEXT zanzibar", true),
            ("BODY VGhlIGNvZGU", false),
        ] {
            let key = read_keys(&mut Parser::new(keys.as_bytes())).unwrap();
            assert_eq!(key.is_met(&message, place), expected, "{keys}");
        }
    }

    #[test]
    fn keys_are_met_or_not() {
        let octets = b"From: Ann <ann@x.test>\r\nSubject: Quarterly\r\n report\r\nDate: Mon, 23 Nov 2026 10:00:00 +0100\r\n\r\nHello World";
        let message = Message {
            uid: 40,
            flags: BTreeSet::from(["\\Seen".to_owned(), "$Later".to_owned()]),
            recent: false,
            internal_date: "2026-11-24T00:30:00Z".parse().unwrap(),
            octets: octets.as_slice().into(),
            changed: 0,
        };
        let place = Place { number: 3, last_number: 5, last_uid: 99, recent: true };
        for (keys, expected) in [
            ("ALL", Some(true)),
            ("UNSEEN", Some(false)),
            ("NEW", Some(false)),
            ("RECENT SEEN", Some(true)),
            ("KEYWORD $later UNKEYWORD $Other", Some(true)),
            ("2:4 UID 40", Some(true)),
            ("*", Some(false)),
            ("OR 1 SUBJECT \"quarterly REPORT\"", Some(true)),
            ("NOT (FROM ann BODY world)", Some(false)),
            ("BODY quarterly", Some(false)),
            ("TEXT quarterly", Some(true)),
            ("HEADER X-None \"\"", Some(false)),
            ("HEADER Subject \"\"", Some(true)),
            ("SENTON 23-Nov-2026 SINCE 24-Nov-2026 BEFORE 25-Nov-2026", Some(true)),
            ("ON 23-Nov-2026", Some(false)),
            ("LARGER 10 SMALLER 10", Some(false)),
            ("FROM {3}\r\nann", Some(true)),
            ("", None),
            ("NOT", None),
            ("SINCE yesterday", None),
            ("(ALL", None),
            ("NONSENSE", None),
        ] {
            let mut parser = Parser::new(keys.as_bytes());
            let read = read_keys(&mut parser).filter(|_| parser.end().is_some());
            assert_eq!(read.map(|key| key.is_met(&message, place)), expected, "{keys}");
        }
    }
}
