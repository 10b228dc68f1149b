//! IMAP4rev1 (RFC 3501): what a server says, read as far as login and relay need it.

use memchr::memchr;

/// A line of a server, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// `+ text`: go on.
    Continuation {
        /// What stands behind the `+`.
        text: &'a [u8],
    },
    /// `tag OK [code] text`, or the same with `*`.
    Status {
        /// The tag, or `None` for `*`.
        tag: Option<&'a [u8]>,
        /// What it says.
        status: Status,
        /// What stands in brackets.
        code: Option<&'a [u8]>,
        /// The text behind that.
        text: &'a [u8],
    },
    /// Any other untagged response.
    Data {
        /// What stands behind the `* `.
        text: &'a [u8],
    },
}

/// What a status response says (RFC 3501, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `OK`
    Ok,
    /// `NO`
    No,
    /// `BAD`
    Bad,
    /// `BYE`, untagged only
    Bye,
    /// `PREAUTH`, untagged only
    PreAuth,
}

/// A line is not a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line is not an IMAP response")]
pub struct MalformedResponse;

impl<'a> Response<'a> {
    /// Reads a line, already without its end.
    ///
    /// # Errors
    ///
    /// It is not a response.
    pub fn parse(line: &'a [u8]) -> Result<Self, MalformedResponse> {
        if let Some(rest) = line.strip_prefix(b"+") {
            // Exchange says `+` with and without a space behind it.
            return match rest.split_first() {
                None => Ok(Self::Continuation { text: rest }),
                Some((b' ', text)) => Ok(Self::Continuation { text }),
                Some(_) => Err(MalformedResponse),
            };
        }
        let (tag, rest) = split_word(line);
        let (word, text) = split_word(rest);
        let tag = match tag {
            b"" => return Err(MalformedResponse),
            b"*" => None,
            tag => Some(tag),
        };
        let status = match (word.to_ascii_uppercase().as_slice(), tag) {
            (b"OK", _) => Status::Ok,
            (b"NO", _) => Status::No,
            (b"BAD", _) => Status::Bad,
            (b"BYE", None) => Status::Bye,
            (b"PREAUTH", None) => Status::PreAuth,
            (b"", _) | (_, Some(_)) => return Err(MalformedResponse),
            (_, None) => return Ok(Self::Data { text: rest }),
        };
        let in_brackets = text.strip_prefix(b"[").and_then(|inside| {
            let end = memchr(b']', inside)?;
            let behind = inside.get(end + 1..)?;
            Some((inside.get(..end)?, behind.strip_prefix(b" ").unwrap_or(behind)))
        });
        Ok(match in_brackets {
            Some((code, text)) => Self::Status { tag, status, code: Some(code), text },
            None => Self::Status { tag, status, code: None, text },
        })
    }

    /// The capabilities in it, if it lists them: `* CAPABILITY …`, or the code of a status response.
    pub fn capabilities(&self) -> Option<Vec<String>> {
        let words = match self {
            Self::Data { text } => text,
            Self::Status { code: Some(code), .. } => code,
            _ => return None,
        };
        let (word, _) = split_word(words);
        word.eq_ignore_ascii_case(b"CAPABILITY").then(|| parse_capabilities(words))
    }
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', text) {
        Some(place) => (text.get(..place).unwrap_or_default(), text.get(place + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

/// Reads a list of capabilities; `* ` and `CAPABILITY` before it are skipped. What is no atom is left out, so that a list can
/// be said on.
pub fn parse_capabilities(words: &[u8]) -> Vec<String> {
    let words = words.strip_prefix(b"* ").unwrap_or(words);
    let atoms =
        words.split(|octet| *octet == b' ').filter(|word| !word.is_empty() && word.iter().all(|o| is_atom_octet(*o)));
    let texts = atoms.filter_map(|word| std::str::from_utf8(word).ok()).map(str::to_owned);
    texts.skip_while(|word| word.eq_ignore_ascii_case("CAPABILITY")).take(MAX_CAPABILITIES).collect()
}

/// Far more than any server has.
const MAX_CAPABILITIES: usize = 200;

/// What the client is told after login: what Exchange says, without the ways to log in again and without what makes old
/// clients speak a newer IMAP than they can.
pub fn welcome_capabilities(after_login: &[String]) -> Vec<String> {
    let hidden = |word: &str| {
        let word = word.to_ascii_uppercase();
        word.starts_with("AUTH=") || matches!(word.as_str(), "LOGINDISABLED" | "STARTTLS" | "ENABLE" | "IMAP4REV2")
    };
    let clean = |word: &&String| !word.is_empty() && word.bytes().all(is_atom_octet);
    let mut shown: Vec<String> = after_login.iter().filter(clean).filter(|word| !hidden(word)).cloned().collect();
    if !shown.iter().any(|word| word.eq_ignore_ascii_case("IMAP4rev1")) {
        shown.insert(0, "IMAP4rev1".to_owned());
    }
    shown
}

/// `ATOM-CHAR`: any CHAR except `atom-specials` (RFC 3501, section 9)
pub(crate) fn is_atom_octet(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet)
}

/// The length of the literal that a line ends by announcing: `{12}`, `{12+}`, `~{12}` (RFC 3501, section 4.3; RFC 7888;
/// RFC 3516). The line comes without its end.
pub fn literal_at_end(line: &[u8]) -> Option<u64> {
    let inside = line.strip_suffix(b"}")?;
    let inside = inside.strip_suffix(b"+").unwrap_or(inside);
    let digits = inside.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let (before, digits) = inside.split_at_checked(inside.len() - digits)?;
    if digits.is_empty() || before.last() != Some(&b'{') {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The same, if it stands where servers put one: behind a space or a parenthesis, or behind the `~` of a binary one. The name of a mailbox may
/// end in `x{5}` and mean nothing by it.
fn announced_at_end(line: &[u8]) -> Option<u64> {
    let octets = literal_at_end(line)?;
    let begin = line.iter().rposition(|octet| *octet == b'{')?;
    let before = begin.checked_sub(1).and_then(|place| line.get(place));
    matches!(before, Some(b' ' | b'(' | b'~')).then_some(octets)
}

/// Follows what the server sends, so that a `* BYE` can be put in where it belongs to nothing else.
#[derive(Debug)]
pub struct Boundary {
    /// How much of a literal is still to come.
    literal_octets: u64,
    /// A literal belongs to the response, so the line behind it does too.
    within: bool,
    /// The first octets of the response's first line, enough for a tag of a hundred octets, and to see `* PREAUTH `.
    head: Short<104>,
    /// The last octets of the line, enough for `{18446744073709551615+}` and a CR.
    tail: Short<26>,
}

impl Default for Boundary {
    fn default() -> Self {
        Self::new()
    }
}

impl Boundary {
    /// At the start of a response.
    pub fn new() -> Self {
        Self { literal_octets: 0, within: false, head: Short::new(), tail: Short::new() }
    }

    /// Follows these octets.
    pub fn observe(&mut self, bytes: &[u8]) {
        self.follow(bytes, |_| {});
    }

    /// Follows these octets, and tells the first octets of each response that ends in them, a hundred and four at most.
    pub fn follow(&mut self, mut bytes: &[u8], mut ended: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.literal_octets > 0 {
                let skipped = usize::try_from(self.literal_octets).unwrap_or(usize::MAX).min(bytes.len());
                self.literal_octets -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr(b'\n', bytes) else {
                self.keep(bytes);
                return;
            };
            self.keep(bytes.get(..end).unwrap_or_default());
            bytes = bytes.get(end + 1..).unwrap_or_default();
            let line = self.tail.as_slice();
            let literal =
                announced_at_end(line.strip_suffix(b"\r").unwrap_or(line)).filter(|_| self.may_hold_literals());
            self.tail = Short::new();
            self.literal_octets = literal.unwrap_or(0);
            self.within = literal.is_some();
            if !self.within {
                ended(self.head.as_slice());
                self.head = Short::new();
            }
        }
    }

    /// Whether the stream stands between two responses.
    pub fn between_responses(&self) -> bool {
        self.literal_octets == 0 && !self.within && self.head.as_slice().is_empty()
    }

    fn keep(&mut self, octets: &[u8]) {
        if !self.within {
            self.head.fill(octets);
        }
        self.tail.follow(octets);
    }

    /// Only untagged data does. The text of a status or a continuation may end in `{5}` and mean nothing by it.
    fn may_hold_literals(&self) -> bool {
        let head = self.head.as_slice().to_ascii_uppercase();
        let Some(rest) = head.strip_prefix(b"* ") else { return false };
        !matches!(split_word(rest).0, b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH")
    }
}

/// A few octets in place.
#[derive(Debug)]
struct Short<const N: usize> {
    octets: [u8; N],
    length: usize,
}

impl<const N: usize> Short<N> {
    fn new() -> Self {
        Self { octets: [0; N], length: 0 }
    }

    fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Keeps the first `N` octets.
    fn fill(&mut self, octets: &[u8]) {
        for octet in octets.iter().take(N - self.length) {
            if let Some(place) = self.octets.get_mut(self.length) {
                *place = *octet;
                self.length += 1;
            }
        }
    }

    /// Keeps the last `N` octets.
    fn follow(&mut self, octets: &[u8]) {
        let octets = octets.get(octets.len().saturating_sub(N)..).unwrap_or_default();
        let kept = self.length.min(N - octets.len());
        self.octets.copy_within(self.length - kept..self.length, 0);
        self.length = kept;
        self.fill(octets);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_the_server_is_told_apart() {
        let status = |tag: Option<&'static str>, status, code: Option<&'static str>, text: &'static str| {
            Ok(Response::Status {
                tag: tag.map(str::as_bytes),
                status,
                code: code.map(str::as_bytes),
                text: text.as_bytes(),
            })
        };
        for (line, expected) in [
            ("+", Ok(Response::Continuation { text: b"" })),
            ("+ ", Ok(Response::Continuation { text: b"" })),
            ("+ eyJ", Ok(Response::Continuation { text: b"eyJ" })),
            ("+x", Err(MalformedResponse)),
            (
                "* OK The Microsoft Exchange IMAP4 service is ready. [TQ]",
                status(None, Status::Ok, None, "The Microsoft Exchange IMAP4 service is ready. [TQ]"),
            ),
            ("* ok [CAPABILITY IMAP4rev1] hi", status(None, Status::Ok, Some("CAPABILITY IMAP4rev1"), "hi")),
            (
                "* BYE Session invalidated - AccessTokenExpired",
                status(None, Status::Bye, None, "Session invalidated - AccessTokenExpired"),
            ),
            ("* PREAUTH hi", status(None, Status::PreAuth, None, "hi")),
            ("a2 NO AUTHENTICATE failed.", status(Some("a2"), Status::No, None, "AUTHENTICATE failed.")),
            (
                "a3 BAD User is authenticated but not connected.",
                status(Some("a3"), Status::Bad, None, "User is authenticated but not connected."),
            ),
            ("a4 OK", status(Some("a4"), Status::Ok, None, "")),
            ("a4 BYE x", Err(MalformedResponse)),
            ("* CAPABILITY IMAP4", Ok(Response::Data { text: b"CAPABILITY IMAP4" })),
            ("* 3 EXISTS", Ok(Response::Data { text: b"3 EXISTS" })),
            ("* OK [UNCLOSED hi", status(None, Status::Ok, None, "[UNCLOSED hi")),
            ("*", Err(MalformedResponse)),
            ("", Err(MalformedResponse)),
            (" OK", Err(MalformedResponse)),
            ("a1", Err(MalformedResponse)),
            ("a1 MAYBE", Err(MalformedResponse)),
        ] {
            assert_eq!(Response::parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn capabilities_are_read_from_both_places_and_made_fit_for_the_client() {
        let data = Response::parse(
            b"* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ENABLE IMAP4rev2 LITERAL+",
        )
        .unwrap();
        let list = data.capabilities().unwrap();
        assert_eq!(list.len(), 10);
        assert_eq!(welcome_capabilities(&list).join(" "), "IMAP4 IMAP4rev1 SASL-IR UIDPLUS MOVE LITERAL+");
        let code = Response::parse(b"a OK [CAPABILITY IMAP4 starttls LoginDisabled IDLE] hi").unwrap();
        assert_eq!(welcome_capabilities(&code.capabilities().unwrap()).join(" "), "IMAP4rev1 IMAP4 IDLE");
        assert_eq!(welcome_capabilities(&["A\r\nB".to_owned(), "X]".to_owned(), String::new()]), ["IMAP4rev1"]);
        assert_eq!(Response::parse(b"* 3 EXISTS").unwrap().capabilities(), None);
    }

    #[test]
    fn a_literal_is_seen_at_the_end_of_a_line_only() {
        for (line, expected) in [
            ("* 1 FETCH (BODY[] {342}", Some(342)),
            ("a LOGIN {3+}", Some(3)),
            ("~{0}", Some(0)),
            ("{18446744073709551615}", Some(u64::MAX)),
            ("{18446744073709551616}", None),
            ("{}", None),
            ("{+}", None),
            ("{-1}", None),
            ("{3", None),
            ("3}", None),
            ("{3} ", None),
            ("", None),
        ] {
            assert_eq!(literal_at_end(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn the_boundary_counts_literals_and_is_not_fooled_by_what_is_in_them() {
        for (stream, expected) in [
            ("", true),
            ("* OK hi\r\n", true),
            ("* OK hi\r", false),
            ("* OK hi {5}\r\n", true),
            ("a1 NO hi {5}\r\n", true),
            ("+ hi {5}\r\n", true),
            ("* PREAUTH {5}\r\n", true),
            ("* 1 FETCH (BODY[] {9}\r\n", false),
            ("* 1 FETCH (BODY[] {9}\r\n\r\nA1 OK\r\n", false),
            ("* 1 FETCH (BODY[] {9}\r\n\r\nA1 OK\r\n)", false),
            ("* 1 FETCH (BODY[] {9}\r\n\r\nA1 OK\r\n)\r\n", true),
            ("* 1 FETCH (A {1}\r\nx B {2}\r\nyy)\r\n", true),
            ("* 1 FETCH (A {1}\r\nx B {2}\r\nyy", false),
            ("* LIST () \"/\" {0}\r\n", false),
            ("* LIST () \"/\" {0}\r\n\r\n", true),
            ("* 1 FETCH (A {18446744073709551615}\r\nabc\r\n", false),
        ] {
            let mut whole = Boundary::new();
            whole.observe(stream.as_bytes());
            assert_eq!(whole.between_responses(), expected, "{stream}");
            let mut single = Boundary::new();
            stream.bytes().for_each(|octet| single.observe(&[octet]));
            assert_eq!(single.between_responses(), expected, "{stream}, octet by octet");
        }
    }

    proptest! {
        #[test]
        fn any_split_leaves_the_boundary_at_the_same_place(
            words in proptest::collection::vec(prop_oneof![
                Just("* "), Just("OK"), Just("1 FETCH ("), Just("{3}"), Just("{1+}"), Just("\r\n"), Just("\n"), Just("abc"), Just("a1 OK "),
            ], 0..30),
            step in 1usize..9,
        ) {
            let stream = words.concat();
            let (mut whole, mut split) = (Boundary::new(), Boundary::new());
            whole.observe(stream.as_bytes());
            stream.as_bytes().chunks(step).for_each(|chunk| split.observe(chunk));
            prop_assert_eq!(whole.between_responses(), split.between_responses());
            prop_assert_eq!(whole.literal_octets, split.literal_octets);
        }
    }
}
