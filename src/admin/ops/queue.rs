//! The mail that waits: what the administrator sees of it and does with it.

use chrono::{DateTime, Utc};

use crate::admin::ops::{Ops, OpsError};
use crate::base::Mailbox;
use crate::delivery::spool::Spool;
use crate::delivery::{recipient_of, sender_of};
use crate::store::{JournalEntry, JournalFilter, JournalOutcome, QueueState, QueueWish, QueuedMessage, QueuedOf};

impl Ops {
    /// The oldest `most` messages that wait.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn queue_first(&self, most: u32) -> Result<Vec<QueuedMessage>, OpsError> {
        Ok(self.foundation.store.queued_first(most).await?)
    }

    /// All messages that wait, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn queue(&self) -> Result<Vec<QueuedMessage>, OpsError> {
        Ok(self.foundation.store.queued().await?)
    }

    /// One message that waits.
    ///
    /// # Errors
    /// [`OpsError::QueueUnknown`].
    pub async fn queued(&self, id: &str) -> Result<QueuedMessage, OpsError> {
        let found = self.foundation.store.queued_message(id).await?;
        found.ok_or_else(|| OpsError::QueueUnknown { id: id.to_owned() })
    }

    /// Lets a message be tried at once. One that is held stays held.
    ///
    /// # Errors
    /// [`OpsError::QueueUnknown`], [`OpsError::QueueHeld`].
    pub async fn retry_queued(&self, id: &str) -> Result<(), OpsError> {
        if self.queued(id).await?.state == QueueState::Held {
            return Err(OpsError::QueueHeld { id: id.to_owned() });
        }
        self.wish(id, QueueWish::Retry).await
    }

    /// Lets everything that waits be tried at once, but for what is held. Returns how many messages wait in all.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retry_all_queued(&self) -> Result<u64, OpsError> {
        Ok(self.foundation.store.wish(QueuedOf::All, QueueWish::Retry, self.clock.now()).await?)
    }

    /// Keeps a message from being tried until it is released.
    ///
    /// # Errors
    /// [`OpsError::QueueUnknown`].
    pub async fn hold_queued(&self, id: &str) -> Result<(), OpsError> {
        self.wish(id, QueueWish::Hold).await
    }

    /// Lets a message that is held be tried again, at once.
    ///
    /// # Errors
    /// [`OpsError::QueueUnknown`].
    pub async fn release_queued(&self, id: &str) -> Result<(), OpsError> {
        self.wish(id, QueueWish::Release).await
    }

    /// Takes a message out for good; nobody is told. One that is on its way at this moment may still arrive.
    ///
    /// # Errors
    /// [`OpsError::QueueUnknown`].
    pub async fn drop_queued(&self, id: &str) -> Result<(), OpsError> {
        let message = self.queued(id).await?;
        let spool = Spool::open(&self.config.data_dir, self.config.delivery.spool_octets)?;
        spool.retire(id).await;
        if !self.foundation.store.dequeue(id, Some(&dropped(&message, self.clock.now()))).await? {
            return Err(OpsError::QueueUnknown { id: id.to_owned() });
        }
        let more = serde_json::json!({ "queue_id": id, "sender": sender_of(&message) });
        self.noted("message dropped", Some(&message.mailbox), Some(&message.password_id), more).await;
        Ok(spool.remove(id).await?)
    }

    /// What became of messages: the newest `most` entries that are wanted, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn journal(&self, filter: &JournalFilter, most: u32) -> Result<Vec<JournalEntry>, OpsError> {
        Ok(self.foundation.store.journal(filter, most).await?)
    }

    /// Holds everything that a mailbox sends and that waits. Returns how many messages.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn hold_queued_of(&self, mailbox: &Mailbox) -> Result<u64, OpsError> {
        let held = self.foundation.store.wish(QueuedOf::Mailbox(mailbox), QueueWish::Hold, self.clock.now()).await?;
        self.noted("mail held", Some(mailbox), None, serde_json::json!({ "messages": held })).await;
        Ok(held)
    }

    /// Holds everything that was submitted with an app password and that waits. Returns how many messages.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn hold_queued_with(&self, password_id: &str) -> Result<u64, OpsError> {
        let of = QueuedOf::Password(password_id);
        let held = self.foundation.store.wish(of, QueueWish::Hold, self.clock.now()).await?;
        self.noted("mail held", None, Some(password_id), serde_json::json!({ "messages": held })).await;
        Ok(held)
    }

    async fn wish(&self, id: &str, wish: QueueWish) -> Result<(), OpsError> {
        match self.foundation.store.wish(QueuedOf::Id(id), wish, self.clock.now()).await? {
            0 => Err(OpsError::QueueUnknown { id: id.to_owned() }),
            _ => {
                let act = match wish {
                    QueueWish::Hold => "message held",
                    QueueWish::Release => "message released",
                    QueueWish::Retry => "message retried",
                };
                self.noted(act, None, None, serde_json::json!({ "queue_id": id })).await;
                Ok(())
            }
        }
    }
}

/// What the journal has of a message that the administrator takes out.
fn dropped(message: &QueuedMessage, at: DateTime<Utc>) -> JournalEntry {
    JournalEntry {
        at,
        mailbox: message.mailbox.clone(),
        password_id: message.password_id.clone(),
        queue_id: Some(message.id.clone()),
        sender: sender_of(message).unwrap_or_default(),
        recipients: message.waiting().filter_map(recipient_of).collect(),
        size_octets: message.size_octets,
        message_id: message.message_id.clone(),
        route: None,
        outcome: JournalOutcome::Dropped,
        reply: None,
    }
}
