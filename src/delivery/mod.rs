//! 6b. SMTP: what becomes of a message. In `direct` mode it goes to Exchange while the client waits, and Exchange's own answers are what the
//! client hears; nothing is acknowledged before Exchange has acknowledged it.

mod direct;
mod remedy;
mod told;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::auth::Permit;
use crate::base::{Answer, Fault, Reference, Whose};
use crate::broker::{Broker, BrokerError};
use crate::telemetry::Incidents;
use crate::upstream::smtp::Submission;
use crate::upstream::{Upstream, UpstreamError};

pub use self::direct::Direct;

/// What a delivery needs.
#[derive(Clone)]
pub struct Delivery {
    /// Where tokens come from.
    pub broker: Arc<Broker>,
    /// Where messages go.
    pub upstream: Arc<Upstream>,
    /// What stands behind the references that clients are given.
    pub incidents: Arc<Incidents>,
    /// How long the way to Exchange may take to open, with every second attempt in it. A client waits for its MAIL meanwhile.
    pub way_time: Duration,
}

/// A message cannot be taken on now.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No access token.
    #[error(transparent)]
    Broker(#[from] Arc<BrokerError>),
    /// The way to Exchange did not open in time.
    #[error("the way to Exchange did not open within {seconds} s")]
    Slow {
        /// How long we waited.
        seconds: u64,
    },
    /// No connection to Exchange.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Fault for DeliveryError {
    fn code(&self) -> &'static str {
        match self {
            Self::Broker(error) => error.code(),
            Self::Slow { .. } => "exchange-slow",
            Self::Upstream(error) => error.code(),
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::Broker(error) => error.whose(),
            Self::Slow { .. } => Whose::Nobody,
            Self::Upstream(error) => error.whose(),
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Broker(error) => error.remedy(),
            Self::Slow { .. } => None,
            Self::Upstream(error) => error.remedy(),
        }
    }

    fn answer(&self, reference: Reference) -> Answer {
        match self {
            Self::Broker(error) => error.answer(reference),
            Self::Slow { .. } => Answer::TryLater(reference),
            Self::Upstream(error) => error.answer(reference),
        }
    }
}

impl Delivery {
    /// A delivery for the session of this permit.
    pub fn direct(&self, permit: Arc<Permit>) -> Direct {
        Direct::new(self.clone(), permit)
    }

    /// An authenticated submission session. What comes of the login is noted for the administrator.
    async fn open(&self, permit: &Permit) -> Result<Submission, DeliveryError> {
        let late = DeliveryError::Slow { seconds: self.way_time.as_secs() };
        let opened = timeout(self.way_time, self.log_in(permit)).await.unwrap_or(Err(late));
        let trouble = opened.as_ref().err().map(|error| -> &dyn Fault { error });
        self.broker.report(permit, trouble).await;
        opened
    }

    /// Logs in. A token that is not accepted is replaced once.
    async fn log_in(&self, permit: &Permit) -> Result<Submission, DeliveryError> {
        let token = self.broker.token_for(permit).await?;
        match self.upstream.submission(permit, &token, false).await {
            Err(error) if error.wants_new_token() => {
                tracing::info!("{error}; trying once more with a new token");
                let token = self.broker.replace(permit, token).await?;
                Ok(self.upstream.submission(permit, &token, true).await?)
            }
            other => Ok(other?),
        }
    }
}
