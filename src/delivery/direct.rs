//! Passing a message on live: every answer is Exchange's.

use std::mem;
use std::sync::Arc;

use tracing::{debug, info};

use crate::auth::{AuthError, Cleared, Permit};
use crate::delivery::told::{self, About};
use crate::delivery::{Delivery, DeliveryError, is_foreign};
use crate::upstream::UpstreamError;
use crate::upstream::smtp::Submission;
use crate::wire::smtp::{RcptTo, Reply};

/// The deliveries of one session. Its connection to Exchange is opened at the first MAIL and kept for the next message.
pub struct Direct {
    delivery: Delivery,
    permit: Arc<Permit>,
    /// The sender of the transaction, or of the last one; for the log.
    sender: Option<String>,
    state: State,
}

enum State {
    /// No connection.
    Closed,
    /// A connection without a transaction.
    Idle(Submission),
    /// MAIL was accepted.
    Open(Submission),
    /// DATA was accepted and the message is on its way.
    Sending(Submission),
    /// The connection broke within a transaction; whatever the client still sends of it hears this.
    Broken(Reply),
}

impl Direct {
    pub(in crate::delivery) fn new(delivery: Delivery, permit: Arc<Permit>) -> Self {
        Self { delivery, permit, sender: None, state: State::Closed }
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
        // A connection kept from the last message may have been closed, or its token may have ended, since.
        if let State::Idle(mut submission) = mem::replace(&mut self.state, State::Closed) {
            if self.is_foreign(&submission) {
                self.state = State::Idle(submission);
                return told::foreign_sender(self.about(SENDER));
            }
            match submission.mail(cleared.mail()).await {
                Ok(reply) if !is_worn_out(&reply) => return self.began(submission, &reply),
                Ok(reply) => debug!("a kept connection is worn out: {} {}", reply.code, reply.text()),
                Err(error) => debug!("a kept connection is gone: {error}"),
            }
        }
        let mut submission = match self.delivery.open(&self.permit).await {
            Ok(submission) => submission,
            Err(error) => return told::trouble(&error, self.about(SENDER)),
        };
        if self.is_foreign(&submission) {
            self.state = State::Idle(submission);
            return told::foreign_sender(self.about(SENDER));
        }
        match submission.mail(cleared.mail()).await {
            Ok(reply) => self.began(submission, &reply),
            Err(error) => told::trouble(&error.into(), self.about(SENDER)),
        }
    }

    fn is_foreign(&self, submission: &Submission) -> bool {
        is_foreign(submission, &self.permit, self.sender.as_deref())
    }

    fn began(&mut self, submission: Submission, reply: &Reply) -> Reply {
        if reply.is_intermediate() {
            return told::out_of_step(reply, self.about(SENDER));
        }
        let told = told::exchange(reply, self.about(SENDER));
        self.state = if reply.is_positive() { State::Open(submission) } else { State::Idle(submission) };
        self.closed_by_421(reply, &told);
        told
    }

    /// RCPT, with what policy said of going on.
    pub async fn recipient(&mut self, allowed: Result<(), AuthError>, recipient: &RcptTo) -> Reply {
        let State::Open(submission) = &mut self.state else { return self.not_open(RECIPIENT) };
        if let Err(error) = allowed {
            return told::policy(&error, self.about(RECIPIENT));
        }
        match submission.recipient(recipient).await {
            Ok(reply) if reply.is_intermediate() => {
                let told = told::out_of_step(&reply, self.about(RECIPIENT));
                self.state = State::Broken(told.clone());
                told
            }
            Ok(reply) => {
                let told = told::exchange(&reply, self.about(RECIPIENT));
                self.closed_by_421(&reply, &told);
                told
            }
            Err(error) => self.broke(error, RECIPIENT),
        }
    }

    /// DATA, with what policy said of going on. Once it was let through, the message may finish.
    pub async fn data(&mut self, allowed: Result<(), AuthError>) -> Reply {
        let State::Open(submission) = &mut self.state else { return self.not_open(MESSAGE) };
        if let Err(error) = allowed {
            return told::policy(&error, self.about(MESSAGE));
        }
        match submission.data().await {
            Ok(reply) => {
                if reply.code == 354 {
                    if let State::Open(submission) = mem::replace(&mut self.state, State::Closed) {
                        self.state = State::Sending(submission);
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
                let told = told::exchange(&reply, self.about(MESSAGE));
                self.closed_by_421(&reply, &told);
                told
            }
            Err(error) => self.broke(error, MESSAGE),
        }
    }

    /// A piece of the message. What goes wrong is told at its end.
    pub async fn content(&mut self, piece: &[u8]) {
        if let State::Sending(submission) = &mut self.state
            && let Err(error) = submission.content(piece).await
        {
            self.broke(error, MESSAGE);
        }
    }

    /// The end of the message: Exchange's answer to it.
    pub async fn end(&mut self) -> Reply {
        match mem::replace(&mut self.state, State::Closed) {
            State::Sending(mut submission) => match submission.finish().await {
                // What Exchange still waits for is not known, and so not whether it has the message.
                Ok(reply) if reply.is_intermediate() => told::out_of_step(&reply, self.about(PERHAPS_ARRIVED)),
                Ok(reply) => {
                    if reply.is_positive() {
                        info!(
                            mailbox.id = %self.permit.mailbox(),
                            password.id = self.permit.password_id(),
                            "Exchange accepted a message: {}",
                            told::printable(&reply, 300)
                        );
                    }
                    let told = told::exchange(&reply, self.about(MESSAGE));
                    self.state = State::Idle(submission);
                    self.closed_by_421(&reply, &told);
                    told
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

    /// The message must not be completed: the connection is cut before its final dot.
    pub fn abandon(&mut self) {
        self.state = State::Closed;
    }

    /// Forgets the transaction.
    pub async fn reset(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Open(mut submission) => match submission.reset().await {
                Ok(()) => State::Idle(submission),
                Err(_) => State::Closed,
            },
            idle @ State::Idle(_) => idle,
            State::Closed | State::Sending(_) | State::Broken(_) => State::Closed,
        };
    }

    /// The session is over.
    pub async fn close(mut self) {
        // A message that is only half here must not be completed: there the connection is cut instead.
        if let State::Idle(submission) | State::Open(submission) = mem::replace(&mut self.state, State::Closed) {
            submission.quit().await;
        }
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

    /// After 421 the connection is of no more use, whatever state it is in.
    fn closed_by_421(&mut self, reply: &Reply, told: &Reply) {
        if reply.code == 421 {
            self.state = match self.state {
                State::Open(_) | State::Sending(_) => State::Broken(told.clone()),
                _ => State::Closed,
            };
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

/// Whether a MAIL on a kept connection was refused for the connection's age and not for the sender.
fn is_worn_out(reply: &Reply) -> bool {
    matches!(reply.code, 421 | 451 | 503 | 530 | 535)
}
