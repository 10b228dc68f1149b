//! The test mail: built by lettre, sent, looked for by async-imap, and taken away again where it was sent to the mailbox itself.

use std::time::Duration;

use async_imap::types::NameAttribute;
use futures::TryStreamExt;
use lettre::Message;
use lettre::message::Mailbox as Correspondent;
use tokio::time::{Instant, sleep};

use crate::admin::ops::doctor::login::{Failed, Patient};
use crate::admin::ops::doctor::smtp::Sender;
use crate::admin::ops::doctor::step::{Check, Outcome};
use crate::admin::ops::doctor::{graph, imap};
use crate::auth::Permit;
use crate::base::{Mailbox, Protocol};
use crate::broker::AccessToken;
use crate::config::SmtpTls;
use crate::upstream::reader::{self, Session};

/// How long the test mail is looked for.
const ARRIVAL_TIME: Duration = Duration::from_secs(60);

/// How often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// A test mail that was accepted.
pub(in crate::admin::ops::doctor) struct TestMail {
    /// Its Message-ID, without the angle brackets.
    id: String,
    /// When it was accepted.
    accepted: Instant,
}

/// Where a message was found.
struct Place {
    folder: String,
    uids: Vec<u32>,
}

/// A folder that Exchange makes, which has another name in each language, and no attribute to know it by.
struct Known {
    attribute: NameAttribute<'static>,
    names: &'static [&'static str],
}

const JUNK: Known = Known {
    attribute: NameAttribute::Junk,
    names: &[
        "Junk Email",
        "Junk-E-Mail",
        "Courrier ind&AOk-sirable",
        "Correo no deseado",
        "Posta indesiderata",
        "Ongewenste e-mail",
        "Junk",
    ],
};

impl Patient<'_> {
    /// Sends a test mail.
    pub(in crate::admin::ops::doctor) async fn post(&self, to: &Mailbox, sender: &Sender) -> Option<TestMail> {
        let post = async {
            match self.posted(to, sender).await {
                Ok((mail, said)) => Outcome::ok(format!("to {to}, Message-ID <{}>: {said}", mail.id), mail),
                Err(failed) => failed.outcome(),
            }
        };
        self.teller.run(Check::TestMail, Some(Protocol::Smtp), post).await
    }

    /// Sends a test mail by Graph.
    pub(in crate::admin::ops::doctor) async fn post_by_graph(
        &self,
        to: &Mailbox,
        token: &AccessToken,
    ) -> Option<TestMail> {
        let post = async {
            let from = &self.record.address;
            let Some(id) = message_id(from) else {
                return unbuilt("the system has no randomness to give").outcome();
            };
            let message = match message(from, to, &id) {
                Ok(message) => message,
                Err(why) => return unbuilt(&why).outcome(),
            };
            let permit = Permit::for_upkeep(self.record, Protocol::Smtp);
            match self.doctor.upstream.send_mail(&permit, token, &message.formatted()).await {
                Ok(()) => {
                    let mail = TestMail { id, accepted: Instant::now() };
                    Outcome::ok(format!("to {to}, Message-ID <{}>: taken by Graph", mail.id), mail)
                }
                Err(error) => Outcome::failed(error.to_string(), graph::remedy(&error)),
            }
        };
        self.teller.run(Check::TestMail, Some(Protocol::Smtp), post).await
    }

    async fn posted(&self, to: &Mailbox, sender: &Sender) -> Result<(TestMail, String), Failed> {
        let from = &self.record.address;
        let id = message_id(from).ok_or_else(|| unbuilt("the system has no randomness to give"))?;
        let message = message(from, to, &id).map_err(|why| unbuilt(&why))?;
        let permit = Permit::for_upkeep(self.record, Protocol::Smtp);
        let implicit_tls = self.tenant.endpoints.smtp_tls == SmtpTls::Implicit;
        let mut session = sender.open(&self.doctor.upstream, &permit, implicit_tls).await?;
        let said = session.send(message.envelope(), &message.formatted(), from).await?;
        let accepted = Instant::now();
        session.end().await;
        Ok((TestMail { id, accepted }, said))
    }

    /// Looks for the test mail: in the inbox where it was sent to the mailbox itself, else among the sent ones.
    pub(in crate::admin::ops::doctor) async fn look_for(&self, mail: &TestMail, to: &Mailbox) {
        let look = async {
            match self.found(mail, to).await {
                Ok(outcome) => outcome,
                Err(failed) => failed.outcome(),
            }
        };
        self.teller.run(Check::Arrival, Some(Protocol::Imap), look).await;
    }

    async fn found(&self, mail: &TestMail, to: &Mailbox) -> Result<Outcome<()>, Failed> {
        let permit = Permit::for_upkeep(self.record, Protocol::Imap);
        let token =
            self.desk.broker.token_for(&permit).await.map_err(|error| Failed::Said {
                said: error.to_string(),
                remedy: crate::base::Fault::remedy(&*error),
            })?;
        let to_itself = *to == self.record.address;
        let mut session = imap::session(&self.doctor.upstream, &permit, &token).await?;
        let folders = match to_itself {
            true => {
                let mut folders = vec!["INBOX".to_owned()];
                folders.extend(folder(&mut session, &JUNK).await?);
                folders
            }
            false => sent_folder(&mut session, self.tenant.sent_folder.as_deref()).await?.into_iter().collect(),
        };
        let place = loop {
            let found = search(&mut session, &folders, &mail.id).await;
            if let Ok(Some(place)) = found {
                break Some(place);
            }
            if mail.accepted.elapsed() >= ARRIVAL_TIME || folders.is_empty() {
                // What was refused once may go a moment later.
                break found?;
            }
            sleep(BETWEEN_LOOKS).await;
        };
        let took = mail.accepted.elapsed().as_secs_f64();
        let outcome = match place {
            Some(place) if to_itself => {
                let gone = take_away(&mut session, &place).await?;
                let said = format!("found in {} after {took:.1} s; {gone}", place.folder);
                match place.folder == "INBOX" {
                    true => Outcome::ok(said, ()),
                    false => Outcome::warning(said, "Let the recipient mark such mails as no junk.", ()),
                }
            }
            Some(place) => Outcome::ok(
                format!(
                    "found in {} after {took:.1} s, where it stays; whether it reached {to} is seen there",
                    place.folder
                ),
                (),
            ),
            None => missing(to, to_itself, &folders),
        };
        imap::end(session).await;
        Ok(outcome)
    }
}

fn unbuilt(why: &str) -> Failed {
    Failed::Said {
        said: format!("the test mail cannot be built: {why}"),
        remedy: Some("Give another address with --send-test.".to_owned()),
    }
}

/// A Message-ID that nobody else has; its domain is the sender's.
fn message_id(from: &Mailbox) -> Option<String> {
    let mut random = [0_u8; 12];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let digits: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
    let domain = from.as_str().rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    Some(format!("postern-doctor.{digits}@{domain}"))
}

fn message(from: &Mailbox, to: &Mailbox, id: &str) -> Result<Message, String> {
    let correspondent =
        |address: &Mailbox| address.as_str().parse::<Correspondent>().map_err(|error| error.to_string());
    Message::builder()
        .from(correspondent(from)?)
        .to(correspondent(to)?)
        .subject("Test mail from Postern")
        .message_id(Some(format!("<{id}>")))
        .header(lettre::message::header::ContentType::TEXT_PLAIN)
        .body(format!(
            "This is a test mail. Somebody who administers Postern asked for it with\n`postern doctor {from} --send-test {to}`.\n\n\
             Nothing has to be done with it.\n"
        ))
        .map_err(|error| error.to_string())
}

/// The folder of sent mails.
async fn sent_folder(session: &mut Session, configured: Option<&str>) -> Result<Option<String>, Failed> {
    imap::read(reader::sent_folder(session, configured)).await
}

/// The name of one of Exchange's own folders.
async fn folder(session: &mut Session, known: &Known) -> Result<Option<String>, Failed> {
    let listed = imap::read(reader::folders(session)).await?;
    let by_attribute = listed.iter().find(|folder| folder.attributes.contains(&known.attribute));
    let by_name = || known.names.iter().find_map(|name| listed.iter().find(|folder| folder.name == *name));
    Ok(by_attribute.or_else(by_name).map(|folder| folder.name.clone()))
}

/// Where a message with this Message-ID is.
async fn search(session: &mut Session, folders: &[String], id: &str) -> Result<Option<Place>, Failed> {
    for folder in folders {
        imap::within(session.select(folder)).await?;
        let found = imap::read(reader::uids_of(session, id)).await?;
        if !found.is_empty() {
            return Ok(Some(Place { folder: folder.clone(), uids: found }));
        }
    }
    Ok(None)
}

/// Removes the message from the folder that is open; what became of it. Nothing else may go with it, so only where UIDPLUS is offered
/// (RFC 4315, section 2.1) is it removed at once.
async fn take_away(session: &mut Session, place: &Place) -> Result<String, Failed> {
    let uids = place.uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let marked: Result<Vec<_>, Failed> =
        imap::within(async { session.uid_store(&uids, "+FLAGS (\\Deleted)").await?.try_collect().await }).await;
    marked?;
    if !imap::within(session.capabilities()).await?.has_str("UIDPLUS") {
        return Ok("marked as deleted".to_owned());
    }
    let expunged: Result<Vec<_>, Failed> =
        imap::within(async { session.uid_expunge(&uids).await?.try_collect().await }).await;
    expunged?;
    Ok("deleted there; a copy among the sent ones stays".to_owned())
}

fn missing(to: &Mailbox, to_itself: bool, folders: &[String]) -> Outcome<()> {
    let seconds = ARRIVAL_TIME.as_secs();
    if to_itself {
        return Outcome::failed(
            format!("accepted, but not there after {seconds} s (looked in {})", folders.join(", ")),
            Some(
                "See where it went: Exchange admin centre, Mail flow, Message trace. Rules of the mailbox may have moved it, and a filter \
                 may have quarantined it."
                    .to_owned(),
            ),
        );
    }
    let said = match folders {
        [] => "accepted; the folder of sent mails was not found by its name".to_owned(),
        [folder, ..] => format!("accepted, but no copy in {folder} after {seconds} s"),
    };
    let remedy = format!(
        "Ask at {to} whether it arrived. Exchange keeps copies unless \
         `Set-Mailbox -MessageCopyForSMTPClientSubmissionEnabled $false` was set; Exchange admin centre, Mail flow, Message trace shows \
         where it went."
    );
    Outcome::warning(said, remedy, ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_mail_says_what_it_is_and_can_be_found_again() {
        let (from, to) = ("a@contoso.test".parse().unwrap(), "b@example.test".parse().unwrap());
        let id = message_id(&from).unwrap();
        assert_ne!(id, message_id(&from).unwrap());
        assert!(id.ends_with("@contoso.test"));
        let text = String::from_utf8(message(&from, &to, &id).unwrap().formatted()).unwrap();
        for part in
            ["Subject: Test mail from Postern\r\n", &format!("Message-ID: <{id}>\r\n"), "From: a@contoso.test\r\n"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
