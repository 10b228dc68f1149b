//! Entra ID by HTTP: sign-in, tokens, consent, and an introspection endpoint for other servers.
//!
//! - `GET /{tenant}/oauth2/v2.0/authorize`: the sign-in page; `POST /{tenant}/login`: what was chosen on it
//! - `POST /{tenant}/oauth2/v2.0/devicecode`; `GET, POST /devicelogin`: the page for the user code
//! - `POST /{tenant}/oauth2/v2.0/token`
//! - `GET /{tenant}/v2.0/adminconsent`: the page for administrators; `POST /{tenant}/consent`: what was chosen on it
//! - `GET, POST /introspect` (RFC 7662)

mod assertion;
mod authorize;
mod client;
mod codes;
mod consent;
mod credentials;
mod device;
mod devices;
mod grants;
mod introspection;
mod pages;
mod record;
mod redirect;
mod scopes;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::routing::{any, get, post};
use tokio_util::sync::CancellationToken;

use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;

pub(super) use crate::sandbox::entra::codes::Codes;
pub(super) use crate::sandbox::entra::credentials::{Credentials, FEDERATED_SUBJECT};
pub(super) use crate::sandbox::entra::device::PAGE as DEVICE_PAGE;
pub(super) use crate::sandbox::entra::devices::Devices;
pub use crate::sandbox::entra::record::{ClientAuthentication, TokenRequest};
pub(super) use crate::sandbox::entra::redirect::RedirectUris;
pub use crate::sandbox::entra::redirect::is_redirect_uri;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) tenant: Arc<Tenant>,
    pub(super) stop: CancellationToken,
}

/// Every address that is answered.
pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize::show))
        .route("/{tenant}/login", post(authorize::choose))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device::authorize))
        .route(device::PAGE, get(device::show).post(device::enter))
        .route("/{tenant}/oauth2/v2.0/token", post(token::token))
        .route("/{tenant}/adminconsent", get(consent::show))
        .route("/{tenant}/v2.0/adminconsent", get(consent::show))
        .route("/{tenant}/oauth2/v2.0/adminconsent", get(consent::show))
        .route("/{tenant}/consent", post(consent::choose))
        .route("/introspect", get(introspection::introspect).post(introspection::introspect))
        .route("/elsewhere/token", any(token::elsewhere))
}

/// The parameters of a request, in order.
struct Fields(Vec<(String, String)>);

impl Fields {
    /// Those of a form; none if it is not sent as one, which Entra ID takes for a body without parameters.
    fn of_form(headers: &HeaderMap, body: &[u8]) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
            return Self(Vec::new());
        }
        Self(url::form_urlencoded::parse(body).into_owned().collect())
    }

    /// Those behind the question mark.
    fn of_query(uri: &Uri) -> Self {
        Self(url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The value of this name; one that is empty counts as missing (RFC 6749, section 3.1).
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The value of this name, or the refusal that misses it.
    fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::missing(name))
    }

    /// No parameter may stand there twice (RFC 6749, section 3.1).
    fn each_once(&self) -> Result<(), Refusal> {
        let mut seen = BTreeSet::new();
        match self.0.iter().find(|(key, _)| !seen.insert(key)) {
            None => Ok(()),
            Some((key, _)) => Err(Refusal::of(9_000_411)
                .saying(format!("The request is not properly formatted. The parameter '{key}' is duplicated."))),
        }
    }

    fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().cloned().collect()
    }
}

/// Whether the address names this tenant. Its applications are for this tenant alone.
fn check_tenant(tenant: &Tenant, named: &str) -> Result<(), Refusal> {
    match named {
        "common" | "organizations" | "consumers" => Err(Refusal::of(50_194)),
        _ if !named.eq_ignore_ascii_case(&tenant.tenant_id) => Err(Refusal::of(90_002)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
