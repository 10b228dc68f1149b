//! The checked configuration: plain values. `app` turns them into the settings of each stage.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::NaiveDate;
use url::Url;

use crate::base::proxy::{Direct, Proxy};
use crate::base::{Mailbox, Protocol, TenantName};
use crate::config::log::Log;

pub use crate::base::{Family, HostPort};
pub use crate::config::ports::{Listener, TlsMode};

/// Everything the file says, or its defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Store, keys and Postern's own certificates.
    pub data_dir: PathBuf,
    /// What is opened.
    pub listeners: Vec<Listener>,
    /// The certificate for the listeners; `None` where Postern makes its own.
    pub tls: Option<OwnCertificate>,
    /// Further names in the certificate that Postern makes.
    pub tls_names: Vec<String>,
    /// The tenants of Exchange Online, or what stands in for them.
    pub tenants: Vec<Tenant>,
    /// How much is let in.
    pub limits: Limits,
    /// The audit trail.
    pub audit: Audit,
    /// Where the console is, if anywhere.
    pub console: Option<SocketAddr>,
    /// Where figures for Prometheus are given out, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// What `serve` says of itself.
    pub log: Log,
    /// Who gets a mail when an app password ends.
    pub reminders: Reminders,
    /// What becomes of a message.
    pub delivery: Delivery,
    /// Where the master key is.
    pub keys: KeySource,
    /// How Exchange is reached.
    pub upstream: Upstream,
    /// What tells this configuration from others, as it was read. Comments and the order of keys make no difference.
    pub mark: String,
}

impl Config {
    /// Where the console is where nothing else is said.
    pub const DEFAULT_CONSOLE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8587);

    /// Gives it the mark of what it says now. No secret goes into it: a configuration holds only the places of secrets.
    pub(super) fn marked(mut self) -> Self {
        self.mark.clear();
        self.mark = URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{self:?}").as_bytes()));
        self
    }

    /// What holds where there is no file: six listeners and the console on loopback, and no tenant.
    pub fn built_in(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            listeners: Listener::defaults(),
            tls: None,
            tls_names: Vec::new(),
            tenants: Vec::new(),
            limits: Limits::default(),
            audit: Audit::default(),
            console: Some(Self::DEFAULT_CONSOLE),
            metrics: None,
            log: Log::default(),
            reminders: Reminders::default(),
            delivery: Delivery::default(),
            keys: KeySource::DefaultFile,
            upstream: Upstream::default(),
            mark: String::new(),
        }
        .marked()
    }

    /// The tenant of this name.
    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.name.as_str() == name)
    }

    /// The folder of the CA and the certificate that Postern makes.
    pub fn certificate_dir(&self) -> PathBuf {
        self.data_dir.join("certificates")
    }
}

/// A certificate that the administrator brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The chain, the server's certificate first (PEM).
    pub certificate_file: PathBuf,
    /// Its key (PEM).
    pub key_file: PathBuf,
}

/// A tenant of Exchange Online, or what stands in for one.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name here.
    pub name: TenantName,
    /// Where its presets come from.
    pub cloud: Cloud,
    /// The tenant at the token service; `consumers` for personal accounts, `None` for a custom cloud.
    pub tenant_id: Option<String>,
    /// The application's number.
    pub client_id: String,
    /// How tokens are had.
    pub grants: Grants,
    /// How the application proves itself.
    pub credential: Credential,
    /// The last day on which the client secret is good, as told.
    pub client_secret_expires: Option<NaiveDate>,
    /// What else a browser takes along to the sign-in.
    pub authorize_params: Vec<(String, String)>,
    /// What takes its mail by SMTP.
    pub smtp_service: SmtpService,
    /// The ways by which mail goes out, in the order to try.
    pub routes: Vec<Route>,
    /// The folder of sent messages, where it is none of those that are known.
    pub sent_folder: Option<String>,
    /// How much Exchange takes from each of its mailboxes.
    pub mailbox_limits: MailboxLimits,
    /// Where everything is.
    pub endpoints: Endpoints,
}

/// A way by which mail goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// SMTP submission.
    Smtp,
    /// Microsoft Graph's sendMail.
    Graph,
}

/// Which of Microsoft's services takes the mail of a tenant's mailboxes by SMTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpService {
    /// Exchange Online's submission for mailboxes.
    #[default]
    Mailboxes,
    /// High Volume Email: accounts without a mailbox, recipients inside the tenant only, and no copies of what is sent.
    HighVolume,
}

impl SmtpService {
    /// What a mailbox may send unless `[tenant.limits]` says otherwise.
    pub fn limits(self) -> MailboxLimits {
        match self {
            Self::Mailboxes => MailboxLimits::default(),
            // Its point is that there are none for a minute and a day; how many connections it takes is not known.
            Self::HighVolume => {
                MailboxLimits { per_minute: 1_000_000, recipients_per_day: 1_000_000_000, ..MailboxLimits::default() }
            }
        }
    }
}

/// How much Exchange takes from one mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages at once.
    pub at_once: usize,
    /// Messages in any 60 seconds.
    pub per_minute: usize,
    /// Recipients in any 24 hours.
    pub recipients_per_day: u64,
}

impl Default for MailboxLimits {
    /// Those of Exchange Online.
    fn default() -> Self {
        Self { at_once: 3, per_minute: 30, recipients_per_day: 10_000 }
    }
}

/// The clouds of Exchange Online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Worldwide, GCC included.
    Global,
    /// GCC High (United States).
    GccHigh,
    /// Department of Defense (United States).
    Dod,
    /// China, operated by 21Vianet.
    China,
    /// Personal accounts: outlook.com, hotmail.com, live.com.
    Personal,
    /// None of these: every endpoint is in the file.
    Custom,
}

impl Cloud {
    /// All of them, the commonest first.
    pub const ALL: [Cloud; 6] = [Self::Global, Self::GccHigh, Self::Dod, Self::China, Self::Personal, Self::Custom];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::GccHigh => "gcc-high",
            Self::Dod => "dod",
            Self::China => "china",
            Self::Personal => "personal",
            Self::Custom => "custom",
        }
    }
}

/// The grant of each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grants {
    /// For SMTP.
    pub smtp: Grant,
    /// For IMAP.
    pub imap: Grant,
    /// For POP3.
    pub pop3: Grant,
}

impl Grants {
    /// The same one for all.
    pub fn all(grant: Grant) -> Self {
        Self { smtp: grant, imap: grant, pop3: grant }
    }

    /// The one for `protocol`.
    pub fn of(&self, protocol: Protocol) -> Grant {
        match protocol {
            Protocol::Smtp => self.smtp,
            Protocol::Imap => self.imap,
            Protocol::Pop3 => self.pop3,
        }
    }

    /// Whether any protocol needs a person to sign in.
    pub fn any_delegated(&self) -> bool {
        Protocol::ALL.into_iter().any(|protocol| self.of(protocol).is_delegated())
    }
}

/// How an access token is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The application for itself (RFC 6749, section 4.4).
    ClientCredentials,
    /// A person signs in with a browser (RFC 6749, section 4.1, with RFC 7636).
    AuthorizationCode,
    /// A person signs in on another device (RFC 8628).
    DeviceCode,
}

impl Grant {
    /// All of them.
    pub const ALL: [Grant; 3] = [Self::ClientCredentials, Self::AuthorizationCode, Self::DeviceCode];

    /// Whether a person signs in.
    pub fn is_delegated(self) -> bool {
        !matches!(self, Self::ClientCredentials)
    }

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
            Self::DeviceCode => "device_code",
        }
    }
}

/// How the application proves itself to the token service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// With a client secret.
    Secret(SecretPlace),
    /// With a certificate.
    Certificate {
        /// The certificate, in PEM or PKCS#12.
        certificate: PathBuf,
        /// Its key, where it is not in the same file.
        key: Option<SecretPlace>,
        /// What opens the key or the PKCS#12 file.
        passphrase: Option<SecretPlace>,
    },
    /// With a token that another issuer made for this machine.
    FederatedToken(SecretPlace),
    /// A public client has none.
    None,
}

/// Where a secret is. Whoever uses it reads it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// It is this systemd credential.
    Credential(String),
}

/// Where a tenant's services are.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The token endpoint.
    pub token_url: Url,
    /// Where a browser is sent to sign in; a custom cloud may have none.
    pub authorize_url: Option<Url>,
    /// Where a device code is asked for; a custom cloud may have none.
    pub device_url: Option<Url>,
    /// IMAP, implicit TLS; `None` only where no listener speaks IMAP.
    pub imap: Option<HostPort>,
    /// POP3, implicit TLS; `None` only where no listener speaks POP3.
    pub pop3: Option<HostPort>,
    /// SMTP; `None` only where no listener speaks SMTP.
    pub smtp: Option<HostPort>,
    /// How SMTP is encrypted.
    pub smtp_tls: SmtpTls,
    /// Microsoft Graph, or what stands in for it.
    pub graph: Option<Url>,
    /// Extra trust anchors for these hosts (PEM).
    pub ca_file: Option<PathBuf>,
    /// What tokens are asked for.
    pub scopes: Scopes,
}

impl Endpoints {
    /// The host for `protocol`.
    pub fn host(&self, protocol: Protocol) -> Option<&HostPort> {
        match protocol {
            Protocol::Smtp => self.smtp.as_ref(),
            Protocol::Imap => self.imap.as_ref(),
            Protocol::Pop3 => self.pop3.as_ref(),
        }
    }
}

/// How the way to an SMTP server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// After STARTTLS, which must be offered.
    Starttls,
    /// From the first byte.
    Implicit,
}

/// The scopes that a token is asked for, separated by spaces as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    /// For SMTP.
    pub smtp: String,
    /// For IMAP.
    pub imap: String,
    /// For POP3.
    pub pop3: String,
    /// For Graph.
    pub graph: Option<String>,
}

impl Scopes {
    /// The one for `protocol`.
    pub fn of(&self, protocol: Protocol) -> &str {
        match protocol {
            Protocol::Smtp => &self.smtp,
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
        }
    }
}

/// Who gets a mail when an app password of a mailbox ends soon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reminders {
    /// The mailbox itself.
    #[default]
    Mailbox,
    /// This address.
    To(Mailbox),
    /// Nobody; the log and the audit trail have it all the same.
    Nobody,
}

/// The audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// How long it reaches back.
    pub keep: Duration,
}

impl Default for Audit {
    fn default() -> Self {
        Self { keep: Duration::from_secs(400 * 24 * 3600) }
    }
}

/// How much is let in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address that have not logged in yet.
    pub per_address_before_login: usize,
    /// The time a connection has until it must have logged in.
    pub login: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 20_000, per_address_before_login: 100, login: Duration::from_secs(60) }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// For app passwords that do not say.
    pub default: DeliveryMode,
    /// How old a message may become in the queue, the time aside that it is held.
    pub max_age: Duration,
    /// How long a mail program waits for Exchange before its message is kept instead.
    pub patience: Duration,
    /// How many octets may lie in the spool.
    pub spool_octets: u64,
    /// How long the journal reaches back.
    pub keep_journal: Duration,
    /// What becomes of a message that may have arrived and cannot be found.
    pub unknown_outcome: UnknownOutcome,
}

/// What becomes of a message that may have arrived and cannot be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownOutcome {
    /// It is sent again.
    #[default]
    Resend,
    /// It is held for the administrator.
    Hold,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            default: DeliveryMode::default(),
            max_age: Duration::from_secs(4 * 24 * 3600),
            patience: Duration::from_secs(20),
            spool_octets: 10 * 1024 * 1024 * 1024,
            keep_journal: Duration::from_secs(30 * 24 * 3600),
            unknown_outcome: UnknownOutcome::default(),
        }
    }
}

/// How a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// While the client waits; what Exchange cannot take now is kept, and delivered later.
    #[default]
    Assured,
    /// While the client waits: it hears what Exchange says.
    Direct,
}

impl DeliveryMode {
    /// The name in the configuration and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Assured => "assured",
            Self::Direct => "direct",
        }
    }
}

/// Where the master key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file in the data directory, which Postern makes.
    DefaultFile,
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// It is this systemd credential.
    Credential(String),
    /// This program prints it: its name or path, then its arguments.
    Command(Vec<String>),
}

/// Where the address of the proxy is.
#[derive(Clone, Debug, Default)]
pub enum ProxySource {
    /// Nowhere: there is no proxy.
    #[default]
    None,
    /// In the configuration.
    Address(Proxy),
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// It is this systemd credential.
    Credential(String),
}

/// How Exchange is reached.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// Which addresses are tried.
    pub family: Family,
    /// The proxy that leads there.
    pub proxy: ProxySource,
    /// What is reached without it.
    pub no_proxy: Vec<Direct>,
    /// Our name in EHLO; `None` takes this machine's.
    pub hostname: Option<String>,
}
