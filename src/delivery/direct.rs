//! Passing a message on live: every answer is Exchange's.

use std::mem;
use std::sync::Arc;

use tracing::info;

use crate::auth::{AuthError, Cleared, Permit};
use crate::delivery::attempt::{is_final, said};
use crate::delivery::governor::Asks;
use crate::delivery::live::{Begun, Live, Named};
use crate::delivery::noted::{Envelope, address};
use crate::delivery::told::{self, About};
use crate::delivery::{Delivery, DeliveryError};
use crate::store::JournalOutcome;
use crate::upstream::UpstreamError;
use crate::wire::smtp::{MailFrom, RcptTo, Reply};

/// The deliveries of one session.
pub struct Direct {
    delivery: Delivery,
    permit: Arc<Permit>,
    /// The sender of the transaction, or of the last one; for the log.
    sender: Option<String>,
    /// The recipients of the transaction that Exchange has taken.
    recipients: Vec<String>,
    /// Octets of the message so far.
    octets: u64,
    /// Its Message-ID, without angle brackets.
    message_id: Option<String>,
    state: State,
}

enum State {
    /// No transaction.
    Closed,
    /// MAIL was accepted.
    Open(Box<Live>),
    /// DATA was accepted and the message is on its way.
    Sending(Box<Live>),
    /// The connection broke within a transaction; whatever the client still sends of it hears this.
    Broken(Reply),
}

impl Direct {
    pub(in crate::delivery) fn new(delivery: Delivery, permit: Arc<Permit>) -> Self {
        Self {
            delivery,
            permit,
            sender: None,
            recipients: Vec::new(),
            octets: 0,
            message_id: None,
            state: State::Closed,
        }
    }

    fn about(&self, what: &'static str) -> About<'_> {
        About { permit: &self.permit, incidents: &self.delivery.incidents, sender: self.sender.as_deref(), what }
    }

    /// MAIL, with what policy said of it.
    pub async fn mail(&mut self, cleared: Result<Cleared, AuthError>) -> Reply {
        let cleared = match cleared {
            Ok(cleared) => cleared,
            Err(error) => return told::policy(&error, self.about(SENDER)),
        };
        self.sender = cleared.mail().address().map(str::to_owned);
        (self.recipients, self.octets, self.message_id) = (Vec::new(), 0, None);
        match self.begin(cleared.mail()).await {
            Ok(Begun::Foreign) => told::foreign_sender(self.about(SENDER)),
            Ok(Begun::Refused(reply)) if reply.is_intermediate() => told::out_of_step(&reply, self.about(SENDER)),
            Ok(Begun::Refused(reply)) => {
                self.note_if_refused(&reply, Vec::new());
                told::exchange(&reply, self.about(SENDER))
            }
            Ok(Begun::Live(live, reply)) => {
                self.state = State::Open(live);
                told::exchange(&reply, self.about(SENDER))
            }
            Err(error) => told::trouble(&error, self.about(SENDER)),
        }
    }

    async fn begin(&self, mail: &MailFrom) -> Result<Begun, DeliveryError> {
        let who = Asks::Direct(self.permit.password_id());
        let room = self.delivery.traffic.room(&self.permit, who, self.delivery.keeping.patience).await;
        let room = room.map_err(DeliveryError::Limits)?;
        self.delivery.transaction(&self.permit, mail, room, self.delivery.way_time).await
    }

    fn note(&self, outcome: JournalOutcome, recipients: Vec<String>, reply: &Reply) {
        let envelope = Envelope::of_client(&self.permit, self.sender.as_deref())
            .with_content(self.octets, self.message_id.clone());
        self.delivery.note(envelope, outcome, recipients, Some(said(reply)));
    }

    /// What is refused for now only comes again.
    fn note_if_refused(&self, reply: &Reply, recipients: Vec<String>) {
        if is_final(reply) {
            self.note(JournalOutcome::Refused, recipients, reply);
        }
    }

    /// RCPT, with what policy said of going on.
    pub async fn recipient(&mut self, allowed: Result<(), AuthError>, recipient: &RcptTo) -> Reply {
        let State::Open(live) = &mut self.state else { return self.not_open(RECIPIENT) };
        if let Err(error) = allowed {
            return told::policy(&error, self.about(RECIPIENT));
        }
        match live.recipient(&self.permit, recipient).await {
            Ok(Named::Waits(waits)) => told::trouble(&DeliveryError::Limits(waits), self.about(RECIPIENT)),
            Ok(Named::Said(reply)) if reply.is_intermediate() => {
                let told = told::out_of_step(&reply, self.about(RECIPIENT));
                self.state = State::Broken(told.clone());
                told
            }
            Ok(Named::Said(reply)) => {
                if reply.is_positive() {
                    self.recipients.push(address(recipient));
                } else {
                    self.note_if_refused(&reply, vec![address(recipient)]);
                }
                let told = told::exchange(&reply, self.about(RECIPIENT));
                self.closed_by_421(&reply, &told);
                told
            }
            Err(error) => self.broke(error, RECIPIENT),
        }
    }

    /// DATA, with what policy said of going on. Once it was let through, the message may finish.
    pub async fn data(&mut self, allowed: Result<(), AuthError>) -> Reply {
        let State::Open(live) = &mut self.state else { return self.not_open(MESSAGE) };
        if let Err(error) = allowed {
            return told::policy(&error, self.about(MESSAGE));
        }
        match live.data(&self.permit).await {
            Ok(reply) => {
                if reply.code == 354 {
                    if let State::Open(live) = mem::replace(&mut self.state, State::Closed) {
                        self.state = State::Sending(live);
                    }
                    // Fixed words: clients know them, and Exchange's say the same.
                    return Reply::new(354, "Start mail input; end with <CRLF>.<CRLF>");
                }
                if reply.is_positive() || reply.is_intermediate() {
                    // Only 354 may let the message come, and what Exchange waits for now is not known.
                    let told = told::out_of_step(&reply, self.about(MESSAGE));
                    self.state = State::Broken(told.clone());
                    return told;
                }
                self.note_if_refused(&reply, self.recipients.clone());
                let told = told::exchange(&reply, self.about(MESSAGE));
                self.closed_by_421(&reply, &told);
                told
            }
            Err(error) => self.broke(error, MESSAGE),
        }
    }

    /// A piece of the message. What goes wrong is told at its end.
    pub async fn content(&mut self, piece: &[u8]) {
        self.octets += piece.len() as u64;
        if let State::Sending(live) = &mut self.state
            && let Err(error) = live.content(piece).await
        {
            self.broke(error, MESSAGE);
        }
    }

    /// The end of the message: Exchange's answer to it.
    pub async fn end(&mut self) -> Reply {
        match mem::replace(&mut self.state, State::Closed) {
            State::Sending(live) => match live.finish(&self.permit).await {
                // What Exchange still waits for is not known, and so not whether it has the message.
                Ok(reply) if reply.is_intermediate() => told::out_of_step(&reply, self.about(PERHAPS_ARRIVED)),
                Ok(reply) => {
                    let recipients = std::mem::take(&mut self.recipients);
                    if reply.is_positive() {
                        self.note(JournalOutcome::Delivered, recipients, &reply);
                        info!(
                            mailbox.id = %self.permit.mailbox(),
                            password.id = self.permit.password_id(),
                            "Exchange accepted a message: {}",
                            told::printable(&reply, 300)
                        );
                    } else {
                        self.note_if_refused(&reply, recipients);
                    }
                    told::exchange(&reply, self.about(MESSAGE))
                }
                // Whether Exchange has the message is unknown. The client is told to send it again: twice is better than never.
                Err(error) => told(error, self.about(PERHAPS_ARRIVED)),
            },
            State::Broken(reply) => reply,
            other => {
                self.state = other;
                told::no_transaction(self.about(MESSAGE))
            }
        }
    }

    /// Whether nobody else than the mailbox may stand in the header of the message that comes now.
    pub(in crate::delivery) fn is_of_account(&self) -> bool {
        match &self.state {
            State::Open(live) | State::Sending(live) => live.is_of_account(&self.permit),
            State::Closed | State::Broken(_) => false,
        }
    }

    /// The Message-ID of the message is known.
    pub fn identify(&mut self, message_id: Option<String>) {
        self.message_id = message_id;
    }

    /// The message must not be completed: the connection is cut before its final dot.
    pub fn abandon(&mut self) {
        self.state = State::Closed;
    }

    /// Forgets the transaction.
    pub async fn reset(&mut self) {
        if let State::Open(live) = mem::replace(&mut self.state, State::Closed) {
            live.reset().await;
        }
    }

    /// The session is over.
    pub async fn close(mut self) {
        // A message that is only half here must not be completed: there the connection is cut instead.
        self.reset().await;
    }

    fn broke(&mut self, error: UpstreamError, what: &'static str) -> Reply {
        let reply = told(error, self.about(what));
        self.state = State::Broken(reply.clone());
        reply
    }

    fn not_open(&self, what: &'static str) -> Reply {
        match &self.state {
            State::Broken(reply) => reply.clone(),
            _ => told::no_transaction(self.about(what)),
        }
    }

    /// After 421 the connection is of no more use.
    fn closed_by_421(&mut self, reply: &Reply, told: &Reply) {
        if reply.code == 421 {
            self.state = State::Broken(told.clone());
        }
    }
}

/// What a transaction is made of; for the log.
const SENDER: &str = "the sender";
const RECIPIENT: &str = "a recipient";
const MESSAGE: &str = "the message";
const PERHAPS_ARRIVED: &str = "the message (it may have arrived all the same)";

/// What the client is told of a connection that failed: Exchange's refusal if it said one, else that it may try again.
fn told(error: UpstreamError, about: About<'_>) -> Reply {
    match &error {
        UpstreamError::BrokeOff { reply, .. } => told::exchange(reply, about),
        _ => told::trouble(&DeliveryError::from(error), about),
    }
}
