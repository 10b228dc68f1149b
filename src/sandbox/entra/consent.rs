//! Admin consent: a page on which an administrator grants what the application asks for.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use url::Url;

use crate::sandbox::entra::authorize::{back, redirect_target};
use crate::sandbox::entra::{Fields, Service, check_tenant, pages, scopes};
use crate::sandbox::faults::FaultName;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;

/// `GET /{tenant}/v2.0/adminconsent`, and the other two addresses that it has.
pub(super) async fn show(State(service): State<Service>, Path(named): Path<String>, uri: Uri) -> Response {
    let tenant = &service.tenant;
    let fields = Fields::of_query(&uri);
    let target = match read(tenant, &named, &fields) {
        Ok(target) => target,
        Err(refusal) => return pages::refuse(&refusal),
    };
    if let Some(code) = tenant.faults.number(FaultName::AuthorizeError) {
        return refused(tenant, target, &fields, &Refusal::of(u32::try_from(code).unwrap_or(90_033)));
    }
    if tenant.faults.holds(FaultName::AuthorizeAs) {
        return granted(tenant, target, &fields);
    }
    let question = format!(
        "The application {} asks for {} in the name of your organization.",
        fields.get("client_id").unwrap_or_default(),
        fields.get("scope").unwrap_or("all its permissions")
    );
    pages::ask_consent(&format!("/{named}/consent"), &fields, &question)
}

/// `POST /{tenant}/consent`: the parameters of the request, and what was chosen.
pub(super) async fn choose(
    State(service): State<Service>,
    Path(named): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let tenant = &service.tenant;
    let fields = Fields::of_form(&headers, &body);
    match (read(tenant, &named, &fields), fields.get(pages::ACCEPT)) {
        (Err(refusal), _) => pages::refuse(&refusal),
        (Ok(target), Some(_)) => granted(tenant, target, &fields),
        (Ok(target), None) => refused(tenant, target, &fields, &Refusal::of(65_004).named("consent_required")),
    }
}

/// Where the browser goes back to.
fn read(tenant: &Tenant, named: &str, fields: &Fields) -> Result<Url, Refusal> {
    check_tenant(tenant, named)?;
    fields.each_once()?;
    scopes::check_admin_consent(fields.get("scope").unwrap_or_default())?;
    redirect_target(tenant, fields)
}

/// Consent is given for everything, whether or not some was missing before.
fn granted(tenant: &Tenant, target: Url, fields: &Fields) -> Response {
    tenant.faults.clear(FaultName::ConsentMissing);
    go_back(tenant, target, fields, Vec::new())
}

fn refused(tenant: &Tenant, target: Url, fields: &Fields, refusal: &Refusal) -> Response {
    go_back(tenant, target, fields, refusal.parameters())
}

/// `admin_consent=True` says only that it was this page; whether it was refused, `error` says.
fn go_back(tenant: &Tenant, target: Url, fields: &Fields, first: Vec<(&'static str, String)>) -> Response {
    let mut last = vec![("admin_consent", "True".to_owned()), ("tenant", tenant.tenant_id.clone())];
    last.extend(fields.get("scope").map(|scope| ("scope", scope.to_owned())));
    back(target, first, fields.get("state").map(str::to_owned), last)
}
