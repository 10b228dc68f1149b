//! Which of the messages that a mail program files as sent Exchange has filed already.
//!
//! Exchange files each message that it takes, and many programs file a copy of their own behind it. One is dropped only where nothing can be
//! lost by it: the journal has a message of this mailbox with this Message-ID that Exchange has taken minutes ago, the copy is no smaller than
//! what was sent, and it is the first. A later one, as one that has been on a server before, may be an edited one, which the program files before
//! it deletes the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::auth::Permit;
use crate::base::{Fault, Mailbox};
use crate::delivery::Delivery;
use crate::store::{JournalFilter, JournalOutcome, StoreError};
use crate::upstream::reader::SENT_NAMES;
use crate::wire::header::LONGEST_COPIED_ID_OCTETS;
use crate::wire::watch::{SentCopy, SentFolder};

/// Copies are filed within moments behind the message.
const MOST_AGE: chrono::Duration = chrono::Duration::minutes(10);

/// What we have put in front of a message that a client handed in, which its copy does not have, is shorter.
const OUR_HEADER_OCTETS: u64 = 1024;

/// As long as a client waits for the journal.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many messages with one Message-ID are looked at.
const MOST_ENTRIES: u32 = 100;

/// How long it is known that one was dropped: longer than the journal is asked for, as its entry may be a moment younger.
const KNOWN_TIME: chrono::Duration = chrono::Duration::minutes(20);

/// How long it is known that none is to be dropped, for messages that wait in the queue: five days, if nothing else is configured.
const SPARED_TIME: chrono::Duration = chrono::Duration::days(6);

/// Of so many messages something is known. Of no other one a copy is dropped meanwhile.
const MOST_KNOWN: usize = 100_000;

/// The copies of which one was dropped in the last minutes, and those of which none is to be; until when that is known.
#[derive(Clone, Debug, Default)]
pub struct DroppedCopies(Arc<Mutex<HashMap<MessageOf, DateTime<Utc>>>>);

/// A mailbox, and a Message-ID.
type MessageOf = (Mailbox, String);

impl DroppedCopies {
    /// Whether this one is the first, and the next one will be known not to be.
    fn note(&self, mailbox: &Mailbox, message_id: &str, now: DateTime<Utc>, time: chrono::Duration) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, until| now < *until);
        if known.len() >= MOST_KNOWN {
            return false;
        }
        let message = (mailbox.clone(), message_id.to_owned());
        let until = now + time;
        let before = known.insert(message.clone(), until);
        // What is known for longer stays so.
        if let Some(before) = before.filter(|before| *before > until) {
            known.insert(message, before);
        }
        before.is_none()
    }
}

impl Delivery {
    /// The folder in which Exchange files what this mailbox sends; none where it files nothing, or perhaps elsewhere.
    pub fn sent_folder(&self, permit: &Permit) -> Option<SentFolder> {
        // What is sent under somebody else's sign-in may be filed in that one's mailbox.
        if self.without_copies.contains(permit.tenant()) || permit.account() != permit.mailbox() {
            return None;
        }
        Some(match self.sent_folders.get(permit.tenant()) {
            Some(name) => SentFolder::Named(name.clone()),
            None => SentFolder::OneOf(SENT_NAMES),
        })
    }

    /// Whether a copy that a mail program files can be dropped, as Exchange has filed the message itself. That it can is said once.
    pub async fn has_filed(&self, permit: &Permit, copy: &SentCopy) -> bool {
        let is_delivered = match timeout(PATIENCE, self.has_delivered(permit, copy)).await {
            Ok(Ok(is_delivered)) => is_delivered,
            Ok(Err(error)) => {
                warn!(
                    code = error.code(),
                    remedy = error.remedy(),
                    "a copy of a sent message is filed, as the journal cannot be read: {error}"
                );
                false
            }
            Err(_) => {
                warn!("a copy of a sent message is filed, as the journal could not be read in time");
                false
            }
        };
        let now = self.keeping.clock.now();
        let is_first = is_delivered && self.dropped_copies.note(permit.mailbox(), &copy.message_id, now, KNOWN_TIME);
        debug!(message.id = copy.message_id, octets = copy.octets, dropped = is_first, "a copy of a sent message came");
        is_first
    }

    /// The copy of this message is not to be dropped: what Exchange files of one that is encrypted its own sender may not be able to read, and
    /// mail programs file it in the clear (Claws Mail, mutt's `fcc_clear`).
    pub(in crate::delivery) fn spare_copy(&self, mailbox: &Mailbox, message_id: &str) {
        // The copy of one with a longer Message-ID is never dropped.
        if message_id.len() <= LONGEST_COPIED_ID_OCTETS {
            self.dropped_copies.note(mailbox, message_id, self.keeping.clock.now(), SPARED_TIME);
        }
    }

    async fn has_delivered(&self, permit: &Permit, copy: &SentCopy) -> Result<bool, StoreError> {
        // What was sent a moment ago is not written yet.
        self.journal.upkeep().await?;
        let filter = JournalFilter {
            since: self.keeping.clock.now().checked_sub_signed(MOST_AGE),
            mailbox: Some(permit.mailbox().clone()),
            outcome: Some(JournalOutcome::Delivered),
            with: Some(copy.message_id.clone()),
            ..JournalFilter::default()
        };
        let entries = self.keeping.store.journal(&filter, MOST_ENTRIES).await?;
        Ok(entries.iter().any(|entry| {
            // What is sent as somebody else may be filed in that one's mailbox.
            entry.sender.eq_ignore_ascii_case(permit.mailbox().as_str())
                && entry.message_id.as_ref() == Some(&copy.message_id)
                && copy.octets.saturating_add(OUR_HEADER_OCTETS) >= entry.size_octets
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_copy_is_one_too_many() {
        let (dropped, now) = (DroppedCopies::default(), Utc::now());
        let [alice, bob] = ["alice@contoso.test", "bob@contoso.test"].map(|name| name.parse::<Mailbox>().unwrap());
        let note = |mailbox, id, after| dropped.note(mailbox, id, now + after, KNOWN_TIME);
        let minutes = chrono::Duration::minutes;
        assert!(note(&alice, "1@x", minutes(0)));
        assert!(!note(&alice, "1@x", MOST_AGE));
        assert!(note(&alice, "2@x", minutes(0)));
        assert!(note(&bob, "1@x", minutes(0)));
        // One of which none is to be dropped, however often somebody tries.
        dropped.note(&bob, "secret@x", now, SPARED_TIME);
        assert!(!note(&bob, "secret@x", minutes(1)));
        assert!(!note(&bob, "secret@x", chrono::Duration::days(5)));
        assert_eq!(dropped.0.lock().unwrap().len(), 1, "of the others the journal is not asked any more");
        // Nothing is forgotten for want of room.
        let until = now + SPARED_TIME;
        dropped.0.lock().unwrap().extend((0..MOST_KNOWN).map(|number| ((bob.clone(), number.to_string()), until)));
        assert!(!note(&bob, "new@x", chrono::Duration::days(5)));
        assert!(!dropped.0.lock().unwrap().contains_key(&(bob, "new@x".to_owned())));
    }
}
