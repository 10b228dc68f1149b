//! `assured`: a message goes to Exchange live while the client waits, and Exchange's own answers are what the client hears. Where Exchange
//! cannot take it now, the message is kept, flushed, before the client hears that it is.
//!
//! While the message comes it goes two ways, to Exchange and into a draft on disk; which of the two counts is decided at its end. Where
//! the disk cannot take a draft, Exchange alone counts, as in `direct`.

mod by_graph;
mod keeping;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::auth::{AuthError, Cleared, Permit};
use crate::base::{Answer, Fault, Reference, Whose};
use crate::delivery::attempt::{Hindrance, is_final, said};
use crate::delivery::governor::Asks;
use crate::delivery::live::{Begun, Live, Named};
use crate::delivery::noted::{Envelope, address};
use crate::delivery::spool::{Draft, SpoolError};
use crate::delivery::told::{self, About};
use crate::delivery::{Delivery, DeliveryError, Keeping};
use crate::store::{DeliveryMode, JournalOutcome, Route};
use crate::upstream::UpstreamError;
use crate::wire::answer;
use crate::wire::smtp::{MailFrom, RcptTo, Reply};

/// The deliveries of one session.
pub struct Assured {
    delivery: Delivery,
    permit: Arc<Permit>,
    /// Whether a message may be kept. If not, it is gathered for Graph alone.
    keeps: bool,
    transaction: Option<Transaction>,
}

/// A message that is coming.
struct Transaction {
    mail: MailFrom,
    recipients: Vec<Recipient>,
    /// The transaction with Exchange, as long as there is one.
    live: Option<Box<Live>>,
    /// Graph comes before SMTP.
    graph_first: bool,
    /// Why there is none, or why some recipients wait.
    hindrance: Option<Hindrance>,
    /// Why nothing can be kept; then Exchange alone counts.
    no_room: Option<SpoolError>,
    draft: Option<Draft>,
    /// Octets of the message so far.
    octets: u64,
    /// Its Message-ID, without angle brackets.
    message_id: Option<String>,
    /// DATA was let through by Exchange.
    is_sending: bool,
    /// Exchange has refused the message for good before its end.
    refused: Option<Reply>,
    /// Exchange may have the message although it has not said so.
    is_unknown: bool,
    /// Exchange's answer, which may still come.
    late: Option<LateAnswer>,
}

/// What ends with Exchange's answer to a message.
type LateAnswer = JoinHandle<Result<Reply, UpstreamError>>;

struct Recipient {
    rcpt: RcptTo,
    /// Exchange has taken it in the transaction that is under way.
    is_taken: bool,
    /// It had, when the transaction was lost.
    was_taken: bool,
}

impl Transaction {
    fn sender(&self) -> Option<&str> {
        self.mail.address()
    }

    /// Everybody.
    fn all(&self) -> Vec<String> {
        self.recipients.iter().map(|recipient| address(&recipient.rcpt)).collect()
    }

    /// Those whom Exchange has taken.
    fn taken(&self) -> Vec<String> {
        self.recipients
            .iter()
            .filter(|recipient| recipient.is_taken)
            .map(|recipient| address(&recipient.rcpt))
            .collect()
    }

    /// The transaction with Exchange is over: everybody waits.
    fn lost(&mut self, hindrance: Hindrance) {
        self.live = None;
        self.is_sending = false;
        self.hindrance = Some(hindrance);
        for recipient in &mut self.recipients {
            recipient.was_taken = std::mem::take(&mut recipient.is_taken);
        }
    }
}

impl Assured {
    pub(in crate::delivery) fn new(delivery: Delivery, permit: Arc<Permit>, mode: DeliveryMode) -> Self {
        Self { delivery, permit, keeps: mode == DeliveryMode::Assured, transaction: None }
    }

    fn about<'a>(&'a self, sender: Option<&'a str>, what: &'static str) -> About<'a> {
        About { permit: &self.permit, incidents: &self.delivery.incidents, sender, what }
    }

    fn note_by(
        &self,
        route: Route,
        transaction: &Transaction,
        outcome: JournalOutcome,
        recipients: Vec<String>,
        reply: &Reply,
    ) {
        let envelope = Envelope::of_client(&self.permit, transaction.sender())
            .with_content(transaction.octets, transaction.message_id.clone())
            .by(route);
        self.delivery.note(envelope, outcome, recipients, Some(said(reply)));
    }

    fn note(&self, transaction: &Transaction, outcome: JournalOutcome, recipients: Vec<String>, reply: &Reply) {
        self.note_by(Route::Smtp, transaction, outcome, recipients, reply);
    }

    /// MAIL, with what policy said of it.
    pub async fn mail(&mut self, cleared: Result<Cleared, AuthError>) -> Reply {
        let cleared = match cleared {
            Ok(cleared) => cleared,
            Err(error) => return told::policy(&error, self.about(None, SENDER)),
        };
        let mail = cleared.into_mail();
        let no_room = self.delivery.keeping.spool.check_room(mail.size.unwrap_or(0)).err();
        let mut transaction = Transaction {
            mail,
            recipients: Vec::new(),
            live: None,
            graph_first: self.delivery.routes(&self.permit).first() == Some(&Route::Graph),
            hindrance: None,
            no_room,
            draft: None,
            octets: 0,
            message_id: None,
            is_sending: false,
            refused: None,
            is_unknown: false,
            late: None,
        };
        let reply = match (&transaction.no_room, transaction.graph_first) {
            (Some(full), true) => self.full(full, transaction.sender()),
            (None, true) => Reply::new(250, "2.1.0 Sender OK"),
            (_, false) => self.begin_live(&mut transaction).await,
        };
        if reply.is_positive() {
            self.transaction = Some(transaction);
        }
        reply
    }

    /// MAIL to Exchange, as far as that can be had within the client's patience.
    async fn begin_live(&mut self, transaction: &mut Transaction) -> Reply {
        match self.begin(&transaction.mail).await {
            Ok(Begun::Foreign) => told::foreign_sender(self.about(transaction.sender(), SENDER)),
            Ok(Begun::Live(live, reply)) => {
                transaction.live = Some(live);
                told::exchange(&reply, self.about(transaction.sender(), SENDER))
            }
            Ok(Begun::Refused(reply)) if is_final(&reply) => {
                self.note(transaction, JournalOutcome::Refused, Vec::new(), &reply);
                told::exchange(&reply, self.about(transaction.sender(), SENDER))
            }
            Ok(Begun::Refused(reply)) => {
                let hindrance = Hindrance::of_reply(&reply, SENDER, &self.permit, transaction.sender());
                self.passed_on_or_kept(transaction, hindrance, &reply, SENDER)
            }
            Err(error) => self.without(transaction, Hindrance::of_way(&error), Some(&error), SENDER),
        }
    }

    async fn begin(&self, mail: &MailFrom) -> Result<Begun, DeliveryError> {
        let Keeping { patience, clock, .. } = &self.delivery.keeping;
        let began = clock.elapsed();
        let who = Asks::Client(self.permit.password_id());
        let room = self.delivery.traffic.room(&self.permit, who, *patience).await.map_err(DeliveryError::Limits)?;
        let left = patience.saturating_sub(clock.elapsed().saturating_sub(began));
        self.delivery.transaction(&self.permit, mail, room, left.max(LEAST_WAY_TIME)).await
    }

    /// The message goes without Exchange from here; or, where nothing can be kept, the client is told the trouble.
    fn without(
        &self,
        transaction: &mut Transaction,
        hindrance: Hindrance,
        error: Option<&DeliveryError>,
        what: &'static str,
    ) -> Reply {
        if let Some(full) = &transaction.no_room {
            return match error {
                Some(error) if error.whose() != Whose::Nobody => {
                    told::trouble(error, self.about(transaction.sender(), what))
                }
                _ => self.full(full, transaction.sender()),
            };
        }
        info!(mailbox.id = %self.permit.mailbox(), code = hindrance.obstacle.code, "the message will be kept: {}", hindrance.obstacle.reason);
        transaction.lost(hindrance);
        if what == SENDER { Reply::new(250, "2.1.0 Sender OK") } else { Reply::new(250, "2.1.5 Recipient OK") }
    }

    /// The same after a reply of Exchange that is no final refusal.
    fn passed_on_or_kept(
        &self,
        transaction: &mut Transaction,
        hindrance: Hindrance,
        reply: &Reply,
        what: &'static str,
    ) -> Reply {
        if transaction.no_room.is_some() {
            return self.passed_on(reply, transaction.sender(), what);
        }
        self.without(transaction, hindrance, None, what)
    }

    /// Exchange's refusal as the client hears it; one that is no answer to what was asked is none.
    fn passed_on(&self, reply: &Reply, sender: Option<&str>, what: &'static str) -> Reply {
        if reply.is_positive() || reply.is_intermediate() {
            return told::out_of_step(reply, self.about(sender, what));
        }
        told::exchange(reply, self.about(sender, what))
    }

    fn full(&self, full: &SpoolError, sender: Option<&str>) -> Reply {
        self.no_place(full, sender)
    }

    /// The message cannot be kept: `452 4.3.1`, whatever the reason.
    fn no_place(&self, full: &dyn Fault, sender: Option<&str>) -> Reply {
        let reference = Reference::fresh();
        warn!(
            %reference,
            mailbox.id = %self.permit.mailbox(),
            password.id = self.permit.password_id(),
            code = full.code(),
            remedy = full.remedy(),
            "a message cannot be kept: {full}"
        );
        told::note(self.about(sender, MESSAGE), reference, full);
        answer::smtp(Answer::DiskGuard(reference))
    }

    /// RCPT, with what policy said of going on.
    pub async fn recipient(&mut self, allowed: Result<(), AuthError>, recipient: &RcptTo) -> Reply {
        let Some(mut transaction) = self.transaction.take() else {
            return told::no_transaction(self.about(None, RECIPIENT));
        };
        let reply = match allowed {
            Err(error) => told::policy(&error, self.about(transaction.sender(), RECIPIENT)),
            Ok(()) => self.one_recipient(&mut transaction, recipient).await,
        };
        self.transaction = Some(transaction);
        reply
    }

    async fn one_recipient(&self, transaction: &mut Transaction, recipient: &RcptTo) -> Reply {
        let mut is_taken = false;
        let reply = match transaction.live.as_mut() {
            None => match &transaction.no_room {
                Some(full) => self.full(full, transaction.sender()),
                None => Reply::new(250, "2.1.5 Recipient OK"),
            },
            Some(live) => match live.recipient(&self.permit, recipient).await {
                Ok(Named::Waits(waits)) => {
                    let error = DeliveryError::Limits(waits);
                    if transaction.no_room.is_some() {
                        return told::trouble(&error, self.about(transaction.sender(), RECIPIENT));
                    }
                    transaction.hindrance = Some(Hindrance::of_way(&error));
                    Reply::new(250, "2.1.5 Recipient OK")
                }
                Ok(Named::Said(reply)) if reply.is_positive() => {
                    is_taken = true;
                    told::exchange(&reply, self.about(transaction.sender(), RECIPIENT))
                }
                Ok(Named::Said(reply)) if is_final(&reply) => {
                    self.note(transaction, JournalOutcome::Refused, vec![address(recipient)], &reply);
                    return told::exchange(&reply, self.about(transaction.sender(), RECIPIENT));
                }
                Ok(Named::Said(reply)) => {
                    let hindrance = Hindrance::of_reply(&reply, RECIPIENT, &self.permit, transaction.sender());
                    // After these the connection is of no more use.
                    let is_over = reply.code == 421 || reply.is_intermediate();
                    if transaction.no_room.is_some() {
                        if is_over {
                            transaction.lost(hindrance);
                        }
                        return self.passed_on(&reply, transaction.sender(), RECIPIENT);
                    }
                    if is_over {
                        transaction.lost(hindrance);
                    } else {
                        // The others may go on; this one waits.
                        transaction.hindrance = Some(hindrance);
                    }
                    Reply::new(250, "2.1.5 Recipient OK")
                }
                Err(error) => {
                    let error = DeliveryError::from(error);
                    self.without(transaction, Hindrance::of_way(&error), Some(&error), RECIPIENT)
                }
            },
        };
        if reply.is_positive() {
            transaction.recipients.push(Recipient { rcpt: recipient.clone(), is_taken, was_taken: false });
        }
        reply
    }

    /// DATA, with what policy said of going on.
    pub async fn data(&mut self, allowed: Result<(), AuthError>) -> Reply {
        let Some(mut transaction) = self.transaction.take() else {
            return told::no_transaction(self.about(None, MESSAGE));
        };
        let reply = match allowed {
            Err(error) => told::policy(&error, self.about(transaction.sender(), MESSAGE)),
            Ok(()) => self.begin_data(&mut transaction).await,
        };
        self.transaction = Some(transaction);
        reply
    }

    async fn begin_data(&mut self, transaction: &mut Transaction) -> Reply {
        if transaction.no_room.is_none() {
            match self.delivery.keeping.spool.begin().await {
                Ok(draft) => transaction.draft = Some(draft),
                // Some were promised to be kept, and now cannot be.
                Err(full) if transaction.live.is_none() || transaction.recipients.iter().any(|one| !one.is_taken) => {
                    return self.full(&full, transaction.sender());
                }
                Err(full) => transaction.no_room = Some(full),
            }
        }
        if !transaction.recipients.iter().any(|recipient| recipient.is_taken) {
            // Nothing to be sent now.
            if let Some(live) = transaction.live.take() {
                live.reset().await;
            }
            return go_on();
        }
        let Some(live) = transaction.live.as_mut() else { return go_on() };
        match live.data(&self.permit).await {
            Ok(reply) if reply.code == 354 => {
                transaction.is_sending = true;
                go_on()
            }
            Ok(reply) if is_final(&reply) => {
                transaction.draft = None;
                self.note(transaction, JournalOutcome::Refused, transaction.taken(), &reply);
                told::exchange(&reply, self.about(transaction.sender(), MESSAGE))
            }
            Ok(reply) => {
                let hindrance = Hindrance::of_reply(&reply, MESSAGE, &self.permit, transaction.sender());
                if transaction.no_room.is_some() {
                    if !reply.is_transient() || reply.code == 421 {
                        transaction.lost(hindrance);
                    }
                    return self.passed_on(&reply, transaction.sender(), MESSAGE);
                }
                transaction.lost(hindrance);
                go_on()
            }
            Err(error) => {
                let error = DeliveryError::from(error);
                if transaction.no_room.is_some() {
                    return told::trouble(&error, self.about(transaction.sender(), MESSAGE));
                }
                transaction.lost(Hindrance::of_way(&error));
                go_on()
            }
        }
    }

    /// A piece of the message. What goes wrong is told at its end.
    pub async fn content(&mut self, piece: &[u8]) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.octets += piece.len() as u64;
        if let Some(draft) = &mut transaction.draft
            && let Err(error) = draft.write(piece).await
        {
            transaction.draft = None;
            transaction.no_room = Some(error);
        }
        if !transaction.is_sending {
            return;
        }
        let Some(live) = transaction.live.as_mut() else { return };
        match live.content(piece).await {
            Ok(()) => {}
            Err(UpstreamError::BrokeOff { reply, .. }) if is_final(&reply) => {
                transaction.live = None;
                transaction.is_sending = false;
                transaction.refused = Some(reply);
            }
            Err(UpstreamError::BrokeOff { reply, .. }) => {
                let sender = transaction.sender().map(str::to_owned);
                transaction.lost(Hindrance::of_reply(&reply, MESSAGE, &self.permit, sender.as_deref()));
            }
            Err(error) => transaction.lost(Hindrance::of_way(&DeliveryError::from(error))),
        }
    }

    /// The end of the message: Exchange's answer to it, or that it is kept.
    pub async fn end(&mut self) -> Reply {
        let Some(mut transaction) = self.transaction.take() else {
            return told::no_transaction(self.about(None, MESSAGE));
        };
        if let Some(refused) = transaction.refused.take() {
            self.note(&transaction, JournalOutcome::Refused, transaction.taken(), &refused);
            return told::exchange(&refused, self.about(transaction.sender(), MESSAGE));
        }
        let mut accepted = None;
        if transaction.is_sending
            && let Some(live) = transaction.live.take()
        {
            let answer = self.finish(live, &mut transaction).await;
            match answer {
                Ok(reply) if reply.is_positive() => {
                    info!(
                        mailbox.id = %self.permit.mailbox(),
                        password.id = self.permit.password_id(),
                        "Exchange accepted a message: {}",
                        told::printable(&reply, 300)
                    );
                    self.note(&transaction, JournalOutcome::Delivered, transaction.taken(), &reply);
                    accepted = Some(reply);
                }
                Ok(reply) if is_final(&reply) => {
                    self.note(&transaction, JournalOutcome::Refused, transaction.taken(), &reply);
                    return told::exchange(&reply, self.about(transaction.sender(), MESSAGE));
                }
                Ok(reply) => {
                    transaction.is_unknown = reply.is_intermediate();
                    let hindrance = Hindrance::of_reply(&reply, MESSAGE, &self.permit, transaction.sender());
                    if transaction.draft.is_none() {
                        return self.passed_on(&reply, transaction.sender(), MESSAGE);
                    }
                    transaction.lost(hindrance);
                }
                Err(error) => {
                    if transaction.draft.is_none() {
                        return told::trouble(&error, self.about(transaction.sender(), PERHAPS_ARRIVED));
                    }
                    transaction.is_unknown = true;
                    transaction.lost(Hindrance::of_way(&error));
                }
            }
        }
        let everybody_has_it = accepted.is_some() && transaction.recipients.iter().all(|recipient| recipient.is_taken);
        if accepted.is_none()
            && let Some(reply) = self.by_graph(&mut transaction).await
        {
            return reply;
        }
        match accepted {
            Some(reply) if everybody_has_it => told::exchange(&reply, self.about(transaction.sender(), MESSAGE)),
            accepted => self.keep(transaction, accepted.as_ref()).await,
        }
    }

    /// Ends the message at Exchange. What can be kept waits for the answer no longer than mail programs do.
    async fn finish(&self, live: Box<Live>, transaction: &mut Transaction) -> Result<Reply, DeliveryError> {
        let answer = if transaction.draft.is_some() && self.keeps {
            let permit = Arc::clone(&self.permit);
            // In a task of its own: the answer is of use also when the client does not wait for it.
            let mut finishing = tokio::spawn(async move { live.finish(&permit).await });
            let time = ANSWER_TIME + Duration::from_secs(transaction.octets / 1_000_000);
            tokio::select! {
                answer = &mut finishing => match answer {
                    Ok(answer) => answer,
                    Err(_) => return Err(DeliveryError::Silent { seconds: 0 }),
                },
                () = self.delivery.keeping.clock.sleep(time) => {
                    transaction.late = Some(finishing);
                    return Err(DeliveryError::Silent { seconds: time.as_secs() });
                }
            }
        } else {
            live.finish(&self.permit).await
        };
        match answer {
            // A refusal, whenever it is said, is no acceptance.
            Err(UpstreamError::BrokeOff { reply, .. }) => Ok(reply),
            answer => Ok(answer?),
        }
    }

    /// Whether nobody else than the mailbox may stand in the header of the message that comes now.
    pub(in crate::delivery) fn is_of_account(&self) -> bool {
        let live = self.transaction.as_ref().and_then(|transaction| transaction.live.as_ref());
        live.is_some_and(|live| live.is_of_account(&self.permit))
    }

    /// The Message-ID of the message is known.
    pub fn identify(&mut self, message_id: Option<String>) {
        if let Some(transaction) = &mut self.transaction {
            transaction.message_id = message_id;
        }
    }

    /// The message must not be completed: the connection is cut before its final dot, and nothing is kept.
    pub fn abandon(&mut self) {
        self.transaction = None;
    }

    /// Forgets the transaction.
    pub async fn reset(&mut self) {
        let Some(transaction) = self.transaction.take() else { return };
        // A message that is only half here must not be completed: there the connection is cut instead.
        if let Some(live) = transaction.live
            && !transaction.is_sending
        {
            live.reset().await;
        }
    }

    /// The session is over.
    pub async fn close(mut self) {
        self.reset().await;
    }
}

/// How long Exchange may take to answer to a message before it is kept, and a second more for each MB. Mail programs and scripts often wait
/// for a minute, and hand it in again then.
const ANSWER_TIME: Duration = Duration::from_secs(55);

/// What the way to Exchange may take at least, however long there was no room.
const LEAST_WAY_TIME: Duration = Duration::from_secs(2);

/// What a transaction is made of; for the log.
const SENDER: &str = "the sender";
const RECIPIENT: &str = "a recipient";
const MESSAGE: &str = "the message";
const PERHAPS_ARRIVED: &str = "the message (it may have arrived all the same)";

/// Fixed words: clients know them, and Exchange's say the same.
fn go_on() -> Reply {
    Reply::new(354, "Start mail input; end with <CRLF>.<CRLF>")
}
