//! What administrators see of mailboxes and app passwords, and what acts on them come to.

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::admin::ops::Strength;
use crate::base::{Mailbox, Protocol, Secret, TenantName};
use crate::store::{AppPasswordRecord, DeliveryMode, FirstUse, SenderScope, Tracking, UseScope};

/// A mailbox as an administrator sees it.
#[derive(Clone, Debug)]
pub struct MailboxRow {
    /// Its address.
    pub address: Mailbox,
    /// Its tenant.
    pub tenant: TenantName,
    /// Further login names.
    pub aliases: Vec<String>,
    /// The account that signs in for it, where that is another.
    pub sign_in_as: Option<Mailbox>,
    /// Whether it could be used if its tenant, or everything, were not halted.
    pub is_halted: bool,
    /// Whether it can be used.
    pub state: MailboxState,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why not.
    pub reason: Option<String>,
    /// What to do about it, if that is known.
    pub remedy: Option<String>,
}

impl MailboxRow {
    /// Its state in one word for people: what is halted was not disabled by anybody.
    pub fn state_word(&self) -> &'static str {
        if self.is_halted { "halted" } else { self.state.name() }
    }

    /// Why not, and what to do.
    pub fn whole_reason(&self) -> Option<String> {
        let reason = self.reason.as_deref()?;
        Some(match &self.remedy {
            Some(remedy) => format!("{}. {remedy}", reason.trim_end_matches('.')),
            None => reason.to_owned(),
        })
    }
}

/// Whether a mailbox can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxState {
    /// The administrator has disabled it.
    Disabled,
    /// Something in the set-up has to be mended.
    NeedsAdministrator,
    /// Its owner has to sign in.
    NeedsSignIn,
    /// It can.
    Ready,
}

impl MailboxState {
    /// The word in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::NeedsAdministrator => "needs-administrator",
            Self::NeedsSignIn => "needs-sign-in",
            Self::Ready => "ready",
        }
    }
}

/// What an app password is to be good for.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// The mailbox that it opens.
    pub mailbox: Mailbox,
    /// What the administrator calls it.
    pub label: String,
    /// The protocols; empty means all.
    pub protocols: Vec<Protocol>,
    /// The networks; empty means any.
    pub networks: Vec<IpNet>,
    /// Its end.
    pub expires_at: Option<DateTime<Utc>>,
    /// 16 characters instead of 20 and their hyphens.
    pub short: bool,
    /// What becomes of messages submitted with it.
    pub delivery: DeliveryMode,
    /// Who may stand as the sender of its messages.
    pub senders: SenderScope,
    /// What else it is bound to.
    pub scope: UseScope,
    /// Whose it is.
    pub owner: Option<String>,
    /// What else there is to know.
    pub note: Option<String>,
}

/// A new app password.
#[derive(Debug)]
pub struct Issued {
    /// The password. It exists here and nowhere else.
    pub password: Secret<String>,
    /// Everything else.
    pub row: PasswordRow,
}

/// A secret of a device that is an app password now.
#[derive(Debug)]
pub struct Adopted {
    /// Everything but the secret.
    pub row: PasswordRow,
    /// How strong it is.
    pub strength: Strength,
}

/// An app password as an administrator sees it.
#[derive(Clone, Debug)]
pub struct PasswordRow {
    /// Its public ID.
    pub id: String,
    /// The mailbox that it opens.
    pub mailbox: Mailbox,
    /// What the administrator calls it.
    pub label: String,
    /// Whether it can be used.
    pub state: PasswordState,
    /// The protocols.
    pub protocols: Vec<Protocol>,
    /// The networks; empty means any.
    pub networks: Vec<IpNet>,
    /// What becomes of messages submitted with it.
    pub delivery: DeliveryMode,
    /// Who may stand as the sender of its messages.
    pub senders: SenderScope,
    /// What else it is bound to.
    pub scope: UseScope,
    /// Its first use, where that decides something.
    pub first_use: Option<FirstUse>,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// Its end.
    pub expires_at: Option<DateTime<Utc>>,
    /// It ends within so many days (30, 7 or 1), and nothing is there in its place.
    pub ends_within_days: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Its last successful login.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The ID of the one in whose place it was issued.
    pub replaces: Option<String>,
    /// Whose it is, and how it is used.
    pub tracking: Tracking,
    /// Whether a device brought it along.
    pub is_adopted: bool,
    /// The ID of the one that is in force in its place.
    pub replaced_by: Option<String>,
    /// When that was issued.
    pub replaced_at: Option<DateTime<Utc>>,
    /// It ends sooner when that one is used and it was not for so long.
    pub ends_unused: Option<chrono::Duration>,
}

/// How an app password is rotated.
#[derive(Clone, Copy, Debug)]
pub struct Rotate {
    /// How long the old one still works.
    pub overlap: chrono::Duration,
    /// It ends sooner when the new one is used and it was not for so long.
    pub ends_unused: Option<chrono::Duration>,
    /// The end of the new one; without it, it lives as long as the old one was to live from its issue.
    pub expires_at: Option<DateTime<Utc>>,
    /// The new one has 16 characters instead of 20 and their hyphens.
    pub short: bool,
}

/// An app password in the place of another.
#[derive(Debug)]
pub struct Rotated {
    /// The new one.
    pub issued: Issued,
    /// When the old one ends.
    pub old_ends_at: DateTime<Utc>,
    /// What takes it back.
    pub(in crate::admin::ops) undo: Undo,
}

/// What a rotation has changed.
#[derive(Debug)]
pub(in crate::admin::ops) struct Undo {
    pub(in crate::admin::ops) record: AppPasswordRecord,
    pub(in crate::admin::ops) old_ended_at: Option<DateTime<Utc>>,
}

/// Whether an app password can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordState {
    /// It can.
    Active,
    /// Its date has passed.
    Expired,
    /// It was revoked.
    Revoked,
    /// It can, and another one that was issued in its place can too.
    Rotating,
}

impl PasswordState {
    /// Whether a program can log in with it.
    pub fn is_in_force(self) -> bool {
        matches!(self, Self::Active | Self::Rotating)
    }

    /// The word in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Rotating => "rotating",
        }
    }
}

/// What adding a mailbox did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new on the list.
    New,
    /// It was there; new aliases were added.
    Already,
}

/// What removing a mailbox did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// App passwords that were revoked with it.
    pub revoked_passwords: u64,
    /// Messages of it that wait, and are held now.
    pub held_messages: u64,
}

/// What revoking did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// It already was.
    AlreadyRevoked,
    /// It is revoked now.
    Revoked,
}
