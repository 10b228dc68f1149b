//! SOCKS version 5 (RFC 1928), with a user name and a password (RFC 1929). Names are left to the proxy.

use crate::base::proxy::ProxyLogin;
use crate::base::{HostKind, HostPort, Secret};
use crate::wire::tunnel::{Refusal, Step};

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A request on its way.
#[derive(Debug)]
pub struct Socks5<'p> {
    host: &'p HostPort,
    login: Option<&'p ProxyLogin>,
    state: State,
    /// The present answer so far.
    heard: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// The methods are to be sent.
    Greet,
    /// The proxy chooses one.
    Method,
    /// The login is to be sent.
    LogIn,
    /// The proxy judges it.
    Judgement,
    /// The host is to be sent.
    Ask,
    /// The proxy connects.
    Reply,
    Open,
    Refused(Refusal),
}

impl<'p> Socks5<'p> {
    /// Asks for `host`.
    pub fn new(host: &'p HostPort, login: Option<&'p ProxyLogin>) -> Self {
        Self { host, login, state: State::Greet, heard: Vec::new() }
    }

    /// What is to be done next.
    pub fn step(&mut self) -> Step {
        match &self.state {
            State::Greet => {
                self.state = State::Method;
                Step::Send(Secret::new(match self.login {
                    Some(_) => vec![VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
                    None => vec![VERSION, 1, NO_LOGIN],
                }))
            }
            State::LogIn => match self.login.and_then(login_request) {
                Some(request) => {
                    self.state = State::Judgement;
                    Step::Send(request)
                }
                None => Step::Refused(Refusal::LoginRefused),
            },
            State::Ask => match request(self.host) {
                Some(request) => {
                    self.state = State::Reply;
                    Step::Send(Secret::new(request))
                }
                None => Step::Refused(Refusal::Forbidden { said: "a host name of over 255 octets".to_owned() }),
            },
            State::Method | State::Judgement | State::Reply => Step::Read,
            State::Open => Step::Open,
            State::Refused(refusal) => Step::Refused(refusal.clone()),
        }
    }

    /// Takes the octets of the present answer; how many.
    pub fn take(&mut self, octets: &[u8]) -> usize {
        let mut taken = 0;
        for &octet in octets {
            if !matches!(self.state, State::Method | State::Judgement | State::Reply) {
                break;
            }
            taken += 1;
            self.heard.push(octet);
            if let Some(next) = self.next() {
                self.heard.clear();
                self.state = next;
            }
        }
        taken
    }

    /// Where the present answer leads, once enough of it is there.
    fn next(&self) -> Option<State> {
        let not_socks = |what| Some(State::Refused(Refusal::NotThatKind { what }));
        match (&self.state, self.heard.as_slice()) {
            // RFC 1929 numbers its own version, which some proxies confuse with that of SOCKS. Nothing hangs on it.
            (State::Judgement, [_, 0]) => Some(State::Ask),
            (State::Judgement, [_, _]) => Some(State::Refused(Refusal::LoginRefused)),
            (State::Judgement, _) => None,
            (_, [version, ..]) if *version != VERSION => not_socks("its answer is not SOCKS version 5"),
            (State::Method, [_, NO_LOGIN]) => Some(State::Ask),
            (State::Method, [_, USER_AND_PASSWORD]) if self.login.is_some() => Some(State::LogIn),
            (State::Method, [_, NO_METHOD]) => Some(State::Refused(match self.login {
                Some(_) => Refusal::LoginUnknown { offered: Vec::new() },
                None => Refusal::LoginWanted,
            })),
            (State::Method, [_, _]) => not_socks("it chose a kind of login that was not offered to it"),
            // Some proxies close behind these two octets when they refuse.
            (State::Reply, [_, code, ..]) if *code != 0 => Some(State::Refused(refusal(*code))),
            (State::Reply, [_, _, _, kind, rest @ ..]) => {
                let address_octets = match (*kind, rest) {
                    (IPV4, _) => 4,
                    (IPV6, _) => 16,
                    (NAME, []) => return None,
                    (NAME, [octets, ..]) => 1 + usize::from(*octets),
                    _ => return not_socks("its answer names an address of an unknown kind"),
                };
                // The port stands behind the address.
                (rest.len() >= address_octets + 2).then_some(State::Open)
            }
            _ => None,
        }
    }
}

/// RFC 1929, section 2.
fn login_request(login: &ProxyLogin) -> Option<Secret<Vec<u8>>> {
    let (user, password) = (login.user.expose().as_bytes(), login.password.expose().as_bytes());
    let mut request = Vec::with_capacity(3 + user.len() + password.len());
    request.push(1);
    request.push(u8::try_from(user.len()).ok()?);
    request.extend_from_slice(user);
    request.push(u8::try_from(password.len()).ok()?);
    request.extend_from_slice(password);
    Some(Secret::new(request))
}

/// RFC 1928, section 4.
fn request(host: &HostPort) -> Option<Vec<u8>> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.kind() {
        HostKind::Name(name) => {
            request.extend([NAME, u8::try_from(name.len()).ok()?]);
            request.extend_from_slice(name.as_bytes());
        }
        HostKind::V4(octets) => {
            request.push(IPV4);
            request.extend(octets);
        }
        HostKind::V6(octets) => {
            request.push(IPV6);
            request.extend(octets);
        }
    }
    request.extend(host.port.to_be_bytes());
    Some(request)
}

/// RFC 1928, section 6.
fn refusal(code: u8) -> Refusal {
    let said = match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "kind of address not supported",
        _ => "error",
    };
    let said = format!("{said} (SOCKS reply {code})");
    match code {
        2 | 7 | 8 => Refusal::Forbidden { said },
        _ => Refusal::NotReached { said },
    }
}
