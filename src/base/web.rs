//! What every HTTP client of ours shares: safe addresses, no redirects, the proxy; and how the headers are read.

use std::time::Duration;

use chrono::Utc;
use reqwest::header::{self, HeaderMap};
use url::Url;

use crate::base::Proxy;

/// How long one request may take in all.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The longest that Retry-After is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Makes the client for the addresses of one service. `tls` holds the trust anchors; `urls` are `https`, or `http` on loopback.
///
/// # Errors
/// In words, when an address is not safe or no client can be made.
pub fn client(urls: &[&Url], tls: &rustls::ClientConfig, proxy: Option<&Proxy>) -> Result<reqwest::Client, String> {
    let (mut any_loopback, mut all_https) = (false, true);
    for url in urls {
        let loopback = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() != "https" && !loopback {
            return Err("only https is safe for what carries a secret".to_owned());
        }
        any_loopback |= loopback;
        all_https &= url.scheme() == "https";
    }
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        // A redirect would carry the secret to another place (RFC 9700, section 4.11).
        .redirect(reqwest::redirect::Policy::none())
        .https_only(all_https)
        .connect_timeout(Duration::from_secs(10))
        .timeout(REQUEST_TIME)
        .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")));
    // One that the configuration names holds for every host but those that it excepts. What is not encrypted never leaves this machine.
    let direct = |url: &&&Url| url.scheme() != "https" || proxy.is_some_and(|proxy| !serves(proxy, url));
    builder = match proxy {
        Some(proxy) => {
            let address = proxy.url();
            let except: Vec<&str> = urls.iter().filter(direct).filter_map(|url| url.host_str()).collect();
            let all = reqwest::Proxy::all(address.expose()).map_err(|error| chain(&error))?;
            builder.proxy(all.no_proxy(reqwest::NoProxy::from_string(&except.join(","))))
        }
        // One in the environment is for the way out, not for this machine.
        None if any_loopback => builder.no_proxy(),
        None => builder,
    };
    builder.build().map_err(|error| chain(&error))
}

fn serves(proxy: &Proxy, url: &Url) -> bool {
    url.host_str().is_some_and(|host| proxy.serves(host))
}

/// Retry-After in both of its forms (RFC 9110, section 10.2.3), bounded.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (date(headers, header::RETRY_AFTER)? - Utc::now()).to_std().unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// A header that holds a date (RFC 9110, section 5.6.7).
pub fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<chrono::DateTime<Utc>> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc())
}

/// The whole chain of causes in one line; reqwest keeps the telling one at the bottom.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        // The URL holds nothing secret, but it is in the configuration already.
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("17"), Some(Duration::from_secs(17)));
        assert_eq!(read("99999999"), Some(LONGEST_WAIT));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn a_token_service_in_the_clear_is_accepted_on_loopback_only() {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        for (url, accepted) in [
            ("http://127.0.0.1:1/token", true),
            ("http://[::1]:1/token", true),
            ("http://192.0.2.1/token", false),
            ("http://127.0.0.1.evil.example/token", false),
            ("https://login.microsoftonline.com/token", true),
        ] {
            assert_eq!(client(&[&url.parse().unwrap()], &tls, None).is_ok(), accepted, "{url}");
        }
    }
}
