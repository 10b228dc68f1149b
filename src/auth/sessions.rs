//! The sessions that are logged in, by app password, so that revoking one ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use crate::base::Protocol;
use crate::store::AppPasswordRecord;

/// All sessions that are logged in.
#[derive(Debug, Default)]
pub(in crate::auth) struct Sessions {
    open: Arc<DashMap<u64, Entry>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    password_id: String,
    protocol: Protocol,
    ended: CancellationToken,
}

/// One registered session; dropping it takes it off the list.
#[derive(Debug)]
pub struct SessionGuard {
    number: u64,
    open: Arc<DashMap<u64, Entry>>,
    ended: CancellationToken,
}

impl SessionGuard {
    /// Returns when the app password of this session no longer holds.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether that has happened.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.open.remove(&self.number);
    }
}

impl Sessions {
    pub(in crate::auth) fn register(&self, password: &AppPasswordRecord, protocol: Protocol) -> SessionGuard {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ended = CancellationToken::new();
        self.open.insert(number, Entry { password_id: password.id.clone(), protocol, ended: ended.clone() });
        SessionGuard { number, open: Arc::clone(&self.open), ended }
    }

    /// Ends every session for which `holds` (app password ID, protocol) is false.
    pub(in crate::auth) fn end_unless(&self, holds: impl Fn(&str, Protocol) -> bool) {
        for entry in self.open.iter() {
            if !holds(&entry.password_id, entry.protocol) {
                entry.ended.cancel();
            }
        }
    }

    pub(in crate::auth) fn len(&self) -> usize {
        self.open.len()
    }
}
