//! The audit trail: who did what, and who logged in, in chains that show when something in them was changed or taken away.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::base::Mailbox;
use crate::store::StoreError;

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditKind {
    /// An administrator has done something.
    Act,
    /// A login succeeded.
    Login,
    /// A login with the right app password was refused.
    LoginRefused,
    /// Logins of strangers, counted.
    Strangers,
}

impl AuditKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Act, Self::Login, Self::LoginRefused, Self::Strangers];

    /// The word in the store and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Login => "login",
            Self::LoginRefused => "login-refused",
            Self::Strangers => "strangers",
        }
    }
}

/// What is to be noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// What it tells of.
    pub kind: AuditKind,
    /// The mailbox that it concerns.
    pub mailbox: Option<Mailbox>,
    /// The public ID of the app password that it concerns.
    pub password_id: Option<String>,
    /// What else there is to say of it, as a JSON object. Never a secret.
    pub details: String,
}

/// The seal of an entry, or of an end (HMAC-SHA-256, 32 octets).
pub type Seal = [u8; 32];

/// An entry in its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Whose chain.
    pub instance: String,
    /// Its place in that, from 1.
    pub number: u64,
    /// What was noted.
    pub entry: AuditEntry,
    /// Its seal.
    pub seal: Seal,
    /// Whether it stands there letter by letter as Postern writes it: what reads as the same is not found by its mailbox.
    pub is_as_written: bool,
}

/// Which end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditEnd {
    /// The newest entry.
    Newest,
    /// The last one that was pruned.
    Pruned,
}

impl AuditEnd {
    /// The word in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Pruned => "pruned",
        }
    }
}

/// An end of a chain, as it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEndRecord {
    /// Whose chain.
    pub instance: String,
    /// Which end.
    pub of: AuditEnd,
    /// The entry's place.
    pub number: u64,
    /// The entry's seal.
    pub seal: Seal,
    /// When this was noted.
    pub at: DateTime<Utc>,
    /// The seal of all this.
    pub own_seal: Seal,
}

/// Makes seals.
pub trait Sealer: Send + Sync {
    /// The seal of an entry that stands at this place behind one with the seal `before` (zeros for the first).
    fn of_entry(&self, instance: &str, number: u64, before: &Seal, entry: &AuditEntry) -> Seal;

    /// The seal of an end.
    fn of_end(&self, instance: &str, of: AuditEnd, number: u64, seal: &Seal, at: DateTime<Utc>) -> Seal;
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Those since then.
    pub since: Option<DateTime<Utc>>,
    /// Those of this kind.
    pub kind: Option<AuditKind>,
    /// Those of this mailbox.
    pub mailbox: Option<Mailbox>,
    /// Those of this app password.
    pub password_id: Option<String>,
}

/// The newest entry of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditTail {
    /// Its place.
    pub number: u64,
    /// Its seal.
    pub seal: Seal,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditAdded {
    /// The newest entry now.
    pub tail: AuditTail,
    /// Whether the entry that was known to be there is.
    pub has_known: bool,
    /// Whether the chain ended as it was noted. What stands behind a chain that was touched is not sealed as its end, so that it shows for
    /// ever.
    pub is_intact: bool,
}

/// The audit trail.
#[async_trait]
pub trait Audited: Send + Sync {
    /// Puts entries behind the chain of an instance, flushed to disk when this returns. `known` is an entry that the chain has had. None:
    /// there was nothing to note.
    async fn add_to_audit(
        &self,
        instance: &str,
        entries: &[AuditEntry],
        known: Option<AuditTail>,
        sealer: &dyn Sealer,
        at: DateTime<Utc>,
    ) -> Result<Option<AuditAdded>, StoreError>;

    /// The newest `most` entries that are wanted, of all chains, the newest first.
    async fn audit(&self, filter: &AuditFilter, most: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// The entries of a chain behind this place, `most` at most, in their order.
    async fn audit_behind(&self, instance: &str, number: u64, most: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// How many entries of a chain stand at this place or in front of it.
    async fn audit_until(&self, instance: &str, number: u64) -> Result<u64, StoreError>;

    /// Those entries in their order, `most` at most behind the first `skipped`.
    async fn audit_in_front(
        &self,
        instance: &str,
        number: u64,
        skipped: u64,
        most: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// The instances that have entries, or had.
    async fn audit_instances(&self) -> Result<Vec<String>, StoreError>;

    /// The ends of all chains.
    async fn audit_ends(&self) -> Result<Vec<AuditEndRecord>, StoreError>;

    /// Forgets a chain whole.
    async fn forget_audit(&self, instance: &str) -> Result<(), StoreError>;

    /// Forgets entries of an instance's chain from before then, from its beginning on, and notes up to where; at most a thousand. The newest
    /// stays, and what was touched with everything behind it; what is from after an older one goes with that. Returns how many.
    async fn prune_audit(
        &self,
        instance: &str,
        before: DateTime<Utc>,
        sealer: &dyn Sealer,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError>;
}
