//! Asking a proxy to lead to a host: CONNECT to one that speaks HTTP, and SOCKS version 5.
//!
//! Both take exactly the octets that are the proxy's answer, and never one that stands behind it: that is the host's own, which
//! may speak first.

pub mod connect;
pub mod socks5;

use std::fmt;

use crate::base::proxy::ProxyKind;
use crate::base::{HostPort, Proxy, Secret};

use self::connect::Connect;
use self::socks5::Socks5;

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Send(Secret<Vec<u8>>),
    /// Read, and [`take`](Request::take) what came.
    Read,
    /// The tunnel is open: every further octet is the host's.
    Open,
    /// The proxy does not lead there.
    Refused(Refusal),
}

/// A request to a proxy, on its way.
#[derive(Debug)]
pub enum Request<'p> {
    /// By HTTP.
    Connect(Connect<'p>),
    /// By SOCKS.
    Socks5(Socks5<'p>),
}

impl<'p> Request<'p> {
    /// Asks `proxy` to lead to `host`.
    pub fn new(proxy: &'p Proxy, host: &'p HostPort) -> Self {
        match proxy.kind() {
            ProxyKind::Http => Self::Connect(Connect::new(host, proxy.login())),
            ProxyKind::Socks5 => Self::Socks5(Socks5::new(host, proxy.login())),
        }
    }

    /// What is to be done next. What is to be sent is given once.
    pub fn step(&mut self) -> Step {
        match self {
            Self::Connect(connect) => connect.step(),
            Self::Socks5(socks) => socks.step(),
        }
    }

    /// Takes what belongs to the proxy's answer from the front of `octets`; how many that were. After [`Step::Read`] it is at least
    /// one of those that are there.
    pub fn take(&mut self, octets: &[u8]) -> usize {
        match self {
            Self::Connect(connect) => connect.take(octets),
            Self::Socks5(socks) => socks.take(octets),
        }
    }
}

/// A proxy does not lead to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not allow it: this host, this port, or us.
    Forbidden {
        /// What it said.
        said: String,
    },
    /// It does not accept the user name and the password.
    LoginRefused,
    /// It wants a login of a kind that we do not know.
    LoginUnknown {
        /// The kinds it offers, if it names them.
        offered: Vec<String>,
    },
    /// It wants a user name and a password, and there are none.
    LoginWanted,
    /// What it says is not what such a proxy says.
    NotThatKind {
        /// What was wrong.
        what: &'static str,
    },
    /// It did not reach the host, or is out of order.
    NotReached {
        /// What it said.
        said: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden { said } => write!(f, "it does not allow it: {said}"),
            Self::LoginRefused => f.write_str("it does not accept the user name and the password"),
            Self::LoginUnknown { offered } if offered.is_empty() => {
                f.write_str("it wants a login of a kind that is not known here")
            }
            Self::LoginUnknown { offered } => {
                write!(f, "it wants a login of a kind that is not known here: {}", offered.join(", "))
            }
            Self::LoginWanted => f.write_str("it wants a user name and a password, and none are given"),
            Self::NotThatKind { what } => f.write_str(what),
            Self::NotReached { said } => write!(f, "it did not get there: {said}"),
        }
    }
}

#[cfg(test)]
mod tests;
