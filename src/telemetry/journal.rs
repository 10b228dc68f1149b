//! What became of messages, for the administrator who asks days later. Gathered here and written once a second, so that no message waits
//! for it: what a killed process had gathered in its last second is missing in the journal, and nowhere else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::warn;

use crate::store::{JournalEntry, Store, StoreError};

/// How many may wait to be written.
const MOST_WAITING: usize = 20_000;

/// Gathers entries of the journal for the store.
pub struct Journal {
    store: Arc<dyn Store>,
    waiting: Mutex<VecDeque<JournalEntry>>,
    /// Held while something is written, so that whoever wants all of it to be waits for what somebody else has begun.
    writing: tokio::sync::Mutex<()>,
}

impl Journal {
    /// Gathers for this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, waiting: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// Notes what became of a message.
    pub fn note(&self, entry: JournalEntry) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(entry);
    }

    /// Forgets what was more than `keep` before `now`.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, now: DateTime<Utc>, keep: Duration) -> Result<(), StoreError> {
        if let Some(before) = chrono::Duration::from_std(keep).ok().and_then(|keep| now.checked_sub_signed(keep)) {
            self.store.prune_journal(before).await?;
        }
        Ok(())
    }

    /// Writes what is waiting. Behind this it can be read. Whoever drops this in its middle waits no more, and nothing is lost.
    ///
    /// # Errors
    /// When the store cannot be written; what was waiting waits on, as long as there is room.
    pub async fn upkeep(self: &Arc<Self>) -> Result<(), StoreError> {
        let journal = Arc::clone(self);
        // It fails only where the process ends in the middle of it.
        tokio::spawn(async move { journal.write().await }).await.unwrap_or(Ok(()))
    }

    async fn write(&self) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        let taken: Vec<JournalEntry> = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let written = self.store.add_to_journal(&taken).await;
        if written.is_err() {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MOST_WAITING.saturating_sub(waiting.len());
            let lost = taken.len().saturating_sub(room);
            if lost > 0 {
                warn!("the journal cannot be written; entries that are missing in it: {lost}");
            }
            for entry in taken.into_iter().skip(lost).rev() {
                waiting.push_front(entry);
            }
        }
        written
    }
}
