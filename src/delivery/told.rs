//! What the client is told of an answer, and what the log keeps of it under the same reference.

use tracing::warn;

use crate::auth::AuthError;
use crate::base::{Answer, Fault, Reference};
use crate::delivery::DeliveryError;
use crate::wire::answer;
use crate::wire::smtp::{Reply, shorten};

/// An answer of Exchange, as the client hears it. `doing` is for the log.
pub(in crate::delivery) fn exchange(reply: &Reply, doing: &'static str) -> Reply {
    if reply.is_positive() {
        return accepted(reply);
    }
    let reference = Reference::fresh();
    let said: String = reply.text().chars().map(|c| if c.is_control() { ' ' } else { c }).take(1500).collect();
    warn!(%reference, "Exchange refused {doing}: {} {said}", reply.code);
    let short = shorten(reply, reference);
    // 421 announces that Exchange closes its connection; ours to the client stays open (RFC 5321, section 3.8).
    if short.code == 421 { Reply { code: 451, lines: short.lines } } else { short }
}

/// An acceptance in one line without the names of Exchange's servers.
fn accepted(reply: &Reply) -> Reply {
    let first = reply.lines.first().map(Vec::as_slice).unwrap_or_default();
    // Exchange's own number for the message has a server's name in it as well; the log keeps it.
    let clause = first.split(|octet| matches!(octet, b';' | b'[' | b'<')).next().unwrap_or_default();
    let text: Vec<u8> =
        clause.iter().take(400).map(|octet| if (b' '..=b'~').contains(octet) { *octet } else { b'?' }).collect();
    let text = text.trim_ascii();
    Reply::new(reply.code, if text.is_empty() { b"OK".to_vec() } else { text.to_vec() })
}

/// Trouble on the way to Exchange, as the client hears it: temporary, whatever it is.
pub(in crate::delivery) fn trouble(error: &DeliveryError, doing: &'static str) -> Reply {
    told(error, doing)
}

/// A refusal of our own policy.
pub(in crate::delivery) fn policy(error: &AuthError) -> Reply {
    told(error, "the message")
}

fn told(fault: &dyn Fault, doing: &'static str) -> Reply {
    let reference = Reference::fresh();
    warn!(%reference, code = fault.code(), remedy = fault.remedy(), "{doing} could not be passed on: {fault}");
    answer::smtp(fault.answer(reference))
}

/// Exchange's answer is none to what was asked, so its connection is of no more use.
pub(in crate::delivery) fn out_of_step(reply: &Reply, doing: &'static str) -> Reply {
    let reference = Reference::fresh();
    warn!(%reference, "{doing} could not be passed on: Exchange answered {}", reply.code);
    answer::smtp(Answer::TryLater(reference))
}

/// There is no transaction for what the client asks.
pub(in crate::delivery) fn no_transaction() -> Reply {
    let reference = Reference::fresh();
    warn!(%reference, "there is no transaction with Exchange");
    answer::smtp(Answer::TryLater(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acceptance_keeps_its_words_and_loses_the_names_of_servers() {
        for (reply, told) in [
            (Reply::new(250, "2.1.5 Recipient OK"), "250 2.1.5 Recipient OK\r\n"),
            (Reply::new(250, "2.0.0 OK <1@x> [Hostname=AM0PR01.prod.outlook.com]"), "250 2.0.0 OK\r\n"),
            (Reply::new(250, ""), "250 OK\r\n"),
            (Reply { code: 250, lines: vec![b"one".to_vec(), b"two".to_vec()] }, "250 one\r\n"),
        ] {
            assert_eq!(String::from_utf8(exchange(&reply, "x").to_bytes()).unwrap(), told);
        }
    }

    #[test]
    fn a_refusal_is_shortened_and_referenced_and_421_does_not_close_the_client() {
        let told = exchange(&Reply::new(421, "4.3.2 Service not active [HOST]"), "the sender");
        assert_eq!(told.code, 451);
        assert!(told.text().starts_with("4.3.2 Service not active, ref "), "{}", told.text());
        let told = exchange(&Reply::new(554, "5.2.252 SendAsDenied; a@x not allowed; STOREDRV"), "the message");
        assert!(told.text().starts_with("5.2.252 SendAsDenied, ref "), "{}", told.text());
    }
}
