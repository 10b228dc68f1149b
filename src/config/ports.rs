//! The ports that are opened, as they are checked.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::base::Protocol;

/// A port that is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where; port 0 takes a free one.
    pub address: SocketAddr,
    /// How it is encrypted.
    pub tls: TlsMode,
    /// Who may log in without TLS. Empty for implicit TLS.
    pub plaintext_from: Vec<IpNet>,
    /// Load balancers that speak the PROXY protocol.
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Listener {
    /// The six that are opened where the file names none.
    pub fn defaults() -> Vec<Self> {
        [
            (Protocol::Smtp, 1587, TlsMode::Starttls),
            (Protocol::Smtp, 1465, TlsMode::Implicit),
            (Protocol::Imap, 1143, TlsMode::Starttls),
            (Protocol::Imap, 1993, TlsMode::Implicit),
            (Protocol::Pop3, 1110, TlsMode::Starttls),
            (Protocol::Pop3, 1995, TlsMode::Implicit),
        ]
        .into_iter()
        .map(|(protocol, port, tls)| Self {
            protocol,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            tls,
            plaintext_from: if tls == TlsMode::Implicit { Vec::new() } else { Self::default_plaintext_from() },
            proxy_protocol_from: Vec::new(),
        })
        .collect()
    }

    /// This machine: 127.0.0.0/8 and ::1.
    pub fn default_plaintext_from() -> Vec<IpNet> {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
        let v6 = Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);
        vec![IpNet::V4(v4), IpNet::V6(v6)]
    }
}

/// How a listener is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Not at all.
    None,
    /// After STARTTLS (SMTP, IMAP) or STLS (POP3).
    Starttls,
    /// From the first byte.
    Implicit,
}

impl TlsMode {
    /// The name in the configuration and in the list of listeners.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starttls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
