//! App passwords: issued, listed, shown, revoked.

use crate::admin::ops::{IssueRequest, Issued, Ops, OpsError, PasswordRow, PasswordState, RevokeOutcome};
use crate::auth::app_password;
use crate::base::Protocol;
use crate::store::AppPasswordRecord;

impl Ops {
    /// Issues an app password. What is returned is the only time that it can be read.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], an unfit label, an end in the past.
    pub async fn issue_password(&self, request: IssueRequest) -> Result<Issued, OpsError> {
        let label = request.label.trim().to_owned();
        if label.is_empty() {
            return Err(OpsError::Label { why: "is empty" });
        }
        if label.chars().any(char::is_control) || label.chars().count() > 200 {
            return Err(OpsError::Label { why: "holds control characters or is longer than 200 characters" });
        }
        let now = self.clock.now();
        if let Some(at) = request.expires_at.filter(|at| *at <= now) {
            return Err(OpsError::EndInThePast { at });
        }
        let password = app_password::generate(request.short).map_err(|_| OpsError::NoRandomness)?;
        let record = AppPasswordRecord {
            id: app_password::generate_id().map_err(|_| OpsError::NoRandomness)?,
            mailbox: request.mailbox,
            label,
            verifier: self.foundation.pepper.verifier(password.expose().as_bytes()),
            protocols: if request.protocols.is_empty() { Protocol::ALL.to_vec() } else { request.protocols },
            networks: request.networks,
            delivery: request.delivery,
            senders: request.senders,
            created_at: now,
            expires_at: request.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        // The store itself looks at the list: between a look of ours and this somebody could take the mailbox off it.
        if !self.foundation.store.add_app_password(&record).await? {
            return Err(self.not_listed(&record.mailbox).await);
        }
        Ok(Issued { password, row: self.password_row(record) })
    }

    fn password_row(&self, record: AppPasswordRecord) -> PasswordRow {
        let state = if record.revoked_at.is_some() {
            PasswordState::Revoked
        } else if record.expires_at.is_some_and(|end| end <= self.clock.now()) {
            PasswordState::Expired
        } else {
            PasswordState::Active
        };
        PasswordRow {
            id: record.id,
            mailbox: record.mailbox,
            label: record.label,
            state,
            protocols: record.protocols,
            networks: record.networks,
            delivery: record.delivery,
            senders: record.senders,
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            last_used_at: record.last_used_at,
        }
    }

    /// All app passwords, by time of issue.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn passwords(&self) -> Result<Vec<PasswordRow>, OpsError> {
        let records = self.foundation.store.app_passwords().await?;
        Ok(records.into_iter().map(|record| self.password_row(record)).collect())
    }

    /// One app password.
    ///
    /// # Errors
    /// [`OpsError::PasswordUnknown`].
    pub async fn password(&self, id: &str) -> Result<PasswordRow, OpsError> {
        let found = self.passwords().await?.into_iter().find(|row| row.id == id);
        found.ok_or_else(|| OpsError::PasswordUnknown { id: id.to_owned() })
    }

    /// Revokes an app password: refused at its next login, its open sessions closed within seconds.
    ///
    /// # Errors
    /// [`OpsError::PasswordUnknown`].
    pub async fn revoke_password(&self, id: &str) -> Result<RevokeOutcome, OpsError> {
        self.password(id).await?;
        match self.foundation.store.revoke_app_password(id, self.clock.now()).await? {
            true => Ok(RevokeOutcome::Revoked),
            false => Ok(RevokeOutcome::AlreadyRevoked),
        }
    }
}
