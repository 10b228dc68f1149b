//! Delivers what is in the queue: one message of a mailbox after the other, many mailboxes beside each other, until each message is
//! delivered, returned to its sender, or held where the administrator sees it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::auth::Auth;
use crate::base::{Clock, Fault, Mailbox, Whose};
use crate::delivery::attempt::{Hindrance, Outcome, Sender, waiting};
use crate::delivery::live::is_quota;
use crate::delivery::noted::Envelope;
use crate::delivery::report::{self, Reported};
use crate::delivery::spool::Spool;
use crate::delivery::{Delivery, DeliveryError, Keeping, LIMITS_CODE, recipient_of};
use crate::store::{
    AttemptEnd, JournalOutcome, Obstacle, QueueState, QueuedMessage, QueuedRecipient, RecipientState, Store, StoreError,
};

/// Mailboxes that are served beside each other.
const MAILBOXES_AT_ONCE: usize = 32;

/// How often the queue is looked at although nobody has said that something is in it: the command line is another process.
const GLANCE_TIME: Duration = Duration::from_secs(5);

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4000);

/// How often a message is tried that waits for somebody to mend the set-up.
const HELD_PAUSE: Duration = Duration::from_secs(300);

/// How long a message of the queue waits for room before its mailbox makes way for others.
const ROOM_TIME: Duration = Duration::from_secs(5);

/// How long a mailbox without room is left alone at least.
const LEAST_WAIT: Duration = Duration::from_millis(200);

/// What is to be tried within this time makes clients go behind it.
const SOON: Duration = Duration::from_secs(600);

/// The pause after Exchange has said that the day's limit is used up.
const QUOTA_PAUSE: Duration = Duration::from_secs(3600);

/// How a courier works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How old a message may become, the time aside that it is held.
    pub max_age: Duration,
}

/// The queue and who works on it.
pub struct Courier {
    delivery: Delivery,
    auth: Arc<Auth>,
    store: Arc<dyn Store>,
    spool: Spool,
    clock: Clock,
    settings: Settings,
    wake: Arc<Notify>,
    /// Mailboxes that are being served now.
    busy: Mutex<HashSet<Mailbox>>,
    /// When the queue is to be looked at, if that is before the next glance; by the clock's `elapsed`.
    next_look: Mutex<Option<Duration>>,
    /// Messages of which it could not be noted how their attempt ended.
    unsettled: Mutex<HashSet<String>>,
}

impl Courier {
    /// A courier for this queue.
    pub fn new(delivery: Delivery, auth: Arc<Auth>, settings: Settings) -> Arc<Self> {
        let Keeping { spool, store, clock, wake, .. } = delivery.keeping.clone();
        Arc::new(Self {
            delivery,
            auth,
            store,
            spool,
            clock,
            settings,
            wake,
            busy: Mutex::default(),
            next_look: Mutex::default(),
            unsettled: Mutex::default(),
        })
    }

    /// Takes up what an earlier process left. To be called before messages are taken in.
    ///
    /// # Errors
    /// When the store cannot be asked or the spool not be looked through.
    pub async fn take_up(&self) -> Result<(), DeliveryError> {
        let unknown = self.store.settle_attempts(None).await?;
        let known = self.store.queued_ids().await?;
        let waiting = known.len();
        let spool = self.spool.clone();
        let swept = tokio::task::spawn_blocking(move || spool.sweep(&known)).await;
        let swept = swept.unwrap_or(Ok(0))?;
        if waiting + swept > 0 {
            info!(broken_off = unknown, left_over_files_removed = swept, "mail that waits in the queue: {waiting}");
        }
        Ok(())
    }

    /// A message has come into the queue, or may go sooner than was thought.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Delivers until `stop`. A message that is on its way then may finish.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut rounds = JoinSet::new();
        let mut failing = false;
        while !stop.is_cancelled() {
            match self.begin_rounds(&mut rounds, &stop).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    error!(code = error.code(), remedy = error.remedy(), "the queue cannot be looked at: {error}");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                () = self.clock.sleep(self.nap()) => {}
                Some(_) = rounds.join_next() => {}
            }
        }
        while rounds.join_next().await.is_some() {}
    }

    /// Sends somebody for each mailbox with a message that is due.
    async fn begin_rounds(
        self: &Arc<Self>,
        rounds: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let unsettled: Vec<String> =
            self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        for id in unsettled {
            self.store.settle_attempts(Some(&id)).await?;
            self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
        let now = self.clock.now();
        let mailboxes = self.store.due(now).await?;
        self.look_at_backlogs(now, &mailboxes).await?;
        for mailbox in mailboxes {
            if rounds.len() >= MAILBOXES_AT_ONCE {
                break;
            }
            let is_free = self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(mailbox.clone());
            if is_free {
                let (courier, stop) = (Arc::clone(self), stop.clone());
                rounds.spawn(async move { courier.round(mailbox, &stop).await });
            }
        }
        Ok(())
    }

    /// Clients go past the queue again where nothing of their mailbox waits for Exchange's limits any more.
    async fn look_at_backlogs(&self, now: DateTime<Utc>, due: &[Mailbox]) -> Result<(), StoreError> {
        let governor = &self.delivery.traffic.governor;
        let mut flagged = governor.backlogs();
        flagged.retain(|mailbox| !due.contains(mailbox));
        if !flagged.is_empty() {
            let soon = self.store.due(now + chrono::Duration::from_std(SOON).unwrap_or_default()).await?;
            for mailbox in flagged.iter().filter(|mailbox| !soon.contains(mailbox)) {
                governor.set_backlog(mailbox, false);
            }
        }
        Ok(())
    }

    /// How long until the queue is looked at again, if nothing happens.
    fn nap(&self) -> Duration {
        let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        let left = next.map(|at| at.saturating_sub(self.clock.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            *next = None;
        }
        left.map_or(GLANCE_TIME, |left| left.min(GLANCE_TIME))
    }

    /// A mailbox may go on in `wait`.
    fn look_again_in(&self, wait: Duration) {
        let at = self.clock.elapsed() + wait;
        let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(next.map_or(at, |other| other.min(at)));
    }

    /// Delivers the messages of a mailbox that are due.
    async fn round(&self, mailbox: Mailbox, stop: &CancellationToken) {
        let _busy = Busy { courier: self, mailbox: &mailbox };
        let mut sender: Option<Sender<'_>> = None;
        while !stop.is_cancelled() {
            let now = self.clock.now();
            let message = match self.store.next_due(&mailbox, now).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    error!(code = error.code(), remedy = error.remedy(), mailbox.id = %mailbox, "the queue cannot be read: {error}");
                    break;
                }
            };
            let going_on = self.one(&message, &mut sender).await;
            match going_on {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    error!(
                        code = error.code(),
                        remedy = error.remedy(),
                        queue.id = message.id,
                        "what became of a message cannot be noted: {error}"
                    );
                    self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).insert(message.id);
                    // Not at each glance again; where the store fails, the next glance tells.
                    drop(self.store.postpone(&mailbox, now + first_pause()).await);
                    break;
                }
            }
        }
    }

    /// One attempt at one message. False: the mailbox is to be left alone for a while.
    async fn one<'s>(
        &'s self,
        message: &QueuedMessage,
        sender: &mut Option<Sender<'s>>,
    ) -> Result<bool, DeliveryError> {
        let began = self.clock.now();
        if message.state == QueueState::Waiting && self.is_too_old(message, began) {
            self.expire(message).await?;
            return Ok(true);
        }
        if sender.is_none() {
            match self.auth.permit_for_queued(&message.mailbox).await {
                Ok(permit) => *sender = Some(Sender::new(&self.delivery, permit)),
                Err(error) => {
                    let obstacle =
                        Obstacle { code: error.code().to_owned(), reason: error.to_string(), remedy: error.remedy() };
                    let hindrance = Hindrance { obstacle, whose: error.whose(), of_mailbox: true };
                    if self.store.begin_attempt(&message.id, began).await? {
                        self.defer(message, Outcome { hindrance: Some(hindrance), ..Outcome::default() }).await?;
                    }
                    return Ok(false);
                }
            }
        }
        let Some(sender) = sender else { return Ok(false) };
        let governor = &self.delivery.traffic.governor;
        if message.obstacle.as_ref().is_some_and(|obstacle| obstacle.code == LIMITS_CODE) {
            governor.set_backlog(&message.mailbox, true);
        }
        let room = match sender.room(ROOM_TIME).await {
            Ok(room) => room,
            Err(waits) => {
                // No attempt; and nothing for the log, where it would stand every minute.
                let wait = waits.wait.max(LEAST_WAIT);
                let until = began + chrono::Duration::from_std(wait).unwrap_or_default();
                self.store.postpone(&message.mailbox, until).await?;
                self.look_again_in(wait);
                return Ok(false);
            }
        };
        if !self.store.begin_attempt(&message.id, began).await? {
            return Ok(true);
        }
        let outcome = sender.attempt(message, room).await;
        self.delivery.note_attempt(message, &outcome.recipients);
        let of_mailbox = outcome.hindrance.as_ref().is_some_and(|hindrance| hindrance.of_mailbox);
        let mut after = message.clone();
        for (place, state, reply) in &outcome.recipients {
            if let Some(recipient) = after.recipients.get_mut(*place) {
                *recipient = QueuedRecipient { rcpt: recipient.rcpt.clone(), state: *state, reply: reply.clone() };
            }
        }
        if waiting(&after).next().is_none() {
            self.settle(&after, outcome.recipients).await?;
        } else {
            self.defer(message, outcome).await?;
        }
        Ok(!of_mailbox)
    }

    fn is_too_old(&self, message: &QueuedMessage, now: DateTime<Utc>) -> bool {
        message.attempts > 0 && message.age(now).to_std().is_ok_and(|age| age > self.settings.max_age)
    }

    /// Every recipient is settled: the sender is told of those that failed, and the message goes.
    async fn settle(
        &self,
        message: &QueuedMessage,
        settled: Vec<(usize, RecipientState, Option<String>)>,
    ) -> Result<(), DeliveryError> {
        let failed = message.recipients.iter().filter(|recipient| recipient.state == RecipientState::Failed).count();
        let delivered = message.recipients.len() - failed;
        if failed > 0 && message.is_report {
            // Nobody is told of a report that cannot be delivered but the administrator, who finds it in the queue.
            let obstacle = Obstacle {
                code: "report-undeliverable".to_owned(),
                reason: "a delivery report cannot be delivered to the mailbox itself".to_owned(),
                remedy: Some(format!(
                    "Read it with `postern queue show {0}`, mend the cause, and `postern queue release {0}`, or drop it.",
                    message.id
                )),
            };
            error!(mailbox.id = %message.mailbox, queue.id = message.id, code = obstacle.code, remedy = obstacle.remedy, "{}", obstacle.reason);
            let waiting = message
                .recipients
                .iter()
                .enumerate()
                .map(|(place, one)| (place, RecipientState::Waiting, one.reply.clone()));
            let now = self.clock.now();
            let end = AttemptEnd {
                recipients: waiting.collect(),
                state: QueueState::Held,
                next_at: now,
                is_unknown: false,
                obstacle: Some(obstacle),
            };
            return Ok(self.store.end_attempt(&message.id, &end, now).await?);
        }
        if failed > 0 {
            // Noted first: where no report can be made now, that is tried again, and nobody gets the message a second time.
            let now = self.clock.now();
            let next_at = now + first_pause();
            let end = AttemptEnd {
                recipients: settled,
                state: QueueState::Waiting,
                next_at,
                is_unknown: false,
                obstacle: None,
            };
            self.store.end_attempt(&message.id, &end, now).await?;
            self.report(message, Reported::Refused).await?;
        }
        // First the row: a file without one is swept, a row without its file would be damage.
        self.store.dequeue(&message.id).await?;
        info!(
            mailbox.id = %message.mailbox,
            password.id = message.password_id,
            queue.id = message.id,
            delivered,
            failed,
            attempts = message.attempts + 1,
            "a message of the queue is done with"
        );
        self.spool.remove(&message.id).await?;
        Ok(())
    }

    /// The message has waited too long: what has not got it is told to the sender, and the message goes.
    async fn expire(&self, message: &QueuedMessage) -> Result<(), DeliveryError> {
        warn!(mailbox.id = %message.mailbox, queue.id = message.id, "a message of the queue has become too old");
        let mut ended = message.clone();
        for recipient in ended.recipients.iter_mut().filter(|one| one.state == RecipientState::Waiting) {
            recipient.state = RecipientState::Failed;
        }
        if !message.is_report {
            self.report(&ended, Reported::TooOld).await?;
        }
        let expired = message.waiting().filter_map(recipient_of).collect();
        let why = message.obstacle.as_ref().map(|obstacle| obstacle.reason.clone());
        self.delivery.note(Envelope::of_queued(message), JournalOutcome::Expired, expired, why);
        self.store.dequeue(&message.id).await?;
        self.spool.remove(&message.id).await?;
        Ok(())
    }

    /// Puts a report about the failed recipients into the queue.
    async fn report(&self, message: &QueuedMessage, why: Reported) -> Result<(), DeliveryError> {
        report::enqueue(message, why, &self.delivery.hostname, &self.spool, self.store.as_ref(), self.clock.now())
            .await?;
        self.wake();
        Ok(())
    }

    /// The message waits on.
    async fn defer(&self, message: &QueuedMessage, outcome: Outcome) -> Result<(), DeliveryError> {
        let now = self.clock.now();
        let Outcome { recipients, hindrance, is_unknown } = outcome;
        let (state, pause) = match &hindrance {
            Some(Hindrance { whose: Whose::Administrator | Whose::User, .. }) => (QueueState::HeldForSetup, HELD_PAUSE),
            Some(Hindrance { obstacle, .. }) if is_quota(&obstacle.code) => (QueueState::Waiting, QUOTA_PAUSE),
            _ => (QueueState::Waiting, back_off(message.attempts)),
        };
        let pause = crate::base::jittered(pause);
        let next_at = now + chrono::Duration::from_std(pause).unwrap_or_default();
        if let Some(hindrance) = &hindrance {
            warn!(
                mailbox.id = %message.mailbox,
                password.id = message.password_id,
                queue.id = message.id,
                code = hindrance.obstacle.code,
                remedy = hindrance.obstacle.remedy,
                next_at = next_at.to_rfc3339(),
                "a message of the queue waits on: {}",
                hindrance.obstacle.reason
            );
        }
        let is_unknown = is_unknown || message.is_unknown;
        let of_mailbox = hindrance.as_ref().is_some_and(|hindrance| hindrance.of_mailbox);
        let obstacle = hindrance.map(|hindrance| hindrance.obstacle);
        let end = AttemptEnd { recipients, state, next_at, is_unknown, obstacle };
        self.store.end_attempt(&message.id, &end, now).await?;
        if of_mailbox {
            // The others would meet the same, and would overtake this one when it is over.
            self.store.postpone(&message.mailbox, next_at).await?;
        }
        Ok(())
    }
}

/// A mailbox is being served as long as this lives.
struct Busy<'a> {
    courier: &'a Courier,
    mailbox: &'a Mailbox,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.courier.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(self.mailbox);
    }
}

/// The pause after so many attempts before this one.
fn back_off(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE)
}

/// How long a message waits that was kept just now: the same for all, so that those of one mailbox go out in the order in which they came.
pub(in crate::delivery) fn first_pause() -> chrono::Duration {
    chrono::Duration::from_std(FIRST_PAUSE).unwrap_or_default()
}
