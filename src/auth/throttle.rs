//! Counting wrong passwords, per address and login together: never an address as a whole, since on a shared host everybody is
//! 127.0.0.1, and never a login as a whole, since that would let a stranger shut its owner out.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

/// The most pairs of address and login that are remembered. Beyond it the ones with fewest failures go first, so that a flood of
/// one-time logins cannot wash out a persistent guesser.
const MOST_ENTRIES: usize = 50_000;

/// Failures by address and login.
#[derive(Debug)]
pub(in crate::auth) struct Throttle {
    /// Keyed by hashes under a random key: the names that strangers try take no room here.
    failures: DashMap<(IpAddr, u64), Failures>,
    hasher: RandomState,
    limit: u32,
    forget_after: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Throttle {
    pub(in crate::auth) fn new(limit: u32, forget_after: Duration) -> Self {
        Self { failures: DashMap::new(), hasher: RandomState::new(), limit, forget_after }
    }

    /// Counts a failure and returns how many there are now. The count stops a little above the limit, so that a client which
    /// keeps trying with an old password is forgiven `forget_after` its last try and not later.
    pub(in crate::auth) fn note(&self, address: IpAddr, login: &[u8]) -> u32 {
        let key = self.key(address, login);
        if self.failures.len() >= MOST_ENTRIES && !self.failures.contains_key(&key) {
            self.make_room();
        }
        let now = Instant::now();
        let mut entry = self.failures.entry(key).or_insert(Failures { count: 0, last: now });
        if now.duration_since(entry.last) >= self.forget_after {
            entry.count = 0;
        }
        entry.count = (entry.count + 1).min(self.limit + 1);
        entry.last = now;
        entry.count
    }

    /// How many failures there are now.
    pub(in crate::auth) fn failures(&self, address: IpAddr, login: &[u8]) -> u32 {
        let fresh = |failures: &Failures| failures.last.elapsed() < self.forget_after;
        self.failures
            .get(&self.key(address, login))
            .filter(|failures| fresh(failures))
            .map_or(0, |failures| failures.count)
    }

    /// Forgets the failures of a login that has now succeeded from this address.
    pub(in crate::auth) fn forgive(&self, address: IpAddr, login: &[u8]) {
        if !self.failures.is_empty() {
            self.failures.remove(&self.key(address, login));
        }
    }

    /// Drops what is too old to count.
    pub(in crate::auth) fn forget_old(&self) {
        let now = Instant::now();
        self.failures.retain(|_, failures| now.duration_since(failures.last) < self.forget_after);
    }

    fn make_room(&self) {
        self.forget_old();
        for at_most in 1..=self.limit + 1 {
            if self.failures.len() < MOST_ENTRIES {
                return;
            }
            self.failures.retain(|_, failures| failures.count > at_most);
        }
    }

    fn key(&self, address: IpAddr, login: &[u8]) -> (IpAddr, u64) {
        let address = match address.to_canonical() {
            // A client has a whole /64 to call from.
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        };
        (address, self.hasher.hash_one(said(login)))
    }
}

/// A login name as it is counted: in lower case, and without what stands left of a slash, as many such names mean one mailbox. Whether it
/// means one makes no difference here.
pub(in crate::auth) fn said(login: &[u8]) -> Vec<u8> {
    let name = login.rsplit(|octet| matches!(octet, b'\\' | b'/')).next().unwrap_or(login);
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_per_address_and_login_and_forgiven_together() {
        let throttle = Throttle::new(3, Duration::from_secs(600));
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let there: IpAddr = "192.0.2.2".parse().unwrap();
        assert_eq!([1, 2, 3, 4, 4], [(); 5].map(|()| throttle.note(here, b"alice@contoso.test")));
        assert_eq!(throttle.note(here, b"ALICE@contoso.test"), 4, "case does not make another login");
        assert_eq!(throttle.note(here, b"x\\alice@contoso.test"), 4, "nor what decides nothing");
        assert_eq!(throttle.note(there, b"alice@contoso.test"), 1, "another address is another guesser");
        assert_eq!(throttle.note(here, b"bob@contoso.test"), 1, "another login from the same address goes free");
        throttle.forgive(here, b"alice@contoso.test");
        assert_eq!(throttle.note(here, b"alice@contoso.test"), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together_and_mapped_ipv4_is_ipv4() {
        let throttle = Throttle::new(3, Duration::from_secs(600));
        assert_eq!(throttle.note("2001:db8::1".parse().unwrap(), b"a"), 1);
        assert_eq!(throttle.note("2001:db8::ffff:2".parse().unwrap(), b"a"), 2);
        assert_eq!(throttle.note("192.0.2.1".parse().unwrap(), b"a"), 1);
        assert_eq!(throttle.note("::ffff:192.0.2.1".parse().unwrap(), b"a"), 2);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_worst() {
        let throttle = Throttle::new(10, Duration::from_secs(600));
        let worst: IpAddr = "192.0.2.9".parse().unwrap();
        for _ in 0..5 {
            throttle.note(worst, b"alice");
        }
        for number in 0..(MOST_ENTRIES as u32 + 1000) {
            throttle.note(IpAddr::V4((0x0A00_0000 + number).into()), b"x");
        }
        assert!(throttle.failures.len() <= MOST_ENTRIES);
        assert_eq!(throttle.note(worst, b"alice"), 6);
    }
}
