//! Submitting by SMTP: TLS first, XOAUTH2 in two steps (RFC 4954, section 4), then one transaction after the other.
//!
//! Nothing that arrives in clear behind the go-ahead to STARTTLS is believed, and without TLS no token is sent.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::base::{HostPort, Mailbox, Secret};
use crate::broker::AccessToken;
use crate::upstream::conversation::{Conversation, quoted};
use crate::upstream::dial;
use crate::upstream::{Endpoints, ServerStream, Settings, UpstreamError, refusal};
use crate::wire::sasl;
use crate::wire::smtp::data::Stuffer;
use crate::wire::smtp::{Extensions, MailFrom, RcptTo, Reply, ReplyReader};

/// How long Exchange may take to accept a whole message (RFC 5321, section 4.5.3.2.6).
const FINAL_ANSWER_TIME: Duration = Duration::from_secs(600);

/// How long one piece of a message may take to leave (RFC 5321, section 4.5.3.2.5).
const PIECE_TIME: Duration = Duration::from_secs(180);

/// How long a server that stopped taking the message is listened to for its reason.
const LAST_WORDS_TIME: Duration = Duration::from_secs(5);

/// The most lines of one reply.
const MOST_LINES: usize = 100;

/// An authenticated SMTP session.
#[derive(Debug)]
pub struct Submission {
    /// Whom Exchange takes the session for.
    user: Mailbox,
    conversation: Conversation<ServerStream>,
    extensions: Extensions,
    stuffer: Stuffer,
    answer_time: Duration,
}

/// Connects, secures, logs in.
pub(in crate::upstream) async fn open(
    host: &HostPort,
    endpoints: &Endpoints,
    settings: &Settings,
    mailbox: &Mailbox,
    token: &AccessToken,
) -> Result<Submission, UpstreamError> {
    let stream = if endpoints.smtp_implicit_tls {
        dial::tls(host, endpoints, settings).await?
    } else {
        start_tls(host, endpoints, settings).await?
    };
    let mut conversation = Conversation::new(stream, host.clone(), settings.answer_time);
    if endpoints.smtp_implicit_tls {
        greeting(&mut conversation).await?;
    }
    let extensions = Extensions::from_ehlo(&hello(&mut conversation, &settings.hostname).await?);
    log_in(&mut conversation, mailbox, token).await?;
    Ok(Submission {
        user: mailbox.clone(),
        conversation,
        extensions,
        stuffer: Stuffer::new(),
        answer_time: settings.answer_time,
    })
}

/// Connects and secures with STARTTLS. Nothing has been said inside TLS then; the server waits for EHLO.
pub(in crate::upstream) async fn start_tls(
    host: &HostPort,
    endpoints: &Endpoints,
    settings: &Settings,
) -> Result<ServerStream, UpstreamError> {
    let stream = ask_for_tls(dial::tcp(host, settings).await?, host, settings).await?;
    dial::upgrade(stream, host, endpoints, settings).await
}

/// Asks for TLS on a connection that is there; the handshake comes next.
pub(in crate::upstream) async fn ask_for_tls(
    stream: TcpStream,
    host: &HostPort,
    settings: &Settings,
) -> Result<TcpStream, UpstreamError> {
    let mut clear = Conversation::new(stream, host.clone(), settings.answer_time);
    greeting(&mut clear).await?;
    let offered = hello(&mut clear, &settings.hostname).await?;
    if !offered.lines.iter().any(|line| line.eq_ignore_ascii_case(b"STARTTLS")) {
        return Err(clear.protocol("it does not offer STARTTLS, and without TLS no token is sent"));
    }
    let answer = command(&mut clear, b"STARTTLS\r\n", "asking for TLS").await?;
    if answer.code != 220 {
        let said = quoted(format!("{} {}", answer.code, answer.text()).as_bytes());
        return Err(UpstreamError::Busy { host: host.clone(), said });
    }
    // Whatever stands behind the 220 was said in clear by anybody on the way (CVE-2011-0411 and its family).
    if clear.has_more() {
        return Err(clear.protocol("it said something in clear behind the go-ahead to TLS"));
    }
    Ok(clear.into_parts().0)
}

async fn greeting<S: AsyncRead + AsyncWrite + Unpin>(conversation: &mut Conversation<S>) -> Result<(), UpstreamError> {
    let reply = reply(conversation, "waiting for the SMTP greeting").await?;
    if reply.code == 220 {
        return Ok(());
    }
    let said = quoted(format!("{} {}", reply.code, reply.text()).as_bytes());
    Err(UpstreamError::Busy { host: conversation.host().clone(), said })
}

async fn hello<S: AsyncRead + AsyncWrite + Unpin>(
    conversation: &mut Conversation<S>,
    hostname: &str,
) -> Result<Reply, UpstreamError> {
    let reply = command(conversation, format!("EHLO {hostname}\r\n").as_bytes(), "saying EHLO").await?;
    if reply.is_positive() {
        return Ok(reply);
    }
    let said = quoted(format!("{} {}", reply.code, reply.text()).as_bytes());
    Err(UpstreamError::Busy { host: conversation.host().clone(), said })
}

async fn log_in(
    conversation: &mut Conversation<ServerStream>,
    mailbox: &Mailbox,
    token: &AccessToken,
) -> Result<(), UpstreamError> {
    const DOING: &str = "logging in by SMTP";
    let blob = sasl::xoauth2(mailbox, token.expose()).map_err(|error| conversation.protocol(error.to_string()))?;
    let go_on = command(conversation, b"AUTH XOAUTH2\r\n", DOING).await?;
    if go_on.code != 334 {
        return Err(refusal::smtp_login(conversation.host(), mailbox, &go_on));
    }
    let line = Secret::new(format!("{}\r\n", blob.expose()));
    let mut answer = command(conversation, line.expose().as_bytes(), DOING).await?;
    if answer.code == 334 {
        // The error of XOAUTH2 comes as a challenge; an empty answer makes the server say 535.
        answer = command(conversation, b"\r\n", DOING).await?;
        if answer.is_positive() {
            return Err(conversation.protocol("it accepts a login that it has refused"));
        }
    }
    if answer.code == 235 { Ok(()) } else { Err(refusal::smtp_login(conversation.host(), mailbox, &answer)) }
}

async fn command<S: AsyncRead + AsyncWrite + Unpin>(
    conversation: &mut Conversation<S>,
    line: &[u8],
    doing: &'static str,
) -> Result<Reply, UpstreamError> {
    conversation.send(line, doing).await?;
    reply(conversation, doing).await
}

async fn reply<S: AsyncRead + AsyncWrite + Unpin>(
    conversation: &mut Conversation<S>,
    doing: &'static str,
) -> Result<Reply, UpstreamError> {
    // A reply whose lines come one by one for ever is none.
    let limit = conversation.answer_time();
    timeout(limit, whole_reply(conversation, doing)).await.unwrap_or_else(|_| Err(conversation.silent(doing, limit)))
}

async fn whole_reply<S: AsyncRead + AsyncWrite + Unpin>(
    conversation: &mut Conversation<S>,
    doing: &'static str,
) -> Result<Reply, UpstreamError> {
    let mut reader = ReplyReader::new(ReplyReader::MAX_LINE_OCTETS, MOST_LINES);
    loop {
        let line = conversation.line(doing).await?;
        match reader.push(&line) {
            Ok(Some(reply)) => return Ok(reply),
            Ok(None) => {}
            Err(error) => return Err(conversation.protocol(error.to_string())),
        }
    }
}

impl Submission {
    /// Whom Exchange takes the session for: the mailbox, or the account that signs in for it.
    pub fn user(&self) -> &Mailbox {
        &self.user
    }

    /// MAIL. A message that needs SMTPUTF8 where that is not offered is refused by us (RFC 6531, section 3.2).
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub async fn mail(&mut self, mail: &MailFrom) -> Result<Reply, UpstreamError> {
        let mut line = Vec::new();
        match mail.write_command(&self.extensions, &mut line) {
            Ok(()) => command(&mut self.conversation, &line, "naming the sender").await,
            Err(_) => Ok(Reply::new(550, "5.6.7 The far side does not take addresses in UTF-8")),
        }
    }

    /// RCPT.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub async fn recipient(&mut self, recipient: &RcptTo) -> Result<Reply, UpstreamError> {
        let mut line = Vec::new();
        match recipient.write_command(&self.extensions, &mut line) {
            Ok(()) => command(&mut self.conversation, &line, "naming a recipient").await,
            Err(_) => Ok(Reply::new(553, "5.6.7 The far side does not take addresses in UTF-8")),
        }
    }

    /// DATA. Never BDAT: Exchange has stalled on it.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub async fn data(&mut self) -> Result<Reply, UpstreamError> {
        self.stuffer = Stuffer::new();
        command(&mut self.conversation, b"DATA\r\n", "asking to send the message").await
    }

    /// Sends a piece of the message: CRLF lines, dots not yet stuffed.
    ///
    /// # Errors
    /// When the connection is of no more use, with what the server said last if it said anything.
    pub async fn content(&mut self, piece: &[u8]) -> Result<(), UpstreamError> {
        let mut stuffed = Vec::with_capacity(piece.len() + 64);
        self.stuffer.push(piece, &mut stuffed);
        self.write(&stuffed).await
    }

    /// Ends the message and waits for the answer to it. An error here leaves it unknown whether the message was accepted.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub async fn finish(&mut self) -> Result<Reply, UpstreamError> {
        let mut end = Vec::new();
        std::mem::take(&mut self.stuffer).finish(&mut end);
        self.write(&end).await?;
        self.conversation.set_answer_time(FINAL_ANSWER_TIME);
        self.conversation.send(b"", "sending the message").await?;
        let answer = reply(&mut self.conversation, "waiting for the message to be accepted").await;
        self.conversation.set_answer_time(self.answer_time);
        answer
    }

    /// RSET.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub async fn reset(&mut self) -> Result<(), UpstreamError> {
        let answer = command(&mut self.conversation, b"RSET\r\n", "resetting").await?;
        if answer.is_positive() { Ok(()) } else { Err(self.conversation.protocol("it does not reset")) }
    }

    /// QUIT, without waiting for the farewell.
    pub async fn quit(mut self) {
        // The server closes anyway; there is nobody to tell if this fails.
        self.conversation.set_answer_time(LAST_WORDS_TIME);
        drop(self.conversation.send(b"QUIT\r\n", "saying goodbye").await);
        drop(timeout(LAST_WORDS_TIME, self.conversation.stream_mut().shutdown()).await);
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), UpstreamError> {
        const DOING: &str = "sending the message";
        if self.conversation.hears_something() {
            return Err(self.broke_off(DOING).await);
        }
        match timeout(PIECE_TIME, self.conversation.stream_mut().write_all(octets)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => {}
            Err(_) => {
                let (host, seconds) = (self.conversation.host().clone(), PIECE_TIME.as_secs());
                return Err(UpstreamError::Silent { host, doing: DOING, seconds });
            }
        }
        // A server that cuts a message off usually says why first.
        Err(self.broke_off(DOING).await)
    }

    /// What the server says before the message is complete. It may be a refusal; an acceptance it cannot be.
    async fn broke_off(&mut self, doing: &'static str) -> UpstreamError {
        self.conversation.set_answer_time(LAST_WORDS_TIME);
        match reply(&mut self.conversation, doing).await {
            Ok(reply) if reply.is_transient() || reply.is_permanent() => {
                UpstreamError::BrokeOff { host: self.conversation.host().clone(), reply }
            }
            Ok(_) => self.conversation.protocol("it answers to a message that is not complete"),
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_never_ends_is_not_waited_for_longer_than_one_that_never_comes() {
        let (stream, mut far) = duplex(1024);
        tokio::spawn(async move {
            while far.write_all(b"250-and\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        });
        let host = HostPort { host: "smtp.office365.com".to_owned(), port: 587 };
        let mut conversation = Conversation::new(stream, host, Duration::from_secs(30));
        let began = tokio::time::Instant::now();
        let error = reply(&mut conversation, "naming the sender").await.unwrap_err();
        assert!(matches!(error, UpstreamError::Silent { .. }), "{error}");
        assert!(began.elapsed() <= Duration::from_secs(31), "{:?}", began.elapsed());
    }
}
