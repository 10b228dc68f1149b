//! What the tenant keeps: accounts, their folders, the messages in them, and a bell that rings when something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

/// The folders that a new mailbox has.
pub(super) const DEFAULT_FOLDERS: [&str; 6] =
    ["INBOX", "Archive", "Deleted Items", "Drafts", "Junk Email", "Sent Items"];

/// All accounts of the tenant.
pub(super) struct Mailboxes {
    accounts: Mutex<BTreeMap<String, Account>>,
}

/// One mailbox.
pub(super) struct Account {
    pub(super) folders: BTreeMap<String, Folder>,
    /// Rung at every change; IMAP sessions in IDLE listen to it.
    bell: watch::Sender<u64>,
    next_uid_validity: u32,
    changes: u64,
}

/// One folder.
pub(super) struct Folder {
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) subscribed: bool,
    /// In ascending order of UID.
    pub(super) messages: Vec<Message>,
}

/// One message in a folder.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) uid: u32,
    pub(super) flags: BTreeSet<String>,
    /// No session has been told of it yet.
    pub(super) recent: bool,
    pub(super) internal_date: DateTime<Utc>,
    pub(super) octets: Arc<[u8]>,
    /// Grows with every change of its flags, so that sessions know what they have not shown yet.
    pub(super) changed: u64,
}

impl Mailboxes {
    pub(super) fn new(addresses: &[String]) -> Self {
        let accounts = addresses.iter().map(|address| (address.to_ascii_lowercase(), Account::new())).collect();
        Self { accounts: Mutex::new(accounts) }
    }

    pub(super) fn has(&self, address: &str) -> bool {
        self.lock().contains_key(&address.to_ascii_lowercase())
    }

    /// The addresses of all accounts, in lower case.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Works on one account while no one else does; `None` if there is no such mailbox.
    pub(super) fn with<T>(&self, address: &str, work: impl FnOnce(&mut Account) -> T) -> Option<T> {
        self.lock().get_mut(&address.to_ascii_lowercase()).map(work)
    }

    /// Works on one folder; `None` if there is no such mailbox or folder.
    pub(super) fn with_folder<T>(&self, address: &str, folder: &str, work: impl FnOnce(&mut Folder) -> T) -> Option<T> {
        self.with(address, |account| account.folders.get_mut(&folder_key(folder)).map(work)).flatten()
    }

    /// A listener for the bell of an account.
    pub(super) fn listen(&self, address: &str) -> Option<watch::Receiver<u64>> {
        self.with(address, |account| account.bell.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn new() -> Self {
        let mut account =
            Self { folders: BTreeMap::new(), bell: watch::Sender::new(0), next_uid_validity: 14, changes: 0 };
        for name in DEFAULT_FOLDERS {
            account.create(name);
        }
        account
    }

    /// Makes a folder (and those above it); false if it exists.
    pub(super) fn create(&mut self, name: &str) -> bool {
        let key = folder_key(name);
        if self.folders.contains_key(&key) {
            return false;
        }
        if let Some((above, _)) = key.rsplit_once('/') {
            self.create(above);
        }
        self.next_uid_validity += 1;
        let folder =
            Folder { uid_validity: self.next_uid_validity, uid_next: 1, subscribed: true, messages: Vec::new() };
        self.folders.insert(key, folder);
        true
    }

    /// Renames a folder and those below it; false if there is none, or one of the new name.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let (from, to) = (folder_key(from), folder_key(to));
        if !self.folders.contains_key(&from) || self.folders.contains_key(&to) {
            return false;
        }
        let below = format!("{from}/");
        let moved: Vec<String> =
            self.folders.keys().filter(|name| **name == from || name.starts_with(&below)).cloned().collect();
        if let Some((above, _)) = to.rsplit_once('/') {
            self.create(above);
        }
        for name in moved {
            if let Some(folder) = self.folders.remove(&name) {
                let rest = name.get(from.len()..).unwrap_or_default();
                self.folders.insert(format!("{to}{rest}"), folder);
            }
        }
        true
    }

    /// Puts a message into a folder and rings the bell; its UID validity and UID, or `None` if there is no such folder.
    pub(super) fn add(
        &mut self,
        folder: &str,
        octets: Arc<[u8]>,
        flags: BTreeSet<String>,
        date: DateTime<Utc>,
    ) -> Option<(u32, u32)> {
        self.changes += 1;
        let changed = self.changes;
        let folder = self.folders.get_mut(&folder_key(folder))?;
        let uid = folder.uid_next;
        folder.uid_next += 1;
        folder.messages.push(Message { uid, flags, recent: true, internal_date: date, octets, changed });
        let uid_validity = folder.uid_validity;
        self.ring();
        Some((uid_validity, uid))
    }

    /// The number of the next change.
    pub(super) fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// Tells the listeners that something changed.
    pub(super) fn ring(&self) {
        self.bell.send_modify(|rung| *rung += 1);
    }
}

impl Folder {
    pub(super) fn find(&self, uid: u32) -> Option<&Message> {
        self.messages.binary_search_by_key(&uid, |message| message.uid).ok().and_then(|at| self.messages.get(at))
    }

    /// The number of the last change of a message that is still here.
    pub(super) fn last_change(&self) -> u64 {
        self.messages.iter().map(|message| message.changed).max().unwrap_or(0)
    }

    pub(super) fn find_mut(&mut self, uid: u32) -> Option<&mut Message> {
        let at = self.messages.binary_search_by_key(&uid, |message| message.uid).ok()?;
        self.messages.get_mut(at)
    }
}

/// INBOX is the same in any case (RFC 3501, section 5.1); other names are not.
pub(super) fn folder_key(name: &str) -> String {
    match name.get(..5) {
        Some(start) if start.eq_ignore_ascii_case("INBOX") && matches!(name.as_bytes().get(5), None | Some(b'/')) => {
            format!("INBOX{}", name.get(5..).unwrap_or_default())
        }
        _ => name.to_owned(),
    }
}
