//! What every request to the console has to be, and what every answer carries.
//!
//! A page in the administrator's browser can send requests to this machine, under a name of its own that it lets lead here (DNS rebinding).
//! So only names of this machine are answered, and what changes something has to come from a page of the console itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What a browser may do with the pages: nothing but show them, with the style sheet, and send their forms back.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every answer carries. `same-origin` and not `no-referrer`: with that, forms would come from the origin `null`.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets a request through that may be meant for the console.
pub(in crate::admin::web) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refused(&request) {
        None => next.run(request).await,
        Some((status, why)) => (status, format!("{why}\n")).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why a request is none for the console.
fn refused(request: &Request) -> Option<(StatusCode, &'static str)> {
    let host = match only(request.headers(), &header::HOST) {
        Some(host) if is_this_machine(host) => host,
        _ => return Some((StatusCode::MISDIRECTED_REQUEST, "this is not the host that you were looking for")),
    };
    // `GET http://name/ HTTP/1.1` names another host than its header says.
    if request.uri().authority().is_some_and(|authority| authority.as_str() != host) {
        return Some((StatusCode::MISDIRECTED_REQUEST, "this is not the host that you were looking for"));
    }
    if *request.method() == Method::GET || *request.method() == Method::HEAD {
        return None;
    }
    let origin = only(request.headers(), &header::ORIGIN);
    if origin.and_then(|origin| origin.strip_prefix("http://")) != Some(host) {
        return Some((StatusCode::FORBIDDEN, "this comes from another page than one of the console"));
    }
    match request.headers().get("sec-fetch-site") {
        Some(site) if site != "same-origin" => {
            Some((StatusCode::FORBIDDEN, "this comes from another page than one of the console"))
        }
        _ => None,
    }
}

/// A header that stands there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Whether a `Host` header names this machine: by an address of loopback or as `localhost`, with any port, as that of a tunnel is another.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    // `user@host` is no host.
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().map(IpAddr::from),
        None => name.parse::<Ipv4Addr>().map(IpAddr::from),
    };
    address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refused(&request.body(Body::empty()).unwrap()).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in
            ["127.0.0.1:8587", "127.0.0.1", "127.3.2.1:80", "localhost:8587", "LOCALHOST", "[::1]:8587", "[::1]"]
        {
            assert_eq!(status("GET", "/", &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost.",
            "evil.example:8587",
            "0.0.0.0:8587",
            "[::]:8587",
            "10.0.0.1:8587",
            "[::ffff:127.0.0.1]:8587",
            "2130706433",
            "127.1",
            "0x7f.0.0.1",
            "user@127.0.0.1",
            "127.0.0.1:8587/x",
            "",
            " ",
            "::1",
        ] {
            assert_eq!(status("GET", "/", &[("host", host)]), Some(421), "{host}");
        }
        assert_eq!(status("GET", "/", &[]), Some(421));
        assert_eq!(status("GET", "/", &[("host", "localhost"), ("host", "evil.example")]), Some(421));
        assert_eq!(status("GET", "http://evil.example/", &[("host", "localhost")]), Some(421));
        assert_eq!(status("GET", "http://localhost/", &[("host", "localhost")]), None);
    }

    #[test]
    fn what_changes_something_comes_from_a_page_of_the_console() {
        let host = ("host", "127.0.0.1:8587");
        let same = ("origin", "http://127.0.0.1:8587");
        assert_eq!(status("POST", "/", &[host, same]), None);
        assert_eq!(status("POST", "/", &[host, same, ("sec-fetch-site", "same-origin")]), None);
        for other in [
            "null",
            "http://evil.example",
            "http://127.0.0.1",
            "http://127.0.0.1:9999",
            "https://127.0.0.1:8587",
            "http://localhost:8587",
            "http://127.0.0.1:8587.evil.example",
        ] {
            assert_eq!(status("POST", "/", &[host, ("origin", other)]), Some(403), "{other}");
        }
        assert_eq!(status("POST", "/", &[host]), Some(403), "without one");
        assert_eq!(status("POST", "/", &[host, same, same]), Some(403), "with two");
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(status("POST", "/", &[host, same, ("sec-fetch-site", site)]), Some(403), "{site}");
        }
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
            assert_eq!(status(method, "/", &[host]), Some(403), "{method}");
        }
    }
}
