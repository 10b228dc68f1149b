//! `postern password`: the app passwords that mail programs log in with.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::{Entry, Output};
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values::{self, Expiry, timestamp};
use crate::admin::cli::view::{IssuedDocument, PasswordDocument, protocols};
use crate::admin::ops::{IssueRequest, Issued, Ops, PasswordRow, PasswordState, RevokeOutcome};
use crate::base::{Mailbox, Protocol};
use crate::config::{self, Config, Listener, TlsMode};
use crate::store::DeliveryMode;

/// Issue, list and revoke app passwords
#[derive(Args, Debug)]
pub(super) struct PasswordGroup {
    #[command(subcommand)]
    command: PasswordCommand,
}

#[derive(Subcommand, Debug)]
enum PasswordCommand {
    Issue(Issue),
    List(List),
    Show(Show),
    Revoke(Revoke),
}

/// Issue a new app password for a mailbox and print it once
///
/// The password stands alone on stdout; its ID, the settings for the mail program and its end go to stderr. It cannot be shown
/// again. Lists can be repeated or separated by commas.
#[derive(Args, Debug)]
struct Issue {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
    /// Which program or device uses it, such as "scanner, second floor"
    #[arg(long, value_name = "TEXT", value_parser = values::label)]
    label: String,
    /// The protocols it is good for: smtp, imap, pop3 [default: all]
    #[arg(long = "protocol", value_name = "PROTOCOL", value_delimiter = ',', value_parser = values::protocol)]
    protocols: Vec<Protocol>,
    /// The networks it may be used from, such as 10.1.0.0/16 [default: any]
    #[arg(long = "network", value_name = "CIDR", value_delimiter = ',', value_parser = values::network)]
    networks: Vec<IpNet>,
    /// Its end: a span such as 90d, or a date, which means the end of that day in UTC [default: never]
    #[arg(long, value_name = "WHEN", value_parser = values::expiry, allow_hyphen_values = true)]
    expires: Option<Expiry>,
    /// What becomes of messages: direct, the mail program waits and hears what Exchange says [default: as configured]
    #[arg(long, value_name = "HOW", value_parser = values::delivery)]
    delivery: Option<config::DeliveryMode>,
    /// 16 characters, for devices that take no more
    #[arg(long)]
    short: bool,
}

/// List the app passwords, without the passwords
#[derive(Args, Debug)]
struct List {}

/// Show one app password, without the password
#[derive(Args, Debug)]
struct Show {
    /// Its ID
    id: String,
}

/// Revoke an app password: refused at its next login, its open sessions closed within 5 seconds
///
/// Revoking one twice is no fault.
#[derive(Args, Debug)]
struct Revoke {
    /// Its ID
    id: String,
}

#[derive(Serialize)]
struct RevokedDocument<'a> {
    id: &'a str,
    state: &'static str,
}

impl PasswordGroup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let end = match &self.command {
            PasswordCommand::Issue(Issue { expires: Some(expiry), .. }) => Some(moment_ahead(*expiry, set_up.now())?),
            _ => None,
        };
        let config = set_up.config()?;
        set_up.wait_for(async {
            let ops = Ops::open(&config).await?;
            self.command.run(&ops, &config, &set_up.output, end).await
        })
    }
}

fn moment_ahead(expiry: Expiry, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    expiry.moment(now).ok_or_else(|| Failure::Usage("--expires: that moment has passed already".to_owned()))
}

impl PasswordCommand {
    async fn run(self, ops: &Ops, config: &Config, output: &Output, end: Option<DateTime<Utc>>) -> Result<(), Failure> {
        match self {
            Self::Issue(issue) => {
                let delivery = match issue.delivery.unwrap_or(config.delivery.default) {
                    config::DeliveryMode::Direct => DeliveryMode::Direct,
                };
                let request = IssueRequest {
                    mailbox: issue.address,
                    label: issue.label,
                    protocols: unique(issue.protocols),
                    networks: unique(issue.networks),
                    expires_at: end,
                    short: issue.short,
                    delivery,
                };
                hand_out(output, config, &ops.issue_password(request).await?)
            }
            Self::List(List {}) => list(output, &ops.passwords().await?),
            Self::Show(Show { id }) => show(output, &ops.password(&id).await?),
            Self::Revoke(Revoke { id }) => {
                match ops.revoke_password(&id).await? {
                    RevokeOutcome::Revoked => {
                        output.note(&format!("{id} is revoked; its open sessions end within 5 seconds"));
                    }
                    RevokeOutcome::AlreadyRevoked => output.note(&format!("{id} was revoked already")),
                }
                if output.is_json() {
                    output.json(&RevokedDocument { id: &id, state: PasswordState::Revoked.name() })?;
                }
                Ok(())
            }
        }
    }
}

/// The list without what is there twice, in its order.
fn unique<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(list.len());
    for item in list {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn hand_out(output: &Output, config: &Config, issued: &Issued) -> Result<(), Failure> {
    let Issued { password, row } = issued;
    if output.is_json() {
        return output.json(&IssuedDocument {
            id: &row.id,
            password: password.expose(),
            login: row.mailbox.as_str(),
            label: &row.label,
            mailbox: row.mailbox.as_str(),
            expires_at: row.expires_at.map(timestamp),
            replaces: None,
        });
    }
    output.data(&Zeroizing::new(format!("{}\n", password.expose())))?;
    output.note(&card(config, row));
    Ok(())
}

/// What to enter in the mail program.
fn card(config: &Config, row: &PasswordRow) -> String {
    let mut lines = vec![
        format!(
            "App password {} for {} ({}). It is shown this once; only you have it now.",
            row.id, row.mailbox, row.label
        ),
        String::new(),
        format!("  user name  {}", row.mailbox),
        "  password   the line above; hyphens may be left out".to_owned(),
    ];
    for protocol in &row.protocols {
        for listener in config.listeners.iter().filter(|listener| listener.protocol == *protocol) {
            lines.push(format!("  {:<9}  {}", protocol.name().to_uppercase(), server(listener)));
        }
    }
    if !row.networks.is_empty() {
        let networks: Vec<String> = row.networks.iter().map(ToString::to_string).collect();
        lines.push(format!("  only from  {}", networks.join(", ")));
    }
    lines.push(format!("  ends       {}", row.expires_at.map_or_else(|| "never".to_owned(), timestamp)));
    lines.push(format!("  to revoke  postern password revoke {}", row.id));
    lines.join("\n")
}

/// Host, port and encryption as mail programs call them.
fn server(listener: &Listener) -> String {
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

fn list(output: &Output, rows: &[PasswordRow]) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&rows.iter().map(PasswordDocument::from).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        output.note("there is no app password; issue one with `postern password issue ADDRESS --label TEXT`");
        return Ok(());
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.id.clone().into(),
            row.mailbox.to_string().into(),
            row.label.clone().into(),
            state(row.state),
            protocols(&row.protocols).into(),
            networks(row),
            row.expires_at.map_or(Entry::Faint("never".to_owned()), |end| timestamp(end).into()),
            row.last_used_at.map_or(Entry::Faint("never".to_owned()), |used| timestamp(used).into()),
        ]
    });
    output.table(&["ID", "MAILBOX", "LABEL", "STATE", "PROTOCOLS", "NETWORKS", "ENDS", "LAST USED"], cells.collect())
}

fn show(output: &Output, row: &PasswordRow) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&PasswordDocument::from(row));
    }
    let or_never = |moment: Option<DateTime<Utc>>| {
        moment.map_or(Entry::Faint("never".to_owned()), |moment| timestamp(moment).into())
    };
    let mut cells = vec![
        vec!["id".into(), row.id.clone().into()],
        vec!["mailbox".into(), row.mailbox.to_string().into()],
        vec!["label".into(), row.label.clone().into()],
        vec!["state".into(), state(row.state)],
        vec!["protocols".into(), protocols(&row.protocols).into()],
        vec!["networks".into(), networks(row)],
        vec!["delivery".into(), row.delivery.name().into()],
        vec!["issued".into(), timestamp(row.created_at).into()],
        vec!["ends".into(), or_never(row.expires_at)],
        vec!["last used".into(), or_never(row.last_used_at)],
    ];
    if let Some(revoked_at) = row.revoked_at {
        cells.push(vec!["revoked".into(), timestamp(revoked_at).into()]);
    }
    output.table(&[], cells)
}

fn networks(row: &PasswordRow) -> Entry {
    if row.networks.is_empty() {
        return Entry::Faint("any".to_owned());
    }
    row.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ").into()
}

fn state(state: PasswordState) -> Entry {
    let name = state.name().to_owned();
    match state {
        PasswordState::Active => Entry::Good(name),
        PasswordState::Expired => Entry::Bad(name),
        PasswordState::Revoked => Entry::Faint(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_names_the_listeners_of_the_protocols_it_is_good_for() {
        let config = Config::built_in("data".into());
        let row = PasswordRow {
            id: "k7m2qx".into(),
            mailbox: "alice@contoso.test".parse().unwrap(),
            label: "Scanner".into(),
            state: PasswordState::Active,
            protocols: vec![Protocol::Smtp],
            networks: vec!["10.1.0.0/16".parse().unwrap()],
            delivery: DeliveryMode::Direct,
            created_at: DateTime::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        let card = card(&config, &row);
        for part in [
            "k7m2qx",
            "  SMTP       localhost, port 1587, STARTTLS",
            "  SMTP       localhost, port 1465, SSL/TLS",
            "  only from  10.1.0.0/16",
            "  ends       never",
        ] {
            assert!(card.contains(part), "{part}\n{card}");
        }
        assert!(!card.contains("IMAP"), "{card}");
    }

    #[test]
    fn what_is_named_twice_counts_once() {
        assert_eq!(unique(vec![Protocol::Imap, Protocol::Smtp, Protocol::Imap]), [Protocol::Imap, Protocol::Smtp]);
    }
}
