//! The time: the system's, or one that a test turns by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeZone, Utc};

/// Where the wall clock is read. Spans of time are measured with monotonic clocks, never with this one.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed_unix_millis: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `start` until [`turn`](Clock::turn) moves it. Clones share the hand.
    pub fn by_hand(start: DateTime<Utc>) -> Self {
        Self { fixed_unix_millis: Some(Arc::new(AtomicI64::new(start.timestamp_millis()))) }
    }

    /// Moves a clock turned by hand by `by` (either way); the system's clock stays as it is.
    pub fn turn(&self, by: chrono::Duration) {
        if let Some(millis) = &self.fixed_unix_millis {
            millis.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
        }
    }

    /// The time now, in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.fixed_unix_millis {
            Some(millis) => {
                Utc.timestamp_millis_opt(millis.load(Ordering::SeqCst)).single().unwrap_or(DateTime::UNIX_EPOCH)
            }
            None => Utc::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_turned_by_hand_is_shared_by_its_clones() {
        let clock = Clock::by_hand(DateTime::UNIX_EPOCH);
        let same = clock.clone();
        clock.turn(chrono::Duration::days(90));
        assert_eq!(same.now().to_rfc3339(), "1970-04-01T00:00:00+00:00");
    }
}
