//! The message between DATA and its final dot, both ways.
//!
//! Only CRLF.CRLF, as received, ends a message (RFC 5321, section 2.3.8); bare CR and LF inside it become CRLF afterwards.
//! Two programs that disagree about where a line ends can be made to disagree about where a message ends.

use memchr::{memchr2, memchr3};

/// The client's side: takes the octets as received, gives the content with dots unstuffed and every line ended by CRLF.
#[derive(Debug)]
pub struct Receiver {
    state: State,
    limit_octets: u64,
    octets: u64,
    refused: Option<Unacceptable>,
}

/// Why a message cannot be passed on. It is still read to its true end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// A NUL is in it (RFC 5321, section 2.3.8 and RFC 5322, section 4 allow none).
    #[error("the message holds a NUL")]
    Nul,
    /// It is larger than the limit.
    #[error("the message is too large")]
    TooLarge,
}

/// What became of the octets fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many of them belong to the message and its final dot; the rest are commands.
    pub consumed: usize,
    /// The final dot has come.
    pub end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the very start, or right after a received CRLF: only here does a dot mean something.
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// A dot at the start of a line, and a CR.
    DotCr,
    Text,
    Cr,
    Ended,
}

impl Receiver {
    /// Takes a message of at most this many octets.
    pub fn new(limit_octets: u64) -> Self {
        Self { state: State::LineStart, limit_octets, octets: 0, refused: None }
    }

    /// Takes octets in and appends the content they hold. Once the message is refused, no more content comes.
    ///
    /// A dot that begins a line is dropped (RFC 5321, section 4.5.2), unless the line before it was ended by a bare LF or CR:
    /// then it is text like any other.
    pub fn feed(&mut self, bytes: &[u8], content: &mut Vec<u8>) -> Progress {
        let mut place = 0;
        while let Some(&octet) = bytes.get(place) {
            match (self.state, octet) {
                (State::Ended, _) => break,
                (State::LineStart, b'.') => self.state = State::Dot,
                (State::Dot, b'\r') => self.state = State::DotCr,
                (State::DotCr, b'\n') => {
                    self.state = State::Ended;
                    place += 1;
                    break;
                }
                (State::Cr, b'\n') => {
                    self.give(b"\r\n", content);
                    self.state = State::LineStart;
                }
                (State::Cr | State::DotCr, _) => {
                    // The CR before this octet was bare. The octet itself is looked at again, as text.
                    self.give(b"\r\n", content);
                    self.state = State::Text;
                    continue;
                }
                (State::LineStart | State::Text, b'\r') => self.state = State::Cr,
                (State::LineStart | State::Dot | State::Text, b'\n') => {
                    self.give(b"\r\n", content);
                    self.state = State::Text;
                }
                (State::LineStart | State::Dot | State::Text, 0) => {
                    self.refused.get_or_insert(Unacceptable::Nul);
                    self.state = State::Text;
                }
                (State::LineStart | State::Dot | State::Text, _) => {
                    let rest = bytes.get(place..).unwrap_or_default();
                    let run = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                    self.give(rest.get(..run).unwrap_or_default(), content);
                    self.state = State::Text;
                    place += run;
                    continue;
                }
            }
            place += 1;
        }
        Progress { consumed: place, end: self.state == State::Ended }
    }

    /// Why the message cannot be passed on, if so.
    pub fn refused(&self) -> Option<Unacceptable> {
        self.refused
    }

    /// How many octets of content were given out.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    fn give(&mut self, octets: &[u8], content: &mut Vec<u8>) {
        if self.refused.is_some() {
            return;
        }
        let room = usize::try_from(self.limit_octets - self.octets).unwrap_or(usize::MAX);
        let fitting = octets.get(..room).unwrap_or(octets);
        content.extend_from_slice(fitting);
        self.octets += fitting.len() as u64;
        if fitting.len() < octets.len() {
            self.refused = Some(Unacceptable::TooLarge);
        }
    }
}

/// The upstream's side: stuffs dots, and ends the message. Line ends that are not CRLF become CRLF, whoever wrote them.
#[derive(Debug)]
pub struct Stuffer {
    at_line_start: bool,
    after_cr: bool,
}

impl Default for Stuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Stuffer {
    /// A message begins.
    pub fn new() -> Self {
        Self { at_line_start: true, after_cr: false }
    }

    /// Appends this piece of content as it goes over the wire.
    pub fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let mut rest = content;
        while let Some((&octet, behind)) = rest.split_first() {
            let was_after_cr = std::mem::take(&mut self.after_cr);
            match octet {
                b'\n' if was_after_cr => rest = behind, // its CR has written the line end
                b'\r' | b'\n' => {
                    out.extend_from_slice(b"\r\n");
                    self.at_line_start = true;
                    self.after_cr = octet == b'\r';
                    rest = behind;
                }
                _ => {
                    if self.at_line_start && octet == b'.' {
                        out.push(b'.');
                    }
                    self.at_line_start = false;
                    let run = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    let (text, behind) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                    out.extend_from_slice(text);
                    rest = behind;
                }
            }
        }
    }

    /// Appends the final dot, on a line of its own and without an empty line before it.
    pub fn finish(self, out: &mut Vec<u8>) {
        if !self.at_line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
