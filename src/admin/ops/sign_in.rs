//! Signing a mailbox in, and out.

use std::sync::Arc;

use crate::admin::ops::audit;
use crate::admin::ops::{MailboxRow, Ops, OpsError};
use crate::base::{Fault, Mailbox, Protocol, Secret, TenantName};
use crate::broker::{Broker, BrowserSignIn, Connected, DeviceSignIn};
use crate::config::Grant;
use crate::foundation;
use crate::telemetry::audit::Audit;

/// Where one mailbox is signed in.
pub struct SignInDesk {
    broker: Broker,
    tenant: TenantName,
    account: Mailbox,
    mailbox: Mailbox,
    grant: Grant,
    audit: Arc<Audit>,
}

impl Ops {
    /// What a sign-in of this mailbox needs.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], [`OpsError::NoSignIn`], and what the trust anchors say.
    pub async fn sign_in_desk(&self, address: &Mailbox) -> Result<SignInDesk, OpsError> {
        let row = self.with_sign_in(address).await?;
        let grants = self.config.tenant(row.tenant.as_str()).map(|tenant| tenant.grants);
        let delegated = Protocol::ALL
            .into_iter()
            .filter_map(|protocol| Some(grants?.of(protocol)))
            .filter(|grant| grant.is_delegated());
        // Where the protocols differ one sign-in serves them all, and a browser is the safer way.
        let grant = delegated.min_by_key(|grant| *grant != Grant::AuthorizationCode);
        Ok(SignInDesk {
            broker: self.broker()?,
            account: row.sign_in_as.unwrap_or_else(|| address.clone()),
            tenant: row.tenant,
            mailbox: address.clone(),
            grant: grant.unwrap_or(Grant::AuthorizationCode),
            audit: Arc::clone(&self.foundation.audit),
        })
    }

    /// The mailbox that is meant where somebody signs in: the one of that address or, if it is not on the list, one that this account signs
    /// in for. What went wrong is told of the account, and its name is what people then type.
    ///
    /// # Errors
    /// [`OpsError::NotListed`].
    pub async fn mailbox_to_sign_in(&self, named: &Mailbox) -> Result<Mailbox, OpsError> {
        let rows = self.mailboxes().await?;
        if !rows.iter().any(|row| row.address == *named)
            && let Some(row) = rows.into_iter().find(|row| row.sign_in_as.as_ref() == Some(named))
        {
            return Ok(row.address);
        }
        Ok(self.mailbox(named).await?.address)
    }

    /// A broker for the length of a command.
    pub(in crate::admin::ops) fn broker(&self) -> Result<Broker, OpsError> {
        let trust = foundation::trust(&self.config)?;
        let proxy = foundation::proxy(&self.config)?;
        Ok(Broker::new(
            foundation::broker_tenants(&self.config, &trust, proxy.as_ref()),
            Arc::clone(&self.foundation.store),
            Arc::clone(&self.foundation.vault),
            self.clock.clone(),
        )?
        .for_a_command())
    }

    /// Signs a mailbox in with a refresh token that was had elsewhere. It is tried before it is kept.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], [`OpsError::NoSignIn`], and the broker's when the token does not work.
    pub async fn connect_with_refresh_token(
        &self,
        address: &Mailbox,
        refresh_token: Secret<String>,
    ) -> Result<Connected, OpsError> {
        self.sign_in_desk(address).await?.with_refresh_token(refresh_token).await
    }

    /// Destroys the sign-in of a mailbox. False: there was none.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], [`OpsError::NoSignIn`].
    pub async fn disconnect(&self, address: &Mailbox) -> Result<bool, OpsError> {
        let row = self.with_sign_in(address).await?;
        let account = row.sign_in_as.as_ref().unwrap_or(address);
        let forgotten = self.foundation.store.forget_sign_in(&row.tenant, Some(account)).await?;
        if forgotten {
            let more = serde_json::json!({ "account": account.as_str() });
            self.noted("mailbox disconnected", Some(address), None, more).await;
        }
        Ok(forgotten)
    }

    async fn with_sign_in(&self, address: &Mailbox) -> Result<MailboxRow, OpsError> {
        let row = self.mailbox(address).await?;
        match self.config.tenant(row.tenant.as_str()) {
            Some(tenant) if tenant.grants.any_delegated() => Ok(row),
            Some(_) => Err(OpsError::NoSignIn { mailbox: address.clone(), tenant: row.tenant }),
            None => Err(self.tenant(Some(row.tenant.as_str())).err().unwrap_or(OpsError::NoTenant)),
        }
    }
}

impl SignInDesk {
    /// The account that is to sign in.
    pub fn account(&self) -> &Mailbox {
        &self.account
    }

    /// How the configuration wants people to sign in: by browser or by device code.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Begins a sign-in in a browser that is sent back to `redirect`.
    ///
    /// # Errors
    /// The broker's.
    pub fn begin_in_browser(&self, redirect: &str) -> Result<BrowserSignIn, OpsError> {
        Ok(self.broker.begin_in_browser(&self.tenant, &self.account, &self.mailbox, redirect)?)
    }

    /// Ends it with what the browser brought back.
    ///
    /// # Errors
    /// The broker's; then nothing is kept.
    pub async fn finish_in_browser(
        &self,
        sign_in: &BrowserSignIn,
        answer: &Secret<String>,
    ) -> Result<Connected, OpsError> {
        let connected = self.broker.finish_in_browser(sign_in, answer).await?;
        self.noted("browser").await;
        Ok(connected)
    }

    /// Begins a sign-in by device code.
    ///
    /// # Errors
    /// The broker's.
    pub async fn begin_by_device(&self) -> Result<DeviceSignIn, OpsError> {
        Ok(self.broker.begin_by_device(&self.tenant, &self.account, &self.mailbox).await?)
    }

    /// Waits until the person has signed in.
    ///
    /// # Errors
    /// The broker's; then nothing is kept.
    pub async fn finish_by_device(&self, sign_in: DeviceSignIn) -> Result<Connected, OpsError> {
        let connected = self.broker.finish_by_device(sign_in).await?;
        self.noted("device code").await;
        Ok(connected)
    }

    /// Signs in with a refresh token.
    ///
    /// # Errors
    /// The broker's; then nothing is kept.
    pub async fn with_refresh_token(&self, refresh_token: Secret<String>) -> Result<Connected, OpsError> {
        let connected = self.broker.connect(&self.tenant, &self.account, &self.mailbox, refresh_token).await?;
        self.noted("refresh token").await;
        Ok(connected)
    }

    async fn noted(&self, how: &str) {
        let details = serde_json::json!({
            "act": "mailbox connected", "by": audit::actor(), "account": self.account.as_str(), "how": how,
        });
        if let Err(error) = self.audit.act(Some(&self.mailbox), None, details).await {
            tracing::error!(
                code = error.code(),
                remedy = error.remedy(),
                "the sign-in is missing in the audit trail, which cannot be written: {error}"
            );
        }
    }
}
