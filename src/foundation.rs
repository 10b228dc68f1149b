//! What both the running proxy and the administrator's commands stand on: the store and the keys of a data folder, and the settings
//! that `broker` and `upstream` take from the configuration. Those two know nothing of the file's format.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::client::danger::ServerCertVerifier;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::auth::app_password::{self, Pepper};
use crate::base::files::write_private;
use crate::base::{Clock, Fault, Protocol, Proxy, TenantName, Whose};
use crate::broker::vault::{Change, KeySource, Settled, Vault, VaultError};
use crate::broker::{Access, Credential, SecretSource, TenantSettings};
use crate::config::{self, Config, Route, SmtpTls};
use crate::store::{SqliteStore, Store, StoreError};
use crate::telemetry::audit::{Audit, is_name};
use crate::upstream;

/// The store and the keys of a data folder. A clone is another hold on the same ones.
#[derive(Clone)]
pub struct Foundation {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What seals and unseals.
    pub vault: Arc<Vault>,
    /// The key of the app passwords' verifiers.
    pub pepper: Arc<Pepper>,
    /// The audit trail of this data folder.
    pub audit: Arc<Audit>,
}

/// The data folder or what the configuration points to cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FoundationError {
    /// The proxy that `[upstream]` names.
    #[error(transparent)]
    Proxy(#[from] config::NoProxyAddress),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name of this data folder in the audit trail.
    #[error("the file `{path}` cannot be used: {source}", path = path.display())]
    Instance {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The trust anchors of a tenant.
    #[error("the trust anchors for the tenant `{tenant}` cannot be used{of_file}: {reason}", of_file = file.as_ref().map(|file| format!(" (`{}`)", file.display())).unwrap_or_default())]
    Trust {
        /// The tenant.
        tenant: TenantName,
        /// The `ca_file`.
        file: Option<PathBuf>,
        /// What is wrong.
        reason: String,
    },
    /// The keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Fault for FoundationError {
    fn code(&self) -> &'static str {
        match self {
            Self::Proxy(_) => "proxy-unusable",
            Self::Store(error) => error.code(),
            Self::Instance { .. } => "instance-unusable",
            Self::Trust { .. } => "trust-anchors-unusable",
            Self::Vault(error) => error.code(),
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Proxy(_) => Some(
                "Put the proxy's address there, such as http://USER:PASSWORD@HOST:PORT, where this process can read it; `postern check` \
                 looks at it. Without the proxy nothing is connected to."
                    .to_owned(),
            ),
            Self::Store(error) => error.remedy(),
            Self::Instance { .. } => Some(
                "Look at the owner and mode of the data folder and of that file. Where its content is lost, remove it: another name is made, and \
                 with it a new chain of the audit trail begins."
                    .to_owned(),
            ),
            Self::Trust { .. } => Some(
                "`ca_file` is a PEM file of certificates that the account running Postern can read. A system without trust \
                 anchors of its own needs its package of CA certificates."
                    .to_owned(),
            ),
            Self::Vault(error) => error.remedy(),
        }
    }
}

impl Foundation {
    /// Opens the store and the keys, making both on first run.
    ///
    /// # Errors
    /// [`FoundationError::Store`], [`FoundationError::Vault`].
    pub async fn open(config: &Config) -> Result<Self, FoundationError> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.data_dir).await?);
        // Only where nothing depends on keys yet may keys be made.
        let fresh = store.app_passwords().await?.is_empty() && store.sealed_records().await?.is_empty();
        let (data_dir, source) = (config.data_dir.clone(), key_source(config));
        // A command that gives the master key may take its time.
        let (vault, pepper) = tokio::task::spawn_blocking(move || Vault::open(&data_dir, &source, fresh))
            .await
            .unwrap_or_else(|error| {
                Err(VaultError::Unreadable { place: "the `keys` folder".to_owned(), reason: error.to_string() })
            })?;
        let pepper = Arc::new(Pepper::new(&pepper));
        let instance = instance(&config.data_dir)?;
        let audit = trail(config, Arc::clone(&store), instance, &pepper);
        Ok(Self { store, vault: Arc::new(vault), pepper, audit: Arc::new(audit) })
    }

    /// Whether another process has begun another chain of the audit trail since this was opened (`audit settle`).
    ///
    /// # Errors
    /// [`FoundationError::Instance`].
    pub fn is_superseded(&self, config: &Config) -> Result<bool, FoundationError> {
        Ok(instance(&config.data_dir)? != self.audit.instance())
    }

    /// Another chain of the audit trail, under a name that nobody has yet.
    ///
    /// # Errors
    /// [`FoundationError::Instance`] where the system gives no random numbers.
    pub fn new_chain(&self) -> Result<Audit, FoundationError> {
        let name = app_password::generate_id().map_err(|_| FoundationError::Instance {
            path: PathBuf::from("instance"),
            source: std::io::Error::other("the system gives no random numbers"),
        })?;
        Ok(Audit::new(Arc::clone(&self.store), name, &self.pepper.audit_key(), Clock::system(), None))
    }

    /// Goes on with this chain from now on. Nobody may be writing to the one before.
    ///
    /// # Errors
    /// [`FoundationError::Instance`].
    pub fn go_on_with(&mut self, config: &Config, chain: &Audit) -> Result<(), FoundationError> {
        let (path, mark) = (config.data_dir.join("instance"), mark_file(&config.data_dir));
        let failed = |path: &Path, source| FoundationError::Instance { path: path.to_owned(), source };
        write_private(&path, chain.instance().as_bytes()).map_err(|source| failed(&path, source))?;
        match std::fs::remove_file(&mark) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(failed(&mark, source)),
            _ => {}
        }
        self.audit = Arc::new(trail(config, Arc::clone(&self.store), chain.instance().to_owned(), &self.pepper));
        Ok(())
    }
}

fn trail(config: &Config, store: Arc<dyn Store>, instance: String, pepper: &Pepper) -> Audit {
    Audit::new(store, instance, &pepper.audit_key(), Clock::system(), Some(mark_file(&config.data_dir)))
}

/// Where the newest entry of the audit trail is noted outside of the store.
fn mark_file(data_dir: &Path) -> PathBuf {
    data_dir.join("audit-newest")
}

/// What this data folder is called in the audit trail: eight letters and digits, made on first run. Instances that share a store differ in it.
fn instance(data_dir: &Path) -> Result<String, FoundationError> {
    let path = data_dir.join("instance");
    let failed = |source: std::io::Error| FoundationError::Instance { path: path.clone(), source };
    let read = || std::fs::read_to_string(&path).map(|text| text.trim().to_owned());
    match read() {
        Ok(name) if is_name(&name) => return Ok(name),
        Ok(_) => {
            let wrong = std::io::Error::new(std::io::ErrorKind::InvalidData, "there is no name in it");
            return Err(failed(wrong));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let name =
        app_password::generate_id().map_err(|_| failed(std::io::Error::other("the system gives no random numbers")))?;
    // Another process may make one at this moment; the first to be there holds.
    let mine = data_dir.join(format!("instance.{name}"));
    write_private(&mine, name.as_bytes()).map_err(failed)?;
    let linked = std::fs::hard_link(&mine, &path);
    drop(std::fs::remove_file(&mine));
    match linked {
        Ok(()) => Ok(name),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read().map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Where the master key is, as the vault wants to know it.
pub fn key_source(config: &Config) -> KeySource {
    match &config.keys {
        config::KeySource::DefaultFile => KeySource::Own,
        config::KeySource::File(path) => KeySource::File(path.clone()),
        config::KeySource::Env(name) => KeySource::Environment(name.clone()),
        config::KeySource::Credential(name) => KeySource::Credential(name.clone()),
        config::KeySource::Command(words) => KeySource::Command(words.clone()),
    }
}

/// How often a process that serves looks whether the keys were changed by another; the contract allows five seconds.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// How long after a change it looks every time for what was sealed by the old key at that very moment.
const AFTER_A_CHANGE: Duration = Duration::from_secs(60);

/// How often it goes through everything that is sealed besides.
const GO_THROUGH_TIME: Duration = Duration::from_secs(600);

/// For the process that serves, until it stops: follows a change of the master key by another process, wraps anew what is still under an
/// old key, ends a change that can be ended, and names what does not open.
pub async fn keep_keys(store: Arc<dyn Store>, vault: Arc<Vault>) {
    let mut ticks = interval(LOOK_TIME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = HashSet::new();
    let mut key = vault.key();
    let (mut due, mut watchful_until) = (Instant::now(), Instant::now());
    loop {
        ticks.tick().await;
        let followed = vault.follow();
        if followed || vault.key() != key {
            watchful_until = Instant::now() + AFTER_A_CHANGE;
        }
        if vault.key() != key {
            info!(key = %vault.key(), was = %key, "the master key has changed");
            key = vault.key();
        }
        if Instant::now() < due && Instant::now() >= watchful_until {
            continue;
        }
        match vault.settle(&*store).await {
            // Somebody is at the keys; the next time is soon.
            Ok(None) => {}
            Ok(Some(settled)) => {
                due = Instant::now() + GO_THROUGH_TIME;
                tell(&settled, &mut told);
            }
            Err(error) => {
                if told.insert(error.to_string()) {
                    error!(code = error.code(), remedy = error.remedy(), "the keys cannot be looked after: {error}");
                }
            }
        }
    }
}

fn tell(settled: &Settled, told: &mut HashSet<String>) {
    if settled.wrapped > 0 {
        info!(key = %settled.key, "{} sealed values were wrapped anew by the present master key", settled.wrapped);
    }
    if settled.finished {
        info!(key = %settled.key, "the change of the master key is finished; the old one opens nothing any more");
    }
    if settled.change == (Change::UnderWay { own: false }) && told.insert("change".to_owned()) {
        warn!(
            key = %settled.key,
            remedy = "Let [keys] give the new key and restart; `postern key status` tells what to do.",
            "a change of the master key is under way; until [keys] gives the new key, the old one opens everything as well"
        );
    }
    for error in &settled.closed {
        if told.insert(error.to_string()) {
            error!(code = error.code(), remedy = error.remedy(), "{error}");
        }
    }
}

/// What trusts the hosts of each tenant.
pub type Trust = HashMap<TenantName, Arc<rustls::ClientConfig>>;

/// Reads the trust anchors of every tenant.
///
/// # Errors
/// [`FoundationError::Trust`].
pub fn trust(config: &Config) -> Result<Trust, FoundationError> {
    let of = |tenant: &config::Tenant| Ok((tenant.name.clone(), anchored(tenant, upstream::dial::trust)?));
    config.tenants.iter().map(of).collect()
}

/// What verifies the certificates of a tenant's hosts; [`trust`] relies on one like it.
///
/// # Errors
/// [`FoundationError::Trust`].
pub fn verifier(tenant: &config::Tenant) -> Result<Arc<dyn ServerCertVerifier>, FoundationError> {
    anchored(tenant, upstream::dial::verifier)
}

/// What `make` makes of the tenant's own trust anchors.
fn anchored<T>(
    tenant: &config::Tenant,
    make: impl FnOnce(Option<&[u8]>) -> Result<T, String>,
) -> Result<T, FoundationError> {
    let file = &tenant.endpoints.ca_file;
    let failed = |reason: String| FoundationError::Trust { tenant: tenant.name.clone(), file: file.clone(), reason };
    let pem = file.as_ref().map(std::fs::read).transpose().map_err(|error| failed(error.to_string()))?;
    make(pem.as_deref()).map_err(failed)
}

/// The broker's settings.
pub fn broker_tenants(config: &Config, trust: &Trust, proxy: Option<&Proxy>) -> Vec<TenantSettings> {
    let settings = config.tenants.iter().filter_map(|tenant| {
        // What no listener speaks is not asked for.
        let spoken = |protocol: &Protocol| config.listeners.iter().any(|listener| listener.protocol == *protocol);
        let access = Protocol::ALL.into_iter().filter(spoken).map(|protocol| {
            let scopes = tenant.endpoints.scopes.of(protocol).split_ascii_whitespace().map(str::to_owned).collect();
            (protocol, Access { delegated: tenant.grants.of(protocol).is_delegated(), scopes })
        });
        Some(TenantSettings {
            name: tenant.name.clone(),
            token_url: tenant.endpoints.token_url.clone(),
            authorize_url: tenant.endpoints.authorize_url.clone(),
            authorize_parameters: tenant.authorize_params.clone(),
            device_url: tenant.endpoints.device_url.clone(),
            client_id: tenant.client_id.clone(),
            credential: credential(&tenant.credential),
            client_secret_expires: tenant.client_secret_expires,
            access: access.collect(),
            graph: graph_access(tenant),
            tls: Arc::clone(trust.get(&tenant.name)?),
            proxy: proxy.cloned(),
        })
    });
    settings.collect()
}

/// Mail goes out by Graph with the grant of SMTP.
fn graph_access(tenant: &config::Tenant) -> Option<Access> {
    let scopes = tenant.endpoints.scopes.graph.as_ref().filter(|_| tenant.routes.contains(&Route::Graph))?;
    let scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
    Some(Access { delegated: tenant.grants.smtp.is_delegated(), scopes })
}

fn credential(written: &config::Credential) -> Credential {
    match written {
        config::Credential::Secret(place) => Credential::Secret(source(place)),
        config::Credential::Certificate { certificate, key, passphrase } => Credential::Certificate {
            certificate: certificate.clone(),
            key: key.as_ref().map(source),
            passphrase: passphrase.as_ref().map(source),
        },
        config::Credential::FederatedToken(place) => Credential::FederatedToken(source(place)),
        config::Credential::None => Credential::None,
    }
}

fn source(place: &config::SecretPlace) -> SecretSource {
    match place {
        config::SecretPlace::File(path) => SecretSource::File(path.clone()),
        config::SecretPlace::Env(name) => SecretSource::Environment(name.clone()),
        config::SecretPlace::Credential(name) => SecretSource::Credential(name.clone()),
    }
}

/// The proxy through which Exchange and the token services are reached, with what is reached without it.
///
/// # Errors
/// [`FoundationError::Proxy`].
pub fn proxy(config: &Config) -> Result<Option<Proxy>, FoundationError> {
    Ok(config.upstream.read_proxy()?)
}

/// The settings of `upstream`.
pub fn upstream(config: &Config, trust: &Trust, proxy: Option<&Proxy>) -> upstream::Settings {
    let tenants = config.tenants.iter().filter_map(|tenant| {
        let endpoints = upstream::Endpoints {
            imap: tenant.endpoints.imap.clone(),
            pop3: tenant.endpoints.pop3.clone(),
            smtp: tenant.endpoints.smtp.clone(),
            graph: tenant.endpoints.graph.clone(),
            smtp_implicit_tls: tenant.endpoints.smtp_tls == SmtpTls::Implicit,
            tls: Arc::clone(trust.get(&tenant.name)?),
        };
        Some((tenant.name.clone(), endpoints))
    });
    upstream::Settings {
        tenants: tenants.collect(),
        family: config.upstream.family,
        proxy: proxy.cloned(),
        hostname: hostname(config),
        ..upstream::Settings::default()
    }
}

/// Our name in greetings and in EHLO: the configured one, else this machine's, else an address literal that says nothing.
pub fn hostname(config: &Config) -> String {
    let machine = || {
        #[cfg(unix)]
        let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
        #[cfg(not(unix))]
        let name = std::env::var("COMPUTERNAME").ok()?;
        Some(name.to_ascii_lowercase()).filter(|name| crate::base::is_host_name(name))
    };
    config.upstream.hostname.clone().or_else(machine).unwrap_or_else(|| "[127.0.0.1]".to_owned())
}

/// What a running `serve` leaves in its data folder for `status`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Running {
    /// The number of its process.
    pub process: u32,
    /// When it was ready.
    pub ready_at: DateTime<Utc>,
    /// What it listens on.
    pub listeners: Vec<Bound>,
    /// Where its console is.
    #[serde(default)]
    pub console: Option<SocketAddr>,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// What tells its configuration from others: [`Config::mark`].
    #[serde(default)]
    pub configuration: String,
}

impl Running {
    /// What this process leaves when it serves this configuration at these addresses.
    pub fn this_process(
        config: &Config,
        listeners: Vec<Bound>,
        console: Option<SocketAddr>,
        ready_at: DateTime<Utc>,
    ) -> Self {
        Self {
            process: std::process::id(),
            ready_at,
            listeners,
            console,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: config.mark.clone(),
        }
    }

    /// Why it does not run what is there now: another version of the program, or another configuration.
    pub fn is_outdated(&self, config: &Config) -> Option<String> {
        let process = self.process;
        if self.version != env!("CARGO_PKG_VERSION") {
            let own = env!("CARGO_PKG_VERSION");
            return Some(format!("process {process} was started by another version of Postern than this one ({own})"));
        }
        (self.configuration != config.mark).then(|| {
            format!(
                "process {process} serves another configuration than this one, or this one as it was before a change"
            )
        })
    }
}

/// One listening address.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// `smtp`, `imap` or `pop3`.
    pub protocol: String,
    /// `none`, `starttls` or `implicit`.
    pub tls: String,
    /// Address and port, the real one where 0 was asked for.
    pub address: String,
}

/// The file of [`Running`] in a data folder.
pub fn running_file(data_dir: &Path) -> PathBuf {
    data_dir.join("serve.json")
}

/// The file that a running `serve` holds locked.
pub fn running_lock(data_dir: &Path) -> PathBuf {
    data_dir.join("serve.lock")
}
