//! High Volume Email, `smtp.hve.mx.microsoft`: what it refuses that `smtp.office365.com` does not.

use std::time::Duration;

use tokio::time::Instant;

use crate::sandbox::frontend::trailer;
use crate::sandbox::tenant::{Entry, Tenant};

/// How long a token must still live to be taken.
const SHORTEST_REST: Duration = Duration::from_secs(600);

/// Why it refuses a login: the address is none of the tenant's, or the token lives too short a time.
pub(super) fn login_refusal(tenant: &Tenant, user: Option<&str>, entry: Option<&Entry>) -> Option<&'static str> {
    if !user.is_some_and(|user| tenant.mailboxes.has(user)) {
        return Some(
            "501 5.5.124 Invalid XOAUTH2 auth data - User address provided is not valid. Please ensure the auth data is \
             correct",
        );
    }
    let ends_soon = |entry: &Entry| entry.expires < Instant::now() + SHORTEST_REST;
    entry.is_some_and(ends_soon).then_some("501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon")
}

/// Why it refuses a recipient: the address is not of a domain of the tenant.
pub(super) fn recipient_refusal(tenant: &Tenant, recipient: &str) -> Option<String> {
    let domain = |address: &str| address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
    let inside = tenant.mailboxes.addresses().iter().any(|address| domain(address) == domain(recipient));
    let reason = "External sending is not supported for High Volume Email accounts";
    (!inside).then(|| format!("550 5.5.105 {reason} {}", trailer()))
}
