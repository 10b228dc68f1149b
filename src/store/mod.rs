//! What outlives the process: mailboxes, app passwords as verifiers, sealed sign-ins. SQL appears in this folder only.

mod audit;
mod bans;
mod console;
mod journal;
mod queue;
mod sealed;
mod sqlite;

use std::path::PathBuf;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::base::{Answer, Fault, Mailbox, Protocol, Reference, TenantName, Whose};

pub use self::audit::{
    AuditAdded, AuditEnd, AuditEndRecord, AuditEntry, AuditFilter, AuditKind, AuditRecord, AuditTail, Audited, Seal,
    Sealer,
};
pub use self::bans::{BanRecord, Bans};
pub use self::console::{ConsoleLinkRecord, ConsoleLinks};
pub use self::journal::{JournalEntry, JournalFilter, JournalOutcome, Journaled, Route};
pub use self::queue::{
    AttemptEnd, Certainty, Doubt, Ending, HELD_CODE, LIMITS_CODE, Obstacle, Queue, QueueState, QueueTally, QueueWish,
    QueuedMessage, QueuedOf, QueuedRecipient, RecipientState, Told,
};
pub use self::sealed::{Anew, SealedOf, SealedRecord, SealedRecords};
pub use self::sqlite::SqliteStore;

/// A mailbox that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxRecord {
    /// Its address, also a login name.
    pub address: Mailbox,
    /// The tenant it belongs to, by the name in the configuration.
    pub tenant: TenantName,
    /// Further login names, in lower case.
    pub aliases: Vec<String>,
    /// The account whose sign-in opens it, where that is not the mailbox itself (a shared mailbox).
    pub sign_in_as: Option<Mailbox>,
    /// Since when it is disabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Since when its tenant, or everything, is halted.
    pub halted_at: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

impl MailboxRecord {
    /// The account whose sign-in opens this mailbox under a delegated grant.
    pub fn account(&self) -> &Mailbox {
        self.sign_in_as.as_ref().unwrap_or(&self.address)
    }

    /// Whether it may not be used for now, as it is disabled or halted.
    pub fn is_off(&self) -> bool {
        self.disabled_at.or(self.halted_at).is_some()
    }
}

/// What the administrator has stopped for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The tenant; `None`: everything.
    pub tenant: Option<TenantName>,
    /// Since when.
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: Option<String>,
}

/// What the keyed hash of an app password is compared with (HMAC-SHA-256, 32 octets). Useless without the pepper.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verifier(pub [u8; 32]);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[verifier]")
    }
}

/// What a secret that others chose is compared with: Argon2id, as a PHC string. Useless without the pepper.
#[derive(Clone, PartialEq, Eq)]
pub struct SlowHash(pub String);

impl std::fmt::Debug for SlowHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[slow hash]")
    }
}

/// What becomes of a message that is submitted with an app password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryMode {
    /// Passed on live; what Exchange cannot take now is kept, and delivered later.
    Assured,
    /// Passed on live; the client hears Exchange's own answers.
    Direct,
}

impl DeliveryMode {
    /// The word used in the store, in the configuration and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Assured => "assured",
            Self::Direct => "direct",
        }
    }
}

/// An app password that Postern issued: everything but the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPasswordRecord {
    /// Its public number, such as `k7m2qx`.
    pub id: String,
    /// The one mailbox that it opens.
    pub mailbox: Mailbox,
    /// What the administrator calls it.
    pub label: String,
    /// What a presented password is compared with; random, and nobody's, for one that a device brought along.
    pub verifier: Verifier,
    /// What a presented secret is compared with, where a device brought it along.
    pub slow_hash: Option<SlowHash>,
    /// The protocols it may be used for.
    pub protocols: Vec<Protocol>,
    /// The networks it may be used from; empty means any.
    pub networks: Vec<IpNet>,
    /// What becomes of a message submitted with it.
    pub delivery: DeliveryMode,
    /// Who may stand as the sender of its messages.
    pub senders: SenderScope,
    /// What else it is bound to.
    pub scope: UseScope,
    /// Its first use, where that decides something.
    pub first_use: Option<FirstUse>,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// It ends sooner when its successor is used and it was not for so long.
    pub ends_unused: Option<chrono::Duration>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Its last successful login, to within some seconds.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The public number of the one in whose place it was issued.
    pub replaces: Option<String>,
    /// Whose it is, and how it is used.
    pub tracking: Tracking,
}

/// Whose an app password is, and how it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// The person or department whose program uses it.
    pub owner: Option<String>,
    /// What else there is to know.
    pub note: Option<String>,
    /// The account that issued it.
    pub created_by: Option<String>,
    /// Its last login, but for when.
    pub last: Option<LastUse>,
    /// How many logins succeeded.
    pub logins: u64,
    /// How often Exchange, or the token service, did not let it in.
    pub refusals: u64,
}

/// A login with an app password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// From where.
    pub address: std::net::IpAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// What the program called itself.
    pub client: Option<String>,
    /// The version of TLS, or `none`.
    pub tls: Option<String>,
}

/// Logins and refusals of an app password that are to be added to those in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotedUse {
    /// The newest login, if there was one.
    pub last: Option<(DateTime<Utc>, LastUse)>,
    /// How many logins.
    pub logins: u64,
    /// How many refusals.
    pub refusals: u64,
}

/// What an app password is bound to beside its protocols, networks and senders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UseScope {
    /// IMAP and POP3 may read and change nothing.
    pub read_only: bool,
    /// What a mail program files of sent messages by IMAP is dropped where Exchange has filed it.
    pub drop_sent_append: bool,
    /// To whom it may send: addresses, and domains with `@` in front; empty: to anybody.
    pub recipients: Vec<String>,
    /// When it begins to work.
    pub starts_at: Option<DateTime<Utc>>,
    /// How many messages it may send in a minute.
    pub max_per_minute: Option<u32>,
    /// How many messages it may send in 24 hours.
    pub max_per_day: Option<u32>,
    /// How many sessions it may have at once.
    pub max_sessions: Option<u32>,
    /// It works only in the network of its first login.
    pub binds_network: bool,
    /// It works only by the protocol of its first login.
    pub binds_protocol: bool,
    /// By when it has to be used for the first time.
    pub activate_by: Option<DateTime<Utc>>,
}

impl UseScope {
    /// Whether the first use decides something.
    pub fn asks_for_first_use(&self) -> bool {
        self.binds_network || self.binds_protocol || self.activate_by.is_some()
    }
}

/// The first login with an app password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstUse {
    /// When.
    pub at: DateTime<Utc>,
    /// From where.
    pub network: IpNet,
    /// By which protocol.
    pub protocol: Protocol,
}

/// What came of putting an app password in another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new one is kept, and the old one ends.
    Done,
    /// The old one is revoked or has ended; nothing was changed.
    Ended,
    /// Another one that is in force has its place already; nothing was changed.
    Replaced,
    /// The mailbox is not on the list (any more); nothing was changed.
    NotListed,
}

/// Who may stand as the sender of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderScope {
    /// Addresses, and domains with `@` in front; empty: whomever Exchange allows.
    pub allowed: Vec<String>,
    /// The mailbox is put in the sender's place.
    pub force_from: bool,
}

/// What is known of a sign-in: of an account (delegated), or of the tenant itself (app-only).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInRecord {
    /// The tenant, by the name in the configuration.
    pub tenant: TenantName,
    /// The account; `None` is the tenant's own, app-only.
    pub account: Option<Mailbox>,
    /// The sealed refresh token, if there is one.
    pub sealed: Option<Vec<u8>>,
    /// Whether it works.
    pub state: SignInState,
    /// When its refresh token was last used with success: silence kills it.
    pub refreshed_at: Option<DateTime<Utc>>,
}

/// Whether a sign-in works, and if not, whose move it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInState {
    /// Whose move it is; `Nobody` means that it works.
    pub whose: Whose,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why, in words for the administrator.
    pub reason: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
}

/// Something keeps a mailbox from being opened by a protocol, since the last time that it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubleRecord {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// The protocol.
    pub protocol: Protocol,
    /// The fixed name of the fault.
    pub code: String,
    /// Whose move it is; `Nobody`: it should pass by itself.
    pub whose: Whose,
    /// Since when it is of this kind.
    pub since: DateTime<Utc>,
    /// When it was last met.
    pub last_at: DateTime<Utc>,
    /// What was said, in words for the administrator.
    pub reason: String,
    /// What to do.
    pub remedy: Option<String>,
}

/// What stood behind a reference that a mail program was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRecord {
    /// The six letters and digits.
    pub reference: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The mailbox, where it is known.
    pub mailbox: Option<Mailbox>,
    /// The protocol, where it is known.
    pub protocol: Option<Protocol>,
    /// The public ID of the app password, where it is known.
    pub password_id: Option<String>,
    /// The fixed name of the fault.
    pub code: String,
    /// What happened, in words for the administrator.
    pub reason: String,
    /// What to do.
    pub remedy: Option<String>,
}

/// The store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database file cannot be opened or made.
    #[error("the store `{path}` cannot be opened: {source}", path = path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the system or SQLite said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store was made by a newer version of Postern.
    #[error("the store `{path}` was made by a newer version of Postern", path = path.display())]
    TooNew {
        /// The database file.
        path: PathBuf,
    },
    /// A query failed: disk full, read-only, corrupt, or locked for too long.
    #[error("the store failed: {0}")]
    Query(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row holds what this version cannot read.
    #[error("the store holds a value that cannot be read in `{column}`: {value}")]
    Value {
        /// Table and column.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// A login name is already the address or an alias of a mailbox.
    #[error("`{login}` already belongs to the mailbox {mailbox}")]
    LoginTaken {
        /// The login name.
        login: String,
        /// The mailbox that has it.
        mailbox: String,
    },
}

impl Fault for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "store-cannot-be-opened",
            Self::TooNew { .. } => "store-too-new",
            Self::Query(_) => "store-failed",
            Self::Value { .. } => "store-value-unreadable",
            Self::LoginTaken { .. } => "login-taken",
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Open { source, .. } | Self::Query(source) if sqlite::is_corrupt(source.as_ref()) => {
                "The database is damaged. Stop Postern and restore `postern.db` and `keys` from a backup, as docs/OPERATING.md shows; \
                 keep the damaged files until that has worked, and look at the health of the disk."
                    .to_owned()
            }
            Self::Open { .. } => {
                "Look at the owner and mode of the data folder, and at the space on its disk.".to_owned()
            }
            Self::TooNew { .. } => "Install that newer version again, or restore the store from before it.".to_owned(),
            Self::Query(_) => "Look at the space and the health of the disk that holds `data_dir`.".to_owned(),
            Self::Value { .. } => "Restore the store from a backup, or remove what that row describes.".to_owned(),
            Self::LoginTaken { login, mailbox } if login == mailbox => {
                "A login name means one mailbox only: choose another one.".to_owned()
            }
            Self::LoginTaken { login, mailbox } => format!(
                "Choose another one, or take it from that mailbox first: `postern mailbox alias {mailbox} --remove {login}`."
            ),
        })
    }

    /// A store that fails is trouble of ours that passes when the disk is well again: never "wrong password".
    fn answer(&self, reference: Reference) -> Answer {
        Answer::TryLater(reference)
    }
}

/// The list of mailboxes that may be used.
#[async_trait]
pub trait Mailboxes: Send + Sync {
    /// Adds a mailbox, or adds new aliases (and the account to sign in as, if given) to one that is there.
    async fn add_mailbox(&self, mailbox: &MailboxRecord) -> Result<(), StoreError>;

    /// Takes an alias (in lower case) from a mailbox. False: the mailbox has no such alias.
    async fn remove_alias(&self, address: &Mailbox, login: &str) -> Result<bool, StoreError>;

    /// All mailboxes, by address.
    async fn mailboxes(&self) -> Result<Vec<MailboxRecord>, StoreError>;

    /// Disables a mailbox (`Some` time) or enables it again. False: there is no such mailbox.
    async fn disable_mailbox(&self, address: &Mailbox, at: Option<DateTime<Utc>>) -> Result<bool, StoreError>;

    /// Stops a tenant, or everything, for now. Again keeps the first time.
    async fn halt(&self, halt: &Halt) -> Result<(), StoreError>;

    /// Lets it go on. False: it was not stopped.
    async fn resume(&self, tenant: Option<&TenantName>) -> Result<bool, StoreError>;

    /// What is stopped.
    async fn halts(&self) -> Result<Vec<Halt>, StoreError>;

    /// Takes a mailbox off the list, revokes its app passwords, and forgets sign-ins that no other mailbox uses. Returns the
    /// number of app passwords revoked now, or `None` if there was no such mailbox.
    async fn remove_mailbox(&self, address: &Mailbox, at: DateTime<Utc>) -> Result<Option<u64>, StoreError>;
}

/// The app passwords, as verifiers.
#[async_trait]
pub trait AppPasswords: Send + Sync {
    /// Keeps a new app password. False: its mailbox is not on the list (any more), and nothing was kept.
    async fn add_app_password(&self, record: &AppPasswordRecord) -> Result<bool, StoreError>;

    /// Keeps a new app password in the place of the one that it names in `replaces`, and lets that end at `old_ends_at` unless it ends
    /// sooner, or when it is not used for `ends_unused` while the new one is, both or neither.
    async fn rotate_app_password(
        &self,
        record: &AppPasswordRecord,
        old_ends_at: DateTime<Utc>,
        ends_unused: Option<chrono::Duration>,
    ) -> Result<Rotation, StoreError>;

    /// Notes that these are in use at this time, by sessions that logged in long ago.
    async fn note_in_use(&self, ids: &[String], at: DateTime<Utc>) -> Result<(), StoreError>;

    /// Takes back that its end was spoken of.
    async fn forget_reminded(&self, id: &str) -> Result<(), StoreError>;

    /// Notes that its end is spoken of, so many days ahead. False: that was noted already, by whichever process.
    async fn note_reminded(&self, id: &str, days: i64) -> Result<bool, StoreError>;

    /// Ends those that have a successor which is used, and that nobody has used for as long as was said. Returns which.
    async fn end_disused(&self, now: DateTime<Utc>) -> Result<Vec<AppPasswordRecord>, StoreError>;

    /// Takes such a change back: the new one is revoked, and the old one ends when it did before.
    async fn undo_rotation(
        &self,
        record: &AppPasswordRecord,
        old_ended_at: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// All app passwords, revoked ones too, by time of issue.
    async fn app_passwords(&self) -> Result<Vec<AppPasswordRecord>, StoreError>;

    /// The app password with this verifier.
    async fn app_password_by_verifier(&self, verifier: &Verifier) -> Result<Option<AppPasswordRecord>, StoreError>;

    /// Revokes an app password. False: it already was.
    async fn revoke_app_password(&self, id: &str, at: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Notes the first use of an app password, flushed to disk when this returns, unless one was noted before. Returns which one holds;
    /// `None`: it was revoked, or never was.
    async fn note_first_use(&self, id: &str, first: &FirstUse) -> Result<Option<FirstUse>, StoreError>;

    /// When messages were taken that were submitted with an app password, since then; the oldest first.
    async fn taken_with_since(&self, id: &str, since: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>, StoreError>;

    /// Notes uses, by ID, in one transaction.
    async fn note_uses(&self, uses: &[(String, NotedUse)]) -> Result<(), StoreError>;
}

/// The sign-ins of accounts and of applications.
#[async_trait]
pub trait SignIns: Send + Sync {
    /// The sign-in of an account, or of the tenant itself.
    async fn sign_in(&self, tenant: &TenantName, account: Option<&Mailbox>)
    -> Result<Option<SignInRecord>, StoreError>;

    /// All sign-ins.
    async fn sign_ins(&self) -> Result<Vec<SignInRecord>, StoreError>;

    /// Keeps a sign-in whole, replacing what was there; flushed to disk when this returns.
    async fn keep_sign_in(&self, record: &SignInRecord) -> Result<(), StoreError>;

    /// Puts a rotated refresh token in the place of `before` and notes the time of its use; false if another stands there by now
    /// (somebody signed in anew), and then nothing is changed. The same token under another master key is no other.
    async fn rotate_sign_in(
        &self,
        tenant: &TenantName,
        account: &Mailbox,
        before: &[u8],
        after: &[u8],
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Notes whose move it is for a sign-in, making its row if need be; the sealed token stays. An earlier `since` is kept
    /// where it is still the move of the same.
    async fn note_sign_in_state(
        &self,
        tenant: &TenantName,
        account: Option<&Mailbox>,
        state: &SignInState,
    ) -> Result<(), StoreError>;

    /// Destroys a sign-in. False: there was none.
    async fn forget_sign_in(&self, tenant: &TenantName, account: Option<&Mailbox>) -> Result<bool, StoreError>;
}

/// What keeps mailboxes from being opened, and what stood behind the references that mail programs were given.
#[async_trait]
pub trait Troubles: Send + Sync {
    /// Notes trouble; an earlier `since` is kept where it is still the move of the same. A mailbox that is not on the list is
    /// passed over.
    async fn note_trouble(&self, trouble: &TroubleRecord) -> Result<(), StoreError>;

    /// Takes the note back: the mailbox was opened by this protocol.
    async fn clear_trouble(&self, mailbox: &Mailbox, protocol: Protocol) -> Result<(), StoreError>;

    /// All trouble, by mailbox and protocol.
    async fn troubles(&self) -> Result<Vec<TroubleRecord>, StoreError>;

    /// Keeps incidents, in one transaction; the oldest make room.
    async fn add_incidents(&self, incidents: &[IncidentRecord]) -> Result<(), StoreError>;

    /// The incidents of a reference, the newest first. References are short, so there may be several.
    async fn incidents(&self, reference: &str) -> Result<Vec<IncidentRecord>, StoreError>;
}

/// The store, in the words of the program. SQLite serves one machine.
#[async_trait]
pub trait Store:
    Mailboxes + AppPasswords + SignIns + SealedRecords + Troubles + Queue + Journaled + Audited + Bans + ConsoleLinks
{
    /// A number that grows whenever a mailbox, an alias or an app password changes (uses do not count), by whichever
    /// process. Cheap enough to ask at every login.
    async fn revision(&self) -> Result<i64, StoreError>;

    /// Closes every connection to the database.
    async fn close(&self);
}

#[cfg(test)]
mod tests;
