//! Who did what, and who logged in, for whoever has to prove it later: written to the store in a chain that shows when something in it was
//! changed or taken away.
//!
//! What an administrator does is written at once. Logins are gathered and written once a second, so that none waits for the disk. What is
//! refused is counted by address and minute behind the first time, so that a flood of guesses cannot fill the store.

mod chain;
mod mark;
mod verify;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tracing::{debug, error, warn};

use crate::base::{Clock, Mailbox, Protocol, Secret};
use crate::store::{AuditEntry, AuditKind, AuditTail, Store, StoreError};
use crate::telemetry::audit::mark::Mark;

pub use self::chain::Chain;
pub use self::verify::{Broken, Findings, Settled, Verified};

/// How many entries may wait to be written.
const MOST_WAITING: usize = 20_000;

/// How many addresses are told apart in one minute, of strangers and of each app password. The others are counted together.
const MOST_COUNTED: usize = 200;

/// The same for all app passwords together; each has its first one.
const MOST_COUNTED_IN_ALL: usize = 5000;

/// The act by which what is wrong with a chain is settled.
const SETTLED: &str = "audit settled";

/// The act by which a chain that was settled is forgotten, as it has become too old.
const FORGOTTEN: &str = "audit forgotten";

/// The audit trail of this instance.
pub struct Audit {
    store: Arc<dyn Store>,
    instance: String,
    chain: Chain,
    clock: Clock,
    waiting: Mutex<Waiting>,
    /// The newest entry that was written from here, or was noted by an earlier process.
    known: Mutex<Option<AuditTail>>,
    /// Where that is noted.
    mark_file: Option<PathBuf>,
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
    /// How many of them are of each app password, and how many of strangers.
    counted_of: HashMap<Option<String>, usize>,
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

impl Audit {
    /// The trail of this instance in this store. Its newest entry is also noted in `mark_file`, outside of the store; beside it lies
    /// `instance`, with the name of the instance.
    pub fn new(
        store: Arc<dyn Store>,
        instance: String,
        key: &Secret<[u8; 32]>,
        clock: Clock,
        mark_file: Option<PathBuf>,
    ) -> Self {
        Self::on(store, instance, Chain::new(key), clock, mark_file)
    }

    fn on(store: Arc<dyn Store>, instance: String, chain: Chain, clock: Clock, mark_file: Option<PathBuf>) -> Self {
        let audit = Self {
            store,
            instance,
            chain,
            clock,
            waiting: Mutex::default(),
            known: Mutex::default(),
            mark_file,
            is_told: AtomicBool::default(),
        };
        if let Mark::Of(tail) = audit.mark() {
            *audit.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(tail);
        }
        audit
    }

    /// Whose trail it is.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What was noted of the newest entry.
    fn mark(&self) -> Mark {
        self.mark_file.as_deref().map_or(Mark::None, |path| mark::read(path, &self.instance, &self.chain))
    }

    /// Notes in this trail that what is wrong with a chain is settled: as long as nothing more is changed in it, it is not called broken any
    /// more.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn settle(&self, broken: &Broken, by: &str, reason: Option<&str>) -> Result<(), StoreError> {
        let details = json!({
            "act": SETTLED,
            "by": by,
            "chain": broken.instance,
            "number": broken.number,
            "why": broken.why,
            "reason": reason,
            "digest": self.digest(&broken.instance).await?,
        });
        self.act(None, None, details).await
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
        if let Some(next) = self.successor() {
            return Box::pin(next.act(mailbox, password_id, details)).await;
        }
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

    /// The chain that another process has put in the place of this one (`audit settle`), while this one waited for somebody's sign-in.
    fn successor(&self) -> Option<Self> {
        let mark_file = self.mark_file.as_ref()?;
        let named = std::fs::read_to_string(mark_file.with_file_name("instance")).ok()?;
        let instance = named.trim();
        let is_another = is_name(instance) && instance != self.instance;
        is_another.then(|| {
            Self::on(
                Arc::clone(&self.store),
                instance.to_owned(),
                self.chain.clone(),
                self.clock.clone(),
                self.mark_file.clone(),
            )
        })
    }

    async fn add(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Another process may have written behind that.
        if let Mark::Of(tail) = self.mark()
            && known.is_none_or(|known| known.number < tail.number)
        {
            known = Some(tail);
        }
        let now = self.clock.now();
        let Some(added) = self.store.add_to_audit(&self.instance, entries, known, &self.chain, now).await? else {
            return Ok(());
        };
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.is_none_or(|known| known.number < added.tail.number) {
                *known = Some(added.tail);
                // Where what was noted is gone, the note stays, and shows that it is.
                if let Some(path) = self.mark_file.as_deref().filter(|_| added.has_known)
                    && let Err(error) = mark::write(path, &self.instance, added.tail, &self.chain)
                {
                    debug!("the newest entry of the audit trail cannot be noted in {}: {error}", path.display());
                }
            }
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
        let of = seen.password_id.map(str::to_owned);
        let alike = waiting.counted_of.get(&of).copied().unwrap_or_default();
        let is_crowded = !is_stranger && alike > 0 && waiting.counted.len() >= MOST_COUNTED_IN_ALL;
        if alike >= MOST_COUNTED || is_crowded {
            let others = seen.password_id.map_or(Counted::Others, |id| Counted::OthersOf(id.to_owned()));
            let count = waiting.counted.entry(others).or_default();
            count.further += 1;
            count.mailbox = seen.mailbox.filter(|_| !is_stranger).cloned();
            return;
        }
        *waiting.counted_of.entry(of).or_default() += 1;
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
        waiting.counted_of.clear();
        for (counted, count) in std::mem::take(&mut waiting.counted) {
            if count.further == 0 {
                continue;
            }
            let are_others = matches!(counted, Counted::Others | Counted::OthersOf(_));
            let mut details = if are_others { json!({}) } else { count.details };
            if let Some(object) = details.as_object_mut() {
                object.insert("further".to_owned(), count.further.into());
                // They are counted by address, whichever protocol they came by.
                object.insert("protocol".to_owned(), Value::Null);
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
        // They stay where they are until they are written: whoever drops this in its middle loses none.
        let (mut entries, count, lost) = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.turn_minute(&mut waiting);
            (waiting.entries.clone(), waiting.entries.len(), waiting.lost)
        };
        if lost > 0 {
            let details = json!({ "further": lost, "reason": "the store could not be written in time" });
            entries.push(self.entry(AuditKind::Strangers, None, None, &details));
        }
        self.add(&entries).await?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entries.drain(..count);
        waiting.lost -= lost;
        if lost > 0 {
            warn!("the audit trail could not be written in time; entries that are missing in it: {lost}");
        }
        Ok(())
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

    /// Forgets what is older than `keep`, and notes up to where; of chains that were settled so long ago, all.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, keep: Duration) -> Result<(), StoreError> {
        let now = self.clock.now();
        let before = chrono::Duration::from_std(keep).ok().and_then(|keep| now.checked_sub_signed(keep));
        let Some(before) = before else { return Ok(()) };
        if self.store.audit_instances().await?.len() > 1 {
            // Those of data folders that are gone, as long as they are whole. What was settled stays as it was then.
            let findings = self.verify().await?;
            for chain in findings.chains.iter().filter(|chain| chain.instance != self.instance) {
                while self.store.prune_audit(&chain.instance, before, &self.chain, now).await? > 0 {}
            }
            // Before what says that it is settled is pruned itself.
            for settled in findings.settled.iter().filter(|settled| settled.at < before) {
                let details = json!({ "act": FORGOTTEN, "by": "postern", "chain": settled.instance });
                self.act(None, None, details).await?;
                self.store.forget_audit(&settled.instance).await?;
            }
        }
        while self.store.prune_audit(&self.instance, before, &self.chain, now).await? > 0 {}
        Ok(())
    }
}

/// Whether it can be the name of an instance.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())
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
