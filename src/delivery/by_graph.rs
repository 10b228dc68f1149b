//! Sending by Microsoft Graph: which messages can go that way, and which way is tried first.
//!
//! Graph has no envelope. Whom a message goes to stands in its header, so it may go that way only where everybody in the header is in the
//! envelope and nobody has it already; who is in the envelope only is added as Bcc, which Graph takes out again.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::info;

use crate::auth::Permit;
use crate::base::{Fault, Whose};
use crate::delivery::governor::Room;
use crate::delivery::live::Traffic;
use crate::delivery::{Delivery, DeliveryError};
use crate::store::Route;
use crate::upstream::graph::{GraphError, LONGEST_MESSAGE_OCTETS};
use crate::wire::header;
use crate::wire::smtp::Reply;

/// How long SMTP is left alone after its set-up was found wanting, where Graph is a way too.
const SMTP_OFF_TIME: Duration = Duration::from_secs(300);

/// A message, and whom it is for.
pub(in crate::delivery) struct Whole<'a> {
    /// The message with its header.
    pub(in crate::delivery) content: &'a [u8],
    /// The sender of the envelope.
    pub(in crate::delivery) sender: Option<&'a str>,
    /// Who has not got it yet.
    pub(in crate::delivery) waiting: &'a [String],
    /// Whether somebody has.
    pub(in crate::delivery) is_served: bool,
    /// Whether the token is another's than the mailbox's, who may send as more than the mailbox may.
    pub(in crate::delivery) by_account: bool,
}

impl Whole<'_> {
    /// What is handed to Graph; or why it cannot go that way.
    pub(in crate::delivery) fn for_graph(&self, mailbox: &str) -> Result<Vec<u8>, &'static str> {
        if self.is_served {
            return Err("some of its recipients have it already");
        }
        let Some(sender) = self.sender else { return Err("it has no sender (<>)") };
        let head = header::header_of(self.content);
        let authors = header::authors(head).ok_or("who sends it cannot be told from its From with certainty")?;
        if self.by_account && !header::is_of(head, mailbox) {
            return Err(
                "somebody else than the mailbox stands in its From or Sender, and the sign-in is not the mailbox's own",
            );
        }
        let is_author = |address: &str| matches!(authors.as_slice(), [one] if one.eq_ignore_ascii_case(address));
        if !sender.eq_ignore_ascii_case(mailbox) && !is_author(sender) {
            return Err("the sender of its envelope is neither the mailbox nor its From");
        }
        let named = header::recipients(head).ok_or("whom its header names cannot be told with certainty")?;
        let is_in = |list: &[String], address: &String| list.iter().any(|one| one.eq_ignore_ascii_case(address));
        if !named.iter().all(|address| is_in(self.waiting, address)) {
            return Err("its header names others than its envelope, and Graph would send it to them");
        }
        let hidden: Vec<String> = self.waiting.iter().filter(|address| !is_in(&named, address)).cloned().collect();
        let bcc = header::bcc(&hidden);
        if (self.content.len() + bcc.len()) as u64 > LONGEST_MESSAGE_OCTETS {
            return Err("it is larger than the 3 MB that Graph takes");
        }
        Ok([bcc.as_slice(), self.content].concat())
    }
}

impl Traffic {
    /// SMTP does not serve this mailbox until somebody mends its set-up.
    pub(in crate::delivery) fn smtp_is_off(&self, permit: &Permit) {
        self.smtp_off.insert(permit.mailbox().clone(), Instant::now());
    }

    fn is_smtp_off(&self, permit: &Permit) -> bool {
        self.smtp_off.get(permit.mailbox()).is_some_and(|since| since.elapsed() < SMTP_OFF_TIME)
    }
}

impl Delivery {
    /// The ways by which mail of this permit goes out, in the order to try. What is known to be switched off comes last.
    pub(in crate::delivery) fn routes(&self, permit: &Permit) -> Vec<Route> {
        let mut routes = self.routes.get(permit.tenant()).cloned().unwrap_or_else(|| vec![Route::Smtp]);
        if routes.contains(&Route::Graph) && self.traffic.is_smtp_off(permit) {
            routes.sort_by_key(|route| *route == Route::Smtp);
        }
        routes
    }

    /// Hands a message to Graph. It counts for Exchange's limits.
    ///
    /// # Errors
    /// [`DeliveryError::Broker`], [`DeliveryError::Graph`].
    pub(in crate::delivery) async fn send_by_graph(
        &self,
        permit: &Permit,
        message: &[u8],
        mut room: Room,
    ) -> Result<(), DeliveryError> {
        let late = || DeliveryError::Slow { seconds: self.way_time.as_secs() };
        let token = timeout(self.way_time, self.broker.graph_token(permit, None)).await.map_err(|_| late())??;
        room.used();
        let sent = match self.upstream.send_mail(permit, &token, message).await {
            Err(error @ GraphError::TokenRejected { .. }) => {
                info!("{error}; trying once more with a new token");
                let renewed = self.broker.graph_token(permit, Some(token));
                let token = timeout(self.way_time, renewed).await.map_err(|_| late())??;
                self.upstream.send_mail(permit, &token, message).await
            }
            other => other,
        };
        match &sent {
            Ok(()) => room.taken(),
            Err(GraphError::Busy { wait, .. }) => self.traffic.governor.slow_down(permit.mailbox(), *wait),
            Err(_) => {}
        }
        Ok(sent?)
    }
}

/// A refusal of the message itself by Graph, as Exchange would say it by SMTP.
pub(in crate::delivery) fn as_reply(error: &DeliveryError) -> Option<Reply> {
    match error {
        DeliveryError::Graph(GraphError::Refused { said, .. }) if said.contains("SendAsDenied") => {
            Some(Reply::new(550, "5.7.60 Client does not have permissions to send as this sender"))
        }
        DeliveryError::Graph(GraphError::Refused { status, said }) => {
            Some(Reply::new(554, format!("5.6.0 The message was refused; Graph {status} {said}")))
        }
        _ => None,
    }
}

/// What Graph said where it cannot take a message as it is, and SMTP perhaps can.
pub(in crate::delivery) fn is_unfit(error: &DeliveryError) -> Option<String> {
    match error {
        DeliveryError::Graph(GraphError::Refused { status: status @ (400 | 413), said }) => {
            Some(format!("{status} {said}"))
        }
        _ => None,
    }
}

/// That a message can go by no way there is.
pub(in crate::delivery) fn cannot_go(why: &str) -> Reply {
    Reply::new(554, format!("5.6.0 The message cannot be sent by Microsoft Graph: {why}"))
}

/// Whether Graph may have the message although it has not said so.
pub(in crate::delivery) fn is_unknown(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Graph(GraphError::Unknown { .. }))
}

/// Whether another way may do what this one does not.
pub(in crate::delivery) fn is_setup(error: &DeliveryError) -> bool {
    error.whose() != Whose::Nobody
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILBOX: &str = "alice@contoso.test";

    fn fit(content: &str, sender: Option<&str>, waiting: &[&str], is_served: bool) -> Result<String, &'static str> {
        let waiting: Vec<String> = waiting.iter().map(|&one| one.to_owned()).collect();
        let whole = Whole { content: content.as_bytes(), sender, waiting: &waiting, is_served, by_account: false };
        whole.for_graph(MAILBOX).map(|octets| String::from_utf8(octets).unwrap())
    }

    #[test]
    fn who_is_in_the_envelope_only_becomes_a_bcc_and_nobody_else_is_reached() {
        let message = "From: alice@contoso.test\r\nTo: B <B@x.test>\r\n\r\ntext\r\n";
        let sent = fit(message, Some(MAILBOX), &["b@x.test", "c@x.test", "d@x.test"], false).unwrap();
        assert_eq!(sent, format!("Bcc: c@x.test,\r\n d@x.test\r\n{message}"));
        assert_eq!(fit(message, Some(MAILBOX), &["b@x.test"], false).unwrap(), message);
        let as_other = message.replace("From: alice", "From: shared");
        assert!(fit(&as_other, Some("SHARED@contoso.test"), &["b@x.test"], false).is_ok());
        for (content, sender, waiting, is_served) in [
            (message, Some(MAILBOX), &["c@x.test"][..], false),
            (message, Some(MAILBOX), &["b@x.test"], true),
            (message, None, &["b@x.test"], false),
            (message, Some("bounce@contoso.test"), &["b@x.test"], false),
            (
                "From: alice@contoso.test\r\nTo: a@x.test b@x.test\r\n\r\n",
                Some(MAILBOX),
                &["a@x.test", "b@x.test"],
                false,
            ),
            // Graph would send it to one of them.
            (
                "From: alice@contoso.test\r\nTo: a@x.test <b@x.test>\r\n\r\n",
                Some(MAILBOX),
                &["a@x.test", "b@x.test"],
                false,
            ),
            ("From: alice@contoso.test\r\nResent-To: b@x.test\r\n\r\n", Some(MAILBOX), &["b@x.test"], false),
        ] {
            assert!(fit(content, sender, waiting, is_served).is_err(), "{content} {sender:?} {waiting:?}");
        }
        let by_account = |content: &str| {
            let waiting = ["b@x.test".to_owned()];
            let whole = Whole {
                content: content.as_bytes(),
                sender: Some(MAILBOX),
                waiting: &waiting,
                is_served: false,
                by_account: true,
            };
            whole.for_graph(MAILBOX).is_ok()
        };
        let message = "From: alice@contoso.test\r\nTo: b@x.test\r\n\r\n";
        assert!(by_account(message));
        assert!(
            !by_account(&message.replace("alice", "boss")),
            "as whom the account may send, and the mailbox may not"
        );
        assert!(!by_account(&format!("Sender: boss@contoso.test\r\n{message}")));
        let large = format!("{message}{}", "x".repeat(3_000_000));
        assert_eq!(
            fit(&large, Some(MAILBOX), &["b@x.test"], false),
            Err("it is larger than the 3 MB that Graph takes")
        );
    }
}
