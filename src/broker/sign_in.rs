//! Signing an account in: by a browser, by a device code, or with a refresh token that was had elsewhere.
//!
//! Whatever comes of it is tried before it is kept, and kept only if it is the account that was meant.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::time::Instant;
use tracing::{debug, info};
use url::Url;

use crate::base::{Fault, Mailbox, Protocol, Secret, TenantName, Whose};
use crate::broker::claims::Claims;
use crate::broker::entra::ErrorBody;
use crate::broker::grant::{Begun, Denied, DeviceCode, Granted, Presented};
use crate::broker::http::Noted;
use crate::broker::renewal::{judge, proof};
use crate::broker::vault::Place;
use crate::broker::{Broker, BrokerError, Tenant};
use crate::store::{SignInRecord, SignInState};

/// An assertion lives five minutes from when it is made, so polling is begun anew with another one before that.
const POLL_TIME: Duration = Duration::from_secs(240);

/// The pause before polling is begun anew (RFC 8628, section 3.2: 5 seconds where none is named).
const BETWEEN_POLLS: Duration = Duration::from_secs(5);

/// Who is to sign in, for which mailbox.
#[derive(Clone, Debug)]
struct Who {
    tenant: TenantName,
    account: Mailbox,
    mailbox: Mailbox,
}

/// A sign-in in a browser that has begun.
pub struct BrowserSignIn {
    who: Who,
    redirect: String,
    begun: Begun,
}

/// What a browser brought back to the redirect address.
#[derive(Debug)]
pub enum Redirected {
    /// It answers this sign-in.
    Answer(Secret<String>),
    /// It does not: something else asked for the address, or somebody tries to slip another answer in. It changes nothing.
    Stray,
}

/// A sign-in by device code that has begun.
pub struct DeviceSignIn {
    who: Who,
    code: DeviceCode,
    ends: Instant,
}

/// What a sign-in came to.
#[derive(Debug)]
pub struct Connected {
    /// The protocols that it was not granted or could not be tried for, each with the reason. The others work.
    pub without: Vec<(Protocol, Arc<BrokerError>)>,
}

impl BrowserSignIn {
    /// Where the browser is to be sent.
    pub fn url(&self) -> &Url {
        &self.begun.url
    }

    /// Whether an address that was asked for, or pasted, is the answer to this sign-in: its `state` is the one that was sent along
    /// (RFC 6749, section 10.12). Anything may ask for a redirect address on this machine, so the rest is passed over.
    pub fn judge(&self, address: &str) -> Redirected {
        let query = address.trim().split_once('?').map_or("", |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        let state = parameter(query, "state").unwrap_or_default();
        match verify_slices_are_equal(state.as_bytes(), self.begun.state.expose().as_bytes()) {
            Ok(()) => Redirected::Answer(Secret::new(query.to_owned())),
            Err(_) => Redirected::Stray,
        }
    }
}

impl DeviceSignIn {
    /// What the person types.
    pub fn user_code(&self) -> &str {
        self.code.user_code()
    }

    /// Where the person types it.
    pub fn address(&self) -> &str {
        self.code.address()
    }

    /// That address with the code in it, if the token service has one.
    pub fn whole_address(&self) -> Option<&str> {
        self.code.whole_address()
    }

    /// How long the code is good for.
    pub fn life(&self) -> Duration {
        self.code.life()
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl Broker {
    /// Begins a sign-in in a browser (RFC 6749, section 4.1, with RFC 7636). `redirect` is the address on this machine that the browser is
    /// sent back to.
    ///
    /// # Errors
    /// [`BrokerError::NoTenant`], [`BrokerError::NoSignInAddress`].
    pub fn begin_in_browser(
        &self,
        tenant: &TenantName,
        account: &Mailbox,
        mailbox: &Mailbox,
        redirect: &str,
    ) -> Result<BrowserSignIn, BrokerError> {
        let known = self.tenant(tenant)?;
        let mut parameters = known.settings.authorize_parameters.clone();
        if !parameters.iter().any(|(name, _)| name == "login_hint") {
            parameters.push(("login_hint".to_owned(), account.to_string()));
        }
        let begun = known.service.begin(redirect, &known.all_delegated_scopes(), &parameters);
        let who = Who { tenant: tenant.clone(), account: account.clone(), mailbox: mailbox.clone() };
        match begun {
            Some(begun) => Ok(BrowserSignIn { who, redirect: redirect.to_owned(), begun }),
            None => Err(BrokerError::NoSignInAddress { tenant: tenant.to_string(), key: "authorize_url" }),
        }
    }

    /// Ends a sign-in with what the browser brought back: redeems the code, tries the sign-in, and keeps it.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] and the others; then nothing is kept.
    pub async fn finish_in_browser(
        &self,
        sign_in: &BrowserSignIn,
        answer: &Secret<String>,
    ) -> Result<Connected, BrokerError> {
        let BrowserSignIn { who, redirect, begun } = sign_in;
        let known = self.tenant(&who.tenant)?;
        let query = answer.expose();
        if let Some(error) = parameter(query, "error") {
            let body = ErrorBody::said(&error, parameter(query, "error_description"));
            let denied = Denied::Said { body: Box::new(body), noted: Noted::default() };
            return Err(judge(&who.tenant, Some(&who.account), denied).error);
        }
        let not_finished =
            |reason: &str| BrokerError::NotFinished { account: who.account.clone(), reason: reason.to_owned() };
        // An issuer that names itself must be the one that was asked (RFC 9207, section 2.4).
        if let Some(issuer) = parameter(query, "iss")
            && Url::parse(&issuer).ok().map(|url| url.origin()) != Some(begun.url.origin())
        {
            return Err(not_finished("the answer comes from another issuer than the one that was asked"));
        }
        let code = parameter(query, "code").filter(|code| !code.is_empty()).map(Secret::new);
        let code = code.ok_or_else(|| not_finished("the answer holds no code"))?;
        let presented = Presented::Code { code: &code, verifier: &begun.verifier, redirect };
        let scopes = known.delegated_groups().into_iter().next().map(|(_, scopes)| scopes).unwrap_or_default();
        let granted = self.redeem(known, who, &presented, &scopes).await?;
        let token = first_refresh_token(who, granted)?;
        self.try_and_keep(known, who, token).await
    }

    /// Begins a sign-in by device code (RFC 8628).
    ///
    /// # Errors
    /// [`BrokerError::NoTenant`], [`BrokerError::NoSignInAddress`], and those of the token service.
    pub async fn begin_by_device(
        &self,
        tenant: &TenantName,
        account: &Mailbox,
        mailbox: &Mailbox,
    ) -> Result<DeviceSignIn, BrokerError> {
        let known = self.tenant(tenant)?;
        let presentation = known
            .present(&proof(known).await?, known.algorithm(), self.clock.now())
            .map_err(|denied| judge(tenant, Some(account), denied).error)?;
        // Entra ID takes scopes of one resource here; the other resources are had with the refresh token.
        let scopes = known.delegated_groups().into_iter().next().map(|(_, scopes)| scopes).unwrap_or_default();
        match known.service.device_code(&presentation, &scopes).await {
            Some(Ok(code)) => {
                let who = Who { tenant: tenant.clone(), account: account.clone(), mailbox: mailbox.clone() };
                let ends = Instant::now() + code.life();
                Ok(DeviceSignIn { who, code, ends })
            }
            Some(Err(denied)) => Err(judge(tenant, Some(account), denied).error),
            None => Err(BrokerError::NoSignInAddress { tenant: tenant.to_string(), key: "device_url" }),
        }
    }

    /// Waits until the person has signed in, tries the sign-in, and keeps it.
    ///
    /// # Errors
    /// [`BrokerError::NotFinished`] when the code ends first, and the others; then nothing is kept.
    pub async fn finish_by_device(&self, sign_in: DeviceSignIn) -> Result<Connected, BrokerError> {
        let DeviceSignIn { who, code, ends } = sign_in;
        let known = self.tenant(&who.tenant)?;
        let proof = proof(known).await?;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason = "nobody entered the code in time".to_owned();
                return Err(BrokerError::NotFinished { account: who.account, reason });
            }
            let presentation = known
                .present(&proof, known.algorithm(), self.clock.now())
                .map_err(|denied| judge(&who.tenant, Some(&who.account), denied).error)?;
            match known.service.poll(&code, &presentation, left.min(POLL_TIME)).await {
                Ok(Some(granted)) => {
                    let token = first_refresh_token(&who, granted)?;
                    return self.try_and_keep(known, &who, token).await;
                }
                Ok(None) => tokio::time::sleep(left.min(BETWEEN_POLLS)).await,
                Err(denied) => {
                    let judged = judge(&who.tenant, Some(&who.account), denied);
                    // The code is still good while the token service is out of order.
                    if judged.error.whose() != Whose::Nobody {
                        return Err(judged.error);
                    }
                    info!("{}; the code is still waited for", judged.error);
                    tokio::time::sleep(left.min(judged.wait.unwrap_or_default().max(BETWEEN_POLLS))).await;
                }
            }
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
        mailbox: &Mailbox,
        refresh_token: Secret<String>,
    ) -> Result<Connected, BrokerError> {
        let who = Who { tenant: tenant.clone(), account: account.clone(), mailbox: mailbox.clone() };
        self.try_and_keep(self.tenant(tenant)?, &who, refresh_token).await
    }

    async fn redeem(
        &self,
        known: &Tenant,
        who: &Who,
        presented: &Presented<'_>,
        scopes: &[String],
    ) -> Result<Granted, BrokerError> {
        let proof = proof(known).await?;
        let granted = known.exchange(&proof, presented, scopes, self.clock.now()).await;
        let granted = granted.map_err(|denied| judge(&who.tenant, Some(&who.account), denied).error)?;
        is_meant(who, &granted)?;
        Ok(granted)
    }

    /// Tries a refresh token for each resource of the tenant, and keeps it, or what it was rotated into.
    async fn try_and_keep(
        &self,
        known: &Tenant,
        who: &Who,
        refresh_token: Secret<String>,
    ) -> Result<Connected, BrokerError> {
        let proof = proof(known).await?;
        let mut token = refresh_token;
        let mut without = Vec::new();
        let mut works = false;
        for (protocols, scopes) in known.delegated_groups() {
            // Together first; where one of them is not granted, each by itself.
            let mut attempts = vec![(protocols.clone(), scopes)];
            while let Some((protocols, scopes)) = attempts.pop() {
                let answer = known.exchange(&proof, &Presented::RefreshToken(&token), &scopes, self.clock.now()).await;
                match answer.map_err(|denied| judge(&who.tenant, Some(&who.account), denied)) {
                    Ok(granted) => {
                        is_meant(who, &granted)?;
                        works = true;
                        if let Some(rotated) = granted.refresh_token {
                            token = rotated;
                        }
                    }
                    Err(judged) if judged.scopes && protocols.len() > 1 => {
                        attempts.extend(protocols.into_iter().filter_map(|protocol| {
                            Some((vec![protocol], known.settings.access.get(&protocol)?.scopes.clone()))
                        }));
                    }
                    // What works for one resource is a sign-in: with some issuers the token that was presented is used up by now, and
                    // only what it was rotated into is good.
                    Err(judged) if judged.scopes || works => {
                        without.push((protocols, judged.error));
                    }
                    Err(judged) => return Err(judged.error),
                }
            }
        }
        if !works && let Some((_, error)) = without.pop() {
            return Err(error);
        }
        let place = Place::RefreshToken { tenant: &who.tenant, account: &who.account };
        let sealed = self.vault.seal(place, token.expose().as_bytes())?;
        let now = self.clock.now();
        self.store
            .keep_sign_in(&SignInRecord {
                tenant: who.tenant.clone(),
                account: Some(who.account.clone()),
                sealed: Some(sealed),
                state: SignInState { whose: Whose::Nobody, since: now, reason: None, remedy: None },
                refreshed_at: Some(now),
            })
            .await?;
        info!(tenant = %who.tenant, account = %who.account, "signed in");
        let without = without.into_iter().flat_map(|(protocols, error)| {
            let error = Arc::new(error);
            protocols.into_iter().map(move |protocol| (protocol, Arc::clone(&error)))
        });
        Ok(Connected { without: without.collect() })
    }
}

impl Tenant {
    /// The delegated protocols by resource, each group with its scopes.
    fn delegated_groups(&self) -> Vec<(Vec<Protocol>, Vec<String>)> {
        let mut groups: Vec<(Vec<Protocol>, Vec<String>)> = Vec::new();
        for protocol in Protocol::ALL {
            let Some(access) = self.settings.access.get(&protocol).filter(|access| access.delegated) else {
                continue;
            };
            let scopes = self.scopes_together(access);
            match groups.iter_mut().find(|(_, known)| *known == scopes) {
                Some((protocols, _)) => protocols.push(protocol),
                None => groups.push((vec![protocol], scopes)),
            }
        }
        groups
    }

    /// Everything a person is asked to consent to.
    fn all_delegated_scopes(&self) -> Vec<String> {
        let mut all: Vec<String> = self.delegated_groups().into_iter().flat_map(|(_, scopes)| scopes).collect();
        all.extend(
            self.settings.graph.iter().filter(|access| access.delegated).flat_map(|access| access.scopes.clone()),
        );
        all.sort();
        all.dedup();
        all
    }
}

/// Whether it is the account that was meant who has signed in. Tokens of some issuers do not say.
fn is_meant(who: &Who, granted: &Granted) -> Result<(), BrokerError> {
    let Some(claims) = Claims::read(granted.access_token.expose()) else {
        debug!(account = %who.account, "the token does not say whose it is");
        return Ok(());
    };
    if claims.is_user(who.account.as_str()) {
        return Ok(());
    }
    let shown = claims.user().unwrap_or("somebody else");
    Err(BrokerError::OtherAccount {
        account: who.account.clone(),
        mailbox: who.mailbox.clone(),
        signed_in: shown.chars().filter(|c| !c.is_control()).take(254).collect(),
    })
}

fn first_refresh_token(who: &Who, granted: Granted) -> Result<Secret<String>, BrokerError> {
    granted.refresh_token.ok_or_else(|| BrokerError::NotFinished {
        account: who.account.clone(),
        reason: "the token service gave no refresh token; `offline_access` may be missing from the scopes, or, with Google, \
                 access_type = \"offline\" from `authorize_params`"
            .to_owned(),
    })
}
