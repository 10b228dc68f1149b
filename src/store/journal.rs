//! The journal: what became of messages.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::base::Mailbox;
use crate::store::StoreError;

/// What became of a message, for some of its recipients. Nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// The mailbox that sends it.
    pub mailbox: Mailbox,
    /// The public ID of the app password; empty for a report of ours.
    pub password_id: String,
    /// What it is called in the queue, if it was there.
    pub queue_id: Option<String>,
    /// The sender of the envelope; empty for nobody.
    pub sender: String,
    /// The recipients of whom this is told.
    pub recipients: Vec<String>,
    /// Octets of the content; 0 where it did not come.
    pub size_octets: u64,
    /// Its Message-ID, without angle brackets, where it is known.
    pub message_id: Option<String>,
    /// The way it took.
    pub route: Option<Route>,
    /// What became of it.
    pub outcome: JournalOutcome,
    /// Exchange's reply, or why.
    pub reply: Option<String>,
}

/// A way by which mail goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// SMTP submission.
    Smtp,
    /// Graph's sendMail.
    Graph,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Smtp, Self::Graph];

    /// The word in the store, in JSON and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Graph => "graph",
        }
    }
}

/// What became of a message for these recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalOutcome {
    /// Exchange has taken it.
    Delivered,
    /// It is kept in the queue.
    Queued,
    /// Exchange, or a rule of ours, has refused it for good.
    Refused,
    /// It has waited too long, and was given up.
    Expired,
    /// The administrator has taken it out of the queue.
    Dropped,
}

impl JournalOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Delivered, Self::Queued, Self::Refused, Self::Expired, Self::Dropped];

    /// The word in the store and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Queued => "queued",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct JournalFilter {
    /// Those since then.
    pub since: Option<DateTime<Utc>>,
    /// Those before then.
    pub before: Option<DateTime<Utc>>,
    /// Those of this mailbox.
    pub mailbox: Option<Mailbox>,
    /// Those with this outcome.
    pub outcome: Option<JournalOutcome>,
    /// Those with this in the sender, the recipients, the Message-ID or the name in the queue, in any case.
    pub with: Option<String>,
}

/// The journal.
#[async_trait]
pub trait Journaled: Send + Sync {
    /// Adds entries, in one transaction.
    async fn add_to_journal(&self, entries: &[JournalEntry]) -> Result<(), StoreError>;

    /// The newest `most` entries that are wanted, the newest first.
    async fn journal(&self, filter: &JournalFilter, most: u32) -> Result<Vec<JournalEntry>, StoreError>;

    /// Forgets what was before then. Returns how many entries.
    async fn prune_journal(&self, before: DateTime<Utc>) -> Result<u64, StoreError>;

    /// To how many recipients each mailbox has sent since then, in spans of five minutes: their end, and the number.
    async fn sent_since(&self, since: DateTime<Utc>) -> Result<Vec<(Mailbox, DateTime<Utc>, u64)>, StoreError>;
}
