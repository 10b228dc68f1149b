//! Connections to Exchange that wait for the next message of their mailbox, whoever brings it: a login costs more than most messages.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::auth::Permit;
use crate::base::{Mailbox, TenantName};
use crate::upstream::smtp::Submission;

/// How long a connection waits for a message. Exchange's own limit is not known; a minute of silence is within every server's.
const IDLE_TIME: Duration = Duration::from_secs(45);

/// How old a connection becomes: whether Exchange cuts a session whose token has ended is not known, and tokens live for an hour.
const LIFE_TIME: Duration = Duration::from_secs(900);

/// Whose connection it is: a mailbox that is given to another tenant or account has no use for the old one's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::delivery) struct Key {
    mailbox: Mailbox,
    tenant: TenantName,
    account: Mailbox,
}

impl Key {
    pub(in crate::delivery) fn of(permit: &Permit) -> Self {
        Self { mailbox: permit.mailbox().clone(), tenant: permit.tenant().clone(), account: permit.account().clone() }
    }
}

/// A connection, and when it was opened.
#[derive(Debug)]
pub(in crate::delivery) struct Pooled {
    pub(in crate::delivery) submission: Submission,
    opened_at: Instant,
}

impl Pooled {
    /// A new one.
    pub(in crate::delivery) fn new(submission: Submission) -> Self {
        Self { submission, opened_at: Instant::now() }
    }
}

/// The connections that wait. As many as a mailbox may use at once are there at most, since each was in use before.
#[derive(Debug, Default)]
pub struct Pool {
    waiting: Mutex<HashMap<Key, Vec<(Pooled, Instant)>>>,
}

impl Pool {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Vec<(Pooled, Instant)>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was in use last.
    pub(in crate::delivery) fn take(&self, key: &Key) -> Option<Pooled> {
        let mut waiting = self.waiting();
        let (pooled, since) = waiting.get_mut(key)?.pop()?;
        is_fresh(&pooled, since).then_some(pooled)
    }

    /// Lets a connection wait on which no transaction is under way.
    pub(in crate::delivery) fn put(&self, key: &Key, pooled: Pooled) {
        self.waiting().entry(key.clone()).or_default().push((pooled, Instant::now()));
    }

    fn take_stale(&self, all: bool) -> Vec<Pooled> {
        let mut stale = Vec::new();
        self.waiting().retain(|_, connections| {
            stale.extend(connections.extract_if(.., |(pooled, since)| all || !is_fresh(pooled, *since)));
            !connections.is_empty()
        });
        stale.into_iter().map(|(pooled, _)| pooled).collect()
    }

    /// Parts from connections that nobody uses, or from all.
    pub(in crate::delivery) async fn part(&self, all: bool) {
        let mut partings = JoinSet::new();
        for pooled in self.take_stale(all) {
            partings.spawn(pooled.submission.quit());
        }
        while partings.join_next().await.is_some() {}
    }
}

fn is_fresh(pooled: &Pooled, since: Instant) -> bool {
    since.elapsed() < IDLE_TIME && pooled.opened_at.elapsed() < LIFE_TIME
}
