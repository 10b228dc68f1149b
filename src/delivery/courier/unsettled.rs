//! What could not be noted when it happened, and what came later than anybody waited for.

use std::sync::PoisonError;
use std::time::Duration;

use crate::base::Mailbox;
use crate::delivery::attempt::{Hindrance, Outcome, is_final, said};
use crate::delivery::courier::{Courier, first_pause};
use crate::delivery::{DeliveryError, Late};
use crate::store::{AttemptEnd, Certainty, Ending, QueuedMessage, RecipientState, Route};

/// The pause after something could not be noted twice.
const UNSETTLED_PAUSE: Duration = Duration::from_secs(30);

/// What could not be noted.
pub(super) struct Unsettled {
    /// The message before its attempt.
    pub(super) message: QueuedMessage,
    /// What came of it; `None`: whether it began is not known, and it was not made.
    pub(super) outcome: Option<Outcome>,
    /// When it is tried again; by the clock's `elapsed`.
    pub(super) next: Duration,
}

impl Courier {
    /// Notes once more what could not be noted; `at_once` even where that failed a moment ago.
    pub(super) async fn settle_unsettled(&self, at_once: bool) {
        let now = self.clock.elapsed();
        let found: Vec<(String, Mailbox)> = {
            let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            let due = unsettled.iter().filter(|(_, one)| at_once || one.next <= now);
            due.map(|(id, one)| (id.clone(), one.message.mailbox.clone())).collect()
        };
        for (id, mailbox) in found {
            // Whoever serves the mailbox may have come to that very message.
            let Some(_apart) = self.keep_apart(&mailbox) else { continue };
            let found = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            let Some(Unsettled { message, outcome, .. }) = found else { continue };
            let of = Ending::Attempt(message.attempts + 1);
            let settled = match &outcome {
                Some(outcome) => self.end(&message, of, outcome.clone()).await,
                None => self.not_begun(&message, of).await,
            };
            // That it failed was said when it did so first.
            if settled.is_err() {
                self.unsettled(message, outcome, UNSETTLED_PAUSE);
            }
        }
    }

    pub(super) fn unsettled(&self, message: QueuedMessage, outcome: Option<Outcome>, pause: Duration) {
        let next = self.clock.elapsed() + pause;
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        unsettled.insert(message.id.clone(), Unsettled { message, outcome, next });
    }

    /// Takes up answers of Exchange that came after the client had heard that its message is kept.
    pub(super) async fn settle_late(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        for answer in late {
            if !self.take_up_answer(&answer).await {
                self.late.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            }
        }
    }

    /// One of them. False: not now.
    async fn take_up_answer(&self, late: &Late) -> bool {
        let Some(_apart) = self.keep_apart(&late.mailbox) else { return false };
        let message = match self.store.queued_message(&late.id).await {
            Ok(Some(message)) if message.is_unknown && message.attempts == 0 => message,
            // It was looked for, sent again or dropped meanwhile.
            Ok(_) => return true,
            Err(_) => return false,
        };
        let state = match &late.reply {
            reply if reply.is_positive() => RecipientState::Delivered,
            reply if is_final(reply) => RecipientState::Failed,
            _ => RecipientState::Waiting,
        };
        let told = Some(said(&late.reply));
        let hindrance = (state == RecipientState::Waiting).then(|| Hindrance::of_late_reply(&late.reply));
        let recipients: Vec<_> = late.places.iter().map(|place| (*place, state, told.clone())).collect();
        let outcome = Outcome { recipients: recipients.clone(), hindrance, is_completing: true, ..Outcome::default() };
        let ended = self.end(&message, Ending::Look, outcome).await.is_ok();
        if ended {
            self.delivery.note_attempt(&message, &recipients, Route::Smtp);
        }
        ended
    }

    /// An attempt may be noted that was not made.
    async fn not_begun(&self, message: &QueuedMessage, of: Ending) -> Result<(), DeliveryError> {
        let now = self.clock.now();
        let end = AttemptEnd {
            of,
            recipients: Vec::new(),
            is_taken: false,
            state: message.state,
            next_at: now + first_pause(),
            certainty: Certainty::AsBefore,
            obstacle: message.obstacle.clone(),
        };
        self.store.end_attempt(&message.id, &end, now).await?;
        Ok(())
    }
}
