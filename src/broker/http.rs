//! The HTTP side of asking a token service: limits on what comes back, and what the `oauth2` crate does not show of it.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use oauth2::http::{HeaderMap, Response, StatusCode, header};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use serde_json::Value;
use url::Url;
use zeroize::Zeroize;

use crate::base::Proxy;

/// The longest answer that is read from a token service. Entra ID's are a few KiB.
const LONGEST_ANSWER_OCTETS: usize = 256 * 1024;

/// How long one request may take in all.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The longest that Retry-After is obeyed, and that a token is believed to live.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const LONGEST_LIFE_SECONDS: u64 = 28 * 3600;

/// An HTTP request failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::broker) enum HttpError {
    #[error("{0}")]
    Transport(String),
    #[error("the answer is longer than {LONGEST_ANSWER_OCTETS} octets")]
    TooLong,
}

/// Makes the client for the addresses of one token service. `tls` holds the trust anchors; `urls` are `https`, or `http` on loopback.
///
/// # Errors
/// In words, when an address is not safe or no client can be made.
pub(in crate::broker) fn client(
    urls: &[&Url],
    tls: &rustls::ClientConfig,
    proxy: Option<&Proxy>,
) -> Result<reqwest::Client, String> {
    let (mut any_loopback, mut all_https) = (false, true);
    for url in urls {
        let loopback = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() != "https" && !loopback {
            return Err("only https is safe for a token service".to_owned());
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

/// What the `oauth2` crate does not show of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker) struct Noted {
    pub(in crate::broker) status: Option<u16>,
    pub(in crate::broker) retry_after: Option<Duration>,
    /// By how many seconds the service's clock is ahead of ours.
    pub(in crate::broker) ahead_seconds: Option<i64>,
}

/// Sends the requests of the `oauth2` crate, and notes of the last answer what that crate does not show.
pub(in crate::broker) struct Noting<'h> {
    http: &'h reqwest::Client,
    noted: Mutex<Noted>,
}

impl<'h> Noting<'h> {
    pub(in crate::broker) fn new(http: &'h reqwest::Client) -> Self {
        Self { http, noted: Mutex::default() }
    }

    pub(in crate::broker) fn noted(&self) -> Noted {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'c> AsyncHttpClient<'c> for Noting<'_> {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = fetch(self.http, request).await?;
            *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Noted {
                status: Some(answer.status().as_u16()),
                retry_after: retry_after(answer.headers()),
                ahead_seconds: date(answer.headers(), header::DATE).map(|at| (at - Utc::now()).num_seconds()),
            };
            Ok(answer)
        })
    }
}

/// What a service answers to a mere GET: its status, and by how many seconds its clock is ahead of ours. The body is not read.
pub(in crate::broker) async fn hear(http: &reqwest::Client, url: Url) -> Result<(u16, Option<i64>), HttpError> {
    let answer = http.get(url).send().await.map_err(|error| HttpError::Transport(chain(&error)))?;
    let ahead = date(answer.headers(), header::DATE).map(|at| (at - Utc::now()).num_seconds());
    Ok((answer.status().as_u16(), ahead))
}

async fn fetch(http: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let failed = |error: reqwest::Error| HttpError::Transport(chain(&error));
    let request = reqwest::Request::try_from(request).map_err(failed)?;
    let mut answer = http.execute(request).await.map_err(failed)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > LONGEST_ANSWER_OCTETS {
            body.zeroize();
            return Err(HttpError::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    let mut whole = Response::new(tidy(status, body));
    *whole.status_mut() = status;
    for name in [header::CONTENT_TYPE, header::DATE, header::RETRY_AFTER] {
        if let Some(value) = answer.headers().get(&name) {
            whole.headers_mut().insert(name, value.clone());
        }
    }
    Ok(whole)
}

/// Makes `expires_in` a number that can be believed: 21Vianet sends it as text, and a wrong one must not keep a token for ever.
fn tidy(status: StatusCode, mut body: Vec<u8>) -> Vec<u8> {
    if status != StatusCode::OK {
        return body;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&body) else {
        return body;
    };
    let expires_in = seconds(fields.get("expires_in")).unwrap_or(0);
    fields.insert("expires_in".to_owned(), expires_in.min(LONGEST_LIFE_SECONDS).into());
    match seconds(fields.get("refresh_in")) {
        Some(seconds) => drop(fields.insert("refresh_in".to_owned(), seconds.min(LONGEST_LIFE_SECONDS).into())),
        None => drop(fields.remove("refresh_in")),
    }
    let tidied = serde_json::to_vec(&fields).unwrap_or_default();
    body.zeroize();
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            text.zeroize();
        }
    }
    tidied
}

/// A number of seconds, written as a number or as text.
fn seconds(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Retry-After in both of its forms (RFC 9110, section 10.2.3), bounded.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (date(headers, header::RETRY_AFTER)? - Utc::now()).to_std().unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// A header that holds a date (RFC 9110, section 5.6.7).
fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<chrono::DateTime<Utc>> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc())
}

/// The whole chain of causes in one line; reqwest keeps the telling one at the bottom.
fn chain(error: &dyn std::error::Error) -> String {
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
    fn the_life_of_a_token_is_read_in_every_form_and_never_believed_beyond_reason() {
        for (written, seconds) in [
            ("3599", 3599),
            ("\"3599\"", 3599),
            ("3599.5", 3599),
            ("0", 0),
            ("-1", 0),
            ("1000000000000000000", LONGEST_LIFE_SECONDS),
            ("1e300", LONGEST_LIFE_SECONDS),
            ("\"soon\"", 0),
            ("null", 0),
        ] {
            let body = format!(r#"{{"token_type":"Bearer","access_token":"x","expires_in":{written}}}"#);
            let tidied: Value = serde_json::from_slice(&tidy(StatusCode::OK, body.into_bytes())).unwrap();
            assert_eq!(tidied["expires_in"], seconds, "{written}");
        }
        let without = tidy(StatusCode::OK, br#"{"access_token":"x"}"#.to_vec());
        assert_eq!(serde_json::from_slice::<Value>(&without).unwrap()["expires_in"], 0);
        for (written, seconds) in [("1800", Some(1800)), ("\"1800\"", Some(1800)), ("\"soon\"", None), ("-1", None)] {
            let body = format!(r#"{{"access_token":"x","expires_in":3600,"refresh_in":{written}}}"#);
            let tidied: Value = serde_json::from_slice(&tidy(StatusCode::OK, body.into_bytes())).unwrap();
            assert_eq!(tidied.get("refresh_in").and_then(Value::as_u64), seconds, "{written}");
        }
    }

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
