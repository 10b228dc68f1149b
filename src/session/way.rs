//! The way to a mailbox: a token, and a connection that it opens.

use std::sync::Arc;

use tokio::time::timeout;
use tracing::{info, warn};

use crate::auth::Permit;
use crate::base::{Answer, Fault, Reference, Whose};
use crate::broker::BrokerError;
use crate::session::Road;
use crate::telemetry::Whom;
use crate::upstream::{Opened, UpstreamError};

/// Why there is no way to a mailbox.
#[derive(Debug, thiserror::Error)]
pub(in crate::session) enum NoWay {
    /// No access token.
    #[error(transparent)]
    Broker(#[from] Arc<BrokerError>),
    /// It did not open in time.
    #[error("the way to the mailbox did not open within {seconds} s")]
    Slow {
        /// How long we waited.
        seconds: u64,
    },
    /// No connection to Exchange.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl NoWay {
    fn cause(&self) -> Option<&dyn Fault> {
        match self {
            Self::Broker(error) => Some(error.as_ref()),
            Self::Slow { .. } => None,
            Self::Upstream(error) => Some(error),
        }
    }
}

impl Fault for NoWay {
    fn code(&self) -> &'static str {
        self.cause().map_or("exchange-slow", |cause| cause.code())
    }

    fn whose(&self) -> Whose {
        self.cause().map_or(Whose::Nobody, |cause| cause.whose())
    }

    fn remedy(&self) -> Option<String> {
        self.cause().and_then(|cause| cause.remedy())
    }

    fn answer(&self, reference: Reference) -> Answer {
        self.cause().map_or(Answer::TryLater(reference), |cause| cause.answer(reference))
    }
}

/// Opens a mailbox. A token that is not accepted is replaced once. What comes of it is noted for the administrator.
pub(in crate::session) async fn open(road: &Road, permit: &Permit) -> Result<Opened, NoWay> {
    let late = NoWay::Slow { seconds: road.settings.way_time.as_secs() };
    let began = tokio::time::Instant::now();
    let opened = timeout(road.settings.way_time, log_in(road, permit)).await.unwrap_or(Err(late));
    let outcome = opened.as_ref().err().map_or("ok", |error| error.code());
    crate::telemetry::metrics::opened(permit.protocol(), outcome, began.elapsed());
    road.broker.report(permit, opened.as_ref().err().map(|error| -> &dyn Fault { error })).await;
    opened
}

async fn log_in(road: &Road, permit: &Permit) -> Result<Opened, NoWay> {
    let token = road.broker.token_for(permit).await?;
    match road.upstream.open(permit, &token).await {
        Err(error) if error.wants_new_token() => {
            info!("{error}; trying once more with a new token");
            let token = road.broker.replace(permit, token).await?;
            Ok(road.upstream.open(permit, &token).await?)
        }
        other => Ok(other?),
    }
}

/// Logs and notes why a mailbox cannot be opened, and gives the client its answer.
pub(in crate::session) fn told(road: &Road, error: &NoWay, permit: &Permit) -> Answer {
    let reference = Reference::fresh();
    road.auth.note_refusal(permit);
    warn!(
        %reference,
        mailbox.id = %permit.mailbox(),
        password.id = permit.password_id(),
        code = error.code(),
        remedy = error.remedy(),
        "the mailbox cannot be opened: {error}"
    );
    let whom =
        Whom { mailbox: Some(permit.mailbox()), protocol: permit.protocol(), password_id: Some(permit.password_id()) };
    road.incidents.note(reference, whom, error);
    error.answer(reference)
}
