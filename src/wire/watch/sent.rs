//! Copies of sent messages that a mail program files itself, by APPEND (RFC 3501, section 6.3.11), where Exchange has filed one already.
//!
//! All passes as it is but an APPEND to the folder of sent messages. That one is held back until the header of its message is there: we say
//! `+` in the server's place, and somebody else says whether the copy is one too many. If so the rest of it is read and dropped, and the
//! client hears OK; if not, everything goes on, as a literal of which the server is not asked any more (RFC 7888).
//!
//! This guards nothing: what cannot be followed with certainty passes, and so does everything behind it. At worst a copy is there twice.

use memchr::{memchr, memmem};

use crate::wire::folder_name::decoded;
use crate::wire::header::copied_message_id;
use crate::wire::imap::Boundary;
use crate::wire::watch::command::{LONGEST_LINE_OCTETS, MOST_UNANSWERED, announced, is_tag, literal_of, split};

/// As much of a message is held back until its header has ended.
const LONGEST_HEADER_OCTETS: usize = 64 * 1024;

/// A message that is larger passes: Exchange takes none of more than 35 MB by APPEND, and is to be asked.
const LARGEST_COPY_OCTETS: u64 = 35_000_000;

/// The longest ends of lines that announce a literal: `{18446744073709551615+}` and CRLF.
const TAIL_OCTETS: usize = 26;

/// The folder of sent messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentFolder {
    /// It has this name.
    Named(String),
    /// It has one of these.
    OneOf(&'static [&'static str]),
}

impl SentFolder {
    /// Whether a name, as it stands in commands, is its.
    fn is(&self, name: &str) -> bool {
        let name = decoded(name);
        match self {
            Self::Named(own) => name == *own,
            Self::OneOf(names) => names.contains(&name.as_str()),
        }
    }
}

/// A message that a client files among those it has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCopy {
    /// Its Message-ID, without angle brackets.
    pub message_id: String,
    /// How large it is.
    pub octets: u64,
}

/// Watches for copies of sent messages.
#[derive(Debug)]
pub struct SentWatch {
    folder: SentFolder,
    /// The server reads literals of which it is not asked.
    takes_unasked: bool,
    state: State,
    /// The line that is being gathered; of one that is not needed its end.
    line: Vec<u8>,
    boundary: Boundary,
    /// The tag of the command that is being said.
    tag: Vec<u8>,
    /// The tags of the commands that went on and have no tagged response yet.
    unanswered: Vec<Vec<u8>>,
    /// The client has said IDLE, and not DONE.
    idles: bool,
    /// What is said cannot be followed with certainty.
    gives_up: bool,
    filing: Filing,
    question: Option<SentCopy>,
    /// What the client is to be told, once everything before is answered.
    answer: Option<Vec<u8>>,
    dropped: u64,
}

/// An APPEND that is held back.
#[derive(Debug, Default)]
struct Filing {
    /// Its line, without its end.
    line: Vec<u8>,
    octets: u64,
    /// As much of the message as has come.
    content: Vec<u8>,
    /// More comes behind the message.
    is_more: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a line, the first of a command or one behind a literal.
    Line { is_first: bool },
    /// The server is to say whether it takes a literal of so many octets.
    AwaitLiteral(u64),
    /// Within a literal that goes on.
    Literal(u64),
    /// The client is to be told to go on with its message.
    Invite,
    /// The message comes, and is held back.
    Head,
    /// Somebody is asked what becomes of it.
    Asked,
    /// It goes on.
    GoesOn,
    /// It does not, and so much of it is still to come.
    Drop(u64),
    /// In the line behind it.
    DropBehind,
    /// Everything passes.
    Open,
}

const COMMAND: State = State::Line { is_first: true };
const BEHIND: State = State::Line { is_first: false };

impl SentWatch {
    /// One that stands behind a login, for this folder; whether the server takes literals of which it is not asked (LITERAL+).
    pub fn new(folder: SentFolder, takes_unasked: bool) -> Self {
        Self {
            folder,
            takes_unasked,
            state: COMMAND,
            line: Vec::new(),
            boundary: Boundary::new(),
            tag: Vec::new(),
            unanswered: Vec::new(),
            idles: false,
            gives_up: false,
            filing: Filing::default(),
            question: None,
            answer: None,
            dropped: 0,
        }
    }

    pub(super) fn client(&mut self, octets: &[u8], onward: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        loop {
            let rest = octets.get(taken..).unwrap_or_default();
            if self.gives_up {
                self.give_up(onward);
            }
            match self.state {
                State::AwaitLiteral(_) | State::Invite | State::Asked => return taken,
                // Whoever waits for an answer of ours says nothing more before it.
                _ if self.answer.is_some() => return taken,
                State::GoesOn => self.goes_on(onward),
                _ if rest.is_empty() => return taken,
                State::Open => {
                    onward.extend_from_slice(rest);
                    return octets.len();
                }
                State::Literal(left) => {
                    let now = at_most(left, rest);
                    onward.extend_from_slice(now);
                    taken += now.len();
                    self.literal(left - now.len() as u64);
                }
                State::Head => {
                    let filing = &mut self.filing;
                    let before = filing.content.len();
                    let room = (LONGEST_HEADER_OCTETS - before) as u64;
                    let now = at_most((filing.octets - before as u64).min(room), rest);
                    filing.content.extend_from_slice(now);
                    taken += now.len();
                    self.header_came(before);
                }
                State::Drop(left) => {
                    let now = at_most(left, rest).len();
                    taken += now;
                    self.drops(left - now as u64);
                }
                State::DropBehind => {
                    let now = line_of(rest);
                    taken += now.len();
                    if self.keep_tail(now) {
                        self.dropped_ends();
                    }
                }
                State::Line { is_first } => {
                    let now = line_of(rest);
                    if self.line.len() + now.len() > LONGEST_LINE_OCTETS {
                        // What a server does with such a line is not known.
                        self.gives_up = true;
                        continue;
                    }
                    self.line.extend_from_slice(now);
                    taken += now.len();
                    if now.ends_with(b"\n") {
                        let line = std::mem::take(&mut self.line);
                        self.line_ends(&line, is_first, onward);
                    }
                }
            }
        }
    }

    fn line_ends(&mut self, line: &[u8], is_first: bool, onward: &mut Vec<u8>) {
        let text = line.strip_suffix(b"\r\n").unwrap_or_default();
        let is_plain = line.ends_with(b"\r\n") && !text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0));
        let ends_idle = std::mem::take(&mut self.idles);
        let (Ok(literal), true) = (announced(text), is_plain) else {
            self.passes_with_all(line, onward);
            return;
        };
        if ends_idle && literal.is_some() {
            self.passes_with_all(line, onward);
            return;
        }
        if is_first && !ends_idle {
            let (tag, rest) = split(text);
            let (verb, arguments) = split(rest);
            let is_command = is_tag(tag) && !verb.is_empty();
            // What is behind these is another language; and where no answer would be known to be one, none is waited for.
            let is_the_end = verb.eq_ignore_ascii_case(b"COMPRESS")
                || verb.eq_ignore_ascii_case(b"STARTTLS")
                || (literal.is_some() && !is_command)
                || self.unanswered.len() >= MOST_UNANSWERED;
            if is_the_end {
                self.passes_with_all(line, onward);
                return;
            }
            self.tag = tag.to_vec();
            if verb.eq_ignore_ascii_case(b"APPEND")
                && let Some(literal) = literal
                && (1..=LARGEST_COPY_OCTETS).contains(&literal.octets)
                && (literal.unasked || self.takes_unasked)
                && folder_of(arguments).is_some_and(|name| self.folder.is(&name))
            {
                self.state = if literal.unasked { State::Head } else { State::Invite };
                self.filing = Filing { line: text.to_vec(), octets: literal.octets, ..Filing::default() };
                return;
            }
            if is_command {
                self.unanswered.push(self.tag.clone());
                self.idles = verb.eq_ignore_ascii_case(b"IDLE");
            }
        }
        onward.extend_from_slice(line);
        match literal {
            None => self.state = COMMAND,
            Some(literal) if literal.unasked => self.literal(literal.octets),
            Some(literal) => self.state = State::AwaitLiteral(literal.octets),
        }
    }

    /// A line goes on, and so does everything behind it.
    fn passes_with_all(&mut self, line: &[u8], onward: &mut Vec<u8>) {
        onward.extend_from_slice(line);
        self.gives_up = true;
        self.state = State::Open;
    }

    /// So much of a literal that goes on is still to come.
    fn literal(&mut self, left: u64) {
        self.state = if left > 0 { State::Literal(left) } else { BEHIND };
    }

    /// So much of a message that does not go on is still to come.
    fn drops(&mut self, left: u64) {
        self.state = if left > 0 { State::Drop(left) } else { State::DropBehind };
    }

    /// From now on everything passes; a message that is held back is dealt with first.
    fn give_up(&mut self, onward: &mut Vec<u8>) {
        match self.state {
            State::Line { .. } => onward.append(&mut self.line),
            // Nobody has been asked for it yet.
            State::Invite => {
                onward.append(&mut self.filing.line);
                onward.extend_from_slice(b"\r\n");
            }
            State::AwaitLiteral(_) | State::Literal(_) => {}
            State::Open | State::Head | State::Asked | State::GoesOn | State::Drop(_) | State::DropBehind => return,
        }
        self.state = State::Open;
    }

    /// Keeps the end of a line of which the rest is of no use. True: that is its end.
    fn keep_tail(&mut self, piece: &[u8]) -> bool {
        self.line.extend_from_slice(piece.get(piece.len().saturating_sub(TAIL_OCTETS)..).unwrap_or_default());
        self.line.drain(..self.line.len().saturating_sub(TAIL_OCTETS));
        piece.ends_with(b"\n")
    }

    /// More of the message has come, behind so many octets.
    fn header_came(&mut self, before: usize) {
        let Filing { content, octets, .. } = &self.filing;
        let ends = content.get(before.saturating_sub(3)..).is_some_and(|new| memmem::find(new, b"\r\n\r\n").is_some());
        let is_there = ends || content.starts_with(b"\r\n") || content.len() as u64 == *octets;
        if is_there {
            self.question = copied_message_id(content).map(|message_id| SentCopy { message_id, octets: *octets });
        } else if content.len() < LONGEST_HEADER_OCTETS {
            return;
        }
        self.state = if self.question.is_some() { State::Asked } else { State::GoesOn };
    }

    pub(super) fn question(&mut self) -> Option<SentCopy> {
        self.question.take()
    }

    pub(super) fn told(&mut self, is_filed: bool) {
        if self.state != State::Asked {
            return;
        }
        match is_filed {
            true => {
                let content = std::mem::take(&mut self.filing.content);
                self.drops(self.filing.octets - content.len() as u64);
            }
            false => self.state = State::GoesOn,
        }
    }

    fn goes_on(&mut self, onward: &mut Vec<u8>) {
        let Filing { line, octets, content, .. } = std::mem::take(&mut self.filing);
        onward.extend_from_slice(line.strip_suffix(b"+}").or(line.strip_suffix(b"}")).unwrap_or(&line));
        onward.extend_from_slice(b"+}\r\n");
        onward.extend_from_slice(&content);
        self.unanswered.push(self.tag.clone());
        self.literal(octets - content.len() as u64);
    }

    /// The end of the line behind a message that did not go on.
    fn dropped_ends(&mut self) {
        let tail = std::mem::take(&mut self.line);
        let text = tail.strip_suffix(b"\r\n").unwrap_or_default();
        self.filing.is_more |= !text.is_empty();
        if let Some(literal) = literal_of(text).filter(|literal| literal.unasked) {
            // Comes whatever we say.
            self.drops(literal.octets);
            return;
        }
        self.state = COMMAND;
        let filing = std::mem::take(&mut self.filing);
        self.answer = Some(if filing.is_more {
            only_one(&self.tag)
        } else {
            self.dropped += 1;
            [&self.tag, &b" OK APPEND completed, with the copy that Exchange files\r\n"[..]].concat()
        });
    }

    pub(super) fn server(&mut self, octets: &[u8]) {
        let (state, unanswered, said) = (&mut self.state, &mut self.unanswered, &self.tag);
        let (idles, gives_up) = (&mut self.idles, &mut self.gives_up);
        self.boundary.follow(octets, |head| match (head.first(), *state) {
            (Some(b'+'), State::AwaitLiteral(0)) => *state = BEHIND,
            (Some(b'+'), State::AwaitLiteral(octets)) => *state = State::Literal(octets),
            // Some command has no other answer than this.
            (Some(b'*'), _) if head.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case(b"* BAD")) => {
                *gives_up = true
            }
            (Some(b'*' | b'+') | None, _) => {}
            (Some(_), _) => {
                let (tag, _) = split(head);
                let Some(place) = unanswered.iter().position(|one| one == tag) else { return };
                unanswered.remove(place);
                if tag != said {
                    return;
                }
                *idles = false;
                match state {
                    State::AwaitLiteral(_) if !unanswered.contains(said) => *state = COMMAND,
                    // Answered before all of it was said; where the next one begins is not certain.
                    State::Literal(_) | State::Line { is_first: false } => *gives_up = true,
                    _ => {}
                }
            }
        });
    }

    pub(super) fn answer(&mut self) -> Option<Vec<u8>> {
        let is_its_turn = self.unanswered.is_empty() || self.gives_up;
        if !is_its_turn || !self.boundary.between_responses() {
            return None;
        }
        if self.state == State::Invite && !self.gives_up {
            self.state = State::Head;
            return Some(b"+ Ready for the message\r\n".to_vec());
        }
        self.answer.take()
    }

    pub(super) fn between_responses(&self) -> bool {
        self.boundary.between_responses()
    }

    /// How many copies were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether it follows what is said no more.
    pub(super) fn has_given_up(&self) -> bool {
        self.gives_up
    }

    pub(super) fn is_behind(&self) -> bool {
        self.answer.is_some() || matches!(self.state, State::Invite | State::Asked | State::GoesOn)
    }
}

fn only_one(tag: &[u8]) -> Vec<u8> {
    [tag, b" NO One message at a time\r\n"].concat()
}

/// As much as there is of the line that these begin with, its end included.
fn line_of(rest: &[u8]) -> &[u8] {
    rest.get(..memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)).unwrap_or_default()
}

/// So many of them, if there are so many.
fn at_most(octets: u64, rest: &[u8]) -> &[u8] {
    let now = usize::try_from(octets).unwrap_or(usize::MAX).min(rest.len());
    rest.get(..now).unwrap_or_default()
}

/// The folder in the arguments of APPEND: an atom, or a quoted string. One in a literal is not looked at.
fn folder_of(arguments: &[u8]) -> Option<String> {
    let name = match arguments.strip_prefix(b"\"") {
        None => split(arguments).0.to_vec(),
        Some(quoted) => {
            let (mut name, mut escaped) = (Vec::new(), false);
            let mut octets = quoted.iter();
            loop {
                match (escaped, octets.next()?) {
                    (false, b'\\') => escaped = true,
                    (false, b'"') => break,
                    (_, octet) => {
                        escaped = false;
                        name.push(*octet);
                    }
                }
            }
            // Nothing sticks to it.
            if octets.next() != Some(&b' ') {
                return None;
            }
            name
        }
    };
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}
