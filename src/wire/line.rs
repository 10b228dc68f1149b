//! Cutting a stream of bytes into lines.
//!
//! A line ends with LF; whether CRLF ended it, and nothing else was in it that could end one elsewhere, is told with the line.
//! Two programs that disagree about where a line ends can be made to disagree about where a command ends.

use memchr::{memchr, memchr2};

/// Bytes as they come in, and the lines cut from them.
///
/// The work is linear in the bytes, however they are split: the scan goes on where it stopped.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Where the bytes not yet given out begin.
    start: usize,
    /// Up to where there is no LF.
    scanned: usize,
    limit_octets: usize,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What stands in it, without its end.
    pub bytes: Vec<u8>,
    /// It was ended by a bare LF, or holds a CR or a NUL.
    pub bare: bool,
}

/// A line is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {limit_octets} octets")]
pub struct LineTooLong {
    /// The limit, without the end of the line.
    pub limit_octets: usize,
}

impl Lines {
    /// Cuts lines of at most this many octets, their end not counted.
    pub fn new(limit_octets: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit_octets }
    }

    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        // What was given out is dropped once it is the larger part, so that every byte moves at most once on the average.
        if self.start == self.buffer.len() {
            self.clear();
        } else if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line, or `None` while it is not complete.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`], and again at every call: there is no way on but to close.
    pub fn next_line(&mut self) -> Result<Option<Line>, LineTooLong> {
        let too_long = LineTooLong { limit_octets: self.limit_octets };
        let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
        let Some(place) = memchr(b'\n', fresh) else {
            self.scanned = self.buffer.len();
            // One more than the limit may be the CR of a line that just fits.
            return if self.waiting().len() > self.limit_octets + 1 { Err(too_long) } else { Ok(None) };
        };
        let end = self.scanned + place;
        let raw = self.buffer.get(self.start..end).unwrap_or_default();
        let (bytes, bare_end) = match raw.split_last() {
            Some((b'\r', bytes)) => (bytes, false),
            _ => (raw, true),
        };
        if bytes.len() > self.limit_octets {
            return Err(too_long);
        }
        let line = Line { bare: bare_end || memchr2(b'\r', 0, bytes).is_some(), bytes: bytes.to_vec() };
        self.skip(end + 1 - self.start);
        Ok(Some(line))
    }

    /// The bytes not yet given out.
    pub fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Gives up this many of the bytes that are waiting.
    pub fn skip(&mut self, octets: usize) {
        self.start = self.start.saturating_add(octets).min(self.buffer.len());
        self.scanned = self.start;
    }

    /// Takes the bytes not yet cut.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        rest.drain(..self.start);
        self.clear();
        rest
    }

    /// Whether no byte is waiting.
    pub fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Forgets the bytes that are waiting.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.start = 0;
        self.scanned = 0;
    }

    /// Changes the limit for the lines that follow.
    pub fn set_limit(&mut self, limit_octets: usize) {
        self.limit_octets = limit_octets;
    }
}

/// The buffers may hold a password, so they are wiped.
impl Drop for Lines {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines and whether each was bare, whether one was too long, and the rest.
    type Cut = (Vec<(Vec<u8>, bool)>, bool, Vec<u8>);

    fn cut(chunks: &[&[u8]], limit: usize) -> Cut {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            lines.feed(chunk);
            loop {
                match lines.next_line() {
                    Ok(Some(line)) => found.push((line.bytes, line.bare)),
                    Ok(None) => break,
                    Err(_) => return (found, true, Vec::new()),
                }
            }
        }
        (found, false, lines.take_rest())
    }

    #[test]
    fn a_line_tells_whether_it_was_ended_by_crlf_and_holds_nothing_that_could_end_one() {
        for (input, bytes, bare) in [
            (&b"NOOP\r\n"[..], &b"NOOP"[..], false),
            (b"\r\n", b"", false),
            (b"NOOP\n", b"NOOP", true),
            (b"a\rb\r\n", b"a\rb", true),
            (b"a\r\r\n", b"a\r", true),
            (b"a\0b\r\n", b"a\0b", true),
            (b"a\xff\r\n", b"a\xff", false),
        ] {
            assert_eq!(cut(&[input], 100).0, [(bytes.to_vec(), bare)], "{input:?}");
        }
    }

    #[test]
    fn a_line_of_the_limit_fits_and_one_more_octet_does_not_even_without_its_end() {
        assert_eq!(cut(&[b"12345\r\n"], 5).0, [(b"12345".to_vec(), false)]);
        assert!(!cut(&[b"12345\r"], 5).1);
        assert!(cut(&[b"123456\r\n"], 5).1);
        assert!(cut(&[b"1234567"], 5).1);
        // The peer buffered 24 MiB without an end of line (F19).
        let mut lines = Lines::new(8192);
        lines.feed(&[b'a'; 8194]);
        assert_eq!(lines.next_line(), Err(LineTooLong { limit_octets: 8192 }));
        assert_eq!(lines.next_line(), Err(LineTooLong { limit_octets: 8192 }));
    }

    #[test]
    fn the_rest_is_what_was_not_cut() {
        assert_eq!(cut(&[b"a\r\nb\r\nc"], 10).2, b"c");
        let mut lines = Lines::new(10);
        lines.feed(b"a\r\nbcd\r\n");
        assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"a");
        lines.skip(1);
        assert_eq!(lines.waiting(), b"cd\r\n");
        lines.clear();
        assert!(lines.is_empty());
    }

    #[test]
    fn one_line_in_single_octets_is_cut_in_linear_time() {
        let mut lines = Lines::new(1 << 20);
        for _ in 0..1 << 20 {
            lines.feed(b"x");
            assert_eq!(lines.next_line(), Ok(None));
        }
        lines.feed(b"\r\n");
        assert_eq!(lines.next_line().unwrap().unwrap().bytes.len(), 1 << 20);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(0u8), Just(b'a')], 0..60), step in 1usize..7) {
            let chunks: Vec<&[u8]> = input.chunks(step).collect();
            let (whole, long, rest) = cut(&[&input], 8);
            let (split, split_long, split_rest) = cut(&chunks, 8);
            prop_assert_eq!(whole, split);
            prop_assert_eq!(long, split_long);
            prop_assert_eq!(rest, split_rest);
        }
    }
}
