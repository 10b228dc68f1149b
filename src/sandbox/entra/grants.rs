//! What each grant gives.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::base::Protocol;
use crate::sandbox::SandboxError;
use crate::sandbox::entra::codes::SignIn;
use crate::sandbox::entra::scopes::{Wanted, audience_of, concerned, offline};
use crate::sandbox::entra::token::{Request, body};
use crate::sandbox::entra::{check_tenant, client};
use crate::sandbox::faults::FaultName;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;
use crate::sandbox::tokens::{Audience, Holder, RefreshRefusal, role};

/// Why nothing is given.
pub(super) enum Refused {
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

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::ByEntra(refusal) => refusal.into_response(),
            Self::ByUs => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// The body of the answer to a token request.
pub(super) fn decide(tenant: &Tenant, request: &Request<'_>) -> Result<Value, Refused> {
    request.fields.each_once()?;
    let grant = request.fields.need("grant_type")?;
    if grant == "client_credentials" && matches!(request.tenant, "common" | "organizations" | "consumers") {
        return Err(Refusal::of(9_001_023).into());
    }
    check_tenant(tenant, request.tenant)?;
    let answer: fn(&Tenant, &Request<'_>, &str) -> Result<Value, Refused> = match grant {
        "authorization_code" => code,
        "client_credentials" => application,
        "refresh_token" => refresh,
        client::DEVICE_GRANT => device,
        _ => return Err(Refusal::of(70_003).into()),
    };
    let client_id = client::authenticate(tenant, request)?;
    answer(tenant, request, &client_id)
}

/// The application for itself: exactly one resource with `/.default`, and no refresh token.
fn application(tenant: &Tenant, request: &Request<'_>, client_id: &str) -> Result<Value, Refused> {
    let mut named = request.fields.need("scope")?.split_ascii_whitespace();
    let (Some(scope), None) = (named.next(), named.next()) else { return Err(Refusal::of(70_011).into()) };
    let Some(resource) = scope.strip_suffix("/.default") else { return Err(Refusal::of(1_002_012).into()) };
    let audience = audience_of(resource).ok_or_else(|| Refusal::of(500_011))?;
    let roles = match audience {
        Audience::Exchange => Protocol::ALL.map(|protocol| role(protocol).to_owned()).to_vec(),
        Audience::Graph => vec!["Mail.Send".to_owned()],
    };
    Ok(body(tenant, client_id, audience, roles, Holder::Application)?)
}

/// A user's sign-in by way of the browser.
fn code(tenant: &Tenant, request: &Request<'_>, client_id: &str) -> Result<Value, Refused> {
    let code = request.fields.need("code")?;
    let redirect_uri = request.fields.need("redirect_uri")?;
    let scopes = request.fields.get("scope");
    let named = scopes.map(Wanted::of_one_resource).transpose()?;
    let sign_in = tenant.codes.redeem(code, client_id, redirect_uri, request.fields.get("code_verifier"))?;
    signed_in(tenant, client_id, &sign_in, scopes, named)
}

/// A user's sign-in on another device.
fn device(tenant: &Tenant, request: &Request<'_>, client_id: &str) -> Result<Value, Refused> {
    let device_code = request.fields.need("device_code")?;
    let scopes = request.fields.get("scope");
    let named = scopes.map(Wanted::of_one_resource).transpose()?;
    let sign_in = tenant.devices.poll(device_code, client_id, &tenant.faults)?;
    signed_in(tenant, client_id, &sign_in, scopes, named)
}

/// The tokens of a sign-in. A refresh token is among them only if the sign-in asked for `offline_access`; without scopes in
/// the token request those of the sign-in hold.
fn signed_in(
    tenant: &Tenant,
    client_id: &str,
    sign_in: &SignIn,
    scopes: Option<&str>,
    named: Option<Wanted>,
) -> Result<Value, Refused> {
    let wanted = match named {
        Some(wanted) => wanted,
        None => Wanted::of_first_resource(&sign_in.scopes)?,
    };
    check_consent(tenant, scopes.unwrap_or(&sign_in.scopes))?;
    let mut answer = user_body(tenant, client_id, wanted, sign_in.user.clone())?;
    if offline(&sign_in.scopes) {
        answer["refresh_token"] = json!(tenant.tokens.sign_in(&sign_in.user, Some(client_id)));
    }
    Ok(answer)
}

/// A user's sign-in, renewed: scopes of exactly one resource, which need not be that of the sign-in.
fn refresh(tenant: &Tenant, request: &Request<'_>, client_id: &str) -> Result<Value, Refused> {
    // Without it Entra ID has answered a refresh with 900144; a token request always names its scope.
    let scopes = request.fields.need("scope")?;
    let presented = request.fields.need("refresh_token")?;
    let wanted = Wanted::of_one_resource(scopes)?;
    let faults = &tenant.faults;
    if tenant.tokens.user_of(presented).is_some_and(|user| faults.concerns(FaultName::RefreshInactive, &user)) {
        return Err(Refusal::of(700_082).into());
    }
    let rotation = faults.text(FaultName::RefreshRotation);
    let keep = rotation.as_deref() == Some("keep");
    let reuse_revokes = rotation.as_deref() == Some("revoke-family");
    let (user, next) = match tenant.tokens.redeem(presented, client_id, keep, reuse_revokes)? {
        Ok(redeemed) => redeemed,
        Err(RefreshRefusal::Revoked) => return Err(Refusal::of(50_173).into()),
        Err(RefreshRefusal::Unknown | RefreshRefusal::OtherClient) => return Err(Refusal::of(70_000).into()),
    };
    check_consent(tenant, scopes)?;
    let mut answer = user_body(tenant, client_id, wanted, user)?;
    // Also if `offline_access` is not named again.
    answer["refresh_token"] = json!(next);
    Ok(answer)
}

fn check_consent(tenant: &Tenant, scopes: &str) -> Result<(), Refusal> {
    match tenant.faults.text(FaultName::ConsentMissing) {
        Some(missing) if concerned(scopes, &missing) => Err(Refusal::of(65_001)),
        _ => Ok(()),
    }
}

fn user_body(tenant: &Tenant, client_id: &str, wanted: Wanted, user: String) -> Result<Value, SandboxError> {
    let shown = wanted.shown();
    let mut answer = body(tenant, client_id, wanted.audience, wanted.permissions, Holder::User(user))?;
    answer["scope"] = json!(shown);
    Ok(answer)
}
