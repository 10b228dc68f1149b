//! Who is signed in. Kept in memory: with the process everybody is signed out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::admin::ops::{OpsError, digest_of, random_text};
use crate::base::{Clock, Secret};

/// How long nobody may look before one has to sign in again.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How long anybody stays signed in at most.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// How many at once; the one that was idle for longest makes room.
const MOST: usize = 32;

/// The browsers that are signed in.
///
/// Each has a place of its own, `/s/PLACE/`, and a cookie that is sent to that place alone: a browser sends cookies to every port of a host,
/// and whoever else runs a web server on this machine would otherwise get it as soon as it is looked at.
pub(in crate::admin::web) struct Sessions {
    clock: Clock,
    open: Mutex<HashMap<String, Session>>,
    /// When a link that is no good was told of last.
    warned: Mutex<Option<Duration>>,
}

struct Session {
    /// SHA-256 of the cookie.
    cookie: [u8; 32],
    who: String,
    began: Duration,
    last_seen: Duration,
}

/// What a browser gets that has just signed in.
pub(in crate::admin::web) struct SignedIn {
    /// Its place.
    pub(in crate::admin::web) place: String,
    /// What it has to send with every request to that place.
    pub(in crate::admin::web) cookie: Secret<String>,
}

impl Sessions {
    pub(in crate::admin::web) fn new(clock: Clock) -> Self {
        Self { clock, open: Mutex::default(), warned: Mutex::default() }
    }

    /// Lets a browser in.
    ///
    /// # Errors
    /// [`OpsError::NoRandomness`].
    pub(in crate::admin::web) fn begin(&self, who: String) -> Result<SignedIn, OpsError> {
        let (place, cookie) = (random_text()?.expose().clone(), random_text()?);
        let now = self.clock.elapsed();
        let session = Session { cookie: digest_of(cookie.expose()), who, began: now, last_seen: now };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.is_open(now));
        if open.len() >= MOST
            && let Some(idle) = open.iter().min_by_key(|(_, session)| session.last_seen).map(|(place, _)| place.clone())
        {
            open.remove(&idle);
        }
        open.insert(place.clone(), session);
        Ok(SignedIn { place, cookie })
    }

    /// Whose session it is, if this cookie belongs to it; from now on it is idle anew.
    pub(in crate::admin::web) fn look(&self, place: &str, cookie: &str) -> Option<String> {
        let now = self.clock.elapsed();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(place)?;
        if !session.is_open(now) {
            open.remove(place);
            return None;
        }
        verify_slices_are_equal(&session.cookie, &digest_of(cookie)).ok()?;
        session.last_seen = now;
        Some(session.who.clone())
    }

    /// Whether to tell of a link that is no good: once a minute.
    pub(in crate::admin::web) fn may_warn(&self) -> bool {
        let now = self.clock.elapsed();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let may = warned.is_none_or(|last| now.saturating_sub(last) >= Duration::from_secs(60));
        if may {
            *warned = Some(now);
        }
        may
    }

    /// Signs out.
    pub(in crate::admin::web) fn end(&self, place: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(place);
    }
}

impl Session {
    fn is_open(&self, now: Duration) -> bool {
        now.saturating_sub(self.last_seen) < IDLE && now.saturating_sub(self.began) < LIFE
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn sessions() -> (Sessions, Clock) {
        let clock = Clock::by_hand(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        (Sessions::new(clock.clone()), clock)
    }

    #[test]
    fn only_the_browser_that_signed_in_has_the_session() {
        let (sessions, _) = sessions();
        let one = sessions.begin("root".into()).unwrap();
        let other = sessions.begin("alice".into()).unwrap();
        assert_eq!(sessions.look(&one.place, one.cookie.expose()).as_deref(), Some("root"));
        assert_eq!(sessions.look(&other.place, other.cookie.expose()).as_deref(), Some("alice"));
        assert_eq!(sessions.look(&one.place, other.cookie.expose()), None);
        assert_eq!(sessions.look(&one.place, ""), None);
        assert_eq!(sessions.look("", one.cookie.expose()), None);
        sessions.end(&one.place);
        assert_eq!(sessions.look(&one.place, one.cookie.expose()), None);
        assert!(sessions.look(&other.place, other.cookie.expose()).is_some());
    }

    #[test]
    fn half_an_hour_of_nothing_ends_it_and_so_does_half_a_day_of_anything() {
        let (sessions, clock) = sessions();
        let idle = sessions.begin("root".into()).unwrap();
        clock.turn(TimeDelta::minutes(29));
        assert!(sessions.look(&idle.place, idle.cookie.expose()).is_some());
        clock.turn(TimeDelta::minutes(30));
        assert!(sessions.look(&idle.place, idle.cookie.expose()).is_none());
        clock.turn(TimeDelta::minutes(-30));
        assert!(sessions.look(&idle.place, idle.cookie.expose()).is_none(), "what has ended does not begin again");

        let busy = sessions.begin("root".into()).unwrap();
        for _ in 0..35 {
            clock.turn(TimeDelta::minutes(20));
            assert!(sessions.look(&busy.place, busy.cookie.expose()).is_some());
        }
        clock.turn(TimeDelta::minutes(20));
        assert!(sessions.look(&busy.place, busy.cookie.expose()).is_none());
    }

    #[test]
    fn links_that_are_no_good_are_told_of_once_a_minute() {
        let (sessions, clock) = sessions();
        assert!(sessions.may_warn() && !sessions.may_warn());
        clock.turn(TimeDelta::seconds(59));
        assert!(!sessions.may_warn());
        clock.turn(TimeDelta::seconds(1));
        assert!(sessions.may_warn() && !sessions.may_warn());
    }

    #[test]
    fn there_are_never_too_many_and_the_idlest_makes_room() {
        let (sessions, clock) = sessions();
        let all: Vec<SignedIn> = (0..MOST)
            .map(|_| {
                clock.turn(TimeDelta::seconds(1));
                sessions.begin("root".into()).unwrap()
            })
            .collect();
        clock.turn(TimeDelta::seconds(1));
        assert!(sessions.look(&all[0].place, all[0].cookie.expose()).is_some());
        let newest = sessions.begin("root".into()).unwrap();
        assert!(sessions.look(&all[0].place, all[0].cookie.expose()).is_some());
        assert!(sessions.look(&all[1].place, all[1].cookie.expose()).is_none());
        assert!(sessions.look(&newest.place, newest.cookie.expose()).is_some());
    }
}
