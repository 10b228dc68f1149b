//! An IMAP command of a client before login: its tag, its verb and its arguments, gathered over lines and literals.
//!
//! `command = tag SP command-name *(SP argument) CRLF` (RFC 3501, section 9). Arguments are read strictly; what another server
//! might read differently is refused. Two exceptions: octets over 127 stand in quoted strings, because that is where old
//! clients put passwords with umlauts; and `\` stands in atoms, because Python's imaplib sends `LOGIN user\shared` bare, as
//! everyone did to Exchange.

use crate::base::Secret;
use crate::wire::imap::is_atom_octet;

/// A command, as far as it has come.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The tag, if it may be said back.
    pub(super) tag: Option<Vec<u8>>,
    /// The command's name in upper case; empty if it is none that we know.
    pub(super) verb: Vec<u8>,
    /// What stands behind it.
    pub(super) arguments: Vec<Token>,
    /// The arguments cannot be read, whatever comes.
    pub(super) malformed: bool,
    text_octets: usize,
    literal_octets: usize,
}

/// A piece of the arguments.
#[derive(Debug)]
pub(super) enum Token {
    Space,
    Open,
    Close,
    /// An atom; it may hold `]` (`ASTRING-CHAR`) and `\`, and be a password.
    Atom(Secret<Vec<u8>>),
    /// A quoted string or a literal.
    Text(Secret<Vec<u8>>),
}

/// A field of ID and its value; `None` is NIL.
pub(super) type Pair = (Vec<u8>, Option<Vec<u8>>);

/// `{12}` or `{12+}` at the end of a line (RFC 3501, section 4.3; RFC 7888).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// How long it is; as much as possible if the number has no end.
    pub(super) octets: u64,
    /// Whether the client waits for our `+`.
    pub(super) waits: bool,
}

/// A command is longer than we read before login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// All the literals of one command together.
pub(super) const LITERAL_OCTETS: usize = 64 * 1024;
/// All the lines of one command together.
pub(super) const TEXT_OCTETS: usize = 8192;
/// More than any ID has (RFC 2971, section 3.3: 30 pairs).
const MAX_TOKENS: usize = 256;
/// As Dovecot has it.
const MAX_TAG_OCTETS: usize = 126;

impl Gathered {
    /// Begins with the first line of a command, without the literal it ends by announcing.
    ///
    /// The tag is kept only if a known command follows it: what looks like a tag may be a password that lost its way.
    pub(super) fn begin(line: &[u8]) -> Self {
        let mut words = line.splitn(3, |octet| *octet == b' ');
        let (tag, name, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
        let tag_fine = (1..=MAX_TAG_OCTETS).contains(&tag.len())
            && tag.iter().all(|octet| *octet != b'+' && is_astring_octet(*octet));
        let name = name.to_ascii_uppercase();
        let known = tag_fine && KNOWN.iter().any(|known| known.as_bytes() == name);
        let mut gathered = Self {
            tag: known.then(|| tag.to_vec()),
            verb: if known { name } else { Vec::new() },
            arguments: Vec::new(),
            malformed: !known,
            text_octets: line.len(),
            literal_octets: 0,
        };
        if let Some(rest) = rest {
            gathered.arguments.push(Token::Space);
            gathered.read(rest);
        }
        gathered
    }

    /// Goes on with a line that follows a literal.
    ///
    /// # Errors
    ///
    /// The lines of the command are too long together.
    pub(super) fn go_on(&mut self, line: &[u8]) -> Result<(), TooLong> {
        // Each line costs something, even an empty one.
        self.text_octets += line.len() + 2;
        if self.text_octets > TEXT_OCTETS {
            return Err(TooLong);
        }
        self.read(line);
        Ok(())
    }

    /// Makes room for a literal.
    ///
    /// # Errors
    ///
    /// The literals of the command are too long together. Nothing was reserved.
    pub(super) fn expect(&mut self, announced: Announced) -> Result<usize, TooLong> {
        let octets = usize::try_from(announced.octets).map_err(|_| TooLong)?;
        let total = self.literal_octets.checked_add(octets).filter(|total| *total <= LITERAL_OCTETS).ok_or(TooLong)?;
        self.literal_octets = total;
        Ok(octets)
    }

    /// Takes a literal that has come whole.
    pub(super) fn literal(&mut self, octets: Vec<u8>) {
        self.malformed |= octets.contains(&0);
        self.push(Token::Text(Secret::new(octets)));
    }

    fn push(&mut self, token: Token) {
        if self.arguments.len() < MAX_TOKENS {
            self.arguments.push(token);
        } else {
            self.malformed = true;
        }
    }

    fn read(&mut self, mut text: &[u8]) {
        while let (Some((&octet, rest)), false) = (text.split_first(), self.malformed) {
            text = rest;
            match octet {
                b' ' => self.push(Token::Space),
                b'(' => self.push(Token::Open),
                b')' => self.push(Token::Close),
                b'"' => match quoted(rest) {
                    Some((string, rest)) => {
                        self.push(Token::Text(string));
                        text = rest;
                    }
                    None => self.malformed = true,
                },
                _ => {
                    let length = rest.iter().take_while(|octet| is_argument_octet(**octet)).count();
                    let (more, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    self.malformed |= !is_argument_octet(octet);
                    self.push(Token::Atom(Secret::new([&[octet], more].concat())));
                    text = rest;
                }
            }
        }
    }

    /// `SP astring SP astring`, the arguments of LOGIN.
    pub(super) fn two_strings(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match self.arguments.as_slice() {
            [Token::Space, login, Token::Space, password] if !self.malformed => {
                Some((login.string()?, password.string()?))
            }
            _ => None,
        }
    }

    /// `SP atom [SP atom]`, the arguments of AUTHENTICATE. An initial response is base64 or `=`, read apart from atoms.
    pub(super) fn one_or_two_atoms(&self) -> Option<(&[u8], Option<&[u8]>)> {
        match self.arguments.as_slice() {
            _ if self.malformed => None,
            [Token::Space, Token::Atom(first)] => Some((first.expose(), None)),
            [Token::Space, Token::Atom(first), Token::Space, Token::Atom(second)] => {
                Some((first.expose(), Some(second.expose())))
            }
            _ => None,
        }
    }

    /// `SP ("(" [string SP nstring *(SP string SP nstring)] ")" / nil)`, the argument of ID (RFC 2971, section 3.1), as pairs.
    pub(super) fn pairs(&self) -> Option<Vec<Pair>> {
        let list = match self.arguments.as_slice() {
            _ if self.malformed => return None,
            [Token::Space, Token::Atom(nil)] if nil.expose().eq_ignore_ascii_case(b"NIL") => return Some(Vec::new()),
            [Token::Space, Token::Open, list @ .., Token::Close] => list,
            _ => return None,
        };
        if list.is_empty() {
            return Some(Vec::new());
        }
        let words: Option<Vec<&Token>> = list
            .chunks(2)
            .map(|chunk| match chunk {
                [word @ (Token::Text(_) | Token::Atom(_)), Token::Space]
                | [word @ (Token::Text(_) | Token::Atom(_))] => Some(word),
                _ => None,
            })
            .collect();
        // A space behind the last word leaves an even number of tokens.
        let words = words.filter(|words| words.len() % 2 == 0 && list.len() % 2 == 1)?;
        words
            .chunks(2)
            .map(|pair| match pair {
                [Token::Text(field), Token::Text(value)] => {
                    Some((field.expose().clone(), Some(value.expose().clone())))
                }
                [Token::Text(field), Token::Atom(nil)] if nil.expose().eq_ignore_ascii_case(b"NIL") => {
                    Some((field.expose().clone(), None))
                }
                _ => None,
            })
            .collect()
    }
}

impl Token {
    fn string(&self) -> Option<Vec<u8>> {
        match self {
            Self::Atom(text) | Self::Text(text) => Some(text.expose().clone()),
            _ => None,
        }
    }
}

impl Announced {
    /// Takes the announcement off the end of a line. What is in the braces is digits, or it announces nothing.
    pub(super) fn split_from(line: &[u8]) -> (&[u8], Option<Self>) {
        let found = line.strip_suffix(b"}").and_then(|inside| {
            let (inside, waits) = inside.strip_suffix(b"+").map_or((inside, true), |inside| (inside, false));
            let digits = inside.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
            let (before, digits) = inside.split_at_checked(inside.len() - digits)?;
            let before = before.strip_suffix(b"{")?;
            // A number that does not fit is one that is too large, not one that is none.
            let octets =
                std::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty())?.parse().unwrap_or(u64::MAX);
            Some((before, Self { octets, waits }))
        });
        match found {
            Some((before, announced)) => (before, Some(announced)),
            None => (line, None),
        }
    }
}

fn is_astring_octet(octet: u8) -> bool {
    octet == b']' || is_atom_octet(octet)
}

fn is_argument_octet(octet: u8) -> bool {
    octet == b'\\' || is_astring_octet(octet)
}

/// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`, the first quote gone; `\` stands before `"` and `\` only.
fn quoted(text: &[u8]) -> Option<(Secret<Vec<u8>>, &[u8])> {
    // As long as the text, so that it never moves and leaves a copy of a password behind.
    let mut string = Vec::with_capacity(text.len());
    let mut octets = text.iter().enumerate();
    while let Some((place, octet)) = octets.next() {
        match octet {
            b'"' => return Some((Secret::new(string), text.get(place + 1..)?)),
            b'\\' => match octets.next() {
                Some((_, escaped @ (b'"' | b'\\'))) => string.push(*escaped),
                _ => return None,
            },
            octet => string.push(*octet),
        }
    }
    None
}

/// The commands of IMAP and of the extensions that clients use. Before login most are refused, but under their tag.
#[rustfmt::skip]
const KNOWN: &[&str] = &[
    "APPEND", "AUTHENTICATE", "CAPABILITY", "CHECK", "CLOSE", "COMPRESS", "COPY", "CREATE", "DELETE", "DELETEACL", "ENABLE",
    "EXAMINE", "EXPUNGE", "FETCH", "GETACL", "GETMETADATA", "GETQUOTA", "GETQUOTAROOT", "ID", "IDLE", "LIST", "LISTRIGHTS", "LOGIN",
    "LOGOUT", "LSUB", "MOVE", "MYRIGHTS", "NAMESPACE", "NOOP", "NOTIFY", "RENAME", "SEARCH", "SELECT", "SETACL", "SETMETADATA",
    "SETQUOTA", "SORT", "STARTTLS", "STATUS", "STORE", "SUBSCRIBE", "THREAD", "UID", "UNSELECT", "UNSUBSCRIBE", "XLIST",
];

#[cfg(test)]
#[path = "imap_command_tests.rs"]
mod tests;
