//! What Exchange takes from one mailbox in a minute and in a day, counted strictly and by a clock that a test may let run faster.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::Clock;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The messages of the last day, per mailbox: when, and to how many recipients.
pub(super) struct Sent {
    clock: Clock,
    messages: Mutex<HashMap<String, VecDeque<(Duration, u64)>>>,
}

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// The message, for so long.
    PerMinute(Duration),
    /// Its recipients.
    PerDay,
}

impl Sent {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, messages: Mutex::default() }
    }

    /// Counts a message, unless it is one too many.
    pub(super) fn count(
        &self,
        mailbox: &str,
        recipients: u64,
        per_minute: Option<u64>,
        per_day: Option<u64>,
    ) -> Result<(), Exceeded> {
        let now = self.clock.elapsed();
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = messages.entry(mailbox.to_owned()).or_default();
        while messages.front().is_some_and(|(at, _)| *at + DAY <= now) {
            messages.pop_front();
        }
        let of_minute = messages.iter().rev().take_while(|(at, _)| *at + MINUTE > now);
        let (count, first) = of_minute.fold((0, now), |(count, _), (at, _)| (count + 1, *at));
        if per_minute.is_some_and(|limit| count >= limit) {
            return Err(Exceeded::PerMinute((first + MINUTE).saturating_sub(now)));
        }
        if per_day.is_some_and(|limit| messages.iter().map(|(_, count)| count).sum::<u64>() + recipients > limit) {
            return Err(Exceeded::PerDay);
        }
        messages.push_back((now, recipients));
        Ok(())
    }

    /// Waits on the clock that counts.
    pub(super) async fn sleep(&self, span: Duration) {
        self.clock.sleep(span).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_and_a_day_slide() {
        let clock = Clock::by_hand(chrono::DateTime::UNIX_EPOCH + chrono::Duration::days(1));
        let sent = Sent::new(clock.clone());
        let count = |recipients| sent.count("alice@contoso.test", recipients, Some(2), Some(10));
        assert_eq!(count(4), Ok(()));
        clock.turn(chrono::Duration::seconds(20));
        assert_eq!(count(4), Ok(()));
        assert_eq!(count(1), Err(Exceeded::PerMinute(Duration::from_secs(40))));
        clock.turn(chrono::Duration::seconds(40));
        assert_eq!(count(3), Err(Exceeded::PerDay));
        assert_eq!(count(2), Ok(()), "what was refused does not count");
        clock.turn(chrono::Duration::days(1));
        assert_eq!(count(10), Ok(()));
        assert_eq!(sent.count("bob@contoso.test", 11, None, None), Ok(()));
    }
}
