//! CONNECT (RFC 9110, section 9.3.6) in HTTP/1.1 (RFC 9112), with a Basic login (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, ParserConfig, Status};
use zeroize::Zeroizing;

use crate::base::proxy::ProxyLogin;
use crate::base::{HostPort, Secret};
use crate::wire::tunnel::{Refusal, Step};

/// The most octets of an answer, without its content: of the interim ones together.
pub const MOST_HEAD_OCTETS: usize = 16 * 1024;

/// The most header fields of an answer.
const MOST_FIELDS: usize = 100;

/// What is kept of the words in an answer.
const MOST_SAID_CHARS: usize = 120;

const NOT_HTTP: &str = "its answer is not HTTP";

/// A CONNECT on its way.
#[derive(Debug)]
pub struct Connect<'p> {
    host: &'p HostPort,
    login: Option<&'p ProxyLogin>,
    state: State,
    /// The answer so far.
    head: Vec<u8>,
    /// What was taken in all, interim answers too.
    taken_octets: usize,
}

#[derive(Debug)]
enum State {
    Unsent,
    Reading,
    Open,
    Refused(Refusal),
}

impl<'p> Connect<'p> {
    /// Asks for `host`.
    pub fn new(host: &'p HostPort, login: Option<&'p ProxyLogin>) -> Self {
        Self { host, login, state: State::Unsent, head: Vec::new(), taken_octets: 0 }
    }

    /// What is to be done next.
    pub fn step(&mut self) -> Step {
        match &self.state {
            State::Unsent => {
                self.state = State::Reading;
                Step::Send(self.request())
            }
            State::Reading => Step::Read,
            State::Open => Step::Open,
            State::Refused(refusal) => Step::Refused(refusal.clone()),
        }
    }

    fn request(&self) -> Secret<Vec<u8>> {
        let host = self.host;
        let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        if let Some(login) = self.login {
            let pair = Zeroizing::new(format!("{}:{}", login.user.expose(), login.password.expose()));
            let pair = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
            // Room for all of it at once: growing would leave a copy behind.
            request.reserve_exact(pair.len() + 64);
            request.extend_from_slice(b"Proxy-Authorization: Basic ");
            request.extend_from_slice(pair.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        Secret::new(request)
    }

    /// Takes the octets of the answer's head, its last line break included; how many.
    pub fn take(&mut self, octets: &[u8]) -> usize {
        let mut taken = 0;
        for &octet in octets {
            if !matches!(self.state, State::Reading) {
                break;
            }
            taken += 1;
            self.head.push(octet);
            self.taken_octets += 1;
            self.look();
        }
        taken
    }

    /// Whether the answer is whole, or cannot become one.
    fn look(&mut self) {
        // Another protocol is told by its first octets, and not waited for: most of them would now wait for us.
        if self.head.len() <= 5 && !b"HTTP/".starts_with(&self.head) {
            self.state = State::Refused(Refusal::NotThatKind { what: NOT_HTTP });
        } else if self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n") {
            match judge(&self.head, self.login.is_some()) {
                Verdict::Interim => self.head.clear(),
                Verdict::Open => self.state = State::Open,
                Verdict::Refused(refusal) => self.state = State::Refused(refusal),
            }
        } else if self.taken_octets >= MOST_HEAD_OCTETS {
            self.state = State::Refused(Refusal::NotThatKind { what: "its answer has no end" });
        }
    }
}

enum Verdict {
    /// 1xx: another answer follows (RFC 9110, section 15.2).
    Interim,
    Open,
    Refused(Refusal),
}

/// Judges a whole head.
fn judge(head: &[u8], logged_in: bool) -> Verdict {
    let mut fields = [EMPTY_HEADER; MOST_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let mut config = ParserConfig::default();
    // Nothing in the fields decides whether the tunnel is open, so a proxy that writes a bad one is not refused for it.
    config.ignore_invalid_headers_in_responses(true);
    let parsed = config.parse_response(&mut answer, head);
    let code = match (parsed, answer.code) {
        (Ok(Status::Complete(octets)), Some(code)) if octets == head.len() => code,
        _ => return Verdict::Refused(Refusal::NotThatKind { what: NOT_HTTP }),
    };
    let said = said(code, answer.reason.unwrap_or_default(), answer.headers);
    match code {
        100 | 102..=199 => Verdict::Interim,
        // Any of them opens the tunnel, and Content-Length and Transfer-Encoding mean nothing in it.
        200..=299 => Verdict::Open,
        407 => Verdict::Refused(login_refusal(answer.headers, logged_in)),
        408 | 425 | 429 | 500 | 502..=504 | 506..=599 => Verdict::Refused(Refusal::NotReached { said }),
        _ => Verdict::Refused(Refusal::Forbidden { said }),
    }
}

/// The status line, and what Squid or RFC 9209 say of the reason.
fn said(code: u16, reason: &str, fields: &[httparse::Header<'_>]) -> String {
    let mut said = format!("{code} {reason}");
    for name in ["proxy-status", "x-squid-error"] {
        if let Some(field) = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)) {
            said.push_str(&format!(" ({})", String::from_utf8_lossy(field.value)));
            break;
        }
    }
    said.trim().chars().take(MOST_SAID_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a 407 means (RFC 9110, sections 11.7.1 and 15.5.8).
fn login_refusal(fields: &[httparse::Header<'_>], logged_in: bool) -> Refusal {
    let challenges = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("proxy-authenticate"));
    let offered: Vec<String> = challenges.flat_map(|field| schemes(&String::from_utf8_lossy(field.value))).collect();
    let takes_basic = offered.is_empty() || offered.iter().any(|scheme| scheme.eq_ignore_ascii_case("Basic"));
    match (takes_basic, logged_in) {
        (false, _) => Refusal::LoginUnknown { offered },
        (true, true) => Refusal::LoginRefused,
        (true, false) => Refusal::LoginWanted,
    }
}

/// The schemes in a list of challenges: `Negotiate, Basic realm="a, b", Digest realm="c", nonce="d"`.
fn schemes(challenges: &str) -> Vec<String> {
    let mut in_quotes = false;
    let parts = challenges.split(|c: char| {
        in_quotes ^= c == '"';
        c == ',' && !in_quotes
    });
    let words = parts.filter_map(|part| part.split_ascii_whitespace().next());
    // A part that begins with `name=` goes on with the challenge before it.
    let is_scheme =
        |word: &&str| word.len() <= 32 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    words.filter(is_scheme).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::schemes;

    #[test]
    fn the_schemes_of_a_list_of_challenges_are_told_from_their_parameters() {
        for (challenges, expected) in [
            ("Basic realm=\"a, Digest b\"", &["Basic"][..]),
            ("Negotiate, NTLM", &["Negotiate", "NTLM"]),
            ("Digest realm=\"c\", nonce=\"d\", qop=auth, Basic realm=x", &["Digest", "Basic"]),
            ("", &[]),
        ] {
            assert_eq!(schemes(challenges), expected, "{challenges}");
        }
    }
}
