//! What the client is told of an answer, and what the log keeps of it under the same reference.

use tracing::warn;

use crate::auth::{AuthError, Permit};
use crate::base::{Answer, Fault, Reference};
use crate::delivery::DeliveryError;
use crate::delivery::remedy::{Sending, remedy_for};
use crate::telemetry::{Incidents, Whom};
use crate::wire::answer;
use crate::wire::smtp::{Reply, shorten};

/// What an answer is about; for the log.
#[derive(Clone, Copy)]
pub(in crate::delivery) struct About<'a> {
    /// Whose session it is.
    pub(in crate::delivery) permit: &'a Permit,
    /// Where it is kept what stands behind a reference.
    pub(in crate::delivery) incidents: &'a Incidents,
    /// The sender of the envelope, where one was named.
    pub(in crate::delivery) sender: Option<&'a str>,
    /// What was to be passed on: `the sender`, `a recipient`, `the message`.
    pub(in crate::delivery) what: &'static str,
}

impl About<'_> {
    fn note(&self, reference: Reference, code: &str, reason: String, remedy: Option<String>) {
        let whom = Whom {
            mailbox: Some(self.permit.mailbox()),
            protocol: self.permit.protocol(),
            password_id: Some(self.permit.password_id()),
        };
        self.incidents.note_said(reference, whom, code, reason, remedy);
    }
}

/// Notes what stands behind a reference that the client is given.
pub(in crate::delivery) fn note(about: About<'_>, reference: Reference, fault: &dyn Fault) {
    let reason = format!("{} could not be passed on: {fault}", about.what);
    about.note(reference, fault.code(), reason, fault.remedy());
}

/// An answer of Exchange, as the client hears it.
pub(in crate::delivery) fn exchange(reply: &Reply, about: About<'_>) -> Reply {
    if reply.is_positive() {
        return accepted(reply);
    }
    let reference = Reference::fresh();
    let About { permit, sender, what, .. } = about;
    let remedy = remedy_for(reply, Sending { mailbox: permit.mailbox(), account: permit.account(), sender });
    let reason = format!("Exchange refused {what}: {} {}", reply.code, printable(reply, 1500));
    warn!(
        %reference,
        mailbox.id = %permit.mailbox(),
        password.id = permit.password_id(),
        code = remedy.code,
        remedy = remedy.text,
        "{reason}"
    );
    about.note(reference, remedy.code, reason, remedy.text);
    refused(reply, reference)
}

/// Exchange's words, fit for the log.
pub(in crate::delivery) fn printable(reply: &Reply, most_characters: usize) -> String {
    reply.text().chars().map(|c| if c.is_control() { ' ' } else { c }).take(most_characters).collect()
}

/// A refusal, shortened and with its reference. 421 announces that Exchange closes its connection; ours to the client stays open
/// (RFC 5321, section 3.8).
fn refused(reply: &Reply, reference: Reference) -> Reply {
    let short = shorten(reply, reference);
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
pub(in crate::delivery) fn trouble(error: &DeliveryError, about: About<'_>) -> Reply {
    told(error, "could not be passed on", about)
}

/// A refusal of our own policy.
pub(in crate::delivery) fn policy(error: &AuthError, about: About<'_>) -> Reply {
    told(error, if matches!(error, AuthError::Store(_)) { "could not be passed on" } else { "is refused" }, about)
}

fn told(fault: &dyn Fault, what: &str, about: About<'_>) -> Reply {
    let reference = Reference::fresh();
    let answer = fault.answer(reference);
    let reason = format!("{} {what}: {fault}", about.what);
    warn!(
        reference = answer.reference().map(tracing::field::display),
        mailbox.id = %about.permit.mailbox(),
        password.id = about.permit.password_id(),
        code = fault.code(),
        remedy = fault.remedy(),
        "{reason}"
    );
    if answer.reference().is_some() {
        about.note(reference, fault.code(), reason, fault.remedy());
    }
    answer::smtp(answer)
}

/// Exchange's answer is none to what was asked, so its connection is of no more use.
pub(in crate::delivery) fn out_of_step(reply: &Reply, about: About<'_>) -> Reply {
    let reference = Reference::fresh();
    let (code, said) = ("exchange-protocol", printable(reply, 300));
    let reason = format!("{} could not be passed on: Exchange answered {} {said}", about.what, reply.code);
    warn!(
        %reference,
        mailbox.id = %about.permit.mailbox(),
        password.id = about.permit.password_id(),
        code,
        "{reason}"
    );
    about.note(reference, code, reason, None);
    answer::smtp(Answer::TryLater(reference))
}

/// A sender that is not the mailbox, in a session that Exchange takes for the account behind it.
pub(in crate::delivery) fn foreign_sender(about: About<'_>) -> Reply {
    let reference = Reference::fresh();
    let (code, mailbox) = ("smtp-send-as-not-permitted", about.permit.mailbox());
    let reason = format!(
        "{} was refused here: this tenant lets the session in as {} only, and then nobody but {mailbox} may be named",
        about.what,
        about.permit.account()
    );
    let remedy = format!("Name {mailbox} as the sender in the mail program.");
    warn!(%reference, mailbox.id = %mailbox, password.id = about.permit.password_id(), code, remedy, "{reason}");
    about.note(reference, code, reason, Some(remedy));
    refused(&Reply::new(550, "5.7.60 Client does not have permissions to send as this sender"), reference)
}

/// There is no transaction for what the client asks.
pub(in crate::delivery) fn no_transaction(about: About<'_>) -> Reply {
    let reference = Reference::fresh();
    let reason = format!("{} could not be passed on: there is no transaction with Exchange", about.what);
    warn!(
        %reference,
        mailbox.id = %about.permit.mailbox(),
        password.id = about.permit.password_id(),
        code = "exchange-protocol",
        "{reason}"
    );
    about.note(reference, "exchange-protocol", reason, None);
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
            assert_eq!(String::from_utf8(accepted(&reply).to_bytes()).unwrap(), told);
        }
    }

    #[test]
    fn a_refusal_is_shortened_and_referenced_and_421_does_not_close_the_client() {
        let reference = Reference::from_random(0);
        let told = refused(&Reply::new(421, "4.3.2 Service not active [HOST]"), reference);
        assert_eq!(told.code, 451);
        assert_eq!(told.text(), "4.3.2 Service not active, ref 222222");
        let told = refused(&Reply::new(554, "5.2.252 SendAsDenied; a@x not allowed; STOREDRV"), reference);
        assert_eq!(told.text(), "5.2.252 SendAsDenied, ref 222222");
    }
}
