//! What could not be noted when it happened, and what came later than anybody waited for.

use std::sync::PoisonError;
use std::time::Duration;

use tracing::info;

use crate::base::Mailbox;
use crate::delivery::DeliveryError;
use crate::delivery::attempt::{Hindrance, Outcome, is_final, said};
use crate::delivery::courier::{Courier, first_pause};
use crate::delivery::unknown::FILING_TIME;
use crate::store::{AttemptEnd, Certainty, Ending, QueuedMessage, RecipientState, Route};

/// The pause after something could not be noted twice.
const UNSETTLED_PAUSE: Duration = Duration::from_secs(30);

/// What could not be noted.
pub(super) struct Unsettled {
    /// The message before its attempt.
    pub(super) message: QueuedMessage,
    /// What ended.
    pub(super) of: Ending,
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
            let Some(Unsettled { message, of, outcome, .. }) = found else { continue };
            let settled = match &outcome {
                Some(outcome) => self.end(&message, of, outcome.clone()).await,
                None => self.not_begun(&message, of).await.map(|()| None),
            };
            match settled {
                // Whom it cannot be told now is told later.
                Ok(Some(after)) => drop(self.settle(&after, true).await),
                Ok(None) => {}
                // That it failed was said when it did so first.
                Err(_) => self.unsettled(message, of, outcome, UNSETTLED_PAUSE),
            }
        }
    }

    pub(super) fn unsettled(&self, message: QueuedMessage, of: Ending, outcome: Option<Outcome>, pause: Duration) {
        let next = self.clock.elapsed() + pause;
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        unsettled.insert(message.id.clone(), Unsettled { message, of, outcome, next });
    }

    /// Takes up answers of Exchange that came after the client had heard that its message is kept.
    pub(super) async fn settle_late(&self) {
        for (id, mailbox) in self.late.all() {
            // Whoever serves the mailbox takes it up when it comes to that message.
            let Some(_apart) = self.keep_apart(&mailbox) else { continue };
            // That it failed is seen at the next glance.
            drop(self.take_up_answer(&id).await);
        }
    }

    /// The one to this message, if it has come. Whoever calls keeps the mailbox apart. False: there is nothing that is noted by it.
    pub(super) async fn take_up_answer(&self, id: &str) -> Result<bool, DeliveryError> {
        let Some(mut late) = self.late.take(id) else { return Ok(false) };
        let message = match self.store.queued_message(id).await {
            Ok(message) => message,
            Err(error) => {
                self.late.put_back(late);
                return Err(error.into());
            }
        };
        let Some(reply) = late.reply.take() else {
            if !message.is_some_and(|message| message.is_unknown()) {
                return Ok(false);
            }
            // Exchange may have taken it at the last moment, and files its copy from then on.
            let noted = self.store.note_unanswered(id, self.clock.now(), FILING_TIME).await;
            if noted.is_err() {
                self.late.put_back(late);
            }
            noted?;
            return Ok(true);
        };
        // An acceptance counts whatever was thought of the message meanwhile.
        let is_awaited =
            |message: &QueuedMessage| message.begun == 0 && message.doubts.iter().any(|doubt| doubt.attempt == 0);
        let counts = |message: &QueuedMessage| reply.is_positive() || is_awaited(message);
        let Some(message) = message.filter(counts) else {
            info!(
                mailbox.id = %late.mailbox,
                queue.id = id,
                "Exchange's answer came when the message had been looked for, sent again or dropped already: {}",
                said(&reply)
            );
            return Ok(false);
        };
        let state = match &reply {
            reply if reply.is_positive() => RecipientState::Delivered,
            reply if is_final(reply) => RecipientState::Failed,
            _ => RecipientState::Waiting,
        };
        let told = Some(said(&reply));
        let hindrance = (state == RecipientState::Waiting).then(|| Hindrance::of_late_reply(&reply));
        let waits = |place: &&usize| {
            message.recipients.get(**place).is_some_and(|recipient| recipient.state == RecipientState::Waiting)
        };
        let recipients: Vec<_> = late.places.iter().filter(waits).map(|place| (*place, state, told.clone())).collect();
        self.delivery.note_attempt(&message, &recipients, Route::Smtp);
        let outcome = Outcome { recipients, hindrance, is_completing: true, found: vec![0], ..Outcome::default() };
        self.ended(&message, Ending::Look, outcome).await?;
        Ok(true)
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
