//! What is seen to now and then beside the sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::app::reminders;
use crate::base::{Fault, TenantName};
use crate::broker::Broker;
use crate::config;
use crate::session::Road;
use crate::store::BanRecord;

/// How often sign-ins are looked through for one that nobody uses.
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(3600);

/// How often changes made by other processes are looked for; the contract allows five seconds.
const UPKEEP_TIME: Duration = Duration::from_secs(1);

/// Keeps alive the sign-ins that nobody uses, and speaks in time of certificates, secrets and app passwords that end.
pub(in crate::app) async fn look_after_sign_ins(
    broker: Arc<Broker>,
    store: Arc<dyn crate::store::Store>,
    road: Arc<Road>,
    mail: config::Reminders,
) {
    let mut told = HashMap::new();
    let (audit, delivery) = (Arc::clone(&road.audit), road.delivery.clone());
    let reminders = reminders::Reminders { store: Arc::clone(&store), audit, delivery, mail };
    let mut hourly = interval(KEEP_ALIVE_TIME);
    hourly.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        hourly.tick().await;
        tell_expiries(&broker, &mut told).await;
        reminders.remind(Utc::now()).await;
        end_disused(&*store, &road).await;
        if let Err(error) = road.auth.forget_bans().await {
            debug!("bans that are over cannot be forgotten: {error}");
        }
        if let Err(error) = broker.keep_alive().await {
            warn!(code = error.code(), remedy = error.remedy(), "sign-ins could not be looked through: {error}");
        }
    }
}

/// Ends app passwords that were rotated, whose successors are used and which nobody has used for as long as was said.
async fn end_disused(store: &dyn crate::store::Store, road: &Road) {
    let (now, audit) = (Utc::now(), &road.audit);
    let noted = match store.note_in_use(&road.auth.in_use(), now).await {
        Ok(()) => store.end_disused(now).await,
        Err(error) => Err(error),
    };
    let ended = match noted {
        Ok(ended) => ended,
        Err(error) => {
            warn!(
                code = error.code(),
                remedy = error.remedy(),
                "app passwords that nobody uses cannot be ended: {error}"
            );
            return;
        }
    };
    for record in ended {
        info!(
            mailbox.id = %record.mailbox,
            password.id = record.id,
            "the app password {} ({}) of {} has ended: its successor is used, and it was not for as long as was said",
            record.id,
            record.label,
            record.mailbox
        );
        let details = json!({ "act": "password ended", "by": "postern", "label": record.label, "reason": "its successor is used, and it was not" });
        if let Err(error) = audit.act(Some(&record.mailbox), Some(&record.id), details).await {
            warn!(
                code = error.code(),
                remedy = error.remedy(),
                "that it has ended is missing in the audit trail: {error}"
            );
        }
    }
}

/// How long a machine may take to have its clock put right.
const CLOCK_TIME: Duration = Duration::from_secs(600);

/// Forgets what the journal and the audit trail need not know any more.
pub(in crate::app) async fn look_after_journal(road: Arc<Road>, keep: Duration, keep_audit: Duration) {
    // Not at once: a machine may start with a clock that is years ahead, which the network puts right within minutes.
    let mut hourly = interval_at(Instant::now() + CLOCK_TIME, KEEP_ALIVE_TIME);
    hourly.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        hourly.tick().await;
        if let Err(error) = road.delivery.journal.prune(Utc::now(), keep).await {
            warn!(code = error.code(), remedy = error.remedy(), "the journal could not be shortened: {error}");
        }
        if let Err(error) = road.audit.prune(keep_audit).await {
            warn!(code = error.code(), remedy = error.remedy(), "the audit trail could not be shortened: {error}");
        }
    }
}

/// Says once for each of 60, 30, 7 and 1 days, and when it has come, that something ends.
async fn tell_expiries(broker: &Arc<Broker>, told: &mut HashMap<(TenantName, &'static str), i64>) {
    let asked = Arc::clone(broker);
    let Ok(found) = tokio::task::spawn_blocking(move || asked.expiries()).await else { return };
    let now = Utc::now();
    for found in found {
        let expiry = match found {
            Ok(expiry) => expiry,
            Err(error) => {
                error!(code = error.code(), remedy = error.remedy(), "{error}");
                continue;
            }
        };
        let place = (expiry.tenant.clone(), expiry.what);
        let Some(stage) = expiry.stage(now) else {
            told.remove(&place);
            continue;
        };
        if told.insert(place, stage) == Some(stage) {
            continue;
        }
        let (tenant, what, remedy) = (&expiry.tenant, expiry.what, expiry.remedy());
        match stage {
            0 => error!(%tenant, remedy, "the {what} of the tenant `{tenant}` has expired"),
            7 | 1 => {
                error!(%tenant, remedy, "the {what} of the tenant `{tenant}` expires in {} days", expiry.days_left(now));
            }
            _ => {
                warn!(%tenant, remedy, "the {what} of the tenant `{tenant}` expires in {} days", expiry.days_left(now))
            }
        }
    }
}

/// Says that an address was banned, in the log and in the audit trail.
async fn tell_ban(road: &Road, ban: &BanRecord) {
    warn!(
        code = "address-banned",
        client.addr = %ban.network.addr(),
        tries = ban.tries,
        until = ban.until.to_rfc3339(),
        remedy = format!("If that was somebody of yours: `postern ban lift {}`.", ban.network),
        "{} has tried {} different passwords and no right one, and is banned",
        ban.network,
        ban.tries
    );
    let details = json!({
        "act": "address banned", "by": "postern", "address": ban.network.to_string(), "until": ban.until.to_rfc3339(),
        "reason": format!("{} different passwords within the hour", ban.tries),
    });
    if let Err(error) = road.audit.act(None, None, details).await {
        warn!(code = error.code(), remedy = error.remedy(), "a ban is missing in the audit trail: {error}");
    }
}

/// Looks every second for what other processes changed.
pub(in crate::app) async fn upkeep(road: Arc<Road>, stop: CancellationToken) {
    let mut ticks = interval(UPKEEP_TIME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // One that fails keeps the others from nothing.
        let (gate, tokens) = (road.auth.upkeep().await, road.broker.upkeep().await);
        let (incidents, journal) = (road.incidents.upkeep().await, road.delivery.journal.upkeep().await);
        for ban in road.auth.new_bans() {
            tell_ban(&road, &ban).await;
        }
        let done = gate.and(tokens).and(incidents).and(journal).and(road.audit.upkeep().await);
        match done {
            Ok(()) => failing = false,
            // Said once, not every second.
            Err(error) if !failing => {
                failing = true;
                error!(code = error.code(), remedy = error.remedy(), "changes cannot be looked for: {error}");
            }
            Err(error) => debug!("changes still cannot be looked for: {error}"),
        }
    }
}
