//! SMTP by a client of others: lettre, inside TLS of ours.
//!
//! lettre believes what was said in clear before STARTTLS, so the handshake is made by `upstream` and lettre is lent the secured stream
//! with a greeting made up. Nor does it answer the challenge of a refused XOAUTH2, so the login is spoken line by line.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::address::Envelope;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::admin::ops::doctor::login::{Failed, PATIENCE, in_one_line};
use crate::auth::Permit;
use crate::base::Mailbox;
use crate::base::catalogue::{self, Places};
use crate::broker::AccessToken;
use crate::upstream::{ServerStream, Upstream};

/// Somebody who may send, as the login has proven.
pub(in crate::admin::ops::doctor) struct Sender {
    /// The name that is let in.
    pub(in crate::admin::ops::doctor) name: Mailbox,
    pub(in crate::admin::ops::doctor) token: AccessToken,
    /// Our name in EHLO.
    pub(in crate::admin::ops::doctor) hostname: String,
}

/// A session of lettre that is logged in.
pub(in crate::admin::ops::doctor) struct Session {
    connection: AsyncSmtpConnection,
    extensions: Vec<String>,
}

impl Sender {
    /// Logs in, names the mailbox as sender, and takes it back: nothing is sent. What the server offers.
    pub(in crate::admin::ops::doctor) async fn rehearse(
        &self,
        upstream: &Upstream,
        permit: &Permit,
        implicit_tls: bool,
    ) -> Result<String, Failed> {
        let mut session = self.open(upstream, permit, implicit_tls).await?;
        let sender = permit.mailbox();
        // It is put into a command, so lettre's grammar is to have a look at it first.
        let address: Address =
            sender.as_str().parse().map_err(|error| in_words(None, format!("{sender}: {error}"), sender))?;
        session.ask(&format!("MAIL FROM:<{address}>"), sender).await?;
        session.ask("RSET", sender).await?;
        let offered = in_one_line(&session.extensions.join(", "));
        session.end().await;
        Ok(format!(
            "MAIL FROM:<{sender}> is taken (whether it may send shows only when it does: --send-test); offered: {offered}"
        ))
    }

    /// Opens a session and logs in.
    pub(in crate::admin::ops::doctor) async fn open(
        &self,
        upstream: &Upstream,
        permit: &Permit,
        implicit_tls: bool,
    ) -> Result<Session, Failed> {
        let stream = upstream.connect(permit).await.map_err(Failed::Road)?;
        let sender = permit.mailbox();
        let lent = Box::new(Lent::new(stream, !implicit_tls));
        let hello = ClientId::Domain(self.hostname.clone());
        let connected = timeout(PATIENCE, AsyncSmtpConnection::connect_with_transport(lent, &hello)).await;
        let connection = connected.map_err(|_| Failed::Silent)?.map_err(|error| failed(&error, sender))?;
        let mut session = Session { connection, extensions: Vec::new() };
        let offered = session.ask(&format!("EHLO {}", self.hostname), sender).await?;
        session.extensions = offered.into_iter().skip(1).collect();
        self.log_in(&mut session, sender).await?;
        Ok(session)
    }

    async fn log_in(&self, session: &mut Session, sender: &Mailbox) -> Result<(), Failed> {
        session.ask("AUTH XOAUTH2", sender).await?;
        let token = self.token.expose().expose();
        let message = Zeroizing::new(format!("user={}\u{1}auth=Bearer {token}\u{1}\u{1}", self.name.as_str()));
        let line = Zeroizing::new(STANDARD.encode(message.as_bytes()));
        let answer = timeout(PATIENCE, session.connection.command(Line(&line))).await.map_err(|_| Failed::Silent)?;
        match answer {
            // The error of XOAUTH2 comes as a challenge; an empty answer makes the server say 535.
            Ok(answer) if answer.has_code(334) => session.ask("", sender).await.map(|_| ()),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(&error, sender)),
        }
    }
}

impl Session {
    /// Says a line and waits for a positive reply; its lines.
    async fn ask(&mut self, line: &str, sender: &Mailbox) -> Result<Vec<String>, Failed> {
        let answer = timeout(PATIENCE, self.connection.command(Line(line))).await.map_err(|_| Failed::Silent)?;
        let answer = answer.map_err(|error| failed(&error, sender))?;
        Ok(answer.message().map(str::to_owned).collect())
    }

    /// Sends a message; what the server said to it.
    pub(in crate::admin::ops::doctor) async fn send(
        &mut self,
        envelope: &Envelope,
        message: &[u8],
        sender: &Mailbox,
    ) -> Result<String, Failed> {
        let sent = timeout(4 * PATIENCE, self.connection.send(envelope, message)).await.map_err(|_| Failed::Silent)?;
        let answer = sent.map_err(|error| failed(&error, sender))?;
        Ok(in_one_line(&format!("{} {}", answer.code(), answer.message().collect::<Vec<_>>().join(" "))))
    }

    /// Says goodbye; whether anybody hears it does not matter.
    pub(in crate::admin::ops::doctor) async fn end(mut self) {
        drop(timeout(std::time::Duration::from_secs(2), self.connection.quit()).await);
    }
}

/// A line for lettre, which sends what it is given as it is.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.0)
    }
}

/// What the server said, and what to do by the catalogue.
fn failed(error: &lettre::transport::smtp::Error, sender: &Mailbox) -> Failed {
    let code = error.status().map(|status| status.to_string());
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match code.as_deref().and_then(|code| code.parse().ok()) {
        Some(number) => in_words(Some((number, text.clone())), format!("{number} {text}"), sender),
        None => in_words(None, text, sender),
    }
}

fn in_words(reply: Option<(u16, String)>, said: String, sender: &Mailbox) -> Failed {
    let address = sender.as_str();
    let places = Places { mailbox: Some(address), sender: Some(address), ..Places::default() };
    let entry = reply.and_then(|(code, text)| catalogue::exchange_reply(code, &text));
    let otherwise = "Postern's own login worked just before, so try again; if it lasts, report it with this line.";
    let remedy = entry.map_or_else(|| otherwise.to_owned(), |entry| entry.remedy_text(&places));
    Failed::Said { said: format!("another client (lettre) was told: {}", in_one_line(&said)), remedy: Some(remedy) }
}

/// The secured stream, with a greeting of ours before what the server says, and lines that lettre can bear. It gives up at a server that
/// never ends.
struct Lent {
    stream: ServerStream,
    greeting: &'static [u8],
    readable_octets: usize,
    /// How many octets of the present line have been read.
    in_line: usize,
}

impl Lent {
    const MOST_OCTETS: usize = 1024 * 1024;

    /// lettre gives up at lines of over 1000 octets, and Exchange refuses in longer ones. What matters stands at their beginning.
    const LONGEST_LINE: usize = 600;

    /// `greeted`: the server has greeted before the handshake, and lettre waits for one.
    fn new(stream: ServerStream, greeted: bool) -> Self {
        let greeting: &[u8] = if greeted { b"220 secured\r\n" } else { b"" };
        Self { stream, greeting, readable_octets: Self::MOST_OCTETS, in_line: 0 }
    }
}

/// Takes the middle out of lines that are too long: what lies beyond `longest`, but for the line's end.
fn shorten(octets: &[u8], longest: usize, in_line: &mut usize) -> Vec<u8> {
    let mut short = Vec::with_capacity(octets.len());
    for octet in octets {
        if *in_line < longest || matches!(octet, b'\r' | b'\n') {
            short.push(*octet);
        }
        *in_line = if *octet == b'\n' { 0 } else { *in_line + 1 };
    }
    short
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[a secured stream]")
    }
}

impl AsyncRead for Lent {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        let mut piece = [0; 2048];
        let room = buffer.remaining().min(piece.len());
        loop {
            let mut read = ReadBuf::new(piece.get_mut(..room).unwrap_or_default());
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            let read = read.filled();
            match self.readable_octets.checked_sub(read.len()) {
                Some(left) => self.readable_octets = left,
                None => return Poll::Ready(Err(io::Error::other("the server's answers have no end"))),
            }
            let short = shorten(read, Self::LONGEST_LINE, &mut self.in_line);
            // Nothing at all would mean the end of the stream.
            if read.is_empty() || !short.is_empty() {
                buffer.put_slice(&short);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Lent {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_loses_its_middle_however_it_is_cut_into_pieces() {
        let said = b"554 5.2.252 SendAsDenied; and so on\r\n250 ok\r\n";
        for piece in [1, 7, said.len()] {
            let mut in_line = 0;
            let short: Vec<u8> = said.chunks(piece).flat_map(|octets| shorten(octets, 11, &mut in_line)).collect();
            assert_eq!(short, b"554 5.2.252\r\n250 ok\r\n", "{piece}");
        }
    }
}
