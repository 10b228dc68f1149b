//! Scopes: what a delegated `scope` asks for.

use crate::base::Protocol;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tokens::{Audience, scope};

/// What a token of a user is asked for: one resource, and permissions on it.
///
/// The token carries those that were asked for. Entra ID adds all others of the resource that were ever consented to,
/// which would hide from a test that the wrong ones are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) audience: Audience,
    pub(super) permissions: Vec<String>,
}

impl Wanted {
    /// What a token request names: scopes of exactly one resource.
    pub(super) fn of_one_resource(scopes: &str) -> Result<Self, Refusal> {
        let named = read(scopes)?;
        let mut audiences = named.iter().map(|named| named.audience);
        let first = audiences.next().unwrap_or(Audience::Graph);
        if audiences.any(|audience| audience != first) {
            return Err(Refusal::of(700_022));
        }
        Self::of(&named, first)
    }

    /// What a token request that names no scope is taken to mean: the resource that was named first at the sign-in.
    pub(super) fn of_first_resource(scopes: &str) -> Result<Self, Refusal> {
        let named = read(scopes)?;
        let first = named.first().map_or(Audience::Graph, |named| named.audience);
        Self::of(&named, first)
    }

    fn of(named: &[Named<'_>], audience: Audience) -> Result<Self, Refusal> {
        let mut permissions = Vec::new();
        for named in named.iter().filter(|named| named.audience == audience) {
            match (audience, named.permission) {
                (Audience::Exchange, ".default") => permissions.extend(Protocol::ALL.map(scope).map(str::to_owned)),
                _ if !named.exists() => return Err(Refusal::of(65_001)),
                (_, permission) => permissions.push(permission.to_owned()),
            }
        }
        Ok(Self { audience, permissions })
    }

    /// The scopes as the answer shows them.
    pub(super) fn shown(&self) -> String {
        let resource = match self.audience {
            Audience::Exchange => "https://outlook.office.com",
            Audience::Graph => GRAPH,
        };
        let shown: Vec<String> = self.permissions.iter().map(|permission| format!("{resource}/{permission}")).collect();
        shown.join(" ")
    }
}

/// Whether a sign-in may ask for these: any number of resources, but all of them known.
pub(super) fn check_sign_in(scopes: &str) -> Result<(), Refusal> {
    match read(scopes)?.iter().find(|named| !named.exists()) {
        None => Ok(()),
        Some(Named { permission, .. }) => Err(Refusal::of(650_053).saying(format!(
            "The application asked for scope '{permission}' that doesn't exist on the resource. Contact the app vendor."
        ))),
    }
}

/// Whether an administrator may be asked for these: Exchange also has an older name here, which tokens are not asked for by.
pub(super) fn check_admin_consent(scopes: &str) -> Result<(), Refusal> {
    check_sign_in(&scopes.replace("https://ps.outlook.com/", "https://outlook.office.com/"))
}

/// Whether these ask for a refresh token.
pub(super) fn offline(scopes: &str) -> bool {
    scopes.split_ascii_whitespace().any(|named| named == "offline_access")
}

/// Whether one of these is in `missing`: scopes in full, permissions alone, or resources, separated by commas.
pub(super) fn concerned(scopes: &str, missing: &str) -> bool {
    missing.split(',').map(str::trim).any(|missing| {
        scopes.split_ascii_whitespace().filter(|named| !OF_SIGN_IN.contains(named)).any(|named| {
            let (resource, permission) = split(named);
            let resources = (audience_of(missing), audience_of(resource));
            missing == named || missing == permission || matches!(resources, (Some(a), Some(b)) if a == b)
        })
    })
}

/// One scope.
struct Named<'a> {
    audience: Audience,
    permission: &'a str,
}

impl Named<'_> {
    /// Of Graph's hundreds of permissions no list is kept here.
    fn exists(&self) -> bool {
        self.audience == Audience::Graph
            || self.permission == ".default"
            || Protocol::ALL.map(scope).contains(&self.permission)
    }
}

/// The scopes that stand for permissions, in order.
fn read(scopes: &str) -> Result<Vec<Named<'_>>, Refusal> {
    scopes
        .split_ascii_whitespace()
        .filter(|named| !OF_SIGN_IN.contains(named))
        .map(|named| {
            let (resource, permission) = split(named);
            let audience = audience_of(resource).ok_or_else(|| Refusal::of(500_011))?;
            Ok(Named { audience, permission })
        })
        .collect()
}

/// Resource and permission; a permission without a resource is one of Microsoft Graph.
fn split(named: &str) -> (&str, &str) {
    named.rsplit_once('/').filter(|(resource, _)| resource.contains("://")).unwrap_or((GRAPH, named))
}

/// The scopes that stand for no permission on a resource.
const OF_SIGN_IN: [&str; 4] = ["email", "offline_access", "openid", "profile"];

const GRAPH: &str = "https://graph.microsoft.com";

/// The resource of this address.
pub(super) fn audience_of(resource: &str) -> Option<Audience> {
    match resource.trim_end_matches('/') {
        "https://outlook.office365.com" | "https://outlook.office.com" => Some(Audience::Exchange),
        GRAPH => Some(Audience::Graph),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAP: &str = "https://outlook.office.com/IMAP.AccessAsUser.All";
    const SEND: &str = "https://graph.microsoft.com/Mail.Send";

    #[test]
    fn a_token_request_names_one_resource_and_a_sign_in_as_many_as_it_likes() {
        let both = format!("{SEND} {IMAP} offline_access");
        assert_eq!(Wanted::of_one_resource(&both).unwrap_err().code, Some(700_022));
        assert!(check_sign_in(&both).is_ok());
        let first = Wanted::of_first_resource(&both).unwrap();
        assert_eq!((first.audience, first.shown().as_str()), (Audience::Graph, SEND));
        for (scopes, code) in [
            ("https://outlook.office.com/EWS.AccessAsUser.All", 650_053),
            ("https://wrong.test/IMAP.AccessAsUser.All", 500_011),
        ] {
            assert_eq!(check_sign_in(scopes).unwrap_err().code, Some(code), "{scopes}");
        }
    }

    #[test]
    fn missing_consent_is_named_by_scope_permission_or_resource() {
        for (missing, concerned_too) in [
            (IMAP, true),
            ("IMAP.AccessAsUser.All", true),
            ("https://outlook.office365.com", true),
            ("SMTP.Send,https://outlook.office.com/", true),
            ("SMTP.Send", false),
            ("https://graph.microsoft.com", false),
        ] {
            assert_eq!(concerned(&format!("offline_access {IMAP}"), missing), concerned_too, "{missing}");
        }
        assert!(concerned(SEND, "https://graph.microsoft.com"));
    }
}
