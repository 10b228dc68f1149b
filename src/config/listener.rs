//! `[[listener]]`: what is opened, and who may log in without TLS.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::base::Protocol;
use crate::config::model::{Listener, TlsMode};
use crate::config::raw::{Place, Section};

/// Reads every `[[listener]]`; none at all means the six default ones.
pub(super) fn listeners(root: &Section<'_>) -> Vec<Listener> {
    let written = root.has("listener");
    let mut listeners = Vec::new();
    let mut addresses: HashMap<SocketAddr, String> = HashMap::new();
    for section in root.tables("listener") {
        let address_place = section.place_of("address");
        if let Some(listener) = listener(section, root) {
            refuse_taken_address(root, &listener, &address_place, &mut addresses);
            listeners.push(listener);
        }
    }
    if written { listeners } else { Listener::defaults() }
}

fn listener(section: Section<'_>, root: &Section<'_>) -> Option<Listener> {
    let report = root.report();
    let protocols = Protocol::ALL.map(|protocol| (protocol.name(), protocol));
    if !section.has("protocol") {
        report.fault(
            &section.place_of("protocol"),
            "this is missing",
            "Write protocol = \"smtp\", \"imap\" or \"pop3\".",
        );
    }
    let protocol = section.word("protocol", &protocols);
    let address = section.required_text("address", "Write an IP address and a port, such as \"127.0.0.1:1587\".");
    let address = address.and_then(|text| match text.value.parse::<SocketAddr>() {
        Ok(address) => Some(text.map(|_| address)),
        Err(_) => {
            let message = format!("`{}` is not an IP address and a port", text.value.escape_debug());
            let remedy = "Write them as \"127.0.0.1:1587\", \"0.0.0.0:587\" or \"[::1]:1587\".";
            report.fault(&text.place, message, remedy);
            None
        }
    });
    let modes = [TlsMode::None, TlsMode::Starttls, TlsMode::Implicit].map(|mode| (mode.name(), mode));
    let tls_wrong = section.has("tls");
    let tls = section.word("tls", &modes);
    let tls_wrong = tls_wrong && tls.is_none();
    // STARTTLS is a default that lets nobody's password pass in the clear: without TLS only this machine may log in.
    let mode = tls.as_ref().map_or(TlsMode::Starttls, |mode| mode.value);
    let plaintext_from = plaintext_from(&section, mode);
    if let Some(address) = &address {
        check_reach(&section, address.value, mode, plaintext_from.as_deref());
    }
    let proxy_protocol_from = proxy_protocol_from(&section);
    section.finish();
    if tls_wrong {
        return None;
    }
    let plaintext_from = match mode {
        TlsMode::Implicit => Vec::new(),
        TlsMode::None | TlsMode::Starttls => plaintext_from.unwrap_or_else(Listener::default_plaintext_from),
    };
    Some(Listener {
        protocol: protocol?.value,
        address: address?.value,
        tls: mode,
        plaintext_from,
        proxy_protocol_from,
    })
}

/// Reads `plaintext_from`; `None` where it is not written.
fn plaintext_from(section: &Section<'_>, mode: TlsMode) -> Option<Vec<IpNet>> {
    let report = section.report();
    let list = section.texts("plaintext_from")?;
    if mode == TlsMode::Implicit {
        let remedy = "Remove `plaintext_from`, or use tls = \"starttls\".";
        report.fault(&list.place, "nobody can be without TLS on an implicit listener", remedy);
    }
    let mut networks = Vec::new();
    for text in list.value {
        match parse_network(text.value) {
            Some(network) => {
                if is_wide(&network) {
                    let message =
                        format!("with `{network}` passwords may cross the network where others can read them");
                    report.warning(&text.place, message, "Name only the networks of the devices that know no TLS.");
                }
                networks.push(network);
            }
            None => {
                let message = format!("`{}` is not a network", text.value.escape_debug());
                report.fault(&text.place, message, "Write it as \"10.1.0.0/16\", \"10.1.2.3\" or \"fd00::/8\".");
            }
        }
    }
    Some(networks)
}

/// Reads `proxy_protocol_from`. Whoever stands in it can say that it speaks for any address.
fn proxy_protocol_from(section: &Section<'_>) -> Vec<IpNet> {
    let report = section.report();
    let mut networks = Vec::new();
    for text in section.texts("proxy_protocol_from").map(|list| list.value).unwrap_or_default() {
        match parse_network(text.value) {
            Some(network) => {
                if is_wide(&network) {
                    let message = format!("with `{network}` strangers can name any address as theirs");
                    report.warning(&text.place, message, "Name only the addresses of the load balancers.");
                }
                networks.push(network);
            }
            None => {
                let message = format!("`{}` is not a network", text.value.escape_debug());
                report.fault(&text.place, message, "Write it as \"10.0.0.5\" or \"10.1.0.0/24\".");
            }
        }
    }
    networks
}

/// A network in CIDR notation, or one address.
pub fn parse_network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// Wider than any network that one company owns: 10.0.0.0/8 and fc00::/7 are the widest private ones.
fn is_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 7,
    }
}

fn check_reach(section: &Section<'_>, address: SocketAddr, mode: TlsMode, plaintext_from: Option<&[IpNet]>) {
    if mode != TlsMode::None {
        return;
    }
    let report = section.report();
    let place = section.place_of("tls");
    match plaintext_from {
        Some([]) => {
            let remedy = "Use tls = \"starttls\", or name who may log in without TLS in `plaintext_from`.";
            report.fault(&place, "nobody could log in: there is no TLS, and nobody may do without", remedy);
        }
        None if !address.ip().is_loopback() => {
            let message = format!(
                "nobody on the network could log in at {address}: there is no TLS, and only this machine may do without"
            );
            let remedy = "Use tls = \"starttls\", or name who may log in without TLS in `plaintext_from`.";
            report.fault(&place, message, remedy);
        }
        Some(_) if !address.ip().is_loopback() => {
            let message = format!("passwords come to {address} in the clear, and others on the network may read them");
            report.warning(&place, message, "Use tls = \"starttls\" wherever the devices know it.");
        }
        _ => {}
    }
}

/// The same address twice cannot be opened, nor one that a wildcard of the same port covers. Port 0 takes a free one.
fn refuse_taken_address(
    root: &Section<'_>,
    listener: &Listener,
    place: &Place,
    addresses: &mut HashMap<SocketAddr, String>,
) {
    let address = listener.address;
    if address.port() == 0 {
        return;
    }
    let clash = addresses.iter().find(|(earlier, _)| {
        earlier.port() == address.port()
            && earlier.is_ipv4() == address.is_ipv4()
            && (earlier.ip() == address.ip() || earlier.ip().is_unspecified() || address.ip().is_unspecified())
    });
    match clash {
        Some((earlier, key)) => {
            let message = format!("{address} cannot be opened: `{key}` opens {earlier}");
            root.report().fault(place, message, "Give each listener a port of its own.");
        }
        None => {
            addresses.insert(address, place.key.clone());
        }
    }
}
