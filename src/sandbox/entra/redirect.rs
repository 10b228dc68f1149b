//! Where a browser may be sent back to.

use std::sync::{Mutex, PoisonError};

use url::Url;

/// The redirect URIs of the applications' registration.
pub(in crate::sandbox) struct RedirectUris(Mutex<Vec<Url>>);

impl RedirectUris {
    /// What the set-up of a client on this machine registers: both names of loopback, without a path.
    pub(in crate::sandbox) fn new() -> Self {
        let loopback = ["http://localhost", "http://127.0.0.1"];
        Self(Mutex::new(loopback.iter().filter_map(|uri| Url::parse(uri).ok()).collect()))
    }

    /// Adds one; false if it cannot be one.
    pub(in crate::sandbox) fn register(&self, uri: &str) -> bool {
        let Some(uri) = read(uri) else { return false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(uri);
        true
    }

    /// The address as a browser goes there, if it is registered.
    ///
    /// Everything must be the same but the port of `http://localhost` and `http://127.0.0.1`, which no client can know
    /// beforehand (RFC 8252, section 7.3). An empty path is `/`.
    pub(super) fn find(&self, asked: &str) -> Option<Url> {
        let asked = read(asked).filter(|uri| uri.username().is_empty())?;
        let registered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registered.iter().any(|registered| same_but_for_the_port_of_loopback(registered, &asked)).then_some(asked)
    }
}

/// Whether this can be a redirect URI: a whole address without a fragment (RFC 6749, section 3.1.2).
pub fn is_redirect_uri(text: &str) -> bool {
    read(text).is_some()
}

fn read(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|uri| uri.has_host() && uri.fragment().is_none())
}

fn same_but_for_the_port_of_loopback(registered: &Url, asked: &Url) -> bool {
    let any_port = registered.scheme() == "http" && matches!(registered.host_str(), Some("localhost" | "127.0.0.1"));
    registered.scheme() == asked.scheme()
        && registered.host() == asked.host()
        && registered.path() == asked.path()
        && registered.query() == asked.query()
        && (any_port || registered.port_or_known_default() == asked.port_or_known_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_loopback_does_not_matter_and_all_else_does() {
        let uris = RedirectUris::new();
        assert!(uris.register("http://localhost/callback"));
        assert!(uris.register("https://postern.contoso.test:8587/oauth?from=entra"));
        assert!(!uris.register("callback") && !uris.register("http://localhost/#here"));
        for (asked, taken) in [
            ("http://localhost", true),
            ("http://localhost:49152/", true),
            ("http://127.0.0.1:8400", true),
            ("http://localhost:1/callback", true),
            ("http://127.0.0.1:1/callback", false), // not registered for this host
            ("http://localhost:1/Callback", false),
            ("http://localhost:1/callback/", false),
            ("http://localhost:1/?next=x", false),
            ("https://localhost:1/", false),
            ("http://[::1]:1/", false),
            ("http://localhost.evil.test/", false),
            ("http://user@localhost:1/", false),
            ("http://localhost:1/#x", false),
            ("https://postern.contoso.test:8587/oauth?from=entra", true),
            ("https://postern.contoso.test/oauth?from=entra", false),
            ("/", false),
        ] {
            assert_eq!(uris.find(asked).is_some(), taken, "{asked}");
        }
    }
}
