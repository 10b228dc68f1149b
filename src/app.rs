//! config → build → run → drain: owns every task and the order of stopping.

mod exposition;
mod reminders;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::net::TcpListener;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::admin::ops::Ops;
use crate::admin::web::Console;
use crate::app::exposition::Exposition;
use crate::app::upkeep::{look_after_journal, look_after_sign_ins, upkeep};
use crate::auth::{self, Auth};
use crate::base::files::{open_private, write_private};
use crate::base::{Clock, ConnId, Fault, TenantName, Whose};
use crate::broker::vault::Vault;
use crate::broker::{Broker, BrokerError};
use crate::config::{self, Config, MailboxLimits, TlsMode};
use crate::delivery::courier::{self, Courier};
use crate::delivery::governor::Limits;
use crate::delivery::live::Traffic;
use crate::delivery::spool::Spool;
use crate::delivery::unknown::UnknownOutcome;
use crate::delivery::{Delivery, DeliveryError, Keeping};
use crate::foundation::{self, Bound, Foundation, FoundationError, Running};
use crate::listener::certificate::{self, CertificateError, Material};
use crate::listener::tls::ServerTls;
use crate::listener::{self, BindError, Listener, Permits, Security};
use crate::session::{self, Road, TlsPort};
use crate::store::{Route, StoreError};
use crate::telemetry::metrics::Figures;
use crate::telemetry::{Incidents, Journal};
use crate::upstream::Upstream;

/// How long sessions may take to finish what they are at when we stop.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// How long they may then take to say goodbye.
const CUT_TIME: Duration = Duration::from_secs(6);

/// How long the console may then take for what it is asked.
const CONSOLE_TIME: Duration = Duration::from_millis(500);

/// How long each of the last two writes may take. With the times above it is less than the 30 s that a service manager grants.
const CLOSE_TIME: Duration = Duration::from_millis(1500);

/// The proxy cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// Another process serves this data folder.
    #[error("already served by process {process}")]
    AlreadyServed {
        /// Its number, as far as it is known.
        process: String,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A tenant's token service cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// There is no certificate to serve with.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The data folder cannot be used.
    #[error("`{path}` cannot be used: {source}", path = path.display())]
    Data {
        /// The file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address of `[metrics]` or `[console]` cannot be listened on.
    #[error("[{section}] cannot listen on {address}: {source}")]
    Http {
        /// The section of the configuration.
        section: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store, the keys or the trust anchors.
    #[error(transparent)]
    Foundation(#[from] FoundationError),
    /// The queue cannot be taken up.
    #[error(transparent)]
    Queue(#[from] DeliveryError),
    /// The certificate's key cannot be used for TLS.
    #[error("the key of the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Self::Foundation(error.into())
    }
}

impl Fault for AppError {
    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyServed { .. } => "already-served",
            Self::Bind(error) => error.code(),
            Self::Broker(error) => error.code(),
            Self::Certificate(error) => error.code(),
            Self::Data { .. } => "data-dir-unusable",
            Self::Foundation(error) => error.code(),
            Self::Http { .. } => "cannot-listen",
            Self::Queue(error) => error.code(),
            Self::Tls(_) => "certificate-key-unusable",
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::AlreadyServed { .. } => {
                Some("Stop that process first, or give this one a `data_dir` of its own.".to_owned())
            }
            Self::Bind(error) => error.remedy(),
            Self::Broker(error) => error.remedy(),
            Self::Certificate(error) => error.remedy(),
            Self::Data { .. } => {
                Some("Look at the owner and mode of the data folder, and at the space on its disk.".to_owned())
            }
            Self::Foundation(error) => error.remedy(),
            Self::Http { address, .. } => Some(format!(
                "Another program may have port {port}: find it with `ss -ltnp 'sport = :{port}'`, or choose another `address`.",
                port = address.port()
            )),
            Self::Queue(error) => error.remedy(),
            Self::Tls(_) => Some("Use an ECDSA or RSA key in PEM.".to_owned()),
        }
    }
}

/// What Exchange takes from the mailboxes of each tenant.
fn mailbox_limits(config: &Config) -> HashMap<TenantName, Limits> {
    let of = |tenant: &crate::config::Tenant| {
        let MailboxLimits { at_once, per_minute, recipients_per_day } = tenant.mailbox_limits;
        (tenant.name.clone(), Limits { at_once, per_minute, recipients_per_day })
    };
    config.tenants.iter().map(of).collect()
}

/// The ways by which mail goes out.
fn routes(config: &Config) -> HashMap<TenantName, Vec<Route>> {
    let route = |route: &config::Route| match route {
        config::Route::Smtp => Route::Smtp,
        config::Route::Graph => Route::Graph,
    };
    let of = |tenant: &config::Tenant| (tenant.name.clone(), tenant.routes.iter().map(route).collect());
    config.tenants.iter().map(of).collect()
}

/// The tenants whose mail leaves no copy.
fn without_copies(config: &Config) -> HashSet<TenantName> {
    let high_volume = config.tenants.iter().filter(|tenant| tenant.smtp_service == config::SmtpService::HighVolume);
    high_volume.map(|tenant| tenant.name.clone()).collect()
}

/// The folder of sent messages, for tenants that name it.
fn sent_folders(config: &Config) -> HashMap<TenantName, String> {
    config.tenants.iter().filter_map(|tenant| Some((tenant.name.clone(), tenant.sent_folder.clone()?))).collect()
}

/// A proxy whose sockets are bound and whose parts are built. Nothing is served before [`run`](App::run).
pub struct App {
    listeners: Vec<Listener>,
    road: Arc<Road>,
    store: Arc<dyn crate::store::Store>,
    vault: Arc<Vault>,
    courier: Arc<Courier>,
    config: Config,
    ca: Option<certificate::Authority>,
    /// Where figures are given out.
    metrics: Option<(TcpListener, Figures)>,
    /// Where administrators look.
    console: Option<(TcpListener, Console)>,
    /// Held while this process serves the data folder.
    _lock: File,
}

impl App {
    /// Builds everything: the lock on the data folder, the store and its keys, the certificate, all sockets.
    ///
    /// # Errors
    /// [`AppError`], each variant. Nothing runs then.
    pub async fn build(config: &Config) -> Result<Self, AppError> {
        Self::build_with_clock(config, Clock::system()).await
    }

    /// As [`build`](App::build), with another clock for the gate, for Exchange's limits and for the queue.
    ///
    /// # Errors
    /// [`AppError`], each variant.
    pub async fn build_with_clock(config: &Config, clock_of_road: Clock) -> Result<Self, AppError> {
        let mut foundation = Foundation::open(config).await?;
        let lock = lock(config).await?;
        // Whoever had the lock until now may have settled the audit trail.
        if foundation.is_superseded(config)? {
            foundation = Foundation::open(config).await?;
        }
        // Whoever had the console's port while nobody served may have been sent one.
        foundation.store.forget_console_links().await?;
        let material = material(config)?;
        let tls = ServerTls::new(&material)?;
        let trust = foundation::trust(config)?;
        let proxy = foundation::proxy(config)?;
        if let Some(proxy) = &proxy {
            info!(%proxy, "Exchange is reached through a proxy");
        }
        let metrics = bound("metrics", config.metrics).await?.map(|listener| (listener, Figures::begin()));
        let console = bound("console", config.console).await?;
        let console = console.map(|listener| (listener, Console::new(Ops::on(config, foundation.clone()))));
        let clock = Clock::system();
        let auth = Auth::new(
            auth::Settings::default(),
            Arc::clone(&foundation.store),
            foundation.pepper,
            clock_of_road.clone(),
        )
        .await?;
        let broker = Arc::new(Broker::new(
            foundation::broker_tenants(config, &trust, proxy.as_ref()),
            Arc::clone(&foundation.store),
            Arc::clone(&foundation.vault),
            clock.clone(),
        )?);
        let upstream = Arc::new(Upstream::new(foundation::upstream(config, &trust, proxy.as_ref())));

        // All sockets are bound before anything is served, so that a bad address fails the start and not a moment later.
        let mut listeners = Vec::with_capacity(config.listeners.len());
        for settings in &config.listeners {
            listeners.push(Listener::bind(listener::Settings {
                protocol: settings.protocol,
                address: settings.address,
                security: match settings.tls {
                    TlsMode::None => Security::None,
                    TlsMode::Starttls => Security::StartTls,
                    TlsMode::Implicit => Security::Implicit,
                },
                plaintext_from: settings.plaintext_from.clone(),
                proxy_protocol_from: settings.proxy_protocol_from.clone(),
            })?);
        }
        let incidents = Arc::new(Incidents::new(Arc::clone(&foundation.store), clock.clone()));
        let spool = Spool::open(&config.data_dir, config.delivery.spool_octets).map_err(DeliveryError::from)?;
        let delivery = Delivery {
            broker: Arc::clone(&broker),
            upstream: Arc::clone(&upstream),
            incidents: Arc::clone(&incidents),
            journal: Arc::new(Journal::new(Arc::clone(&foundation.store))),
            way_time: session::Settings::default().way_time,
            hostname: foundation::hostname(config),
            routes: Arc::new(routes(config)),
            sent_folders: Arc::new(sent_folders(config)),
            without_copies: Arc::new(without_copies(config)),
            dropped_copies: crate::delivery::DroppedCopies::default(),
            traffic: Traffic::new(clock_of_road.clone(), mailbox_limits(config)),
            keeping: Keeping {
                spool,
                store: Arc::clone(&foundation.store),
                clock: clock_of_road,
                patience: config.delivery.patience,
                wake: Arc::default(),
                late: crate::delivery::LateAnswers::default(),
            },
        };
        let auth = Arc::new(auth);
        let settings = courier::Settings {
            max_age: config.delivery.max_age,
            unknown_outcome: match config.delivery.unknown_outcome {
                config::UnknownOutcome::Resend => UnknownOutcome::Resend,
                config::UnknownOutcome::Hold => UnknownOutcome::Hold,
            },
        };
        let courier = Courier::new(delivery.clone(), Arc::clone(&auth), settings);
        courier.take_up().await?;
        delivery.count_last_day().await?;
        let road = Arc::new(Road {
            permits: Permits::new(config.limits.connections, config.limits.per_address_before_login),
            tls,
            auth,
            incidents,
            audit: Arc::clone(&foundation.audit),
            delivery,
            broker,
            upstream,
            settings: session::Settings {
                hostname: foundation::hostname(config),
                login_time: config.limits.login,
                tls_ports: listeners
                    .iter()
                    .map(|listener| TlsPort {
                        protocol: listener.settings().protocol,
                        security: listener.settings().security,
                        port: listener.address().port(),
                    })
                    .filter(|port| port.security != Security::None)
                    .collect(),
                ..session::Settings::default()
            },
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
        });
        let app = Self {
            listeners,
            road,
            store: foundation.store,
            vault: foundation.vault,
            courier,
            config: config.clone(),
            ca: material.ca,
            metrics,
            console,
            _lock: lock,
        };
        app.leave_mark()?;
        Ok(app)
    }

    /// Leaves for `status` what is served where. Connections are taken from before this, though served only by `run`.
    fn leave_mark(&self) -> Result<(), AppError> {
        let path = foundation::running_file(&self.config.data_dir);
        let running = Running::this_process(&self.config, self.bound(), self.console_address(), Utc::now());
        let text = serde_json::to_vec_pretty(&running).unwrap_or_default();
        write_private(&path, &text).map_err(|source| AppError::Data { path, source })
    }

    /// What it listens on, with the real ports.
    pub fn bound(&self) -> Vec<Bound> {
        self.listeners
            .iter()
            .map(|listener| Bound {
                protocol: listener.settings().protocol.name().to_owned(),
                tls: listener.settings().security.name().to_owned(),
                address: listener.address().to_string(),
            })
            .collect()
    }

    /// Where the console is, with the real port.
    pub fn console_address(&self) -> Option<SocketAddr> {
        self.console.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Where figures are given out, with the real port.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// The CA, where Postern made it.
    pub fn ca(&self) -> Option<&certificate::Authority> {
        self.ca.as_ref()
    }

    /// Serves until `stop` returns, then drains: no new connections, what is under way may finish, then goodbye. `reload` gives a value
    /// whenever the certificate is to be read anew.
    ///
    /// # Errors
    /// None so far; what goes wrong with a session, the store or the certificate meanwhile is logged and does not end it.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        mut reload: tokio::sync::mpsc::Receiver<()>,
    ) -> Result<(), AppError> {
        let sessions = TaskTracker::new();
        let accepting = TaskTracker::new();
        let sessions_ended = CancellationToken::new();
        let numbers = Arc::new(AtomicU64::new(1));
        for listener in self.listeners {
            let (road, sessions, numbers) = (Arc::clone(&self.road), sessions.clone(), Arc::clone(&numbers));
            accepting.spawn(listener.accept(self.road.stopping.clone(), move |incoming| {
                let id = ConnId(numbers.fetch_add(1, Ordering::Relaxed));
                sessions.spawn(session::serve(Arc::clone(&road), incoming, id));
            }));
        }
        let upkeep_stop = CancellationToken::new();
        let mut upkeep = tokio::spawn(upkeep(Arc::clone(&self.road), upkeep_stop.clone()));
        let keys = tokio::spawn(foundation::keep_keys(Arc::clone(&self.store), self.vault));
        let (road, config) = (Arc::clone(&self.road), self.config.clone());
        let renewal = tokio::spawn(async move {
            let mut daily = interval(Duration::from_secs(24 * 3600));
            daily.tick().await; // the first one comes at once
            loop {
                tokio::select! {
                    _ = daily.tick() => {}
                    Some(()) = reload.recv() => {}
                }
                renew(&road, &config);
            }
        });
        let traffic = self.road.delivery.traffic.clone();
        let connections_stop = CancellationToken::new();
        let stopped = connections_stop.clone();
        let connections = tokio::spawn(async move { traffic.upkeep(stopped).await });
        let courier = tokio::spawn(self.courier.run(self.road.stopping.clone(), sessions_ended.clone()));
        let broker = Arc::clone(&self.road.broker);
        let sign_ins = tokio::spawn(look_after_sign_ins(
            broker,
            Arc::clone(&self.store),
            Arc::clone(&self.road),
            self.config.reminders.clone(),
        ));
        let exposition_stop = CancellationToken::new();
        let exposition = self.metrics.map(|(listener, figures)| {
            let exposition = Exposition { figures, road: Arc::clone(&self.road), store: Arc::clone(&self.store) };
            tokio::spawn(exposition::serve(listener, exposition, exposition_stop.clone()))
        });
        let stopping = self.road.stopping.clone();
        let console = self.console.map(|(listener, console)| tokio::spawn(console.serve(listener, stopping)));
        let journal = tokio::spawn(look_after_journal(
            Arc::clone(&self.road),
            self.config.delivery.keep_journal,
            self.config.audit.keep,
        ));

        stop.await;
        info!("stopping: {} sessions are open", self.road.auth.open_sessions());
        self.road.stopping.cancel();
        let stopping_since = Instant::now();
        accepting.close();
        accepting.wait().await;
        sessions.close();
        if timeout(DRAIN_TIME, sessions.wait()).await.is_err() {
            self.road.cut.cancel();
            if timeout(CUT_TIME, sessions.wait()).await.is_err() {
                warn!("{} sessions did not end and are cut", sessions.len());
            }
        }
        sessions_ended.cancel();
        // A message that is on its way may have as long as the sessions had; cut off it is unknown whether it has arrived.
        let left = (DRAIN_TIME + CUT_TIME).saturating_sub(stopping_since.elapsed());
        if timeout(left.max(CLOSE_TIME), courier).await.is_err() {
            warn!("a message of the queue was still on its way and is cut off");
        }
        connections_stop.cancel();
        if timeout(CLOSE_TIME, connections).await.is_err() {
            debug!("not every connection to Exchange was parted from");
        }
        // Up to here it says that it is stopping.
        exposition_stop.cancel();
        if let Some(exposition) = exposition {
            exposition.abort();
        }
        // It has been asked to end when the sessions were; whoever holds a connection and says nothing is not waited for.
        if let Some(mut console) = console
            && timeout(CONSOLE_TIME, &mut console).await.is_err()
        {
            console.abort();
        }
        // Not in the middle of what it writes.
        upkeep_stop.cancel();
        if timeout(CLOSE_TIME, &mut upkeep).await.is_err() {
            upkeep.abort();
        }
        keys.abort();
        renewal.abort();
        sign_ins.abort();
        journal.abort();
        if timeout(CLOSE_TIME, self.road.broker.close()).await.is_err() {
            warn!("a renewal of a sign-in did not end in time and is cut off");
        }
        // Before the store is closed.
        last("incidents", self.road.incidents.upkeep()).await;
        last("entries of the journal", self.road.delivery.journal.upkeep()).await;
        last("entries of the audit trail", self.road.audit.close()).await;
        last("uses of app passwords", self.road.auth.upkeep()).await;
        if timeout(CLOSE_TIME, self.store.close()).await.is_err() {
            warn!("the store is still in use and is left as it is");
        }
        drop(std::fs::remove_file(foundation::running_file(&self.config.data_dir)));
        info!("stopped");
        Ok(())
    }
}

/// Writes the last of something, in time or not at all.
async fn last(what: &str, written: impl Future<Output = Result<(), StoreError>>) {
    match timeout(CLOSE_TIME, written).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!("the last {what} could not be written: {error}"),
        Err(_) => warn!("the last {what} could not be written in time"),
    }
}

/// Binds the address of a section of the configuration, if there is one.
async fn bound(section: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, AppError> {
    let Some(address) = address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|source| AppError::Http { section, address, source })
}

/// Takes the lock that says who serves this data folder.
async fn lock(config: &Config) -> Result<File, AppError> {
    let path = foundation::running_lock(&config.data_dir);
    let failed = |source| AppError::Data { path: path.clone(), source };
    let lock = open_private(&path).map_err(failed)?;
    // `status` holds it for a moment to see whether anybody does; a process that serves holds it for good.
    // A lock that is held must not be asked for again: on Windows that fails.
    let mut locked = lock.try_lock();
    for _ in 0..20 {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        locked = lock.try_lock();
    }
    match locked {
        Ok(()) => {
            // Left over from a process that was killed.
            drop(std::fs::remove_file(foundation::running_file(&config.data_dir)));
            // By this handle: on Windows the lock keeps every other one out.
            let number = std::process::id().to_string();
            lock.set_len(0).and_then(|()| (&lock).write_all(number.as_bytes())).map_err(failed)?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let process = std::fs::read_to_string(&path).or_else(|_| {
                let running = std::fs::read(foundation::running_file(&config.data_dir))?;
                Ok::<_, std::io::Error>(serde_json::from_slice::<Running>(&running)?.process.to_string())
            });
            let known =
                process.ok().filter(|number| !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit()));
            Err(AppError::AlreadyServed { process: known.unwrap_or_else(|| "(unknown)".to_owned()) })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn material(config: &Config) -> Result<Material, CertificateError> {
    match &config.tls {
        Some(own) => certificate::load_own(&own.certificate_file, &own.key_file),
        None => certificate::ensure(&config.certificate_dir(), &config.tls_names, Utc::now()),
    }
}

fn renew(road: &Road, config: &Config) {
    let renewed = material(config).map_err(AppError::from).and_then(|material| {
        road.tls.replace(&material)?;
        Ok(material.expires_at)
    });
    match renewed {
        Ok(expires_at) => info!(expires_at = expires_at.to_rfc3339(), "the certificate was read anew"),
        Err(error) => {
            error!(
                code = error.code(),
                remedy = error.remedy(),
                "the certificate in use stays, the new one is no good: {error}"
            );
        }
    }
}
