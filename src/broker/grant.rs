//! Asking the token service: the request of each grant, over the `oauth2` crate, with limits on what comes back.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oauth2::basic::{BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenResponse};
use oauth2::http::{HeaderMap, Response, StatusCode, header};
use oauth2::{
    AsyncHttpClient, AuthType, Client, ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, TokenResponse, TokenUrl,
};
use serde_json::Value;
use url::Url;
use zeroize::Zeroize;

use crate::base::Secret;
use crate::broker::entra::ErrorBody;

/// The longest answer that is read from a token service. Entra ID's are a few KiB.
const LONGEST_ANSWER_OCTETS: usize = 256 * 1024;

/// How long one request may take in all.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The longest that Retry-After is obeyed, and that a token is believed to live.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const LONGEST_LIFE_SECONDS: u64 = 28 * 3600;

/// The part of a token service that this grant needs.
pub(in crate::broker) struct TokenService {
    http: reqwest::Client,
    url: TokenUrl,
    client_id: ClientId,
}

/// What is presented.
pub(in crate::broker) enum Presented<'a> {
    /// The application itself (RFC 6749, section 4.4).
    Client,
    /// A person's sign-in (RFC 6749, section 6).
    RefreshToken(&'a Secret<String>),
}

/// What a token service gave.
pub(in crate::broker) struct Granted {
    pub(in crate::broker) access_token: Secret<String>,
    /// How long it lives; zero if the service said nothing that can be believed.
    pub(in crate::broker) life: Duration,
    /// A rotated refresh token.
    pub(in crate::broker) refresh_token: Option<Secret<String>>,
}

/// What a token service said instead, before it is judged.
#[derive(Debug)]
pub(in crate::broker) enum Denied {
    /// An OAuth error body.
    Said { body: ErrorBody, status: u16, retry_after: Option<Duration> },
    /// Something else than OAuth: a page, nothing, a redirect, too much.
    Garbage { what: String, status: Option<u16>, retry_after: Option<Duration> },
    /// No answer.
    Unreachable(String),
}

/// An HTTP request failed.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("{0}")]
    Transport(String),
    #[error("the answer is longer than {LONGEST_ANSWER_OCTETS} octets")]
    TooLong,
}

impl TokenService {
    /// `tls` holds the trust anchors; `url` is `https`, or `http` on loopback.
    pub(in crate::broker) fn new(url: &Url, client_id: &str, tls: &rustls::ClientConfig) -> Result<Self, String> {
        let loopback = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() != "https" && !loopback {
            return Err("only https is safe for a token service".to_owned());
        }
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            // A redirect would carry the secret to another place (RFC 9700, section 4.11).
            .redirect(reqwest::redirect::Policy::none())
            .https_only(!loopback)
            .connect_timeout(Duration::from_secs(10))
            .timeout(REQUEST_TIME)
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")));
        if loopback {
            // A proxy in the environment is for the way out, not for this machine.
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(|error| chain(&error))?,
            url: TokenUrl::from_url(url.clone()),
            client_id: ClientId::new(client_id.to_owned()),
        })
    }

    /// Asks for a token once.
    pub(in crate::broker) async fn ask(
        &self,
        presented: Presented<'_>,
        secret: Option<&Secret<String>>,
        scopes: &[String],
    ) -> Result<Granted, Denied> {
        let mut client = Client::<
            ErrorBody,
            BasicTokenResponse,
            BasicTokenIntrospectionResponse,
            StandardRevocableToken,
            BasicRevocationErrorResponse,
        >::new(self.client_id.clone())
        // Entra ID takes the secret in the body; in a header it would have to be encoded twice (RFC 6749, section 2.3.1).
        .set_auth_type(AuthType::RequestBody);
        if let Some(secret) = secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose().clone()));
        }
        let client = client.set_token_uri(self.url.clone());
        let scopes = scopes.iter().cloned().map(Scope::new);

        let noting = Noting { http: &self.http, noted: Mutex::default() };
        let answer = match presented {
            Presented::Client => client.exchange_client_credentials().add_scopes(scopes).request_async(&noting).await,
            Presented::RefreshToken(token) => {
                let token = RefreshToken::new(token.expose().clone());
                client.exchange_refresh_token(&token).add_scopes(scopes).request_async(&noting).await
            }
        };
        let (status, retry_after) = noting
            .noted
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or((None, None), |(status, wait)| (Some(status), wait));
        match answer {
            Ok(answer) => Ok(Granted {
                access_token: Secret::new(answer.access_token().secret().clone()),
                life: answer.expires_in().unwrap_or_default(),
                refresh_token: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
            }),
            Err(RequestTokenError::ServerResponse(body)) => {
                Err(Denied::Said { body, status: status.unwrap_or(400), retry_after })
            }
            Err(RequestTokenError::Request(HttpError::Transport(text))) => Err(Denied::Unreachable(text)),
            Err(RequestTokenError::Request(error @ HttpError::TooLong)) => {
                Err(Denied::Garbage { what: error.to_string(), status, retry_after })
            }
            // The answer itself is left out: it could hold a token.
            Err(RequestTokenError::Parse(_, mut raw)) => {
                raw.zeroize();
                Err(Denied::Garbage {
                    what: "the answer is not what OAuth 2.0 prescribes".to_owned(),
                    status,
                    retry_after,
                })
            }
            Err(RequestTokenError::Other(_)) => {
                Err(Denied::Garbage { what: "the answer is empty or not JSON".to_owned(), status, retry_after })
            }
        }
    }
}

/// Sends the requests of the `oauth2` crate, and notes status and Retry-After, which that crate does not show of an error.
struct Noting<'h> {
    http: &'h reqwest::Client,
    noted: Mutex<Option<(u16, Option<Duration>)>>,
}

impl<'c> AsyncHttpClient<'c> for Noting<'_> {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = fetch(self.http, request).await?;
            *self.noted.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((answer.status().as_u16(), retry_after(answer.headers())));
            Ok(answer)
        })
    }
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
    for name in [header::CONTENT_TYPE, header::RETRY_AFTER] {
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
    let seconds = match fields.get("expires_in") {
        Some(Value::Number(number)) => {
            number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)).unwrap_or(0)
        }
        Some(Value::String(text)) => text.trim().parse().unwrap_or(0),
        _ => 0,
    };
    fields.insert("expires_in".to_owned(), seconds.min(LONGEST_LIFE_SECONDS).into());
    let tidied = serde_json::to_vec(&fields).unwrap_or_default();
    body.zeroize();
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            text.zeroize();
        }
    }
    tidied
}

/// Retry-After in both of its forms (RFC 9110, section 10.2.3), bounded.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            (at.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
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
            assert_eq!(TokenService::new(&url.parse().unwrap(), "x", &tls).is_ok(), accepted, "{url}");
        }
    }
}
