//! The valid app passwords and the login names in memory, so that a login does not pay for the store.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Mutex;

use crate::auth::adopted::is_narrow;
use crate::auth::bans::place;
use crate::base::Mailbox;
use crate::store::{AppPasswordRecord, MailboxRecord, Store, StoreError, Verifier};

/// The table in use. It is replaced as a whole when the store's revision has changed.
pub(in crate::auth) struct Registry {
    table: ArcSwap<Table>,
    loading: Mutex<()>,
}

/// What was in the store at one revision.
pub(in crate::auth) struct Table {
    revision: i64,
    by_verifier: HashMap<Verifier, Arc<AppPasswordRecord>>,
    by_id: HashMap<String, Arc<AppPasswordRecord>>,
    /// Those that devices brought along, by their mailbox.
    adopted: HashMap<Mailbox, Vec<Arc<AppPasswordRecord>>>,
    /// From where app passwords were used last, or are to be used.
    known: HashSet<IpNet>,
    /// Addresses and aliases, in lower case.
    logins: HashMap<String, Arc<MailboxRecord>>,
}

/// What a login name means.
#[derive(Clone, Debug)]
pub(in crate::auth) enum Resolved {
    /// It is the address or an alias of this mailbox.
    Mailbox(Arc<MailboxRecord>),
    /// It is `somebody\mailbox` or `somebody/mailbox`, as Outlook writes the login to a shared mailbox.
    RightSide(Arc<MailboxRecord>),
    /// It holds a space, a control character or no UTF-8.
    Malformed,
    /// It is nobody's.
    Unknown,
}

impl Registry {
    pub(in crate::auth) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let table = Table::load(store, store.revision().await?).await?;
        Ok(Self { table: ArcSwap::from_pointee(table), loading: Mutex::new(()) })
    }

    /// Loads the table anew if the store has changed since.
    pub(in crate::auth) async fn keep_true(&self, store: &dyn Store) -> Result<(), StoreError> {
        if store.revision().await? == self.table.load().revision {
            return Ok(());
        }
        // Of many logins that see the change at once, one loads and the others wait for it.
        let _one_at_a_time = self.loading.lock().await;
        let revision = store.revision().await?;
        if revision != self.table.load().revision {
            self.table.store(Arc::new(Table::load(store, revision).await?));
        }
        Ok(())
    }

    pub(in crate::auth) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }
}

impl Table {
    /// `revision` was read before the rows, so a change in between is only loaded twice and never missed.
    async fn load(store: &dyn Store, revision: i64) -> Result<Self, StoreError> {
        let mut logins = HashMap::new();
        for record in store.mailboxes().await? {
            let record = Arc::new(record);
            logins.insert(record.address.as_str().to_owned(), Arc::clone(&record));
            for alias in &record.aliases {
                logins.insert(alias.to_ascii_lowercase(), Arc::clone(&record));
            }
        }
        let valid: Vec<_> = store
            .app_passwords()
            .await?
            .into_iter()
            .filter(|record| record.revoked_at.is_none())
            .map(Arc::new)
            .collect();
        let mut adopted: HashMap<Mailbox, Vec<_>> = HashMap::new();
        for record in valid.iter().filter(|record| record.slow_hash.is_some()) {
            adopted.entry(record.mailbox.clone()).or_default().push(Arc::clone(record));
        }
        let mut known = HashSet::new();
        for record in &valid {
            known.extend(record.tracking.last.as_ref().map(|last| place(last.address)));
            known.extend(record.first_use.as_ref().filter(|_| record.scope.binds_network).map(|first| first.network));
            known.extend(record.networks.iter().filter(|network| is_narrow(network)).copied());
        }
        Ok(Self {
            revision,
            known,
            adopted,
            by_verifier: valid.iter().map(|record| (record.verifier, Arc::clone(record))).collect(),
            by_id: valid.iter().map(|record| (record.id.clone(), Arc::clone(record))).collect(),
            logins,
        })
    }

    /// The app password with this verifier, if it was not revoked.
    pub(in crate::auth) fn password(&self, verifier: &Verifier) -> Option<Arc<AppPasswordRecord>> {
        self.by_verifier.get(verifier).cloned()
    }

    /// Whether an app password was used from there, or is for there.
    pub(in crate::auth) fn is_known(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.known.contains(&place(address)) || self.known.iter().any(|network| network.contains(&address))
    }

    /// What the store was at.
    pub(in crate::auth) fn revision(&self) -> i64 {
        self.revision
    }

    /// Those of a mailbox that a device brought along and that were not revoked.
    pub(in crate::auth) fn adopted(&self, mailbox: &Mailbox) -> Vec<Arc<AppPasswordRecord>> {
        self.adopted.get(mailbox).cloned().unwrap_or_default()
    }

    /// How many of them the mailbox with the most has.
    pub(in crate::auth) fn most_adopted(&self) -> usize {
        self.adopted.values().map(Vec::len).max().unwrap_or_default()
    }

    /// All that were not revoked.
    pub(in crate::auth) fn valid(&self) -> impl Iterator<Item = &AppPasswordRecord> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// The app password with this ID, if it was not revoked.
    pub(in crate::auth) fn password_by_id(&self, id: &str) -> Option<&Arc<AppPasswordRecord>> {
        self.by_id.get(id)
    }

    /// The mailbox with this address, if it is on the list.
    pub(in crate::auth) fn mailbox(&self, address: &Mailbox) -> Option<&Arc<MailboxRecord>> {
        self.logins.get(address.as_str()).filter(|record| record.address == *address)
    }

    /// What a login name means: the whole name first; else what stands right of its only `\` or `/`, with both sides filled.
    /// The left side decides nothing: whether the password is that mailbox's does.
    pub(in crate::auth) fn resolve(&self, login: &[u8]) -> Resolved {
        let Ok(login) = std::str::from_utf8(login) else {
            return Resolved::Malformed;
        };
        if login.is_empty() || login.chars().any(|c| c.is_control() || c == ' ') {
            return Resolved::Malformed;
        }
        let login = login.to_ascii_lowercase();
        if let Some(mailbox) = self.logins.get(&login) {
            return Resolved::Mailbox(Arc::clone(mailbox));
        }
        let mut parts = login.split(['\\', '/']);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(left), Some(right), None) if !left.is_empty() && !right.is_empty() => match self.logins.get(right) {
                Some(mailbox) => Resolved::RightSide(Arc::clone(mailbox)),
                None => Resolved::Unknown,
            },
            _ => Resolved::Unknown,
        }
    }
}
