//! What the journal is told of messages.

use crate::auth::Permit;
use crate::base::Mailbox;
use crate::delivery::{Delivery, recipient_of, sender_of};
use crate::store::{JournalEntry, JournalOutcome, QueuedMessage, RecipientState, Route};
use crate::wire::smtp::RcptTo;

/// The message that is told of.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Envelope<'a> {
    mailbox: &'a Mailbox,
    password_id: &'a str,
    queue_id: Option<&'a str>,
    sender: Option<String>,
    size_octets: u64,
    message_id: Option<String>,
    route: Route,
}

impl<'a> Envelope<'a> {
    /// One that a client hands in now.
    pub(in crate::delivery) fn of_client(permit: &'a Permit, sender: Option<&str>) -> Self {
        Self {
            mailbox: permit.mailbox(),
            password_id: permit.password_id(),
            queue_id: None,
            sender: sender.map(str::to_owned),
            size_octets: 0,
            message_id: None,
            route: Route::Smtp,
        }
    }

    /// With what is known of its content.
    pub(in crate::delivery) fn with_content(self, size_octets: u64, message_id: Option<String>) -> Self {
        Self { size_octets, message_id, ..self }
    }

    /// One of the queue.
    pub(in crate::delivery) fn of_queued(message: &'a QueuedMessage) -> Self {
        Self {
            mailbox: &message.mailbox,
            password_id: &message.password_id,
            queue_id: Some(&message.id),
            sender: sender_of(message),
            size_octets: message.size_octets,
            message_id: message.message_id.clone(),
            route: Route::Smtp,
        }
    }

    /// It goes, or was refused, by this way.
    pub(in crate::delivery) fn by(self, route: Route) -> Self {
        Self { route, ..self }
    }
}

impl Delivery {
    /// Notes what became of a message for some of its recipients.
    pub(in crate::delivery) fn note(
        &self,
        envelope: Envelope<'_>,
        outcome: JournalOutcome,
        recipients: Vec<String>,
        reply: Option<String>,
    ) {
        crate::telemetry::metrics::message(outcome, Some(envelope.route).filter(|_| outcome != JournalOutcome::Queued));
        let goes = matches!(outcome, JournalOutcome::Delivered | JournalOutcome::Refused);
        self.journal.note(JournalEntry {
            at: self.keeping.clock.now(),
            mailbox: envelope.mailbox.clone(),
            password_id: envelope.password_id.to_owned(),
            queue_id: envelope.queue_id.map(str::to_owned),
            sender: envelope.sender.unwrap_or_default(),
            recipients,
            size_octets: envelope.size_octets,
            message_id: envelope.message_id,
            route: goes.then_some(envelope.route),
            outcome,
            reply,
        });
    }

    /// Notes what an attempt came to, one entry for all recipients that heard the same.
    pub(in crate::delivery) fn note_attempt(
        &self,
        message: &QueuedMessage,
        settled: &[(usize, RecipientState, Option<String>)],
        route: Route,
    ) {
        let mut groups: Vec<(JournalOutcome, &Option<String>, Vec<String>)> = Vec::new();
        for (place, state, reply) in settled {
            let outcome = match state {
                RecipientState::Waiting => continue,
                RecipientState::Delivered => JournalOutcome::Delivered,
                RecipientState::Failed | RecipientState::Returned => JournalOutcome::Refused,
            };
            let Some(address) = message.recipients.get(*place).and_then(recipient_of) else { continue };
            match groups.iter_mut().find(|(other, said, _)| *other == outcome && *said == reply) {
                Some((_, _, addresses)) => addresses.push(address),
                None => groups.push((outcome, reply, vec![address])),
            }
        }
        for (outcome, reply, addresses) in groups {
            self.note(Envelope::of_queued(message).by(route), outcome, addresses, reply.clone());
        }
    }
}

/// The address of a recipient, as the journal has it.
pub(in crate::delivery) fn address(recipient: &RcptTo) -> String {
    recipient.address().unwrap_or("postmaster").to_owned()
}
