//! Asking the token service: the request of each grant, over the `oauth2` crate.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use oauth2::basic::{BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, DeviceAuthorizationUrl,
    EndpointNotSet, EndpointSet, ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardDeviceAuthorizationResponse, StandardRevocableToken, StandardTokenResponse,
    TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroize;

use crate::base::{Proxy, Secret};
use crate::broker::credential::Presentation;
use crate::broker::entra::ErrorBody;
use crate::broker::http::{self, HttpError, Noted, Noting};

/// What a token service answers besides what the standard says.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Extra {
    /// When the issuer would like the token renewed, in seconds.
    #[serde(default)]
    refresh_in: Option<u64>,
}

impl ExtraTokenFields for Extra {}

type Answer = StandardTokenResponse<Extra, BasicTokenType>;

type OauthClient<Authorize = EndpointNotSet, Device = EndpointNotSet> = Client<
    ErrorBody,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    Authorize,
    Device,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// A token service, as far as grants need it.
pub(in crate::broker) struct TokenService {
    http: reqwest::Client,
    token_url: TokenUrl,
    authorize_url: Option<AuthUrl>,
    device_url: Option<DeviceAuthorizationUrl>,
    client_id: ClientId,
    /// By how many seconds its clock was last seen ahead of ours; `i64::MIN` while it was not seen.
    ahead_seconds: AtomicI64,
}

/// Where a token service is.
pub(in crate::broker) struct Addresses<'a> {
    pub(in crate::broker) token: &'a Url,
    pub(in crate::broker) authorize: Option<&'a Url>,
    pub(in crate::broker) device: Option<&'a Url>,
}

/// What is presented.
pub(in crate::broker) enum Presented<'a> {
    /// The application itself (RFC 6749, section 4.4).
    Client,
    /// What the browser brought back (RFC 6749, section 4.1.3, and RFC 7636, section 4.5).
    Code { code: &'a Secret<String>, verifier: &'a Secret<String>, redirect: &'a str },
    /// A person's sign-in (RFC 6749, section 6).
    RefreshToken(&'a Secret<String>),
}

/// What a token service gave.
pub(in crate::broker) struct Granted {
    pub(in crate::broker) access_token: Secret<String>,
    /// How long it lives; zero if the service said nothing that can be believed.
    pub(in crate::broker) life: Duration,
    /// When the service would like it renewed.
    pub(in crate::broker) refresh_in: Option<Duration>,
    /// A rotated refresh token.
    pub(in crate::broker) refresh_token: Option<Secret<String>>,
}

/// What a token service said instead, before it is judged.
#[derive(Debug)]
pub(in crate::broker) enum Denied {
    /// An OAuth error body.
    Said { body: Box<ErrorBody>, noted: Noted },
    /// Something else than OAuth: a page, nothing, a redirect, too much.
    Garbage { what: String, noted: Noted },
    /// No answer.
    Unreachable(String),
}

/// A sign-in in a browser that has begun.
pub(in crate::broker) struct Begun {
    /// Where the browser is to be sent.
    pub(in crate::broker) url: Url,
    pub(in crate::broker) state: Secret<String>,
    pub(in crate::broker) verifier: Secret<String>,
}

/// A device code that has been had.
pub(in crate::broker) struct DeviceCode(StandardDeviceAuthorizationResponse);

impl DeviceCode {
    /// What the person types.
    pub(in crate::broker) fn user_code(&self) -> &str {
        self.0.user_code().secret()
    }

    /// Where.
    pub(in crate::broker) fn address(&self) -> &str {
        self.0.verification_uri().as_str()
    }

    /// Where, with the code in it, if the service has such an address.
    pub(in crate::broker) fn whole_address(&self) -> Option<&str> {
        self.0.verification_uri_complete().map(|whole| whole.secret().as_str())
    }

    /// How long it is good for.
    pub(in crate::broker) fn life(&self) -> Duration {
        self.0.expires_in()
    }
}

impl TokenService {
    /// `tls` holds the trust anchors; the addresses are `https`, or `http` on loopback. Without a `proxy` of the configuration the
    /// system's own is used.
    pub(in crate::broker) fn new(
        addresses: &Addresses<'_>,
        client_id: &str,
        tls: &rustls::ClientConfig,
        proxy: Option<&Proxy>,
    ) -> Result<Self, String> {
        // The browser goes to the authorization endpoint, we do not.
        let asked: Vec<&Url> = std::iter::once(addresses.token).chain(addresses.device).collect();
        Ok(Self {
            http: crate::base::web::client(&asked, tls, proxy)?,
            token_url: TokenUrl::from_url(addresses.token.clone()),
            authorize_url: addresses.authorize.cloned().map(AuthUrl::from_url),
            device_url: addresses.device.cloned().map(DeviceAuthorizationUrl::from_url),
            client_id: ClientId::new(client_id.to_owned()),
            ahead_seconds: AtomicI64::new(i64::MIN),
        })
    }

    /// By how many seconds its clock was last seen ahead of ours.
    pub(in crate::broker) fn ahead_seconds(&self) -> Option<i64> {
        Some(self.ahead_seconds.load(Ordering::Relaxed)).filter(|seconds| *seconds != i64::MIN)
    }

    /// Asks it for nothing, so that it says something: its status, and by how many seconds its clock is ahead of ours.
    pub(in crate::broker) async fn hear(&self) -> Result<(u16, Option<i64>), HttpError> {
        http::hear(&self.http, self.token_url.url().clone()).await
    }

    fn client(&self, presentation: &Presentation) -> OauthClient {
        // Entra ID takes the secret in the body; in a header it would have to be encoded twice (RFC 6749, section 2.3.1).
        let client = Client::new(self.client_id.clone()).set_auth_type(AuthType::RequestBody);
        let client = match presentation {
            Presentation::Secret(secret) => client.set_client_secret(ClientSecret::new(secret.expose().clone())),
            Presentation::Assertion(_) | Presentation::Nothing => client,
        };
        client.set_token_uri(self.token_url.clone())
    }

    /// Asks for a token once.
    pub(in crate::broker) async fn ask(
        &self,
        presented: &Presented<'_>,
        presentation: &Presentation,
        scopes: &[String],
    ) -> Result<Granted, Denied> {
        let client = self.client(presentation);
        let proofs = proofs(presentation);
        let named = || scopes.iter().cloned().map(Scope::new);
        let noting = Noting::new(&self.http);
        let answer = match presented {
            Presented::Client => {
                let mut request = client.exchange_client_credentials().add_scopes(named());
                for (name, value) in proofs {
                    request = request.add_extra_param(name, value);
                }
                request.request_async(&noting).await
            }
            Presented::RefreshToken(token) => {
                let token = RefreshToken::new(token.expose().clone());
                let mut request = client.exchange_refresh_token(&token).add_scopes(named());
                for (name, value) in proofs {
                    request = request.add_extra_param(name, value);
                }
                request.request_async(&noting).await
            }
            Presented::Code { code, verifier, redirect } => {
                let redirect = RedirectUrl::new((*redirect).to_owned())
                    .map_err(|error| Denied::Unreachable(format!("the redirect address is no address: {error}")))?;
                let mut request = client
                    .exchange_code(AuthorizationCode::new(code.expose().clone()))
                    .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()))
                    .set_redirect_uri(Cow::Owned(redirect))
                    // Entra ID wants the one resource named here, of all those that were signed in for.
                    .add_extra_param("scope", scopes.join(" "));
                for (name, value) in proofs {
                    request = request.add_extra_param(name, value);
                }
                request.request_async(&noting).await
            }
        };
        let noted = self.note(&noting);
        answer.map(granted).map_err(|error| denied(error, noted))
    }

    /// Where to send a browser so that a person signs in (RFC 6749, section 4.1.1, with RFC 7636); `None` without such an address.
    pub(in crate::broker) fn begin(
        &self,
        redirect: &str,
        scopes: &[String],
        parameters: &[(String, String)],
    ) -> Option<Begun> {
        let client = self.client(&Presentation::Nothing).set_auth_uri(self.authorize_url.clone()?);
        let redirect = RedirectUrl::new(redirect.to_owned()).ok()?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .set_redirect_uri(Cow::Owned(redirect));
        for (name, value) in parameters {
            request = request.add_extra_param(name.clone(), value.clone());
        }
        let (url, state) = request.url();
        Some(Begun { url, state: Secret::new(state.into_secret()), verifier: Secret::new(verifier.into_secret()) })
    }

    /// Asks for a device code (RFC 8628, section 3.1); `None` without an address for that.
    pub(in crate::broker) async fn device_code(
        &self,
        presentation: &Presentation,
        scopes: &[String],
    ) -> Option<Result<DeviceCode, Denied>> {
        let client = self.client(presentation).set_device_authorization_url(self.device_url.clone()?);
        let noting = Noting::new(&self.http);
        let mut request = client.exchange_device_code().add_scopes(scopes.iter().cloned().map(Scope::new));
        for (name, value) in proofs(presentation) {
            request = request.add_extra_param(name, value);
        }
        let answer: Result<StandardDeviceAuthorizationResponse, _> = request.request_async(&noting).await;
        let noted = self.note(&noting);
        Some(answer.map(DeviceCode).map_err(|error| denied(error, noted)))
    }

    /// Polls until the person has signed in, at most for `patience` (RFC 8628, section 3.4). `None`: not yet.
    pub(in crate::broker) async fn poll(
        &self,
        code: &DeviceCode,
        presentation: &Presentation,
        patience: Duration,
    ) -> Result<Option<Granted>, Denied> {
        /// A service that names no interval must not be asked without a pause (RFC 8628, section 3.2: 5 seconds are meant).
        const LEAST_INTERVAL: Duration = Duration::from_secs(1);

        let client = self.client(presentation);
        let noting = Noting::new(&self.http);
        let mut request = client.exchange_device_access_token(&code.0);
        for (name, value) in proofs(presentation) {
            request = request.add_extra_param(name, value);
        }
        let answer = request
            .request_async(&noting, |interval| tokio::time::sleep(interval.max(LEAST_INTERVAL)), Some(patience))
            .await;
        let noted = self.note(&noting);
        match answer {
            Ok(answer) => Ok(Some(granted(answer))),
            // The crate says this of its own patience as well, which it measures by a clock that may be set meanwhile. Whether the code
            // has ended is for the caller to see.
            Err(RequestTokenError::ServerResponse(said)) if said.error().as_ref() == "expired_token" => Ok(None),
            Err(RequestTokenError::ServerResponse(said)) => {
                let body = ErrorBody::said(said.error().as_ref(), said.error_description().cloned());
                Err(Denied::Said { body: Box::new(body), noted })
            }
            Err(RequestTokenError::Request(error)) => Err(of_request(error, noted)),
            Err(RequestTokenError::Parse(_, mut raw)) => {
                raw.zeroize();
                Err(no_oauth(noted))
            }
            Err(RequestTokenError::Other(_)) => Err(empty(noted)),
        }
    }

    fn note(&self, noting: &Noting<'_>) -> Noted {
        let noted = noting.noted();
        if let Some(seconds) = noted.ahead_seconds {
            self.ahead_seconds.store(seconds, Ordering::Relaxed);
        }
        noted
    }
}

/// The parameters of a client assertion (RFC 7521, section 4.2).
fn proofs(presentation: &Presentation) -> Vec<(&'static str, String)> {
    match presentation {
        Presentation::Assertion(assertion) => vec![
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()),
            ("client_assertion", assertion.expose().clone()),
        ],
        Presentation::Nothing | Presentation::Secret(_) => Vec::new(),
    }
}

fn granted(answer: Answer) -> Granted {
    Granted {
        access_token: Secret::new(answer.access_token().secret().clone()),
        life: answer.expires_in().unwrap_or_default(),
        refresh_in: answer.extra_fields().refresh_in.map(Duration::from_secs),
        refresh_token: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
    }
}

fn denied(error: RequestTokenError<HttpError, ErrorBody>, noted: Noted) -> Denied {
    match error {
        RequestTokenError::ServerResponse(body) => Denied::Said { body: Box::new(body), noted },
        RequestTokenError::Request(error) => of_request(error, noted),
        // The answer itself is left out: it could hold a token.
        RequestTokenError::Parse(_, mut raw) => {
            raw.zeroize();
            no_oauth(noted)
        }
        RequestTokenError::Other(_) => empty(noted),
    }
}

fn of_request(error: HttpError, noted: Noted) -> Denied {
    match error {
        HttpError::Transport(text) => Denied::Unreachable(text),
        HttpError::TooLong => Denied::Garbage { what: error.to_string(), noted },
    }
}

fn no_oauth(noted: Noted) -> Denied {
    Denied::Garbage { what: "the answer is not what OAuth 2.0 prescribes".to_owned(), noted }
}

fn empty(noted: Noted) -> Denied {
    Denied::Garbage { what: "the answer is empty or not JSON".to_owned(), noted }
}
