//! Reading IMAP commands: a whole command, its literals included, taken apart from the left (RFC 3501, section 9).

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};

/// What is left of a command. Every reader takes what it names from the front, or gives `None` and the command is wrong.
#[derive(Clone)]
pub(super) struct Parser<'a> {
    rest: &'a [u8],
}

/// A set of message numbers or UIDs: `sequence-set = (seq-number / seq-range) ["," sequence-set]`, `*` being the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SequenceSet(Vec<(Option<u32>, Option<u32>)>);

impl SequenceSet {
    /// Whether a number is in the set, `last` being what `*` stands for.
    pub(super) fn contains(&self, number: u32, last: u32) -> bool {
        self.0.iter().any(|(from, to)| {
            let (from, to) = (from.unwrap_or(last), to.unwrap_or(last));
            (from.min(to)..=from.max(to)).contains(&number)
        })
    }
}

impl<'a> Parser<'a> {
    pub(super) fn new(command: &'a [u8]) -> Self {
        Self { rest: command }
    }

    /// The tag in front of a command.
    pub(super) fn tag(&mut self) -> Option<String> {
        let tag = self.take_while(|octet| is_atom(octet) && octet != b'+')?;
        Some(String::from_utf8_lossy(tag).into_owned())
    }

    pub(super) fn atom(&mut self) -> Option<String> {
        self.take_while(is_atom).map(|atom| String::from_utf8_lossy(atom).into_owned())
    }

    /// An atom in capital letters: the name of a command, an attribute, a search key.
    pub(super) fn keyword(&mut self) -> Option<String> {
        self.atom().map(|atom| atom.to_ascii_uppercase())
    }

    /// The name of a FETCH attribute, which may be followed by brackets.
    pub(super) fn attribute(&mut self) -> Option<String> {
        let name = self.take_while(|octet| octet.is_ascii_alphanumeric() || octet == b'.')?;
        Some(String::from_utf8_lossy(name).to_ascii_uppercase())
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        let digits = self.take_while(|octet| octet.is_ascii_digit())?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    pub(super) fn space(&mut self) -> Option<()> {
        self.octet(b' ')
    }

    /// This octet and no other.
    pub(super) fn octet(&mut self, octet: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        if *first != octet {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    /// The next octet, not taken.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// There must be nothing left.
    pub(super) fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    /// Everything that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn astring(&mut self) -> Option<Vec<u8>> {
        self.string_or(|octet| is_atom(octet) || octet == b']')
    }

    /// The name of a folder.
    pub(super) fn mailbox(&mut self) -> Option<String> {
        String::from_utf8(self.astring()?).ok()
    }

    /// The pattern of LIST: `%` and `*` may stand in it.
    pub(super) fn list_mailbox(&mut self) -> Option<String> {
        let pattern = self.string_or(|octet| is_atom(octet) || matches!(octet, b']' | b'%' | b'*'))?;
        String::from_utf8(pattern).ok()
    }

    pub(super) fn sequence_set(&mut self) -> Option<SequenceSet> {
        let mut ranges = Vec::new();
        loop {
            let from = self.sequence_number()?;
            let to = if self.octet(b':').is_some() { self.sequence_number()? } else { from };
            ranges.push((from, to));
            if self.octet(b',').is_none() {
                return Some(SequenceSet(ranges));
            }
        }
    }

    /// Flags in parentheses, or without.
    pub(super) fn flags(&mut self) -> Option<BTreeSet<String>> {
        let in_list = self.octet(b'(').is_some();
        let mut flags = BTreeSet::new();
        while self.peek().is_some_and(|octet| octet == b'\\' || is_atom(octet)) {
            let system = self.octet(b'\\').is_some();
            let name = self.atom()?;
            flags.insert(if system { system_flag(&name)? } else { name });
            if self.space().is_none() {
                break;
            }
        }
        if in_list {
            self.octet(b')')?;
        }
        Some(flags)
    }

    /// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
    pub(super) fn date_time(&mut self) -> Option<DateTime<Utc>> {
        let text = String::from_utf8(self.quoted()?).ok()?;
        let read = DateTime::parse_from_str(text.trim_start(), "%d-%b-%Y %H:%M:%S %z").ok()?;
        Some(read.with_timezone(&Utc))
    }

    /// `date = date-text / DQUOTE date-text DQUOTE`
    pub(super) fn date(&mut self) -> Option<NaiveDate> {
        let text = String::from_utf8(self.astring()?).ok()?;
        NaiveDate::parse_from_str(text.trim_start(), "%d-%b-%Y").ok()
    }

    fn sequence_number(&mut self) -> Option<Option<u32>> {
        if self.octet(b'*').is_some() {
            return Some(None);
        }
        self.number().filter(|number| *number > 0).map(Some)
    }

    fn string_or(&mut self, bare: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'{' => self.literal(),
            _ => self.take_while(bare).map(<[u8]>::to_vec),
        }
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        self.octet(b'"')?;
        let mut text = Vec::new();
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match first {
                b'"' => return Some(text),
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    if !matches!(escaped, b'"' | b'\\') {
                        return None;
                    }
                    self.rest = rest;
                    text.push(*escaped);
                }
                b'\r' | b'\n' | 0 => return None,
                other => text.push(*other),
            }
        }
    }

    /// `literal = "{" number ["+"] "}" CRLF *CHAR8` (RFC 3501, RFC 7888)
    pub(super) fn literal(&mut self) -> Option<Vec<u8>> {
        self.octet(b'{')?;
        let size = usize::try_from(self.number()?).ok()?;
        let _ = self.octet(b'+');
        self.octet(b'}')?;
        self.octet(b'\r')?;
        self.octet(b'\n')?;
        let (literal, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(literal.to_vec())
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
        let size = self.rest.iter().take_while(|octet| belongs(**octet)).count();
        let (taken, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        (size > 0).then_some(taken)
    }
}

/// How many octets follow a line that ends with `{n}` or `{n+}`, and whether the client waits to be told to send them.
pub(super) fn literal_at_end(line: &[u8]) -> Option<(usize, bool)> {
    let open = memchr::memrchr(b'{', line)?;
    let inner = line.get(open + 1..)?.strip_suffix(b"}")?;
    let (digits, waits) = inner.strip_suffix(b"+").map_or((inner, true), |digits| (digits, false));
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    Some((digits.parse().ok()?, waits))
}

/// `atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / resp-specials`
fn is_atom(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet)
}

/// The flags that begin with a backslash, as we write them; no others exist, and `\Recent` is not for clients to set.
fn system_flag(name: &str) -> Option<String> {
    ["Answered", "Deleted", "Draft", "Flagged", "Seen"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
        .map(|known| format!("\\{known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_atoms_quoted_or_literals() {
        for (text, expected) in [
            (&b"abc]d rest"[..], Some(&b"abc]d"[..])),
            (b"\"a \\\"b\\\\\" rest", Some(b"a \"b\\")),
            (b"{5}\r\na b\r\n rest", Some(b"a b\r\n")),
            (b"{3+}\r\nabc rest", Some(b"abc")),
            (b"{9}\r\nabc", None), // shorter than it says
            (b"\"abc", None),      // not closed
            (b"\"a\\b\"", None),   // no such escape
            (b"(abc)", None),
            (b"", None),
        ] {
            assert_eq!(Parser::new(text).astring().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_sequence_set_holds_its_ranges_in_either_direction_and_the_star_is_the_last() {
        let set = Parser::new(b"2,5:4,8:*").sequence_set().unwrap();
        let held: Vec<u32> = (1..=10).filter(|number| set.contains(*number, 9)).collect();
        assert_eq!(held, [2, 4, 5, 8, 9]);
        // `559:*` holds the last message even if it is below 559 (RFC 3501, section 9).
        assert!(Parser::new(b"559:*").sequence_set().unwrap().contains(4, 4));
        assert_eq!(Parser::new(b"0").sequence_set(), None);
        assert_eq!(Parser::new(b"1:").sequence_set(), None);
    }

    #[test]
    fn the_literal_at_the_end_of_a_line_says_how_much_follows_and_who_waits() {
        for (line, expected) in [
            (&b"a LOGIN {5}"[..], Some((5, true))),
            (b"a LOGIN {5+}", Some((5, false))),
            (b"a LOGIN {}", None),
            (b"a LOGIN {5} ", None),
            (b"a LOGIN {-5}", None),
            (b"a LOGIN 5}", None),
        ] {
            assert_eq!(literal_at_end(line), expected, "{line:?}");
        }
    }

    #[test]
    fn flags_are_read_in_any_case_and_unknown_system_flags_are_refused() {
        let flags =
            |text: &str| Parser::new(text.as_bytes()).flags().map(|flags| flags.into_iter().collect::<Vec<_>>());
        assert_eq!(flags("(\\SEEN $Label \\draft)"), Some(vec!["$Label".into(), "\\Draft".into(), "\\Seen".into()]));
        assert_eq!(flags("\\Deleted"), Some(vec!["\\Deleted".into()]));
        assert_eq!(flags("()"), Some(vec![]));
        assert_eq!(flags("(\\Recent)"), None);
        assert_eq!(flags("(\\Seen"), None);
    }
}
