//! Renewing one token: one request at a time per token and per sign-in, and nothing lost that was received.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::base::envelope::lasting_part;
use crate::base::{Fault, Mailbox, Protocol, Secret, SignatureAlgorithm, TenantName, Whose};
use crate::broker::credential::{Presentation, Proof};
use crate::broker::entra::{self, ErrorBody};
use crate::broker::grant::{Denied, Granted, Presented};
use crate::broker::state::{self, Advice, Need, State};
use crate::broker::vault::{Place, VaultError};
use crate::broker::{AccessToken, Broker, BrokerError, Cell, Key, Tenant};
use crate::store::StoreError;

/// How long a refresh token may lie unused before it is used for its own sake: 90 days of silence kill it.
const KEEP_ALIVE_AFTER: chrono::Duration = chrono::Duration::days(7);

/// What is known of a sign-in beside what the store has.
#[derive(Default)]
pub(in crate::broker) struct SignInCell {
    unsaved: Option<Unsaved>,
    /// The part that lasts of what we left in the store; another one there is another sign-in.
    left: Option<Vec<u8>>,
}

impl SignInCell {
    /// Whether this is not what we left in the store.
    pub(in crate::broker) fn is_replaced(&self, sealed: &[u8]) -> bool {
        self.left.as_ref().is_some_and(|left| left != lasting_part(sealed))
    }
}

/// A use of a sign-in that could not be stored yet.
struct Unsaved {
    /// What stands in the store.
    before: Vec<u8>,
    /// The rotated refresh token that belongs in its place, and is used from here until it is there; `None`: it was not rotated.
    token: Option<Secret<String>>,
    at: DateTime<Utc>,
}

/// A sign-in as it is to be presented.
struct SignIn {
    /// What stands in the store.
    stored: Vec<u8>,
    token: Secret<String>,
}

impl Unsaved {
    /// Whether it is a use of this stored sign-in, by whichever master key that is sealed now.
    fn is_of(&self, stored: &[u8]) -> bool {
        lasting_part(&self.before) == lasting_part(stored)
    }
}

/// A denial, judged.
pub(in crate::broker) struct Judged {
    pub(in crate::broker) error: BrokerError,
    /// How long to leave the token service alone, where it said.
    pub(in crate::broker) wait: Option<Duration>,
    /// How far it reaches.
    reach: Reach,
    /// Whether other scopes might have been granted.
    pub(in crate::broker) scopes: bool,
}

/// How far a failure that passes by itself reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It is about this request alone.
    This,
    /// The token service has answered, and may fail this account alone or everyone.
    Perhaps,
    /// The token service is out of order for everyone.
    Everyone,
}

impl Broker {
    /// Renews one token; whoever comes second finds the first one's result.
    pub(in crate::broker) async fn renew(
        &self,
        key: &Key,
        cell: &Cell,
        rejected: Option<AccessToken>,
        need: Need,
    ) -> Result<AccessToken, Arc<BrokerError>> {
        let _one_at_a_time = cell.renewal.lock().await;
        // The token stays where it is until there is a better one: what Exchange denies one mailbox with it, it may grant others.
        let forced = rejected.as_ref().is_some_and(|rejected| {
            cell.with(|state| matches!(state, State::Active(token) if token.is(rejected))) && cell.may_force()
        });
        let found = cell.with(|state| match (&rejected, &*state) {
            (Some(_), State::Failed { .. }) => Advice::Renew,
            _ => state.advice(need),
        });
        match found {
            _ if forced => {}
            Advice::Use(token) => return Ok(token),
            Advice::UseAndRenew(token) if rejected.is_some() => return Ok(token),
            Advice::UseAndRenew(_) | Advice::Renew => {}
        }
        let mut sign_in = match &key.account {
            Some(account) => Some(self.sign_in_cell(&key.tenant, account).lock_owned().await),
            None => None,
        };
        match self.ask(key, cell, sign_in.as_deref_mut()).await {
            Ok(token) => {
                cell.with(|state| *state = State::Active(token.clone()));
                Ok(token)
            }
            Err(error) => {
                // The sign-in is over, and its last token with it: presenting that again would be a failing login at Exchange for
                // each one here. An application's token stays: it may be good for other mailboxes.
                if let (Some(rejected), Some(_), Whose::User) = (&rejected, &key.account, error.whose()) {
                    cell.with(|state| state.give_up(rejected));
                }
                match cell.with(|state| state.last_resort()) {
                    // A token that still lives serves while the token service is away; one that was rejected does not.
                    Some(token) if rejected.is_none() => Ok(token),
                    _ => Err(error),
                }
            }
        }
    }

    fn sign_in_cell(&self, tenant: &TenantName, account: &Mailbox) -> Arc<tokio::sync::Mutex<SignInCell>> {
        Arc::clone(&self.sign_ins.entry((tenant.clone(), account.clone())).or_default())
    }

    async fn ask(
        &self,
        key: &Key,
        cell: &Cell,
        sign_in: Option<&mut SignInCell>,
    ) -> Result<AccessToken, Arc<BrokerError>> {
        let tenant = self.tenant(&key.tenant).map_err(Arc::new)?;
        let circuit = tenant.circuit(key.account.is_some());
        let began = self.clock.now();
        let mut with = [0; 32];
        let asked = async {
            let proof = proof(tenant).await?;
            let own = match (&key.account, sign_in.as_deref()) {
                (Some(account), cell) => Some((account, self.presented(&key.tenant, account, cell).await?)),
                (None, _) => None,
            };
            with = fingerprint(&proof, own.as_ref().map(|(_, own)| &own.token));
            if let Some(error) = cell.with(|state| state.failure(&with)) {
                return Err(Asked::Again(error));
            }
            let turn = circuit.enter().await.map_err(Asked::Again)?;
            let presented = match &own {
                Some((_, own)) => Presented::RefreshToken(&own.token),
                None => Presented::Client,
            };
            let answer = tenant.exchange(&proof, &presented, &key.scopes, began).await;
            let granted = match answer {
                Ok(granted) => granted,
                Err(denied) => return Err(Asked::Denied(judge(&key.tenant, key.account.as_ref(), denied))),
            };
            circuit.worked(key.account.as_ref());
            drop(turn);
            let mut granted = granted;
            if let (Some((account, own)), Some(sign_in)) = (own, sign_in) {
                self.keep(&key.tenant, account, own.stored, sign_in, granted.refresh_token.take(), began).await;
            }
            Ok(access_token(&key.tenant, key.account.clone(), granted)?)
        }
        .await;
        let (error, wait) = match asked {
            Ok(token) => {
                info!(
                    tenant = %key.tenant,
                    account = key.account.as_ref().map(tracing::field::display),
                    life_seconds = token.life_left().as_secs(),
                    "a new access token was had"
                );
                crate::telemetry::metrics::token(&key.tenant, "ok", self.clock.now().timestamp());
                self.note(key, None, began).await;
                return Ok(token);
            }
            Err(Asked::Again(error)) => return Err(error),
            Err(Asked::Failed(error)) => {
                crate::telemetry::metrics::token(&key.tenant, error.code(), 0);
                (Arc::new(error), state::WHILE_UNCHANGED)
            }
            Err(Asked::Denied(judged)) => {
                if judged.scopes && self.is_together(key) {
                    // Each protocol is asked for by itself from now on, so that one without consent does not keep the others out.
                    info!(tenant = %key.tenant, "not all scopes are granted together: {}", judged.error);
                    if let Some(account) = &key.account {
                        self.apart.insert((key.tenant.clone(), account.clone()));
                    }
                    circuit.worked(key.account.as_ref());
                    return Err(Arc::new(judged.error));
                }
                let error = Arc::new(judged.error);
                let wait = match (judged.reach, &key.account) {
                    (Reach::Perhaps, Some(account)) => circuit.failed_for(account, &error, judged.wait),
                    (Reach::Everyone | Reach::Perhaps, _) => circuit.failed(&error, judged.wait),
                    (Reach::This, account) => {
                        circuit.worked(account.as_ref());
                        judged.wait.filter(|wait| !wait.is_zero()).unwrap_or(state::WHILE_UNCHANGED)
                    }
                };
                (error, wait)
            }
        };
        warn!(
            tenant = %key.tenant,
            account = key.account.as_ref().map(tracing::field::display),
            code = error.code(),
            remedy = error.remedy(),
            "no access token: {error}"
        );
        self.note(key, Some(&error), began).await;
        cell.with(|state| {
            let still = state.last_resort();
            *state = State::Failed { until: Instant::now() + wait, with, error: Arc::clone(&error), still };
        });
        Err(error)
    }

    /// Whether this asks for the scopes of several protocols at once, which each has been granted for itself perhaps.
    fn is_together(&self, key: &Key) -> bool {
        let apart =
            key.account.as_ref().is_some_and(|account| self.apart.contains(&(key.tenant.clone(), account.clone())));
        let access = |tenant: &Tenant| {
            tenant.settings.access.values().any(|access| {
                let own = &access.scopes;
                access.delegated && *own != key.scopes && own.iter().all(|scope| key.scopes.contains(scope))
            })
        };
        !apart && key.account.is_some() && self.tenants.get(&key.tenant).is_some_and(access)
    }

    /// The refresh token to present for an account.
    async fn presented(
        &self,
        tenant: &TenantName,
        account: &Mailbox,
        cell: Option<&SignInCell>,
    ) -> Result<SignIn, BrokerError> {
        let place = Place::RefreshToken { tenant, account };
        let mut again = false;
        loop {
            let record = self.store.sign_in(tenant, Some(account)).await?;
            let stored = record.and_then(|record| record.sealed);
            let stored = stored.ok_or_else(|| BrokerError::NotSignedIn { account: account.clone() })?;
            // One that could not be stored is newer than what is, unless somebody has signed in anew since.
            let unsaved = cell.and_then(|cell| cell.unsaved.as_ref()).filter(|unsaved| unsaved.is_of(&stored));
            let token = match unsaved.and_then(|unsaved| unsaved.token.as_ref()) {
                Some(token) => Secret::new(token.expose().clone()),
                None => match self.vault.unseal(place, &stored) {
                    Ok(octets) => text(octets, place)?,
                    // It may have been read just before a change of the master key was finished; what stands there now is under
                    // the new one.
                    Err(_) if !again => {
                        again = true;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            return Ok(SignIn { stored, token });
        }
    }

    /// Keeps a rotated refresh token, and when it was used. It is flushed to the store before the access token is used, so that the old
    /// one is never presented again; where the store fails it is kept here, and stored as soon as it can be.
    async fn keep(
        &self,
        tenant: &TenantName,
        account: &Mailbox,
        stored: Vec<u8>,
        sign_in: &mut SignInCell,
        rotated: Option<Secret<String>>,
        at: DateTime<Utc>,
    ) {
        let earlier = sign_in.unsaved.take().filter(|unsaved| unsaved.is_of(&stored));
        let token = rotated.or_else(|| earlier?.token);
        sign_in.left = Some(lasting_part(&stored).to_vec());
        sign_in.unsaved = Some(Unsaved { before: stored, token, at });
        if let Err(error) = self.save(tenant, account, sign_in).await {
            error!(
                %tenant,
                %account,
                code = error.code(),
                remedy = error.remedy(),
                "the renewed sign-in is kept in memory, since it cannot be stored: {error}"
            );
        }
    }

    /// Stores what could not be stored before.
    async fn save(&self, tenant: &TenantName, account: &Mailbox, sign_in: &mut SignInCell) -> Result<(), BrokerError> {
        let Some(unsaved) = &sign_in.unsaved else { return Ok(()) };
        let after = match &unsaved.token {
            Some(token) => self.vault.seal(Place::RefreshToken { tenant, account }, token.expose().as_bytes())?,
            None => unsaved.before.clone(),
        };
        if self.store.rotate_sign_in(tenant, account, &unsaved.before, &after, unsaved.at).await? {
            sign_in.left = Some(lasting_part(&after).to_vec());
        } else {
            debug!(%tenant, %account, "somebody signed in anew meanwhile; the renewed sign-in is dropped");
        }
        sign_in.unsaved = None;
        Ok(())
    }

    /// Stores every renewed sign-in that could not be stored before.
    pub(in crate::broker) async fn save_all(&self) {
        let cells: Vec<_> =
            self.sign_ins.iter().map(|entry| (entry.key().clone(), Arc::clone(entry.value()))).collect();
        for ((tenant, account), cell) in cells {
            // One that is being renewed now is stored by that.
            if let Ok(mut sign_in) = cell.try_lock()
                && sign_in.unsaved.is_some()
            {
                match self.save(&tenant, &account, &mut sign_in).await {
                    Ok(()) => info!(%tenant, %account, "the renewed sign-in is stored"),
                    Err(error) => debug!(%tenant, %account, "the renewed sign-in still cannot be stored: {error}"),
                }
            }
        }
    }

    /// Renews the sign-ins that nobody has used for a week, one after the other. To be called every hour or so.
    ///
    /// # Errors
    /// When the store cannot be asked; the next call makes up for it.
    pub async fn keep_alive(self: &Arc<Self>) -> Result<(), StoreError> {
        let now = self.clock.now();
        for record in self.store.sign_ins().await? {
            let silent = record.refreshed_at.is_none_or(|at| now - at >= KEEP_ALIVE_AFTER);
            // One that waits for its owner cannot be renewed; one that waits for the administrator may have been mended since.
            let worth_it = record.sealed.is_some() && record.state.whose != Whose::User && silent;
            let Some(account) = record.account.filter(|_| worth_it) else { continue };
            let Some(tenant) = self.tenants.get(&record.tenant) else { continue };
            info!(tenant = %record.tenant, %account, "nobody has used this sign-in for a week: it is renewed so that it lives on");
            let delegated =
                |protocol: &Protocol| tenant.settings.access.get(protocol).is_some_and(|access| access.delegated);
            // One protocol without consent must not cost the sign-in of the others.
            for protocol in Protocol::ALL.into_iter().filter(delegated) {
                let Ok(key) = self.key(&record.tenant, &account, protocol) else { break };
                // No token of a week ago is good any more, whatever is remembered of it.
                let cell = Arc::new(Cell::default());
                self.tokens.insert(key.clone(), Arc::clone(&cell));
                // What goes wrong is noted and logged there, and tried again in an hour.
                if self.renew_apart(key, cell, None, Need::Long).await.is_ok() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Tenant {
    /// Asks for a token; a signature that the token service does not take is replaced by one of the older kind, once.
    pub(in crate::broker) async fn exchange(
        &self,
        proof: &Proof,
        presented: &Presented<'_>,
        scopes: &[String],
        now: DateTime<Utc>,
    ) -> Result<Granted, Denied> {
        let algorithm = self.algorithm();
        let answer = self.service.ask(presented, &self.present(proof, algorithm, now)?, scopes).await;
        match answer {
            Err(Denied::Said { body, noted }) if self.may_be_the_algorithm(proof, algorithm, &body) => {
                let old = self.present(proof, SignatureAlgorithm::Rs256, now)?;
                let second = self.service.ask(presented, &old, scopes).await;
                if let Err(Denied::Said { body: again, .. }) = &second
                    && is_signature_refusal(again)
                {
                    // It is not the algorithm; the first answer is the one to show.
                    return Err(Denied::Said { body, noted });
                }
                info!("this token service takes client assertions signed by RS256 and not by PS256");
                self.old_signature.store(true, std::sync::atomic::Ordering::Relaxed);
                second
            }
            answer => answer,
        }
    }

    /// What goes with a request: for a certificate a new assertion.
    pub(in crate::broker) fn present(
        &self,
        proof: &Proof,
        algorithm: SignatureAlgorithm,
        now: DateTime<Utc>,
    ) -> Result<Presentation, Denied> {
        proof
            .present(algorithm, &self.settings.client_id, &self.settings.token_url, now)
            .map_err(|error| Denied::Unreachable(error.to_string()))
    }

    fn may_be_the_algorithm(&self, proof: &Proof, algorithm: SignatureAlgorithm, body: &ErrorBody) -> bool {
        matches!(proof, Proof::Certificate(_)) && algorithm == SignatureAlgorithm::Ps256 && is_signature_refusal(body)
    }
}

/// Whether the signature of an assertion was refused: AADSTS700027 or 50012, or, elsewhere, no number at all.
fn is_signature_refusal(body: &ErrorBody) -> bool {
    body.error == "invalid_client" && matches!(body.aadsts(), Some(700_027 | 50_012) | None)
}

/// Reads what an application proves itself with, away from the tasks that must not wait.
pub(in crate::broker) async fn proof(tenant: &Tenant) -> Result<Proof, BrokerError> {
    let (credential, name) = (tenant.settings.credential.clone(), tenant.settings.name.clone());
    let shown = name.to_string();
    tokio::task::spawn_blocking(move || Proof::read(&credential, &name)).await.unwrap_or_else(|_| {
        Err(BrokerError::OutOfOrder { tenant: shown, reason: "the credential could not be read".to_owned() })
    })
}

/// Makes an access token of what was granted, if it can stand in a SASL string.
pub(in crate::broker) fn access_token(
    tenant: &TenantName,
    account: Option<Mailbox>,
    granted: Granted,
) -> Result<AccessToken, BrokerError> {
    // Whatever else a token service sends, only a b64token may stand in a SASL string (RFC 6750, section 2.1).
    let text = granted.access_token.expose();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
        return Err(BrokerError::Malformed { tenant: tenant.to_string() });
    }
    Ok(AccessToken::new(granted.access_token, account, granted.life, granted.refresh_in))
}

/// Why nothing was granted: a failure of ours, a denial, or one of either that was remembered.
enum Asked {
    Failed(BrokerError),
    Denied(Judged),
    Again(Arc<BrokerError>),
}

impl<E: Into<BrokerError>> From<E> for Asked {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a denial means, and how long to leave the token service alone.
pub(in crate::broker) fn judge(tenant: &TenantName, account: Option<&Mailbox>, denied: Denied) -> Judged {
    let tenant = tenant.to_string();
    let judged = |error, wait, reach| Judged { error, wait, reach, scopes: false };
    match denied {
        Denied::Said { body, noted } => {
            let meaning = entra::judge(&body, noted.status.unwrap_or(400), noted.retry_after, account.is_some());
            let mut said = format!("{body}: {}", body.first_line());
            // The commonest reason for a refused assertion is a clock, which nobody thinks of.
            if let Some(ahead) = noted.ahead_seconds.filter(|seconds| seconds.abs() > 120) {
                let how = if ahead > 0 { "behind" } else { "ahead of" };
                said.push_str(&format!(" (this machine's clock is {} s {how} the token service's)", ahead.abs()));
            }
            debug!(trace_id = body.trace_id, correlation_id = body.correlation_id, suberror = body.suberror, "{said}");
            match meaning.whose {
                Whose::Nobody => {
                    // A loop, and a limit on one person's requests, say nothing about the others.
                    let of_this_one = body.aadsts() == Some(50_196) || (noted.status == Some(429) && account.is_some());
                    let reach = if of_this_one { Reach::This } else { Reach::Perhaps };
                    judged(BrokerError::OutOfOrder { tenant, reason: said }, meaning.wait, reach)
                }
                whose => {
                    let remedy = entra::remedy(&body, account.map(Mailbox::as_str));
                    let scopes = is_about_scopes(&body);
                    let error = BrokerError::Refused { tenant, said, whose, remedy };
                    Judged { scopes, ..judged(error, None, Reach::This) }
                }
            }
        }
        Denied::Garbage { what, noted } => {
            let reason = match noted.status {
                Some(status) => format!("{what} (HTTP status {status})"),
                None => what,
            };
            judged(BrokerError::OutOfOrder { tenant, reason }, noted.retry_after, Reach::Perhaps)
        }
        Denied::Unreachable(reason) => judged(BrokerError::Unreachable { tenant, reason }, None, Reach::Everyone),
    }
}

/// Whether other scopes might have been granted: one was not consented to, or is not known there.
fn is_about_scopes(body: &ErrorBody) -> bool {
    matches!(body.error.as_str(), "invalid_scope" | "consent_required")
        || body.suberror.as_deref() == Some("consent_required")
        || matches!(body.aadsts(), Some(65_001 | 65_005 | 650_057 | 70_011))
}

fn fingerprint(proof: &Proof, token: Option<&Secret<String>>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&proof.fingerprint());
    context.update(token.map_or(&[][..], |token| token.expose().as_bytes()));
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
