//! What an app password is bound to beside protocols, networks and senders: the options, and how they are shown.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::admin::cli::password::unique;
use crate::admin::cli::values::{self, Start};
use crate::admin::ops::PasswordRow;
use crate::admin::tables::timestamp;
use crate::store::UseScope;

/// The options.
#[derive(Args, Debug)]
pub(super) struct ScopeOptions {
    /// IMAP and POP3 may read and change nothing, and nothing may be sent: for backup programs
    #[arg(long)]
    read_only: bool,
    /// Drop what its mail program files in Sent Items of messages that it has sent through Postern: Exchange files them itself
    #[arg(long, conflicts_with = "read_only")]
    drop_sent_append: bool,
    /// To whom it may send: addresses, or @contoso.com for a whole domain [default: anybody]
    #[arg(long = "recipient", value_name = "ADDRESS-or-@DOMAIN", value_delimiter = ',', value_parser = values::sender)]
    recipients: Vec<String>,
    /// When it begins to work: a span such as 12h, or a date, which means the beginning of that day in UTC [default: at once]
    #[arg(long, value_name = "WHEN", value_parser = values::start)]
    not_before: Option<Start>,
    /// How many messages it may send in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_per_minute: Option<u32>,
    /// How many messages it may send in 24 hours
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_per_day: Option<u32>,
    /// How many sessions it may have at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_sessions: Option<u32>,
    /// Bind it to the network of its first login (the 256 addresses around it, a /64 of IPv6), and to that one's protocol unless --protocol names some
    #[arg(long)]
    bind_first_use: bool,
    /// Let it lapse unless it is used for the first time within this span, such as 24h
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    activate_within: Option<chrono::Duration>,
}

impl ScopeOptions {
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether copies of what it sends are dropped.
    pub(super) fn drops_sent_copies(&self) -> bool {
        self.drop_sent_append
    }

    /// Whether something is said of what it sends.
    pub(super) fn is_about_sending(&self) -> bool {
        !self.recipients.is_empty() || self.max_per_minute.is_some() || self.max_per_day.is_some()
    }

    pub(super) fn scope(self, names_protocols: bool, now: DateTime<Utc>) -> UseScope {
        let starts_at = self.not_before.map(|start| start.moment(now));
        UseScope {
            read_only: self.read_only,
            drop_sent_append: self.drop_sent_append,
            recipients: unique(self.recipients),
            starts_at,
            max_per_minute: self.max_per_minute,
            max_per_day: self.max_per_day,
            max_sessions: self.max_sessions,
            binds_network: self.bind_first_use,
            binds_protocol: self.bind_first_use && !names_protocols,
            // It cannot be used before it begins to work.
            activate_by: self.activate_within.map(|span| starts_at.unwrap_or(now).max(now) + span),
        }
    }
}

/// The same for programs.
#[derive(Debug, Serialize)]
pub(in crate::admin::cli) struct TrackingDocument {
    owner: Option<String>,
    note: Option<String>,
    created_by: Option<String>,
    last_address: Option<String>,
    last_protocol: Option<&'static str>,
    last_client: Option<String>,
    last_tls: Option<String>,
    logins: u64,
    upstream_refusals: u64,
}

impl From<&PasswordRow> for TrackingDocument {
    fn from(row: &PasswordRow) -> Self {
        let tracking = row.tracking.clone();
        let last = tracking.last.as_ref();
        Self {
            last_address: last.map(|last| last.address.to_string()),
            last_protocol: last.map(|last| last.protocol.name()),
            last_client: last.and_then(|last| last.client.clone()),
            last_tls: last.and_then(|last| last.tls.clone()),
            owner: tracking.owner,
            note: tracking.note,
            created_by: tracking.created_by,
            logins: tracking.logins,
            upstream_refusals: tracking.refusals,
        }
    }
}

/// The same for programs, in `password show`.
#[derive(Debug, Serialize)]
pub(in crate::admin::cli) struct ScopeDocument {
    drop_sent_append: bool,
    recipients: Vec<String>,
    not_before: Option<String>,
    max_per_minute: Option<u32>,
    max_per_day: Option<u32>,
    max_sessions: Option<u32>,
    bind_first_use: bool,
    activate_by: Option<String>,
    first_used_at: Option<String>,
    bound_network: Option<String>,
    bound_protocol: Option<&'static str>,
}

impl From<&PasswordRow> for ScopeDocument {
    fn from(row: &PasswordRow) -> Self {
        let scope = &row.scope;
        let first = row.first_use.as_ref();
        Self {
            drop_sent_append: scope.drop_sent_append,
            recipients: scope.recipients.clone(),
            not_before: scope.starts_at.map(timestamp),
            max_per_minute: scope.max_per_minute,
            max_per_day: scope.max_per_day,
            max_sessions: scope.max_sessions,
            bind_first_use: scope.binds_network,
            activate_by: scope.activate_by.map(timestamp),
            first_used_at: first.map(|first| timestamp(first.at)),
            bound_network: first.filter(|_| scope.binds_network).map(|first| first.network.to_string()),
            bound_protocol: first.filter(|_| scope.binds_protocol).map(|first| first.protocol.name()),
        }
    }
}
