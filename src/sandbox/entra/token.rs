//! The token endpoint: its faults, and the frame of every answer.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::sandbox::SandboxError;
use crate::sandbox::entra::record::{ClientAuthentication, TokenRequest};
use crate::sandbox::entra::{Fields, Service, assertion, grants};
use crate::sandbox::faults::FaultName;
use crate::sandbox::http::Cut;
use crate::sandbox::refusal::{Refusal, RetryAfter};
use crate::sandbox::tenant::Tenant;
use crate::sandbox::tokens::{Audience, Holder};

/// What the answers say they are.
const JSON: &str = "application/json; charset=utf-8";

/// A token request, read.
pub(super) struct Request<'a> {
    pub(super) tenant: &'a str,
    pub(super) fields: Fields,
    /// Client id and secret by HTTP Basic.
    pub(super) basic: Option<(String, String)>,
}

impl Request<'_> {
    /// What the tally keeps of it.
    fn seen(&self) -> TokenRequest {
        let field = |name| self.fields.get(name).unwrap_or_default().to_owned();
        let client_id = self.basic.as_ref().map_or_else(|| field("client_id"), |(client_id, _)| client_id.clone());
        let has_secret = self.basic.is_some() || self.fields.get("client_secret").is_some();
        let authentication = match self.fields.get("client_assertion") {
            _ if has_secret => ClientAuthentication::Secret,
            Some(text) => assertion::kind(text),
            None => ClientAuthentication::None,
        };
        TokenRequest { grant: field("grant_type"), client_id, scope: field("scope"), authentication }
    }
}

/// `POST /{tenant}/oauth2/v2.0/token`
pub(super) async fn token(
    State(service): State<Service>,
    Path(tenant_name): Path<String>,
    cut: Cut,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields = Fields::of_form(&headers, &body);
    let request = Request { tenant: &tenant_name, fields, basic: read_basic(&headers) };
    let seen = request.seen();
    let presented = request.fields.get("refresh_token").map(str::to_owned);
    service.tenant.note(|tally| {
        *tally.token_requests.entry(seen.grant.clone()).or_default() += 1;
        tally.token_log.push(seen);
        tally.refresh_tokens_presented.extend(presented);
    });
    let refusal = service.tenant.faults.text(FaultName::TokenError);
    let refusal = refusal.map(|named| Refusal::named_by(&named));
    if let Some(response) = out_of_order(&service, &cut, refusal).await {
        return response;
    }
    match grants::decide(&service.tenant, &request) {
        Ok(body) => {
            let no_store = [("cache-control", "no-store, no-cache"), ("pragma", "no-cache")];
            (no_store, Json(body)).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// What a service in trouble answers, and the refusal that is asked for; `None` if all is well.
pub(super) async fn out_of_order(service: &Service, cut: &Cut, refusal: Option<Refusal>) -> Option<Response> {
    tokio::select! {
        () = service.stop.cancelled() => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        response = trouble(service, cut, refusal) => response,
    }
}

async fn trouble(service: &Service, cut: &Cut, refusal: Option<Refusal>) -> Option<Response> {
    let faults = &service.tenant.faults;
    if let Some(delay) = faults.number(FaultName::TokenDelay) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if faults.holds(FaultName::TokenHang) {
        std::future::pending::<()>().await;
    }
    if faults.holds(FaultName::TokenClose) {
        cut.cut();
        return Some(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    if faults.holds(FaultName::TokenGarbage) {
        let deep = faults.text(FaultName::TokenGarbage).as_deref() == Some("deep");
        let garbage = if deep { "[".repeat(200_000) } else { "{\"access_token\":eyJ0eXAi, \u{fffd}".to_owned() };
        return Some(([(CONTENT_TYPE, JSON)], garbage).into_response());
    }
    if faults.holds(FaultName::TokenHtml) {
        let page = "<!DOCTYPE html><html><head><title>Sign in to the network</title></head></html>";
        return Some(Html(page).into_response());
    }
    if faults.holds(FaultName::TokenEndless) {
        let start =
            futures::stream::once(async { Bytes::from_static(b"{\"token_type\":\"Bearer\",\"access_token\":\"") });
        let endless = start.chain(futures::stream::repeat(Bytes::from_static(&[b'A'; 8192])));
        let body = endless.map(Ok::<_, std::convert::Infallible>).take_until(service.stop.clone().cancelled_owned());
        return Some(([(CONTENT_TYPE, JSON)], Body::from_stream(body)).into_response());
    }
    if faults.holds(FaultName::TokenRedirect) {
        return Some((StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere/token")]).into_response());
    }
    let seconds = faults.number(FaultName::TokenRetryAfter).map(RetryAfter::Seconds);
    let retry_after = seconds.or_else(|| faults.number(FaultName::TokenRetryAfterDate).map(RetryAfter::Date));
    let status = faults.number(FaultName::TokenStatus).map(|status| u16::try_from(status).unwrap_or(503));
    let refusal = match (status, refusal) {
        (Some(status), _) => Refusal::of_status(status),
        (None, Some(refusal)) => refusal,
        (None, None) if retry_after.is_some() => Refusal::of_status(429),
        (None, None) => return None,
    };
    Some(refusal.retry_after(retry_after).into_response())
}

/// The body of a granted request, with the token in it.
pub(super) fn body(
    tenant: &Tenant,
    client_id: &str,
    audience: Audience,
    permissions: Vec<String>,
    holder: Holder,
) -> Result<Value, SandboxError> {
    let faults = &tenant.faults;
    let audience = if faults.holds(FaultName::TokenWrongAudience) { Audience::Graph } else { audience };
    let permissions = if faults.holds(FaultName::TokenRoleless) { Vec::new() } else { permissions };
    let size = faults.number(FaultName::TokenSize).and_then(|size| usize::try_from(size).ok()).unwrap_or(1500);
    let (lifetime_secs, expires_in) = match faults.text(FaultName::TokenExpiresIn) {
        None => {
            let secs = 3600 + u64::from(random_u16()?) % 1800;
            (secs, json!(secs))
        }
        Some(value) => expires_in(&value),
    };
    let token =
        tenant.tokens.issue(audience, permissions, holder, client_id, Duration::from_secs(lifetime_secs), size)?;
    let mut body = json!({ "token_type": "Bearer", "access_token": token });
    if !expires_in.is_null() {
        body["ext_expires_in"] = expires_in.clone();
        body["expires_in"] = expires_in;
    }
    if let Some(secs) = faults.number(FaultName::TokenRefreshIn) {
        body["refresh_in"] = json!(secs);
    }
    Ok(body)
}

/// How long the token really lives, and what `expires_in` says (null: it is missing).
fn expires_in(value: &str) -> (u64, Value) {
    const HOUR: u64 = 3600;
    if let Some(text) = value.strip_prefix("string:") {
        return (text.parse().ok().filter(|secs| *secs > 0).unwrap_or(HOUR), json!(text));
    }
    match value {
        "missing" => (HOUR, Value::Null),
        "huge" => (HOUR, json!(1_000_000_000_000_000_000_u64)),
        _ => match value.parse::<i64>() {
            Ok(secs @ 1..=10_000_000) => (secs.unsigned_abs(), json!(secs)),
            Ok(secs) => (HOUR, json!(secs)),
            Err(_) => (HOUR, json!(value)),
        },
    }
}

fn random_u16() -> Result<u16, SandboxError> {
    let mut random = [0; 2];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| SandboxError::Random)?;
    Ok(u16::from_be_bytes(random))
}

/// Client id and secret by HTTP Basic, each form-encoded (RFC 6749, section 2.3.1).
fn read_basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (client_id, secret) = pair.split_once(':')?;
    let decode = |text: &str| -> String {
        url::form_urlencoded::parse(text.as_bytes()).map(|(key, _)| key.into_owned()).collect()
    };
    Some((decode(client_id), decode(secret)))
}

/// Where `token-redirect` leads. Whoever comes here has carried a secret to a place that it was not meant for.
pub(super) async fn elsewhere(State(service): State<Service>) -> Response {
    service.tenant.note(|tally| tally.redirects_followed += 1);
    StatusCode::NOT_FOUND.into_response()
}
