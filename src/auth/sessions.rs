//! The sessions that are logged in, by app password, so that revoking one ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::SetOnce;

use crate::auth::AuthError;
use crate::base::Protocol;
use crate::store::AppPasswordRecord;

/// Why a session that was let in may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The app password has ended by its date.
    #[error("the app password has expired")]
    Expired,
    /// The administrator has disabled the mailbox.
    #[error("the mailbox was disabled")]
    MailboxDisabled,
    /// The administrator has halted its tenant, or everything.
    #[error("its tenant, or everything, was halted")]
    Halted,
    /// The mailbox is not on the list any more.
    #[error("the mailbox was taken off the list")]
    MailboxRemoved,
    /// The app password was revoked.
    #[error("the app password was revoked")]
    Revoked,
    /// It is bound to its first use, and this login was let in to be told that the mailbox is disabled.
    #[error("the mailbox is enabled again, and this login has not counted as the first of its app password")]
    Unbound,
}

impl SessionEnd {
    /// Whether the mailbox is on the list, and the administrator lets nobody use it for now.
    pub fn is_for_now(self) -> bool {
        matches!(self, Self::MailboxDisabled | Self::Halted)
    }
}

/// All sessions that are logged in.
#[derive(Debug, Default)]
pub(in crate::auth) struct Sessions {
    open: Arc<DashMap<u64, Entry>>,
    /// How many sessions those app passwords have that may have so many only.
    limited: Arc<DashMap<String, u32>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    password: Arc<AppPasswordRecord>,
    protocol: Protocol,
    ended: Arc<SetOnce<SessionEnd>>,
}

/// One registered session; dropping it takes it off the list.
#[derive(Debug)]
pub struct SessionGuard {
    number: u64,
    open: Arc<DashMap<u64, Entry>>,
    /// Where it is counted, and for which app password.
    limited: Option<(Arc<DashMap<String, u32>>, String)>,
    ended: Arc<SetOnce<SessionEnd>>,
}

impl SessionGuard {
    /// One of no app password, which nothing ends.
    pub(in crate::auth) fn detached() -> Self {
        Self { number: 0, open: Arc::default(), limited: None, ended: Arc::default() }
    }

    /// Returns when this session may not go on, and says why.
    pub async fn ended(&self) -> SessionEnd {
        *self.ended.wait().await
    }

    /// Whether that has happened.
    pub fn has_ended(&self) -> bool {
        self.ended.initialized()
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.open.remove(&self.number);
        if let Some((limited, id)) = self.limited.take() {
            if let Some(mut taken) = limited.get_mut(&id) {
                *taken = taken.saturating_sub(1);
            }
            limited.remove_if(&id, |_, taken| *taken == 0);
        }
    }
}

impl Sessions {
    /// Registers one, unless the app password has as many as it may.
    pub(in crate::auth) fn register(
        &self,
        password: &Arc<AppPasswordRecord>,
        protocol: Protocol,
    ) -> Result<SessionGuard, AuthError> {
        if let Some(limit) = password.scope.max_sessions {
            let mut taken = self.limited.entry(password.id.clone()).or_insert(0);
            if *taken >= limit {
                return Err(AuthError::TooManySessions {
                    limit,
                    mailbox: password.mailbox.clone(),
                    password_id: password.id.clone(),
                });
            }
            *taken += 1;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ended = Arc::new(SetOnce::new());
        self.open.insert(number, Entry { password: Arc::clone(password), protocol, ended: Arc::clone(&ended) });
        let limited = password.scope.max_sessions.map(|_| (Arc::clone(&self.limited), password.id.clone()));
        Ok(SessionGuard { number, open: Arc::clone(&self.open), limited, ended })
    }

    /// Ends every session for which `why` has a reason. It is shown the app password as it was at the login.
    pub(in crate::auth) fn end_where(&self, why: impl Fn(&AppPasswordRecord, Protocol) -> Option<SessionEnd>) {
        for entry in self.open.iter() {
            if let Some(why) = why(&entry.password, entry.protocol) {
                // A session that has been told and is still on its way out keeps its first reason.
                drop(entry.ended.set(why));
            }
        }
    }

    /// The IDs of the app passwords that have any, each once.
    pub(in crate::auth) fn passwords(&self) -> Vec<String> {
        let ids: std::collections::HashSet<String> = self.open.iter().map(|entry| entry.password.id.clone()).collect();
        ids.into_iter().collect()
    }

    pub(in crate::auth) fn len(&self) -> usize {
        self.open.len()
    }

    pub(in crate::auth) fn by(&self, protocol: Protocol) -> usize {
        self.open.iter().filter(|entry| entry.protocol == protocol).count()
    }
}
