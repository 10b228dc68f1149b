//! The authorization endpoint (RFC 6749, section 4.1): a page on which a user is chosen, and the way back to the
//! application.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use url::Url;

use crate::sandbox::entra::codes::{Bound, Challenge, SignIn};
use crate::sandbox::entra::{Fields, Service, check_tenant, client, pages, scopes};
use crate::sandbox::faults::FaultName;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;
use crate::sandbox::tokens::guid;

/// How long a code lives.
const CODE_LIFETIME_SECS: u64 = 600;

/// `GET /{tenant}/oauth2/v2.0/authorize`
pub(super) async fn show(State(service): State<Service>, Path(named): Path<String>, uri: Uri) -> Response {
    let tenant = &service.tenant;
    let fields = Fields::of_query(&uri);
    tenant.note(|tally| tally.authorizations.push(fields.to_map()));
    let asked = match Asked::read(tenant, &named, &fields) {
        Ok(asked) => asked,
        Err(wrong) => return wrong.into_response(),
    };
    if let Some(code) = tenant.faults.number(FaultName::AuthorizeError) {
        return asked.back_refused(&Refusal::of(u32::try_from(code).unwrap_or(90_033)));
    }
    if let Some(user) = tenant.faults.text(FaultName::AuthorizeAs) {
        return sign_in(tenant, asked, &user);
    }
    if fields.get("prompt") == Some("none") {
        // No session is ever kept here.
        return asked.back_refused(&Refusal::of(50_058));
    }
    let question = format!("The application {} asks for: {}. Who are you?", asked.bound.client_id, asked.scopes);
    pages::choose_user(
        &format!("/{named}/login"),
        &fields,
        &question,
        &tenant.mailboxes.addresses(),
        fields.get("login_hint"),
    )
}

/// `POST /{tenant}/login`: the parameters of the request, and what was chosen.
pub(super) async fn choose(
    State(service): State<Service>,
    Path(named): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut fields = Fields::of_form(&headers, &body);
    let user = fields.get(pages::USER).map(str::to_owned);
    fields.0.retain(|(name, _)| !matches!(name.as_str(), pages::USER | pages::DENY));
    match (Asked::read(&service.tenant, &named, &fields), user) {
        (Err(wrong), _) => wrong.into_response(),
        (Ok(asked), Some(user)) => sign_in(&service.tenant, asked, &user),
        (Ok(asked), None) => asked.back_refused(&Refusal::of(65_004)),
    }
}

/// Sends the browser back with a code.
fn sign_in(tenant: &Tenant, asked: Asked, user: &str) -> Response {
    if !tenant.mailboxes.has(user) {
        return pages::refuse(&Refusal::of(50_034));
    }
    let lifetime_secs = tenant.faults.number(FaultName::CodeLifetime).unwrap_or(CODE_LIFETIME_SECS);
    let Asked { scopes, state, target, bound } = asked;
    let sign_in = SignIn { user: user.to_ascii_lowercase(), scopes };
    let issued = tenant.codes.issue(sign_in, bound, Duration::from_secs(lifetime_secs));
    let (Ok(code), Ok(session)) = (issued, guid()) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    back(target, vec![("code", code)], state, vec![("session_state", session)])
}

/// An authorization request that can be answered.
struct Asked {
    scopes: String,
    state: Option<String>,
    /// Where the browser goes back to.
    target: Url,
    bound: Bound,
}

impl Asked {
    /// Reads the request. Until application and address are known to belong together, nobody is sent anywhere
    /// (RFC 6749, section 4.1.2.1).
    fn read(tenant: &Tenant, named: &str, fields: &Fields) -> Result<Self, Wrong> {
        let page = Wrong::Page;
        check_tenant(tenant, named).map_err(page)?;
        fields.each_once().map_err(page)?;
        let target = redirect_target(tenant, fields).map_err(page)?;
        let field = |name| fields.get(name).unwrap_or_default().to_owned();
        let asked = Self {
            scopes: field("scope"),
            state: fields.get("state").map(str::to_owned),
            target,
            bound: Bound { client_id: field("client_id"), redirect_uri: field("redirect_uri"), challenge: None },
        };
        match check(fields) {
            Ok(challenge) => Ok(Self { bound: Bound { challenge, ..asked.bound }, ..asked }),
            Err(refusal) => Err(Wrong::Back(Box::new(asked), refusal)),
        }
    }

    fn back_refused(self, refusal: &Refusal) -> Response {
        back(self.target, refusal.parameters(), self.state, Vec::new())
    }
}

/// Where the application that is named may have the browser sent back to, if it is there that it wants it.
pub(super) fn redirect_target(tenant: &Tenant, fields: &Fields) -> Result<Url, Refusal> {
    let client_id = fields.need("client_id")?;
    client::check_known(tenant, client_id)?;
    let redirect_uri = fields.get("redirect_uri").ok_or_else(|| Refusal::of(900_971))?;
    tenant.redirect_uris.find(redirect_uri).ok_or_else(|| {
        Refusal::of(50_011).saying(format!(
            "The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs configured for \
             the application '{client_id}'."
        ))
    })
}

/// What the application is told of by way of the browser.
fn check(fields: &Fields) -> Result<Option<Challenge>, Refusal> {
    let response_type = fields.need("response_type")?;
    if response_type != "code" {
        let text = format!("The response_type '{response_type}' is not enabled for the application.");
        return Err(Refusal::of(700_054).saying(text));
    }
    if let Some(mode) = fields.get("response_mode").filter(|mode| *mode != "query") {
        let text = format!("'{mode}' is not a supported value of 'response_mode' when requesting a code.");
        return Err(Refusal::of(70_007).saying(text));
    }
    scopes::check_sign_in(fields.need("scope")?)?;
    match fields.get("code_challenge") {
        Some(challenge) => Challenge::read(challenge, fields.get("code_challenge_method")).map(Some),
        None => Ok(None),
    }
}

/// Why a request is not answered with the sign-in page.
enum Wrong {
    /// The application learns of it.
    Back(Box<Asked>, Refusal),
    /// Only the person in front of the browser learns of it.
    Page(Refusal),
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        match self {
            Self::Back(asked, refusal) => asked.back_refused(&refusal),
            Self::Page(refusal) => pages::refuse(&refusal),
        }
    }
}

/// Sends the browser back, the way that `response_mode=query` has it.
pub(super) fn back(
    mut target: Url,
    first: Vec<(&'static str, String)>,
    state: Option<String>,
    last: Vec<(&'static str, String)>,
) -> Response {
    let state = state.map(|state| ("state", state));
    target.query_pairs_mut().extend_pairs(first.into_iter().chain(state).chain(last));
    (StatusCode::FOUND, [(LOCATION, String::from(target)), (CACHE_CONTROL, "no-store".to_owned())]).into_response()
}
