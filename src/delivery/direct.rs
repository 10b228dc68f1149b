//! Passing a message on live: every answer is Exchange's.

use std::mem;
use std::sync::Arc;

use tracing::{debug, info};

use crate::auth::{AuthError, Cleared, Permit};
use crate::delivery::{Delivery, DeliveryError, told};
use crate::upstream::UpstreamError;
use crate::upstream::smtp::Submission;
use crate::wire::smtp::{RcptTo, Reply};

/// The deliveries of one session. Its connection to Exchange is opened at the first MAIL and kept for the next message.
pub struct Direct {
    delivery: Delivery,
    permit: Arc<Permit>,
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
        Self { delivery, permit, state: State::Closed }
    }

    /// MAIL, with what policy said of it.
    pub async fn mail(&mut self, cleared: Result<Cleared, AuthError>) -> Reply {
        const DOING: &str = "the sender";
        let cleared = match cleared {
            Ok(cleared) => cleared,
            Err(error) => return told::policy(&error),
        };
        // A connection kept from the last message may have been closed, or its token may have ended, since.
        if let State::Idle(mut submission) = mem::replace(&mut self.state, State::Closed) {
            match submission.mail(cleared.mail()).await {
                Ok(reply) if !is_worn_out(&reply) => return self.began(submission, &reply),
                Ok(reply) => debug!("a kept connection is worn out: {} {}", reply.code, reply.text()),
                Err(error) => debug!("a kept connection is gone: {error}"),
            }
        }
        let mut submission = match self.delivery.open(&self.permit).await {
            Ok(submission) => submission,
            Err(error) => return told::trouble(&error, DOING),
        };
        match submission.mail(cleared.mail()).await {
            Ok(reply) => self.began(submission, &reply),
            Err(error) => told::trouble(&error.into(), DOING),
        }
    }

    fn began(&mut self, submission: Submission, reply: &Reply) -> Reply {
        let told = told::exchange(reply, "the sender");
        self.state = if reply.is_positive() { State::Open(submission) } else { State::Idle(submission) };
        self.closed_by_421(reply, &told);
        told
    }

    /// RCPT.
    pub async fn recipient(&mut self, recipient: &RcptTo) -> Reply {
        const DOING: &str = "a recipient";
        let State::Open(submission) = &mut self.state else { return self.not_open() };
        match submission.recipient(recipient).await {
            Ok(reply) => {
                let told = told::exchange(&reply, DOING);
                self.closed_by_421(&reply, &told);
                told
            }
            Err(error) => self.broke(error, DOING),
        }
    }

    /// DATA.
    pub async fn data(&mut self) -> Reply {
        const DOING: &str = "the message";
        let State::Open(submission) = &mut self.state else { return self.not_open() };
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
                    let told = told::out_of_step(&reply, DOING);
                    self.state = State::Broken(told.clone());
                    return told;
                }
                let told = told::exchange(&reply, DOING);
                self.closed_by_421(&reply, &told);
                told
            }
            Err(error) => self.broke(error, DOING),
        }
    }

    /// A piece of the message. What goes wrong is told at its end.
    pub async fn content(&mut self, piece: &[u8]) {
        if let State::Sending(submission) = &mut self.state
            && let Err(error) = submission.content(piece).await
        {
            self.broke(error, "the message");
        }
    }

    /// The end of the message: Exchange's answer to it.
    pub async fn end(&mut self) -> Reply {
        match mem::replace(&mut self.state, State::Closed) {
            State::Sending(mut submission) => match submission.finish().await {
                Ok(reply) => {
                    if reply.is_positive() {
                        info!("Exchange accepted a message: {}", printable(&reply));
                    }
                    let told = told::exchange(&reply, "the message");
                    self.state = State::Idle(submission);
                    self.closed_by_421(&reply, &told);
                    told
                }
                // Whether Exchange has the message is unknown. The client is told to send it again: twice is better than never.
                Err(error) => told(error, "the message (it may have arrived all the same)"),
            },
            State::Broken(reply) => reply,
            other => {
                self.state = other;
                told::no_transaction()
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

    fn broke(&mut self, error: UpstreamError, doing: &'static str) -> Reply {
        let reply = told(error, doing);
        self.state = State::Broken(reply.clone());
        reply
    }

    fn not_open(&self) -> Reply {
        match &self.state {
            State::Broken(reply) => reply.clone(),
            _ => told::no_transaction(),
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

/// What the client is told of a connection that failed: Exchange's refusal if it said one, else that it may try again.
fn told(error: UpstreamError, doing: &'static str) -> Reply {
    match &error {
        UpstreamError::BrokeOff { reply, .. } => told::exchange(reply, doing),
        _ => told::trouble(&DeliveryError::from(error), doing),
    }
}

/// Exchange's words for the log: its number for the message finds it in a message trace.
fn printable(reply: &Reply) -> String {
    reply.text().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// Whether a MAIL on a kept connection was refused for the connection's age and not for the sender.
fn is_worn_out(reply: &Reply) -> bool {
    matches!(reply.code, 421 | 451 | 503 | 530 | 535)
}
