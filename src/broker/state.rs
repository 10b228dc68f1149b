//! What is known of one token: it can be used, it should be renewed, or asking again is pointless for now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::Secret;
use crate::broker::BrokerError;

/// A token with less life left than this is not given out if a new one can be had: the far side needs some of it.
const LEAST_LIFE: Duration = Duration::from_secs(300);

/// How long a failure that nobody has to mend is remembered, if the token service names no time.
pub(in crate::broker) const BRIEFLY: Duration = Duration::from_secs(5);

/// How long a failure that someone must mend is remembered while nothing has changed.
pub(in crate::broker) const WHILE_UNCHANGED: Duration = Duration::from_secs(60);

/// An access token, fit for one mailbox or, app-only, for those of its tenant. It can be shared but not seen.
#[derive(Clone)]
pub struct AccessToken(Arc<Issued>);

struct Issued {
    token: Secret<String>,
    issued: Instant,
    life: Duration,
}

impl AccessToken {
    pub(in crate::broker) fn new(token: Secret<String>, life: Duration) -> Self {
        Self(Arc::new(Issued { token, issued: Instant::now(), life }))
    }

    /// The token itself. It goes into a SASL answer inside verified TLS and nowhere else.
    pub fn expose(&self) -> &Secret<String> {
        &self.0.token
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
    pub(in crate::broker) fn advice(&self) -> Advice {
        match self {
            Self::Empty => Advice::Renew,
            Self::Active(token) => {
                let left = token.life_left();
                // A token that lives only minutes from the start is used for four fifths of that.
                if left.is_zero() || left < LEAST_LIFE.min(token.0.life / 5) {
                    Advice::Renew
                } else if left < (token.0.life / 5).max(LEAST_LIFE.min(token.0.life / 2)) {
                    Advice::UseAndRenew(token.clone())
                } else {
                    Advice::Use(token.clone())
                }
            }
            // While the token service is out of order nobody waits for it who has a token that still does.
            Self::Failed { still: Some(token), .. } if token.life_left() >= LEAST_LIFE => {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(life_seconds: u64) -> AccessToken {
        AccessToken::new(Secret::new("t".to_owned()), Duration::from_secs(life_seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_then_renewed_ahead_of_time_then_not_given_out() {
        let state = State::Active(token(3600));
        assert!(matches!(state.advice(), Advice::Use(_)));
        tokio::time::advance(Duration::from_secs(3600 - 719)).await;
        assert!(matches!(state.advice(), Advice::UseAndRenew(_)));
        tokio::time::advance(Duration::from_secs(420)).await;
        assert!(matches!(state.advice(), Advice::Renew));
        assert!(state.last_resort().is_some());
        tokio::time::advance(Duration::from_secs(300)).await;
        assert!(state.last_resort().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_without_life_is_good_for_nobody_else() {
        assert!(matches!(State::Active(token(0)).advice(), Advice::Renew));
        assert!(State::Active(token(0)).last_resort().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_repeated_only_for_a_while_and_only_for_what_failed() {
        let state = State::Failed {
            until: Instant::now() + BRIEFLY,
            with: [1; 32],
            error: Arc::new(BrokerError::Unreachable { tenant: "contoso".to_owned(), reason: "no route".to_owned() }),
            still: None,
        };
        assert!(state.failure(&[1; 32]).is_some());
        assert!(state.failure(&[2; 32]).is_none());
        tokio::time::advance(BRIEFLY).await;
        assert!(state.failure(&[1; 32]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_still_lives_is_used_without_waiting_for_a_token_service_that_is_out_of_order() {
        let state = State::Failed {
            until: Instant::now(),
            with: [1; 32],
            error: Arc::new(BrokerError::Unreachable { tenant: "contoso".to_owned(), reason: "no route".to_owned() }),
            still: Some(token(700)),
        };
        assert!(matches!(state.advice(), Advice::UseAndRenew(_)));
        tokio::time::advance(Duration::from_secs(401)).await;
        assert!(matches!(state.advice(), Advice::Renew));
        assert!(state.last_resort().is_some());
    }
}
