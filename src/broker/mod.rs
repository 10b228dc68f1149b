//! 4. Access tokens: [`Broker::token_for`] a [`Permit`], cached, one renewal at a time.
//!
//! App-only there is one token per tenant and resource; delegated, one per account and resource. However many sessions wait, one
//! asks. A failed renewal never deletes anything: the sealed refresh token stays until somebody signs in anew or disconnects.

mod circuit;
mod claims;
mod credential;
mod entra;
mod error;
mod expiry;
mod grant;
mod http;
mod notes;
mod renewal;
mod sign_in;
mod state;
pub mod vault;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;
use dashmap::{DashMap, DashSet};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::auth::Permit;
use crate::base::{Clock, Mailbox, Protocol, Proxy, SignatureAlgorithm, TenantName};
use crate::broker::circuit::Circuit;
use crate::broker::grant::{Addresses, TokenService};
use crate::broker::renewal::SignInCell;
use crate::broker::state::{Advice, Need, State};
use crate::broker::vault::Vault;
use crate::store::Store;

pub use self::claims::Claims;
pub use self::credential::{Credential, SecretSource};
pub use self::error::BrokerError;
pub use self::expiry::Expiry;
pub use self::sign_in::{BrowserSignIn, Connected, DeviceSignIn, Redirected};
pub use self::state::AccessToken;

/// How a tenant's tokens are had.
#[derive(Clone, Debug)]
pub struct TenantSettings {
    /// Its name in the configuration.
    pub name: TenantName,
    /// The token endpoint.
    pub token_url: Url,
    /// Where a browser is sent to sign in.
    pub authorize_url: Option<Url>,
    /// What else the browser takes along, such as `prompt`.
    pub authorize_parameters: Vec<(String, String)>,
    /// Where a device code is asked for.
    pub device_url: Option<Url>,
    /// The application's ID.
    pub client_id: String,
    /// How the application proves itself.
    pub credential: Credential,
    /// The last day of the client secret, as told.
    pub client_secret_expires: Option<NaiveDate>,
    /// For each protocol, who signs in and for which scopes.
    pub access: HashMap<Protocol, Access>,
    /// The same for sending by Graph, where that is a way.
    pub graph: Option<Access>,
    /// The trust anchors for the token endpoint.
    pub tls: Arc<rustls::ClientConfig>,
    /// The proxy that the way to the token endpoint leads through.
    pub proxy: Option<Proxy>,
}

/// Who signs in for a protocol, and for what.
#[derive(Clone, Debug)]
pub struct Access {
    /// The account of the mailbox (delegated), or the application itself (client credentials).
    pub delegated: bool,
    /// The scopes to ask for, of one resource.
    pub scopes: Vec<String>,
}

/// Gets, keeps and renews access tokens.
pub struct Broker {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Clock,
    tenants: HashMap<TenantName, Tenant>,
    tokens: DashMap<Key, Arc<Cell>>,
    /// One renewal at a time per sign-in: a rotated refresh token must not be presented for a second resource.
    sign_ins: DashMap<(TenantName, Mailbox), Arc<tokio::sync::Mutex<SignInCell>>>,
    /// The sign-ins that are asked for each protocol apart, since one of them was not consented to.
    apart: DashSet<(TenantName, Mailbox)>,
    notes: notes::Notes,
    /// Whether what comes of renewals is noted: by the process that serves, and not by a command that may see less than it.
    notes_states: bool,
    /// The renewals that are under way: a rotated refresh token that was received has to be kept.
    renewals: TaskTracker,
}

struct Tenant {
    settings: TenantSettings,
    service: TokenService,
    /// The breakers: app-only and delegated.
    app_only: Circuit,
    delegated: Circuit,
    /// The token service did not take a PS256 signature and took an RS256 one.
    old_signature: AtomicBool,
}

impl Tenant {
    fn circuit(&self, delegated: bool) -> &Circuit {
        if delegated { &self.delegated } else { &self.app_only }
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.old_signature.load(Ordering::Relaxed) {
            true => SignatureAlgorithm::Rs256,
            false => SignatureAlgorithm::Ps256,
        }
    }

    /// The scopes of a protocol, together with those of every other protocol that the same sign-in has for the same resource: one
    /// token then serves them all.
    fn scopes_together(&self, access: &Access) -> Vec<String> {
        let mut together = access.scopes.clone();
        for protocol in Protocol::ALL {
            if let Some(other) = self.settings.access.get(&protocol)
                && other.delegated == access.delegated
                && resource(&other.scopes) == resource(&access.scopes)
            {
                together.extend(other.scopes.iter().cloned());
            }
        }
        together.sort();
        together.dedup();
        together
    }
}

/// The resource that scopes are for: what stands before the path of the first one that is an address.
fn resource(scopes: &[String]) -> Option<String> {
    scopes.iter().find_map(|scope| {
        let url = Url::parse(scope).ok().filter(Url::has_host)?;
        Some(url.origin().ascii_serialization())
    })
}

/// What a token service answers when it is asked for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its HTTP status. A token endpoint refuses a mere GET, so it says nothing about the service's health.
    pub status: u16,
    /// By how many seconds its clock is ahead of ours.
    pub clock_ahead_seconds: Option<i64>,
}

/// Asks the token service of a tenant for nothing, by the way that tokens are asked for. No secret is presented.
///
/// # Errors
/// [`BrokerError::OutOfOrder`] when the address cannot be used, [`BrokerError::Unreachable`].
pub async fn hear(settings: &TenantSettings) -> Result<Heard, BrokerError> {
    let tenant = settings.name.to_string();
    let (status, clock_ahead_seconds) = match service(settings)?.hear().await {
        Ok(heard) => heard,
        Err(error) => return Err(BrokerError::Unreachable { tenant, reason: error.to_string() }),
    };
    Ok(Heard { status, clock_ahead_seconds })
}

fn service(settings: &TenantSettings) -> Result<TokenService, BrokerError> {
    let addresses = Addresses {
        token: &settings.token_url,
        authorize: settings.authorize_url.as_ref(),
        device: settings.device_url.as_ref(),
    };
    TokenService::new(&addresses, &settings.client_id, &settings.tls, settings.proxy.as_ref())
        .map_err(|reason| BrokerError::OutOfOrder { tenant: settings.name.to_string(), reason })
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantName,
    /// `None`: the application itself.
    account: Option<Mailbox>,
    scopes: Vec<String>,
}

#[derive(Default)]
struct Cell {
    state: Mutex<State>,
    /// When a token was last renewed because the far side did not accept it.
    forced: Mutex<Option<Instant>>,
    renewal: tokio::sync::Mutex<()>,
}

impl Cell {
    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a renewal may be forced now; saying so counts as one.
    fn may_force(&self) -> bool {
        const LEAST_TIME_BETWEEN: Duration = Duration::from_secs(300);
        let mut forced = self.forced.lock().unwrap_or_else(PoisonError::into_inner);
        let may = forced.is_none_or(|at| at.elapsed() >= LEAST_TIME_BETWEEN);
        if may {
            *forced = Some(Instant::now());
        }
        may
    }
}

impl Broker {
    /// Makes the broker; nothing is asked for yet.
    ///
    /// # Errors
    /// When a tenant's token endpoint cannot be used at all (in the clear, not on loopback).
    pub fn new(
        tenants: Vec<TenantSettings>,
        store: Arc<dyn Store>,
        vault: Arc<Vault>,
        clock: Clock,
    ) -> Result<Self, BrokerError> {
        let mut known = HashMap::new();
        for settings in tenants {
            let service = service(&settings)?;
            let tenant = Tenant {
                service,
                app_only: Circuit::default(),
                delegated: Circuit::default(),
                old_signature: AtomicBool::new(false),
                settings,
            };
            known.insert(tenant.settings.name.clone(), tenant);
        }
        Ok(Self {
            store,
            vault,
            clock,
            tenants: known,
            tokens: DashMap::new(),
            sign_ins: DashMap::new(),
            apart: DashSet::new(),
            notes: notes::Notes::default(),
            notes_states: true,
            renewals: TaskTracker::new(),
        })
    }

    /// The same for a command, which may lack what the service is given (a systemd credential, say): it notes nothing of what it meets.
    #[must_use]
    pub fn for_a_command(self) -> Self {
        Self { notes_states: false, ..self }
    }

    /// Ends the broker: waits for the renewals that are under way, and stores what could not be stored before.
    pub async fn close(&self) {
        self.renewals.close();
        self.renewals.wait().await;
        self.save_all().await;
    }

    fn tenant(&self, name: &TenantName) -> Result<&Tenant, BrokerError> {
        self.tenants.get(name).ok_or_else(|| BrokerError::NoTenant { tenant: name.to_string() })
    }

    /// An access token for the mailbox of this permit, by its protocol.
    ///
    /// # Errors
    /// Each variant of [`BrokerError`]; shared, since everyone who waited hears the same.
    pub async fn token_for(self: &Arc<Self>, permit: &Permit) -> Result<AccessToken, Arc<BrokerError>> {
        // An IMAP session ends when its token does, so it begins with a fresh one.
        let need = if permit.protocol() == Protocol::Imap { Need::Long } else { Need::Short };
        let key = self.key(permit.tenant(), permit.account(), permit.protocol())?;
        match self.token(key.clone(), need).await {
            Err(error) => {
                // One of the scopes may have been refused that were asked for together; then this one is asked for alone.
                let again = self.key(permit.tenant(), permit.account(), permit.protocol())?;
                if again == key { Err(error) } else { self.token(again, need).await }
            }
            found => found,
        }
    }

    async fn token(self: &Arc<Self>, key: Key, need: Need) -> Result<AccessToken, Arc<BrokerError>> {
        let cell = Arc::clone(&self.tokens.entry(key.clone()).or_default());
        match cell.with(|state| state.advice(need)) {
            Advice::Use(token) => Ok(token),
            Advice::UseAndRenew(token) => {
                if cell.renewal.try_lock().is_ok() {
                    let broker = Arc::clone(self);
                    self.renewals.spawn(async move {
                        // Its failure is noted in the cell and in the log; the old token goes on.
                        drop(broker.renew(&key, &cell, None, need).await);
                    });
                }
                Ok(token)
            }
            Advice::Renew => self.renew_apart(key, cell, None, need).await,
        }
    }

    /// An access token for sending from the mailbox of this permit by Graph; with `rejected` a new one, if that one is not new itself.
    ///
    /// # Errors
    /// As [`token_for`](Broker::token_for).
    pub async fn graph_token(
        self: &Arc<Self>,
        permit: &Permit,
        rejected: Option<AccessToken>,
    ) -> Result<AccessToken, Arc<BrokerError>> {
        let none = || Arc::new(BrokerError::NoTenant { tenant: permit.tenant().to_string() });
        let known = self.tenants.get(permit.tenant()).ok_or_else(none)?;
        let access = known.settings.graph.as_ref().ok_or_else(none)?;
        let account = access.delegated.then(|| permit.account().clone());
        let key = Key { tenant: permit.tenant().clone(), account, scopes: access.scopes.clone() };
        match rejected {
            None => self.token(key, Need::Short).await,
            Some(rejected) => {
                let cell = Arc::clone(&self.tokens.entry(key.clone()).or_default());
                self.renew_apart(key, cell, Some(rejected), Need::Short).await
            }
        }
    }

    /// Whether mail of this permit goes by Graph with the sign-in of another than the mailbox, who may send as more than the mailbox may.
    pub fn graph_is_by_account(&self, permit: &Permit) -> bool {
        let access = self.tenants.get(permit.tenant()).and_then(|tenant| tenant.settings.graph.as_ref());
        access.is_some_and(|access| access.delegated) && permit.account() != permit.mailbox()
    }

    /// The far side did not accept this token: it is dropped, and a new one is asked for once, however many sessions report it.
    ///
    /// A token is renewed by force at most every five minutes. In between this gives the present one again: an outage of Exchange
    /// looks exactly like a bad token, and must not become a storm on the token service.
    ///
    /// # Errors
    /// As [`token_for`](Broker::token_for).
    pub async fn replace(
        self: &Arc<Self>,
        permit: &Permit,
        rejected: AccessToken,
    ) -> Result<AccessToken, Arc<BrokerError>> {
        let key = self.key(permit.tenant(), permit.account(), permit.protocol())?;
        let cell = Arc::clone(&self.tokens.entry(key.clone()).or_default());
        self.renew_apart(key, cell, Some(rejected), Need::Short).await
    }

    /// Renews in a task of its own, so that a client that hangs up does not cancel a renewal half way: a rotated refresh token that was
    /// received has to be kept.
    async fn renew_apart(
        self: &Arc<Self>,
        key: Key,
        cell: Arc<Cell>,
        rejected: Option<AccessToken>,
        need: Need,
    ) -> Result<AccessToken, Arc<BrokerError>> {
        let broker = Arc::clone(self);
        let tenant = key.tenant.to_string();
        let renewal = self.renewals.spawn(async move { broker.renew(&key, &cell, rejected, need).await });
        renewal.await.unwrap_or_else(|_| {
            Err(Arc::new(BrokerError::OutOfOrder { tenant, reason: "the renewal was cut off".to_owned() }))
        })
    }

    fn key(&self, tenant: &TenantName, account: &Mailbox, protocol: Protocol) -> Result<Key, Arc<BrokerError>> {
        let none = || Arc::new(BrokerError::NoTenant { tenant: tenant.to_string() });
        let known = self.tenants.get(tenant).ok_or_else(none)?;
        let access = known.settings.access.get(&protocol).ok_or_else(none)?;
        if !access.delegated {
            return Ok(Key { tenant: tenant.clone(), account: None, scopes: access.scopes.clone() });
        }
        let apart = self.apart.contains(&(tenant.clone(), account.clone()));
        let scopes = if apart { access.scopes.clone() } else { known.scopes_together(access) };
        Ok(Key { tenant: tenant.clone(), account: Some(account.clone()), scopes })
    }

    /// Whether any protocol of this tenant is delegated, so that accounts can sign in.
    pub fn has_sign_ins(&self, tenant: &TenantName) -> bool {
        self.tenants.get(tenant).is_some_and(|known| known.settings.access.values().any(|access| access.delegated))
    }

    /// By how many seconds the clock of this tenant's token service was last seen ahead of ours.
    pub fn clock_ahead_seconds(&self, tenant: &TenantName) -> Option<i64> {
        self.tenants.get(tenant)?.service.ahead_seconds()
    }
}
