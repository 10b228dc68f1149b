//! How many connections there may be: in all, and from one address before login.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts connections.
#[derive(Debug)]
pub struct Permits {
    all: Arc<Semaphore>,
    /// Connections that are answered «too many» at this moment. Without a bound of its own that would be the way in.
    turned_away: Arc<Semaphore>,
    before_login: Arc<DashMap<IpAddr, usize>>,
    per_address_before_login: usize,
}

/// What becomes of a connection.
#[derive(Debug)]
pub enum Admission {
    /// It is served.
    Admitted(ConnectionPermit, BeforeLogin),
    /// It is told that there are too many, and closed.
    TurnedAway(OwnedSemaphorePermit),
    /// It is closed without a word: even those turned away are too many.
    Dropped,
}

/// One of the connections that there may be in all; dropping it gives the place back.
#[derive(Debug)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// One of the connections that an address may have before login; dropped at login, it gives the place back.
#[derive(Debug)]
pub struct BeforeLogin {
    address: IpAddr,
    counts: Arc<DashMap<IpAddr, usize>>,
}

impl Permits {
    /// Allows this many connections in all, and this many from one address before login.
    pub fn new(connections: usize, per_address_before_login: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            turned_away: Arc::new(Semaphore::new(256)),
            before_login: Arc::default(),
            per_address_before_login,
        }
    }

    /// For a connection that is not served, whoever it is of.
    pub fn turn_away(&self) -> Admission {
        match Arc::clone(&self.turned_away).try_acquire_owned() {
            Ok(permit) => Admission::TurnedAway(permit),
            Err(_) => Admission::Dropped,
        }
    }

    /// Decides about a connection from this address.
    pub fn admit(&self, address: IpAddr) -> Admission {
        let turn_away = || self.turn_away();
        let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() else {
            return turn_away();
        };
        let address = network(address);
        let mut count = self.before_login.entry(address).or_default();
        if *count >= self.per_address_before_login {
            return turn_away();
        }
        *count += 1;
        drop(count);
        let before_login = BeforeLogin { address, counts: Arc::clone(&self.before_login) };
        Admission::Admitted(ConnectionPermit(permit), before_login)
    }
}

impl Drop for BeforeLogin {
    fn drop(&mut self) {
        if let Some(mut count) = self.counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
        }
        self.counts.remove_if(&self.address, |_, count| *count == 0);
    }
}

/// A client has a whole IPv6 /64 to call from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_before_login_and_others_are_not_touched_by_it() {
        let permits = Permits::new(10, 2);
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let Admission::Admitted(_first, before_login) = permits.admit(here) else { panic!() };
        let Admission::Admitted(_second, _waiting) = permits.admit(here) else { panic!() };
        assert!(matches!(permits.admit(here), Admission::TurnedAway(_)));
        let other = permits.admit("192.0.2.2".parse().unwrap());
        assert!(matches!(other, Admission::Admitted(..)));
        drop(before_login); // the first one logs in
        assert!(matches!(permits.admit(here), Admission::Admitted(..)));
    }

    #[test]
    fn those_that_are_turned_away_are_bounded_too_and_cost_the_others_nothing() {
        let permits = Permits::new(2, 100);
        let turned_away: Vec<Admission> = (0..300).map(|_| permits.turn_away()).collect();
        let are_told = turned_away.iter().filter(|one| matches!(one, Admission::TurnedAway(_))).count();
        let are_dropped = turned_away.iter().filter(|one| matches!(one, Admission::Dropped)).count();
        assert_eq!((are_told, are_dropped), (256, 44));
        assert!(matches!(permits.admit("192.0.2.2".parse().unwrap()), Admission::Admitted(..)));
        drop(turned_away);
        assert!(matches!(permits.turn_away(), Admission::TurnedAway(_)), "the places are given back");
    }

    #[test]
    fn connections_in_all_are_bounded_and_given_back() {
        let permits = Permits::new(1, 100);
        let only = permits.admit("192.0.2.1".parse().unwrap());
        assert!(matches!(permits.admit("192.0.2.2".parse().unwrap()), Admission::TurnedAway(_)));
        drop(only);
        assert!(matches!(permits.admit("192.0.2.2".parse().unwrap()), Admission::Admitted(..)));
        assert!(permits.before_login.is_empty(), "nothing stays behind");
    }
}
