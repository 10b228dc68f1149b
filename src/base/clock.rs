//! The time: the system's, one that runs faster, or one that a test turns by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use tokio::time::Instant;

/// Where the time is read. [`now`](Clock::now) is the wall clock; spans are measured with [`elapsed`](Clock::elapsed), which nobody can
/// set back.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    System,
    Fast { start: DateTime<Utc>, pace: u32 },
    Hand { unix_millis: Arc<AtomicI64> },
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { origin: Instant::now(), kind: Kind::System }
    }

    /// A clock that is right now and runs `pace` times as fast from here. Clones run with it.
    pub fn fast(pace: u32) -> Self {
        Self { origin: Instant::now(), kind: Kind::Fast { start: Utc::now(), pace: pace.max(1) } }
    }

    /// A clock that stands at `start` until [`turn`](Clock::turn) moves it. Clones share the hand.
    pub fn by_hand(start: DateTime<Utc>) -> Self {
        let unix_millis = Arc::new(AtomicI64::new(start.timestamp_millis()));
        Self { origin: Instant::now(), kind: Kind::Hand { unix_millis } }
    }

    /// Moves a clock turned by hand by `by` (either way); others stay as they are.
    pub fn turn(&self, by: chrono::Duration) {
        if let Kind::Hand { unix_millis } = &self.kind {
            unix_millis.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
        }
    }

    /// The time now, in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.kind {
            Kind::System => Utc::now(),
            Kind::Fast { start, .. } => {
                *start + chrono::Duration::from_std(self.elapsed()).unwrap_or_else(|_| chrono::Duration::zero())
            }
            Kind::Hand { unix_millis } => {
                Utc.timestamp_millis_opt(unix_millis.load(Ordering::SeqCst)).single().unwrap_or(DateTime::UNIX_EPOCH)
            }
        }
    }

    /// The time since some moment that is the same for all clones. It never goes back, unless a hand turns it back.
    pub fn elapsed(&self) -> Duration {
        match &self.kind {
            Kind::System => self.origin.elapsed(),
            Kind::Fast { pace, .. } => self.origin.elapsed().saturating_mul(*pace),
            Kind::Hand { unix_millis } => {
                Duration::from_millis(u64::try_from(unix_millis.load(Ordering::SeqCst)).unwrap_or_default())
            }
        }
    }

    /// Waits until this clock has gone on by `span`. One that is turned by hand is waited for as if it were the system's.
    pub async fn sleep(&self, span: Duration) {
        let span = match &self.kind {
            Kind::Fast { pace, .. } => span / *pace,
            _ => span,
        };
        tokio::time::sleep(span).await;
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
        assert_eq!(same.elapsed(), Duration::from_secs(90 * 24 * 3600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_runs_and_is_waited_for() {
        let clock = Clock::fast(60);
        let (began, same) = (Instant::now(), clock.clone());
        let wall = clock.now();
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
        assert!(same.elapsed() >= Duration::from_secs(3600));
        assert!(same.now() - wall >= chrono::Duration::hours(1));
    }
}
