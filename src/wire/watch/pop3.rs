//! Reading by POP3 (RFC 1939) and nothing else.

use std::collections::VecDeque;

use memchr::memchr;

/// The longest line of a command, its end included (RFC 2449, section 4, has 255).
const LONGEST_LINE_OCTETS: usize = 1024;

/// So many commands may be waiting for their responses.
const MOST_UNANSWERED: usize = 1000;

/// Watches a session that may only read.
#[derive(Debug, Default)]
pub struct Pop3Watch {
    line: Vec<u8>,
    /// In a line that is too long.
    skips: bool,
    /// The commands without a whole response, and whether that may have many lines.
    unanswered: VecDeque<bool>,
    /// Within a response of many lines.
    is_listing: bool,
    /// The first octets of the server's line.
    head: Vec<u8>,
    answer: Option<Vec<u8>>,
    /// The client has taken its leave.
    quits: bool,
    refused: u64,
}

/// Enough to tell `+OK`, `-ERR` and `.` with its end.
const HEAD_OCTETS: usize = 3;

impl Pop3Watch {
    /// One that stands behind a login.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn client(&mut self, octets: &[u8], onward: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        loop {
            let rest = octets.get(taken..).unwrap_or_default();
            if self.quits && self.answer.is_none() {
                return octets.len();
            }
            if rest.is_empty() || self.answer.is_some() || self.unanswered.len() >= MOST_UNANSWERED {
                return taken;
            }
            let end = memchr(b'\n', rest);
            let now = end.map_or(rest.len(), |end| end + 1);
            if self.skips || self.line.len() + now > LONGEST_LINE_OCTETS {
                self.line.clear();
                self.skips = end.is_none();
                if end.is_some() {
                    self.refuse("The command is too long");
                }
            } else {
                self.line.extend_from_slice(rest.get(..now).unwrap_or_default());
                if end.is_some() {
                    let line = std::mem::take(&mut self.line);
                    self.command(&line, onward);
                }
            }
            taken += now;
        }
    }

    fn command(&mut self, line: &[u8], onward: &mut Vec<u8>) {
        let text = line.strip_suffix(b"\r\n");
        // A server may take a tab for a space, or for nothing, and then answers to another command than this.
        let Some(text) = text.filter(|text| !text.iter().any(u8::is_ascii_control)) else {
            return self.refuse("Control characters and bare CR and LF are not allowed");
        };
        let mut words = text.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let is_alone = words.next().is_none();
        let many_lines = match verb.as_slice() {
            b"STAT" | b"NOOP" | b"RSET" | b"LAST" => false,
            b"QUIT" if is_alone => {
                // Not for the server: without it what was read is not marked as such either (RFC 1939, section 6).
                self.quits = true;
                self.answer = Some(b"+OK Goodbye\r\n".to_vec());
                return;
            }
            b"RETR" | b"TOP" | b"CAPA" => true,
            b"LIST" | b"UIDL" => is_alone,
            _ => return self.refuse("This app password is for reading only"),
        };
        // As it will be read: some servers forgive spaces in front, and some do not.
        if text.first() == Some(&b' ') {
            return self.refuse("The command is malformed");
        }
        self.unanswered.push_back(many_lines);
        onward.extend_from_slice(line);
    }

    pub(super) fn server(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let end = memchr(b'\n', octets);
            let line = octets.get(..end.unwrap_or(octets.len())).unwrap_or_default();
            let room = HEAD_OCTETS - self.head.len().min(HEAD_OCTETS);
            self.head.extend(line.iter().take(room));
            octets = end.and_then(|end| octets.get(end + 1..)).unwrap_or_default();
            if end.is_some() {
                let head = std::mem::take(&mut self.head);
                self.line_ends(&head);
            }
        }
    }

    fn line_ends(&mut self, head: &[u8]) {
        if self.is_listing {
            if matches!(head, b"." | b".\r") {
                self.is_listing = false;
                self.unanswered.pop_front();
            }
        } else if self.unanswered.front() == Some(&true) && head.starts_with(b"+") {
            self.is_listing = true;
        } else {
            self.unanswered.pop_front();
        }
    }

    pub(super) fn answer(&mut self) -> Option<Vec<u8>> {
        if self.unanswered.is_empty() && self.between_responses() { self.answer.take() } else { None }
    }

    pub(super) fn between_responses(&self) -> bool {
        !self.is_listing && self.head.is_empty()
    }

    /// Whether something of the client is still to be answered by us.
    pub(super) fn is_behind(&self) -> bool {
        self.answer.is_some()
    }

    pub(super) fn quits(&self) -> bool {
        self.quits && self.answer.is_none()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn refuse(&mut self, why: &str) {
        self.refused += 1;
        self.answer = Some(format!("-ERR {why}\r\n").into_bytes());
    }
}
