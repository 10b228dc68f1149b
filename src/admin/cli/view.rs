//! The documents of `--json`: their fields are fixed, and scripts rely on them. No secret has a place in a list.

use serde::Serialize;

use crate::admin::cli::password::scope::{ScopeDocument, TrackingDocument};
use crate::admin::ops::{MailboxRow, PasswordRow};
use crate::admin::tables::timestamp;

/// A mailbox in `mailbox list`.
#[derive(Debug, Serialize)]
pub(super) struct MailboxDocument {
    address: String,
    tenant: String,
    aliases: Vec<String>,
    sign_in_as: Option<String>,
    state: &'static str,
    since: String,
    reason: Option<String>,
}

impl From<&MailboxRow> for MailboxDocument {
    fn from(row: &MailboxRow) -> Self {
        Self {
            address: row.address.to_string(),
            tenant: row.tenant.to_string(),
            aliases: row.aliases.clone(),
            sign_in_as: row.sign_in_as.as_ref().map(ToString::to_string),
            state: row.state.name(),
            since: timestamp(row.since),
            reason: row.whole_reason(),
        }
    }
}

/// What an app password is, in the documents about it.
#[derive(Debug, Serialize)]
pub(super) struct PasswordDocument {
    id: String,
    mailbox: String,
    label: String,
    state: &'static str,
    protocols: Vec<&'static str>,
    networks: Vec<String>,
    senders: Vec<String>,
    read_only: bool,
    delivery: &'static str,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

/// An app password in `password list` and `password show`, with everything that is known of it.
#[derive(Debug, Serialize)]
pub(super) struct ShownPasswordDocument {
    #[serde(flatten)]
    listed: PasswordDocument,
    force_from: bool,
    #[serde(flatten)]
    scope: ScopeDocument,
    #[serde(flatten)]
    tracking: TrackingDocument,
    replaces: Option<String>,
    replaced_by: Option<String>,
}

impl From<&PasswordRow> for ShownPasswordDocument {
    fn from(row: &PasswordRow) -> Self {
        Self {
            listed: row.into(),
            force_from: row.senders.force_from,
            scope: row.into(),
            tracking: row.into(),
            replaces: row.replaces.clone(),
            replaced_by: row.replaced_by.clone(),
        }
    }
}

impl From<&PasswordRow> for PasswordDocument {
    fn from(row: &PasswordRow) -> Self {
        Self {
            id: row.id.clone(),
            mailbox: row.mailbox.to_string(),
            label: row.label.clone(),
            state: row.state.name(),
            protocols: row.protocols.iter().map(|protocol| protocol.name()).collect(),
            networks: row.networks.iter().map(ToString::to_string).collect(),
            senders: row.senders.allowed.clone(),
            read_only: row.scope.read_only,
            delivery: row.delivery.name(),
            created_at: timestamp(row.created_at),
            expires_at: row.expires_at.map(timestamp),
            last_used_at: row.last_used_at.map(timestamp),
        }
    }
}

/// A new app password: the one document that holds a secret, once.
#[derive(Serialize)]
pub(super) struct IssuedDocument<'a> {
    pub(super) id: &'a str,
    pub(super) password: &'a str,
    pub(super) login: &'a str,
    pub(super) label: &'a str,
    pub(super) mailbox: &'a str,
    pub(super) expires_at: Option<String>,
    pub(super) replaces: Option<&'a str>,
}

/// A secret of a device that is an app password now, without the secret.
#[derive(Serialize)]
pub(super) struct AdoptedDocument<'a> {
    pub(super) id: &'a str,
    pub(super) login: &'a str,
    pub(super) label: &'a str,
    pub(super) mailbox: &'a str,
    pub(super) expires_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Utc};

    use super::*;
    use crate::admin::ops::{MailboxState, PasswordState};
    use crate::base::{Protocol, TenantName};
    use crate::store::DeliveryMode;

    #[test]
    fn the_documents_have_exactly_the_fields_that_are_promised() {
        let moment = Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).unwrap();
        let mailbox = MailboxRow {
            address: "alice@contoso.test".parse().unwrap(),
            tenant: TenantName::new("contoso"),
            aliases: vec!["scanner".into()],
            sign_in_as: None,
            is_halted: false,
            state: MailboxState::NeedsSignIn,
            since: moment,
            reason: Some("nobody has signed in".into()),
            remedy: Some("Sign in.".into()),
        };
        assert_eq!(
            serde_json::to_string(&MailboxDocument::from(&mailbox)).unwrap(),
            r#"{"address":"alice@contoso.test","tenant":"contoso","aliases":["scanner"],"sign_in_as":null,"state":"needs-sign-in","since":"2026-11-23T12:00:00Z","reason":"nobody has signed in. Sign in."}"#
        );
        let password = PasswordRow {
            id: "k7m2qx".into(),
            mailbox: "alice@contoso.test".parse().unwrap(),
            label: "Scanner".into(),
            state: PasswordState::Active,
            protocols: vec![Protocol::Smtp],
            networks: vec!["10.1.0.0/16".parse().unwrap()],
            delivery: DeliveryMode::Direct,
            senders: crate::store::SenderScope::default(),
            scope: crate::store::UseScope::default(),
            first_use: None,
            created_at: moment,
            expires_at: None,
            ends_within_days: None,
            revoked_at: None,
            last_used_at: Some(moment),
            replaces: None,
            tracking: crate::store::Tracking::default(),
            is_adopted: false,
            replaced_by: None,
            replaced_at: None,
            ends_unused: None,
        };
        assert_eq!(
            serde_json::to_string(&PasswordDocument::from(&password)).unwrap(),
            r#"{"id":"k7m2qx","mailbox":"alice@contoso.test","label":"Scanner","state":"active","protocols":["smtp"],"networks":["10.1.0.0/16"],"senders":[],"read_only":false,"delivery":"direct","created_at":"2026-11-23T12:00:00Z","expires_at":null,"last_used_at":"2026-11-23T12:00:00Z"}"#
        );
        let issued = IssuedDocument {
            id: "k7m2qx",
            password: "abcde-fghij-klmno-pqrst",
            login: "alice@contoso.test",
            label: "Scanner",
            mailbox: "alice@contoso.test",
            expires_at: None,
            replaces: None,
        };
        assert_eq!(
            serde_json::to_string(&issued).unwrap(),
            r#"{"id":"k7m2qx","password":"abcde-fghij-klmno-pqrst","login":"alice@contoso.test","label":"Scanner","mailbox":"alice@contoso.test","expires_at":null,"replaces":null}"#
        );
    }
}
