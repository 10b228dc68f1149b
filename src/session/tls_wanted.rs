//! What an administrator can do for a client that came without TLS and so could not log in.

use std::net::{IpAddr, SocketAddr};

use crate::base::Protocol;
use crate::listener::{Security, Settings as ListenerSettings};

/// A port where a protocol is served inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsPort {
    /// The protocol.
    pub protocol: Protocol,
    /// How TLS begins there.
    pub security: Security,
    /// The port, the real one.
    pub port: u16,
}

/// What to do for this client of the listener on `port`, given all the ports that are served: encryption in the mail program, or an
/// exception for the client's address.
pub(in crate::session) fn remedy(listener: &ListenerSettings, port: u16, client: IpAddr, served: &[TlsPort]) -> String {
    let protocol = listener.protocol;
    let mut ports: Vec<_> =
        served.iter().filter(|one| one.protocol == protocol && one.security != Security::None).collect();
    // The port that the program has already is the easiest to keep.
    ports.sort_by_key(|one| one.port != port);
    let ways: Vec<_> = ports
        .iter()
        .map(|one| match one.security {
            Security::Implicit => format!("SSL/TLS with port {}", one.port),
            Security::StartTls | Security::None => format!("STARTTLS with port {}", one.port),
        })
        .collect();
    let encrypt = if ways.is_empty() {
        format!(
            "Give {protocol} a listener with `tls = \"starttls\"` or `tls = \"implicit\"`, and turn encryption on in the program."
        )
    } else {
        format!("Turn encryption on in the program: {}.", ways.join(", or "))
    };
    let client = client.to_canonical();
    let address = SocketAddr::new(listener.address.ip(), port);
    format!(
        "{encrypt} If it can do no TLS, add \"{client}\" to `plaintext_from` of the {protocol} listener on {address}; its app \
         password then crosses the network in clear."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_the_ports_with_tls_and_the_address_to_let_in() {
        let listener = |security| ListenerSettings {
            protocol: Protocol::Smtp,
            address: "0.0.0.0:0".parse().unwrap(),
            security,
            plaintext_from: Vec::new(),
            proxy_protocol_from: Vec::new(),
        };
        let served = [
            TlsPort { protocol: Protocol::Smtp, security: Security::Implicit, port: 1465 },
            TlsPort { protocol: Protocol::Imap, security: Security::Implicit, port: 1993 },
            TlsPort { protocol: Protocol::Smtp, security: Security::None, port: 1025 },
            TlsPort { protocol: Protocol::Smtp, security: Security::StartTls, port: 1587 },
        ];
        let client = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(
            remedy(&listener(Security::StartTls), 1587, client, &served),
            "Turn encryption on in the program: STARTTLS with port 1587, or SSL/TLS with port 1465. If it can do no TLS, add \
             \"192.0.2.7\" to `plaintext_from` of the smtp listener on 0.0.0.0:1587; its app password then crosses the network in \
             clear."
        );
        let without = remedy(&listener(Security::None), 1025, client, &served[1..3]);
        assert!(without.starts_with("Give smtp a listener with `tls = \"starttls\"` or "), "{without}");
        assert!(without.contains("of the smtp listener on 0.0.0.0:1025;"), "{without}");
    }
}
