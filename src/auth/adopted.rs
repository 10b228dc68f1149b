//! App passwords that a device brought along: secrets that people chose, checked by a slow hash, behind limits that strangers
//! share and a known address does not. `docs/decisions/0013-adopted-secrets.md` has the reasons.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use dashmap::DashMap;
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::auth::app_password::{Pepper, SlowHasher};
use crate::auth::policy::network_of;
use crate::auth::registry::Table;
use crate::auth::throttle::said;
use crate::base::Mailbox;
use crate::store::AppPasswordRecord;
use crate::wire::sasl::Claim;

/// How many hashes are worked out at once for those who come from where the right one was given before, and how many of them may wait.
const KNOWN_AT_ONCE: usize = 2;
const KNOWN_WAITING: usize = 500;

/// The same for all others together.
const STRANGERS_AT_ONCE: usize = 1;
const STRANGERS_WAITING: usize = 32;

/// How long a claim waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How many wrong secrets strangers may try for one login: that many at once, and then one a minute.
const STRANGERS_TRIES: u32 = 60;
const STRANGERS_REFILL: Duration = Duration::from_secs(60);

/// The same for each known address: one in six seconds.
const KNOWN_TRIES: u32 = 120;
const KNOWN_REFILL: Duration = Duration::from_secs(6);

/// The most that is remembered of each kind.
const MOST_ENTRIES: usize = 20_000;

/// The most places that are remembered for one app password; the oldest go first.
const MOST_PLACES: usize = 32;

/// A network is as good as a known address only if it is no larger: an app password for `0.0.0.0/0` is known nowhere.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 32;

/// What came of asking whether a claim is an adopted secret.
pub(in crate::auth) enum Checked {
    /// It is this one.
    Right(Arc<AppPasswordRecord>),
    /// It is none.
    Wrong,
    /// Nobody knows: too many were tried.
    LeftOpen,
}

/// Checks claims against adopted secrets.
pub(in crate::auth) struct Adopted {
    hasher: Arc<SlowHasher>,
    /// The answers of late, so that a device which logs in every minute costs one hash, and so does one with an old secret. Keyed under
    /// a key of this process: nothing in it can be tried offline once the process is gone.
    answers: DashMap<[u8; 32], Answered>,
    answers_key: hmac::Key,
    known: Arc<Semaphore>,
    known_in_line: Semaphore,
    strangers: Arc<Semaphore>,
    strangers_in_line: Semaphore,
    tries: DashMap<u64, Tries>,
    tries_key: RandomState,
    /// Where each adopted secret was given rightly, by its ID.
    places: DashMap<String, Vec<IpNet>>,
}

#[derive(Clone)]
struct Answered {
    /// The ID, where it was right.
    id: Option<String>,
    /// What the store was at; a wrong one may have been adopted since.
    revision: i64,
}

#[derive(Clone, Copy)]
struct Tries {
    left: u32,
    /// When one was last given back.
    at: Instant,
}

impl Adopted {
    pub(in crate::auth) fn new(pepper: &Pepper) -> Self {
        let mut key = [0; 32];
        // Without randomness there is no TLS either; an empty key would still be in this process alone.
        let _ = rand::fill(&mut key);
        Self {
            hasher: Arc::new(pepper.slow_hasher()),
            answers: DashMap::new(),
            answers_key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            known: Arc::new(Semaphore::new(KNOWN_AT_ONCE)),
            known_in_line: Semaphore::new(KNOWN_WAITING),
            strangers: Arc::new(Semaphore::new(STRANGERS_AT_ONCE)),
            strangers_in_line: Semaphore::new(STRANGERS_WAITING),
            tries: DashMap::new(),
            tries_key: RandomState::new(),
            places: DashMap::new(),
        }
    }

    /// Finds out whether the claim is an adopted secret of the mailbox that its login name means (`None`: it means none). What it costs
    /// does not depend on whether it means one: where nobody is known, as many hashes are worked out for a name that is nobody's.
    pub(in crate::auth) async fn check(
        &self,
        table: &Table,
        claim: &Claim,
        mailbox: Option<&Mailbox>,
        address: IpAddr,
        has_failed_too_often: bool,
        is_admitted: impl Fn(&AppPasswordRecord) -> bool,
    ) -> Checked {
        let most = table.most_adopted();
        if most == 0 || claim.password.expose().is_empty() {
            return Checked::Wrong;
        }
        let candidates = mailbox.map(|mailbox| table.adopted(mailbox)).unwrap_or_default();
        let key = self.answer_key(claim);
        if let Some(answer) = self.remembered(table, &key, mailbox, &is_admitted) {
            return self.noted(answer, address);
        }
        let is_known = candidates.iter().any(|record| self.is_known(record, address));
        if (has_failed_too_often && !is_known) || !self.may_try(claim, address, is_known) {
            return Checked::LeftOpen;
        }
        let (line, at_once) = match is_known {
            true => (&self.known_in_line, &self.known),
            false => (&self.strangers_in_line, &self.strangers),
        };
        let Ok(in_line) = line.try_acquire() else { return Checked::LeftOpen };
        let turn = timeout(LONGEST_WAIT, Arc::clone(at_once).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Checked::LeftOpen };
        drop(in_line);
        // Of many devices that come at once with the same secret, one has it worked out.
        if let Some(answer) = self.remembered(table, &key, mailbox, &is_admitted) {
            return self.noted(answer, address);
        }
        let hasher = Arc::clone(&self.hasher);
        let secret = crate::base::Secret::new(claim.password.expose().clone());
        let hashes: Vec<_> = candidates
            .iter()
            .filter_map(|record| record.slow_hash.clone().map(|hash| (record.id.clone(), hash)))
            .collect();
        let worked_out = tokio::task::spawn_blocking(move || {
            // It goes on where the client has gone away meanwhile, and so does its turn.
            let _turn = turn;
            let mut right = None;
            for (id, hash) in &hashes {
                if hasher.is_of(hash, secret.expose()) && right.is_none() {
                    right = Some(id.clone());
                }
            }
            // As many for a login that has fewer, or none.
            (hashes.len()..most).for_each(|_| hasher.work_for_nothing(secret.expose()));
            right
        })
        .await;
        let Ok(id) = worked_out else { return Checked::LeftOpen };
        if self.answers.len() >= MOST_ENTRIES {
            self.answers.retain(|_, answer| answer.id.is_some());
            if self.answers.len() >= MOST_ENTRIES {
                self.answers.clear();
            }
        }
        self.answers.insert(key, Answered { id: id.clone(), revision: table.revision() });
        let right = id.and_then(|id| candidates.iter().find(|record| record.id == id).cloned());
        self.noted(right, address)
    }

    /// Notes from where a right one came.
    fn noted(&self, right: Option<Arc<AppPasswordRecord>>, address: IpAddr) -> Checked {
        let Some(record) = right else { return Checked::Wrong };
        let network = network_of(address);
        // Only where it may be used: a right secret in the wrong place makes that no known one.
        let may_be_used =
            |network: &IpNet| record.networks.is_empty() || record.networks.iter().any(|n| n.contains(network));
        let is_bound = record.scope.binds_network && record.first_use.is_some();
        if may_be_used(&network) && !is_bound {
            let mut places = self.places.entry(record.id.clone()).or_default();
            if !places.contains(&network) {
                if places.len() >= MOST_PLACES {
                    places.remove(0);
                }
                places.push(network);
            }
        }
        Checked::Right(record)
    }

    /// What was found out before, if it still holds: `Some(None)` that it is wrong. One that is right and let in holds for as long as it is
    /// there; all others, so that nothing tells them apart, until the store changes.
    #[allow(clippy::option_option, reason = "remembered or not, right or not")]
    fn remembered(
        &self,
        table: &Table,
        key: &[u8; 32],
        mailbox: Option<&Mailbox>,
        is_admitted: impl Fn(&AppPasswordRecord) -> bool,
    ) -> Option<Option<Arc<AppPasswordRecord>>> {
        let answer = self.answers.get(key).map(|entry| entry.clone())?;
        let is_fresh = answer.revision == table.revision();
        let Some(id) = answer.id else { return is_fresh.then_some(None) };
        // Not one that was revoked since, nor where the name means another mailbox by now.
        let record = table.password_by_id(&id).filter(|record| record.slow_hash.is_some())?;
        let is_theirs = mailbox == Some(&record.mailbox);
        (is_theirs && (is_fresh || is_admitted(record))).then(|| Some(Arc::clone(record)))
    }

    fn is_known(&self, record: &AppPasswordRecord, address: IpAddr) -> bool {
        let address = address.to_canonical();
        record.networks.iter().any(|network| is_narrow(network) && network.contains(&address))
            || record.first_use.as_ref().is_some_and(|first| first.network.contains(&address))
            || record.tracking.last.as_ref().is_some_and(|last| network_of(last.address).contains(&address))
            || self.places.get(&record.id).is_some_and(|places| places.iter().any(|place| place.contains(&address)))
    }

    /// Takes a try, of those that strangers have together for this login, or of those of a known address.
    fn may_try(&self, claim: &Claim, address: IpAddr, is_known: bool) -> bool {
        let (whose, most, refill) = match is_known {
            true => (Some(network_of(address)), KNOWN_TRIES, KNOWN_REFILL),
            false => (None, STRANGERS_TRIES, STRANGERS_REFILL),
        };
        let key = self.tries_key.hash_one((whose, said(&claim.login)));
        let now = Instant::now();
        if self.tries.len() >= MOST_ENTRIES && !self.tries.contains_key(&key) {
            self.make_room(now);
        }
        let mut tries = self.tries.entry(key).or_insert(Tries { left: most, at: now });
        let given_back = now.duration_since(tries.at).as_secs() / refill.as_secs();
        if given_back > 0 {
            tries.left = tries.left.saturating_add(u32::try_from(given_back).unwrap_or(u32::MAX)).min(most);
            tries.at = now;
        }
        match tries.left.checked_sub(1) {
            Some(left) => {
                tries.left = left;
                true
            }
            None => false,
        }
    }

    /// Those with most left go first: a flood of one-time names washes out nobody who was tried often.
    fn make_room(&self, now: Instant) {
        self.tries.retain(|_, tries| now.duration_since(tries.at) < STRANGERS_REFILL * STRANGERS_TRIES);
        for most in (0..STRANGERS_TRIES).rev() {
            if self.tries.len() < MOST_ENTRIES {
                return;
            }
            self.tries.retain(|_, tries| tries.left < most);
        }
    }

    /// By the name as it is counted, whether it means a mailbox or not.
    fn answer_key(&self, claim: &Claim) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.answers_key);
        let said = said(&claim.login);
        context.update(&(said.len() as u64).to_be_bytes());
        context.update(&said);
        context.update(claim.password.expose());
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }
}

/// Whether a network is a place, and not a good part of the Internet.
pub(in crate::auth) fn is_narrow(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() >= WIDEST_V4,
        IpNet::V6(v6) => v6.prefix_len() >= WIDEST_V6,
    }
}
