//! A message that came whole and that SMTP does not take: by Graph, where that is a way for it.

use tracing::info;

use crate::base::Whose;
use crate::delivery::DeliveryError;
use crate::delivery::assured::{Assured, MESSAGE, Transaction};
use crate::delivery::attempt::Hindrance;
use crate::delivery::by_graph::{self, Whole};
use crate::delivery::governor::Asks;
use crate::delivery::noted::address;
use crate::delivery::told;
use crate::store::{JournalOutcome, Route};
use crate::upstream::graph::LONGEST_MESSAGE_OCTETS;
use crate::wire::smtp::Reply;

impl Assured {
    /// Sends the message by Graph, where that is a way for it; what the client hears, unless the message is to be kept.
    pub(super) async fn by_graph(&self, transaction: &mut Transaction) -> Option<Reply> {
        let setup = transaction.hindrance.as_ref().is_some_and(|hindrance| hindrance.whose != Whose::Nobody);
        let routes = self.delivery.routes(&self.permit);
        if !routes.contains(&Route::Graph) || transaction.is_unknown || !(transaction.graph_first || setup) {
            return None;
        }
        if setup {
            self.delivery.traffic.smtp_is_off(&self.permit);
        }
        let by_account = self.delivery.broker.graph_is_by_account(&self.permit);
        let draft = transaction.draft.as_mut()?;
        let content = match draft.octets() > LONGEST_MESSAGE_OCTETS {
            true => Err("it is larger than the 3 MB that Graph takes"),
            false => match draft.content().await {
                Ok(content) => {
                    let addresses: Vec<String> = transaction.recipients.iter().map(|one| address(&one.rcpt)).collect();
                    let sender = transaction.mail.address();
                    let whole = Whole { content: &content, sender, waiting: &addresses, is_served: false, by_account };
                    whole.for_graph(self.permit.mailbox().as_str())
                }
                Err(error) => return Some(self.full(&error, transaction.sender())),
            },
        };
        let content = match content {
            Ok(content) => content,
            Err(why) if !routes.contains(&Route::Smtp) || !self.keeps => {
                let reply = by_graph::cannot_go(why);
                self.note_by(Route::Graph, transaction, JournalOutcome::Refused, transaction.all(), &reply);
                return Some(told::exchange(&reply, self.about(transaction.sender(), MESSAGE)));
            }
            // It goes by SMTP, from the queue.
            Err(why) => {
                transaction.hindrance.get_or_insert_with(|| Hindrance::unfit(why));
                return None;
            }
        };
        let password = self.permit.password_id();
        // What is not kept goes behind nothing that is.
        let who = if self.keeps { Asks::Client(password) } else { Asks::Direct(password) };
        let room = self.delivery.traffic.room(&self.permit, who, self.delivery.keeping.patience).await;
        let sent = match room {
            Ok(room) => self.delivery.send_by_graph(&self.permit, &content, room).await,
            Err(waits) => Err(DeliveryError::Limits(waits)),
        };
        let error = match sent {
            Ok(()) => {
                let reply = Reply::new(250, "2.0.0 OK");
                info!(mailbox.id = %self.permit.mailbox(), password.id = self.permit.password_id(), "Graph accepted a message");
                self.note_by(Route::Graph, transaction, JournalOutcome::Delivered, transaction.all(), &reply);
                return Some(reply);
            }
            Err(error) => error,
        };
        let is_off = transaction.hindrance.as_ref().is_some_and(Hindrance::is_smtp_off);
        let may_go_by_smtp = routes.contains(&Route::Smtp) && self.keeps && !is_off;
        if let Some(why) = by_graph::is_unfit(&error).filter(|_| may_go_by_smtp) {
            transaction.hindrance.get_or_insert_with(|| Hindrance::unfit(&why));
            return None;
        }
        if let Some(reply) = by_graph::as_reply(&error) {
            self.note_by(Route::Graph, transaction, JournalOutcome::Refused, transaction.all(), &reply);
            return Some(told::exchange(&reply, self.about(transaction.sender(), MESSAGE)));
        }
        if by_graph::is_unknown(&error) {
            transaction.is_unknown = true;
            for recipient in &mut transaction.recipients {
                recipient.was_taken = true;
            }
        }
        // What was wrong with SMTP is told first, if Graph is wrong as well.
        if !(setup && by_graph::is_setup(&error)) {
            transaction.hindrance = Some(Hindrance::of_way(&error));
        }
        None
    }
}
