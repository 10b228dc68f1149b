//! 2. Each protocol up to login and, for SMTP, through its transactions: bytes in, steps out, no I/O.
//!
//! The session pushes what the client sent into [`Front::feed`] and does what [`Front::step`] says until that is
//! [`Step::Read`]. A front never sees a socket, a clock or a store, so it can be tested byte by byte and fuzzed as it is.

mod exchange;
pub mod imap;
mod imap_command;
mod patience;
pub mod pop3;
pub mod smtp;
mod steps;

use crate::base::Answer;
use crate::wire::sasl::Claim;
use crate::wire::smtp::{MailFrom, RcptTo, Reply};

/// What a front wants done before it can go on.
#[must_use = "a step not taken leaves the client waiting"]
#[derive(Debug)]
pub enum Step {
    /// Read more from the client and [`feed`](Front::feed) it.
    Read,
    /// Write these bytes to the client.
    Write(Vec<u8>),
    /// Do the TLS handshake, then call [`secured`](Front::secured). The front has already thrown away all that came before.
    StartTls,
    /// Find out whether this claim holds, open the way upstream (IMAP, POP3), then call [`judge`](Front::judge).
    Check(Claim),
    /// Login is done; these bytes came early and belong to the server. Nothing more comes from this front.
    HandOver(Vec<u8>),
    /// SMTP only, after login: a step of the mail transaction. Steps that say so want a [`reply`](Front::reply).
    Transact(Transact),
    /// Close the connection.
    Close,
}

/// A step of an SMTP mail transaction, in the order of RFC 5321, section 3.3.
#[derive(Debug)]
pub enum Transact {
    /// MAIL: open the transaction. Wants a reply.
    Mail(MailFrom),
    /// RCPT: add this recipient. Wants a reply.
    Recipient(RcptTo),
    /// DATA: may the message come? Wants a reply: 354, or a refusal.
    Data,
    /// A piece of the message: dots unstuffed, every line ended by CRLF, no NUL. Wants no reply.
    Content(Vec<u8>),
    /// The message is complete. Wants the final reply.
    End,
    /// The message cannot be passed on and must not be completed. What still comes of it is read and thrown away; at its end there is a
    /// [`Reset`](Transact::Reset), and the front itself answers the client. Wants no reply.
    Abandon,
    /// RSET, a second EHLO, the end of a message that was abandoned, or of the session: forget the transaction. Wants no reply.
    Reset,
}

/// What a listener tells its front about the connection.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Our name in the SMTP greeting and EHLO.
    pub hostname: String,
    /// Whether the connection is inside TLS already (implicit TLS).
    pub secured: bool,
    /// Whether STARTTLS or STLS is offered while it is not.
    pub starttls: bool,
    /// Whether this client may log in without TLS.
    pub plaintext_login: bool,
}

/// What became of a client that could not log in because it had not turned on TLS; for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantOfTls {
    /// It asked what there is, and was shown no way to log in. Most programs then go away and tell their user little.
    Shown,
    /// It tried to log in, and was refused.
    Refused,
}

/// What the client of a successful login is told.
#[derive(Clone, Debug, Default)]
pub struct Welcome {
    /// IMAP: the capabilities to show in the tagged OK, taken from what Exchange says after login.
    pub capabilities: Vec<String>,
}

/// One protocol's side of the conversation before, and for SMTP also after, login.
pub trait Front: Send {
    /// Takes in what the client sent.
    fn feed(&mut self, bytes: &[u8]);

    /// What is to be done next. After [`Step::Check`] and the steps of [`Transact`] that want a reply, the next call must be
    /// [`judge`](Front::judge) or [`reply`](Front::reply).
    fn step(&mut self) -> Step;

    /// The verdict on the claim handed out by [`Step::Check`].
    fn judge(&mut self, verdict: Result<Welcome, Answer>);

    /// The answer to the last step of [`Transact`] that wants one. Only SMTP has these.
    fn reply(&mut self, reply: Reply) {
        drop(reply);
    }

    /// The TLS handshake after [`Step::StartTls`] is done.
    fn secured(&mut self);

    /// The words to send before the connection is closed from our side (time limit, stopping, too many connections), given
    /// where the conversation stands; empty where nothing may be said.
    fn farewell(&self, answer: Answer) -> Vec<u8>;

    /// What the client calls itself (EHLO, IMAP ID), as told and cut to 128 octets; for the log.
    fn client_name(&self) -> Option<&str>;

    /// Whether the client could not log in for want of TLS; nothing once it is [`secured`](Front::secured).
    fn want_of_tls(&self) -> Option<WantOfTls>;
}

#[cfg(test)]
mod tests;
