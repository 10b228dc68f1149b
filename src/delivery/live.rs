//! One transaction with Exchange: within what Exchange takes from the mailbox, on a connection that is there already if there is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::auth::Permit;
use crate::base::catalogue;
use crate::base::{Clock, Fault, Mailbox, TenantName, Whose};
use crate::delivery::attempt::is_final;
use crate::delivery::governor::{Asks, Governor, Limits, Room, Waits};
use crate::delivery::pool::{Key, Pool, Pooled};
use crate::delivery::{Delivery, DeliveryError, is_foreign};
use crate::upstream::UpstreamError;
use crate::wire::smtp::{MailFrom, RcptTo, Reply};

/// How long clients of a mailbox do not try themselves after Exchange has said that the mailbox has sent enough.
const QUOTA_PAUSE: Duration = Duration::from_secs(300);

/// How long the answer to MAIL may take at least, however long the way there took to open.
const LEAST_MAIL_TIME: Duration = Duration::from_secs(2);

/// How often what nobody uses is looked for.
const UPKEEP_TIME: Duration = Duration::from_secs(5);

/// What all transactions share.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Exchange's limits, and how far they are used up.
    pub governor: Arc<Governor>,
    /// Connections that wait for a message.
    pub pool: Arc<Pool>,
    /// Mailboxes that SMTP does not serve until somebody mends its set-up, and since when.
    pub smtp_off: Arc<DashMap<Mailbox, Instant>>,
    /// The limits of each tenant's mailboxes, where they are not Exchange's own.
    pub limits: Arc<HashMap<TenantName, Limits>>,
}

impl Traffic {
    /// Nothing sent yet, no connection.
    pub fn new(clock: Clock, limits: HashMap<TenantName, Limits>) -> Self {
        Self {
            governor: Arc::new(Governor::new(clock)),
            pool: Arc::default(),
            smtp_off: Arc::default(),
            limits: Arc::new(limits),
        }
    }

    /// Parts from connections that nobody uses until `stop`, then from all; forgets mailboxes that send nothing.
    pub async fn upkeep(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(UPKEEP_TIME) => {}
            }
            self.pool.part(stop.is_cancelled()).await;
            self.governor.tidy();
            self.smtp_off.retain(|_, since| since.elapsed() < Duration::from_secs(3600));
        }
    }

    /// Room for a message within `patience`.
    pub(in crate::delivery) async fn room(
        &self,
        permit: &Permit,
        who: Asks<'_>,
        patience: Duration,
    ) -> Result<Room, Waits> {
        let limits = self.limits.get(permit.tenant()).copied().unwrap_or_default();
        let room = self.governor.room(permit.mailbox(), limits, who, patience).await;
        if room.is_err() {
            crate::telemetry::metrics::waits(permit.tenant());
        }
        room
    }
}

/// A transaction that Exchange has begun. Unless it is ended the connection is cut when this goes, so that no half of a message is taken
/// for a whole one.
#[derive(Debug)]
pub(in crate::delivery) struct Live {
    traffic: Traffic,
    key: Key,
    pooled: Pooled,
    room: Room,
}

/// What came of beginning one.
#[derive(Debug)]
pub(in crate::delivery) enum Begun {
    /// Exchange has taken the sender, with this reply.
    Live(Box<Live>, Reply),
    /// It has not.
    Refused(Reply),
    /// Exchange takes the session for another's, and the sender is not the mailbox itself.
    Foreign,
}

/// What came of naming a recipient.
#[derive(Debug)]
pub(in crate::delivery) enum Named {
    /// Exchange's reply.
    Said(Reply),
    /// The recipients of the day are used up.
    Waits(Waits),
}

impl Delivery {
    /// MAIL to Exchange; `way_time` is for the way to open. A connection that has become useless while it waited is replaced.
    ///
    /// # Errors
    /// When there is no way to Exchange.
    pub(in crate::delivery) async fn transaction(
        &self,
        permit: &Permit,
        mail: &MailFrom,
        room: Room,
        way_time: Duration,
    ) -> Result<Begun, DeliveryError> {
        let key = Key::of(permit);
        let pool = &self.traffic.pool;
        let foreign = |pooled: &Pooled| is_foreign(&pooled.submission, permit, mail.address());
        let began = Instant::now();
        if let Some(mut kept) = pool.take(&key) {
            self.still_signed_in(permit).await?;
            if foreign(&kept) {
                pool.put(&key, kept);
                return Ok(Begun::Foreign);
            }
            match timeout(way_time / 2, kept.submission.mail(mail)).await {
                Ok(Ok(reply)) if reply.is_positive() => return Ok(self.begun(key, kept, room, reply)),
                Ok(Ok(reply)) if is_final(&reply) => {
                    pool.put(&key, kept);
                    return Ok(Begun::Refused(reply));
                }
                // It may have been closed, or its token may have ended, since.
                Ok(Ok(reply)) => debug!("a kept connection is worn out: {} {}", reply.code, reply.text()),
                Ok(Err(error)) => debug!("a kept connection is gone: {error}"),
                Err(_) => debug!("a kept connection says nothing any more"),
            }
        }
        let late = || DeliveryError::Slow { seconds: way_time.as_secs() };
        let left = || way_time.saturating_sub(began.elapsed());
        let opening = timeout(left().max(LEAST_MAIL_TIME), self.open(permit)).await;
        let mut opened = Pooled::new(opening.unwrap_or_else(|_| Err(late()))?);
        if foreign(&opened) {
            pool.put(&key, opened);
            return Ok(Begun::Foreign);
        }
        let answer = timeout(left().max(LEAST_MAIL_TIME), opened.submission.mail(mail)).await;
        let reply = answer.map_err(|_| late())??;
        if reply.is_positive() {
            return Ok(self.begun(key, opened, room, reply));
        }
        slowed(&self.traffic, permit, &reply);
        if is_final(&reply) {
            pool.put(&key, opened);
        }
        Ok(Begun::Refused(reply))
    }

    /// A connection that is open must not outlive the sign-in that it was opened with.
    async fn still_signed_in(&self, permit: &Permit) -> Result<(), DeliveryError> {
        match timeout(self.way_time / 4, self.broker.token_for(permit)).await {
            Ok(Err(error)) if error.whose() != Whose::Nobody => Err(error.into()),
            // That no token can be had just now is no reason not to use what is open.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn begun(&self, key: Key, pooled: Pooled, room: Room, reply: Reply) -> Begun {
        Begun::Live(Box::new(Live { traffic: self.traffic.clone(), key, pooled, room }), reply)
    }
}

impl Live {
    /// Whether Exchange takes the session for the account behind the mailbox: it may send as more than the mailbox may.
    pub(in crate::delivery) fn is_of_account(&self, permit: &Permit) -> bool {
        self.pooled.submission.user() != permit.mailbox()
    }

    /// RCPT.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub(in crate::delivery) async fn recipient(
        &mut self,
        permit: &Permit,
        recipient: &RcptTo,
    ) -> Result<Named, UpstreamError> {
        if let Err(waits) = self.room.recipient() {
            return Ok(Named::Waits(waits));
        }
        let reply = self.pooled.submission.recipient(recipient).await?;
        if !reply.is_positive() {
            self.room.recipient_refused();
            slowed(&self.traffic, permit, &reply);
        }
        Ok(Named::Said(reply))
    }

    /// DATA.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub(in crate::delivery) async fn data(&mut self, permit: &Permit) -> Result<Reply, UpstreamError> {
        let reply = self.pooled.submission.data().await?;
        slowed(&self.traffic, permit, &reply);
        Ok(reply)
    }

    /// A piece of the message.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub(in crate::delivery) async fn content(&mut self, piece: &[u8]) -> Result<(), UpstreamError> {
        self.pooled.submission.content(piece).await
    }

    /// Ends the message. Whatever comes of it, it counts for Exchange's limits. After an error it is unknown whether Exchange has it.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub(in crate::delivery) async fn finish(mut self: Box<Self>, permit: &Permit) -> Result<Reply, UpstreamError> {
        self.room.used();
        let reply = self.pooled.submission.finish().await?;
        if reply.is_positive() {
            self.room.taken();
        }
        slowed(&self.traffic, permit, &reply);
        if !reply.is_intermediate() && reply.code != 421 {
            let Self { traffic, key, pooled, room } = *self;
            // The count first: whoever waits for it finds the connection a moment later, and else opens another.
            traffic.pool.put(&key, pooled);
            drop(room);
        }
        Ok(reply)
    }

    /// Ends the transaction before its message.
    pub(in crate::delivery) async fn reset(mut self: Box<Self>) {
        if self.pooled.submission.reset().await.is_ok() {
            let Self { traffic, key, pooled, .. } = *self;
            traffic.pool.put(&key, pooled);
        }
    }
}

/// Where Exchange asks for less, it gets less (`432 4.3.2`, `4.7.x`, its quotas, a named pause).
fn slowed(traffic: &Traffic, permit: &Permit, reply: &Reply) {
    let said = reply.text();
    let entry = catalogue::exchange_reply(reply.code, &said);
    let is_quota = entry.is_some_and(|entry| is_quota(entry.code));
    let asked = catalogue::pause(&said).or(is_quota.then_some(QUOTA_PAUSE));
    let is_asked = reply.code == 432 || asked.is_some() || (reply.is_transient() && said.starts_with("4.7."));
    if is_asked {
        traffic.governor.slow_down(permit.mailbox(), asked);
    }
}

/// Whether the mailbox has sent what it may in a day.
pub(in crate::delivery) fn is_quota(code: &str) -> bool {
    matches!(code, "smtp-daily-recipients" | "smtp-submission-quota")
}
