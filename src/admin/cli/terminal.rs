//! Lines from the terminal that are longer than it passes on by itself.

use std::io::{self, BufRead, Read};

use zeroize::Zeroizing;

/// Octets of the longest line that is read.
const LONGEST_LINE: u64 = 64 * 1024;

/// Lines from stdin of up to 64 KiB.
///
/// A terminal gathers a line before it passes it on, and cuts it at 4,096 octets (Linux) or 1,024 (macOS). The address that a browser
/// ends at can be longer, so the terminal is told to pass on what it gets for as long as this lives. Make it before a person is asked:
/// what is pasted earlier is cut.
pub(super) struct LongLines {
    passing_on: PassingOn,
}

impl LongLines {
    /// From now on.
    pub(super) fn begin() -> Self {
        Self { passing_on: PassingOn::begin() }
    }

    /// Reads a line, without its end; `None` at the end of the input, or where a person ends it (Ctrl-D).
    ///
    /// # Errors
    /// Those of stdin.
    pub(super) fn next(&mut self) -> io::Result<Option<Zeroizing<String>>> {
        let is_typed = self.passing_on.holds();
        // Room at once: growing would leave copies of what may be worth a sign-in.
        let mut octets = Zeroizing::new(Vec::with_capacity(16 * 1024));
        let mut stdin = io::stdin().lock().take(LONGEST_LINE);
        let mut ended = false;
        while !ended {
            let (taken, last) = {
                let came = stdin.fill_buf()?;
                let end = came.iter().position(|octet| *octet == b'\n' || (is_typed && *octet == END_OF_INPUT));
                octets.extend_from_slice(came.get(..end.unwrap_or(came.len())).unwrap_or_default());
                (end.map_or(came.len(), |end| end + 1), end.and_then(|end| came.get(end).copied()))
            };
            stdin.consume(taken);
            if taken == 0 || (last == Some(END_OF_INPUT) && octets.is_empty()) {
                return Ok(if octets.is_empty() { None } else { Some(text(&octets, is_typed)) });
            }
            ended = last.is_some();
        }
        Ok(Some(text(&octets, is_typed)))
    }
}

/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// The line as text. What the terminal does not do any more, to take back a character, is done here.
fn text(octets: &[u8], is_typed: bool) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(octets.len()));
    for character in String::from_utf8_lossy(octets).chars() {
        match character {
            '\u{8}' | '\u{7f}' if is_typed => drop(text.pop()),
            character => text.push(character),
        }
    }
    text
}

/// The terminal, passing on what it gets at once; as it was before when this goes.
struct PassingOn {
    #[cfg(unix)]
    before: Option<nix::sys::termios::Termios>,
}

impl PassingOn {
    #[cfg(unix)]
    fn begin() -> Self {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Self { before: None } };
        let mut at_once = before.clone();
        at_once.local_flags.remove(LocalFlags::ICANON);
        let set = tcsetattr(&stdin, SetArg::TCSANOW, &at_once);
        Self { before: set.is_ok().then_some(before) }
    }

    #[cfg(not(unix))]
    fn begin() -> Self {
        Self {}
    }

    /// Whether it does.
    fn holds(&self) -> bool {
        #[cfg(unix)]
        let holds = self.before.is_some();
        #[cfg(not(unix))]
        let holds = false;
        holds
    }
}

#[cfg(unix)]
impl Drop for PassingOn {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = nix::sys::termios::tcsetattr(io::stdin(), nix::sys::termios::SetArg::TCSANOW, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_character_is_taken_back_where_the_terminal_does_not() {
        assert_eq!(*text(b"htts\x7fp:x\x08//", true), "http://");
        assert_eq!(*text(b"\x7f\x7fa\xffb", true), "a\u{fffd}b");
        assert_eq!(*text(b"a\x7fb", false), "a\u{7f}b");
    }
}
