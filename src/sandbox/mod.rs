//! A pretend Microsoft 365 tenant on loopback: Entra ID, IMAP, SMTP and POP3, with faults on demand.
//!
//! It behaves as Exchange Online and Entra ID have been seen to behave, with their words, and shares no code with the road
//! that it tests. What it serves is for tests, the demonstration and trying things out: it listens on loopback only, its
//! certificates and secrets are made at start, and nothing outlives it.

mod configuration;
mod connection;
mod entra;
mod faults;
mod frontend;
mod graph;
mod http;
mod imap;
mod limits;
mod mailbox;
mod pop3;
mod refusal;
mod server;
mod smtp;
mod tenant;
mod tls;
mod tokens;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::Clock;
use crate::sandbox::tenant::Tenant;

pub use crate::sandbox::configuration::{Written, WrittenGrant};
pub use crate::sandbox::entra::{ClientAuthentication, TokenRequest, is_redirect_uri};
pub use crate::sandbox::faults::{FaultError, FaultName, Faults, read_fault};
pub use crate::sandbox::tenant::{Submission, Tally};

/// How the tenant is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port of the token service; 0 is a free one.
    pub token_port: u16,
    /// The port of IMAP (implicit TLS); 0 is a free one.
    pub imap_port: u16,
    /// The port of SMTP (STARTTLS); 0 is a free one.
    pub smtp_port: u16,
    /// The port of POP3 (implicit TLS); 0 is a free one.
    pub pop3_port: u16,
    /// The port of Graph; 0 is a free one.
    pub graph_port: u16,
    /// The faults that it has from the start.
    pub faults: Vec<(FaultName, Option<String>)>,
    /// The addresses of its mailboxes.
    pub mailboxes: Vec<String>,
    /// How late a failed login and an unknown command are answered. The real one takes 5 seconds.
    pub tarpit: Duration,
    /// The clock of the limits of a minute and a day.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let mailboxes = ["alice@contoso.test", "bob@contoso.test", "shared@contoso.test", "scanner@contoso.test"];
        Self {
            token_port: 0,
            imap_port: 0,
            smtp_port: 0,
            pop3_port: 0,
            graph_port: 0,
            faults: Vec::new(),
            mailboxes: mailboxes.map(str::to_owned).to_vec(),
            tarpit: Duration::from_millis(50),
            clock: Clock::system(),
        }
    }
}

/// The simulated tenant could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A port could not be opened.
    #[error("the simulated tenant cannot listen on 127.0.0.1:{port}")]
    Bind {
        /// The port asked for; 0 is any.
        port: u16,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("no certificate could be made for the simulated tenant")]
    Certificate(#[from] rcgen::Error),
    /// A text is not the certificate of an RSA key.
    #[error("this is not a certificate (PEM) with an RSA key")]
    NoClientCertificate,
    /// A fault cannot have the value given.
    #[error("a fault of the simulated tenant is not set right")]
    Fault(#[from] FaultError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// TLS could not be set up.
    #[error("TLS cannot be set up for the simulated tenant")]
    Tls(#[from] rustls::Error),
    /// A file could not be written.
    #[error("`{path}` cannot be written")]
    Write {
        /// The file or folder.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// The simulated tenant. It stops when it is dropped; [`stop`](Sandbox::stop) also waits until it has.
pub struct Sandbox {
    tenant: Arc<Tenant>,
    imap_address: SocketAddr,
    smtp_address: SocketAddr,
    pop3_address: SocketAddr,
    graph_address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sandbox {
    /// Starts the tenant on loopback.
    ///
    /// # Errors
    ///
    /// When a port is taken, a fault is not set right, or no certificate can be made.
    pub async fn start(options: Options) -> Result<Sandbox, SandboxError> {
        let faults = Faults::default();
        for (name, value) in &options.faults {
            faults.set(*name, value.as_deref())?;
        }
        // All ports are opened before anything runs, so that a bad one fails here.
        let token = server::bind(options.token_port)?;
        let imap = server::bind(options.imap_port)?;
        let smtp = server::bind(options.smtp_port)?;
        let pop3 = server::bind(options.pop3_port)?;
        let graph = server::bind(options.graph_port)?;
        let origin = format!("http://{}", token.address);
        let tenant = Arc::new(Tenant::make(&options, faults, origin)?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let sandbox = Sandbox {
            imap_address: imap.address,
            smtp_address: smtp.address,
            pop3_address: pop3.address,
            graph_address: graph.address,
            tenant: Arc::clone(&tenant),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(http::serve(token.listener, entra::Service { tenant: Arc::clone(&tenant), stop: stop.clone() }));
        tasks.spawn(graph::serve(graph.listener, Arc::clone(&tenant), stop.clone()));
        let running = server::Running { tenant, stop, tasks };
        running.spawn(imap.listener, imap::serve);
        running.spawn(smtp.listener, smtp::serve);
        running.spawn(pop3.listener, pop3::serve);
        Ok(sandbox)
    }

    /// Where Graph is.
    pub fn graph_url(&self) -> String {
        format!("http://{}", self.graph_address)
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        self.tenant.token_url()
    }

    /// The authorization endpoint, where users sign in with a browser.
    pub fn authorize_url(&self) -> String {
        self.endpoint("authorize")
    }

    /// The device authorization endpoint (RFC 8628).
    pub fn device_url(&self) -> String {
        self.endpoint("devicecode")
    }

    /// The page on which an administrator consents for everyone.
    pub fn admin_consent_url(&self) -> String {
        format!("{}/{}/v2.0/adminconsent", self.tenant.origin, self.tenant.tenant_id)
    }

    /// The page on which the code of a device is entered.
    pub fn device_login_url(&self) -> String {
        format!("{}{}", self.tenant.origin, entra::DEVICE_PAGE)
    }

    fn endpoint(&self, name: &str) -> String {
        format!("{}/{}/oauth2/v2.0/{name}", self.tenant.origin, self.tenant.tenant_id)
    }

    /// The introspection endpoint (RFC 7662), for other servers that check these tokens.
    pub fn introspection_url(&self) -> String {
        format!("{}/introspect", self.tenant.origin)
    }

    /// Where IMAP is (implicit TLS).
    pub fn imap_address(&self) -> SocketAddr {
        self.imap_address
    }

    /// Where SMTP is (STARTTLS).
    pub fn smtp_address(&self) -> SocketAddr {
        self.smtp_address
    }

    /// Where POP3 is (implicit TLS).
    pub fn pop3_address(&self) -> SocketAddr {
        self.pop3_address
    }

    /// The authority that the mail servers' certificate is from, in PEM. It is good for `localhost`, 127.0.0.1 and ::1.
    pub fn ca_pem(&self) -> &str {
        &self.tenant.certificates.ca_pem
    }

    /// The id of the tenant.
    pub fn tenant_id(&self) -> &str {
        &self.tenant.tenant_id
    }

    /// The application that has a secret, all application permissions, and consent for all delegated ones.
    pub fn client_id(&self) -> &str {
        &self.tenant.client_id
    }

    /// The object ID of its enterprise application, which its tokens carry.
    pub fn principal_id(&self) -> &str {
        self.tenant.tokens.principal_id()
    }

    /// Its secret.
    pub fn client_secret(&self) -> &str {
        &self.tenant.client_secret
    }

    /// The certificate that it can sign client assertions with in place of the secret (PEM).
    pub fn client_certificate_pem(&self) -> &str {
        &self.tenant.credentials.certificate_pem
    }

    /// The private key of that certificate (PKCS #8, PEM).
    pub fn client_key_pem(&self) -> &str {
        &self.tenant.credentials.key_pem
    }

    /// Registers a further certificate for it (PEM, with an RSA key).
    ///
    /// # Errors
    ///
    /// When it is not one.
    pub fn register_certificate(&self, pem: &str) -> Result<(), SandboxError> {
        self.tenant.credentials.register(pem)
    }

    /// The subject whose tokens of the external issuer it trusts in place of the secret.
    pub fn federated_subject(&self) -> &'static str {
        entra::FEDERATED_SUBJECT
    }

    /// A token of the external issuer for a subject, as a cluster would put it into a file.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub fn federated_token(&self, subject: &str) -> Result<String, SandboxError> {
        let lifetime_secs = self.tenant.faults.number(FaultName::FederatedLifetime).unwrap_or(24 * 3600);
        self.tenant.credentials.federated_token(subject, lifetime_secs)
    }

    /// An application registered as a public client: it has no secret and may not send one.
    pub fn public_client_id(&self) -> &str {
        &self.tenant.public_client_id
    }

    /// Writes `ca.pem`, `client-secret`, `client-certificate.pem` and `.key`, `federated-token`, `refresh-token-ADDRESS` for
    /// every mailbox and `postern.toml` into `dir`, which is made if it is missing, and returns the configuration. The application signs
    /// in by itself (`client_credentials`).
    ///
    /// # Errors
    ///
    /// When one of them cannot be written, or the system gives no random numbers.
    pub fn write_configuration(&self, dir: &Path) -> Result<String, SandboxError> {
        self.write_configuration_for(dir, WrittenGrant::ClientCredentials).map(|written| written.text)
    }

    /// The same with the grant that is named, and without losing what somebody has changed in an earlier `postern.toml`.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::write_configuration`].
    pub fn write_configuration_for(&self, dir: &Path, grant: WrittenGrant) -> Result<Written, SandboxError> {
        configuration::write(self, dir, grant)
    }

    /// The faults, to be switched while it runs.
    pub fn faults(&self) -> &Faults {
        &self.tenant.faults
    }

    /// Registers a redirect URI for the applications, beside `http://localhost` and `http://127.0.0.1` (both without a path, with
    /// any port); false if it is no absolute address, or has a fragment.
    pub fn register_redirect_uri(&self, uri: &str) -> bool {
        self.tenant.redirect_uris.register(uri)
    }

    /// Approves the device code that waits for this user code, as that user; false if none does, or there is no such user.
    pub fn approve_device(&self, user_code: &str, address: &str) -> bool {
        self.tenant.mailboxes.has(address) && self.tenant.devices.settle(user_code, Some(address))
    }

    /// Declines the device code that waits for this user code; false if none does.
    pub fn decline_device(&self, user_code: &str) -> bool {
        self.tenant.devices.settle(user_code, None)
    }

    /// Signs a user in and returns the refresh token. It belongs to the application that first presents it.
    pub fn refresh_token_for(&self, address: &str) -> String {
        self.tenant.tokens.sign_in(address, None)
    }

    /// Revokes all sign-ins of a user, as an administrator would.
    pub fn revoke_sign_ins(&self, address: &str) {
        self.tenant.tokens.revoke_sign_ins(address);
    }

    /// The messages in a folder, in order of arrival; none if there is no such folder.
    pub fn messages(&self, address: &str, folder: &str) -> Vec<Vec<u8>> {
        let messages = self.tenant.mailboxes.with_folder(address, folder, |folder| {
            folder.messages.iter().map(|message| message.octets.to_vec()).collect()
        });
        messages.unwrap_or_default()
    }

    /// The messages that SMTP has accepted, in order.
    pub fn submissions(&self) -> Vec<Submission> {
        self.tenant.submissions()
    }

    /// Puts a message into a folder, as if it had just arrived. The folder is made if it is missing; without such a mailbox
    /// nothing happens.
    pub fn deliver(&self, address: &str, folder: &str, message: &[u8]) {
        self.tenant.mailboxes.with(address, |account| {
            account.create(folder);
            account.add(folder, message.into(), std::collections::BTreeSet::new(), Utc::now());
        });
    }

    /// What it has seen so far.
    pub fn tally(&self) -> Tally {
        self.tenant.tally()
    }

    /// Ends every IMAP session as if its token had just expired.
    pub fn expire_sessions(&self) {
        self.tenant.expiry.send_modify(|count| *count += 1);
    }

    /// Ends SMTP sessions that wait between two messages, or once they do, as Exchange does with those that wait for long.
    pub fn end_idle_submissions(&self) {
        self.tenant.idle_ends.send_modify(|count| *count += 1);
    }

    /// Stops it and waits until every connection is closed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
