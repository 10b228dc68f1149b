//! Delivers what is in the queue: one message of a mailbox after the other, many mailboxes beside each other, until each message is
//! delivered, returned to its sender, or held where the administrator sees it.

mod unsettled;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::auth::{Auth, AuthError};
use crate::base::{Clock, Fault, Mailbox, Protocol, TenantName};
use crate::delivery::attempt::{Hindrance, Outcome, Sender, UNFIT_CODE, waiting};
use crate::delivery::courier::unsettled::Unsettled;
use crate::delivery::late::LATE_TIME;
use crate::delivery::spool::{Spool, Swept};
use crate::delivery::unknown::{FILING_TIME, Known, Looking, UnknownOutcome};
use crate::delivery::{Delivery, DeliveryError, Keeping, LateAnswers};
use crate::store::{Ending, LIMITS_CODE, Obstacle, QueuedMessage, Store, StoreError};

/// Mailboxes that are served beside each other.
const MAILBOXES_AT_ONCE: usize = 32;

/// And those of one tenant, so that one that Exchange is slow to serve leaves places for the others.
const MAILBOXES_OF_TENANT: usize = 16;

/// How often the queue is looked at although nobody has said that something is in it: the command line is another process.
const GLANCE_TIME: Duration = Duration::from_secs(5);

/// The pause after a first failure; it doubles with each further one.
pub(in crate::delivery) const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// How long a message of the queue waits for room before its mailbox makes way for others.
const ROOM_TIME: Duration = Duration::from_secs(5);

/// How long a mailbox without room is left alone at least.
const LEAST_WAIT: Duration = Duration::from_millis(200);

/// How often it is seen to whether an answer is still awaited that should have come.
const AWAITED_TIME: chrono::Duration = chrono::Duration::minutes(1);

/// How long a mailbox without room is left alone at most: whether that has changed is looked at once more by then.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// No pause is longer than this.
const LONGEST_WAIT: chrono::Duration = chrono::Duration::hours(2);

/// How often it is seen to that the clock was not set back.
const HEEDING_TIME: Duration = Duration::from_secs(60);

/// How long a mailbox is left alone of whose message it could not be noted what became of it.
const LEAST_REST: Duration = Duration::from_secs(1);

/// How long a mailbox is left alone whose messages cannot be read in the store.
const UNREADABLE_REST: Duration = Duration::from_secs(60);

/// How often that is tried when the process ends.
const LAST_TRIES: usize = 3;

/// What is to be tried within this time makes clients go behind it.
const SOON: Duration = Duration::from_secs(600);

/// How a courier works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How old a message may become, the time aside that it is held.
    pub max_age: Duration,
    /// What becomes of a message that may have arrived and cannot be found.
    pub unknown_outcome: UnknownOutcome,
}

/// The queue and who works on it.
pub struct Courier {
    pub(in crate::delivery) delivery: Delivery,
    pub(in crate::delivery) auth: Arc<Auth>,
    pub(in crate::delivery) store: Arc<dyn Store>,
    pub(in crate::delivery) spool: Spool,
    pub(in crate::delivery) clock: Clock,
    pub(in crate::delivery) settings: Settings,
    wake: Arc<Notify>,
    /// Answers of Exchange that came late.
    pub(in crate::delivery) late: LateAnswers,
    /// Mailboxes that are being served now, and whose they are.
    busy: Mutex<HashMap<Mailbox, Option<TenantName>>>,
    /// When the queue is to be looked at, if that is before the next glance; by the clock's `elapsed`.
    next_look: Mutex<Option<Duration>>,
    /// Messages of which it could not be noted how their attempt ended, or that it began.
    unsettled: Mutex<HashMap<String, Unsettled>>,
    /// Messages that could not be looked for.
    pub(in crate::delivery) looking: Mutex<HashMap<String, Looking>>,
    /// Mailboxes that are left alone, and until when; by the clock's `elapsed`.
    resting: Mutex<HashMap<Mailbox, Duration>>,
    /// When it was last seen to that the times in the queue are none that the clock was set back from; by the clock's `elapsed`.
    heeded_at: Mutex<Option<Duration>>,
}

impl Courier {
    /// A courier for this queue.
    pub fn new(delivery: Delivery, auth: Arc<Auth>, settings: Settings) -> Arc<Self> {
        let Keeping { spool, store, clock, wake, late, .. } = delivery.keeping.clone();
        Arc::new(Self {
            delivery,
            auth,
            store,
            spool,
            clock,
            settings,
            wake,
            late,
            busy: Mutex::default(),
            next_look: Mutex::default(),
            unsettled: Mutex::default(),
            looking: Mutex::default(),
            resting: Mutex::default(),
            heeded_at: Mutex::default(),
        })
    }

    /// Takes up what an earlier process left. To be called before messages are taken in.
    ///
    /// # Errors
    /// When the store cannot be asked or the spool not be looked through.
    pub async fn take_up(&self) -> Result<(), DeliveryError> {
        let unknown = self.store.settle_attempts(self.clock.now(), FILING_TIME).await?;
        let known = self.store.queued_ids().await?;
        let waiting = known.len();
        let spool = self.spool.clone();
        let swept = tokio::task::spawn_blocking(move || spool.sweep(&known)).await;
        let Swept { removed, set_aside } = swept.unwrap_or_else(|_| Ok(Swept::default()))?;
        if set_aside > 0 {
            error!(
                code = "spool-left-over",
                remedy = "See whether the store was restored or replaced; `postern explain spool-left-over` says what to do with them.",
                "the queue does not know {set_aside} message(s) in the spool; they are kept in `spool/left-over`"
            );
        }
        if waiting + removed > 0 {
            info!(broken_off = unknown, left_over_files_removed = removed, "mail that waits in the queue: {waiting}");
        }
        Ok(())
    }

    /// A message has come into the queue, or may go sooner than was thought.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Delivers until `stop`. A message that is on its way then may finish, and answers are taken up for as long as sessions, which may hand
    /// messages in until they have `ended`, or Exchange owe some: whoever ends this sooner leaves them unknown to the next process.
    pub async fn run(self: Arc<Self>, stop: CancellationToken, ended: CancellationToken) {
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
        while !ended.is_cancelled() || self.late.are_open() {
            self.settle_late().await;
            self.settle_unsettled(true).await;
            tokio::select! {
                () = ended.cancelled(), if !ended.is_cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LEAST_REST) => {}
            }
        }
        // What is not noted now is unknown to the next process.
        for _ in 0..LAST_TRIES {
            self.settle_late().await;
            self.settle_unsettled(true).await;
            let nothing = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if nothing && self.late.all().is_empty() {
                break;
            }
            tokio::time::sleep(LEAST_REST).await;
        }
    }

    /// Sends somebody for each mailbox with a message that is due.
    async fn begin_rounds(
        self: &Arc<Self>,
        rounds: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        self.settle_unsettled(false).await;
        self.settle_late().await;
        let now = self.clock.now();
        let mailboxes = self.store.due(now).await?;
        self.look_at_backlogs(now).await?;
        self.heed_clock(now).await?;
        for mailbox in mailboxes {
            if rounds.len() >= MAILBOXES_AT_ONCE {
                break;
            }
            if self.is_resting(&mailbox) {
                continue;
            }
            if self.is_free(&mailbox) {
                let (courier, stop) = (Arc::clone(self), stop.clone());
                rounds.spawn(async move { courier.round(mailbox, &stop).await });
            }
        }
        Ok(())
    }

    /// Takes a place for a mailbox, if there is one and it is not being served yet.
    fn is_free(&self, mailbox: &Mailbox) -> bool {
        let tenant = self.auth.tenant_of(mailbox);
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = busy.values().filter(|other| **other == tenant).count();
        let has_others = self.delivery.routes.len() > 1;
        if busy.contains_key(mailbox) || (has_others && of_tenant >= MAILBOXES_OF_TENANT) {
            return false;
        }
        busy.insert(mailbox.clone(), tenant);
        true
    }

    /// Keeps others from serving a mailbox; none where somebody does.
    fn keep_apart<'a>(&'a self, mailbox: &'a Mailbox) -> Option<Busy<'a>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.contains_key(mailbox) {
            return None;
        }
        busy.insert(mailbox.clone(), None);
        Some(Busy { courier: self, mailbox })
    }

    /// Now and then: what waits for a time that only a clock set wrongly can have named is tried now.
    async fn heed_clock(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let elapsed = self.clock.elapsed();
        let heeded_at = *self.heeded_at.lock().unwrap_or_else(PoisonError::into_inner);
        if heeded_at.is_some_and(|at| elapsed.saturating_sub(at) < HEEDING_TIME) {
            return Ok(());
        }
        let ahead = self.store.heed_clock(now, LONGEST_WAIT).await?;
        *self.heeded_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(elapsed);
        if ahead > 0 {
            warn!(
                "the clock was set back: {ahead} message(s) of the queue waited for a time far ahead, and are tried now; keep the machine's \
                 time by NTP"
            );
        }
        Ok(())
    }

    /// Clients go past the queue again where nothing of their mailbox waits for Exchange's limits any more.
    async fn look_at_backlogs(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let governor = &self.delivery.traffic.governor;
        // Asked before the store is: what comes into it behind that is flagged anew.
        let flagged = governor.backlogs();
        if !flagged.is_empty() {
            let by = now + chrono::Duration::from_std(SOON).unwrap_or_default();
            let behind = self.store.behind(&[LIMITS_CODE, UNFIT_CODE], by).await?;
            for (mailbox, flag) in flagged.iter().filter(|(mailbox, _)| !behind.contains(mailbox)) {
                governor.end_backlog(mailbox, *flag);
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

    /// A mailbox is not served for a while, so that what fails at once does not fail without end.
    fn rest(&self, mailbox: &Mailbox, time: Duration) {
        let until = self.clock.elapsed() + time;
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).insert(mailbox.clone(), until);
    }

    fn is_resting(&self, mailbox: &Mailbox) -> bool {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.elapsed();
        resting.retain(|_, until| *until > now);
        resting.contains_key(mailbox)
    }

    /// Delivers the messages of a mailbox that are due.
    async fn round(&self, mailbox: Mailbox, stop: &CancellationToken) {
        let _busy = Busy { courier: self, mailbox: &mailbox };
        while !stop.is_cancelled() {
            let now = self.clock.now();
            let message = match self.store.next_due(&mailbox, now).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    error!(code = error.code(), remedy = error.remedy(), mailbox.id = %mailbox, "the queue cannot be read: {error}");
                    self.rest(&mailbox, UNREADABLE_REST);
                    break;
                }
            };
            match self.one(&message).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    error!(
                        code = error.code(),
                        remedy = error.remedy(),
                        queue.id = message.id,
                        "what became of a message cannot be noted: {error}"
                    );
                    // This one alone is not tried at each glance again; where the store fails, the next glance tells.
                    drop(self.store.postpone_one(&message.id, now + first_pause()).await);
                    self.rest(&mailbox, LEAST_REST);
                    break;
                }
            }
        }
    }

    /// One attempt at one message. False: the mailbox is to be left alone for a while.
    async fn one(&self, message: &QueuedMessage) -> Result<bool, DeliveryError> {
        let began = self.clock.now();
        // Asked first: an answer that is awaited no longer has come by then.
        let is_open = self.late.is_open(&message.id);
        if self.take_up_answer(&message.id).await? {
            return Ok(true);
        }
        if is_open {
            // Whoever wants it to be tried at once wants it to arrive once all the same.
            let late_at = message.unknown_at().unwrap_or(began) + LATE_TIME;
            self.store.postpone_one(&message.id, late_at.max(began + AWAITED_TIME)).await?;
            return Ok(true);
        }
        let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).remove(&message.id);
        // What could not be noted of an attempt counts no more, as that was taken back since. An answer does.
        if let Some(Unsettled { message, of: Ending::Look, outcome: Some(outcome), .. }) = unsettled {
            self.ended(&message, Ending::Look, outcome).await?;
            return Ok(true);
        }
        if waiting(message).next().is_none() {
            // Only its sender could not be told yet.
            self.settle(message, false).await?;
            return Ok(true);
        }
        // Asked for each message: what is disabled meanwhile sends no more.
        let sender = match self.auth.permit_for_queued(&message.mailbox, Protocol::Smtp).await {
            Ok(permit) => Sender::new(&self.delivery, permit),
            Err(error) => {
                let obstacle =
                    Obstacle { code: error.code().to_owned(), reason: error.to_string(), remedy: error.remedy() };
                let hindrance = Hindrance { obstacle, whose: error.whose(), of_mailbox: true };
                if self.begins(message, began).await? {
                    let outcome = Outcome { hindrance: Some(hindrance), ..Outcome::default() };
                    self.ended(message, this_attempt(message), outcome).await?;
                }
                return Ok(false);
            }
        };
        // What is disabled is not looked for either.
        let was_looked_for = message.is_unknown();
        let (message, again) = match self.know(message).await? {
            Known::Send { message, again } => (message, again),
            Known::Settled => return Ok(true),
        };
        // A look takes its time, and what is disabled in it sends no more.
        if was_looked_for {
            let permit = self.auth.permit_for_queued(&message.mailbox, Protocol::Smtp).await;
            if permit
                .is_err_and(|error| matches!(error, AuthError::MailboxDisabled { .. } | AuthError::MailboxGone { .. }))
            {
                // The next time it meets that at once, and it is noted.
                return Ok(true);
            }
        }
        let message = &*message;
        let governor = &self.delivery.traffic.governor;
        if message.obstacle.as_ref().is_some_and(|obstacle| obstacle.code == LIMITS_CODE) {
            governor.begin_backlog(&message.mailbox);
        }
        let room = match sender.room(ROOM_TIME).await {
            Ok(room) => room,
            Err(waits) => {
                // No attempt; and nothing for the log, where it would stand every minute.
                let wait = waits.wait.clamp(LEAST_WAIT, LONGEST_REST);
                let until = began + chrono::Duration::from_std(wait).unwrap_or_default();
                self.store.postpone(&message.mailbox, until).await?;
                self.look_again_in(wait);
                return Ok(false);
            }
        };
        if !self.begins(message, began).await? {
            return Ok(true);
        }
        let outcome = sender.attempt(message, room, again).await;
        self.delivery.note_attempt(message, &outcome.recipients, outcome.route);
        let of_mailbox = outcome.hindrance.as_ref().is_some_and(|hindrance| hindrance.of_mailbox);
        self.ended(message, this_attempt(message), outcome).await?;
        Ok(!of_mailbox)
    }

    async fn begins(&self, message: &QueuedMessage, began: DateTime<Utc>) -> Result<bool, DeliveryError> {
        let begun = self.store.begin_attempt(&message.id, began).await;
        if begun.is_err() {
            self.unsettled(message.clone(), this_attempt(message), None, Duration::ZERO);
        }
        Ok(begun?)
    }

    pub(in crate::delivery) async fn ended(
        &self,
        message: &QueuedMessage,
        of: Ending,
        outcome: Outcome,
    ) -> Result<(), DeliveryError> {
        let noted = self.end(message, of, outcome.clone()).await;
        if noted.is_err() {
            self.unsettled(message.clone(), of, Some(outcome), Duration::ZERO);
        }
        match noted? {
            Some(after) => self.settle(&after, true).await,
            None => Ok(()),
        }
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

/// The attempt that comes behind those that a message has had.
fn this_attempt(message: &QueuedMessage) -> Ending {
    Ending::Attempt(message.attempts + 1)
}

/// How long a message waits that was kept just now: the same for all, so that those of one mailbox go out in the order in which they came.
pub(in crate::delivery) fn first_pause() -> chrono::Duration {
    chrono::Duration::from_std(FIRST_PAUSE).unwrap_or_default()
}
