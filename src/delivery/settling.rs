//! What becomes of a message of the queue after an attempt: it waits on, it is done with, its sender is told, or it is held.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::base::{Fault, Whose};
use crate::delivery::attempt::{Hindrance, Outcome, waiting};
use crate::delivery::courier::{Courier, FIRST_PAUSE, first_pause};
use crate::delivery::live::is_quota;
use crate::delivery::noted::Envelope;
use crate::delivery::report::{self, Reported};
use crate::delivery::unknown::FILING_TIME;
use crate::delivery::{DeliveryError, recipient_of, sender_of};
use crate::store::{
    AttemptEnd, Certainty, Doubt, Ending, JournalOutcome, Obstacle, QueueState, QueuedMessage, QueuedRecipient,
    RecipientState, Told,
};

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(4000);

/// How often a message is tried that waits for somebody to mend the set-up.
const HELD_PAUSE: Duration = Duration::from_secs(300);

/// The pause after Exchange has said that the day's limit is used up.
const QUOTA_PAUSE: Duration = Duration::from_secs(3600);

/// When a sender hears that a message waits, if it has asked for that (`NOTIFY=DELAY`).
const WARNING_AGE: chrono::Duration = chrono::Duration::hours(4);

/// A message becomes no older than this, whatever is configured.
const LONGEST_LIFE: chrono::Duration = chrono::Duration::days(365);

impl Courier {
    /// Notes how an attempt or a look ended, and returns what is to be [settled](Self::settle) then. May be done again where it fails.
    pub(in crate::delivery) async fn end(
        &self,
        message: &QueuedMessage,
        of: Ending,
        outcome: Outcome,
    ) -> Result<Option<QueuedMessage>, DeliveryError> {
        let mut after = message.clone();
        let is_taken = outcome.recipients.iter().any(|(_, state, _)| *state == RecipientState::Delivered);
        for (place, state, reply) in &outcome.recipients {
            if let Some(recipient) = after.recipients.get_mut(*place) {
                recipient.state = *state;
                recipient.reply.clone_from(reply);
            }
        }
        let nobody_waits = waiting(&after).next().is_none();
        let failed = has_failed(&after);
        if nobody_waits && !failed {
            self.done(&after).await?;
            return Ok(None);
        }
        // What Exchange says to this attempt is no answer to those before.
        let certainty = match (&outcome.unknown, of) {
            (Some(places), _) => {
                let (now, attempt) = (self.clock.now(), message.begun + 1);
                after.doubts.push(Doubt { attempt, at: Some(now), places: places.clone() });
                Certainty::Unknown(now, places.clone())
            }
            (None, _) if !outcome.is_completing => Certainty::AsBefore,
            (None, Ending::Attempt(_)) => Certainty::Answered { resent: message.resent },
            (None, Ending::Look) => {
                after.doubts.retain(|doubt| !outcome.found.contains(&doubt.attempt));
                Certainty::Found(outcome.found.clone())
            }
        };
        if nobody_waits && nobody_can_be_told(&after) {
            self.hold(&after, of, is_taken, certainty).await?;
            return Ok(None);
        }
        after.obstacle = outcome.hindrance.as_ref().map(|hindrance| hindrance.obstacle.clone());
        after.state = self.defer(message, of, outcome, certainty).await?;
        Ok(Some(after))
    }

    /// Tells the sender of what has failed or takes long; the message goes if nobody waits for it any more. What has become too old is
    /// given up where an attempt has just been in vain.
    pub(in crate::delivery) async fn settle(
        &self,
        message: &QueuedMessage,
        was_tried: bool,
    ) -> Result<(), DeliveryError> {
        let mut told = message.clone();
        if has_failed(message) && !nobody_can_be_told(message) {
            self.tell(message, Reported::Refused).await?;
            for recipient in told.recipients.iter_mut().filter(|one| one.state == RecipientState::Failed) {
                recipient.state = RecipientState::Returned;
            }
        }
        if waiting(message).next().is_none() {
            return if has_failed(&told) {
                self.hold(&told, Ending::Look, false, Certainty::AsBefore).await
            } else {
                self.done(message).await
            };
        }
        if was_tried && self.is_to_be_given_up(&told) {
            return self.expire(&told).await;
        }
        let is_late = message.age(self.clock.now()) >= WARNING_AGE && message.state == QueueState::Waiting;
        if is_late && message.warned_at.is_none() && !nobody_can_be_told(message) {
            self.tell(&told, Reported::Delayed { until: message.accepted_at + self.longest_life() }).await?;
        }
        Ok(())
    }

    /// Whether it has waited too long, now that one more attempt was in vain. What may have arrived is looked for first, and what waits
    /// for the set-up does not age.
    fn is_to_be_given_up(&self, message: &QueuedMessage) -> bool {
        message.state == QueueState::Waiting && !message.is_unknown() && self.is_too_old(message)
    }

    /// Whether it has waited longer than any message may.
    pub(in crate::delivery) fn is_too_old(&self, message: &QueuedMessage) -> bool {
        message.age(self.clock.now()) > self.longest_life()
    }

    fn longest_life(&self) -> chrono::Duration {
        chrono::Duration::from_std(self.settings.max_age).unwrap_or(LONGEST_LIFE)
    }

    /// Puts a report into the queue, and notes in the same step that the sender is told. Those are left out who want no report. False:
    /// nothing is noted, as the message is gone or held by now, or as nobody wants to hear of it.
    async fn tell(&self, message: &QueuedMessage, why: Reported) -> Result<bool, DeliveryError> {
        let now = self.clock.now();
        let told = match why {
            Reported::Refused => Told::Failed,
            Reported::TooOld => Told::GivenUp,
            Reported::Delayed { .. } => Told::Delayed { at: now },
        };
        let kept = report::keep(message, why, &self.delivery.hostname, &self.spool, now).await?;
        if kept.is_none() && matches!(told, Told::Delayed { .. }) {
            return Ok(false);
        }
        let noted = self.store.note_told(&message.id, told, kept.as_ref()).await;
        if let (Ok(false) | Err(_), Some(report)) = (&noted, &kept) {
            drop(self.spool.remove(&report.id).await);
        }
        let noted = noted?;
        if let Some(report) = kept.filter(|_| noted) {
            self.spool.settle(&report.id).await;
            self.wake();
        }
        Ok(noted)
    }

    /// The message goes.
    async fn done(&self, message: &QueuedMessage) -> Result<(), DeliveryError> {
        let delivered = |recipient: &&QueuedRecipient| recipient.state == RecipientState::Delivered;
        let delivered = message.recipients.iter().filter(delivered).count();
        // First the row: a row without its file would be damage.
        self.spool.retire(&message.id).await;
        self.store.dequeue(&message.id, None).await?;
        info!(
            mailbox.id = %message.mailbox,
            password.id = message.password_id,
            queue.id = message.id,
            delivered,
            failed = message.recipients.len() - delivered,
            attempts = message.attempts + 1,
            "a message of the queue is done with"
        );
        self.clear_away(message).await;
        Ok(())
    }

    /// Removes the content of a message that is done with. What is left over goes at the next start.
    async fn clear_away(&self, message: &QueuedMessage) {
        if let Err(error) = self.spool.remove(&message.id).await {
            warn!(
                queue.id = message.id,
                code = error.code(),
                remedy = error.remedy(),
                "a message that is done with cannot be cleared away: {error}"
            );
        }
    }

    /// Nobody can be told that a message failed but the administrator, who finds it in the queue.
    async fn hold(
        &self,
        message: &QueuedMessage,
        of: Ending,
        is_taken: bool,
        certainty: Certainty,
    ) -> Result<(), DeliveryError> {
        let obstacle = undeliverable(message);
        // Those it failed for are tried again when it is released.
        let wait_on = |(place, recipient): (usize, &QueuedRecipient)| {
            let state = match recipient.state {
                RecipientState::Failed => RecipientState::Waiting,
                state => state,
            };
            (place, state, recipient.reply.clone())
        };
        let now = self.clock.now();
        let end = AttemptEnd {
            of,
            recipients: message.recipients.iter().enumerate().map(wait_on).collect(),
            is_taken,
            state: QueueState::Held,
            next_at: now,
            certainty,
            obstacle: Some(obstacle.clone()),
        };
        if self.store.end_attempt(&message.id, &end, now).await? {
            error!(
                mailbox.id = %message.mailbox,
                queue.id = message.id,
                code = obstacle.code,
                remedy = obstacle.remedy,
                "{}",
                obstacle.reason
            );
        }
        Ok(())
    }

    /// The message has waited too long: what has not got it is told to the sender, and the message goes.
    pub(in crate::delivery) async fn expire(&self, message: &QueuedMessage) -> Result<(), DeliveryError> {
        warn!(mailbox.id = %message.mailbox, queue.id = message.id, "a message of the queue has become too old");
        if nobody_can_be_told(message) {
            return self.hold(message, Ending::Look, false, Certainty::AsBefore).await;
        }
        let mut ended = message.clone();
        for recipient in ended.recipients.iter_mut().filter(|one| one.state == RecipientState::Waiting) {
            recipient.state = RecipientState::Failed;
        }
        // A process that is killed behind this leaves a file that is of no more use, or finds the message where it was.
        self.spool.retire(&message.id).await;
        // Its row goes with that; unless the administrator holds it since.
        if !self.tell(&ended, Reported::TooOld).await? {
            return Ok(());
        }
        let expired = message.waiting().filter_map(recipient_of).collect();
        let why = message.obstacle.as_ref().map(|obstacle| obstacle.reason.clone());
        self.delivery.note(Envelope::of_queued(message), JournalOutcome::Expired, expired, why);
        self.clear_away(message).await;
        Ok(())
    }

    /// The message waits on, if only for its sender to be told.
    async fn defer(
        &self,
        message: &QueuedMessage,
        of: Ending,
        outcome: Outcome,
        certainty: Certainty,
    ) -> Result<QueueState, DeliveryError> {
        let now = self.clock.now();
        let Outcome { recipients, hindrance, unknown, .. } = outcome;
        let is_taken = recipients.iter().any(|(_, state, _)| *state == RecipientState::Delivered);
        let (state, pause) = match &hindrance {
            Some(Hindrance { whose: Whose::Administrator | Whose::User, .. }) => (QueueState::HeldForSetup, HELD_PAUSE),
            Some(Hindrance { obstacle, .. }) if is_quota(&obstacle.code) => (QueueState::Waiting, QUOTA_PAUSE),
            // What was tried while the set-up was wanting says nothing of how long this takes.
            Some(_) if message.state == QueueState::HeldForSetup => (QueueState::Waiting, FIRST_PAUSE),
            Some(_) => (QueueState::Waiting, back_off(message.attempts)),
            None => (QueueState::Waiting, FIRST_PAUSE),
        };
        let pause = crate::base::jittered(pause);
        let next_at = now + chrono::Duration::from_std(pause).unwrap_or_else(|_| first_pause());
        // Exchange is given the time to file a copy of what it has.
        let next_at = if unknown.is_some() { next_at.max(now + FILING_TIME) } else { next_at };
        let of_mailbox = hindrance.as_ref().is_some_and(|hindrance| hindrance.of_mailbox);
        let obstacle = hindrance.map(|hindrance| hindrance.obstacle);
        let end = AttemptEnd { of, recipients, is_taken, state, next_at, certainty, obstacle };
        if !self.store.end_attempt(&message.id, &end, now).await? {
            return Ok(state);
        }
        if let Some(obstacle) = &end.obstacle {
            warn!(
                mailbox.id = %message.mailbox,
                password.id = message.password_id,
                queue.id = message.id,
                code = obstacle.code,
                remedy = obstacle.remedy,
                next_at = next_at.to_rfc3339(),
                "a message of the queue waits on: {}",
                obstacle.reason
            );
        }
        if of_mailbox {
            // The others would meet the same, and would overtake this one when it is over.
            let of_others = match end.obstacle.filter(|_| state == QueueState::HeldForSetup) {
                Some(obstacle) => self.store.hold_for_setup(&message.mailbox, &obstacle, next_at, now).await,
                None => self.store.postpone(&message.mailbox, next_at).await,
            };
            // This one is noted all the same.
            if let Err(error) = of_others {
                error!(code = error.code(), remedy = error.remedy(), mailbox.id = %message.mailbox, "the queue cannot be written: {error}");
            }
        }
        Ok(state)
    }
}

fn has_failed(message: &QueuedMessage) -> bool {
    message.recipients.iter().any(|recipient| recipient.state == RecipientState::Failed)
}

/// A report of ours, and a message of nobody (RFC 5321, section 4.5.5): a report about it could begin a loop.
fn nobody_can_be_told(message: &QueuedMessage) -> bool {
    message.is_report || sender_of(message).is_none()
}

fn undeliverable(message: &QueuedMessage) -> Obstacle {
    let reason = if message.is_report {
        "a mail of Postern's own (a delivery report, a reminder) cannot be delivered"
    } else {
        "a message of nobody (<>) cannot be delivered, so that nobody can be told"
    };
    Obstacle {
        code: "report-undeliverable".to_owned(),
        reason: reason.to_owned(),
        remedy: Some(format!(
            "Read it with `postern queue show {0}`, mend the cause, and `postern queue release {0}`, or drop it.",
            message.id
        )),
    }
}

/// The pause after so many attempts before this one.
fn back_off(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE)
}
