//! What stood behind each reference that a mail program was given, so that `postern explain` finds it long after the log has gone.
//!
//! A flood of failures must not wait for the disk: incidents are gathered here and written once a second, the newest thousand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Clock, Fault, Mailbox, Protocol, Reference};
use crate::store::{IncidentRecord, Store, StoreError};

/// How many may wait to be written.
const MOST_WAITING: usize = 1000;

/// Gathers incidents for the store.
pub struct Incidents {
    store: Arc<dyn Store>,
    clock: Clock,
    waiting: Mutex<VecDeque<IncidentRecord>>,
}

/// Whom an incident befell.
#[derive(Clone, Copy, Debug)]
pub struct Whom<'a> {
    /// The mailbox.
    pub mailbox: Option<&'a Mailbox>,
    /// The protocol.
    pub protocol: Protocol,
    /// The public ID of the app password.
    pub password_id: Option<&'a str>,
}

impl Incidents {
    /// Gathers for this store.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, waiting: Mutex::default() }
    }

    /// Notes what stands behind a reference.
    pub fn note(&self, reference: Reference, whom: Whom<'_>, fault: &dyn Fault) {
        self.note_said(reference, whom, fault.code(), fault.to_string(), fault.remedy());
    }

    /// Notes what stands behind a reference, in words.
    pub fn note_said(&self, reference: Reference, whom: Whom<'_>, code: &str, reason: String, remedy: Option<String>) {
        let record = IncidentRecord {
            reference: reference.to_string(),
            at: self.clock.now(),
            mailbox: whom.mailbox.cloned(),
            protocol: Some(whom.protocol),
            password_id: whom.password_id.map(str::to_owned),
            code: code.to_owned(),
            reason,
            remedy,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(record);
    }

    /// Writes what is waiting.
    ///
    /// # Errors
    /// When the store cannot be written; what was waiting waits on.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        let taken: Vec<IncidentRecord> =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let written = self.store.add_incidents(&taken).await;
        if written.is_err() {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for record in taken.into_iter().rev() {
                if waiting.len() >= MOST_WAITING {
                    break;
                }
                waiting.push_front(record);
            }
        }
        written
    }
}
