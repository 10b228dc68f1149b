//! App passwords: issued, rotated, listed, shown, revoked.

use crate::admin::ops::audit::actor;
use crate::admin::ops::strength::{Strength, unfit};
use crate::admin::ops::{
    Adopted, IssueRequest, Issued, Ops, OpsError, PasswordRow, PasswordState, RevokeOutcome, Rotate, Rotated, Undo,
};
use crate::auth::{Successors, app_password, reminder_stage};
use crate::base::{Protocol, Secret};
use crate::store::{AppPasswordRecord, Rotation, Tracking, UseScope, Verifier};

/// How many secrets of devices a mailbox may have: each of them is worked out at a login that is none of them.
const MOST_ADOPTED: usize = 8;

impl Ops {
    /// Issues an app password. What is returned is the only time that it can be read.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], an unfit label, an end in the past.
    pub async fn issue_password(&self, request: IssueRequest) -> Result<Issued, OpsError> {
        let short = request.short;
        let (password, record) = self.fresh_password(self.prepared(request)?, short)?;
        // The store itself looks at the list: between a look of ours and this somebody could take the mailbox off it.
        if !self.foundation.store.add_app_password(&record).await? {
            return Err(self.not_listed(&record.mailbox).await);
        }
        self.noted("password issued", Some(&record.mailbox), Some(&record.id), what_for(&record)).await;
        Ok(Issued { password, row: self.password_row(record, &Successors::default()) })
    }

    /// Takes a secret that a device holds already as an app password of the mailbox, for this secret to the letter.
    ///
    /// # Errors
    /// Those of [`issue_password`](Self::issue_password); [`OpsError::SecretUnfit`]; [`OpsError::SecretWeak`] unless it is `forced`;
    /// [`OpsError::SecretKnown`]; [`OpsError::TooManyAdopted`].
    pub async fn adopt_password(
        &self,
        request: IssueRequest,
        secret: Secret<String>,
        forced: bool,
    ) -> Result<Adopted, OpsError> {
        let like = self.prepared(request)?;
        if let Some(why) = unfit(secret.expose()) {
            return Err(OpsError::SecretUnfit { why });
        }
        let strength = Strength::of(secret.expose(), &like);
        if !strength.is_enough() && !forced {
            return Err(OpsError::SecretWeak { strength });
        }
        let pepper = &self.foundation.pepper;
        let hasher = pepper.slow_hasher();
        let bytes = secret.expose().as_bytes();
        let records = self.foundation.store.app_passwords().await?;
        let in_force: Vec<_> = records.iter().filter(|record| record.revoked_at.is_none()).collect();
        let verifier = pepper.verifier(bytes);
        let adopted: Vec<_> = in_force.iter().filter(|record| record.mailbox == like.mailbox).collect();
        let mut adopted = adopted.into_iter().filter_map(|record| Some((record, record.slow_hash.as_ref()?)));
        let count = adopted.clone().count();
        let known = adopted.find(|(_, hash)| hasher.is_of(hash, bytes)).map(|(record, _)| record.id.clone());
        let known = known.or_else(|| Some(in_force.iter().find(|record| record.verifier == verifier)?.id.clone()));
        if let Some(id) = known {
            return Err(OpsError::SecretKnown { id });
        }
        if count >= MOST_ADOPTED {
            return Err(OpsError::TooManyAdopted { mailbox: like.mailbox, most: MOST_ADOPTED });
        }
        let no_randomness = |_| OpsError::NoRandomness;
        let record = AppPasswordRecord {
            id: app_password::generate_id().map_err(no_randomness)?,
            // Of a password that nobody has seen or will.
            verifier: pepper.verifier(app_password::generate(false).map_err(no_randomness)?.expose().as_bytes()),
            slow_hash: Some(hasher.hash(bytes).map_err(no_randomness)?),
            ..like
        };
        if !self.foundation.store.add_app_password(&record).await? {
            return Err(self.not_listed(&record.mailbox).await);
        }
        let mut more = what_for(&record);
        more["guesses_log10"] = (strength.guesses_log10.floor() as i64).into();
        more["forced"] = (!strength.is_enough()).into();
        self.noted("password adopted", Some(&record.mailbox), Some(&record.id), more).await;
        Ok(Adopted { row: self.password_row(record, &Successors::default()), strength })
    }

    /// The record of a new one, but for its ID and what is compared with it.
    fn prepared(&self, request: IssueRequest) -> Result<AppPasswordRecord, OpsError> {
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
        let mut protocols = if request.protocols.is_empty() { Protocol::ALL.to_vec() } else { request.protocols };
        if request.scope.read_only {
            // Who sends changes something: its Sent Items, if nothing else.
            protocols.retain(|protocol| *protocol != Protocol::Smtp);
            if protocols.is_empty() {
                return Err(OpsError::ReadOnlySender);
            }
        }
        if let (Some(start), Some(end)) = (request.scope.starts_at, request.expires_at)
            && end <= start
        {
            return Err(OpsError::EndBeforeStart { start, end });
        }
        Ok(AppPasswordRecord {
            id: String::new(),
            mailbox: request.mailbox,
            label,
            verifier: Verifier([0; 32]),
            slow_hash: None,
            protocols,
            networks: request.networks,
            delivery: request.delivery,
            senders: request.senders,
            scope: request.scope,
            first_use: None,
            ends_unused: None,
            created_at: now,
            expires_at: request.expires_at,
            revoked_at: None,
            last_used_at: None,
            replaces: None,
            tracking: Tracking {
                owner: request.owner,
                note: request.note,
                created_by: Some(actor()),
                ..Tracking::default()
            },
        })
    }

    /// A new password, its ID, and what is compared with it; everything else as it stands there.
    fn fresh_password(
        &self,
        like: AppPasswordRecord,
        short: bool,
    ) -> Result<(Secret<String>, AppPasswordRecord), OpsError> {
        let password = app_password::generate(short).map_err(|_| OpsError::NoRandomness)?;
        let id = app_password::generate_id().map_err(|_| OpsError::NoRandomness)?;
        let verifier = self.foundation.pepper.verifier(password.expose().as_bytes());
        Ok((password, AppPasswordRecord { id, verifier, slow_hash: None, ..like }))
    }

    /// Issues an app password in the place of another, with everything that the other may do. Both work for a while.
    ///
    /// # Errors
    /// [`OpsError::PasswordUnknown`], [`OpsError::PasswordOver`], [`OpsError::PasswordReplaced`], an end in the past.
    pub async fn rotate_password(&self, id: &str, how: &Rotate) -> Result<Rotated, OpsError> {
        let Rotate { overlap, ends_unused, expires_at, short } = *how;
        let records = self.foundation.store.app_passwords().await?;
        let old = records.iter().find(|record| record.id == id);
        let old = old.ok_or_else(|| OpsError::PasswordUnknown { id: id.to_owned() })?.clone();
        let now = self.clock.now();
        if let Some(at) = expires_at.filter(|at| *at <= now) {
            return Err(OpsError::EndInThePast { at });
        }
        // Where it was cut short by a rotation that was taken back, its successor says how long it was to live.
        let model = records.iter().rev().find(|other| other.replaces.as_ref() == Some(&old.id)).unwrap_or(&old);
        let life = model.expires_at.map(|end| end - model.created_at);
        let like = AppPasswordRecord {
            created_at: now,
            expires_at: expires_at.or_else(|| life.map(|span| now + span)),
            revoked_at: None,
            last_used_at: None,
            replaces: Some(old.id.clone()),
            tracking: Tracking {
                owner: old.tracking.owner.clone(),
                note: old.tracking.note.clone(),
                created_by: Some(actor()),
                ..Tracking::default()
            },
            // Whoever has it uses it for the first time, wherever that is.
            first_use: None,
            ends_unused: None,
            scope: UseScope {
                activate_by: old.scope.activate_by.map(|by| now + (by - old.created_at)),
                ..old.scope.clone()
            },
            ..old.clone()
        };
        let (password, record) = self.fresh_password(like, short)?;
        let old_ends_at = old.expires_at.map_or(now + overlap, |end| end.min(now + overlap));
        match self.foundation.store.rotate_app_password(&record, old_ends_at, ends_unused).await? {
            Rotation::Done => {}
            Rotation::Ended => {
                if let Some(by) = self.password_row(old.clone(), &Successors::among(&records)).replaced_by {
                    return Err(OpsError::PasswordReplaced { id: old.id, by });
                }
                return Err(OpsError::PasswordOver { id: old.id, mailbox: old.mailbox, label: old.label });
            }
            Rotation::Replaced => {
                let by = self.password_row(old.clone(), &Successors::among(&records)).replaced_by.unwrap_or_default();
                return Err(OpsError::PasswordReplaced { id: old.id, by });
            }
            Rotation::NotListed => return Err(self.not_listed(&old.mailbox).await),
        }
        let more =
            serde_json::json!({ "label": record.label, "replaces": old.id, "old_ends_at": old_ends_at.to_rfc3339() });
        self.noted("password rotated", Some(&record.mailbox), Some(&record.id), more).await;
        let row = self.password_row(record.clone(), &Successors::default());
        let undo = Undo { record, old_ended_at: old.expires_at };
        Ok(Rotated { issued: Issued { password, row }, old_ends_at, undo })
    }

    /// Takes a rotation back of which nobody has seen the new app password: it is revoked, and the old one ends when it did before.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn undo_rotation(&self, rotated: &Rotated) -> Result<(), OpsError> {
        let Undo { record, old_ended_at } = &rotated.undo;
        self.foundation.store.undo_rotation(record, *old_ended_at, self.clock.now()).await?;
        let more = serde_json::json!({ "replaces": record.replaces });
        self.noted("rotation taken back", Some(&record.mailbox), Some(&record.id), more).await;
        Ok(())
    }

    fn password_row(&self, record: AppPasswordRecord, successors: &Successors<'_>) -> PasswordRow {
        let now = self.clock.now();
        let is_over = |record: &AppPasswordRecord| record.expires_at.is_some_and(|end| end <= now);
        let is_in_force = |other: &&&AppPasswordRecord| other.revoked_at.is_none() && !is_over(other);
        let successor = successors.of(&record.id).iter().find(is_in_force);
        let (replaced_by, replaced_at) =
            (successor.map(|other| other.id.clone()), successor.map(|other| other.created_at));
        let ends_within_days = reminder_stage(&record, successors, now);
        let has_lapsed = record.first_use.is_none() && record.scope.activate_by.is_some_and(|by| by <= now);
        let state = if record.revoked_at.is_some() {
            PasswordState::Revoked
        } else if is_over(&record) || has_lapsed {
            PasswordState::Expired
        } else if replaced_by.is_some() {
            PasswordState::Rotating
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
            scope: record.scope,
            first_use: record.first_use,
            created_at: record.created_at,
            expires_at: record.expires_at,
            ends_within_days: ends_within_days.filter(|_| state == PasswordState::Active),
            revoked_at: record.revoked_at,
            last_used_at: record.last_used_at,
            replaces: record.replaces,
            tracking: record.tracking,
            is_adopted: record.slow_hash.is_some(),
            replaced_at,
            ends_unused: record.ends_unused,
            replaced_by,
        }
    }

    /// All app passwords, by time of issue.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn passwords(&self) -> Result<Vec<PasswordRow>, OpsError> {
        let records = self.foundation.store.app_passwords().await?;
        let successors = Successors::among(&records);
        Ok(records.iter().map(|record| self.password_row(record.clone(), &successors)).collect())
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
        let row = self.password(id).await?;
        match self.foundation.store.revoke_app_password(id, self.clock.now()).await? {
            true => {
                let more = serde_json::json!({ "label": row.label });
                self.noted("password revoked", Some(&row.mailbox), Some(id), more).await;
                Ok(RevokeOutcome::Revoked)
            }
            false => Ok(RevokeOutcome::AlreadyRevoked),
        }
    }
}

/// What an app password is for, as the audit trail has it.
fn what_for(record: &AppPasswordRecord) -> serde_json::Value {
    let scope = &record.scope;
    serde_json::json!({
        "label": record.label,
        "protocols": record.protocols.iter().map(|protocol| protocol.name()).collect::<Vec<_>>(),
        "networks": record.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "senders": record.senders.allowed,
        "force_from": record.senders.force_from,
        "recipients": scope.recipients,
        "read_only": scope.read_only,
        "drop_sent_append": scope.drop_sent_append,
        "max_per_minute": scope.max_per_minute,
        "max_per_day": scope.max_per_day,
        "max_sessions": scope.max_sessions,
        "bind_first_use": scope.binds_network,
        "not_before": scope.starts_at.map(|at| at.to_rfc3339()),
        "expires_at": record.expires_at.map(|at| at.to_rfc3339()),
    })
}
