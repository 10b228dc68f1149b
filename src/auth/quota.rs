//! How many messages an app password sends: in a minute, and in 24 hours.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

/// The spans that are counted.
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The messages of all app passwords that have a limit.
#[derive(Debug, Default)]
pub(in crate::auth) struct Quotas {
    of: DashMap<String, Arc<Quota>>,
}

/// Those of one.
#[derive(Debug, Default)]
pub(in crate::auth) struct Quota {
    /// When each of the last day was counted, the oldest first; by the clock's `elapsed` and a day more, so that there is a time for what was
    /// sent before the process began.
    counted: Mutex<VecDeque<Duration>>,
}

/// A message that was counted. Unless it is [kept](Counted::keep) it counts no more when this goes.
#[derive(Debug)]
pub struct Counted {
    /// `None`: it was not counted, as there is no limit, or it is kept.
    of: Option<(Arc<Quota>, Duration)>,
}

impl Quotas {
    /// Those of one app password; none as long as nobody has told what it sent before.
    pub(in crate::auth) fn of(&self, id: &str) -> Option<Arc<Quota>> {
        self.of.get(id).map(|quota| Arc::clone(&quota))
    }

    /// Begins to count, with what was sent before: how long ago each was, the oldest first.
    pub(in crate::auth) fn begin(&self, id: &str, now: Duration, before: impl Iterator<Item = Duration>) -> Arc<Quota> {
        let quota = self.of.entry(id.to_owned()).or_insert_with(|| {
            let counted = before.map(|ago| (now + DAY).saturating_sub(ago)).collect();
            Arc::new(Quota { counted: Mutex::new(counted) })
        });
        Arc::clone(&quota)
    }
}

impl Quota {
    /// Counts one more message, if the limits allow that; else how long until they do.
    pub(in crate::auth) fn count(
        self: &Arc<Self>,
        now: Duration,
        per_minute: Option<u32>,
        per_day: Option<u32>,
    ) -> Result<Counted, Duration> {
        let now = now + DAY;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        while counted.front().is_some_and(|at| now.saturating_sub(*at) >= DAY) {
            counted.pop_front();
        }
        for (limit, span) in [(per_minute, MINUTE), (per_day, DAY)] {
            let Some(limit) = limit else { continue };
            // The one that has to be over before another fits in.
            let place = counted.len().checked_sub(limit as usize);
            let wait = match place.map(|place| counted.get(place)) {
                None => continue,
                Some(Some(at)) => span.saturating_sub(now.saturating_sub(*at)),
                Some(None) => span,
            };
            if !wait.is_zero() {
                return Err(wait);
            }
        }
        counted.push_back(now);
        Ok(Counted { of: Some((Arc::clone(self), now)) })
    }
}

impl Counted {
    /// One that counts for nothing.
    pub(in crate::auth) fn nothing() -> Self {
        Self { of: None }
    }

    /// The message was taken.
    pub fn keep(mut self) {
        self.of = None;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((quota, at)) = self.of.take() {
            let mut counted = quota.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = counted.iter().rposition(|other| *other == at) {
                counted.remove(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_and_a_day_have_room_for_so_many_and_what_was_not_taken_counts_no_more() {
        let quotas = Quotas::default();
        let second = Duration::from_secs;
        let began = second(200_000);
        let quota = quotas.begin("a", began, [second(90_000), second(86_000)].into_iter());
        let count = |at, minute, day| quota.count(began + second(at), minute, day);
        count(0, Some(2), Some(3)).unwrap().keep();
        drop(count(0, Some(2), Some(3)).unwrap());
        count(1, Some(2), Some(3)).unwrap().keep();
        assert_eq!(count(1, Some(2), Some(3)).unwrap_err(), second(59), "the minute is full");
        assert_eq!(count(60, Some(2), Some(3)).unwrap_err(), second(340), "the day is, for what was sent before");
        count(400, Some(2), Some(3)).unwrap().keep();
        assert_eq!(count(401, None, Some(3)).unwrap_err(), second(86_400 - 401));
        assert!(count(401, None, None).is_ok());
        assert_eq!(count(402, Some(0), None).unwrap_err(), second(60), "nothing may be sent");
        // A process that has just begun.
        let quota = quotas.begin("b", second(1), [second(86_000), second(30)].into_iter());
        assert_eq!(quota.count(second(1), Some(1), None).unwrap_err(), second(30));
        assert_eq!(quota.count(second(1), None, Some(2)).unwrap_err(), second(400));
        assert!(quota.count(second(401), Some(1), Some(2)).is_ok());
    }
}
