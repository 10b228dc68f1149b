//! Microsoft Graph's `sendMail` with a message in MIME (`POST /v1.0/users/{address}/sendMail`, `Content-Type: text/plain`, base64).
//!
//! There is no envelope: who gets the message stands in its To, Cc and Bcc. Graph takes Bcc out of what it delivers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use url::Url;

use crate::auth::Permit;
use crate::base::web;
use crate::base::{Fault, Mailbox, Secret, TenantName, Whose};
use crate::broker::AccessToken;
use crate::upstream::Upstream;

/// The longest message that fits into a request of 4 MB as base64.
pub const LONGEST_MESSAGE_OCTETS: u64 = 3_000_000;

/// The longest answer that is read; they are some hundred octets.
const LONGEST_ANSWER_OCTETS: usize = 64 * 1024;

/// How long Graph may take with one message.
const SEND_TIME: Duration = Duration::from_secs(120);

/// Graph has not taken a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Throttling, overloaded or out of order.
    #[error("Graph cannot take the message now: {status} {said}")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// Code and words.
        said: String,
        /// How long it asks to be left alone.
        wait: Option<Duration>,
    },
    /// It does not let the application or the person send as this mailbox.
    #[error("Graph does not let {mailbox} send: {status} {said}")]
    Denied {
        /// The mailbox.
        mailbox: Mailbox,
        /// The HTTP status.
        status: u16,
        /// Code and words.
        said: String,
    },
    /// The configuration names no address of Graph.
    #[error("the tenant `{tenant}` has no address of Graph: {why}")]
    NoGraph {
        /// The tenant.
        tenant: TenantName,
        /// Why not.
        why: String,
    },
    /// It refuses this message.
    #[error("Graph refused the message: {status} {said}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Code and words.
        said: String,
    },
    /// The token was not accepted.
    #[error("Graph does not accept the token: {said}")]
    TokenRejected {
        /// Code and words.
        said: String,
    },
    /// It was not reached, so that it cannot have the message.
    #[error("Graph cannot be reached: {why}")]
    Unreachable {
        /// Why not.
        why: String,
    },
    /// The connection broke or nothing was heard any more after the message was on its way: Graph may have it.
    #[error("Graph did not say whether it has the message: {why}")]
    Unknown {
        /// What happened.
        why: String,
    },
}

impl Fault for GraphError {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "graph-busy",
            Self::Denied { .. } => "graph-denied",
            Self::NoGraph { .. } => "graph-not-configured",
            Self::Refused { .. } => "graph-refused",
            Self::TokenRejected { .. } => "graph-token-rejected",
            Self::Unreachable { .. } => "graph-unreachable",
            Self::Unknown { .. } => "graph-silent",
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::Busy { .. } | Self::Unreachable { .. } | Self::Unknown { .. } | Self::TokenRejected { .. } => {
                Whose::Nobody
            }
            Self::Denied { .. } | Self::NoGraph { .. } => Whose::Administrator,
            Self::Refused { .. } => Whose::User,
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Denied { mailbox, .. } => Some(format!(
                "Give the application the permission Mail.Send for {mailbox}: in Entra with the administrator's consent, or for some mailboxes \
                 alone by `-GraphByRole` of the script that `postern setup --print-script` writes; or take \"graph\" out of `routes`. `postern \
                 explain graph-denied` has the steps."
            )),
            Self::NoGraph { .. } => {
                Some("Name `graph` under [tenant.endpoints], or take \"graph\" out of `routes`.".to_owned())
            }
            Self::Refused { .. } => Some("See what Graph said, and change the message or its sender.".to_owned()),
            Self::Busy { .. } | Self::Unreachable { .. } | Self::Unknown { .. } | Self::TokenRejected { .. } => None,
        }
    }
}

/// `{"error":{"code","message"}}`
#[derive(Deserialize)]
struct Body {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    code: String,
    #[serde(default)]
    message: String,
}

impl Upstream {
    /// Hands a message in for the mailbox of this permit, with a token for Graph.
    ///
    /// # Errors
    /// [`GraphError`], each variant.
    pub async fn send_mail(&self, permit: &Permit, token: &AccessToken, message: &[u8]) -> Result<(), GraphError> {
        self.post(permit, token, STANDARD.encode(message)).await
    }

    /// Asks for sending what is no message, so that nothing can be sent: whether Graph is there and lets the token in. What it said.
    ///
    /// # Errors
    /// [`GraphError`], each variant but `Refused` for the request's own sake.
    pub async fn knock_at_graph(&self, permit: &Permit, token: &AccessToken) -> Result<String, GraphError> {
        match self.post(permit, token, "!".to_owned()).await {
            Err(GraphError::Refused { status: 400, said }) => Ok(format!("400 {said}")),
            Err(error) => Err(error),
            Ok(()) => Err(GraphError::Unknown { why: "it took a request that has no message".to_owned() }),
        }
    }

    async fn post(&self, permit: &Permit, token: &AccessToken, body: String) -> Result<(), GraphError> {
        let mailbox = permit.mailbox();
        let (http, base) = self.graph(permit.tenant())?;
        let mut url = base;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1.0", "users", mailbox.as_str(), "sendMail"]);
        }
        let bearer = Secret::new(format!("Bearer {}", token.expose().expose()));
        let request = http
            .post(url)
            .timeout(SEND_TIME)
            .header(AUTHORIZATION, bearer.expose())
            .header(CONTENT_TYPE, "text/plain")
            .body(body);
        let sent = request.send().await.map_err(|error| match error.is_connect() || error.is_builder() {
            true => GraphError::Unreachable { why: web::chain(&error) },
            false => GraphError::Unknown { why: web::chain(&error) },
        })?;
        let status = sent.status().as_u16();
        if sent.status().is_success() {
            return Ok(());
        }
        let wait = web::retry_after(sent.headers());
        let said = said(sent).await;
        Err(match status {
            401 => GraphError::TokenRejected { said },
            403 if said.contains("SendAsDenied") => GraphError::Refused { status, said },
            403 | 404 => GraphError::Denied { mailbox: mailbox.clone(), status, said },
            408 | 409 | 423 | 429 => GraphError::Busy { status, said, wait },
            _ if said.split(' ').next() == Some("ErrorQuotaExceeded") => GraphError::Busy { status, said, wait },
            400..=499 => GraphError::Refused { status, said },
            // It broke, or gave up waiting, behind the one that answers: the message may be through. 503 is said before anything is done.
            500 | 502 | 504 => GraphError::Unknown { why: format!("{status} {said}") },
            _ => GraphError::Busy { status, said, wait },
        })
    }

    fn graph(&self, tenant: &TenantName) -> Result<(reqwest::Client, Url), GraphError> {
        let none = |why: String| GraphError::NoGraph { tenant: tenant.clone(), why };
        let endpoints = self.settings.tenants.get(tenant).ok_or_else(|| none("it is not configured".to_owned()))?;
        let url = endpoints.graph.clone().ok_or_else(|| none("`graph` is missing".to_owned()))?;
        if let Some(known) = self.graphs.get(tenant) {
            return Ok((known.clone(), url));
        }
        let client = web::client(&[&url], &endpoints.tls, self.settings.proxy.as_ref()).map_err(none)?;
        self.graphs.insert(tenant.clone(), client.clone());
        Ok((client, url))
    }
}

/// Code and words of a refusal, in one line.
async fn said(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_ANSWER_OCTETS {
            break;
        }
    }
    let text = match serde_json::from_slice::<Body>(&body) {
        Ok(Body { error }) => format!("{} {}", error.code, error.message),
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect::<String>().trim().to_owned()
}
