//! The SMTP part of a session: its transactions, and how long it may be silent in them.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::auth::Permit;
use crate::base::Answer;
use crate::delivery::Direct;
use crate::front::Transact;
use crate::listener::ClientStream;
use crate::session::{Heard, Road};
use crate::wire::smtp::Reply;

/// Below this many octets a second, measured over the time spent waiting for the client, a message is cut off.
const LEAST_OCTETS_PER_SECOND: u64 = 100;

/// The rate is not looked at before the client has kept us waiting this long.
const RATE_GRACE: Duration = Duration::from_secs(60);

/// A logged-in SMTP session.
pub(in crate::session) struct Mail {
    permit: Arc<Permit>,
    direct: Direct,
    phase: Phase,
    accepted: u64,
    content_octets: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between transactions.
    Commands,
    /// MAIL was accepted.
    Transaction,
    /// The message is coming; so much was waited for it, and so many octets have come.
    Content { waited: Duration, octets: u64 },
}

impl Mail {
    pub(in crate::session) fn new(road: &Road, permit: Arc<Permit>) -> Self {
        let direct = road.delivery.direct(Arc::clone(&permit));
        Self { permit, direct, phase: Phase::Commands, accepted: 0, content_octets: 0 }
    }

    /// Reads from the client within what its phase allows. Stopping lets a transaction finish; a revoked app password does not.
    pub(in crate::session) async fn read(
        &mut self,
        road: &Road,
        client: &mut ClientStream,
        buffer: &mut [u8],
    ) -> Heard {
        let patience = match self.phase {
            Phase::Content { .. } => road.settings.content_time,
            Phase::Commands | Phase::Transaction => road.settings.command_time,
        };
        let began = Instant::now();
        let idle = self.phase == Phase::Commands;
        let count = tokio::select! {
            read = timeout(patience, client.read(buffer)) => match read {
                Ok(read) => read.unwrap_or(0),
                Err(_) => return Heard::End(Answer::GoodBye),
            },
            () = road.stopping.cancelled(), if idle => return Heard::End(Answer::Stopping),
            () = road.cut.cancelled() => return Heard::End(Answer::Stopping),
            () = self.permit.session().ended() => return Heard::End(Answer::Stopping),
        };
        if let Phase::Content { waited, octets } = &mut self.phase {
            *waited += began.elapsed();
            *octets += count as u64;
            if *waited > RATE_GRACE && *octets < waited.as_secs() * LEAST_OCTETS_PER_SECOND {
                debug!("the message comes too slowly");
                return Heard::End(Answer::GoodBye);
            }
        }
        Heard::Octets(count)
    }

    /// Does a step of a transaction, and gives the reply if the step wants one; or the words to end with, if the step takes too long for
    /// a service that stops or an app password that was revoked. What Exchange has been asked is then left unanswered.
    pub(in crate::session) async fn step(&mut self, road: &Road, transact: Transact) -> Result<Option<Reply>, Answer> {
        let permit = Arc::clone(&self.permit);
        tokio::select! {
            biased;
            reply = self.transact(road, transact) => Ok(reply),
            () = road.cut.cancelled() => Err(Answer::Stopping),
            () = permit.session().ended() => Err(Answer::Stopping),
        }
    }

    async fn transact(&mut self, road: &Road, transact: Transact) -> Option<Reply> {
        match transact {
            Transact::Mail(mail) => {
                let cleared = road.auth.clear(&self.permit, mail).await;
                let reply = self.direct.mail(cleared).await;
                if reply.is_positive() {
                    self.phase = Phase::Transaction;
                }
                Some(reply)
            }
            Transact::Recipient(recipient) => Some(self.direct.recipient(Ok(()), &recipient).await),
            Transact::Data => {
                let reply = self.direct.data(Ok(())).await;
                if reply.is_intermediate() {
                    self.phase = Phase::Content { waited: Duration::ZERO, octets: 0 };
                }
                Some(reply)
            }
            Transact::Content(piece) => {
                self.content_octets += piece.len() as u64;
                self.direct.content(&piece).await;
                None
            }
            Transact::End => {
                let reply = self.direct.end().await;
                self.accepted += u64::from(reply.is_positive());
                self.phase = Phase::Commands;
                Some(reply)
            }
            Transact::Abandon => {
                self.direct.abandon();
                self.phase = Phase::Commands;
                None
            }
            Transact::Reset => {
                self.direct.reset().await;
                self.phase = Phase::Commands;
                None
            }
        }
    }

    /// The session is over.
    pub(in crate::session) async fn end(self, began: Instant) {
        self.direct.close().await;
        info!(
            mailbox.id = %self.permit.mailbox(),
            password.id = self.permit.password_id(),
            accepted_messages = self.accepted,
            up_octets = self.content_octets,
            took_ms = began.elapsed().as_millis(),
            "session ended"
        );
    }
}
