//! Reading by IMAP (RFC 3501) and nothing else.

use memchr::memchr;

use crate::wire::imap::Boundary;
use crate::wire::watch::command::{
    LONGEST_LINE_OCTETS, LONGEST_TAG_OCTETS, Literal, MOST_UNANSWERED, Unclear, announced, is_tag, literal_of, split,
};

/// The longest literal within a command that reads: what is searched for, or the name of a mailbox.
const LONGEST_LITERAL_OCTETS: u64 = 64 * 1024;

/// Commands that change nothing, in a mailbox that was opened with EXAMINE.
const READING: &[&[u8]] = &[
    b"CAPABILITY",
    b"CHECK",
    b"CLOSE",
    b"EXAMINE",
    b"FETCH",
    b"GETQUOTA",
    b"GETQUOTAROOT",
    b"ID",
    b"LIST",
    b"LOGOUT",
    b"LSUB",
    b"MYRIGHTS",
    b"NAMESPACE",
    b"NOOP",
    b"SEARCH",
    b"SORT",
    b"STATUS",
    b"THREAD",
    b"UNSELECT",
    b"XLIST",
];

/// Those of them that may stand behind UID.
const READING_BY_UID: &[&[u8]] = &[b"FETCH", b"SEARCH", b"SORT", b"THREAD"];

/// Watches a session that may only read.
#[derive(Debug)]
pub struct ImapWatch {
    state: State,
    /// The line that is being gathered.
    line: Vec<u8>,
    /// A whole line of which is decided when the server has answered what came before.
    held: Option<Vec<u8>>,
    boundary: Boundary,
    /// The tags of the commands that went on and have no tagged response yet.
    unanswered: Vec<Vec<u8>>,
    /// The server has ended the waiting of IDLE by itself, so that the DONE to it is for nobody.
    is_done: bool,
    /// Why the command does not go on that is being read to its end.
    skipped_as: Verdict,
    /// What the client is to be told, once everything before is answered.
    answer: Option<Vec<u8>>,
    refused: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a command.
    Command,
    /// The server is to say whether it takes a literal of so many octets.
    AwaitLiteral(u64),
    /// Within a literal that goes on.
    Literal(u64),
    /// In the line behind a literal that went on.
    Behind,
    /// The server is to say whether it waits.
    AwaitIdle,
    /// It does, until the client says DONE.
    Idle,
    /// Within a literal of the command with this tag, which does not go on.
    SkipLiteral(Vec<u8>, u64),
    /// In the line behind it.
    SkipBehind(Vec<u8>),
    /// In a line that is too long, of the command with this tag.
    SkipLine(Vec<u8>),
    /// The session has to end.
    Over,
}

/// What is to be done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Goes,
    GoesAsExamine,
    Idles,
    IsForWriting,
    IsMalformed,
    /// It has a literal of which the server would not be asked.
    DoesNotAsk,
}

impl Default for ImapWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl ImapWatch {
    /// One that stands behind a login.
    pub fn new() -> Self {
        Self {
            state: State::Command,
            line: Vec::new(),
            held: None,
            boundary: Boundary::new(),
            unanswered: Vec::new(),
            is_done: false,
            skipped_as: Verdict::IsForWriting,
            answer: None,
            refused: 0,
        }
    }

    pub(super) fn client(&mut self, octets: &[u8], onward: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        loop {
            // Whoever waits for an answer of ours, or for the server's, says nothing more before it.
            if self.answer.is_some() {
                return taken;
            }
            if let Some(line) = self.held.take() {
                if self.line_ends(&line, onward) {
                    continue;
                }
                self.held = Some(line);
                return taken;
            }
            let rest = octets.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return taken;
            }
            match &mut self.state {
                State::AwaitLiteral(_) | State::AwaitIdle => return taken,
                State::Over => return octets.len(),
                State::Literal(left) | State::SkipLiteral(_, left) => {
                    let now = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= now as u64;
                    let is_over = *left == 0;
                    taken += now;
                    let octets = rest.get(..now).unwrap_or_default();
                    // A name or what is searched for holds none; a command would.
                    if matches!(self.state, State::Literal(_))
                        && octets.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0))
                    {
                        self.state = State::Over;
                        continue;
                    }
                    self.state = match std::mem::replace(&mut self.state, State::Over) {
                        State::SkipLiteral(tag, _) if is_over => State::SkipBehind(tag),
                        State::Literal(left) => {
                            onward.extend_from_slice(octets);
                            if is_over { State::Behind } else { State::Literal(left) }
                        }
                        state => state,
                    };
                }
                State::SkipLine(_) => match memchr(b'\n', rest) {
                    None => return octets.len(),
                    Some(end) => {
                        taken += end + 1;
                        if let State::SkipLine(tag) = std::mem::replace(&mut self.state, State::Command) {
                            self.refuse(&tag, "BAD", "The command is too long");
                        }
                    }
                },
                State::Command | State::Behind | State::Idle | State::SkipBehind(_) => {
                    let end = memchr(b'\n', rest);
                    let now = end.map_or(rest.len(), |end| end + 1);
                    if self.line.len() + now > LONGEST_LINE_OCTETS {
                        self.too_long(rest);
                        continue;
                    }
                    self.line.extend_from_slice(rest.get(..now).unwrap_or_default());
                    taken += now;
                    if end.is_some() {
                        self.held = Some(std::mem::take(&mut self.line));
                    }
                }
            }
        }
    }

    /// A whole line, with its end. False: nothing can be said of it before the server has answered what came before.
    fn line_ends(&mut self, line: &[u8], onward: &mut Vec<u8>) -> bool {
        let text = line.strip_suffix(b"\r\n");
        let text = text.filter(|text| !text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)));
        match &self.state {
            State::Command => return self.command(line, text, onward),
            State::Behind => match text.map(announced) {
                // What begins otherwise could be taken for a command where the server has not waited for this.
                Some(Ok(literal)) if text.is_some_and(|text| matches!(text.first(), None | Some(b' ' | b')'))) => {
                    onward.extend_from_slice(line);
                    match literal {
                        Some(literal) if Self::may_announce(literal) => self.announce(literal),
                        Some(_) => self.state = State::Over,
                        None => self.state = State::Command,
                    }
                }
                // Half of it has gone on.
                _ => self.state = State::Over,
            },
            State::Idle => {
                onward.extend_from_slice(b"DONE\r\n");
                self.state = State::Command;
                if !text.is_some_and(|text| text.eq_ignore_ascii_case(b"DONE")) {
                    self.refused += 1;
                    self.answer = Some(b"* BAD Expected DONE\r\n".to_vec());
                }
            }
            State::SkipBehind(tag) => {
                let tag = tag.clone();
                match text.and_then(literal_of) {
                    Some(Literal { octets, unasked: true }) => self.state = State::SkipLiteral(tag, octets),
                    _ => {
                        self.state = State::Command;
                        self.refuse_as(&tag, self.skipped_as);
                    }
                }
            }
            _ => {}
        }
        true
    }

    fn command(&mut self, line: &[u8], text: Option<&[u8]>, onward: &mut Vec<u8>) -> bool {
        let (tag, rest) = split(text.unwrap_or(line));
        let is_done = std::mem::take(&mut self.is_done);
        if is_done && text.is_some_and(|text| text.eq_ignore_ascii_case(b"DONE")) {
            return true;
        }
        if !is_tag(tag) {
            self.refused += 1;
            self.answer = Some(b"* BAD Invalid tag\r\n".to_vec());
            return true;
        }
        let Some(text) = text else {
            self.refuse(tag, "BAD", "Bare CR, LF and NUL are not allowed");
            return true;
        };
        let (verb, arguments) = split(rest);
        let literal = announced(arguments);
        let verdict = match literal {
            Err(Unclear) => Verdict::IsMalformed,
            Ok(literal) => match judge(verb, arguments) {
                Verdict::Idles if !arguments.is_empty() => Verdict::IsMalformed,
                verdict @ (Verdict::Goes | Verdict::GoesAsExamine) => match literal {
                    Some(literal) if literal.unasked => Verdict::DoesNotAsk,
                    Some(literal) if !Self::may_announce(literal) => Verdict::IsMalformed,
                    _ => verdict,
                },
                verdict => verdict,
            },
        };
        let literal = literal.unwrap_or_default();
        match verdict {
            Verdict::Goes | Verdict::GoesAsExamine => {
                // Else the answer to another command could be taken for the one to this.
                if self.unanswered.len() >= MOST_UNANSWERED || (literal.is_some() && !self.unanswered.is_empty()) {
                    return false;
                }
                self.unanswered.push(tag.to_vec());
                if matches!(verdict, Verdict::GoesAsExamine) {
                    onward.extend_from_slice(tag);
                    onward.extend_from_slice(b" EXAMINE ");
                    onward.extend_from_slice(arguments);
                    onward.extend_from_slice(b"\r\n");
                } else {
                    onward.extend_from_slice(line);
                }
                if let Some(literal) = literal {
                    self.announce(literal);
                }
            }
            Verdict::Idles => {
                if !self.unanswered.is_empty() {
                    return false;
                }
                self.unanswered.push(tag.to_vec());
                onward.extend_from_slice(line);
                self.state = State::AwaitIdle;
            }
            Verdict::IsForWriting | Verdict::IsMalformed | Verdict::DoesNotAsk => {
                let follows = literal.or_else(|| literal_of(text)).filter(|literal| literal.unasked);
                match follows {
                    // It comes whatever we say.
                    Some(literal) => {
                        self.skipped_as = verdict;
                        self.state = State::SkipLiteral(tag.to_vec(), literal.octets);
                    }
                    None => self.refuse_as(tag, verdict),
                }
                // A literal without octets is over already.
                if let State::SkipLiteral(tag, 0) = &self.state {
                    self.state = State::SkipBehind(tag.clone());
                }
            }
        }
        true
    }

    /// One of which the server is not asked never goes on: where it does not read it, what stands in it is a command.
    fn may_announce(literal: Literal) -> bool {
        !literal.unasked && literal.octets <= LONGEST_LITERAL_OCTETS
    }

    fn announce(&mut self, literal: Literal) {
        self.state = State::AwaitLiteral(literal.octets);
    }

    fn too_long(&mut self, rest: &[u8]) {
        let mut line = std::mem::take(&mut self.line);
        line.extend(rest.iter().take(LONGEST_TAG_OCTETS + 1));
        let (tag, _) = split(&line);
        self.state = match &self.state {
            State::Command if is_tag(tag) => State::SkipLine(tag.to_vec()),
            State::SkipBehind(tag) => State::SkipLine(tag.clone()),
            _ => State::Over,
        };
    }

    pub(super) fn server(&mut self, octets: &[u8]) {
        let (state, unanswered, is_done) = (&mut self.state, &mut self.unanswered, &mut self.is_done);
        self.boundary.follow(octets, |head| match (head.first(), &*state) {
            (Some(b'*') | None, _) => {}
            (Some(b'+'), State::AwaitLiteral(0)) => *state = State::Behind,
            (Some(b'+'), State::AwaitLiteral(octets)) => *state = State::Literal(*octets),
            (Some(b'+'), State::AwaitIdle) => *state = State::Idle,
            (Some(b'+'), State::Idle) => {}
            // It waits for something that we do not know of.
            (Some(b'+'), _) => *state = State::Over,
            (Some(_), _) => {
                // What is answered that nobody has asked, such as a DONE too late, counts for nothing.
                let (tag, _) = split(head);
                let Some(place) = unanswered.iter().position(|one| one == tag) else { return };
                unanswered.remove(place);
                // Nothing else is unanswered in these.
                match state {
                    State::Idle => {
                        *is_done = true;
                        *state = State::Command;
                    }
                    State::AwaitLiteral(_) | State::AwaitIdle => *state = State::Command,
                    // Where it takes the next command to begin is not known.
                    State::Literal(_) | State::Behind => *state = State::Over,
                    _ => {}
                }
            }
        });
    }

    pub(super) fn answer(&mut self) -> Option<Vec<u8>> {
        if self.unanswered.is_empty() && self.between_responses() { self.answer.take() } else { None }
    }

    pub(super) fn between_responses(&self) -> bool {
        self.boundary.between_responses()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused + u64::from(self.is_over())
    }

    /// Whether something of the client is still to be decided or answered.
    pub(super) fn is_behind(&self) -> bool {
        self.held.is_some() || self.answer.is_some()
    }

    fn refuse_as(&mut self, tag: &[u8], verdict: Verdict) {
        match verdict {
            // RFC 5530, section 3.
            Verdict::IsForWriting => self.refuse(tag, "NO [NOPERM]", "This app password is for reading only"),
            Verdict::DoesNotAsk => {
                self.refuse(tag, "BAD", "Write the literal as {n} and wait, this app password is for reading only");
            }
            _ => self.refuse(tag, "BAD", "The command is malformed"),
        }
    }

    fn refuse(&mut self, tag: &[u8], status: &str, why: &str) {
        self.refused += 1;
        let mut answer = tag.to_vec();
        answer.extend_from_slice(format!(" {status} {why}\r\n").as_bytes());
        self.answer = Some(answer);
    }
}

/// What a verb asks for.
fn judge(verb: &[u8], arguments: &[u8]) -> Verdict {
    let verb = verb.to_ascii_uppercase();
    match verb.as_slice() {
        b"" => Verdict::IsMalformed,
        b"IDLE" => Verdict::Idles,
        b"SELECT" => Verdict::GoesAsExamine,
        b"UID" if READING_BY_UID.contains(&split(arguments).0.to_ascii_uppercase().as_slice()) => Verdict::Goes,
        verb if READING.contains(&verb) => Verdict::Goes,
        _ => Verdict::IsForWriting,
    }
}
