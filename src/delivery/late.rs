//! Transactions that are still open although the client has heard that its message is kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::Mailbox;
use crate::wire::smtp::Reply;

/// When it is seen to at the latest whether an answer to a whole message is still awaited: as long as the connection waits, as a rule.
pub(in crate::delivery) const LATE_TIME: chrono::Duration = chrono::Duration::minutes(11);

/// Answers of Exchange to whole messages that the clients did not wait for.
#[derive(Clone, Debug, Default)]
pub struct LateAnswers(Arc<Mutex<Awaited>>);

#[derive(Debug, Default)]
struct Awaited {
    /// The IDs of the messages whose transaction is still open.
    open: HashSet<String>,
    /// What has come.
    come: Vec<Late>,
}

/// One of them.
#[derive(Debug)]
pub(in crate::delivery) struct Late {
    /// The message in the queue.
    pub(in crate::delivery) id: String,
    /// Whose it is.
    pub(in crate::delivery) mailbox: Mailbox,
    /// The places of the recipients that were in the transaction.
    pub(in crate::delivery) places: Vec<usize>,
    /// None: the connection broke, and none will come.
    pub(in crate::delivery) reply: Option<Reply>,
}

impl LateAnswers {
    /// From now on the answer to this message is awaited.
    pub(in crate::delivery) fn open(&self, id: &str) {
        self.lock().open.insert(id.to_owned());
    }

    /// Nobody asks for it.
    pub(in crate::delivery) fn close(&self, id: &str) {
        self.lock().open.remove(id);
    }

    /// It has come, or none will. Where nobody asks for it any more, it is forgotten.
    pub(in crate::delivery) fn come(&self, late: Late) {
        let mut awaited = self.lock();
        if awaited.open.remove(&late.id) {
            awaited.come.push(late);
        }
    }

    /// It could not be taken up.
    pub(in crate::delivery) fn put_back(&self, late: Late) {
        self.lock().come.push(late);
    }

    /// Whether any are awaited.
    pub(in crate::delivery) fn are_open(&self) -> bool {
        !self.lock().open.is_empty()
    }

    pub(in crate::delivery) fn is_open(&self, id: &str) -> bool {
        self.lock().open.contains(id)
    }

    /// Takes the answer to one message, if it has come.
    pub(in crate::delivery) fn take(&self, id: &str) -> Option<Late> {
        let mut awaited = self.lock();
        let place = awaited.come.iter().position(|late| late.id == id)?;
        Some(awaited.come.swap_remove(place))
    }

    /// The messages whose answers have come, and their mailboxes.
    pub(in crate::delivery) fn all(&self) -> Vec<(String, Mailbox)> {
        self.lock().come.iter().map(|late| (late.id.clone(), late.mailbox.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Awaited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
