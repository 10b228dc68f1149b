//! `postern password issue` and `adopt`: a new app password, made by Postern or brought along by a device.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::{Output, Tone};
use crate::admin::cli::password::scope::ScopeOptions;
use crate::admin::cli::password::{card, take_back, unique};
use crate::admin::cli::secret_file;
use crate::admin::cli::setup::ask::Asker;
use crate::admin::cli::values::{self, Expiry};
use crate::admin::cli::view::{AdoptedDocument, IssuedDocument};
use crate::admin::ops::{IssueRequest, Issued, Ops, PasswordRow, delivery_mode};
use crate::admin::tables::timestamp;
use crate::base::{Mailbox, Protocol, Secret};
use crate::config::{self, Config};
use crate::store::SenderScope;

/// What it is for.
#[derive(Args, Debug)]
pub(super) struct WhatFor {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    pub(super) address: Mailbox,
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
    pub(super) expires: Option<Expiry>,
    /// What becomes of messages: assured, what Exchange cannot take now is kept and delivered later; direct, the mail program hears what Exchange says, and has a queue of its own [default: as configured]
    #[arg(long, value_name = "HOW", value_parser = values::delivery)]
    delivery: Option<config::DeliveryMode>,
    /// Whom its messages may name as sender, in the envelope and in From: addresses, or @contoso.com for a whole domain [default: whomever Exchange allows]
    #[arg(long = "sender", value_name = "ADDRESS-or-@DOMAIN", value_delimiter = ',', value_parser = values::sender)]
    senders: Vec<String>,
    /// Put the mailbox in the place of whatever sender is named; replies still go to that one
    #[arg(long)]
    force_from: bool,
    #[command(flatten)]
    scope: ScopeOptions,
    /// Whose it is: a person or a department
    #[arg(long, value_name = "TEXT", value_parser = values::label)]
    owner: Option<String>,
    /// What else there is to know, such as where the device stands
    #[arg(long, value_name = "TEXT", value_parser = values::label)]
    note: Option<String>,
}

impl WhatFor {
    fn request(self, config: &Config, now: DateTime<Utc>, end: Option<DateTime<Utc>>) -> Result<IssueRequest, Failure> {
        let delivery = delivery_mode(self.delivery.unwrap_or(config.delivery.default));
        let sends =
            !self.senders.is_empty() || self.force_from || self.delivery.is_some() || self.scope.is_about_sending();
        if sends && self.scope.is_read_only() {
            return Err(Failure::Usage(
                "--read-only: what is for reading only sends nothing, so that --sender, --recipient, --force-from, --delivery, --max-per-minute \
                 and --max-per-day say nothing"
                    .to_owned(),
            ));
        }
        if self.protocols.contains(&Protocol::Smtp) && self.scope.is_read_only() {
            return Err(Failure::Usage(
                "--read-only: an app password for reading only is for IMAP and POP3, and not for `--protocol smtp`"
                    .to_owned(),
            ));
        }
        let submits = self.protocols.is_empty() || self.protocols.contains(&Protocol::Smtp);
        if sends && !submits {
            return Err(Failure::Usage(
                "--sender, --recipient, --force-from, --delivery, --max-per-minute and --max-per-day are about what is sent by SMTP, which --protocol \
                 leaves out"
                    .to_owned(),
            ));
        }
        let files = self.protocols.is_empty() || self.protocols.contains(&Protocol::Imap);
        if self.scope.drops_sent_copies() && !files {
            return Err(Failure::Usage(
                "--drop-sent-append: mail programs file copies by IMAP, which --protocol leaves out".to_owned(),
            ));
        }
        Ok(IssueRequest {
            scope: self.scope.scope(!self.protocols.is_empty(), now),
            mailbox: self.address,
            label: self.label,
            protocols: unique(self.protocols),
            networks: unique(self.networks),
            expires_at: end,
            short: false,
            delivery,
            owner: self.owner,
            note: self.note,
            senders: SenderScope { allowed: unique(self.senders), force_from: self.force_from },
        })
    }
}

/// Issue a new app password for a mailbox and print it once
///
/// The password stands alone on stdout; its ID, the settings for the mail program and its end go to stderr. It cannot be shown
/// again. Lists can be repeated or separated by commas.
#[derive(Args, Debug)]
pub(super) struct Issue {
    #[command(flatten)]
    pub(super) what_for: WhatFor,
    /// 16 characters, for devices that take no more
    #[arg(long)]
    short: bool,
}

/// Take a secret that a device holds already as an app password of a mailbox, so that the device need not be touched
///
/// The secret is asked for at the terminal, or read from a file; it counts to the letter. A weak one is refused: it could be guessed.
/// Where the device can be reached, `issue` is better.
#[derive(Args, Debug)]
pub(super) struct Adopt {
    #[command(flatten)]
    pub(super) what_for: WhatFor,
    /// Read the secret from this file, which holds nothing else; `-` is stdin [default: ask for it]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Take a weak one, for the networks that --network names: private ones, and others of a /24 at most (of IPv6 a /56)
    #[arg(long, requires = "networks")]
    force_weak: bool,
}

impl Issue {
    pub(super) async fn run(
        self,
        ops: &Ops,
        config: &Config,
        output: &Output,
        now: DateTime<Utc>,
        end: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        let request = IssueRequest { short: self.short, ..self.what_for.request(config, now, end)? };
        let issued = ops.issue_password(request).await?;
        match hand_out(output, config, &issued) {
            Ok(()) => Ok(()),
            Err(failure) => Err(take_back(ops, &issued.row.id, failure).await),
        }
    }
}

impl Adopt {
    pub(super) async fn run(
        self,
        ops: &Ops,
        config: &Config,
        output: &Output,
        now: DateTime<Utc>,
        end: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        // Before a person types: the mailbox is on the list.
        ops.mailbox(&self.what_for.address).await?;
        let secret = match &self.secret_file {
            Some(path) => secret_file::read_line(path, "secret")?,
            None => asked(output, &self.what_for.address)?,
        };
        if let Some(wide) = self.what_for.networks.iter().find(|network| self.force_weak && !is_one_place(network)) {
            return Err(Failure::Usage(format!(
                "--force-weak: {wide} is too wide for a weak secret, which is taken for private addresses, and for a /24 of others (of IPv6 a /56)"
            )));
        }
        let request = self.what_for.request(config, now, end)?;
        let adopted = ops.adopt_password(request, secret, self.force_weak).await?;
        let row = &adopted.row;
        if !adopted.strength.is_enough() {
            output.problem(
                Tone::Warning,
                &format!("the secret is weak: {}", adopted.strength.words()),
                Some("Put one that Postern has made in its place as soon as somebody can get at the device: `postern password rotate`."),
            );
        }
        warn_of_networks(output, config, row);
        output.note(&card::adopted_text(config, row));
        if output.is_json() {
            return output.json(&AdoptedDocument {
                id: &row.id,
                login: row.mailbox.as_str(),
                label: &row.label,
                mailbox: row.mailbox.as_str(),
                expires_at: row.expires_at.map(timestamp),
            });
        }
        output.data(&format!("{}\n", row.id))
    }
}

/// Whether it is a place where devices stand, and not a good part of the Internet.
fn is_one_place(network: &IpNet) -> bool {
    let inside = |outer: &str| outer.parse::<IpNet>().is_ok_and(|outer| outer.contains(network));
    let private = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    ];
    match network {
        IpNet::V4(v4) if v4.prefix_len() >= 24 => true,
        IpNet::V6(v6) if v6.prefix_len() >= 56 => true,
        _ => private.iter().any(|outer| inside(outer)),
    }
}

/// Asks for the secret, twice, as nobody sees what is typed.
fn asked(output: &Output, mailbox: &Mailbox) -> Result<Secret<String>, Failure> {
    let asker = Asker::new(output, false);
    if !asker.asks() {
        return Err(Failure::Usage(
            "nobody can be asked for the secret: name a file with --secret-file FILE (`-` is stdin)".to_owned(),
        ));
    }
    asker.hidden(&format!("secret that the device uses for {mailbox}"), Some("the same again"))
}

pub(super) fn hand_out(output: &Output, config: &Config, issued: &Issued) -> Result<(), Failure> {
    let Issued { password, row } = issued;
    warn_of_networks(output, config, row);
    if output.is_json() {
        return output.json(&document(issued));
    }
    output.data(&Zeroizing::new(format!("{}\n", password.expose())))?;
    output.note(&card::text(config, row));
    Ok(())
}

/// The one document that holds the password.
pub(super) fn document(Issued { password, row }: &Issued) -> IssuedDocument<'_> {
    IssuedDocument {
        id: &row.id,
        password: password.expose(),
        login: row.mailbox.as_str(),
        label: &row.label,
        mailbox: row.mailbox.as_str(),
        expires_at: row.expires_at.map(timestamp),
        replaces: row.replaces.as_deref(),
    }
}

fn warn_of_networks(output: &Output, config: &Config, row: &PasswordRow) {
    for network in card::unreachable_from(config, row) {
        output.problem(
            Tone::Warning,
            &format!("no listener of the configuration can be reached from {network}"),
            Some("Add a [[listener]] with an address of the network, as README.md shows in step 5; the default ones are open to this machine only."),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_private_or_small() {
        for (network, is_place) in [
            ("10.0.0.0/8", true),
            ("192.168.7.0/24", true),
            ("203.0.113.0/24", true),
            ("fd00::/8", true),
            ("2001:db8::/56", true),
            ("0.0.0.0/0", false),
            ("203.0.0.0/16", false),
            ("192.0.0.0/8", false),
            ("::/0", false),
            ("2001:db8::/48", false),
        ] {
            assert_eq!(is_one_place(&network.parse().unwrap()), is_place, "{network}");
        }
    }
}
