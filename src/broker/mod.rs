//! 4. Access tokens: [`Broker::token_for`] a [`Permit`], cached, one renewal at a time.
//!
//! App-only there is one token per tenant and resource; delegated, one per account and resource. However many sessions wait, one
//! asks. A failed renewal never deletes anything: the sealed refresh token stays until somebody signs in anew or disconnects.

mod entra;
mod error;
mod grant;
mod state;
pub mod vault;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use chrono::{DateTime, Utc};
use dashmap::DashMap;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use url::Url;

use crate::auth::Permit;
use crate::base::{Clock, Fault, Mailbox, Protocol, Secret, TenantName, Whose};
use crate::broker::grant::{Denied, Granted, Presented, TokenService};
use crate::broker::state::{Advice, State};
use crate::broker::vault::{Place, Vault, VaultError};
use crate::store::{RefusalRecord, SignInRecord, Store, StoreError};

pub use self::error::BrokerError;
pub use self::state::AccessToken;

/// How a tenant's tokens are had.
#[derive(Clone, Debug)]
pub struct TenantSettings {
    /// Its name in the configuration.
    pub name: TenantName,
    /// The token endpoint.
    pub token_url: Url,
    /// The application's ID.
    pub client_id: String,
    /// Where the application's secret is; it is read at each renewal, so a new one counts at once.
    pub secret: SecretSource,
    /// For each protocol, who signs in and for which scopes.
    pub access: HashMap<Protocol, Access>,
    /// The trust anchors for the token endpoint.
    pub tls: Arc<rustls::ClientConfig>,
}

/// Who signs in for a protocol, and for what.
#[derive(Clone, Debug)]
pub struct Access {
    /// The account of the mailbox (delegated), or the application itself (client credentials).
    pub delegated: bool,
    /// The scopes to ask for, of one resource.
    pub scopes: Vec<String>,
}

/// Where a client secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// A systemd credential.
    Credential(String),
    /// An environment variable.
    Environment(String),
    /// A file.
    File(PathBuf),
    /// Nowhere: a public client.
    None,
}

/// Gets, keeps and renews access tokens.
pub struct Broker {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Clock,
    tenants: HashMap<TenantName, Tenant>,
    tokens: DashMap<Key, Arc<Cell>>,
    /// One renewal at a time per sign-in: a rotated refresh token must not be presented for a second resource.
    sign_ins: DashMap<(TenantName, Mailbox), Arc<tokio::sync::Mutex<()>>>,
    /// What was last noted in the store about each sign-in, so that only changes are written.
    noted: DashMap<(TenantName, Option<Mailbox>), Whose>,
    /// What was last noted about each mailbox and protocol: why Exchange refuses it, or `None` if it does not.
    refused: DashMap<(Mailbox, Protocol), Option<String>>,
}

struct Tenant {
    settings: TenantSettings,
    service: TokenService,
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
    /// Since when the sign-in stood that the present token was had with, in milliseconds since 1970.
    signed_in: Mutex<Option<i64>>,
    renewal: tokio::sync::Mutex<()>,
}

impl Cell {
    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the sign-in in the store is another than the one that the present token was had with.
    fn is_outlived_by(&self, sign_in: &SignInRecord) -> bool {
        let had_with = *self.signed_in.lock().unwrap_or_else(PoisonError::into_inner);
        sign_in.whose == Whose::Nobody && had_with.is_some_and(|since| since != sign_in.since.timestamp_millis())
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
            let service = TokenService::new(&settings.token_url, &settings.client_id, &settings.tls)
                .map_err(|reason| BrokerError::OutOfOrder { tenant: settings.name.to_string(), reason })?;
            known.insert(settings.name.clone(), Tenant { settings, service });
        }
        Ok(Self {
            store,
            vault,
            clock,
            tenants: known,
            tokens: DashMap::new(),
            sign_ins: DashMap::new(),
            noted: DashMap::new(),
            refused: DashMap::new(),
        })
    }

    /// An access token for the mailbox of this permit, by its protocol.
    ///
    /// # Errors
    /// Each variant of [`BrokerError`]; shared, since everyone who waited hears the same.
    pub async fn token_for(self: &Arc<Self>, permit: &Permit) -> Result<AccessToken, Arc<BrokerError>> {
        let key = self.key(permit.tenant(), permit.account(), permit.protocol())?;
        let cell = Arc::clone(&self.tokens.entry(key.clone()).or_default());
        match cell.with(|state| state.advice()) {
            Advice::Use(token) => Ok(token),
            Advice::UseAndRenew(token) => {
                if cell.renewal.try_lock().is_ok() {
                    let (broker, cell) = (Arc::clone(self), Arc::clone(&cell));
                    tokio::spawn(async move {
                        // Its failure is noted in the cell and in the log; the old token goes on.
                        drop(broker.renew(&key, &cell, None).await);
                    });
                }
                Ok(token)
            }
            Advice::Renew => {
                // A task of its own, so that a client that hangs up does not cancel a renewal half way: a rotated refresh token
                // that was received has to be kept.
                let broker = Arc::clone(self);
                let renewed = tokio::spawn(async move { broker.renew(&key, &cell, None).await }).await;
                renewed.unwrap_or_else(|_| {
                    Err(Arc::new(BrokerError::OutOfOrder {
                        tenant: permit.tenant().to_string(),
                        reason: "the renewal was cut off".to_owned(),
                    }))
                })
            }
        }
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
        let broker = Arc::clone(self);
        let tenant = permit.tenant().to_string();
        tokio::spawn(async move { broker.renew(&key, &cell, Some(rejected)).await }).await.unwrap_or_else(|_| {
            Err(Arc::new(BrokerError::OutOfOrder { tenant, reason: "the renewal was cut off".to_owned() }))
        })
    }

    fn key(&self, tenant: &TenantName, account: &Mailbox, protocol: Protocol) -> Result<Key, Arc<BrokerError>> {
        let none = || Arc::new(BrokerError::NoTenant { tenant: tenant.to_string() });
        let access =
            self.tenants.get(tenant).and_then(|known| known.settings.access.get(&protocol)).ok_or_else(none)?;
        Ok(Key {
            tenant: tenant.clone(),
            account: access.delegated.then(|| account.clone()),
            scopes: access.scopes.clone(),
        })
    }

    /// Renews one token; whoever comes second finds the first one's result.
    async fn renew(
        &self,
        key: &Key,
        cell: &Cell,
        rejected: Option<AccessToken>,
    ) -> Result<AccessToken, Arc<BrokerError>> {
        let _one_at_a_time = cell.renewal.lock().await;
        // The token stays where it is until there is a better one: what Exchange denies one mailbox with it, it may grant others.
        let forced = rejected.as_ref().is_some_and(|rejected| {
            cell.with(|state| matches!(state, State::Active(token) if token.is(rejected))) && cell.may_force()
        });
        let found = cell.with(|state| match (&rejected, &*state) {
            (Some(_), State::Failed { .. }) => Advice::Renew,
            _ => state.advice(),
        });
        match found {
            _ if forced => {}
            Advice::Use(token) => return Ok(token),
            Advice::UseAndRenew(token) if rejected.is_some() => return Ok(token),
            Advice::UseAndRenew(_) | Advice::Renew => {}
        }
        let _sign_in = match &key.account {
            Some(account) => {
                let lock = Arc::clone(&self.sign_ins.entry((key.tenant.clone(), account.clone())).or_default());
                Some(lock.lock_owned().await)
            }
            None => None,
        };
        match self.ask(key, cell).await {
            Ok(token) => {
                cell.with(|state| *state = State::Active(token.clone()));
                Ok(token)
            }
            Err(error) => match cell.with(|state| state.last_resort()) {
                // A token that still lives serves while the token service is away; one that was rejected does not.
                Some(token) if rejected.is_none() => Ok(token),
                _ => Err(error),
            },
        }
    }

    async fn ask(&self, key: &Key, cell: &Cell) -> Result<AccessToken, Arc<BrokerError>> {
        let tenant = self
            .tenants
            .get(&key.tenant)
            .ok_or_else(|| Arc::new(BrokerError::NoTenant { tenant: key.tenant.to_string() }))?;
        let began = self.clock.now();
        let mut signed_in = None;
        let mut with = [0; 32];
        let mut wait = state::WHILE_UNCHANGED;
        let asked = async {
            let secret = read_secret(&tenant.settings)?;
            let sealed = match &key.account {
                Some(account) => {
                    let record = self.store.sign_in(&key.tenant, Some(account)).await?;
                    // Where the state was another, it is noted below that it works since now.
                    signed_in = record.as_ref().map(|record| match record.whose {
                        Whose::Nobody => record.since.timestamp_millis(),
                        _ => began.timestamp_millis(),
                    });
                    let sealed = record.and_then(|record| record.sealed);
                    Some((account, sealed.ok_or_else(|| BrokerError::NotSignedIn { account: account.clone() })?))
                }
                None => None,
            };
            with = fingerprint(secret.as_ref(), sealed.as_ref().map(|(_, sealed)| sealed.as_slice()));
            if let Some(error) = cell.with(|state| state.failure(&with)) {
                return Err(Asked::Again(error));
            }
            let granted = match &sealed {
                Some((account, sealed)) => {
                    let place = Place::RefreshToken { tenant: &key.tenant, account };
                    let token = text(self.vault.unseal(place, sealed)?, place)?;
                    tenant.service.ask(Presented::RefreshToken(&token), secret.as_ref(), &key.scopes).await
                }
                None => tenant.service.ask(Presented::Client, secret.as_ref(), &key.scopes).await,
            }
            .map_err(|denied| {
                let (error, until) = judge(&key.tenant, key.account.as_ref(), denied);
                wait = until;
                error
            })?;
            let delegated = sealed.as_ref().map(|(account, sealed)| (*account, sealed.as_slice()));
            Ok(self.keep(&key.tenant, delegated, granted).await?)
        }
        .await;
        match asked {
            Ok(token) => {
                info!(
                    tenant = %key.tenant,
                    account = key.account.as_ref().map(tracing::field::display),
                    life_seconds = token.life_left().as_secs(),
                    "a new access token was had"
                );
                self.note(key, None, began).await;
                *cell.signed_in.lock().unwrap_or_else(PoisonError::into_inner) = signed_in;
                Ok(token)
            }
            Err(Asked::Again(error)) => Err(error),
            Err(Asked::Failed(error)) => {
                warn!(
                    tenant = %key.tenant,
                    account = key.account.as_ref().map(tracing::field::display),
                    code = error.code(),
                    remedy = error.remedy(),
                    "no access token: {error}"
                );
                self.note(key, Some(&error), began).await;
                let error = Arc::new(error);
                cell.with(|state| {
                    let still = state.last_resort();
                    *state = State::Failed { until: Instant::now() + wait, with, error: Arc::clone(&error), still };
                });
                Err(error)
            }
        }
    }

    /// Keeps what was granted. A rotated refresh token is flushed to the store before the access token is used, so that the old one
    /// is never presented again.
    async fn keep(
        &self,
        tenant: &TenantName,
        delegated: Option<(&Mailbox, &[u8])>,
        granted: Granted,
    ) -> Result<AccessToken, BrokerError> {
        if let (Some((account, before)), Some(rotated)) = (delegated, &granted.refresh_token) {
            let after = self.vault.seal(Place::RefreshToken { tenant, account }, rotated.expose().as_bytes())?;
            if !self.store.rotate_sign_in(tenant, account, before, &after).await? {
                debug!(%tenant, %account, "somebody signed in anew meanwhile; the rotated token is dropped");
            }
        }
        // Whatever else a token service sends, only a b64token may stand in a SASL string (RFC 6750, section 2.1).
        let text = granted.access_token.expose();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
            return Err(BrokerError::Malformed { tenant: tenant.to_string() });
        }
        Ok(AccessToken::new(granted.access_token, granted.life))
    }

    /// Notes in the store whose move it is, when that has changed, for `mailbox list` and `status`.
    async fn note(&self, key: &Key, error: Option<&BrokerError>, at: DateTime<Utc>) {
        let whose = error.map_or(Whose::Nobody, Fault::whose);
        if error.is_some() && whose == Whose::Nobody {
            return; // It passes by itself and says nothing about the sign-in.
        }
        let place = (key.tenant.clone(), key.account.clone());
        if self.noted.get(&place).is_some_and(|noted| *noted == whose) && whose == Whose::Nobody {
            return;
        }
        let reason = error.map(ToString::to_string);
        let noted =
            self.store.note_sign_in_state(&key.tenant, key.account.as_ref(), whose, reason.as_deref(), at).await;
        match noted {
            Ok(()) => drop(self.noted.insert(place, whose)),
            Err(error) => warn!(tenant = %key.tenant, "the state of a sign-in could not be noted: {error}"),
        }
    }

    /// Takes note of whether Exchange let the mailbox of this permit in with its token, for `mailbox list` and `status`: `None`, or why not.
    /// What passes by itself is not noted.
    pub fn report<'a>(
        &'a self,
        permit: &'a Permit,
        refusal: Option<&dyn Fault>,
    ) -> impl Future<Output = ()> + Send + use<'a> {
        // Words now, so that what is waited for below does not hold the fault.
        let lasting = refusal.filter(|fault| fault.whose() != Whose::Nobody).map(|fault| match fault.remedy() {
            Some(remedy) => format!("{}: {fault}. {remedy}", permit.protocol()),
            None => format!("{}: {fault}", permit.protocol()),
        });
        let passes = refusal.is_some() && lasting.is_none();
        async move {
            if !passes {
                self.note_refusal(permit, lasting).await;
            }
        }
    }

    async fn note_refusal(&self, permit: &Permit, reason: Option<String>) {
        let place = (permit.mailbox().clone(), permit.protocol());
        if self.refused.get(&place).is_some_and(|noted| *noted == reason) {
            return;
        }
        let noted = match &reason {
            Some(reason) => {
                let refusal = RefusalRecord {
                    mailbox: permit.mailbox().clone(),
                    protocol: permit.protocol(),
                    since: self.clock.now(),
                    reason: reason.clone(),
                };
                self.store.note_refusal(&refusal).await
            }
            None => self.store.clear_refusal(permit.mailbox(), permit.protocol()).await,
        };
        match noted {
            Ok(()) => drop(self.refused.insert(place, reason)),
            Err(error) => warn!(mailbox.id = %permit.mailbox(), "a refusal by Exchange could not be noted: {error}"),
        }
    }

    /// Signs an account in with a refresh token that somebody else obtained. It is tried for every delegated protocol of the tenant
    /// before it is kept; what it was rotated into is what is kept.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] and the others when it does not work; then nothing is kept.
    pub async fn connect(
        &self,
        tenant: &TenantName,
        account: &Mailbox,
        refresh_token: Secret<String>,
    ) -> Result<(), BrokerError> {
        let known = self.tenants.get(tenant).ok_or_else(|| BrokerError::NoTenant { tenant: tenant.to_string() })?;
        let secret = read_secret(&known.settings)?;
        let mut token = refresh_token;
        let mut tried: Vec<&[String]> = Vec::new();
        for protocol in Protocol::ALL {
            let Some(access) = known.settings.access.get(&protocol).filter(|access| access.delegated) else {
                continue;
            };
            if tried.contains(&access.scopes.as_slice()) {
                continue;
            }
            let granted = known
                .service
                .ask(Presented::RefreshToken(&token), secret.as_ref(), &access.scopes)
                .await
                .map_err(|denied| judge(tenant, Some(account), denied).0)?;
            if let Some(rotated) = granted.refresh_token {
                token = rotated;
            }
            tried.push(&access.scopes);
        }
        let sealed = self.vault.seal(Place::RefreshToken { tenant, account }, token.expose().as_bytes())?;
        self.store
            .keep_sign_in(&SignInRecord {
                tenant: tenant.clone(),
                account: Some(account.clone()),
                sealed: Some(sealed),
                whose: Whose::Nobody,
                since: self.clock.now(),
                reason: None,
            })
            .await?;
        Ok(())
    }

    /// Whether any protocol of this tenant is delegated, so that accounts can sign in.
    pub fn has_sign_ins(&self, tenant: &TenantName) -> bool {
        self.tenants.get(tenant).is_some_and(|known| known.settings.access.values().any(|access| access.delegated))
    }

    /// The upkeep that has to happen every few seconds: drops the tokens of accounts that were disconnected, removed,
    /// or signed in anew.
    ///
    /// # Errors
    /// When the store cannot be asked; the next call makes up for it.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        // What went with a mailbox that was taken off the list has to be noted anew once it is back.
        if self.refused.iter().any(|entry| entry.value().is_some()) {
            let noted = self.store.refusals().await?;
            let stands = |(mailbox, protocol): &(Mailbox, Protocol)| {
                noted.iter().any(|refusal| refusal.mailbox == *mailbox && refusal.protocol == *protocol)
            };
            self.refused.retain(|place, reason| reason.is_none() || stands(place));
        }
        if self.tokens.iter().all(|entry| entry.key().account.is_none()) {
            return Ok(());
        }
        let signed_in: HashMap<_, _> = self
            .store
            .sign_ins()
            .await?
            .into_iter()
            .filter(|record| record.sealed.is_some())
            .filter_map(|record| Some(((record.tenant.clone(), record.account.clone()?), record)))
            .collect();
        self.tokens.retain(|key, cell| match &key.account {
            Some(account) => signed_in
                .get(&(key.tenant.clone(), account.clone()))
                .is_some_and(|sign_in| !cell.is_outlived_by(sign_in)),
            None => true,
        });
        Ok(())
    }
}

/// Why nothing was granted: a failure of now, or one that was remembered.
enum Asked {
    Failed(BrokerError),
    Again(Arc<BrokerError>),
}

impl<E: Into<BrokerError>> From<E> for Asked {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a denial means, and how long to leave the token service alone.
fn judge(tenant: &TenantName, account: Option<&Mailbox>, denied: Denied) -> (BrokerError, Duration) {
    let tenant = tenant.to_string();
    match denied {
        Denied::Said { body, status, retry_after } => {
            let meaning = entra::judge(&body, status, retry_after, account.is_some());
            let said = format!("{body}: {}", body.first_line());
            debug!(trace_id = body.trace_id, correlation_id = body.correlation_id, suberror = body.suberror, "{said}");
            match meaning.whose {
                Whose::Nobody => {
                    (BrokerError::OutOfOrder { tenant, reason: said }, meaning.wait.unwrap_or(state::BRIEFLY))
                }
                whose => {
                    let remedy = entra::remedy(&body, account.map(Mailbox::as_str));
                    (BrokerError::Refused { tenant, said, whose, remedy }, state::WHILE_UNCHANGED)
                }
            }
        }
        Denied::Garbage { what, status, retry_after } => {
            let reason = match status {
                Some(status) => format!("{what} (HTTP status {status})"),
                None => what,
            };
            (BrokerError::OutOfOrder { tenant, reason }, retry_after.unwrap_or(state::BRIEFLY))
        }
        Denied::Unreachable(reason) => (BrokerError::Unreachable { tenant, reason }, state::BRIEFLY),
    }
}

fn read_secret(settings: &TenantSettings) -> Result<Option<Secret<String>>, BrokerError> {
    let (place, read) = match &settings.secret {
        SecretSource::None => return Ok(None),
        SecretSource::File(path) => (path.display().to_string(), std::fs::read_to_string(path)),
        SecretSource::Environment(name) => (
            format!("the environment variable {name}"),
            std::env::var(name).map_err(|error| std::io::Error::other(error.to_string())),
        ),
        SecretSource::Credential(name) => (
            format!("the systemd credential {name}"),
            match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => std::fs::read_to_string(Path::new(&directory).join(name)),
                None => Err(std::io::Error::other("systemd gave no credentials to this process")),
            },
        ),
    };
    let failed =
        |reason: String| BrokerError::Credential { tenant: settings.name.to_string(), place: place.clone(), reason };
    let whole = Secret::new(read.map_err(|error| failed(error.to_string()))?);
    // A file made with an editor ends in a line break that is not part of the secret.
    let secret = whole.expose().trim();
    if secret.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    Ok(Some(Secret::new(secret.to_owned())))
}

fn fingerprint(secret: Option<&Secret<String>>, sealed: Option<&[u8]>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(secret.map_or(&[][..], |secret| secret.expose().as_bytes()));
    context.update(&[0]);
    context.update(sealed.unwrap_or_default());
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

fn text(octets: Secret<Vec<u8>>, place: Place<'_>) -> Result<Secret<String>, BrokerError> {
    match std::str::from_utf8(octets.expose()) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(VaultError::WrongKey { what: format!("{place:?}") }.into()),
    }
}
