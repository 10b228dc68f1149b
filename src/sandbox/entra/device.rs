//! The device authorization endpoint (RFC 8628), and the page on which the user code is entered.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::sandbox::entra::grants::Refused;
use crate::sandbox::entra::scopes::{self, Wanted};
use crate::sandbox::entra::token::out_of_order;
use crate::sandbox::entra::{Fields, Service, check_tenant, client, pages};
use crate::sandbox::faults::FaultName;
use crate::sandbox::http::Cut;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;

/// How long a device code lives.
const LIFETIME_SECS: u64 = 900;

/// How long to wait between two polls.
const INTERVAL_SECS: u64 = 5;

/// Where the page is.
pub(in crate::sandbox) const PAGE: &str = "/devicelogin";

/// `POST /{tenant}/oauth2/v2.0/devicecode`
pub(super) async fn authorize(
    State(service): State<Service>,
    Path(named): Path<String>,
    cut: Cut,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let tenant = &service.tenant;
    let fields = Fields::of_form(&headers, &body);
    tenant.note(|tally| tally.device_authorizations.push(fields.to_map()));
    let refusal = tenant.faults.number(FaultName::DeviceError);
    let refusal = refusal.map(|code| Refusal::of(u32::try_from(code).unwrap_or(90_033)));
    if let Some(response) = out_of_order(&service, &cut, refusal).await {
        return response;
    }
    match issue(tenant, &named, &fields) {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => refused.into_response(),
    }
}

fn issue(tenant: &Tenant, named: &str, fields: &Fields) -> Result<Value, Refused> {
    fields.each_once()?;
    check_tenant(tenant, named)?;
    let client_id = fields.need("client_id")?;
    client::check_known(tenant, client_id)?;
    let scopes = fields.need("scope")?;
    scopes::check_sign_in(scopes)?;
    // The token request names no scope of its own, so that this one must do for it.
    Wanted::of_one_resource(scopes)?;
    let lifetime_secs = tenant.faults.number(FaultName::DeviceLifetime).unwrap_or(LIFETIME_SECS);
    let interval_secs = tenant.faults.number(FaultName::DeviceInterval).unwrap_or(INTERVAL_SECS);
    let (lifetime, interval) = (Duration::from_secs(lifetime_secs), Duration::from_secs(interval_secs));
    let codes = tenant.devices.issue(client_id, scopes, lifetime, interval)?;
    let page = format!("{}{PAGE}", tenant.origin);
    let message = format!(
        "To sign in, use a web browser to open the page {page} and enter the code {} to authenticate.",
        codes.user_code
    );
    Ok(json!({
        "user_code": codes.user_code,
        "device_code": codes.device_code,
        "verification_uri": page,
        "expires_in": lifetime_secs,
        "interval": interval_secs,
        "message": message,
    }))
}

/// `GET /devicelogin`
pub(super) async fn show() -> Response {
    ask_for_code(None)
}

/// `POST /devicelogin`: the user code, then who approves it.
pub(super) async fn enter(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let tenant = &service.tenant;
    let fields = Fields::of_form(&headers, &body);
    let user_code = fields.get(USER_CODE).unwrap_or_default();
    let Some((client_id, scopes)) = tenant.devices.waiting(user_code) else {
        return ask_for_code(Some("That code didn't work. Check the code and try again."));
    };
    match (fields.get(pages::USER), fields.get(pages::DENY)) {
        (Some(user), _) if !tenant.mailboxes.has(user) => pages::refuse(&Refusal::of(50_034)),
        (Some(user), _) => {
            tenant.devices.settle(user_code, Some(user));
            pages::tell(
                "You are signed in",
                "You have signed in to the application on your device. You may now close this window.",
            )
        }
        (None, Some(_)) => {
            tenant.devices.settle(user_code, None);
            pages::tell(
                "You have cancelled",
                "The application on your device was not let in. You may close this window.",
            )
        }
        (None, None) => {
            let carried = Fields(vec![(USER_CODE.to_owned(), user_code.to_owned())]);
            let question = format!("The application {client_id} asks on another device for: {scopes}. Who are you?");
            pages::choose_user(PAGE, &carried, &question, &tenant.mailboxes.addresses(), None)
        }
    }
}

const USER_CODE: &str = "user_code";

fn ask_for_code(notice: Option<&str>) -> Response {
    pages::ask(PAGE, "Enter code", notice, "Enter the code displayed on your app or device:", USER_CODE)
}
