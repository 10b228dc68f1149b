//! 6a. IMAP and POP3: joining the two ends, byte for byte.
//!
//! An idle session owns no buffer: each worker thread has one, and a session keeps octets of its own only while the other end does
//! not take them. Then it also stops reading, so a client that does not read costs nothing but its own waiting.

mod half;
mod watched;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::{Answer, Protocol};
use crate::relay::half::Half;
use crate::wire::answer;
use crate::wire::imap::Boundary;

pub use self::watched::join_watched;

/// What holds for one relay.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The protocol; only IMAP can be said goodbye to.
    pub protocol: Protocol,
    /// How long nothing may pass in either direction. IMAP's IDLE is renewed within 29 minutes (RFC 2177).
    pub idle_time: Duration,
    /// How long the far side may go on after the client has finished.
    pub linger_time: Duration,
}

impl Settings {
    /// The settings for a protocol: 35 minutes for IMAP, above the 30 that RFC 3501, section 5.4 demands; 15 for POP3, above the 10
    /// of RFC 1939, section 3.
    pub fn of(protocol: Protocol) -> Self {
        let minutes = if protocol == Protocol::Imap { 35 } else { 15 };
        Self { protocol, idle_time: Duration::from_secs(60 * minutes), linger_time: Duration::from_secs(30) }
    }
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Octets from the client to the far side.
    pub up_octets: u64,
    /// Octets from the far side to the client.
    pub down_octets: u64,
    /// Why it ended.
    pub why: Why,
}

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The client finished.
    ClientClosed,
    /// A connection broke.
    Broken,
    /// Nothing passed for too long.
    Idle,
    /// The far side finished.
    ServerClosed,
    /// The client has said, in the middle of a command, what it may not.
    Refused,
    /// We ended it: stopping, or the login no longer holds.
    Stopped,
}

impl Why {
    /// A word for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "connection broken",
            Self::ClientClosed => "closed by the client",
            Self::Idle => "idle for too long",
            Self::Refused => "the client said what it may not",
            Self::ServerClosed => "closed by the far side",
            Self::Stopped => "ended by Postern",
        }
    }
}

/// One end of a relay.
#[derive(Debug)]
pub struct End<S> {
    /// The stream.
    pub stream: S,
    /// What was read from it before the relay and belongs to the other end.
    pub already_read: Vec<u8>,
}

/// How long an end may take to accept what it is still sent when its connection is closed. A revoked session has to be closed within five
/// seconds, of which noticing it takes one and lingering another.
const FLUSH_TIME: Duration = Duration::from_secs(3);

/// Joins two ends until both are done, one breaks, nothing passes for too long, or `stop` returns: then the client hears its answer, if
/// it can be said where the stream stands.
pub async fn join<C, S>(
    client: End<C>,
    server: End<S>,
    settings: Settings,
    stop: impl Future<Output = Answer>,
) -> Outcome
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Half::new(client.already_read);
    let mut down = Half::new(server.already_read);
    let (mut client, mut server) = (client.stream, server.stream);
    let mut boundary = (settings.protocol == Protocol::Imap).then(Boundary::new);
    if let Some(boundary) = &mut boundary {
        boundary.observe(down.waiting());
    }
    let mut stop = pin!(stop);
    let mut farewell = Answer::GoodBye;
    let mut last_moved = Instant::now();
    let mut moved_octets = 0;
    let mut timer = pin!(sleep_until(last_moved + settings.idle_time));

    let why = poll_fn(|cx| {
        let went_up = up.poll(cx, &mut client, &mut server, |_| {});
        let went_down = down.poll(cx, &mut server, &mut client, |octets| {
            if let Some(boundary) = &mut boundary {
                boundary.observe(octets);
            }
        });
        // The far side's last words are with the client; what it might still say has nobody to hear it.
        if let Poll::Ready(result) = went_down {
            return Poll::Ready(if result.is_err() {
                Why::Broken
            } else if up.is_done() {
                Why::ClientClosed
            } else {
                Why::ServerClosed
            });
        }
        if let Poll::Ready(Err(_)) = went_up {
            // The far side takes no more; it may have said why, and that has been passed on as far as it had come.
            return Poll::Ready(Why::Broken);
        }
        if let Poll::Ready(answer) = stop.as_mut().poll(cx) {
            farewell = answer;
            return Poll::Ready(Why::Stopped);
        }
        let octets = up.octets() + down.octets();
        if octets != moved_octets {
            moved_octets = octets;
            last_moved = Instant::now();
        }
        // The timer is only moved when it rings, so that traffic costs nothing here; after the client's end it must ring sooner.
        let allowed = if up.is_done() { settings.linger_time } else { settings.idle_time };
        if up.is_done() && timer.deadline() > last_moved + allowed {
            timer.as_mut().reset(last_moved + allowed);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if last_moved + allowed <= Instant::now() {
                return Poll::Ready(if up.is_done() { Why::ClientClosed } else { Why::Idle });
            }
            timer.as_mut().reset(last_moved + allowed);
        }
        Poll::Pending
    })
    .await;

    let outcome = Outcome { up_octets: up.octets(), down_octets: down.octets(), why };
    let between = down.waiting().is_empty() && boundary.as_ref().is_some_and(Boundary::between_responses);
    let last_words = match why {
        Why::Stopped | Why::Idle if between => answer::imap(None, farewell),
        _ => Vec::new(),
    };
    let hang_up = async move { drop(timeout(FLUSH_TIME, server.shutdown()).await) };
    // Boxed apart, so that a relay of hours does not carry the room for its end.
    Box::pin(async move { tokio::join!(finish(client, &last_words, usize::MAX), hang_up) }).await;
    outcome
}

/// Ends a connection so that its last words arrive, and within a few seconds: nobody may hold up the end by not reading.
///
/// Closing a socket with unread octets in it, or one that gets more of them, resets the connection, and then Windows takes back what its
/// program has not read yet; so what still comes is read for a moment and thrown away, up to `most_octets` of it.
pub async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, last_words: &[u8], most_octets: usize) {
    const LINGER: Duration = Duration::from_secs(1);
    let goodbye = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await
    };
    if timeout(FLUSH_TIME, goodbye).await.is_err() {
        return; // It takes no more, so it does not read either.
    }
    let rest = async {
        // On the heap, so that a session of hours does not carry the room for it.
        let mut unread = vec![0; 4096];
        let mut octets = 0;
        while octets < most_octets {
            match stream.read(&mut unread).await? {
                0 => break,
                count => octets += count,
            }
        }
        io::Result::Ok(())
    };
    // A client that is gone is what was wanted.
    drop(timeout(LINGER, rest).await);
}

#[cfg(test)]
mod tests;
