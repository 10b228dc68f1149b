//! What administrators see of sign-ins and mailboxes: noted in the store when it changes, not at every login.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use tokio::time::Instant;
use tracing::warn;

use crate::auth::Permit;
use crate::base::{Fault, Mailbox, Protocol, TenantName, Whose};
use crate::broker::{Broker, BrokerError, Key};
use crate::store::{SignInState, StoreError, TroubleRecord};

/// How often trouble that goes on is noted anew, for the time when it was last met.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// What was last noted, so that only changes are written.
#[derive(Default)]
pub(in crate::broker) struct Notes {
    /// Per mailbox and protocol: the trouble and when it was noted, or `None` where there is none.
    troubles: DashMap<(Mailbox, Protocol), Option<Noted>>,
}

struct Noted {
    what: (&'static str, Option<String>),
    at: Instant,
}

/// What is to be noted of a fault, so that it need not be held while the store is waited for.
struct Met {
    code: &'static str,
    whose: Whose,
    reason: String,
    remedy: Option<String>,
}

impl Broker {
    /// Notes in the store whose move it is, when that has changed, for `mailbox list` and `status`.
    pub(in crate::broker) async fn note(&self, key: &Key, error: Option<&BrokerError>, at: DateTime<Utc>) {
        let whose = error.map_or(Whose::Nobody, Fault::whose);
        if error.is_some() && whose == Whose::Nobody {
            return; // It passes by itself and says nothing about the sign-in.
        }
        if !self.notes_states {
            return;
        }
        // Another process may have noted something else meanwhile, so the store is asked and not our memory; what stands there already
        // is not written again.
        let (reason, remedy) = (error.map(ToString::to_string), error.and_then(Fault::remedy));
        let state = SignInState { whose, since: at, reason, remedy };
        if let Err(error) = self.store.note_sign_in_state(&key.tenant, key.account.as_ref(), &state).await {
            warn!(tenant = %key.tenant, "the state of a sign-in could not be noted: {error}");
        }
    }

    /// Takes note of whether the mailbox of this permit could be opened, for `mailbox list` and `status`: `None`, or why not.
    pub fn report<'a>(
        &'a self,
        permit: &'a Permit,
        trouble: Option<&dyn Fault>,
    ) -> impl Future<Output = ()> + Send + use<'a> {
        // Where nobody has signed in, or the credential is no good, the sign-in says so itself, for all its mailboxes and protocols, and
        // is mended without any of them being opened.
        let told_elsewhere = trouble.is_some_and(Self::is_of_the_sign_in);
        let met = trouble.map(|fault| Met {
            code: fault.code(),
            whose: fault.whose(),
            reason: fault.to_string(),
            remedy: fault.remedy(),
        });
        async move {
            if !told_elsewhere {
                self.note_trouble(permit, met).await;
            }
        }
    }

    /// Whether a fault is of the sign-in and lasts: those are noted with the sign-in.
    fn is_of_the_sign_in(fault: &dyn Fault) -> bool {
        const CODES: [&str; 6] = [
            "client-certificate-unusable",
            "client-credential-unreadable",
            "not-signed-in",
            "token-refused",
            "key-wrong",
            "sealed-value-damaged",
        ];
        fault.whose() != Whose::Nobody && CODES.contains(&fault.code())
    }

    async fn note_trouble(&self, permit: &Permit, met: Option<Met>) {
        let place = (permit.mailbox().clone(), permit.protocol());
        // Exchange's words hold times and numbers that differ each time, so the remedy and not they tell one trouble from another.
        let what = met.as_ref().map(|met| (met.code, met.remedy.clone()));
        let stands = self.notes.troubles.get(&place).is_some_and(|noted| match (&*noted, &what) {
            (None, None) => true,
            (Some(noted), Some(what)) => noted.what == *what && noted.at.elapsed() < NOTED_EVERY,
            _ => false,
        });
        if stands {
            return;
        }
        let now = self.clock.now();
        let noted = match met {
            Some(met) => {
                let trouble = TroubleRecord {
                    mailbox: permit.mailbox().clone(),
                    protocol: permit.protocol(),
                    code: met.code.to_owned(),
                    whose: met.whose,
                    since: now,
                    last_at: now,
                    reason: met.reason,
                    remedy: met.remedy,
                };
                self.store.note_trouble(&trouble).await
            }
            None => self.store.clear_trouble(permit.mailbox(), permit.protocol()).await,
        };
        match noted {
            Ok(()) => {
                let noted = what.map(|what| Noted { what, at: Instant::now() });
                drop(self.notes.troubles.insert(place, noted));
            }
            Err(error) => warn!(mailbox.id = %permit.mailbox(), "what a mailbox met could not be noted: {error}"),
        }
    }

    /// The upkeep that has to happen every few seconds: drops the tokens of accounts that were disconnected, removed, or signed in anew,
    /// stores what could not be stored before, and keeps alive what nobody uses.
    ///
    /// # Errors
    /// When the store cannot be asked; the next call makes up for it.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        self.save_all().await;
        // What went with a mailbox that was taken off the list has to be noted anew once it is back; and where two sessions ended at the
        // same moment, what is remembered may not be what stands there.
        if !self.notes.troubles.is_empty() {
            let noted = self.store.troubles().await?;
            let stands = |(mailbox, protocol): &(Mailbox, Protocol)| {
                noted.iter().any(|trouble| trouble.mailbox == *mailbox && trouble.protocol == *protocol)
            };
            self.notes.troubles.retain(|place, noted| noted.is_some() == stands(place));
        }
        self.drop_ended_sign_ins().await
    }

    /// Drops the tokens of sign-ins that are gone, or have been replaced by another since.
    async fn drop_ended_sign_ins(&self) -> Result<(), StoreError> {
        if self.tokens.iter().all(|entry| entry.key().account.is_none()) {
            return Ok(());
        }
        let sealed: HashMap<_, _> = self
            .store
            .sign_ins()
            .await?
            .into_iter()
            .filter_map(|record| Some(((record.tenant, record.account?), record.sealed?)))
            .collect();
        let held: BTreeSet<(TenantName, Mailbox)> = self
            .tokens
            .iter()
            .filter_map(|entry| Some((entry.key().tenant.clone(), entry.key().account.clone()?)))
            .collect();
        for place in held {
            if sealed.get(&place).is_some_and(|sealed| !self.is_replaced(&place, sealed)) {
                continue;
            }
            // It may have been renewed since the list was read.
            let now = self.store.sign_in(&place.0, Some(&place.1)).await?.and_then(|record| record.sealed);
            if now.is_some_and(|sealed| !self.is_replaced(&place, &sealed)) {
                continue;
            }
            self.tokens.retain(|key, _| key.tenant != place.0 || key.account.as_ref() != Some(&place.1));
            // A new sign-in may have been consented to for all protocols.
            self.apart.remove(&place);
            self.sign_ins.remove(&place);
        }
        Ok(())
    }

    /// Whether somebody else put another sign-in in the place of the one that the present tokens were had with.
    fn is_replaced(&self, place: &(TenantName, Mailbox), sealed: &[u8]) -> bool {
        let cell = self.sign_ins.get(place).map(|entry| Arc::clone(entry.value()));
        // One that is being renewed now is looked at the next time.
        cell.is_some_and(|cell| cell.try_lock().is_ok_and(|cell| cell.is_replaced(sealed)))
    }
}
