//! Hosts: a name or address with a port, and which addresses of it may be used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A host name or address with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The name, in lower case, or the address without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// What stands for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind<'a> {
    /// A name.
    Name(&'a str),
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address.
    V6([u8; 16]),
}

impl HostPort {
    /// Whether the host is a name or an address, in octets.
    pub fn kind(&self) -> HostKind<'_> {
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => HostKind::V4(address.octets()),
            Ok(IpAddr::V6(address)) => HostKind::V6(address.octets()),
            Err(_) => HostKind::Name(&self.host),
        }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("`{text}` has no port"));
        };
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 && !port_has_sign(text) => port,
            _ => return Err(format!("`{port}` is not a port")),
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inside) => match inside.parse::<Ipv6Addr>() {
                Ok(address) => address.to_string(),
                Err(_) => return Err(format!("`{inside}` is not an IPv6 address")),
            },
            None if is_host_name(host) => host.to_ascii_lowercase(),
            None => return Err(format!("`{host}` is not a host name or address")),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `u16::from_str` takes `+993`, which no one means.
fn port_has_sign(text: &str) -> bool {
    text.rsplit(':').next().is_some_and(|port| port.starts_with('+'))
}

/// Whether `text` is a host name (RFC 1123, section 2.1) or an IPv4 address. The underscore is in no standard, but in many
/// internal names.
pub fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if all_digits {
        return text.parse::<Ipv4Addr>().is_ok();
    }
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Which addresses of a host are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Family {
    /// All of them.
    #[default]
    Auto,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}
