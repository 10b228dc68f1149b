//! One breaker for each tenant and kind of grant: while its token service is out of order, one request finds out whether it is
//! back, however many mailboxes wait.
//!
//! A token service may also fail one account for ever and serve all others. So a failure that may be of one account alone keeps only that
//! account waiting, until a second one fails as well with nobody served in between.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::base::{Mailbox, jittered};
use crate::broker::BrokerError;

/// How many requests may be on their way at once. It bounds what an outage costs before it is noticed.
const AT_ONCE: usize = 8;

/// How long the token service is left alone after a first failure, if it names no time; the pause doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause that we choose ourselves. Retry-After may ask for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The breaker of one tenant and kind of grant.
pub(in crate::broker) struct Circuit {
    known: Mutex<Known>,
    probe: tokio::sync::Mutex<()>,
    places: Semaphore,
}

#[derive(Default)]
struct Known {
    broken: Option<Broken>,
    /// How often each account has been failed since it was last served.
    failures: HashMap<Mailbox, u32>,
    /// The accounts that were failed for the first time since anyone was served.
    newly_failed: HashSet<Mailbox>,
}

struct Broken {
    until: Instant,
    failures: u32,
    error: Arc<BrokerError>,
}

/// Leave to ask the token service once.
pub(in crate::broker) struct Turn<'c> {
    _place: Option<SemaphorePermit<'c>>,
    _probe: Option<MutexGuard<'c, ()>>,
}

enum Look {
    Whole,
    Broken(Arc<BrokerError>),
    /// The pause is over, and nobody knows yet whether the trouble is.
    ToBeProbed,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { known: Mutex::default(), probe: tokio::sync::Mutex::default(), places: Semaphore::new(AT_ONCE) }
    }
}

impl Circuit {
    /// Waits for leave to ask. After a failure one caller at a time gets it, and the others hear what came of it.
    ///
    /// # Errors
    /// The last failure, while the token service is left alone.
    pub(in crate::broker) async fn enter(&self) -> Result<Turn<'_>, Arc<BrokerError>> {
        if let Look::Broken(error) = self.look() {
            return Err(error);
        }
        // The semaphore is never closed.
        let place = self.places.acquire().await.ok();
        match self.look() {
            Look::Whole => Ok(Turn { _place: place, _probe: None }),
            Look::Broken(error) => Err(error),
            Look::ToBeProbed => {
                let probe = self.probe.lock().await;
                match self.look() {
                    Look::Whole => Ok(Turn { _place: place, _probe: None }),
                    Look::Broken(error) => Err(error),
                    Look::ToBeProbed => Ok(Turn { _place: place, _probe: Some(probe) }),
                }
            }
        }
    }

    /// The token service has answered this account, or the application, as it should, be it with a refusal.
    pub(in crate::broker) fn worked(&self, account: Option<&Mailbox>) {
        let mut known = self.known();
        known.broken = None;
        known.newly_failed.clear();
        if let Some(account) = account {
            known.failures.remove(account);
        }
    }

    /// It has not, and that is not about any account; `wait` is what it asked for. Gives how long it is left alone.
    pub(in crate::broker) fn failed(&self, error: &Arc<BrokerError>, wait: Option<Duration>) -> Duration {
        self.known().fail(error, wait)
    }

    /// It has not, and that may be about this account alone. Gives how long it is not to be asked for that account.
    pub(in crate::broker) fn failed_for(
        &self,
        account: &Mailbox,
        error: &Arc<BrokerError>,
        wait: Option<Duration>,
    ) -> Duration {
        let mut known = self.known();
        let failures = known.failures.entry(account.clone()).or_default();
        *failures += 1;
        let pause = pause(*failures, wait);
        if *failures == 1 {
            known.newly_failed.insert(account.clone());
        }
        if known.broken.is_some() || known.newly_failed.len() > 1 { known.fail(error, wait) } else { pause }
    }

    fn look(&self) -> Look {
        match self.known().broken.as_ref() {
            None => Look::Whole,
            Some(broken) if Instant::now() < broken.until => Look::Broken(Arc::clone(&broken.error)),
            Some(_) => Look::ToBeProbed,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn fail(&mut self, error: &Arc<BrokerError>, wait: Option<Duration>) -> Duration {
        let now = Instant::now();
        let failures = match self.broken.as_ref() {
            // Those that were on their way when it broke tell nothing new.
            Some(broken) if now < broken.until => broken.failures,
            Some(broken) => broken.failures + 1,
            None => 1,
        };
        let until = (now + pause(failures, wait)).max(self.broken.as_ref().map_or(now, |broken| broken.until));
        self.broken = Some(Broken { until, failures, error: Arc::clone(error) });
        until - now
    }
}

/// How long to wait after so many failures; `wait` is what the token service asked for.
fn pause(failures: u32, wait: Option<Duration>) -> Duration {
    let own = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(8)).min(LONGEST_PAUSE);
    // «At once» is no pause, and a date that has passed is our clock or theirs.
    wait.filter(|wait| *wait >= Duration::from_secs(1)).unwrap_or_else(|| jittered(own))
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn outage() -> Arc<BrokerError> {
        Arc::new(BrokerError::Unreachable { tenant: "contoso".to_owned(), reason: "no route".to_owned() })
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_costs_a_few_requests_at_first_and_then_one_probe_after_each_pause() {
        let circuit = Circuit::default();
        let asked = AtomicUsize::new(0);
        let everyone = async || {
            let mailboxes = (0..200).map(async |_| {
                let Ok(_turn) = circuit.enter().await else { return };
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(30)).await;
                circuit.failed(&outage(), None);
            });
            join_all(mailboxes).await;
            asked.swap(0, Ordering::Relaxed)
        };
        assert_eq!(everyone().await, AT_ONCE, "what was on its way before anyone knew");
        for round in 0..6 {
            assert_eq!(everyone().await, 0, "round {round}: it is left alone");
            tokio::time::advance(LONGEST_PAUSE * 2).await;
            assert_eq!(everyone().await, 1, "round {round}: one probe for all");
        }
        tokio::time::advance(LONGEST_PAUSE * 2).await;
        drop(circuit.enter().await.unwrap());
        circuit.worked(None);
        let turns = join_all((0..AT_ONCE).map(|_| circuit.enter())).await;
        assert!(turns.iter().all(Result::is_ok), "it is back for everyone");
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_doubles_up_to_a_minute_and_a_named_time_is_kept() {
        let circuit = Circuit::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = circuit.failed(&outage(), None);
            pauses.push(pause.as_secs_f64());
            tokio::time::advance(pause).await;
        }
        for (pause, own) in pauses.iter().zip([5.0, 10.0, 20.0, 40.0, 60.0, 60.0]) {
            assert!((own * 0.8..=own * 1.2).contains(pause), "{pauses:?}");
        }
        assert_eq!(circuit.failed(&outage(), Some(Duration::from_secs(3600))), Duration::from_secs(3600));
        tokio::time::advance(Duration::from_secs(3599)).await;
        assert!(circuit.enter().await.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(circuit.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_always_fails_keeps_nobody_else_waiting_and_two_that_begin_to_are_an_outage() {
        let circuit = Circuit::default();
        let accounts: Vec<Mailbox> = ["a", "b", "c"].map(|name| format!("{name}@contoso.test").parse().unwrap()).into();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = circuit.failed_for(&accounts[0], &outage(), None);
            assert!(circuit.enter().await.is_ok(), "the others are served");
            circuit.worked(Some(&accounts[1]));
            pauses.push(pause.as_secs_f64());
            tokio::time::advance(pause).await;
        }
        for (pause, own) in pauses.iter().zip([5.0, 10.0, 20.0, 40.0, 60.0, 60.0]) {
            assert!((own * 0.8..=own * 1.2).contains(pause), "{pauses:?}");
        }
        circuit.failed_for(&accounts[1], &outage(), None);
        circuit.failed_for(&accounts[0], &outage(), None);
        assert!(circuit.enter().await.is_ok(), "one of them has been failing all the time");
        let pause = circuit.failed_for(&accounts[2], &outage(), None);
        assert!(circuit.enter().await.is_err(), "two that were served before");
        tokio::time::advance(pause).await;
        let probe = circuit.enter().await.unwrap();
        let pause = circuit.failed_for(&accounts[0], &outage(), None);
        drop(probe);
        assert!(pause > FIRST_PAUSE, "a failed probe is one, whoever it was for");
        assert!(circuit.enter().await.is_err());
        tokio::time::advance(pause).await;
        circuit.worked(Some(&accounts[2]));
        circuit.failed_for(&accounts[2], &outage(), None);
        assert!(circuit.enter().await.is_ok());
    }
}
