//! The token service: what Entra ID answers to a token request, by HTTP, and an introspection endpoint for other servers.
//!
//! `POST /{tenant}/oauth2/v2.0/token` · `GET, POST /introspect` (RFC 7662)

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::Protocol;
use crate::sandbox::SandboxError;
use crate::sandbox::faults::FaultName;
use crate::sandbox::http::Cut;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;
use crate::sandbox::tokens::{Audience, Holder, RefreshRefusal, role, scope};

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) tenant: Arc<Tenant>,
    pub(super) stop: CancellationToken,
}

/// A token request, read.
struct Request<'a> {
    tenant: &'a str,
    fields: Vec<(String, String)>,
    /// Client id and secret by HTTP Basic.
    basic: Option<(String, String)>,
}

impl Request<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
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
    let request = Request { tenant: &tenant_name, fields: read_form(&headers, &body), basic: read_basic(&headers) };
    let grant = request.field("grant_type").unwrap_or_default().to_owned();
    let presented = request.field("refresh_token").map(str::to_owned);
    service.tenant.note(|tally| {
        *tally.token_requests.entry(grant).or_default() += 1;
        tally.refresh_tokens_presented.extend(presented);
    });
    tokio::select! {
        () = service.stop.cancelled() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        response = answer(&service, request, &cut) => response,
    }
}

async fn answer(service: &Service, request: Request<'_>, cut: &Cut) -> Response {
    let faults = &service.tenant.faults;
    if let Some(delay) = faults.number(FaultName::TokenDelay) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if faults.holds(FaultName::TokenHang) {
        std::future::pending::<()>().await;
    }
    if faults.holds(FaultName::TokenClose) {
        cut.cut();
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if faults.holds(FaultName::TokenGarbage) {
        let deep = faults.text(FaultName::TokenGarbage).as_deref() == Some("deep");
        let garbage = if deep { "[".repeat(200_000) } else { "{\"access_token\":eyJ0eXAi, \u{fffd}".to_owned() };
        return ([(CONTENT_TYPE, "application/json; charset=utf-8")], garbage).into_response();
    }
    if faults.holds(FaultName::TokenHtml) {
        return Html("<!DOCTYPE html><html><head><title>Sign in to the network</title></head></html>").into_response();
    }
    if faults.holds(FaultName::TokenEndless) {
        let start =
            futures::stream::once(async { Bytes::from_static(b"{\"token_type\":\"Bearer\",\"access_token\":\"") });
        let endless = start.chain(futures::stream::repeat(Bytes::from_static(&[b'A'; 8192])));
        let body = endless.map(Ok::<_, std::convert::Infallible>).take_until(service.stop.clone().cancelled_owned());
        return ([(CONTENT_TYPE, "application/json; charset=utf-8")], Body::from_stream(body)).into_response();
    }
    if faults.holds(FaultName::TokenRedirect) {
        return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere/token")]).into_response();
    }
    let retry_after = faults.number(FaultName::TokenRetryAfter);
    if let Some(status) = faults.number(FaultName::TokenStatus) {
        let status = u16::try_from(status).unwrap_or(503);
        return Refusal::of_status(status).retry_after(retry_after).into_response();
    }
    if let Some(code) = faults.text(FaultName::TokenError) {
        let digits = code.trim_start_matches("AADSTS");
        return Refusal::of(digits.parse().unwrap_or(90_033)).retry_after(retry_after).into_response();
    }
    if retry_after.is_some() {
        return Refusal::of_status(429).retry_after(retry_after).into_response();
    }
    match decide(&service.tenant, &request) {
        Ok(body) => {
            let no_store = [("cache-control", "no-store, no-cache"), ("pragma", "no-cache")];
            (no_store, Json(body)).into_response()
        }
        Err(Refused::ByEntra(refusal)) => refusal.into_response(),
        Err(Refused::ByUs) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

enum Refused {
    ByEntra(Refusal),
    /// No random numbers to be had.
    ByUs,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::ByEntra(refusal)
    }
}

impl From<SandboxError> for Refused {
    fn from(_: SandboxError) -> Self {
        Self::ByUs
    }
}

fn decide(tenant: &Tenant, request: &Request<'_>) -> Result<Value, Refused> {
    let grant = request.field("grant_type").ok_or_else(|| Refusal::missing("grant_type"))?;
    let shared_endpoint = matches!(request.tenant, "common" | "organizations" | "consumers");
    match grant {
        "client_credentials" if shared_endpoint => return Err(Refusal::of(9_001_023).into()),
        _ if shared_endpoint => return Err(Refusal::of(50_194).into()),
        _ if !request.tenant.eq_ignore_ascii_case(&tenant.tenant_id) => return Err(Refusal::of(90_002).into()),
        "client_credentials" | "refresh_token" => {}
        _ => return Err(Refusal::of(70_003).into()),
    }
    let client_id = authenticate(tenant, request)?;
    // Without it Entra ID has answered a refresh with 900144; a token request always names its scope.
    let scopes = request.field("scope").ok_or_else(|| Refusal::missing("scope"))?;
    if grant == "client_credentials" {
        application(tenant, &client_id, scopes)
    } else {
        refresh(tenant, request, &client_id, scopes)
    }
}

/// Who asks, proved as its registration wants it.
fn authenticate(tenant: &Tenant, request: &Request<'_>) -> Result<String, Refusal> {
    let (client_id, secret) = match &request.basic {
        Some((client_id, secret)) => (client_id.as_str(), Some(secret.as_str())),
        None => {
            let client_id = request.field("client_id").ok_or_else(|| Refusal::missing("client_id"))?;
            (client_id, request.field("client_secret"))
        }
    };
    let assertion = request.field("client_assertion");
    if client_id == tenant.public_client_id {
        return match (secret, assertion) {
            (None, None) if request.field("grant_type") == Some("client_credentials") => Err(Refusal::of(7_000_218)),
            (None, None) => Ok(client_id.to_owned()),
            _ => Err(Refusal::of(700_025)),
        };
    }
    if client_id != tenant.client_id {
        return Err(Refusal::of(700_016));
    }
    match (secret, assertion) {
        (Some(secret), _) if secret == tenant.client_secret => Ok(client_id.to_owned()),
        (Some(_), _) => Err(Refusal::of(7_000_215)),
        // No certificate is registered here.
        (None, Some(_)) => Err(Refusal::of(700_027)),
        (None, None) => Err(Refusal::of(7_000_218)),
    }
}

/// The application for itself: exactly one resource with `/.default`, and no refresh token.
fn application(tenant: &Tenant, client_id: &str, scopes: &str) -> Result<Value, Refused> {
    let mut named = scopes.split_ascii_whitespace();
    let (Some(scope), None) = (named.next(), named.next()) else { return Err(Refusal::of(70_011).into()) };
    let Some(resource) = scope.strip_suffix("/.default") else { return Err(Refusal::of(1_002_012).into()) };
    let audience = audience_of(resource).ok_or_else(|| Refusal::of(500_011))?;
    let roles = match audience {
        Audience::Exchange => Protocol::ALL.map(|protocol| role(protocol).to_owned()).to_vec(),
        Audience::Graph => vec!["Mail.Send".to_owned()],
    };
    Ok(grant(tenant, client_id, audience, roles, Holder::Application)?)
}

/// A user's sign-in, renewed: scopes of exactly one resource.
fn refresh(tenant: &Tenant, request: &Request<'_>, client_id: &str, scopes: &str) -> Result<Value, Refused> {
    let presented = request.field("refresh_token").ok_or_else(|| Refusal::missing("refresh_token"))?;
    let (audience, permissions) = read_scopes(scopes)?;
    let rotation = tenant.faults.text(FaultName::RefreshRotation);
    let keep = rotation.as_deref() == Some("keep");
    let reuse_revokes = rotation.as_deref() == Some("revoke-family");
    let (user, next) = match tenant.tokens.redeem(presented, client_id, keep, reuse_revokes)? {
        Ok(redeemed) => redeemed,
        Err(RefreshRefusal::Revoked) => return Err(Refusal::of(50_173).into()),
        Err(RefreshRefusal::Unknown | RefreshRefusal::OtherClient) => return Err(Refusal::of(70_000).into()),
    };
    let shown: Vec<String> =
        permissions.iter().map(|permission| format!("https://outlook.office.com/{permission}")).collect();
    let mut body = grant(tenant, client_id, audience, permissions, Holder::User(user))?;
    body["scope"] = json!(shown.join(" "));
    // Also if `offline_access` is not named again.
    body["refresh_token"] = json!(next);
    Ok(body)
}

/// What a delegated `scope` asks for: the one resource, and its permissions.
///
/// The token carries those that were asked for. Entra ID adds all others of the resource that were ever consented to, which
/// would hide from a test that the wrong ones are asked for.
fn read_scopes(scopes: &str) -> Result<(Audience, Vec<String>), Refusal> {
    let mut audience = None;
    let mut permissions = Vec::new();
    for named in scopes.split_ascii_whitespace() {
        if matches!(named, "offline_access" | "openid" | "profile" | "email") {
            continue;
        }
        // A permission without a resource is one of Microsoft Graph.
        let (resource, permission) =
            named.rsplit_once('/').filter(|(resource, _)| resource.contains("://")).unwrap_or((GRAPH, named));
        let of = audience_of(resource).ok_or_else(|| Refusal::of(500_011))?;
        if *audience.get_or_insert(of) != of {
            return Err(Refusal::of(700_022));
        }
        let known = Protocol::ALL.map(scope);
        match (of, permission) {
            (Audience::Exchange, ".default") => permissions.extend(known.map(str::to_owned)),
            (Audience::Exchange, _) if !known.contains(&permission) => return Err(Refusal::of(65_001)),
            _ => permissions.push(permission.to_owned()),
        }
    }
    Ok((audience.unwrap_or(Audience::Graph), permissions))
}

const GRAPH: &str = "https://graph.microsoft.com";

fn audience_of(resource: &str) -> Option<Audience> {
    match resource.trim_end_matches('/') {
        "https://outlook.office365.com" | "https://outlook.office.com" => Some(Audience::Exchange),
        GRAPH => Some(Audience::Graph),
        _ => None,
    }
}

/// The body of a granted request, with the token in it.
fn grant(
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

/// The fields of a form; none if it is not sent as one, which Entra ID takes for a body without parameters.
fn read_form(headers: &HeaderMap, body: &[u8]) -> Vec<(String, String)> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return Vec::new();
    }
    url::form_urlencoded::parse(body).into_owned().collect()
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

/// `GET, POST /introspect` (RFC 7662, section 2): the token as a form field, a query parameter, or a bearer header.
pub(super) async fn introspect(State(service): State<Service>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let from_form = || read_form(&headers, &body).into_iter().find(|(key, _)| key == "token").map(|(_, value)| value);
    let from_query = || {
        let query = uri.query()?.as_bytes();
        url::form_urlencoded::parse(query).find(|(key, _)| key == "token").map(|(_, value)| value.into_owned())
    };
    let from_header = || Some(headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned());
    let token = from_form().or_else(from_query).or_else(from_header).unwrap_or_default();
    let Some(claims) = service.tenant.tokens.claims(&token).filter(|claims| claims.expires > Instant::now()) else {
        return Json(json!({ "active": false })).into_response();
    };
    let mut body = json!({
        "active": true,
        "token_type": "Bearer",
        "client_id": claims.client_id,
        "scope": claims.permissions.join(" "),
        "exp": claims.expires_unix,
    });
    if let Holder::User(address) = claims.holder {
        body["username"] = json!(address);
        body["email"] = json!(address);
    }
    Json(body).into_response()
}

#[cfg(test)]
mod tests;
