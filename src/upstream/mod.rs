//! 5. Sockets out: a connection to Exchange for one mailbox, inside verified TLS, authenticated with its token, and proven.

mod conversation;
pub mod dial;
pub mod graph;
mod imap;
pub mod look;
mod pop3;
pub mod proxy;
pub mod reader;
mod refusal;
pub mod smtp;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::{DashMap, DashSet};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tracing::info;
use url::Url;

use crate::auth::Permit;
use crate::base::{Answer, Family, Fault, HostPort, Mailbox, Protocol, Proxy, Reference, TenantName, Whose};
use crate::broker::AccessToken;
use crate::upstream::proxy::ProxyTrouble;
use crate::wire::smtp::Reply;

/// The stream to the far side. Boxed: it is over a kilobyte, and every future that it passes through would hold room for it.
pub type ServerStream = Box<TlsStream<TcpStream>>;

/// How the far sides are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hosts of each tenant.
    pub tenants: HashMap<TenantName, Endpoints>,
    /// Which addresses may be connected to: the hosts', or the proxy's own where there is one.
    pub family: Family,
    /// The proxy that leads to the hosts.
    pub proxy: Option<Proxy>,
    /// Our name in EHLO.
    pub hostname: String,
    /// How long to find a host, connect and do the handshake.
    pub connect_time: Duration,
    /// How long one answer may take. Exchange looks for the mailbox server first, which costs it several seconds.
    pub answer_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tenants: HashMap::new(),
            family: Family::Auto,
            proxy: None,
            hostname: "localhost".to_owned(),
            connect_time: Duration::from_secs(15),
            answer_time: Duration::from_secs(30),
        }
    }
}

/// The hosts of a tenant.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// IMAP, implicit TLS.
    pub imap: Option<HostPort>,
    /// POP3, implicit TLS.
    pub pop3: Option<HostPort>,
    /// Submission.
    pub smtp: Option<HostPort>,
    /// Submission with implicit TLS instead of STARTTLS.
    pub smtp_implicit_tls: bool,
    /// Microsoft Graph.
    pub graph: Option<Url>,
    /// The trust anchors for these hosts, and their session tickets.
    pub tls: Arc<rustls::ClientConfig>,
}

/// An authenticated connection that has been proven to serve the mailbox.
#[derive(Debug)]
pub struct Opened {
    /// The stream; nothing of it is buffered elsewhere but `left_over`.
    pub stream: ServerStream,
    /// What the server sent behind its last answer to us; it belongs to the client.
    pub left_over: Vec<u8>,
    /// IMAP: the capabilities after login, as the server says them.
    pub capabilities: Vec<String>,
}

/// No usable connection to the far side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// SMTP: the far side refused a message before it was complete.
    #[error("{host} broke the message off: {code}", code = reply.code)]
    BrokeOff {
        /// The host.
        host: HostPort,
        /// What it said.
        reply: Reply,
    },
    /// The far side is overloaded, draining or out of order.
    #[error("{host} cannot serve now: {said}")]
    Busy {
        /// The host.
        host: HostPort,
        /// What it said.
        said: String,
    },
    /// The far side closed the connection.
    #[error("{host} closed the connection while {doing}")]
    Closed {
        /// The host.
        host: HostPort,
        /// What was going on.
        doing: &'static str,
    },
    /// The far side refuses this for good: a switch of the tenant, a policy, a missing right.
    #[error("{host} refused the login of {mailbox}: {said}")]
    Denied {
        /// The host.
        host: HostPort,
        /// The mailbox.
        mailbox: Mailbox,
        /// What it said.
        said: String,
        /// What to do.
        remedy: String,
    },
    /// The configuration names no host for this.
    #[error("the tenant `{tenant}` has no host for {protocol}")]
    NoHost {
        /// The tenant.
        tenant: TenantName,
        /// The protocol.
        protocol: Protocol,
    },
    /// IMAP: the login succeeded, but the mailbox is not there behind it.
    #[error("{host} let {mailbox} in but did not connect it to its mailbox: {said}")]
    NotConnected {
        /// The host.
        host: HostPort,
        /// The mailbox.
        mailbox: Mailbox,
        /// What it said.
        said: String,
    },
    /// The far side says what its protocol does not allow.
    #[error("{host} does not keep to the protocol: {what}")]
    Protocol {
        /// The host.
        host: HostPort,
        /// What was wrong.
        what: String,
    },
    /// The proxy on the way does not lead to the host.
    #[error("the proxy {proxy} does not lead to {host}: {why}")]
    Proxy {
        /// The proxy.
        proxy: HostPort,
        /// The host.
        host: HostPort,
        /// Why not.
        why: ProxyTrouble,
    },
    /// The far side did not answer in time.
    #[error("{host} did not answer within {seconds} s while {doing}")]
    Silent {
        /// The host.
        host: HostPort,
        /// What was going on.
        doing: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// TLS failed: a certificate that does not hold, or no common version.
    #[error("no safe connection to {host}: {reason}")]
    Tls {
        /// The host.
        host: HostPort,
        /// What was wrong, in words.
        reason: String,
    },
    /// The token was not accepted. Exchange says the same for a bad token, a missing right, and an outage.
    #[error("{host} did not accept the token for {mailbox}: {said}")]
    TokenRejected {
        /// The host.
        host: HostPort,
        /// The mailbox.
        mailbox: Mailbox,
        /// What it said.
        said: String,
    },
    /// The host was not found or did not take the connection.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// The host.
        host: HostPort,
        /// What the network said.
        reason: String,
    },
}

impl UpstreamError {
    /// Whether a new token is worth a second attempt.
    pub fn wants_new_token(&self) -> bool {
        matches!(self, Self::TokenRejected { .. } | Self::NotConnected { .. })
    }
}

impl Fault for UpstreamError {
    fn code(&self) -> &'static str {
        match self {
            Self::BrokeOff { .. } => "exchange-broke-off",
            Self::Busy { .. } => "exchange-busy",
            Self::Closed { .. } => "exchange-closed",
            Self::Denied { .. } => "exchange-denied",
            Self::NoHost { .. } => "no-host",
            Self::NotConnected { .. } => "authenticated-but-not-connected",
            Self::Protocol { .. } => "exchange-protocol",
            Self::Proxy { why, .. } => why.code(),
            Self::Silent { .. } => "exchange-silent",
            Self::Tls { .. } => "exchange-tls",
            Self::TokenRejected { .. } => "token-rejected",
            Self::Unreachable { .. } => "exchange-unreachable",
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::Proxy { why, .. } => why.whose(),
            Self::Denied { .. } | Self::NoHost { .. } | Self::TokenRejected { .. } => Whose::Administrator,
            Self::BrokeOff { .. }
            | Self::Busy { .. }
            | Self::Closed { .. }
            | Self::NotConnected { .. }
            | Self::Protocol { .. }
            | Self::Silent { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. } => Whose::Nobody,
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Denied { remedy, .. } => Some(remedy.clone()),
            Self::NoHost { protocol, .. } => Some(format!("Name the host as `{protocol}` under [tenant.endpoints].")),
            Self::NotConnected { mailbox, .. } => Some(format!(
                "If it lasts: give the application (or the account that signs in) Full Access to {mailbox} \
                 (`Add-MailboxPermission`), and check that IMAP is enabled for it (`Get-CASMailbox`); \
                 `postern explain authenticated-but-not-connected` shows each step."
            )),
            Self::Proxy { host, why, .. } => Some(why.remedy(host)),
            Self::Tls { .. } => Some(
                "If the network or a proxy inspects TLS, put its CA into `ca_file` under [tenant.endpoints]; check this machine's clock."
                    .to_owned(),
            ),
            Self::TokenRejected { mailbox, .. } => Some(format!(
                "Check in this order: the application's permissions for this protocol and the consent to them; \
                 `New-ServicePrincipal` was run with the object ID of the enterprise application; the application has Full Access to \
                 {mailbox} (`Add-MailboxPermission`), and Send As for sending; the protocol is enabled for the mailbox \
                 (`Get-CASMailbox`). Exchange says the same during an outage. `postern explain token-rejected` shows each step."
            )),
            Self::Unreachable { .. } | Self::Silent { .. } => {
                Some(
                    "Check this machine's way to the internet: name resolution, firewall, and `family` under [upstream]; if only a \
                     proxy leads out, name it there as `proxy`."
                        .to_owned(),
                )
            }
            Self::BrokeOff { .. } | Self::Busy { .. } | Self::Closed { .. } | Self::Protocol { .. } => None,
        }
    }

    fn answer(&self, reference: Reference) -> Answer {
        match self.whose() {
            Whose::Nobody => Answer::TryLater(reference),
            Whose::Administrator | Whose::User => Answer::MustAct(reference),
        }
    }
}

/// Opens connections to the far sides.
#[derive(Debug)]
pub struct Upstream {
    settings: Settings,
    /// The mailboxes whose submissions are let in under the name of the account that signs in for them.
    by_account: DashSet<Mailbox>,
    /// The clients for Graph that were made so far.
    graphs: DashMap<TenantName, reqwest::Client>,
}

impl Upstream {
    /// Takes the settings; nothing is connected yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, by_account: DashSet::new(), graphs: DashMap::new() }
    }

    /// Opens an IMAP or POP3 connection for the mailbox of this permit and logs in with its token. IMAP is probed, since Exchange
    /// says OK to logins that it then does not serve.
    ///
    /// # Errors
    /// [`UpstreamError`], each variant; [`wants_new_token`](UpstreamError::wants_new_token) says when to try once more.
    pub async fn open(&self, permit: &Permit, token: &AccessToken) -> Result<Opened, UpstreamError> {
        let (endpoints, host) = self.host(permit)?;
        let stream = dial::tls(host, endpoints, &self.settings).await?;
        let conversation = conversation::Conversation::new(stream, host.clone(), self.settings.answer_time);
        match permit.protocol() {
            Protocol::Imap => imap::log_in(conversation, permit.mailbox(), token).await,
            Protocol::Pop3 => pop3::log_in(conversation, permit.mailbox(), token).await,
            Protocol::Smtp => {
                Err(UpstreamError::NoHost { tenant: permit.tenant().clone(), protocol: permit.protocol() })
            }
        }
    }

    /// Opens an SMTP connection for the mailbox of this permit and logs in with its token.
    ///
    /// A mailbox that another account signs in for is named in the login, as Microsoft says. Some tenants refuse that with 535 5.7.3 and
    /// take the account itself, with the mailbox as the sender only. So where it is refused the account is tried once, and what works is
    /// tried first from then on. With `again`, which is a second attempt with a new token, nothing else than that is tried.
    ///
    /// # Errors
    /// As [`open`](Upstream::open).
    pub async fn submission(
        &self,
        permit: &Permit,
        token: &AccessToken,
        again: bool,
    ) -> Result<smtp::Submission, UpstreamError> {
        let (endpoints, host) = self.host(permit)?;
        let mailbox = permit.mailbox();
        let log_in = async |user: &Mailbox| smtp::open(host, endpoints, &self.settings, user, token).await;
        let Some(account) = token.account().filter(|account| *account != mailbox) else {
            return log_in(mailbox).await;
        };
        let by_account = self.by_account.contains(mailbox);
        let (first, second) = if by_account { (account, mailbox) } else { (mailbox, account) };
        match log_in(first).await {
            Err(refused @ UpstreamError::TokenRejected { .. }) if !again => match log_in(second).await {
                Ok(submission) => {
                    info!(mailbox.id = %mailbox, "{host} lets {second} in and not {first}: that is tried first from now on");
                    if by_account {
                        self.by_account.remove(mailbox);
                    } else {
                        self.by_account.insert(mailbox.clone());
                    }
                    Ok(submission)
                }
                // Both are refused, so it is not the name; the first answer is the one to show.
                Err(UpstreamError::TokenRejected { .. }) => Err(refused),
                Err(error) => Err(error),
            },
            opened => opened,
        }
    }

    /// The name that a submission for this permit is tried with first.
    pub fn submission_name<'a>(&self, permit: &'a Permit, token: &'a AccessToken) -> &'a Mailbox {
        match token.account() {
            Some(account) if self.by_account.contains(permit.mailbox()) => account,
            _ => permit.mailbox(),
        }
    }

    /// Connects and secures, for a client of somebody else's making: the login is its own affair. By SMTP with STARTTLS the greeting
    /// has been heard then, and EHLO comes next.
    ///
    /// # Errors
    /// When there is no host, or it cannot be reached safely.
    pub async fn connect(&self, permit: &Permit) -> Result<ServerStream, UpstreamError> {
        let (endpoints, host) = self.host(permit)?;
        if permit.protocol() == Protocol::Smtp && !endpoints.smtp_implicit_tls {
            return smtp::start_tls(host, endpoints, &self.settings).await;
        }
        dial::tls(host, endpoints, &self.settings).await
    }

    fn host(&self, permit: &Permit) -> Result<(&Endpoints, &HostPort), UpstreamError> {
        let none = || UpstreamError::NoHost { tenant: permit.tenant().clone(), protocol: permit.protocol() };
        let endpoints = self.settings.tenants.get(permit.tenant()).ok_or_else(none)?;
        let host = match permit.protocol() {
            Protocol::Imap => &endpoints.imap,
            Protocol::Pop3 => &endpoints.pop3,
            Protocol::Smtp => &endpoints.smtp,
        };
        Ok((endpoints, host.as_ref().ok_or_else(none)?))
    }
}
