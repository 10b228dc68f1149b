//! What is known of one token: it can be used, it should be renewed, or asking again is pointless for now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::{Mailbox, Secret};
use crate::broker::BrokerError;

/// A token with less life left than this is not given out if a new one can be had. High Volume Email refuses tokens that have
/// less than about ten minutes left (`501 5.5.127`), and the far side needs some of the rest.
const LEAST_LIFE: Duration = Duration::from_secs(600);

/// How long a failure that someone must mend is remembered while nothing has changed.
pub(in crate::broker) const WHILE_UNCHANGED: Duration = Duration::from_secs(60);

/// An access token, fit for one mailbox or, app-only, for those of its tenant. It can be shared but not seen.
#[derive(Clone)]
pub struct AccessToken(Arc<Issued>);

struct Issued {
    token: Secret<String>,
    account: Option<Mailbox>,
    issued: Instant,
    life: Duration,
    /// At this age it is renewed beside being used.
    renewed_at_age: Duration,
}

impl AccessToken {
    /// `account` is whose sign-in it was had with, or none for the application's own; `refresh_in` is when the issuer would like it
    /// renewed.
    pub(in crate::broker) fn new(
        token: Secret<String>,
        account: Option<Mailbox>,
        life: Duration,
        refresh_in: Option<Duration>,
    ) -> Self {
        // Four fifths of its life, or a little sooner, so that those who signed in together do not renew together for ever.
        let own = life.mul_f64(0.8 - 0.05 * crate::base::jitter::random_share());
        let renewed_at_age = refresh_in.map_or(own, |asked| asked.min(own));
        Self(Arc::new(Issued { token, account, issued: Instant::now(), life, renewed_at_age }))
    }

    /// The token itself. It goes into a SASL answer inside verified TLS and nowhere else.
    pub fn expose(&self) -> &Secret<String> {
        &self.0.token
    }

    /// Whose sign-in it was had with; none: the application's own.
    pub fn account(&self) -> Option<&Mailbox> {
        self.0.account.as_ref()
    }

    /// How long it still lives.
    pub fn life_left(&self) -> Duration {
        self.0.life.saturating_sub(self.0.issued.elapsed())
    }

    /// Whether this is the very token, not one like it.
    pub(in crate::broker) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[access token, {} s left]", self.life_left().as_secs())
    }
}

/// The state of one token.
#[derive(Debug, Default)]
pub(in crate::broker) enum State {
    /// Nothing is known.
    #[default]
    Empty,
    /// There is a token.
    Active(AccessToken),
    /// The last attempt failed. `with` is a fingerprint of what was presented: something else may be tried at once. A token that
    /// was still good when its renewal failed stays usable.
    Failed { until: Instant, with: [u8; 32], error: Arc<BrokerError>, still: Option<AccessToken> },
}

/// How a token will be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Need {
    /// For a session that ends when the token does: IMAP. It wants half of the token's life at least.
    Long,
    /// To log in with.
    Short,
}

/// What to do for somebody who wants a token.
#[derive(Debug)]
pub(in crate::broker) enum Advice {
    /// Use this one.
    Use(AccessToken),
    /// Use this one, and renew it beside that: it is past four fifths of its life.
    UseAndRenew(AccessToken),
    /// Renew first.
    Renew,
}

impl State {
    /// What to do, given how much of its life is left.
    pub(in crate::broker) fn advice(&self, need: Need) -> Advice {
        match self {
            Self::Empty => Advice::Renew,
            Self::Active(token) => {
                let left = token.life_left();
                let life = token.0.life;
                let least = match need {
                    Need::Long => life / 2,
                    // A token that lives only minutes from the start is used for four fifths of that.
                    Need::Short => LEAST_LIFE.min(life / 5),
                };
                if left.is_zero() || left < least {
                    Advice::Renew
                } else if life - left >= token.0.renewed_at_age {
                    Advice::UseAndRenew(token.clone())
                } else {
                    Advice::Use(token.clone())
                }
            }
            // While the token service is out of order nobody waits for it who has a token that still does.
            Self::Failed { still: Some(token), .. } if token.life_left() >= LEAST_LIFE / 2 => {
                Advice::UseAndRenew(token.clone())
            }
            Self::Failed { .. } => Advice::Renew,
        }
    }

    /// The failure to repeat without asking again, if what would be presented is what failed.
    pub(in crate::broker) fn failure(&self, with: &[u8; 32]) -> Option<Arc<BrokerError>> {
        match self {
            Self::Failed { until, with: failed, error, .. } if failed == with && Instant::now() < *until => {
                Some(Arc::clone(error))
            }
            _ => None,
        }
    }

    /// A token that still lives, however little, for when no better one can be had.
    pub(in crate::broker) fn last_resort(&self) -> Option<AccessToken> {
        match self {
            Self::Active(token) | Self::Failed { still: Some(token), .. } if !token.life_left().is_zero() => {
                Some(token.clone())
            }
            _ => None,
        }
    }

    /// This token is good for nothing any more, though it would still live.
    pub(in crate::broker) fn give_up(&mut self, rejected: &AccessToken) {
        if let Self::Failed { still, .. } = self
            && still.as_ref().is_some_and(|token| token.is(rejected))
        {
            *still = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(life_seconds: u64) -> AccessToken {
        AccessToken::new(Secret::new("t".to_owned()), None, Duration::from_secs(life_seconds), None)
    }

    fn failed(until: Instant, still: Option<AccessToken>) -> State {
        let error = BrokerError::Unreachable { tenant: "contoso".to_owned(), reason: "no route".to_owned() };
        State::Failed { until, with: [1; 32], error: Arc::new(error), still }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_then_renewed_ahead_of_time_then_not_given_out() {
        let state = State::Active(token(3600));
        tokio::time::advance(Duration::from_secs(2699)).await;
        assert!(matches!(state.advice(Need::Short), Advice::Use(_)));
        tokio::time::advance(Duration::from_secs(182)).await;
        assert!(matches!(state.advice(Need::Short), Advice::UseAndRenew(_)));
        tokio::time::advance(Duration::from_secs(120)).await;
        assert!(matches!(state.advice(Need::Short), Advice::Renew));
        assert!(state.last_resort().is_some());
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(state.last_resort().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_session_gets_a_token_with_half_its_life_before_it() {
        let state = State::Active(token(3600));
        tokio::time::advance(Duration::from_secs(1800)).await;
        assert!(matches!(state.advice(Need::Long), Advice::Use(_)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(matches!(state.advice(Need::Long), Advice::Renew));
        assert!(matches!(state.advice(Need::Short), Advice::Use(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_issuer_may_ask_for_a_renewal_sooner_and_not_later() {
        for (refresh_in, used, renewed) in [(1000, 999, 1000), (9000, 2699, 2881)] {
            let token = AccessToken::new(
                Secret::new("t".to_owned()),
                None,
                Duration::from_secs(3600),
                Some(Duration::from_secs(refresh_in)),
            );
            let state = State::Active(token);
            tokio::time::advance(Duration::from_secs(used)).await;
            assert!(matches!(state.advice(Need::Short), Advice::Use(_)), "{refresh_in}");
            tokio::time::advance(Duration::from_secs(renewed - used)).await;
            assert!(matches!(state.advice(Need::Short), Advice::UseAndRenew(_)), "{refresh_in}");
        }
    }

    #[test]
    fn tokens_that_were_had_together_are_not_all_renewed_together() {
        let ages: std::collections::BTreeSet<_> = (0..32).map(|_| token(3600).0.renewed_at_age).collect();
        assert!(ages.len() > 16, "{ages:?}");
        assert!(ages.iter().all(|age| (2700..=2880).contains(&age.as_secs())), "{ages:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_without_life_is_good_for_nobody_else() {
        assert!(matches!(State::Active(token(0)).advice(Need::Short), Advice::Renew));
        assert!(State::Active(token(0)).last_resort().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_repeated_only_for_a_while_and_only_for_what_failed() {
        let state = failed(Instant::now() + WHILE_UNCHANGED, None);
        assert!(state.failure(&[1; 32]).is_some());
        assert!(state.failure(&[2; 32]).is_none());
        tokio::time::advance(WHILE_UNCHANGED).await;
        assert!(state.failure(&[1; 32]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_still_lives_is_used_without_waiting_for_a_token_service_that_is_out_of_order() {
        let state = failed(Instant::now(), Some(token(700)));
        assert!(matches!(state.advice(Need::Long), Advice::UseAndRenew(_)));
        tokio::time::advance(Duration::from_secs(401)).await;
        assert!(matches!(state.advice(Need::Short), Advice::Renew));
        assert!(state.last_resort().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_rejected_for_good_is_given_up_and_no_other_token_is() {
        let rejected = token(3000);
        for (still, left) in [(rejected.clone(), false), (token(3000), true)] {
            let mut state = failed(Instant::now(), Some(still));
            state.give_up(&rejected);
            assert_eq!(state.last_resort().is_some(), left);
        }
    }
}
