//! 6b. SMTP: what becomes of a message. In `direct` mode it goes to Exchange while the client waits, and Exchange's own answers are what the
//! client hears; nothing is acknowledged before Exchange has acknowledged it.

mod direct;
mod told;

use std::sync::Arc;

use crate::auth::Permit;
use crate::broker::{Broker, BrokerError};
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
}

/// A message cannot be taken on now.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No access token.
    #[error(transparent)]
    Broker(#[from] Arc<BrokerError>),
    /// No connection to Exchange.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Delivery {
    /// A delivery for the session of this permit.
    pub fn direct(&self, permit: Arc<Permit>) -> Direct {
        Direct::new(self.clone(), permit)
    }

    /// An authenticated submission session. What Exchange says to the login is noted for the administrator.
    async fn open(&self, permit: &Permit) -> Result<Submission, DeliveryError> {
        let opened = self.log_in(permit).await;
        match &opened {
            Ok(_) => self.broker.report(permit, None).await,
            Err(DeliveryError::Upstream(refusal)) => self.broker.report(permit, Some(refusal)).await,
            Err(DeliveryError::Broker(_)) => {}
        }
        opened
    }

    /// Logs in. A token that is not accepted is replaced once.
    async fn log_in(&self, permit: &Permit) -> Result<Submission, DeliveryError> {
        let token = self.broker.token_for(permit).await?;
        match self.upstream.submission(permit, &token).await {
            Err(error) if error.wants_new_token() => {
                tracing::info!("{error}; trying once more with a new token");
                let token = self.broker.replace(permit, token).await?;
                Ok(self.upstream.submission(permit, &token).await?)
            }
            other => Ok(other?),
        }
    }
}
