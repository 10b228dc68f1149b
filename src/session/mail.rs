//! The SMTP part of a session: its transactions, and how long it may be silent in them.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};
use tracing::info;

use crate::auth::{Counted, Permit};
use crate::delivery::Delivering;
use crate::front::Transact;
use crate::listener::ClientStream;
use crate::session::ending::Ending;
use crate::session::{Heard, Road, whole_ms};
use crate::wire::smtp::Reply;

/// Below this many octets a second, measured over the time spent waiting for the client, a message is cut off.
const LEAST_OCTETS_PER_SECOND: u64 = 100;

/// The rate is not looked at before the client has kept us waiting this long.
const RATE_GRACE: Duration = Duration::from_secs(60);

/// A logged-in SMTP session.
pub(in crate::session) struct Mail {
    permit: Arc<Permit>,
    delivering: Delivering,
    phase: Phase,
    /// The message of this transaction, where they are counted.
    counted: Option<Counted>,
    accepted: u64,
    content_octets: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between transactions.
    Commands,
    /// MAIL was accepted.
    Transaction,
    /// The message is coming, be it one that is refused already and only read to its end.
    Content(Pace),
}

/// How fast a message comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pace {
    /// How long we waited for the client.
    waited: Duration,
    octets: u64,
}

impl Pace {
    /// Counts a read that took so long and brought so many octets; whether that is still fast enough.
    fn keeps_up(&mut self, waited: Duration, octets: usize) -> bool {
        self.waited += waited;
        self.octets += octets as u64;
        self.waited <= RATE_GRACE || self.octets >= self.waited.as_secs() * LEAST_OCTETS_PER_SECOND
    }
}

impl Mail {
    pub(in crate::session) fn new(road: &Road, permit: Arc<Permit>, is_secured: bool) -> Self {
        let delivering = road.delivery.begin(Arc::clone(&permit), is_secured);
        Self { permit, delivering, phase: Phase::Commands, counted: None, accepted: 0, content_octets: 0 }
    }

    /// Reads from the client within what its phase allows. Stopping lets a transaction finish; a login that holds no more does not.
    pub(in crate::session) async fn read(
        &mut self,
        road: &Road,
        client: &mut ClientStream,
        buffer: &mut [u8],
    ) -> Heard {
        let patience = match self.phase {
            Phase::Content(_) => road.settings.content_time,
            Phase::Commands | Phase::Transaction => road.settings.command_time,
        };
        let began = Instant::now();
        let idle = self.phase == Phase::Commands;
        let count = tokio::select! {
            read = timeout(patience, client.read(buffer)) => match read {
                Ok(read) => read.unwrap_or(0),
                Err(_) => return Heard::End(Ending::Idle),
            },
            () = road.stopping.cancelled(), if idle => return Heard::End(Ending::Stopping),
            ending = self.cut_off(road) => return Heard::End(ending),
        };
        if let Phase::Content(pace) = &mut self.phase
            && !pace.keeps_up(began.elapsed(), count)
            && count > 0
        {
            return Heard::End(Ending::Slow);
        }
        Heard::Octets(count)
    }

    /// Does a step of a transaction, and gives the reply if the step wants one; or why the session ends, if the step takes too long for
    /// a service that stops or a login that holds no more. What Exchange has been asked is then left unanswered.
    pub(in crate::session) async fn step(&mut self, road: &Road, transact: Transact) -> Result<Option<Reply>, Ending> {
        let permit = Arc::clone(&self.permit);
        tokio::select! {
            biased;
            reply = self.transact(road, transact) => Ok(reply),
            ending = cut_off(road, &permit) => Err(ending),
        }
    }

    /// Returns when nothing of this session may go on.
    pub(in crate::session) async fn cut_off(&self, road: &Road) -> Ending {
        cut_off(road, &self.permit).await
    }

    async fn transact(&mut self, road: &Road, transact: Transact) -> Option<Reply> {
        match transact {
            Transact::Mail(mail) => {
                let cleared = match road.auth.count_message(&self.permit).await {
                    Ok(counted) => {
                        self.counted = Some(counted);
                        road.auth.clear(&self.permit, mail).await
                    }
                    Err(error) => Err(error),
                };
                let reply = self.delivering.mail(cleared).await;
                if reply.is_positive() {
                    self.phase = Phase::Transaction;
                } else {
                    self.counted = None;
                }
                Some(reply)
            }
            // A mailbox that is disabled, or halted, within a transaction gets no further in it, and no message is completed that is on its way
            // already: the client hears that it has to wait, and keeps it. An app password that ends takes its session with it, and the
            // message.
            Transact::Recipient(recipient) => {
                let allowed = road.auth.clear_recipient(&self.permit, &recipient);
                Some(self.delivering.recipient(allowed, &recipient).await)
            }
            Transact::Data => {
                let reply = self.delivering.data(road.auth.still_holds(&self.permit)).await;
                if reply.is_intermediate() {
                    self.phase = Phase::Content(Pace::default());
                }
                Some(reply)
            }
            Transact::Content(piece) => {
                self.content_octets += piece.len() as u64;
                self.delivering.content(&piece).await;
                None
            }
            Transact::End => {
                let reply = self.delivering.end(road.auth.still_holds(&self.permit)).await;
                match self.counted.take() {
                    Some(counted) if reply.is_positive() => counted.keep(),
                    _ => {}
                }
                self.accepted += u64::from(reply.is_positive());
                self.phase = Phase::Commands;
                Some(reply)
            }
            Transact::Abandon => {
                // What is left of the message is still waited for as a message; a `Reset` says that it has been read.
                self.delivering.abandon();
                None
            }
            Transact::Reset => {
                self.delivering.reset().await;
                self.counted = None;
                self.phase = Phase::Commands;
                None
            }
        }
    }

    /// The session is over.
    pub(in crate::session) async fn end(self, began: Instant, ending: Ending) {
        info!(
            mailbox.id = %self.permit.mailbox(),
            password.id = self.permit.password_id(),
            accepted_messages = self.accepted,
            up_octets = self.content_octets,
            took_ms = whole_ms(began.elapsed()),
            "session ended: {ending}"
        );
        self.delivering.close().await;
    }
}

async fn cut_off(road: &Road, permit: &Permit) -> Ending {
    tokio::select! {
        () = road.cut.cancelled() => Ending::Stopping,
        why = permit.session().ended() => Ending::Ended(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_be_slow_for_a_minute_and_then_needs_a_hundred_octets_a_second() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::default();
        assert!(pace.keeps_up(seconds(60), 1));
        assert!(!pace.keeps_up(seconds(1), 1));
        let mut pace = Pace::default();
        assert!(pace.keeps_up(seconds(60), 0));
        assert!(pace.keeps_up(seconds(40), 10_000));
        assert!(!pace.keeps_up(seconds(1), 99));
    }
}
