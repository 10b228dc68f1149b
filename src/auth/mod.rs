//! 3. Who may come in, and for what: a `Claim` becomes a [`Login`], a [`Login`] becomes a [`Permit`].
//!
//! The mailbox that is used upstream follows from the verified app password and from nothing else that the client says.

mod adopted;
pub mod app_password;
mod bans;
mod ending;
mod error;
mod policy;
mod quota;
mod registry;
mod sessions;
mod throttle;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::{Instant, sleep_until};

use crate::auth::adopted::{Adopted, Checked};
use crate::auth::app_password::Pepper;
use crate::auth::bans::Suspects;
use crate::auth::registry::{Registry, Resolved, Table};
use crate::auth::throttle::Throttle;
use crate::base::{Clock, Mailbox, Protocol};
use crate::store::{AppPasswordRecord, BanRecord, FirstUse, LastUse, MailboxRecord, NotedUse, Store, StoreError};
use crate::wire::sasl::Claim;
use crate::wire::smtp::RcptTo;

pub use self::ending::{Successors, reminder_stage};
pub use self::error::{AuthError, Refusal};
pub use self::policy::{Cleared, Permit};
pub use self::quota::Counted;
pub use self::sessions::{SessionEnd, SessionGuard};

/// How strict the gate is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the answer to a first wrong password takes, from the moment it was received.
    pub first_penalty: Duration,
    /// The longest that it takes; the penalty doubles up to this with each failure of the same login from the same address.
    pub longest_penalty: Duration,
    /// How many failures of one login from one address are answered as a wrong password; further ones are answered as too
    /// many failures, for `forget_after`.
    pub failures: u32,
    /// When a failure is forgotten.
    pub forget_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            first_penalty: Duration::from_millis(500),
            longest_penalty: Duration::from_secs(2),
            failures: 10,
            forget_after: Duration::from_secs(600),
        }
    }
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client's address.
    pub address: IpAddr,
    /// The protocol it speaks.
    pub protocol: Protocol,
}

/// Proof that someone holds an app password of a mailbox that is on the list. Only [`Auth::verify`] makes one.
///
/// ```compile_fail,E0451
/// let forged = postern::auth::Login { password: unreachable!(), mailbox: unreachable!() };
/// ```
#[derive(Debug)]
pub struct Login {
    password: Arc<AppPasswordRecord>,
    mailbox: Arc<MailboxRecord>,
}

/// The gate: it holds the verifiers in memory and keeps them true to the store.
pub struct Auth {
    settings: Settings,
    store: Arc<dyn Store>,
    pepper: Arc<Pepper>,
    clock: Clock,
    registry: Registry,
    throttle: Throttle,
    adopted: Adopted,
    suspects: Suspects,
    /// Who is banned, and until when, as the store had it a second ago.
    bans: DashMap<ipnet::IpNet, chrono::DateTime<chrono::Utc>>,
    /// Bans that nobody has been told of yet.
    new_bans: Mutex<Vec<BanRecord>>,
    sessions: sessions::Sessions,
    quotas: quota::Quotas,
    /// Last uses that are not yet in the store.
    uses: DashMap<String, NotedUse>,
}

impl Auth {
    /// Reads the mailboxes and app passwords.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(
        settings: Settings,
        store: Arc<dyn Store>,
        pepper: Arc<Pepper>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let registry = Registry::load(&*store).await?;
        let throttle = Throttle::new(settings.failures, settings.forget_after);
        let auth = Self {
            adopted: Adopted::new(&pepper),
            suspects: Suspects::new(),
            bans: DashMap::new(),
            new_bans: Mutex::default(),
            settings,
            store,
            pepper,
            clock,
            registry,
            throttle,
            sessions: sessions::Sessions::default(),
            quotas: quota::Quotas::default(),
            uses: DashMap::new(),
        };
        auth.take_up_bans().await?;
        Ok(auth)
    }

    /// Finds out whether the claim holds: one keyed hash and one look-up, however many app passwords exist.
    ///
    /// A refusal is returned only when its penalty has passed, counted from when the claim came, so that its time tells
    /// nothing about its reason. The right password is never delayed and never refused because of earlier wrong ones:
    /// generated app passwords have 80 bits and more, so nobody is kept out by making their owner wait. What a device brought along
    /// is checked within limits (`Adopted`), since it can be guessed.
    ///
    /// # Errors
    /// [`AuthError::Refused`], [`AuthError::TooManyFailures`], [`AuthError::Store`].
    pub async fn verify(&self, claim: Claim, origin: Origin) -> Result<Login, AuthError> {
        let received = Instant::now();
        let error = match self.look_up(&claim, origin).await {
            Ok(login) => {
                self.throttle.forgive(origin.address, &claim.login);
                self.suspects.trust(origin.address);
                return Ok(login);
            }
            Err(error @ AuthError::Store(_)) => return Err(error),
            Err(error) => error,
        };
        let failures = self.throttle.note(origin.address, &claim.login);
        self.suspect(origin.address, &claim).await?;
        let doubled = self.settings.first_penalty.saturating_mul(1 << failures.saturating_sub(1).min(10));
        sleep_until(received + doubled.min(self.settings.longest_penalty)).await;
        match error {
            // Whether it was right was never asked, so that it may not be called wrong.
            last @ AuthError::Refused { reason: Refusal::NotChecked, .. } => {
                Err(AuthError::TooManyFailures { last: Box::new(last) })
            }
            // A right app password in the wrong place is answered like a wrong one, however often it is tried.
            last @ (AuthError::Refused { .. } | AuthError::Elsewhere { .. }) if failures > self.settings.failures => {
                Err(AuthError::TooManyFailures { last: Box::new(last) })
            }
            other => Err(other),
        }
    }

    /// Notes a wrong password, and bans who has tried too many different ones.
    async fn suspect(&self, address: IpAddr, claim: &Claim) -> Result<(), StoreError> {
        let Some(tries) = self.suspects.note(address, claim) else { return Ok(()) };
        if self.registry.table().is_known(address) {
            return Ok(());
        }
        let before = self.store.ban_of(&bans::place(address)).await?;
        let ban = bans::next(address, tries, before.as_ref(), self.clock.now());
        self.store.ban(&ban).await?;
        self.bans.insert(ban.network, ban.until);
        self.new_bans.lock().unwrap_or_else(PoisonError::into_inner).push(ban);
        Ok(())
    }

    /// Until when nobody is let in from this address, if so. Never one from where a right password came.
    pub fn banned_until(&self, address: IpAddr) -> Option<chrono::DateTime<chrono::Utc>> {
        let until = *self.bans.get(&bans::place(address))?;
        let is_known = || self.registry.table().is_known(address) || self.suspects.is_known(address);
        (until > self.clock.now() && !is_known()).then_some(until)
    }

    /// Takes the bans of which nobody has been told yet.
    pub fn new_bans(&self) -> Vec<BanRecord> {
        std::mem::take(&mut *self.new_bans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up bans, and what was lifted, by whichever process.
    async fn take_up_bans(&self) -> Result<(), StoreError> {
        let active = self.store.active_bans(self.clock.now(), bans::MOST_ACTIVE).await?;
        let active: std::collections::HashMap<_, _> = active.into_iter().map(|ban| (ban.network, ban.until)).collect();
        self.bans.retain(|network, _| active.contains_key(network));
        for (network, until) in active {
            self.bans.insert(network, until);
        }
        Ok(())
    }

    /// The IDs of the app passwords with sessions that are open now.
    pub fn in_use(&self) -> Vec<String> {
        self.sessions.passwords()
    }

    /// Forgets bans that are long over.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn forget_bans(&self) -> Result<(), StoreError> {
        self.store.forget_bans(self.clock.now() - bans::MEMORY).await
    }

    async fn look_up(&self, claim: &Claim, origin: Origin) -> Result<Login, AuthError> {
        let verifier = self.pepper.verifier(claim.password.expose());
        self.registry.keep_true(&*self.store).await?;
        let table = self.registry.table();
        let known = table.password(&verifier);
        let resolved = table.resolve(&claim.login);
        let mailbox_named = match &resolved {
            Resolved::Mailbox(mailbox) | Resolved::RightSide(mailbox) => Some(mailbox.address.clone()),
            Resolved::Malformed | Resolved::Unknown => None,
        };
        let refused =
            |reason, password_id| Err(AuthError::Refused { reason, mailbox: mailbox_named.clone(), password_id });

        if let Some(password) = known {
            let owner = match resolved {
                Resolved::Mailbox(mailbox) | Resolved::RightSide(mailbox) if mailbox.address == password.mailbox => {
                    Some(mailbox)
                }
                _ => None,
            };
            if let Some(mailbox) = owner {
                return self.admit(password, mailbox, origin).await;
            }
            self.store.app_password_by_verifier(&verifier).await?;
            return refused(Refusal::OtherMailbox, Some(password.id.clone()));
        }
        let meant = match &resolved {
            Resolved::Mailbox(mailbox) | Resolved::RightSide(mailbox) => Some(Arc::clone(mailbox)),
            Resolved::Malformed | Resolved::Unknown => None,
        };
        let address = meant.as_ref().map(|mailbox| &mailbox.address);
        let failed = self.throttle.failures(origin.address, &claim.login) >= self.settings.failures;
        let is_admitted = |record: &AppPasswordRecord| policy::check(record, origin, self.clock.now()).is_none();
        match (self.adopted.check(&table, claim, address, origin.address, failed, is_admitted).await, meant) {
            (Checked::Right(password), Some(mailbox)) => {
                // It may have been revoked while it waited for its turn.
                self.registry.keep_true(&*self.store).await?;
                let table = self.registry.table();
                return match (table.password_by_id(&password.id), table.mailbox(&mailbox.address)) {
                    (Some(password), Some(mailbox)) => {
                        self.admit(Arc::clone(password), Arc::clone(mailbox), origin).await
                    }
                    _ => refused(Refusal::Revoked, Some(password.id.clone())),
                };
            }
            (Checked::LeftOpen, _) => {
                self.store.app_password_by_verifier(&verifier).await?;
                return refused(Refusal::NotChecked, None);
            }
            _ => {}
        }
        // Not among the valid ones in memory: the store is asked once, which also finds the reason for the log.
        match self.store.app_password_by_verifier(&verifier).await? {
            Some(record) if record.revoked_at.is_some() => {
                let has_successor = table.valid().any(|other| other.replaces.as_ref() == Some(&record.id));
                refused(if has_successor { Refusal::Replaced } else { Refusal::Revoked }, Some(record.id))
            }
            Some(record) => refused(Refusal::OtherMailbox, Some(record.id)),
            None => match resolved {
                Resolved::Malformed => refused(Refusal::MalformedLogin, None),
                Resolved::Unknown => refused(Refusal::UnknownLogin, None),
                Resolved::Mailbox(_) | Resolved::RightSide(_) => refused(Refusal::WrongPassword, None),
            },
        }
    }

    /// Lets in who has given the right one for this mailbox, if it may be used from here and now.
    async fn admit(
        &self,
        password: Arc<AppPasswordRecord>,
        mailbox: Arc<MailboxRecord>,
        origin: Origin,
    ) -> Result<Login, AuthError> {
        match policy::check(&password, origin, self.clock.now()) {
            // Whoever is not let in for another reason is not the first.
            None if mailbox.is_off() => Ok(Login { password, mailbox }),
            None => self.first_used(password, mailbox, origin).await,
            Some(reason) => {
                let table = self.registry.table();
                let has_successor = || table.valid().any(|other| other.replaces.as_ref() == Some(&password.id));
                let reason = if reason == Refusal::Expired && has_successor() { Refusal::Replaced } else { reason };
                // Every refusal costs one question to the store, as a wrong password does.
                self.store.app_password_by_verifier(&password.verifier).await?;
                match (reason, bound_network(&password)) {
                    (Refusal::Network, Some(bound_to)) => Err(AuthError::Elsewhere {
                        bound_to,
                        mailbox: mailbox.address.clone(),
                        password_id: password.id.clone(),
                    }),
                    (reason, _) => Err(AuthError::Refused {
                        reason,
                        mailbox: Some(mailbox.address.clone()),
                        password_id: Some(password.id.clone()),
                    }),
                }
            }
        }
    }

    /// Notes the first use, where that decides something, before anybody is let in by it.
    async fn first_used(
        &self,
        password: Arc<AppPasswordRecord>,
        mailbox: Arc<MailboxRecord>,
        origin: Origin,
    ) -> Result<Login, AuthError> {
        if !password.scope.asks_for_first_use() || password.first_use.is_some() {
            return Ok(Login { password, mailbox });
        }
        let first =
            FirstUse { at: self.clock.now(), network: policy::network_of(origin.address), protocol: origin.protocol };
        // Another login may have been the first a moment ago.
        let first_use = self.store.note_first_use(&password.id, &first).await?;
        let password = AppPasswordRecord { first_use, ..AppPasswordRecord::clone(&password) };
        let refusal = match &password.first_use {
            Some(_) => policy::check(&password, origin, self.clock.now()),
            None => Some(Refusal::Revoked),
        };
        match refusal {
            None => Ok(Login { password: Arc::new(password), mailbox }),
            Some(reason) => Err(AuthError::Refused {
                reason,
                mailbox: Some(mailbox.address.clone()),
                password_id: Some(password.id),
            }),
        }
    }

    /// Lets a login use its mailbox by this protocol from here, and registers the session so that revoking ends it.
    ///
    /// A disabled mailbox refuses IMAP and POP3 here. SMTP is let in and refused at MAIL by [`clear`](Auth::clear): old
    /// clients take whatever AUTH answers for a wrong password.
    ///
    /// # Errors
    /// [`AuthError::Refused`] (network, protocol, dates), [`AuthError::MailboxDisabled`], [`AuthError::TooManySessions`].
    pub fn allow(&self, login: Login, origin: Origin) -> Result<Permit, AuthError> {
        let now = self.clock.now();
        if let Some(reason) = policy::check(&login.password, origin, now) {
            return Err(AuthError::Refused {
                reason,
                mailbox: Some(login.mailbox.address.clone()),
                password_id: Some(login.password.id.clone()),
            });
        }
        if login.mailbox.is_off() && origin.protocol != Protocol::Smtp {
            return Err(AuthError::MailboxDisabled {
                mailbox: login.mailbox.address.clone(),
                is_halted: login.mailbox.disabled_at.is_none(),
                password_id: Some(login.password.id.clone()),
            });
        }
        let session = self.sessions.register(&login.password, origin.protocol)?;
        let last =
            LastUse { address: origin.address.to_canonical(), protocol: origin.protocol, client: None, tls: None };
        let mut noted = self.uses.entry(login.password.id.clone()).or_default();
        noted.last = Some((now, last));
        noted.logins += 1;
        drop(noted);
        Ok(Permit::new(&login.password, &login.mailbox, origin.protocol, session))
    }

    /// Clears an envelope: the app password still holds and its mailbox is on the list and enabled.
    ///
    /// # Errors
    /// [`AuthError::MailboxDisabled`], [`AuthError::Ended`], [`AuthError::SenderNotAllowed`], [`AuthError::Store`].
    pub async fn clear(&self, permit: &Permit, mail: crate::wire::smtp::MailFrom) -> Result<Cleared, AuthError> {
        self.registry.keep_true(&*self.store).await?;
        self.still_holds(permit)?;
        // One that was let in while its mailbox was off was not noted as the first, which it has to be before it sends: it logs in anew.
        let table = self.registry.table();
        let password = table.password_by_id(permit.password_id());
        if password.is_some_and(|password| password.scope.asks_for_first_use() && password.first_use.is_none()) {
            let password_id = permit.password_id().to_owned();
            return Err(AuthError::Ended { password_id, reason: SessionEnd::Unbound });
        }
        match permit.envelope(mail) {
            Ok(mail) => Ok(Cleared::new(mail)),
            Err(sender) => Err(AuthError::SenderNotAllowed {
                sender,
                mailbox: permit.mailbox().clone(),
                password_id: permit.password_id().to_owned(),
            }),
        }
    }

    /// Counts a message that is about to be handed in, if the app password may send one now.
    ///
    /// # Errors
    /// [`AuthError::TooManyMessages`], [`AuthError::Store`].
    pub async fn count_message(&self, permit: &Permit) -> Result<Counted, AuthError> {
        let table = self.registry.table();
        let Some(password) = table.password_by_id(permit.password_id()) else { return Ok(Counted::nothing()) };
        let (per_minute, per_day) = (password.scope.max_per_minute, password.scope.max_per_day);
        if per_minute.is_none() && per_day.is_none() {
            return Ok(Counted::nothing());
        }
        let quota = match self.quotas.of(&password.id) {
            Some(quota) => quota,
            None => {
                // What an earlier process took counts as well.
                let now = self.clock.now();
                let before = self.store.taken_with_since(&password.id, now - chrono::Duration::days(1)).await?;
                let ago = before.into_iter().map(|at| (now - at).to_std().unwrap_or_default());
                self.quotas.begin(&password.id, self.clock.elapsed(), ago)
            }
        };
        quota.count(self.clock.elapsed(), per_minute, per_day).map_err(|wait| AuthError::TooManyMessages {
            wait,
            mailbox: permit.mailbox().clone(),
            password_id: permit.password_id().to_owned(),
        })
    }

    /// Whether a recipient may be named.
    ///
    /// # Errors
    /// Those of [`still_holds`](Auth::still_holds), and [`AuthError::RecipientNotAllowed`].
    pub fn clear_recipient(&self, permit: &Permit, recipient: &RcptTo) -> Result<(), AuthError> {
        self.still_holds(permit)?;
        match permit.may_send_to(recipient.address()) {
            true => Ok(()),
            false => Err(AuthError::RecipientNotAllowed {
                recipient: recipient.address().unwrap_or("postmaster").to_owned(),
                mailbox: permit.mailbox().clone(),
                password_id: permit.password_id().to_owned(),
            }),
        }
    }

    /// Whether an envelope that was cleared may go on: each recipient of it, and its message. It is asked of what is in memory,
    /// which [`upkeep`](Auth::upkeep) keeps true to the store, so that a thousand recipients are not a thousand questions to it.
    ///
    /// # Errors
    /// [`AuthError::MailboxDisabled`], [`AuthError::Ended`].
    pub fn still_holds(&self, permit: &Permit) -> Result<(), AuthError> {
        let table = self.registry.table();
        match end_of(&table, permit.password_id(), permit.mailbox(), self.clock.now()) {
            None => Ok(()),
            Some(end) if end.is_for_now() => Err(AuthError::MailboxDisabled {
                mailbox: permit.mailbox().clone(),
                is_halted: end == SessionEnd::Halted,
                password_id: Some(permit.password_id().to_owned()),
            }),
            Some(reason) => Err(AuthError::Ended { password_id: permit.password_id().to_owned(), reason }),
        }
    }

    /// The tenant of a mailbox, as far as the running process knows it.
    pub fn tenant_of(&self, mailbox: &Mailbox) -> Option<crate::base::TenantName> {
        self.registry.table().mailbox(mailbox).map(|record| record.tenant.clone())
    }

    /// A permit for mail of this mailbox that waits, to send it or to look whether it was sent: the mailbox is still on the list and enabled. No client is present.
    ///
    /// # Errors
    /// [`AuthError::MailboxGone`], [`AuthError::MailboxDisabled`], [`AuthError::Store`].
    pub async fn permit_for_queued(&self, mailbox: &Mailbox, protocol: Protocol) -> Result<Permit, AuthError> {
        let listed = self.store.mailboxes().await?;
        match listed.into_iter().find(|record| record.address == *mailbox) {
            Some(record) if !record.is_off() => Ok(Permit::for_upkeep(&record, protocol)),
            Some(record) => Err(AuthError::MailboxDisabled {
                is_halted: record.disabled_at.is_none(),
                mailbox: record.address,
                password_id: None,
            }),
            None => Err(AuthError::MailboxGone { mailbox: mailbox.clone() }),
        }
    }

    /// The upkeep that has to happen every second or so: takes up changes of the store, ends the sessions of app passwords
    /// that no longer hold, and writes the last uses.
    ///
    /// # Errors
    /// When the store cannot be asked; the next call makes up for it.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        self.throttle.forget_old();
        self.suspects.forget_old();
        self.take_up_bans().await?;
        self.registry.keep_true(&*self.store).await?;
        let table = self.registry.table();
        let now = self.clock.now();
        self.sessions.end_where(|password, protocol| {
            let end = end_of(&table, &password.id, &password.mailbox, now);
            // A disabled mailbox is told to SMTP within its transactions, where it is not taken for a wrong password.
            end.filter(|end| !end.is_for_now() || protocol != Protocol::Smtp)
        });
        // Last: a disk that takes no more must not keep a revoked session open.
        let ids: Vec<String> = self.uses.iter().map(|entry| entry.key().clone()).collect();
        let uses: Vec<_> = ids.iter().filter_map(|id| self.uses.remove(id)).collect();
        if uses.is_empty() {
            return Ok(());
        }
        let noted = self.store.note_uses(&uses).await;
        if noted.is_err() {
            for (id, earlier) in uses {
                let mut noted = self.uses.entry(id).or_default();
                noted.logins += earlier.logins;
                noted.refusals += earlier.refusals;
                noted.last = noted.last.take().or(earlier.last);
            }
        }
        noted
    }

    /// Notes what a program that has just logged in calls itself, and its TLS.
    pub fn describe_use(&self, permit: &Permit, client: Option<&str>, tls: &str) {
        if let Some(mut noted) = self.uses.get_mut(permit.password_id())
            && let Some((_, last)) = &mut noted.last
        {
            last.client = client.map(|name| name.chars().filter(|c| !c.is_control()).take(100).collect());
            last.tls = Some(tls.to_owned());
        }
    }

    /// Notes that the way to the mailbox did not open for a login with this app password.
    pub fn note_refusal(&self, permit: &Permit) {
        self.uses.entry(permit.password_id().to_owned()).or_default().refusals += 1;
    }

    /// How many sessions of this protocol are logged in now.
    pub fn open_sessions_by(&self, protocol: Protocol) -> usize {
        self.sessions.by(protocol)
    }

    /// How many app passwords in force end within this span.
    pub fn ending_within(&self, span: chrono::Duration) -> usize {
        let now = self.clock.now();
        let ends = |record: &AppPasswordRecord| record.expires_at.is_some_and(|end| end > now && end - now <= span);
        self.registry.table().valid().filter(|record| ends(record)).count()
    }

    /// How many sessions are logged in now.
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// The network to which an app password is bound by its first use.
fn bound_network(password: &AppPasswordRecord) -> Option<ipnet::IpNet> {
    password.first_use.as_ref().filter(|_| password.scope.binds_network).map(|first| first.network)
}

/// Why a login with this app password to this mailbox holds no more, if so. The mailbox comes first: taking it off the list revokes
/// its app passwords too, and it is what the administrator did.
fn end_of(
    table: &Table,
    password_id: &str,
    mailbox: &Mailbox,
    now: chrono::DateTime<chrono::Utc>,
) -> Option<SessionEnd> {
    let Some(listed) = table.mailbox(mailbox) else { return Some(SessionEnd::MailboxRemoved) };
    let Some(password) = table.password_by_id(password_id).filter(|record| record.mailbox == *mailbox) else {
        return Some(SessionEnd::Revoked);
    };
    if password.expires_at.is_some_and(|end| end <= now) {
        Some(SessionEnd::Expired)
    } else if listed.disabled_at.is_some() {
        Some(SessionEnd::MailboxDisabled)
    } else {
        listed.halted_at.map(|_| SessionEnd::Halted)
    }
}

#[cfg(test)]
mod tests;
