//! The lines of commands (RFC 3501, section 9), as far as a watcher has to know where one ends.

use memchr::memchr;

use crate::wire::imap::{is_atom_octet, literal_at_end};

/// The longest line of a command, its end included: as long as clients may make one (RFC 7162, section 4). What a server does with a longer
/// one is not known, and it might take the rest of it for a command.
pub(super) const LONGEST_LINE_OCTETS: usize = 8192;

/// So many commands may be waiting for their answers.
pub(super) const MOST_UNANSWERED: usize = 1000;

/// The longest tag.
pub(super) const LONGEST_TAG_OCTETS: usize = 100;

/// A literal that the end of a line announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// So many.
    pub(super) octets: u64,
    /// The server is not asked.
    pub(super) unasked: bool,
}

/// What stands in front of the first space, and behind it.
pub(super) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', text) {
        Some(place) => (text.get(..place).unwrap_or_default(), text.get(place + 1..).unwrap_or_default()),
        None => (text.strip_suffix(b"\r\n").unwrap_or(text), &[]),
    }
}

/// Whether it can stand in front of a command.
pub(super) fn is_tag(text: &[u8]) -> bool {
    let is_fit = |octet: &u8| (is_atom_octet(*octet) || *octet == b']') && *octet != b'+';
    !text.is_empty()
        && !text.eq_ignore_ascii_case(b"DONE")
        && text.len() <= LONGEST_TAG_OCTETS
        && text.iter().all(is_fit)
}

/// Servers may disagree about what this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// The literal that the end of the arguments announces, if every server reads them alike.
pub(super) fn announced(arguments: &[u8]) -> Result<Option<Literal>, Unclear> {
    let (mut quoted, mut escaped) = (false, false);
    for octet in arguments {
        match (quoted, escaped, octet) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => quoted = !quoted,
            _ => {}
        }
    }
    if quoted {
        return Err(Unclear);
    }
    if arguments.last() != Some(&b'}') {
        return Ok(None);
    }
    let literal = literal_of(arguments).ok_or(Unclear)?;
    let begin = arguments.iter().rposition(|octet| *octet == b'{').unwrap_or_default();
    let before = begin.checked_sub(1).and_then(|place| arguments.get(place));
    // Of a name, or of a list; what sticks to something else is no literal, and `~{` announces what no command here has.
    match before {
        None | Some(b' ' | b'(') => Ok(Some(literal)),
        Some(_) => Err(Unclear),
    }
}

/// The literal that a line ends by announcing, wherever it stands.
pub(super) fn literal_of(text: &[u8]) -> Option<Literal> {
    literal_at_end(text).map(|octets| Literal { octets, unasked: text.ends_with(b"+}") })
}
