//! What goes with a new app password: what to enter in the mail program, and whether its networks lead to a listener.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::admin::ops::PasswordRow;
use crate::admin::tables::{self, timestamp};
use crate::config::{Config, Listener, TlsMode};

/// What to enter in the mail program.
pub(in crate::admin::cli) fn text(config: &Config, row: &PasswordRow) -> String {
    let first = format!(
        "App password {} for {} ({}). It is shown this once; only you have it now.",
        row.id, row.mailbox, row.label
    );
    card(config, row, first, "what stands on stdout; its hyphens, if it has any, may be left out")
}

/// What the device has to have beside the secret that it has already.
pub(in crate::admin::cli) fn adopted_text(config: &Config, row: &PasswordRow) -> String {
    let first = format!(
        "App password {} for {} ({}): the secret that the device has. It is kept nowhere in a form that can be read.",
        row.id, row.mailbox, row.label
    );
    card(config, row, first, "stays as it is in the device")
}

fn card(config: &Config, row: &PasswordRow, first: String, password: &str) -> String {
    let mut lines =
        vec![first, String::new(), format!("  user name  {}", row.mailbox), format!("  password   {password}")];
    for protocol in &row.protocols {
        for listener in config.listeners.iter().filter(|listener| listener.protocol == *protocol) {
            lines.push(format!("  {:<9}  {}", protocol.name().to_uppercase(), server(listener)));
        }
    }
    if !row.networks.is_empty() {
        let networks: Vec<String> = row.networks.iter().map(ToString::to_string).collect();
        lines.push(format!("  only from  {}", networks.join(", ")));
    }
    let allowed = row.senders.allowed.join(", ");
    let sends_as = match (allowed.is_empty(), row.senders.force_from) {
        (true, false) => None,
        (false, false) => Some(allowed),
        (true, true) => Some(format!("{}, whatever sender is named", row.mailbox)),
        (false, true) => Some(format!("{}, where one of these is named: {allowed}", row.mailbox)),
    };
    lines.extend(sends_as.map(|whom| format!("  sends as   {whom}")));
    lines.extend(tables::card_lines(&row.scope));
    lines.push(format!("  ends       {}", row.expires_at.map_or_else(|| "never".to_owned(), timestamp)));
    lines.push(format!("  to revoke  postern password revoke {}", row.id));
    lines.join("\n")
}

/// Host, port and encryption as mail programs call them.
pub(in crate::admin::cli) fn server(listener: &Listener) -> String {
    let ip = listener.address.ip();
    let host = if ip.is_loopback() {
        "localhost".to_owned()
    } else if ip.is_unspecified() {
        "this machine's name".to_owned()
    } else {
        ip.to_string()
    };
    let port = match listener.address.port() {
        0 => "the port that `postern serve` prints".to_owned(),
        port => format!("port {port}"),
    };
    let encryption = match listener.tls {
        TlsMode::Implicit => "SSL/TLS",
        TlsMode::Starttls => "STARTTLS",
        TlsMode::None => "no encryption",
    };
    format!("{host}, {port}, {encryption}")
}

/// The networks of an app password from which none of the listeners of its protocols can be reached.
pub(in crate::admin::cli) fn unreachable_from(config: &Config, row: &PasswordRow) -> Vec<IpNet> {
    let listeners = || config.listeners.iter().filter(|listener| row.protocols.contains(&listener.protocol));
    let reached = |network: &IpNet| listeners().any(|listener| can_reach(network, listener.address.ip()));
    row.networks.iter().filter(|network| !reached(network)).copied().collect()
}

/// Whether a program in `network` can have a connection to `address`: one of loopback takes only those of this machine, and every
/// address those of its own family.
fn can_reach(network: &IpNet, address: IpAddr) -> bool {
    let same_family = matches!(network, IpNet::V4(_)) == address.is_ipv4();
    let holds_this_machine =
        || Listener::default_plaintext_from().iter().any(|ours| ours.contains(network) || network.contains(ours));
    same_family && (!address.is_loopback() || holds_this_machine())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::admin::ops::PasswordState;
    use crate::base::Protocol;
    use crate::store::DeliveryMode;

    fn row(protocols: &[Protocol], networks: &[&str]) -> PasswordRow {
        PasswordRow {
            id: "k7m2qx".into(),
            mailbox: "alice@contoso.test".parse().unwrap(),
            label: "Scanner".into(),
            state: PasswordState::Active,
            protocols: protocols.to_vec(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            delivery: DeliveryMode::Direct,
            senders: crate::store::SenderScope::default(),
            scope: crate::store::UseScope::default(),
            first_use: None,
            created_at: DateTime::UNIX_EPOCH,
            expires_at: None,
            ends_within_days: None,
            revoked_at: None,
            last_used_at: None,
            replaces: None,
            tracking: crate::store::Tracking::default(),
            is_adopted: false,
            replaced_by: None,
            replaced_at: None,
            ends_unused: None,
        }
    }

    #[test]
    fn the_card_names_the_listeners_of_the_protocols_it_is_good_for() {
        let config = Config::built_in("data".into());
        let row = row(&[Protocol::Smtp], &["10.1.0.0/16"]);
        let card = text(&config, &row);
        for part in [
            "k7m2qx",
            "  SMTP       localhost, port 1587, STARTTLS",
            "  SMTP       localhost, port 1465, SSL/TLS",
            "  only from  10.1.0.0/16",
            "  ends       never",
        ] {
            assert!(card.contains(part), "{part}\n{card}");
        }
        assert!(!card.contains("IMAP") && !card.contains("sends as"), "{card}");
    }

    #[test]
    fn the_card_says_whom_its_messages_come_from() {
        let config = Config::built_in("data".into());
        for (allowed, force_from, line) in [
            (&["@contoso.test", "x@y.test"][..], false, "  sends as   @contoso.test, x@y.test\n"),
            (&[], true, "  sends as   alice@contoso.test, whatever sender is named\n"),
            (&["@contoso.test"], true, "  sends as   alice@contoso.test, where one of these is named: @contoso.test\n"),
        ] {
            let mut row = row(&[Protocol::Smtp], &[]);
            row.senders.allowed = allowed.iter().map(|&one| one.to_owned()).collect();
            row.senders.force_from = force_from;
            let card = text(&config, &row);
            assert!(card.contains(line), "{line}\n{card}");
        }
    }

    #[test]
    fn a_network_that_leads_to_no_listener_is_found() {
        let mut config = Config::built_in("data".into());
        let unreachable = |config: &Config, protocols: &[Protocol], networks: &[&str]| {
            let found = unreachable_from(config, &row(protocols, networks));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        // The default listeners are on 127.0.0.1.
        for (network, found) in [
            ("10.1.0.0/16", true),
            ("10.1.2.3/32", true),
            ("fd00::/8", true),
            ("::1/128", true),
            ("127.0.0.1/32", false),
            ("127.0.0.0/8", false),
            ("0.0.0.0/0", false),
        ] {
            assert_eq!(!unreachable(&config, &Protocol::ALL, &[network]).is_empty(), found, "{network}");
        }
        assert!(unreachable(&config, &Protocol::ALL, &[]).is_empty(), "from anywhere is from this machine too");
        // One SMTP listener on the network.
        if let Some(listener) = config.listeners.first_mut() {
            listener.address = "0.0.0.0:587".parse().unwrap();
        }
        assert!(unreachable(&config, &Protocol::ALL, &["10.1.0.0/16"]).is_empty());
        assert_eq!(unreachable(&config, &[Protocol::Imap], &["10.1.0.0/16", "127.0.0.1/32"]), ["10.1.0.0/16"]);
        assert_eq!(unreachable(&config, &[Protocol::Smtp], &["fd00::/8"]), ["fd00::/8"], "0.0.0.0 takes IPv4 only");
    }
}
