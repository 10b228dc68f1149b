//! What is wrong between here and a mailbox, found step by step, with the remedy for each step that fails.
//!
//! Everything is tried as `serve` would do it, by the same settings, trust and broker, and then once more by mail clients of others. Each
//! step is told as it begins and as it ends; a step that depends on one that failed is told as not tried.

mod certificates;
mod environment;
mod graph;
mod imap;
mod local;
mod login;
mod network;
mod port;
mod send;
mod smtp;
mod step;
mod token;

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::{Semaphore, mpsc};

use crate::admin::ops::doctor::network::Ways;
use crate::admin::ops::doctor::step::{Outcome, Teller};
use crate::admin::ops::go_on;
use crate::admin::ops::{Ops, OpsError};
use crate::base::{Mailbox, Protocol, Proxy, TenantName};
use crate::broker::{Broker, TenantSettings};
use crate::config::{self, Config, Tenant};
use crate::foundation;
use crate::store::{MailboxRecord, Store};
use crate::upstream::{self, Upstream};

pub use self::step::{Check, Event, Step, StepState};

/// Mailboxes of a tenant that are looked at together. Exchange counts connections for each mailbox, the token service for each tenant.
const TOGETHER: usize = 4;

/// What the doctor is asked.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// The mailbox to look at; without one, all of the list.
    pub mailbox: Option<Mailbox>,
    /// Where a test mail from that mailbox is to go.
    pub send_test: Option<Mailbox>,
}

/// Looks at everything and tells each step as it begins and ends. Nothing is changed but what a login changes (a trouble that was noted
/// for it is over), and the test mail.
///
/// `warnings` are those of the configuration.
///
/// # Errors
/// [`OpsError::NoStore`] and [`OpsError::NotListed`], when a mailbox is named; whatever else is wrong is a step that failed.
pub async fn examine(
    config: &Config,
    warnings: &[config::Warning],
    examination: &Examination,
    tell: &mut (dyn FnMut(Event) + Send),
) -> Result<(), OpsError> {
    if let Some(mailbox) = &examination.mailbox {
        Ops::open_existing(config, Some(mailbox)).await?.mailbox(mailbox).await?;
    }
    // A step is told while the next one is under way.
    let (events, mut told) = mpsc::unbounded_channel();
    let work = async {
        let teller = Teller::new(events);
        let ops = local::examine(config, warnings, &teller).await;
        let Some(doctor) = Doctor::prepare(config, ops, examination, &teller).await else { return };
        doctor.everything(&teller).await;
    };
    let telling = async {
        while let Some(event) = told.recv().await {
            tell(event);
        }
    };
    tokio::join!(work, telling);
    Ok(())
}

/// What every step may need.
struct Doctor<'a> {
    config: &'a Config,
    examination: &'a Examination,
    /// What the token services are asked with, by tenant.
    tenants: HashMap<TenantName, TenantSettings>,
    proxy: Option<Proxy>,
    settings: upstream::Settings,
    upstream: Upstream,
    /// What acts on the store; none where there is no store, or none that can be opened.
    desk: Option<Desk>,
}

/// What needs the store.
struct Desk {
    store: Arc<dyn Store>,
    broker: Arc<Broker>,
    mailboxes: Vec<MailboxRecord>,
}

impl<'a> Doctor<'a> {
    /// Makes what the road is made of. `None`: the trust anchors or the proxy cannot be read, and this is told.
    async fn prepare(
        config: &'a Config,
        ops: Option<Ops>,
        examination: &'a Examination,
        teller: &Teller,
    ) -> Option<Self> {
        let road = || -> Result<_, OpsError> {
            let trust = foundation::trust(config)?;
            let proxy = foundation::proxy(config)?;
            let settings = foundation::upstream(config, &trust, proxy.as_ref());
            Ok((foundation::broker_tenants(config, &trust, proxy.as_ref()), proxy, settings))
        };
        let (tenants, proxy, settings) = match road() {
            Ok(road) => road,
            Err(error) => {
                teller.run::<()>(Check::Configuration, None, async { Outcome::of_fault(&error) }).await;
                return None;
            }
        };
        let desk = match ops {
            Some(ops) => match Desk::of(&ops).await {
                Ok(desk) => Some(desk),
                Err(error) => {
                    teller.run::<()>(Check::Store, None, async { Outcome::of_fault(&error) }).await;
                    None
                }
            },
            None => None,
        };
        Some(Self {
            config,
            examination,
            tenants: tenants.into_iter().map(|settings| (settings.name.clone(), settings)).collect(),
            proxy,
            upstream: Upstream::new(settings.clone()),
            settings,
            desk,
        })
    }

    /// Each tenant that is concerned, and its mailboxes.
    async fn everything(&self, teller: &Teller) {
        for tenant in &self.config.tenants {
            let mailboxes = self.mailboxes_of(tenant);
            if self.examination.mailbox.is_some() && mailboxes.is_empty() {
                continue;
            }
            let of_tenant = teller.of_tenant(&tenant.name);
            let ways = self.ways(tenant, &of_tenant).await;
            if mailboxes.is_empty() {
                let why = match self.desk {
                    Some(_) => "this tenant has no mailbox on the list yet",
                    None => "without the store there is nothing to sign in with",
                };
                of_tenant.skip(Check::Token, None, why);
                continue;
            }
            self.of_all(tenant, &mailboxes, &ways, &of_tenant).await;
        }
        self.orphans(teller);
    }

    fn mailboxes_of(&self, tenant: &Tenant) -> Vec<&MailboxRecord> {
        let listed = self.desk.iter().flat_map(|desk| &desk.mailboxes);
        let meant =
            |record: &&MailboxRecord| self.examination.mailbox.as_ref().is_none_or(|one| *one == record.address);
        listed.filter(|record| record.tenant == tenant.name).filter(meant).collect()
    }

    /// Looks at several mailboxes together; their steps are told one mailbox after the other.
    async fn of_all(&self, tenant: &Tenant, mailboxes: &[&MailboxRecord], ways: &Ways, teller: &Teller) {
        let slots = Semaphore::new(TOGETHER);
        let (mut patients, mut told) = (Vec::new(), Vec::new());
        for mailbox in mailboxes {
            let (events, receiver) = mpsc::unbounded_channel();
            told.push(receiver);
            let of_it = teller.of_mailbox(&mailbox.address, events);
            let slots = &slots;
            patients.push(Box::pin(async move {
                // The semaphore is never closed.
                let _slot = slots.acquire().await;
                self.mailbox(tenant, mailbox, ways, &of_it).await;
            }));
        }
        let in_order = async {
            for mut receiver in told {
                while let Some(event) = receiver.recv().await {
                    teller.pass_on(event);
                }
            }
        };
        tokio::join!(join_all(patients), in_order);
    }

    /// One mailbox: token, logins, and what lies behind them.
    async fn mailbox(&self, tenant: &Tenant, record: &MailboxRecord, ways: &Ways, teller: &Teller) {
        if let Some(since) = record.disabled_at {
            let said = format!("the administrator has disabled it ({}), so it is left alone", since.format("%Y-%m-%d"));
            let remedy = format!("Let it be used again: `postern mailbox enable {}`.", record.address);
            teller.tell(Check::Mailbox, None, StepState::Skipped, said, Some(remedy));
            return;
        }
        if let Some(since) = record.halted_at {
            let said = format!(
                "its tenant, or everything, is halted ({}), so it is left alone",
                since.format("%Y-%m-%d %H:%M UTC")
            );
            teller.tell(Check::Mailbox, None, StepState::Skipped, said, Some(go_on(&record.tenant)));
            return;
        }
        let Some(desk) = &self.desk else { return };
        let patient = login::Patient { doctor: self, desk, tenant, record, teller };
        patient.examine(ways).await;
    }

    /// Mailboxes whose tenant the configuration does not have any more.
    fn orphans(&self, teller: &Teller) {
        for record in self.desk.iter().flat_map(|desk| &desk.mailboxes) {
            let known = self.config.tenant(record.tenant.as_str()).is_some();
            if known || self.examination.mailbox.as_ref().is_some_and(|one| *one != record.address) {
                continue;
            }
            let said = format!("the configuration has no tenant `{}`", record.tenant);
            let remedy = format!(
                "Put its [[tenant]] back, or take the mailbox off the list: `postern mailbox remove {}`.",
                record.address
            );
            let teller = teller.of_tenant(&record.tenant).about(&record.address);
            teller.tell(Check::Mailbox, None, StepState::Failed, said, Some(remedy));
        }
    }

    /// The protocols that some listener speaks.
    fn spoken(&self) -> Vec<Protocol> {
        let spoken = |protocol: &Protocol| self.config.listeners.iter().any(|listener| listener.protocol == *protocol);
        Protocol::ALL.into_iter().filter(spoken).collect()
    }
}

impl Desk {
    async fn of(ops: &Ops) -> Result<Self, OpsError> {
        let store = Arc::clone(&ops.foundation.store);
        Ok(Self { broker: Arc::new(ops.broker()?), mailboxes: store.mailboxes().await?, store })
    }
}
