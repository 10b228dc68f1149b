//! Who asks: the applications of the tenant, and how each proves that it is the one.

use crate::sandbox::entra::assertion;
use crate::sandbox::entra::token::Request;
use crate::sandbox::faults::FaultName;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;

/// `grant_type` of the polls for a device code (RFC 8628, section 3.4).
pub(super) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Whether there is such an application.
pub(super) fn check_known(tenant: &Tenant, client_id: &str) -> Result<(), Refusal> {
    if client_id == tenant.client_id || client_id == tenant.public_client_id {
        Ok(())
    } else {
        Err(Refusal::of(700_016))
    }
}

/// The application that sends a token request, proved as its registration wants it.
pub(super) fn authenticate(tenant: &Tenant, request: &Request<'_>) -> Result<String, Refusal> {
    let (client_id, secret) = match &request.basic {
        Some((client_id, secret)) => (client_id.as_str(), Some(secret.as_str())),
        None => (request.fields.need("client_id")?, request.fields.get("client_secret")),
    };
    check_known(tenant, client_id)?;
    let presented = request.fields.get("client_assertion");
    if client_id == tenant.public_client_id {
        let grant = request.fields.get("grant_type");
        let flows_disabled = tenant.faults.holds(FaultName::PublicFlowsDisabled);
        let must_prove = grant == Some("client_credentials") || flows_disabled && grant == Some(DEVICE_GRANT);
        return match (secret, presented) {
            (None, None) if must_prove => Err(Refusal::of(7_000_218)),
            (None, None) => Ok(client_id.to_owned()),
            _ => Err(Refusal::of(700_025)),
        };
    }
    match (secret, presented) {
        (Some(secret), _) if secret != tenant.client_secret => Err(Refusal::of(7_000_215)),
        (Some(_), _) if tenant.faults.holds(FaultName::SecretExpired) => Err(Refusal::of(7_000_222)),
        (Some(_), _) => Ok(client_id.to_owned()),
        (None, Some(text)) => {
            let kind = request.fields.need("client_assertion_type")?;
            if kind != assertion::ASSERTION_TYPE {
                return Err(Refusal::of(9_002_313));
            }
            assertion::check(tenant, client_id, text)?;
            Ok(client_id.to_owned())
        }
        (None, None) => Err(Refusal::of(7_000_218)),
    }
}
