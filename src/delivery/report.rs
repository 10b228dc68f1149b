//! Delivery reports (RFC 3464): what could not be delivered is told to the mailbox that sent it, by a mail from itself to itself.
//!
//! Whoever may send as the mailbox may send it this; a report to anybody else would be mail to a stranger.

use chrono::{DateTime, Utc};
use lettre::message::header::{ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox as Correspondent, MultiPart, SinglePart};

use crate::base::{Mailbox, Reference};
use crate::delivery::spool::{Draft, Spool};
use crate::delivery::{DeliveryError, recipient_of};
use crate::store::{QueueState, QueuedMessage, QueuedRecipient, RecipientState};
use crate::wire::smtp::{MailFrom, Notify, RcptTo};

/// What a field of a report has at most (RFC 5322, section 2.1.1).
const LONGEST_LINE_OCTETS: usize = 990;

/// The header of the reported message is returned up to here.
const RETURNED_OCTETS: usize = 32 * 1024;

/// Why a report is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Reported {
    /// Exchange refused recipients for good.
    Refused,
    /// The message has waited too long.
    TooOld,
    /// The message waits, and is tried until then.
    Delayed {
        /// Until when, if nothing is held meanwhile.
        until: DateTime<Utc>,
    },
}

impl Reported {
    /// Whether it is told of this recipient (RFC 3461, section 4.1). Who names nothing hears of failures.
    fn concerns(self, recipient: &QueuedRecipient) -> bool {
        let notify = RcptTo::parse(recipient.rcpt.as_bytes()).ok().and_then(|rcpt| rcpt.notify);
        match self {
            Self::Refused | Self::TooOld => {
                let wanted = !matches!(notify, Some(Notify::Never | Notify::On { failure: false, .. }));
                recipient.state == RecipientState::Failed && wanted
            }
            Self::Delayed { .. } => {
                let wanted = matches!(notify, Some(Notify::On { delay: true, .. }));
                recipient.state == RecipientState::Waiting && wanted
            }
        }
    }
}

/// `Auto-Submitted: auto-replied` (RFC 3834, section 5): nothing answers it by itself.
#[derive(Clone)]
pub(in crate::delivery) struct AutoSubmitted(pub(in crate::delivery) &'static str);

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self("auto-replied"))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.to_owned())
    }
}

/// Puts a report about the recipients that it concerns into the spool; the queue's row of it is for the caller to add. `None`: nobody
/// wants one.
///
/// # Errors
/// When it cannot be made or the spool cannot take it.
pub(in crate::delivery) async fn keep(
    message: &QueuedMessage,
    why: Reported,
    hostname: &str,
    spool: &Spool,
    now: DateTime<Utc>,
) -> Result<Option<QueuedMessage>, DeliveryError> {
    let concerned: Vec<(String, &QueuedRecipient)> = message
        .recipients
        .iter()
        .filter(|recipient| why.concerns(recipient))
        .map(|recipient| (recipient_of(recipient).unwrap_or_else(|| "(unreadable)".to_owned()), recipient))
        .collect();
    if concerned.is_empty() {
        return Ok(None);
    }
    let header = header_of(spool, &message.id).await;
    let message_id = own_message_id(&message.id, why, hostname);
    let content = content(message, why, hostname, &header, &concerned, &message_id, now);
    let content = content.map_err(DeliveryError::Report)?;
    // A report belongs to what was promised already, and is small: a full disk alone may keep it out.
    let mut draft = spool.begin_anyway().await?;
    draft.write(&content).await?;
    let report = of_ours(&draft, &message.mailbox, &message.mailbox, message_id, now);
    draft.keep().await?;
    Ok(Some(report))
}

/// The row of a message that Postern itself sends from a mailbox: nobody is told what becomes of it.
pub(in crate::delivery) fn of_ours(
    draft: &Draft,
    mailbox: &Mailbox,
    to: &Mailbox,
    message_id: String,
    now: DateTime<Utc>,
) -> QueuedMessage {
    QueuedMessage {
        id: draft.id().to_owned(),
        mailbox: mailbox.clone(),
        password_id: String::new(),
        mail: format!("FROM:<{mailbox}>"),
        size_octets: draft.octets(),
        message_id: Some(message_id),
        is_report: true,
        accepted_at: now,
        state: QueueState::Waiting,
        next_at: now,
        attempts: 0,
        doubts: Vec::new(),
        copies: 0,
        resent: 0,
        begun: 0,
        warned_at: None,
        held: chrono::Duration::zero(),
        held_since: None,
        obstacle: None,
        recipients: vec![QueuedRecipient { rcpt: format!("TO:<{to}>"), state: RecipientState::Waiting, reply: None }],
    }
}

/// The Message-ID of a report, without angle brackets. One message may be told of more than once.
fn own_message_id(id: &str, why: Reported, hostname: &str) -> String {
    let kind = if matches!(why, Reported::Delayed { .. }) { "delay" } else { "failure" };
    let distinct = Reference::fresh().to_string().to_ascii_lowercase();
    format!("postern-{kind}.{id}.{distinct}@{hostname}")
}

/// The header of a message in the spool, as far as it is returned. One that cannot be read is no reason to report nothing.
async fn header_of(spool: &Spool, id: &str) -> Vec<u8> {
    let Ok(mut reading) = spool.read(id).await else { return Vec::new() };
    let mut buffer = vec![0; RETURNED_OCTETS];
    let mut head: Vec<u8> = Vec::new();
    while head.len() < RETURNED_OCTETS {
        match reading.piece(&mut buffer).await {
            Ok(piece) if !piece.is_empty() => head.extend_from_slice(piece),
            _ => break,
        }
    }
    head.truncate(RETURNED_OCTETS);
    if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
        head.truncate(end + 2);
    } else if let Some(end) = memchr::memrchr(b'\n', &head) {
        head.truncate(end + 1);
    }
    head
}

fn content(
    message: &QueuedMessage,
    why: Reported,
    hostname: &str,
    header: &[u8],
    concerned: &[(String, &QueuedRecipient)],
    message_id: &str,
    now: DateTime<Utc>,
) -> Result<Vec<u8>, String> {
    let correspondent = |name: Option<&str>| {
        let address = message.mailbox.as_str().parse().map_err(|error| format!("{error}"))?;
        Ok::<_, String>(Correspondent::new(name.map(str::to_owned), address))
    };
    let plain = |body: String| SinglePart::builder().header(ContentType::TEXT_PLAIN).body(body);
    // Seven bits and no encoding, so that every program can read it (RFC 3464, section 2.1).
    let status = fields(message, why, hostname, concerned).replace(|c: char| !c.is_ascii(), "?");
    let lines = status.split_inclusive("\r\n").map(|line| match line.get(..LONGEST_LINE_OCTETS) {
        Some(beginning) => format!("{beginning}\r\n"),
        None => line.to_owned(),
    });
    let status = Body::dangerous_pre_encoded(lines.collect::<String>().into_bytes(), ContentTransferEncoding::SevenBit);
    let of_type = |kind: &str| ContentType::parse(kind).map_err(|error| error.to_string());
    let report = MultiPart::mixed()
        .build()
        .singlepart(plain(words(message, why, concerned)))
        .singlepart(SinglePart::builder().header(of_type("message/delivery-status")?).body(status))
        .singlepart(SinglePart::builder().header(of_type("text/rfc822-headers; charset=utf-8")?).body(header.to_vec()));
    let built = lettre::Message::builder()
        .from(correspondent(Some("Mail delivery at this company (Postern)"))?)
        .to(correspondent(None)?)
        .subject(match why {
            Reported::Refused | Reported::TooOld => "Your mail could not be delivered",
            Reported::Delayed { .. } => "Your mail is delayed",
        })
        .date(now.into())
        .message_id(Some(format!("<{message_id}>")))
        .header(AutoSubmitted("auto-replied"))
        .multipart(report)
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8(built.formatted()).map_err(|error| error.to_string())?;
    // What lettre has no type for (RFC 6522, section 3).
    Ok(text.replacen("multipart/mixed;", "multipart/report; report-type=delivery-status;", 1).into_bytes())
}

fn words(message: &QueuedMessage, why: Reported, concerned: &[(String, &QueuedRecipient)]) -> String {
    let accepted = message.accepted_at.format("%Y-%m-%d %H:%M UTC");
    let mut text = match why {
        Reported::Refused => format!("A mail that was handed in on {accepted} was refused for these recipients:\n\n"),
        Reported::TooOld => format!(
            "A mail that was handed in on {accepted} was refused or could not be delivered in time for these recipients, and is given up:\n\n"
        ),
        Reported::Delayed { .. } => format!(
            "A mail that was handed in on {accepted} has not reached these recipients yet. Nothing is to be done: it is tried again by \
             itself.\n\n"
        ),
    };
    for (address, recipient) in concerned {
        text.push_str(&format!("  {address}\n"));
        if let Some(reply) = &recipient.reply {
            text.push_str(&format!("    Exchange said: {reply}\n"));
        }
    }
    if let Some(obstacle) = message.obstacle.as_ref().filter(|_| why != Reported::Refused) {
        text.push_str(&format!("\nThe last obstacle: {}\n", obstacle.reason));
    }
    match why {
        Reported::Delayed { until } => text.push_str(&format!(
            "\nIt is tried until {}; then you are told that it is given up. Your administrator finds it in the queue as {}.\n",
            until.format("%Y-%m-%d %H:%M UTC"),
            message.id
        )),
        Reported::Refused | Reported::TooOld => text.push_str(&format!(
            "\nIts header follows. Your administrator finds it in Postern's log as {}. The mail itself is not kept.\n",
            message.id
        )),
    }
    text
}

/// An address as the field of a recipient has it. One that is not in ASCII has a type of its own, and hexadecimal numbers where the report is
/// in seven bits (RFC 6533, section 3).
fn typed(address: &str) -> String {
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    let mut text = String::from("utf-8; ");
    for c in address.chars() {
        match c {
            '!'..='~' if !matches!(c, '\\' | '+' | '=') => text.push(c),
            c => text.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
        }
    }
    text
}

/// The fields for programs (RFC 3464, sections 2.2 and 2.3).
fn fields(message: &QueuedMessage, why: Reported, hostname: &str, concerned: &[(String, &QueuedRecipient)]) -> String {
    let arrived = message.accepted_at.to_rfc2822();
    let mut text = format!("Reporting-MTA: dns; {hostname}\r\nArrival-Date: {arrived}\r\n");
    if let Some(envelope_id) = MailFrom::parse(message.mail.as_bytes()).ok().and_then(|mail| mail.envid) {
        text.push_str(&format!("Original-Envelope-Id: {envelope_id}\r\n"));
    }
    for (address, recipient) in concerned {
        let reply = recipient.reply.as_deref().unwrap_or_default();
        let class = if matches!(why, Reported::Delayed { .. }) { "4." } else { "5." };
        let enhanced = reply.split(' ').nth(1).filter(|word| word.starts_with(class) && word.split('.').count() == 3);
        let (action, status) = match why {
            Reported::Refused => ("failed", "5.0.0"),
            // Delivery time expired (RFC 3463, section 3.5).
            Reported::TooOld => ("failed", "4.4.7"),
            Reported::Delayed { .. } => ("delayed", "4.0.0"),
        };
        let status = enhanced.unwrap_or(status);
        if let Some(original) = RcptTo::parse(recipient.rcpt.as_bytes()).ok().and_then(|rcpt| rcpt.orcpt) {
            text.push_str(&format!("\r\nOriginal-Recipient: {original}"));
        }
        let address = typed(address);
        text.push_str(&format!("\r\nFinal-Recipient: {address}\r\nAction: {action}\r\nStatus: {status}\r\n"));
        if let Reported::Delayed { until } = why {
            text.push_str(&format!("Will-Retry-Until: {}\r\n", until.to_rfc2822()));
        }
        if !reply.is_empty() {
            text.push_str(&format!("Diagnostic-Code: smtp; {reply}\r\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_in_ascii_is_typed_as_one_and_can_be_read_back() {
        assert_eq!(typed("a+b@contoso.test"), "rfc822; a+b@contoso.test");
        assert_eq!(typed("p\u{e9}+1@contoso.test"), "utf-8; p\\x{E9}\\x{2B}1@contoso.test");
    }
}
