//! How much nonsense a connection may talk before it is closed, and who is no mail program at all.

/// Wrong passwords on a connection; the last one closes it.
const WRONG_PASSWORDS: u32 = 10;
/// Commands that are not understood, or not allowed where they stand. A person typing by hand needs a few.
const BAD_COMMANDS: u32 = 20;
/// Commands that do nothing. Clients keep connections alive with them, but not before login.
const JUNK_COMMANDS: u32 = 100;

/// Counts what a connection has done wrong.
#[derive(Debug, Default)]
pub(super) struct Patience {
    wrong_passwords: u32,
    bad_commands: u32,
    junk_commands: u32,
}

impl Patience {
    /// Counts a wrong password; whether it was the last one allowed.
    pub(super) fn wrong_password(&mut self) -> bool {
        self.wrong_passwords += 1;
        self.wrong_passwords >= WRONG_PASSWORDS
    }

    /// Counts a bad command; whether it was one too many.
    pub(super) fn bad_command(&mut self) -> bool {
        self.bad_commands += 1;
        self.bad_commands > BAD_COMMANDS
    }

    /// Counts a command that does nothing; whether it was one too many.
    pub(super) fn junk_command(&mut self) -> bool {
        self.junk_commands += 1;
        self.junk_commands > JUNK_COMMANDS
    }

    /// Forgets bad commands: something useful was done.
    pub(super) fn renew(&mut self) {
        self.bad_commands = 0;
        self.junk_commands = 0;
    }
}

/// Whether what begins here is a TLS handshake record: a client set to TLS from the start, on a port that is not.
pub(super) fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x16)
}

/// Whether a line is an HTTP request's. Web pages can reach our ports, and put commands into the body of a form.
pub(super) fn is_http(line: &[u8]) -> bool {
    let word = line.split(|octet| *octet == b' ').next().unwrap_or_default();
    const VERBS: [&[u8]; 10] =
        [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"DELETE", b"PATCH", b"TRACE"];
    VERBS.contains(&word)
}

/// A name that a client gives itself: 128 octets of it, without what could disturb a log.
pub(super) fn client_name(told: &[u8]) -> Option<String> {
    let told = told.get(..told.len().min(128)).unwrap_or_default();
    let name: String = String::from_utf8_lossy(told).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let mut name = name.trim().to_owned();
    // A character replaced by U+FFFD is longer than it was.
    while name.len() > 128 {
        name.pop();
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_name_is_short_and_fit_for_a_log() {
        assert_eq!(client_name(b" mail.local ").as_deref(), Some("mail.local"));
        assert_eq!(client_name(b"a\x1b[31m").as_deref(), Some("a?[31m"));
        assert_eq!(client_name(b"  "), None);
        assert!(client_name(&[0xff; 500]).unwrap().len() <= 128);
        assert_eq!(client_name(&[b'a'; 500]).unwrap().len(), 128);
    }

    #[test]
    fn only_whole_upper_case_verbs_are_http() {
        assert!(is_http(b"GET / HTTP/1.1") && is_http(b"PRI * HTTP/2.0") && is_http(b"POST"));
        assert!(!is_http(b"DELE 1") && !is_http(b"get1 NOOP") && !is_http(b"") && !is_http(b"A1 GET"));
    }
}
