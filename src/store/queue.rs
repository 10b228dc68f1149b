//! The queue: messages that were acknowledged and are not delivered yet.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::base::Mailbox;
use crate::store::{JournalEntry, StoreError};

/// The code of the obstacle of a message that waits for nothing but Exchange's limits.
pub const LIMITS_CODE: &str = "exchange-limits";

/// The code of the obstacle of a message that the administrator holds.
pub const HELD_CODE: &str = "held-by-administrator";

/// A message that waits. Its content lies in the spool under the same ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// What it is called in the log, on the command line, and in the answer to the client.
    pub id: String,
    /// The mailbox that sends it.
    pub mailbox: Mailbox,
    /// The public ID of the app password it was submitted with; empty for a report of ours.
    pub password_id: String,
    /// The sender and the parameters: what stands behind `MAIL `.
    pub mail: String,
    /// Octets of the content.
    pub size_octets: u64,
    /// Its Message-ID, without angle brackets, where it has one.
    pub message_id: Option<String>,
    /// Whether it is a delivery report of ours, about which nobody is told anything.
    pub is_report: bool,
    /// When it was acknowledged.
    pub accepted_at: DateTime<Utc>,
    /// What it waits for.
    pub state: QueueState,
    /// When it is tried next.
    pub next_at: DateTime<Utc>,
    /// How many attempts were made.
    pub attempts: u32,
    /// The transactions by which it may have arrived without anybody having said so.
    pub doubts: Vec<Doubt>,
    /// How many transactions Exchange took of it, or may have taken of which nothing more is asked: so many copies say nothing of a further
    /// one.
    pub copies: u32,
    /// How many attempts were begun in all. Unlike `attempts` it never starts anew.
    pub begun: u32,
    /// How often it was sent although it might have arrived already.
    pub resent: u32,
    /// When its sender was told that it waits, if that was asked for.
    pub warned_at: Option<DateTime<Utc>>,
    /// How long it was held in all until `held_since`: that time does not count towards its age.
    pub held: chrono::Duration,
    /// Since when it is held.
    pub held_since: Option<DateTime<Utc>>,
    /// The last obstacle.
    pub obstacle: Option<Obstacle>,
    /// The recipients, in their order.
    pub recipients: Vec<QueuedRecipient>,
}

impl QueuedMessage {
    /// How long it has been waiting, the time aside that it was held.
    pub fn age(&self, now: DateTime<Utc>) -> chrono::Duration {
        // A clock that was set back makes nothing older.
        let held_now =
            self.held_since.map_or(chrono::Duration::zero(), |since| (now - since).max(chrono::Duration::zero()));
        (now - self.accepted_at - self.held - held_now).max(chrono::Duration::zero())
    }

    /// Those of its doubts that say anything yet: somebody who was in the transaction still waits. A doubt without recipients, of which
    /// they are not known, does as long as anybody waits.
    pub fn open_doubts(&self) -> impl Iterator<Item = &Doubt> {
        self.doubts.iter().filter(|doubt| {
            if doubt.places.is_empty() {
                self.waiting().next().is_some()
            } else {
                self.in_doubt(doubt).next().is_some()
            }
        })
    }

    /// The places of those who were in this transaction and still wait.
    pub fn in_doubt<'d>(&'d self, doubt: &'d Doubt) -> impl Iterator<Item = usize> + 'd {
        let waits = |place: &usize| self.recipients.get(*place).is_some_and(|one| one.state == RecipientState::Waiting);
        doubt.places.iter().copied().filter(waits)
    }

    /// Whether it may have arrived for somebody who still waits.
    pub fn is_unknown(&self) -> bool {
        self.open_doubts().next().is_some()
    }

    /// When the last transaction ended by which it may have arrived, if it is known.
    pub fn unknown_at(&self) -> Option<DateTime<Utc>> {
        self.open_doubts().filter_map(|doubt| doubt.at).max()
    }

    /// The recipients that still wait.
    pub fn waiting(&self) -> impl Iterator<Item = &QueuedRecipient> {
        self.recipients.iter().filter(|recipient| recipient.state == RecipientState::Waiting)
    }
}

/// Why a message has not gone out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The fixed name of the fault.
    pub code: String,
    /// What happened, in words for the administrator.
    pub reason: String,
    /// What to do.
    pub remedy: Option<String>,
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// The next attempt.
    Waiting,
    /// Somebody to mend the set-up. It is tried now and then, and goes out by itself.
    HeldForSetup,
    /// The administrator to release it.
    Held,
}

impl QueueState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::HeldForSetup, Self::Held];

    /// The word in the store and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::HeldForSetup => "held-for-setup",
            Self::Held => "held",
        }
    }
}

/// A recipient of a message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRecipient {
    /// The address and the parameters: what stands behind `RCPT `.
    pub rcpt: String,
    /// What became of it.
    pub state: RecipientState,
    /// Exchange's last reply about it.
    pub reply: Option<String>,
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// Nothing yet.
    Waiting,
    /// Exchange has taken the message for it.
    Delivered,
    /// It is refused for good, or given up, and the sender is still to be told.
    Failed,
    /// The same, and the sender was told, unless it did not want to be.
    Returned,
}

impl RecipientState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Delivered, Self::Failed, Self::Returned];

    /// The word in the store and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Returned => "returned",
        }
    }
}

/// What a sender is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Those recipients that have failed.
    Failed,
    /// That the message is given up. It goes with that.
    GivenUp,
    /// That it waits.
    Delayed {
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The attempt of this number, counted from 1.
    Attempt(u32),
    /// A look at the message, without an attempt.
    Look,
}

/// What is known, of what ends, of whether the message may have arrived by it without anybody having said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// As much as before: nothing was completed.
    AsBefore,
    /// Exchange has answered to this attempt, which says nothing of earlier ones.
    Answered {
        /// How often the message had been sent, before this attempt, although it might have arrived already.
        resent: u32,
    },
    /// It may have by this attempt, which has ended at this time, for the recipients at these places.
    Unknown(DateTime<Utc>, Vec<usize>),
    /// What became of these attempts was found out.
    Found(Vec<u32>),
}

/// That a message may have arrived by a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Which attempt, as `begun` counted it; 0 is the one while its client waited. A copy of it has that number in its `Received`.
    pub attempt: u32,
    /// When it ended, if it has, and that is known.
    pub at: Option<DateTime<Utc>>,
    /// The places of the recipients that may have got it.
    pub places: Vec<usize>,
}

/// How an attempt ended, for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// What ends. Where that has ended already, nothing is noted.
    pub of: Ending,
    /// The recipients that are settled or have heard something: place in the list, state, reply.
    pub recipients: Vec<(usize, RecipientState, Option<String>)>,
    /// Whether Exchange has taken the message in this attempt, or in the one that was looked for.
    pub is_taken: bool,
    /// What it waits for now.
    pub state: QueueState,
    /// When it is tried next.
    pub next_at: DateTime<Utc>,
    /// Whether it may have arrived all the same.
    pub certainty: Certainty,
    /// Why it has not gone out.
    pub obstacle: Option<Obstacle>,
}

/// What the administrator wants of a message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueWish {
    /// Not to be tried until it is released.
    Hold,
    /// To be tried at once, unless it is held.
    Retry,
    /// To be tried again, and at once.
    Release,
}

/// Whose messages are meant.
#[derive(Clone, Copy, Debug)]
pub enum QueuedOf<'a> {
    /// Everybody's.
    All,
    /// The message of this ID.
    Id(&'a str),
    /// Everything that a mailbox sends.
    Mailbox(&'a Mailbox),
    /// Everything that was submitted with an app password, by its public ID.
    Password(&'a str),
}

/// The messages that wait, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTally {
    /// All of them.
    pub messages: u64,
    /// Of these, those that wait for somebody to mend the set-up.
    pub for_setup: u64,
    /// Of these, those that the administrator holds.
    pub held: u64,
    /// Of these, delivery reports that cannot be delivered.
    pub stuck_reports: u64,
    /// Of these, messages that may have arrived and cannot be found.
    pub unknown: u64,
    /// When the oldest was accepted.
    pub oldest_at: Option<DateTime<Utc>>,
}

/// The messages that wait. What is written is flushed to disk when a call returns.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Takes a message in. Its content has to be in the spool, flushed, by then. What waits for [`LIMITS_CODE`] is tried no sooner than
    /// what its mailbox has waiting for that, so that it overtakes nothing; what was submitted with an app password whose mail is held is
    /// held.
    async fn enqueue(&self, message: &QueuedMessage) -> Result<(), StoreError>;

    /// All messages, the oldest first.
    async fn queued(&self) -> Result<Vec<QueuedMessage>, StoreError>;

    /// The oldest `most` messages.
    async fn queued_first(&self, most: u32) -> Result<Vec<QueuedMessage>, StoreError>;

    /// How many messages wait, and how many of them for somebody.
    async fn queue_tally(&self) -> Result<QueueTally, StoreError>;

    /// How many messages wait for what, and when the oldest was accepted.
    async fn queue_depth(&self) -> Result<(Vec<(QueueState, u64)>, Option<DateTime<Utc>>), StoreError>;

    /// The IDs of all messages.
    async fn queued_ids(&self) -> Result<HashSet<String>, StoreError>;

    /// One message.
    async fn queued_message(&self, id: &str) -> Result<Option<QueuedMessage>, StoreError>;

    /// The mailboxes with a message to be tried now, those first that wait longest.
    async fn due(&self, now: DateTime<Utc>) -> Result<Vec<Mailbox>, StoreError>;

    /// The mailboxes with a message that waits for one of these obstacles until `by` at the latest, or that is on its way after it.
    async fn behind(&self, codes: &[&str], by: DateTime<Utc>) -> Result<Vec<Mailbox>, StoreError>;

    /// The oldest message of a mailbox that is to be tried now.
    async fn next_due(&self, mailbox: &Mailbox, now: DateTime<Utc>) -> Result<Option<QueuedMessage>, StoreError>;

    /// Notes that an attempt begins. False: the message is gone, or held, and must not be sent.
    async fn begin_attempt(&self, id: &str, at: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Notes, before the octets go that complete the message at Exchange, which recipients may have it by this attempt from then on; it is
    /// `again` where it might have arrived already. False: it was held or dropped meanwhile, and must not be completed.
    async fn note_final(&self, id: &str, places: &[usize], again: bool) -> Result<bool, StoreError>;

    /// Notes that it has certainly not arrived by what [`note_final`](Self::note_final) was for, before which it had been sent again so often.
    /// False: as there.
    async fn take_final_back(&self, id: &str, resent: u32) -> Result<bool, StoreError>;

    /// Notes how an attempt or a look ended. What the administrator has decided meanwhile (`held`) stays. False: that was noted before, or
    /// the message is gone.
    async fn end_attempt(&self, id: &str, end: &AttemptEnd, at: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Notes that the sender of a message is told, and takes the report in that tells it, both or neither. False: neither, as the
    /// message is gone, or is held and must not be given up.
    async fn note_told(&self, id: &str, told: Told, report: Option<&QueuedMessage>) -> Result<bool, StoreError>;

    /// Lets nothing of a mailbox that waits be tried before `until`.
    async fn postpone(&self, mailbox: &Mailbox, until: DateTime<Utc>) -> Result<(), StoreError>;

    /// Everything of a mailbox that waits meets the same obstacle in its set-up: from now on it does not age, and is not tried before
    /// `until`.
    async fn hold_for_setup(
        &self,
        mailbox: &Mailbox,
        obstacle: &Obstacle,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Lets nothing wait for a time that is further ahead than any pause of ours: the clock was set back. Returns how many did.
    async fn heed_clock(&self, now: DateTime<Utc>, longest_pause: chrono::Duration) -> Result<u64, StoreError>;

    /// Lets a message not be tried before `until`.
    async fn postpone_one(&self, id: &str, until: DateTime<Utc>) -> Result<(), StoreError>;

    /// Notes that a message was looked for and has not arrived by any of its doubts.
    async fn note_absent(&self, id: &str) -> Result<(), StoreError>;

    /// Notes that the transaction of a message that was never tried from the queue has ended at `at` without an answer, so that it is looked
    /// for when `filing` has passed since.
    async fn note_unanswered(&self, id: &str, at: DateTime<Utc>, filing: chrono::Duration) -> Result<(), StoreError>;

    /// Takes all attempts back of which no end was noted. Of those that had come to [`note_final`](Self::note_final) the outcome is
    /// unknown. Nobody waits for answers any more: what may have arrived by a transaction that was still open is looked for as soon as
    /// `filing` has passed from now. Returns how many attempts have an unknown outcome.
    async fn settle_attempts(&self, at: DateTime<Utc>, filing: chrono::Duration) -> Result<u64, StoreError>;

    /// Holds or releases messages. Returns how many were concerned.
    async fn wish(&self, of: QueuedOf<'_>, wish: QueueWish, at: DateTime<Utc>) -> Result<u64, StoreError>;

    /// Takes a message out, whatever it waits for, and notes in the journal what became of it, both or neither. False: it was not there.
    async fn dequeue(&self, id: &str, noted: Option<&JournalEntry>) -> Result<bool, StoreError>;
}
