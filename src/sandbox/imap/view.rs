//! What a session knows of the folder it has selected: which message has which number, and what it was told so far.

use std::collections::BTreeSet;

use crate::sandbox::imap::fetch::flags;
use crate::sandbox::imap::parse::SequenceSet;
use crate::sandbox::mailbox::Folder;

/// Messages by number and UID.
pub(super) type Numbered = Vec<(u32, u32)>;

/// A selected folder.
pub(super) struct View {
    pub(super) folder: String,
    pub(super) read_only: bool,
    /// UIDs by message number.
    pub(super) uids: Vec<u32>,
    /// UIDs of the messages that this session was the first to be told of: it sees `\Recent` on them until it leaves the
    /// folder, other sessions do not (RFC 3501, section 2.3.2).
    pub(super) recent: BTreeSet<u32>,
    /// The last change of flags that the session was told of.
    pub(super) shown: u64,
}

impl View {
    /// A folder opened now. With EXAMINE the messages stay recent for the next session.
    pub(super) fn open(name: String, read_only: bool, folder: &mut Folder) -> Self {
        let mut view =
            Self { folder: name, read_only, uids: Vec::new(), recent: BTreeSet::new(), shown: folder.last_change() };
        view.uids = folder.messages.iter().map(|message| message.uid).collect();
        view.claim_recent(folder);
        view
    }

    /// Takes note of the messages that no session was told of before.
    fn claim_recent(&mut self, folder: &mut Folder) {
        for message in folder.messages.iter_mut().filter(|message| message.recent) {
            self.recent.insert(message.uid);
            message.recent = self.read_only;
        }
    }

    /// Compares with the folder as it is now, and gives the untagged responses that bring the client up to date. Where
    /// numbers must not change (FETCH, STORE, SEARCH; RFC 3501, section 7.4.1) expunged messages are left for later.
    pub(super) fn changes(&mut self, mut folder: Option<&mut Folder>, may_renumber: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(folder) = &mut folder {
            self.claim_recent(folder);
        }
        let folder = folder.as_deref();
        let empty = Vec::new();
        let messages = folder.map_or(&empty, |folder| &folder.messages);
        let is_there = |uid: u32| messages.binary_search_by_key(&uid, |message| message.uid).is_ok();
        if may_renumber {
            let mut number = 0;
            self.uids.retain(|uid| {
                let stays = is_there(*uid);
                if stays {
                    number += 1;
                } else {
                    lines.push(format!("* {} EXPUNGE", number + 1));
                }
                stays
            });
        }
        let known = self.uids.len();
        let last = self.uids.last().copied().unwrap_or(0);
        self.uids.extend(messages.iter().map(|message| message.uid).filter(|uid| *uid > last));
        if self.uids.len() > known || !lines.is_empty() {
            lines.push(format!("* {} EXISTS", self.uids.len()));
            self.recent.retain(|uid| self.uids.binary_search(uid).is_ok());
            lines.push(format!("* {} RECENT", self.recent.len()));
        }
        for (at, uid) in self.uids.iter().enumerate().take(known) {
            let Ok(found) = messages.binary_search_by_key(uid, |message| message.uid) else { continue };
            if let Some(message) = messages.get(found).filter(|message| message.changed > self.shown) {
                lines.push(format!("* {} FETCH ({})", at + 1, flags(message, self.recent.contains(uid))));
            }
        }
        self.shown = folder.map_or(0, Folder::last_change).max(self.shown);
        lines
    }

    /// The numbers and UIDs that a set names; by UID those that do not exist are left out, by number they are an error.
    pub(super) fn named(&self, set: &SequenceSet, by_uid: bool) -> Numbered {
        let last_uid = self.uids.last().copied().unwrap_or(0);
        let last_number = u32::try_from(self.uids.len()).unwrap_or(u32::MAX);
        let numbered = self.uids.iter().zip(1..).map(|(uid, number)| (number, *uid));
        numbered
            .filter(
                |(number, uid)| if by_uid { set.contains(*uid, last_uid) } else { set.contains(*number, last_number) },
            )
            .collect()
    }
}
