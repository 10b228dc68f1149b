//! The commands that concern messages: FETCH, STORE, SEARCH, COPY, MOVE, EXPUNGE, CLOSE, UNSELECT and APPEND.

use std::collections::BTreeSet;

use chrono::Utc;

use crate::sandbox::connection::Ended;
use crate::sandbox::faults::FaultName;
use crate::sandbox::imap::fetch::{Attribute, answer, flags, marks_as_seen, read_attributes};
use crate::sandbox::imap::parse::{Parser, SequenceSet};
use crate::sandbox::imap::search::{Place, read_keys};
use crate::sandbox::imap::view::{Numbered, View};
use crate::sandbox::imap::{ARGUMENT_ERROR, INVALID_STATE, Outcome, Session, done};
use crate::sandbox::mailbox::{Message, folder_key};

impl Session {
    /// Does the command, if it is one of these and a folder is selected.
    pub(super) async fn message_command(
        &mut self,
        tag: &str,
        name: &str,
        mut parser: Parser<'_>,
    ) -> Result<Outcome, Ended> {
        if name == "APPEND" {
            return Ok(self.append(&mut parser).unwrap_or(ARGUMENT_ERROR));
        }
        let known = ["FETCH", "STORE", "SEARCH", "COPY", "MOVE", "EXPUNGE", "UID", "CLOSE", "UNSELECT"].contains(&name);
        let Some(mut view) = self.selected.take().filter(|_| known) else { return Ok(INVALID_STATE) };
        let Some(mailbox) = self.login.as_ref().map(|login| login.mailbox.clone()) else { return Ok(INVALID_STATE) };
        let mut by_uid = false;
        let mut command = name.to_owned();
        if name == "UID" {
            by_uid = true;
            command = parser.space().and_then(|()| parser.keyword()).unwrap_or_default();
        }
        let selected = Selected { mailbox: &mailbox, view: &mut view, by_uid };
        let outcome = match command.as_str() {
            "FETCH" => self.fetch(selected, &mut parser).await?,
            "STORE" => self.store(selected, &mut parser),
            "SEARCH" if self.tenant.faults.strikes(FaultName::ImapSearchRefused) => {
                Some(Outcome::No("Server Unavailable. 15".into()))
            }
            "SEARCH" => self.search(tag, selected, &mut parser),
            "COPY" | "MOVE" => self.copy(selected, &mut parser, command == "MOVE"),
            "EXPUNGE" => self.expunge(selected, &mut parser),
            "CLOSE" | "UNSELECT" if !by_uid => {
                if command == "CLOSE" && !view.read_only {
                    remove_deleted(self, &mailbox, &view.folder, None);
                }
                return Ok(done(&command));
            }
            _ => None,
        };
        let outcome = outcome.unwrap_or(ARGUMENT_ERROR);
        self.selected = Some(view);
        // Numbers may change now only if the command did not use them (RFC 3501, section 7.4.1).
        let may_renumber = by_uid || !matches!(command.as_str(), "FETCH" | "STORE" | "SEARCH");
        self.show_changes(may_renumber);
        Ok(outcome)
    }

    /// Sends what has changed in the selected folder.
    pub(super) fn show_changes(&mut self, may_renumber: bool) {
        let (Some(view), Some(login)) = (&mut self.selected, &self.login) else { return };
        let lines = self
            .tenant
            .mailboxes
            .with(&login.mailbox, |account| view.changes(account.folders.get_mut(&view.folder), may_renumber));
        lines.unwrap_or_default().iter().for_each(|line| self.connection.say(line));
    }

    async fn fetch(&mut self, selected: Selected<'_>, parser: &mut Parser<'_>) -> Result<Option<Outcome>, Ended> {
        let Some((named, mut attributes)) = selected.read_fetch(parser) else { return Ok(None) };
        let Selected { mailbox, view, by_uid } = selected;
        if by_uid && !attributes.contains(&Attribute::Uid) {
            attributes.insert(0, Attribute::Uid);
        }
        if self.tenant.faults.holds(FaultName::ImapEstimatedSize) {
            let sizes = attributes.iter_mut().filter(|attribute| **attribute == Attribute::Size);
            sizes.for_each(|size| *size = Attribute::EstimatedSize);
        }
        let marks = marks_as_seen(&attributes) && !view.read_only;
        let messages = self.tenant.mailboxes.with(mailbox, |account| {
            let change = account.next_change();
            let mut changed_any = false;
            let Some(folder) = account.folders.get_mut(&view.folder) else { return Vec::new() };
            let mut messages = Vec::new();
            let last_change = folder.last_change();
            for (number, uid) in named {
                let Some(message) = folder.find_mut(uid) else { continue };
                let newly_seen = marks && message.flags.insert("\\Seen".into());
                if newly_seen {
                    message.changed = change;
                    changed_any = true;
                }
                messages.push((number, newly_seen, message.clone()));
            }
            if changed_any {
                view.note_own_change(last_change, change);
                account.ring();
            }
            messages
        });
        for (number, newly_seen, message) in messages.unwrap_or_default() {
            let recent = view.recent.contains(&message.uid);
            let octets = if newly_seen && !attributes.contains(&Attribute::Flags) {
                let with_flags: Vec<Attribute> = attributes.iter().cloned().chain([Attribute::Flags]).collect();
                answer(number, &message, recent, &with_flags)
            } else {
                answer(number, &message, recent, &attributes)
            };
            self.connection.put(&octets);
            self.connection.flush().await?;
        }
        Ok(Some(done("FETCH")))
    }

    /// `store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))`
    fn store(&mut self, selected: Selected<'_>, parser: &mut Parser<'_>) -> Option<Outcome> {
        let named = selected.read_set(parser)?;
        parser.space()?;
        let sign = match parser.peek()? {
            sign @ (b'+' | b'-') => {
                parser.octet(sign)?;
                Some(sign)
            }
            _ => None,
        };
        let silent = match parser.attribute()?.as_str() {
            "FLAGS" => false,
            "FLAGS.SILENT" => true,
            _ => return None,
        };
        parser.space()?;
        let given = parser.flags()?;
        parser.end()?;
        let Selected { mailbox, view, by_uid } = selected;
        if view.read_only {
            return Some(Outcome::No("Command is not valid when mailbox is selected as read only.".into()));
        }
        let lines = self.tenant.mailboxes.with(mailbox, |account| {
            let change = account.next_change();
            let Some(folder) = account.folders.get_mut(&view.folder) else { return Vec::new() };
            let mut lines = Vec::new();
            let last_change = folder.last_change();
            for (number, uid) in named {
                let Some(message) = folder.find_mut(uid) else { continue };
                match sign {
                    Some(b'+') => message.flags.extend(given.iter().cloned()),
                    Some(_) => message.flags.retain(|flag| !given.contains(flag)),
                    None => message.flags.clone_from(&given),
                }
                message.changed = change;
                let shown_uid = if by_uid { format!("UID {uid} ") } else { String::new() };
                lines.push(format!("* {number} FETCH ({shown_uid}{})", flags(message, view.recent.contains(&uid))));
            }
            view.note_own_change(last_change, change);
            account.ring();
            lines
        });
        if !silent {
            lines.unwrap_or_default().iter().for_each(|line| self.say(line));
        }
        Some(done("STORE"))
    }

    fn search(&mut self, tag: &str, selected: Selected<'_>, parser: &mut Parser<'_>) -> Option<Outcome> {
        parser.space()?;
        let mut after = parser.clone();
        if after.keyword().as_deref() == Some("CHARSET") {
            after.space()?;
            let charset = String::from_utf8(after.astring()?).ok()?;
            if !charset.eq_ignore_ascii_case("US-ASCII") {
                return Some(Outcome::No("[BADCHARSET (US-ASCII)] The specified charset is not supported.".into()));
            }
            after.space()?;
            *parser = after;
        }
        let keys = read_keys(parser)?;
        parser.end()?;
        let Selected { mailbox, view, by_uid } = selected;
        let last_number = u32::try_from(view.uids.len()).unwrap_or(u32::MAX);
        let last_uid = view.uids.last().copied().unwrap_or(0);
        let found = self.tenant.mailboxes.with_folder(mailbox, &view.folder, |folder| {
            let places = view.uids.iter().zip(1..).map(|(uid, number)| {
                (*uid, Place { number, last_number, last_uid, recent: view.recent.contains(uid) })
            });
            places
                .filter(|(uid, place)| folder.find(*uid).is_some_and(|message| keys.is_met(message, *place)))
                .map(|(uid, place)| if by_uid { uid } else { place.number }.to_string())
                .collect::<Vec<_>>()
        });
        let found = found.unwrap_or_default();
        if self.enabled_rev2 {
            // The answer of IMAP4rev2, without the `UID` that it should carry: what a client of 2026 stumbled over.
            let all = if found.is_empty() { String::new() } else { format!(" ALL {}", found.join(",")) };
            self.say(&format!("* ESEARCH (TAG \"{tag}\"){all}"));
        } else {
            let numbers: String = found.iter().map(|number| format!(" {number}")).collect();
            self.say(&format!("* SEARCH{numbers}"));
        }
        Some(done("SEARCH"))
    }

    fn copy(&mut self, selected: Selected<'_>, parser: &mut Parser<'_>, moves: bool) -> Option<Outcome> {
        let named = selected.read_set(parser)?;
        parser.space()?;
        let target = folder_key(&parser.mailbox()?);
        parser.end()?;
        let Selected { mailbox, view, .. } = selected;
        if moves && view.read_only {
            return Some(Outcome::No("Command is not valid when mailbox is selected as read only.".into()));
        }
        let copied = self.tenant.mailboxes.with(mailbox, |account| {
            if !account.folders.contains_key(&target) {
                return None;
            }
            let uids: BTreeSet<u32> = named.iter().map(|(_, uid)| *uid).collect();
            let source = account.folders.get_mut(&view.folder)?;
            let chosen: Vec<Message> =
                source.messages.iter().filter(|message| uids.contains(&message.uid)).cloned().collect();
            if moves {
                source.messages.retain(|message| !uids.contains(&message.uid));
            }
            let mut pairs = Vec::new();
            let mut uid_validity = 0;
            for message in chosen {
                let added = account.add(&target, message.octets, message.flags, message.internal_date)?;
                uid_validity = added.0;
                pairs.push((message.uid.to_string(), added.1.to_string()));
            }
            account.ring();
            Some((uid_validity, pairs))
        });
        let Some((uid_validity, pairs)) = copied.flatten() else {
            return Some(Outcome::No("[TRYCREATE] Destination folder doesn't exist.".into()));
        };
        let name = if moves { "MOVE" } else { "COPY" };
        if pairs.is_empty() {
            return Some(done(name));
        }
        let (from, to): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let code = format!("[COPYUID {uid_validity} {} {}]", from.join(","), to.join(","));
        if moves {
            // Before the EXPUNGE responses (RFC 6851, section 4.3).
            self.say(&format!("* OK {code}"));
            return Some(done(name));
        }
        Some(Outcome::Ok(format!("{code} {name} completed.")))
    }

    /// EXPUNGE, and with a set UID EXPUNGE (RFC 4315).
    fn expunge(&mut self, selected: Selected<'_>, parser: &mut Parser<'_>) -> Option<Outcome> {
        let only = if selected.by_uid { Some(selected.read_set(parser)?) } else { None };
        parser.end()?;
        if selected.view.read_only {
            return Some(Outcome::No("Command is not valid when mailbox is selected as read only.".into()));
        }
        let only = only.map(|named| named.into_iter().map(|(_, uid)| uid).collect());
        remove_deleted(self, selected.mailbox, &selected.view.folder, only.as_ref());
        Some(done("EXPUNGE"))
    }

    /// `append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal`
    fn append(&mut self, parser: &mut Parser<'_>) -> Option<Outcome> {
        parser.space()?;
        let folder = folder_key(&parser.mailbox()?);
        parser.space()?;
        let mut flags = BTreeSet::new();
        if parser.peek() == Some(b'(') {
            flags = parser.flags()?;
            parser.space()?;
        }
        let mut date = Utc::now();
        if parser.peek() == Some(b'"') {
            date = parser.date_time()?;
            parser.space()?;
        }
        let octets = parser.literal()?;
        parser.end()?;
        let mailbox = self.login.as_ref()?.mailbox.clone();
        let added = self.tenant.mailboxes.with(&mailbox, |account| account.add(&folder, octets.into(), flags, date));
        self.show_changes(true);
        Some(match added.flatten() {
            Some((uid_validity, uid)) => Outcome::Ok(format!("[APPENDUID {uid_validity} {uid}] APPEND completed.")),
            None => Outcome::No("[TRYCREATE] Destination folder doesn't exist.".into()),
        })
    }
}

/// What a command works on.
struct Selected<'a> {
    mailbox: &'a str,
    view: &'a mut View,
    /// The command was UID something.
    by_uid: bool,
}

impl Selected<'_> {
    /// The messages that a set names, as number and UID.
    fn read_set(&self, parser: &mut Parser<'_>) -> Option<Numbered> {
        parser.space()?;
        let set: SequenceSet = parser.sequence_set()?;
        Some(self.view.named(&set, self.by_uid))
    }

    fn read_fetch(&self, parser: &mut Parser<'_>) -> Option<(Numbered, Vec<Attribute>)> {
        let named = self.read_set(parser)?;
        parser.space()?;
        let attributes = read_attributes(parser)?;
        parser.end()?;
        Some((named, attributes))
    }
}

impl View {
    /// The session made this change itself and has been told. One that another session made just before stays to be shown.
    fn note_own_change(&mut self, last_change: u64, change: u64) {
        if self.shown >= last_change {
            self.shown = change;
        }
    }
}

/// Removes what is marked as deleted, of all messages or of those named.
fn remove_deleted(session: &Session, mailbox: &str, folder: &str, only: Option<&BTreeSet<u32>>) {
    session.tenant.mailboxes.with(mailbox, |account| {
        if let Some(folder) = account.folders.get_mut(folder) {
            folder.messages.retain(|message| {
                !message.flags.contains("\\Deleted") || only.is_some_and(|only| !only.contains(&message.uid))
            });
        }
        account.ring();
    });
}
