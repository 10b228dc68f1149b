//! Addresses from which so many different passwords were tried, and no right one, that nobody is let in from there for a while.
//! `docs/decisions/0014-bans.md` has the reasons.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::store::BanRecord;
use crate::wire::sasl::Claim;

/// So many different ones in [`WINDOW`] are a guesser. A program with an old password tries one, however often.
pub(in crate::auth) const MOST_DIFFERENT: usize = 100;

/// In which they are counted.
const WINDOW: Duration = Duration::from_secs(3600);

/// How long the first ban lasts, and how much longer each one is that follows within [`MEMORY`].
const FIRST_BAN: chrono::Duration = chrono::Duration::minutes(15);
const FACTOR: i32 = 4;
const LONGEST_BAN: chrono::Duration = chrono::Duration::hours(24);

/// How long it is remembered that there was one.
pub(in crate::auth) const MEMORY: chrono::Duration = chrono::Duration::days(7);

/// The most bans that are kept to at a time; the newest.
pub(in crate::auth) const MOST_ACTIVE: u32 = 5_000;

/// The most addresses that are watched, and that are known.
const MOST_WATCHED: usize = 5_000;
const MOST_KNOWN: usize = 50_000;

/// Who is watched.
#[derive(Debug)]
pub(in crate::auth) struct Suspects {
    watched: DashMap<IpNet, Watched>,
    /// From where a right password came since the process began.
    known: DashMap<IpNet, ()>,
    /// What is tried is kept as a hash under a key of this process.
    hasher: RandomState,
}

#[derive(Debug)]
struct Watched {
    since: Instant,
    different: HashSet<u64>,
}

impl Suspects {
    pub(in crate::auth) fn new() -> Self {
        Self { watched: DashMap::new(), known: DashMap::new(), hasher: RandomState::new() }
    }

    /// Notes that a right one came from there.
    pub(in crate::auth) fn trust(&self, address: IpAddr) {
        let place = place(address);
        self.watched.remove(&place);
        if !self.known.contains_key(&place) && self.known.len() < MOST_KNOWN {
            self.known.insert(place, ());
        }
    }

    /// Whether a right one came from there since the process began.
    pub(in crate::auth) fn is_known(&self, address: IpAddr) -> bool {
        self.known.contains_key(&place(address))
    }

    /// Notes a wrong one. Returns how many different ones there were, where that is too many.
    pub(in crate::auth) fn note(&self, address: IpAddr, claim: &Claim) -> Option<u32> {
        // On a terminal server everybody is 127.0.0.1.
        if address.to_canonical().is_loopback() || self.is_known(address) {
            return None;
        }
        let place = place(address);
        if self.watched.len() >= MOST_WATCHED && !self.watched.contains_key(&place) {
            self.make_room();
        }
        let now = Instant::now();
        let tried = self.hasher.hash_one((claim.login.to_ascii_lowercase(), claim.password.expose()));
        let mut watched =
            self.watched.entry(place).or_insert_with(|| Watched { since: now, different: HashSet::new() });
        if now.duration_since(watched.since) >= WINDOW {
            *watched = Watched { since: now, different: HashSet::new() };
        }
        watched.different.insert(tried);
        let different = watched.different.len();
        drop(watched);
        (different >= MOST_DIFFERENT).then(|| {
            self.watched.remove(&place);
            u32::try_from(different).unwrap_or(u32::MAX)
        })
    }

    /// Forgets what is too old to count.
    pub(in crate::auth) fn forget_old(&self) {
        let now = Instant::now();
        self.watched.retain(|_, watched| now.duration_since(watched.since) < WINDOW);
    }

    /// Those that have tried least go first.
    fn make_room(&self) {
        self.forget_old();
        for least in 2..=MOST_DIFFERENT {
            if self.watched.len() < MOST_WATCHED {
                return;
            }
            self.watched.retain(|_, watched| watched.different.len() >= least);
        }
    }
}

/// The ban that follows on an earlier one, if there was one.
pub(in crate::auth) fn next(address: IpAddr, tries: u32, before: Option<&BanRecord>, now: DateTime<Utc>) -> BanRecord {
    let strikes = before.filter(|ban| now - ban.until < MEMORY).map_or(1, |ban| ban.strikes.saturating_add(1));
    let times = FACTOR.saturating_pow(strikes.saturating_sub(1).min(10));
    let span = FIRST_BAN.checked_mul(times).map_or(LONGEST_BAN, |span| span.min(LONGEST_BAN));
    BanRecord { network: place(address), since: now, until: now + span, strikes, tries }
}

/// What is banned: an address, of IPv6 the /64 that a client has for itself.
pub(in crate::auth) fn place(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)));
            // No length is longer than its address.
            IpNet::new(network, 64).unwrap_or_else(|_| network.into())
        }
        v4 @ IpAddr::V4(_) => v4.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Secret;

    fn claim(login: &str, password: &str) -> Claim {
        Claim { login: login.as_bytes().to_vec(), password: Secret::new(password.as_bytes().to_vec()) }
    }

    #[test]
    fn who_tries_many_different_ones_is_a_guesser_and_who_tries_one_for_ever_is_none() {
        let suspects = Suspects::new();
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..10_000 {
            assert_eq!(suspects.note(here, &claim("alice", "old")), None);
        }
        for number in 1..MOST_DIFFERENT - 1 {
            assert_eq!(suspects.note(here, &claim("alice", &format!("guess {number}"))), None);
        }
        assert_eq!(suspects.note(here, &claim("bob", "old")), Some(100));
        assert_eq!(suspects.note(here, &claim("bob", "old")), None, "it begins anew");
        for free in ["127.0.0.1", "::1", "192.0.2.7"] {
            let free: IpAddr = free.parse().unwrap();
            if !free.is_loopback() {
                suspects.trust(free);
            }
            for number in 0..1000 {
                assert_eq!(suspects.note(free, &claim("alice", &format!("guess {number}"))), None, "{free}");
            }
        }
    }

    #[test]
    fn each_ban_is_longer_than_the_one_before_until_that_is_forgotten() {
        let address: IpAddr = "2001:db8::7:1".parse().unwrap();
        let mut now: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
        let mut before: Option<BanRecord> = None;
        for minutes in [15, 60, 240, 960, 1440, 1440] {
            let ban = next(address, 100, before.as_ref(), now);
            assert_eq!(ban.until - ban.since, chrono::Duration::minutes(minutes));
            assert_eq!(ban.network.to_string(), "2001:db8::/64");
            now = ban.until + chrono::Duration::days(6);
            before = Some(ban);
        }
        now += chrono::Duration::days(2);
        assert_eq!(next(address, 100, before.as_ref(), now).strikes, 1);
    }

    #[test]
    fn those_that_are_watched_are_bounded_and_the_worst_stay() {
        let suspects = Suspects::new();
        let worst: IpAddr = "198.51.100.1".parse().unwrap();
        for number in 0..90 {
            suspects.note(worst, &claim("alice", &format!("{number}")));
        }
        for number in 0..(MOST_WATCHED as u32 + 2000) {
            suspects.note(IpAddr::V4((0x0A00_0000 + number).into()), &claim("alice", "x"));
        }
        assert!(suspects.watched.len() <= MOST_WATCHED);
        assert!((90..100).any(|number| suspects.note(worst, &claim("alice", &format!("{number}"))).is_some()));
    }
}
