//! A message that Exchange has not taken for everybody: kept, flushed, before the client hears so.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::info;

use crate::base::Whose;
use crate::delivery::assured::{Assured, LateAnswer, MESSAGE, Transaction};
use crate::delivery::attempt::{Hindrance, UNFIT_CODE, said};
use crate::delivery::courier::first_pause;
use crate::delivery::late::{LATE_TIME, Late};
use crate::delivery::noted::Envelope;
use crate::delivery::spool::SpoolError;
use crate::delivery::told;
use crate::delivery::unknown::FILING_TIME;
use crate::delivery::{DeliveryError, recipient_of};
use crate::store::{Doubt, JournalOutcome, LIMITS_CODE, QueueState, QueuedMessage, QueuedRecipient, RecipientState};
use crate::upstream::UpstreamError;
use crate::wire::smtp::Reply;

impl Assured {
    /// Keeps the message for those who have not got it, and says so.
    pub(super) async fn keep(&self, mut transaction: Transaction, accepted: Option<&Reply>) -> Reply {
        if !self.keeps {
            let hindrance = transaction.hindrance.take();
            let (reason, whose) = hindrance.map_or_else(
                || ("there is no way to send the message now".to_owned(), Whose::Nobody),
                |hindrance| (hindrance.obstacle.reason, hindrance.whose),
            );
            return told::trouble(
                &DeliveryError::Hindered { reason, whose },
                self.about(transaction.sender(), MESSAGE),
            );
        }
        let Some(draft) = transaction.draft.take() else {
            let full = transaction.no_room.take();
            let full = full.unwrap_or(SpoolError::Full { why: "there is no draft of the message".to_owned() });
            return self.full(&full, transaction.sender());
        };
        let now = self.delivery.keeping.clock.now();
        let Transaction { mail, recipients, hindrance, is_unknown, message_id, late, .. } = transaction;
        let for_setup = hindrance.as_ref().is_some_and(|hindrance| hindrance.whose != Whose::Nobody);
        let at_once = |hindrance: &Hindrance| [LIMITS_CODE, UNFIT_CODE].contains(&hindrance.obstacle.code.as_str());
        let for_limits = hindrance.as_ref().is_some_and(at_once);
        let accepted = accepted.map(said);
        let was_taken = recipients.iter().enumerate().filter(|(_, recipient)| recipient.was_taken);
        let in_doubt = was_taken.map(|(place, _)| place).collect();
        let id = draft.id().to_owned();
        let message = QueuedMessage {
            id: id.clone(),
            mailbox: self.permit.mailbox().clone(),
            password_id: self.permit.password_id().to_owned(),
            mail: arguments(&mail.command()),
            size_octets: draft.octets(),
            message_id,
            is_report: false,
            accepted_at: now,
            state: if for_setup { QueueState::HeldForSetup } else { QueueState::Waiting },
            // What waits for nothing but Exchange's limits may go as soon as they allow.
            next_at: match (is_unknown, for_limits) {
                // Its answer may still come, and says more than a look.
                (true, _) if late.is_some() => now + LATE_TIME,
                (true, _) => now + FILING_TIME,
                (false, true) => now,
                (false, false) => now + first_pause(),
            },
            attempts: 0,
            doubts: is_unknown.then_some(Doubt { attempt: 0, at: Some(now), places: in_doubt }).into_iter().collect(),
            copies: u32::from(accepted.is_some()),
            resent: 0,
            begun: 0,
            warned_at: None,
            held: chrono::Duration::zero(),
            held_since: for_setup.then_some(now),
            obstacle: hindrance.as_ref().map(|hindrance| hindrance.obstacle.clone()),
            recipients: recipients
                .iter()
                .map(|recipient| QueuedRecipient {
                    rcpt: arguments(&recipient.rcpt.command()),
                    state: match (&accepted, recipient.is_taken) {
                        (Some(_), true) => RecipientState::Delivered,
                        _ => RecipientState::Waiting,
                    },
                    reply: accepted.clone().filter(|_| recipient.is_taken),
                })
                .collect(),
        };
        if for_limits {
            // Before it is in the queue, so that nobody overtakes it from here.
            self.delivery.traffic.governor.begin_backlog(&message.mailbox);
        }
        // Before it is in the queue, so that nobody sends it beside the open transaction. Dropped when it is there, or will never be.
        let is_kept = late.map(|late| self.await_late(late, &message));
        let kept = async {
            draft.keep().await?;
            self.delivery.keeping.store.enqueue(&message).await.map_err(DeliveryError::from)
        };
        if let Err(error) = kept.await {
            drop(self.delivery.keeping.spool.remove(&id).await);
            self.delivery.keeping.late.close(&id);
            return self.not_kept(&error, mail.address());
        }
        if for_limits {
            // And again, for a look at the queue that had begun before.
            self.delivery.traffic.governor.begin_backlog(&message.mailbox);
        }
        drop(is_kept);
        self.delivery.keeping.spool.settle(&id).await;
        let reason = hindrance.map(|hindrance| hindrance.obstacle.reason).unwrap_or_default();
        info!(
            mailbox.id = %self.permit.mailbox(),
            password.id = self.permit.password_id(),
            queue.id = id,
            size_octets = message.size_octets,
            "a message is kept in the queue: {reason}"
        );
        let waiting = message.waiting().filter_map(recipient_of).collect();
        let why = message.obstacle.as_ref().map(|obstacle| obstacle.reason.clone());
        self.delivery.note(Envelope::of_queued(&message), JournalOutcome::Queued, waiting, why);
        self.delivery.keeping.wake.notify_one();
        Reply::new(250, format!("2.0.0 OK, queued as {id}"))
    }

    /// Hands Exchange's answer on when it has come and what is returned is dropped.
    fn await_late(&self, answer: LateAnswer, message: &QueuedMessage) -> oneshot::Sender<()> {
        let (id, mailbox) = (message.id.clone(), message.mailbox.clone());
        let places = message.doubts.iter().flat_map(|doubt| doubt.places.iter().copied()).collect();
        let (answers, wake) = (self.delivery.keeping.late.clone(), Arc::clone(&self.delivery.keeping.wake));
        let (is_kept, kept) = oneshot::channel();
        answers.open(&id);
        tokio::spawn(async move {
            let reply = match answer.await {
                Ok(Ok(reply)) if !reply.is_intermediate() => Some(reply),
                // A refusal, whenever it is said, is no acceptance.
                Ok(Err(UpstreamError::BrokeOff { reply, .. })) => Some(reply),
                // Then it is looked for.
                _ => None,
            };
            // Who takes it up looks for the message in the queue.
            drop(kept.await);
            answers.come(Late { id, mailbox, places, reply });
            wake.notify_one();
        });
        is_kept
    }

    fn not_kept(&self, error: &DeliveryError, sender: Option<&str>) -> Reply {
        match error {
            DeliveryError::Spool(full) => self.full(full, sender),
            error => self.no_place(error, sender),
        }
    }
}

/// What stands behind the verb of a command.
fn arguments(command: &[u8]) -> String {
    let text = String::from_utf8_lossy(command);
    text.split_once(' ').map_or("", |(_, arguments)| arguments).trim_end().to_owned()
}
