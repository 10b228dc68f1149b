//! One attempt to deliver a message of the queue: a transaction with Exchange, and what it came to for each recipient.

use std::time::Duration;

use tracing::info;

use crate::auth::Permit;
use crate::base::{Fault, Whose, catalogue};
use crate::delivery::by_graph::{self, Whole};
use crate::delivery::governor::{Asks, Room, Waits};
use crate::delivery::live::{Begun, Live, Named};
use crate::delivery::mark;
use crate::delivery::remedy::{Sending, remedy_for};
use crate::delivery::spool::SpoolError;
use crate::delivery::told::printable;
use crate::delivery::{Delivery, DeliveryError, recipient_of, sender_of};
use crate::store::{Obstacle, QueuedMessage, RecipientState, Route};
use crate::upstream::UpstreamError;
use crate::upstream::graph::LONGEST_MESSAGE_OCTETS;
use crate::wire::header;
use crate::wire::smtp::{MailFrom, RcptTo, Reply};

/// How long a second way waits for room.
const SECOND_ROOM_TIME: Duration = Duration::from_secs(1);

/// Octets that are read from the spool at a time.
const PIECE_OCTETS: usize = 64 * 1024;

/// What stands in the way of a message, and how far that reaches.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Hindrance {
    /// What it is.
    pub(in crate::delivery) obstacle: Obstacle,
    /// Whose move it is; `Nobody`: it passes.
    pub(in crate::delivery) whose: Whose,
    /// Whether it concerns everything that the mailbox sends, and not this message alone.
    pub(in crate::delivery) of_mailbox: bool,
}

impl Hindrance {
    /// The way to Exchange does not open, or broke.
    pub(in crate::delivery) fn of_way(error: &DeliveryError) -> Self {
        let obstacle = Obstacle { code: error.code().to_owned(), reason: error.to_string(), remedy: error.remedy() };
        Self { obstacle, whose: error.whose(), of_mailbox: true }
    }

    /// A reply that is no final refusal.
    pub(in crate::delivery) fn of_reply(reply: &Reply, what: &str, permit: &Permit, sender: Option<&str>) -> Self {
        let remedy = remedy_for(reply, Sending { mailbox: permit.mailbox(), account: permit.account(), sender });
        let reason = format!("Exchange did not take {what}: {} {}", reply.code, printable(reply, 1500));
        // A session that is not let in, and a mailbox that is slowed down, are every message's matter.
        let of_mailbox = remedy.of_mailbox || matches!(reply.code, 421 | 430 | 432 | 530 | 535);
        let whose = remedy.whose;
        Self { obstacle: Obstacle { code: remedy.code.to_owned(), reason, remedy: remedy.text }, whose, of_mailbox }
    }

    /// A reply that came late and is neither an acceptance nor a final refusal.
    pub(in crate::delivery) fn of_late_reply(reply: &Reply) -> Self {
        let reason = format!("Exchange did not take the message: {}", said(reply));
        let obstacle = Obstacle { code: "exchange-busy".to_owned(), reason, remedy: None };
        Self { obstacle, whose: Whose::Nobody, of_mailbox: false }
    }

    /// Whether Exchange says that SMTP AUTH is switched off, as where a tenant has none on purpose.
    pub(in crate::delivery) fn is_smtp_off(&self) -> bool {
        let entry = catalogue::exchange_reply(535, &self.obstacle.reason);
        entry.is_some_and(|entry| entry.code.starts_with("smtp-auth-off-"))
    }

    /// The message cannot go by Graph.
    pub(in crate::delivery) fn unfit(why: &str) -> Self {
        let obstacle = Obstacle {
            code: UNFIT_CODE.to_owned(),
            reason: format!("the message cannot be sent by Microsoft Graph: {why}"),
            remedy: None,
        };
        Self { obstacle, whose: Whose::Nobody, of_mailbox: false }
    }

    fn of_spool(error: &SpoolError) -> Self {
        let obstacle = Obstacle { code: error.code().to_owned(), reason: error.to_string(), remedy: error.remedy() };
        Self { obstacle, whose: Whose::Administrator, of_mailbox: false }
    }
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Outcome {
    /// The way that was tried.
    pub(in crate::delivery) route: Route,
    /// The recipients about which something was said: place in the message's list, state, reply.
    pub(in crate::delivery) recipients: Vec<(usize, RecipientState, Option<String>)>,
    /// What stands in the way of those that still wait.
    pub(in crate::delivery) hindrance: Option<Hindrance>,
    /// The places of the recipients that may have got the message although nobody said so.
    pub(in crate::delivery) unknown: Option<Vec<usize>>,
    /// Whether it came so far that Exchange could have the message by it.
    pub(in crate::delivery) is_completing: bool,
    /// The earlier attempts of which it was found out what became of them.
    pub(in crate::delivery) found: Vec<u32>,
    /// What Graph said to a message that SMTP may take all the same.
    pub(in crate::delivery) refused: Option<Reply>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            route: Route::Smtp,
            recipients: Vec::new(),
            hindrance: None,
            unknown: None,
            is_completing: false,
            found: Vec::new(),
            refused: None,
        }
    }
}

impl Outcome {
    /// Whether nothing has come of it, and another way may do better.
    fn wants_another_way(&self) -> bool {
        let nobody = self.recipients.iter().all(|(_, state, _)| *state == RecipientState::Waiting);
        let hindered =
            |hindrance: &Hindrance| hindrance.whose != Whose::Nobody || hindrance.obstacle.code == UNFIT_CODE;
        nobody && self.unknown.is_none() && self.hindrance.as_ref().is_some_and(hindered)
    }
}

/// The obstacle of a message that cannot go by Graph.
pub(in crate::delivery) const UNFIT_CODE: &str = "graph-unfit";

/// Who sends the messages of a mailbox that wait.
pub(in crate::delivery) struct Sender<'a> {
    delivery: &'a Delivery,
    permit: Permit,
}

impl<'a> Sender<'a> {
    pub(in crate::delivery) fn new(delivery: &'a Delivery, permit: Permit) -> Self {
        Self { delivery, permit }
    }

    /// Room for a message, unless that takes long.
    pub(in crate::delivery) async fn room(&self, patience: Duration) -> Result<Room, Waits> {
        self.delivery.traffic.room(&self.permit, Asks::Courier, patience).await
    }

    /// Tries to deliver a message to the recipients that still wait, by one way after the other. It is `again` where the message may have
    /// arrived.
    pub(in crate::delivery) async fn attempt(&self, message: &QueuedMessage, room: Room, again: bool) -> Outcome {
        let routes = self.delivery.routes(&self.permit);
        let mut room = Some(room);
        let mut best: Option<Outcome> = None;
        let mut refused = None;
        for route in &routes {
            let free = match room.take() {
                Some(room) => room,
                None => match self.room(SECOND_ROOM_TIME).await {
                    Ok(room) => room,
                    Err(_) => break,
                },
            };
            let mut outcome = match route {
                Route::Smtp => self.by_smtp(message, free, again).await,
                Route::Graph => self.by_graph(message, free, again, routes.contains(&Route::Smtp)).await,
            };
            if !outcome.wants_another_way() {
                return outcome;
            }
            if outcome.is_completing {
                // It certainly has not got it that way.
                match self.delivery.keeping.store.take_final_back(&message.id, message.resent).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return outcome,
                }
                outcome.is_completing = false;
            }
            refused = refused.or(outcome.refused.take());
            if *route == Route::Smtp && routes.contains(&Route::Graph) {
                self.delivery.traffic.smtp_is_off(&self.permit);
            }
            // That it cannot go by Graph is not what somebody has to mend.
            let is_unfit = |best: &Outcome| best.hindrance.as_ref().is_some_and(|one| one.obstacle.code == UNFIT_CODE);
            if best.as_ref().is_none_or(is_unfit) {
                best = Some(outcome);
            }
        }
        match (refused, best) {
            // Nobody wants to open the one way for a message that the other has refused. Whatever else is wrong with it will be mended.
            (Some(reply), Some(best)) if best.hindrance.as_ref().is_some_and(Hindrance::is_smtp_off) => {
                let mut outcome = Outcome { route: Route::Graph, ..Outcome::default() };
                refuse(&mut outcome, &waiting(message).collect::<Vec<_>>(), &reply);
                outcome
            }
            (_, best) => best.unwrap_or_default(),
        }
    }

    async fn by_smtp(&self, message: &QueuedMessage, room: Room, again: bool) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(hindrance) = self.transact(message, room, again, &mut outcome).await {
            outcome.hindrance = Some(hindrance);
        }
        outcome
    }

    async fn by_graph(&self, message: &QueuedMessage, room: Room, again: bool, or_smtp: bool) -> Outcome {
        let mut outcome = Outcome { route: Route::Graph, ..Outcome::default() };
        let places: Vec<usize> = waiting(message).collect();
        let prepared = match self.prepared(message).await {
            Ok(prepared) => prepared,
            Err(hindrance) => return Outcome { hindrance: Some(hindrance), ..outcome },
        };
        let content = match prepared {
            Ok(content) => content,
            Err(why) if or_smtp => return Outcome { hindrance: Some(Hindrance::unfit(why)), ..outcome },
            Err(why) => {
                refuse(&mut outcome, &places, &by_graph::cannot_go(why));
                return outcome;
            }
        };
        match self.may_complete(message, &places, again).await {
            Ok(true) => outcome.is_completing = true,
            Ok(false) => return outcome,
            Err(hindrance) => return Outcome { hindrance: Some(hindrance), ..outcome },
        }
        match self.delivery.send_by_graph(&self.permit, &content, room).await {
            Ok(()) => {
                let taken =
                    |place: &usize| (*place, RecipientState::Delivered, Some("202 Accepted by Graph".to_owned()));
                outcome.recipients.extend(places.iter().map(taken));
            }
            Err(error) => match (by_graph::is_unfit(&error).filter(|_| or_smtp), by_graph::as_reply(&error)) {
                (Some(why), reply) => {
                    outcome.refused = reply;
                    outcome.hindrance = Some(Hindrance::unfit(&why));
                }
                (None, Some(reply)) => refuse(&mut outcome, &places, &reply),
                (None, None) => {
                    outcome.unknown = by_graph::is_unknown(&error).then_some(places);
                    outcome.hindrance = Some(Hindrance::of_way(&error));
                }
            },
        }
        outcome
    }

    /// Notes who may have the message from now on. False: it was held or dropped since the attempt began, and is not to be completed.
    async fn may_complete(&self, message: &QueuedMessage, places: &[usize], again: bool) -> Result<bool, Hindrance> {
        let noted = self.delivery.keeping.store.note_final(&message.id, places, again).await.map_err(|error| {
            let error = DeliveryError::from(error);
            // Whatever the store has, the message loses nothing by waiting.
            Hindrance { whose: Whose::Nobody, of_mailbox: false, ..Hindrance::of_way(&error) }
        })?;
        if !noted {
            info!(
                mailbox.id = %message.mailbox,
                queue.id = message.id,
                "a message was held or dropped while it was on its way, and is not completed"
            );
        }
        Ok(noted)
    }

    /// The message as Graph gets it, or why it cannot go that way.
    async fn prepared(&self, message: &QueuedMessage) -> Result<Result<Vec<u8>, &'static str>, Hindrance> {
        if message.size_octets > LONGEST_MESSAGE_OCTETS {
            return Ok(Err("it is larger than the 3 MB that Graph takes"));
        }
        let mut reading =
            self.delivery.keeping.spool.read(&message.id).await.map_err(|error| Hindrance::of_spool(&error))?;
        let (mut content, mut buffer) = (Vec::new(), vec![0; PIECE_OCTETS]);
        loop {
            let piece = reading.piece(&mut buffer).await.map_err(|error| Hindrance::of_spool(&error))?;
            if piece.is_empty() {
                break;
            }
            content.extend_from_slice(piece);
        }
        let content = mark::numbered(&content, message.begun + 1);
        let sender = sender_of(message);
        let addresses: Vec<String> = message.waiting().filter_map(recipient_of).collect();
        let whole = Whole {
            content: &content,
            sender: sender.as_deref(),
            waiting: &addresses,
            is_served: message.recipients.iter().any(|one| one.state == RecipientState::Delivered),
            by_account: self.delivery.broker.graph_is_by_account(&self.permit),
        };
        Ok(whole.for_graph(self.permit.mailbox().as_str()))
    }

    async fn transact(
        &self,
        message: &QueuedMessage,
        room: Room,
        again: bool,
        outcome: &mut Outcome,
    ) -> Result<(), Hindrance> {
        let Ok(mail) = MailFrom::parse(message.mail.as_bytes()) else { return Err(unreadable("its sender")) };
        // Opened before Exchange is asked for anything, so that a message whose file is gone costs no transaction.
        let mut reading =
            self.delivery.keeping.spool.read(&message.id).await.map_err(|error| Hindrance::of_spool(&error))?;
        let sender = mail.address().map(str::to_owned);
        let sender = sender.as_deref();
        let permit = &self.permit;

        let mut live = match self.begin(&mail, room).await? {
            Ok(live) => live,
            Err(reply) => {
                let waiting: Vec<usize> = waiting(message).collect();
                refuse(outcome, &waiting, &reply);
                return Ok(());
            }
        };
        if live.is_of_account(permit) {
            // Nobody knew as whom Exchange would let the session in when the message came.
            let of_mailbox = match reading.header().await {
                Ok(head) => head.is_some_and(|head| header::is_of(&head, permit.mailbox().as_str())),
                Err(error) => return Err(Hindrance::of_spool(&error)),
            };
            if !of_mailbox {
                let waiting: Vec<usize> = waiting(message).collect();
                refuse(outcome, &waiting, &foreign());
                live.reset().await;
                return Ok(());
            }
        }
        let mut taken = Vec::new();
        let mut hindrance = None;
        for (place, recipient) in message.recipients.iter().enumerate() {
            if recipient.state != RecipientState::Waiting {
                continue;
            }
            let Ok(rcpt) = RcptTo::parse(recipient.rcpt.as_bytes()) else {
                hindrance = Some(unreadable("a recipient"));
                continue;
            };
            let reply = match live.recipient(permit, &rcpt).await.map_err(broke)? {
                Named::Said(reply) => reply,
                Named::Waits(waits) => {
                    hindrance = Some(Hindrance::of_way(&DeliveryError::Limits(waits)));
                    continue;
                }
            };
            if reply.is_intermediate() {
                // What Exchange waits for now is not known, so nothing more is said on this connection.
                return Err(Hindrance::of_reply(&reply, "a recipient", permit, sender));
            }
            let said = Some(said(&reply));
            if reply.is_positive() {
                taken.push(place);
            } else if is_final(&reply) {
                outcome.recipients.push((place, RecipientState::Failed, said));
            } else {
                outcome.recipients.push((place, RecipientState::Waiting, said));
                hindrance = Some(Hindrance::of_reply(&reply, "a recipient", permit, sender));
            }
        }
        if taken.is_empty() {
            live.reset().await;
            return hindrance.map_or(Ok(()), Err);
        }
        let reply = live.data(permit).await.map_err(broke)?;
        let reply = if reply.code == 354 {
            let mut buffer = vec![0; PIECE_OCTETS];
            let mut number = message.begun + 1;
            loop {
                let piece = reading.piece(&mut buffer).await.map_err(|error| Hindrance::of_spool(&error))?;
                if piece.is_empty() {
                    break;
                }
                // Only the first one has our line in it.
                let piece = mark::numbered(piece, std::mem::take(&mut number));
                match live.content(&piece).await {
                    Ok(()) => {}
                    // It has said why, and nothing more is to be sent.
                    Err(UpstreamError::BrokeOff { reply, .. }) if is_final(&reply) => {
                        refuse(outcome, &taken, &reply);
                        return hindrance.map_or(Ok(()), Err);
                    }
                    Err(error) => return Err(broke(error)),
                }
            }
            if !self.may_complete(message, &taken, again).await? {
                // Cut before its final dot, so that Exchange does not take it.
                return Ok(());
            }
            outcome.is_completing = true;
            match live.finish(permit).await {
                Ok(reply) if !reply.is_intermediate() => reply,
                Ok(reply) => {
                    outcome.unknown = Some(taken);
                    return Err(Hindrance::of_reply(&reply, "the message", permit, sender));
                }
                // A refusal, whenever it is said, is no acceptance.
                Err(UpstreamError::BrokeOff { reply, .. }) => reply,
                Err(error) => {
                    outcome.unknown = Some(taken);
                    return Err(broke(error));
                }
            }
        } else if reply.is_positive() || reply.is_intermediate() {
            // Nothing was sent yet, so nothing can have been accepted.
            return Err(Hindrance::of_reply(&reply, "the message", permit, sender));
        } else {
            reply
        };
        if reply.is_positive() {
            let said = said(&reply);
            outcome
                .recipients
                .extend(taken.iter().map(|place| (*place, RecipientState::Delivered, Some(said.clone()))));
        } else if is_final(&reply) {
            refuse(outcome, &taken, &reply);
        } else {
            let said = said(&reply);
            outcome.recipients.extend(taken.iter().map(|place| (*place, RecipientState::Waiting, Some(said.clone()))));
            hindrance = Some(Hindrance::of_reply(&reply, "the message", permit, sender));
        }
        hindrance.map_or(Ok(()), Err)
    }

    /// MAIL; or Exchange's final refusal of the sender.
    async fn begin(&self, mail: &MailFrom, room: Room) -> Result<Result<Box<Live>, Reply>, Hindrance> {
        let begun = self.delivery.transaction(&self.permit, mail, room, self.delivery.way_time).await;
        match begun.map_err(|error| Hindrance::of_way(&error))? {
            Begun::Live(live, _) => Ok(Ok(live)),
            Begun::Foreign => Ok(Err(foreign())),
            Begun::Refused(reply) if is_final(&reply) => Ok(Err(reply)),
            Begun::Refused(reply) => Err(Hindrance::of_reply(&reply, "the sender", &self.permit, mail.address())),
        }
    }
}

/// The places of the recipients that still wait.
pub(in crate::delivery) fn waiting(message: &QueuedMessage) -> impl Iterator<Item = usize> + '_ {
    let recipients = message.recipients.iter().enumerate();
    recipients.filter(|(_, recipient)| recipient.state == RecipientState::Waiting).map(|(place, _)| place)
}

/// The connection broke within the transaction. That may be this message's doing, so the others of its mailbox need not wait for it.
fn broke(error: UpstreamError) -> Hindrance {
    Hindrance { of_mailbox: false, ..Hindrance::of_way(&DeliveryError::from(error)) }
}

/// What Exchange says of a sender that the session may not send as.
fn foreign() -> Reply {
    Reply::new(550, "5.7.60 Client does not have permissions to send as this sender")
}

fn unreadable(what: &str) -> Hindrance {
    let obstacle = Obstacle {
        code: "queue-unreadable".to_owned(),
        reason: format!("{what} cannot be read in the store"),
        remedy: Some("Restore the store from a backup, or drop the message.".to_owned()),
    };
    Hindrance { obstacle, whose: Whose::Administrator, of_mailbox: false }
}

fn refuse(outcome: &mut Outcome, taken: &[usize], reply: &Reply) {
    let said = said(reply);
    outcome.recipients.extend(taken.iter().map(|place| (*place, RecipientState::Failed, Some(said.clone()))));
}

/// A reply as it is kept: code and words, in one line and not endless.
pub(in crate::delivery) fn said(reply: &Reply) -> String {
    format!("{} {}", reply.code, printable(reply, 500))
}

/// Whether Exchange refuses for good: what it says is permanent, and known neither to pass nor to be about the session.
pub(in crate::delivery) fn is_final(reply: &Reply) -> bool {
    let passes =
        || catalogue::exchange_reply(reply.code, &reply.text()).is_some_and(|entry| entry.whose == Whose::Nobody);
    reply.is_permanent() && !matches!(reply.code, 503 | 530 | 535 | 538) && !passes()
}
