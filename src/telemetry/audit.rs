//! Who did what, and who logged in, for whoever has to prove it later: written to the store in a chain that shows when something in it was
//! changed or taken away.
//!
//! What an administrator does is written at once. Logins are gathered and written once a second, so that none waits for the disk. What is
//! refused is counted by address and minute behind the first time, so that a flood of guesses cannot fill the store.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::base::{Clock, Mailbox, Protocol, Secret};
use crate::store::{AuditEnd, AuditEndRecord, AuditEntry, AuditKind, AuditTail, Seal, Sealer, Store, StoreError};

/// How many entries may wait to be written.
const MOST_WAITING: usize = 20_000;

/// How many addresses, or app passwords at addresses, are told apart in one minute. The others are counted together.
const MOST_COUNTED: usize = 200;

/// Entries that are looked at together when a chain is verified.
const PAGE: u32 = 1000;

/// The audit trail of this instance.
pub struct Audit {
    store: Arc<dyn Store>,
    instance: String,
    chain: Chain,
    clock: Clock,
    waiting: Mutex<Waiting>,
    /// The newest entry that was written from here.
    known: Mutex<Option<AuditTail>>,
    /// That the chain was touched has been said.
    is_told: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<AuditEntry>,
    /// How many were lost, as there was no room.
    lost: u64,
    /// What was refused in this minute, behind the first time.
    counted: HashMap<Counted, Count>,
    /// The minute, since 1970.
    minute: i64,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    /// Logins from an address (of IPv6 a /64) without a right app password.
    Strangers(IpAddr),
    /// Refused logins with an app password from an address, for one reason.
    Refused(IpAddr, String, String),
    /// All others with this app password.
    OthersOf(String),
    /// All other strangers.
    Others,
}

#[derive(Clone, Debug, Default)]
struct Count {
    /// Behind the first.
    further: u64,
    /// The first one, as it was noted.
    details: Value,
    mailbox: Option<Mailbox>,
}

/// A login, for the audit trail.
#[derive(Clone, Copy, Debug)]
pub struct LoginSeen<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// What the client calls itself.
    pub client: Option<&'a str>,
    /// The version of TLS; none in the clear.
    pub tls: Option<&'a str>,
    /// The login name, where it looks like one.
    pub login: &'a str,
    /// The mailbox, where it is known.
    pub mailbox: Option<&'a Mailbox>,
    /// The public ID of the app password, where the right one was given.
    pub password_id: Option<&'a str>,
}

/// Makes the seals of a chain.
pub struct Chain(hmac::Key);

/// A fault that a chain shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Whose chain.
    pub instance: String,
    /// The entry at which it shows.
    pub number: u64,
    /// What is wrong.
    pub why: &'static str,
}

/// What the looking through of a chain came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whose chain.
    pub instance: String,
    /// Entries that are there.
    pub entries: u64,
    /// The place of the newest.
    pub newest: u64,
    /// The beginning of its seal, in hexadecimal: noted elsewhere it also shows when a whole older state was put back.
    pub newest_seal: String,
    /// Up to which place it was pruned; 0: not at all.
    pub pruned: u64,
}

impl Chain {
    /// Takes the key, 32 octets.
    pub fn new(key: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The seal of these parts. Each has its length in front, so that no two lists of parts are alike.
    fn seal(&self, parts: &[&[u8]]) -> Seal {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut seal = Seal::default();
        seal.copy_from_slice(context.sign().as_ref());
        seal
    }
}

impl Sealer for Chain {
    fn of_entry(&self, instance: &str, number: u64, before: &Seal, entry: &AuditEntry) -> Seal {
        self.seal(&[
            b"entry",
            instance.as_bytes(),
            &number.to_be_bytes(),
            before,
            &entry.at.timestamp_millis().to_be_bytes(),
            entry.kind.name().as_bytes(),
            entry.mailbox.as_ref().map_or(&b""[..], |mailbox| mailbox.as_str().as_bytes()),
            entry.password_id.as_deref().unwrap_or_default().as_bytes(),
            entry.details.as_bytes(),
        ])
    }

    fn of_end(&self, instance: &str, of: AuditEnd, number: u64, seal: &Seal, at: DateTime<Utc>) -> Seal {
        self.seal(&[
            b"end",
            instance.as_bytes(),
            of.name().as_bytes(),
            &number.to_be_bytes(),
            seal,
            &at.timestamp_millis().to_be_bytes(),
        ])
    }
}

impl Audit {
    /// The trail of this instance in this store.
    pub fn new(store: Arc<dyn Store>, instance: String, key: &Secret<[u8; 32]>, clock: Clock) -> Self {
        Self {
            store,
            instance,
            chain: Chain::new(key),
            clock,
            waiting: Mutex::default(),
            known: Mutex::default(),
            is_told: AtomicBool::default(),
        }
    }

    /// Notes what an administrator has done, flushed when this returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn act(
        &self,
        mailbox: Option<&Mailbox>,
        password_id: Option<&str>,
        details: Value,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let entry = AuditEntry {
            at: now,
            kind: AuditKind::Act,
            mailbox: mailbox.cloned(),
            password_id: password_id.map(str::to_owned),
            details: details.to_string(),
        };
        self.add(&[entry]).await
    }

    async fn add(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let Some(added) = self.store.add_to_audit(&self.instance, entries, known, &self.chain, now).await? else {
            return Ok(());
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none_or(|known| known.number < added.tail.number) {
            *known = Some(added.tail);
        }
        if !added.is_intact && !self.is_told.swap(true, Ordering::Relaxed) {
            error!(
                code = "audit-broken",
                remedy = "Run `postern audit verify`; `postern explain audit-broken` says what to do then.",
                "somebody has changed the audit trail in the store past Postern"
            );
        }
        Ok(())
    }

    /// Notes a login.
    pub fn login(&self, seen: LoginSeen<'_>) {
        let entry = self.entry(AuditKind::Login, seen.mailbox, seen.password_id, &details(&seen));
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).add(entry);
    }

    /// Notes that a login was refused, and why: one line for the first from an address in a minute, and one that counts the others.
    pub fn login_refused(&self, seen: LoginSeen<'_>, code: &str, reason: &str) {
        let address = network(seen.address);
        let (kind, counted) = match seen.password_id {
            Some(id) => (AuditKind::LoginRefused, Counted::Refused(address, id.to_owned(), reason.to_owned())),
            None => (AuditKind::Strangers, Counted::Strangers(address)),
        };
        let mut details = details(&seen);
        if let Some(object) = details.as_object_mut() {
            object.insert("code".to_owned(), code.into());
            object.insert("reason".to_owned(), reason.into());
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn_minute(&mut waiting);
        if let Some(count) = waiting.counted.get_mut(&counted) {
            count.further += 1;
            return;
        }
        // However many strangers there are, whoever has an app password stands there by its name.
        let is_stranger = matches!(counted, Counted::Strangers(_));
        let alike = waiting.counted.keys().filter(|other| match other {
            Counted::Strangers(_) => is_stranger,
            Counted::Refused(..) => !is_stranger,
            Counted::OthersOf(_) | Counted::Others => false,
        });
        if alike.count() >= MOST_COUNTED {
            let others = seen.password_id.map_or(Counted::Others, |id| Counted::OthersOf(id.to_owned()));
            let count = waiting.counted.entry(others).or_default();
            count.further += 1;
            count.mailbox = seen.mailbox.filter(|_| !is_stranger).cloned();
            return;
        }
        waiting.counted.insert(counted, Count { further: 0, details: details.clone(), mailbox: seen.mailbox.cloned() });
        let entry = self.entry(kind, seen.mailbox, seen.password_id, &details);
        waiting.add(entry);
    }

    /// What was counted in a minute that is over waits to be written.
    fn turn_minute(&self, waiting: &mut Waiting) {
        let minute = self.clock.now().timestamp().div_euclid(60);
        if minute == waiting.minute {
            return;
        }
        waiting.minute = minute;
        for (counted, count) in std::mem::take(&mut waiting.counted) {
            if count.further == 0 {
                continue;
            }
            let are_others = matches!(counted, Counted::Others | Counted::OthersOf(_));
            let mut details = if are_others { json!({}) } else { count.details };
            if let Some(object) = details.as_object_mut() {
                object.insert("further".to_owned(), count.further.into());
                if are_others {
                    object.insert("reason".to_owned(), "from too many addresses to tell them apart".into());
                }
            }
            let (kind, password_id) = match &counted {
                Counted::Refused(_, id, _) | Counted::OthersOf(id) => (AuditKind::LoginRefused, Some(id.as_str())),
                Counted::Strangers(_) | Counted::Others => (AuditKind::Strangers, None),
            };
            waiting.add(self.entry(kind, count.mailbox.as_ref(), password_id, &details));
        }
    }

    fn entry(
        &self,
        kind: AuditKind,
        mailbox: Option<&Mailbox>,
        password_id: Option<&str>,
        details: &Value,
    ) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            kind,
            mailbox: mailbox.cloned(),
            password_id: password_id.map(str::to_owned),
            details: details.to_string(),
        }
    }

    /// Writes what is waiting. Called every second.
    ///
    /// # Errors
    /// When the store cannot be written; what was waiting waits on, as long as there is room.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        let taken = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.turn_minute(&mut waiting);
            if waiting.lost > 0 {
                let lost = std::mem::take(&mut waiting.lost);
                let details = json!({ "further": lost, "reason": "the store could not be written in time" });
                warn!("the audit trail could not be written in time; entries that are missing in it: {lost}");
                waiting.entries.push(self.entry(AuditKind::Strangers, None, None, &details));
            }
            std::mem::take(&mut waiting.entries)
        };
        let written = self.add(&taken).await;
        if written.is_err() {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let newer = std::mem::replace(&mut waiting.entries, taken);
            for entry in newer {
                waiting.add(entry);
            }
        }
        written
    }

    /// Writes what is waiting and what was counted up to now, as the process ends.
    ///
    /// # Errors
    /// As [`upkeep`](Self::upkeep).
    pub async fn close(&self) -> Result<(), StoreError> {
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.minute = i64::MIN;
            self.turn_minute(&mut waiting);
        }
        self.upkeep().await
    }

    /// Forgets what is older than `keep`, and notes up to where.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, keep: Duration) -> Result<(), StoreError> {
        let now = self.clock.now();
        if let Some(before) = chrono::Duration::from_std(keep).ok().and_then(|keep| now.checked_sub_signed(keep)) {
            while self.store.prune_audit(&self.instance, before, &self.chain, now).await? > 0 {}
        }
        Ok(())
    }

    /// Looks through all chains of the store: whether any entry was changed, put in or taken away.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn verify(&self) -> Result<(Vec<Verified>, Vec<Broken>), StoreError> {
        let (mut verified, mut broken) = (Vec::new(), Vec::new());
        for instance in self.store.audit_instances().await? {
            let mut found = self.verify_chain(&instance).await?;
            if found.is_err() {
                // It may have been pruned while it was read.
                found = self.verify_chain(&instance).await?;
            }
            match found {
                Ok(chain) => verified.push(chain),
                Err(fault) => broken.push(fault),
            }
        }
        Ok((verified, broken))
    }

    async fn verify_chain(&self, instance: &str) -> Result<Result<Verified, Broken>, StoreError> {
        let fault = |number, why| Ok(Err(Broken { instance: instance.to_owned(), number, why }));
        // Read first: what is added behind is only more than it says.
        let ends = self.store.audit_ends().await?;
        let end = |of| ends.iter().find(|end| end.instance == instance && end.of == of);
        let is_true =
            |end: &AuditEndRecord| self.chain.of_end(instance, end.of, end.number, &end.seal, end.at) == end.own_seal;
        let Some(newest) = end(AuditEnd::Newest) else {
            return fault(0, "the note of its newest entry is missing");
        };
        if !is_true(newest) {
            return fault(newest.number, "the note of its newest entry was changed");
        }
        let pruned = end(AuditEnd::Pruned);
        if pruned.is_some_and(|pruned| !is_true(pruned)) {
            return fault(0, "the note of where it begins was changed");
        }
        let (mut number, mut seal) = pruned.map_or((0, Seal::default()), |pruned| (pruned.number, pruned.seal));
        if self.store.audit_until(instance, number).await? > 0 {
            return fault(number, "an entry was put in front of where it begins");
        }
        let (first, mut newest_was_met) = (number, newest.number == number && newest.seal == seal);
        loop {
            let page = self.store.audit_behind(instance, number, PAGE).await?;
            for record in &page {
                if record.number != number + 1 {
                    return fault(number + 1, "the entry is missing");
                }
                if self.chain.of_entry(instance, record.number, &seal, &record.entry) != record.seal {
                    return fault(record.number, "the entry was changed, or one in front of it");
                }
                (number, seal) = (record.number, record.seal);
                newest_was_met |= number == newest.number && seal == newest.seal;
            }
            if (page.len() as u64) < u64::from(PAGE) {
                break;
            }
        }
        if !newest_was_met {
            return fault(number + 1, "entries are missing at its end");
        }
        Ok(Ok(Verified {
            instance: instance.to_owned(),
            entries: number - first,
            newest: number,
            newest_seal: seal.iter().take(8).map(|octet| format!("{octet:02x}")).collect(),
            pruned: first,
        }))
    }
}

impl Waiting {
    fn add(&mut self, entry: AuditEntry) {
        if self.entries.len() >= MOST_WAITING {
            self.lost += 1;
        } else {
            self.entries.push(entry);
        }
    }
}

fn details(seen: &LoginSeen<'_>) -> Value {
    json!({
        "login": seen.login,
        "address": seen.address.to_canonical(),
        "protocol": seen.protocol.name(),
        "client": seen.client,
        "tls": seen.tls,
    })
}

/// An address, of IPv6 the network that a client has for itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}
