//! `/metrics`, `/healthz` and `/readyz`, on a listener of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::Utc;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::base::{Fault, Protocol};
use crate::session::Road;
use crate::store::Store;
use crate::telemetry::metrics::{self, Figures};

/// How long the store may take to answer. Whoever asks for readiness gives up after some seconds.
const STORE_TIME: Duration = Duration::from_secs(3);

/// What is looked at when somebody asks.
#[derive(Clone)]
pub(in crate::app) struct Exposition {
    pub(in crate::app) figures: Figures,
    pub(in crate::app) road: Arc<Road>,
    pub(in crate::app) store: Arc<dyn Store>,
}

/// Serves until `stop`.
pub(in crate::app) async fn serve(listener: TcpListener, exposition: Exposition, stop: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(exposition);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    if let Err(error) = served {
        warn!("the listener of [metrics] has ended: {error}");
    }
}

async fn figures(State(exposition): State<Exposition>) -> Response {
    let ready = exposition.is_ready().await;
    metrics::ready(ready.is_ok());
    for protocol in Protocol::ALL {
        metrics::sessions(protocol, exposition.road.auth.open_sessions_by(protocol));
    }
    match timeout(STORE_TIME, exposition.of_store()).await {
        Ok(Ok(())) => {}
        // What could not be asked keeps its last figure, and `postern_ready` says so.
        Ok(Err(error)) => {
            warn!(code = error.code(), remedy = error.remedy(), "figures of the store are missing: {error}")
        }
        Err(_) => warn!("figures of the store are missing: it did not answer in time"),
    }
    let broker = Arc::clone(&exposition.road.broker);
    let now = Utc::now();
    let expiries = tokio::task::spawn_blocking(move || broker.expiries()).await.unwrap_or_default();
    for expiry in expiries.into_iter().flatten() {
        metrics::expiry(&expiry.tenant, expiry.what, expiry.days_left(now));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition.figures.text()).into_response()
}

/// The process runs, and serves what it is asked.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Logins can be checked, and new connections are taken.
async fn readyz(State(exposition): State<Exposition>) -> Response {
    match exposition.is_ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

impl Exposition {
    async fn is_ready(&self) -> Result<(), &'static str> {
        if self.road.stopping.is_cancelled() {
            return Err("stopping");
        }
        match timeout(STORE_TIME, self.store.revision()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err("the store fails"),
            Err(_) => Err("the store does not answer"),
        }
    }

    async fn of_store(&self) -> Result<(), crate::store::StoreError> {
        let now = Utc::now();
        let (depth, oldest) = self.store.queue_depth().await?;
        let waited = oldest.and_then(|at| (now - at).to_std().ok()).unwrap_or_default();
        metrics::queue(&depth, waited);
        for (days, name) in [(30, "30"), (7, "7"), (1, "1")] {
            metrics::ending(name, self.road.auth.ending_within(chrono::Duration::days(days)));
        }
        Ok(())
    }
}
