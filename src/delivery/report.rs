//! Delivery reports (RFC 3464): what could not be delivered is told to the mailbox that sent it, by a mail from itself to itself.
//!
//! Whoever may send as the mailbox may send it this; a report to anybody else would be mail to a stranger.

use chrono::{DateTime, Utc};
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox as Correspondent, MultiPart, SinglePart};

use crate::delivery::spool::Spool;
use crate::delivery::{DeliveryError, recipient_of};
use crate::store::{QueueState, QueuedMessage, QueuedRecipient, RecipientState, Store};
use crate::wire::smtp::MailFrom;

/// The header of the reported message is returned up to here.
const RETURNED_OCTETS: usize = 32 * 1024;

/// Why a report is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Reported {
    /// Exchange refused recipients for good.
    Refused,
    /// The message has waited too long.
    TooOld,
}

/// `Auto-Submitted: auto-replied` (RFC 3834, section 5): nothing answers it by itself.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-replied".to_owned())
    }
}

/// Puts a report about the failed recipients of a message into the queue.
///
/// # Errors
/// When store or spool cannot take it; then nothing is in the queue.
pub(in crate::delivery) async fn enqueue(
    message: &QueuedMessage,
    why: Reported,
    hostname: &str,
    spool: &Spool,
    store: &dyn Store,
    now: DateTime<Utc>,
) -> Result<(), DeliveryError> {
    let header = header_of(spool, &message.id).await;
    let content = content(message, why, hostname, &header, now).map_err(DeliveryError::Report)?;
    // A report belongs to what was promised already, and is small: a full disk alone may keep it out.
    let mut draft = spool.begin_anyway().await?;
    draft.write(&content).await?;
    let path = format!("<{}>", message.mailbox);
    let report = QueuedMessage {
        id: draft.id().to_owned(),
        mailbox: message.mailbox.clone(),
        password_id: String::new(),
        mail: format!("FROM:{path}"),
        size_octets: draft.octets(),
        message_id: None,
        is_report: true,
        accepted_at: now,
        state: QueueState::Waiting,
        next_at: now,
        attempts: 0,
        is_unknown: false,
        held: chrono::Duration::zero(),
        held_since: None,
        obstacle: None,
        recipients: vec![QueuedRecipient { rcpt: format!("TO:{path}"), state: RecipientState::Waiting, reply: None }],
    };
    draft.keep().await?;
    Ok(store.enqueue(&report).await?)
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
    now: DateTime<Utc>,
) -> Result<Vec<u8>, String> {
    let correspondent = |name: Option<&str>| {
        let address = message.mailbox.as_str().parse().map_err(|error| format!("{error}"))?;
        Ok::<_, String>(Correspondent::new(name.map(str::to_owned), address))
    };
    let failed: Vec<(String, &QueuedRecipient)> = message
        .recipients
        .iter()
        .filter(|recipient| recipient.state == RecipientState::Failed)
        .map(|recipient| (recipient_of(recipient).unwrap_or_else(|| "(unreadable)".to_owned()), recipient))
        .collect();
    let plain = |body: String| SinglePart::builder().header(ContentType::TEXT_PLAIN).body(body);
    let of_type = |kind: &str| ContentType::parse(kind).map_err(|error| error.to_string());
    let report = MultiPart::mixed()
        .build()
        .singlepart(plain(words(message, why, &failed)))
        .singlepart(
            SinglePart::builder()
                .header(of_type("message/delivery-status")?)
                .body(fields(message, why, hostname, &failed)),
        )
        .singlepart(SinglePart::builder().header(of_type("text/rfc822-headers; charset=utf-8")?).body(header.to_vec()));
    let built = lettre::Message::builder()
        .from(correspondent(Some("Mail delivery at this company (Postern)"))?)
        .to(correspondent(None)?)
        .subject("Your mail could not be delivered")
        .date(now.into())
        .message_id(Some(format!("<postern-report.{}@{hostname}>", message.id)))
        .header(AutoSubmitted)
        .multipart(report)
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8(built.formatted()).map_err(|error| error.to_string())?;
    // What lettre has no type for (RFC 6522, section 3).
    Ok(text.replacen("multipart/mixed;", "multipart/report; report-type=delivery-status;", 1).into_bytes())
}

fn words(message: &QueuedMessage, why: Reported, failed: &[(String, &QueuedRecipient)]) -> String {
    let accepted = message.accepted_at.format("%Y-%m-%d %H:%M UTC");
    let mut text = match why {
        Reported::Refused => format!("A mail that was handed in on {accepted} was refused for these recipients:\n\n"),
        Reported::TooOld => format!(
            "A mail that was handed in on {accepted} was refused or could not be delivered in time for these recipients, and is given up:\n\n"
        ),
    };
    for (address, recipient) in failed {
        text.push_str(&format!("  {address}\n"));
        if let Some(reply) = &recipient.reply {
            text.push_str(&format!("    Exchange said: {reply}\n"));
        }
    }
    if let Some(obstacle) = message.obstacle.as_ref().filter(|_| why == Reported::TooOld) {
        text.push_str(&format!("\nThe last obstacle: {}\n", obstacle.reason));
    }
    text.push_str(&format!(
        "\nIts header follows. Your administrator finds it in Postern's log as {}. The mail itself is not kept.\n",
        message.id
    ));
    text
}

/// The fields for programs (RFC 3464, sections 2.2 and 2.3).
fn fields(message: &QueuedMessage, why: Reported, hostname: &str, failed: &[(String, &QueuedRecipient)]) -> String {
    let arrived = message.accepted_at.to_rfc2822();
    let mut text = format!("Reporting-MTA: dns; {hostname}\r\nArrival-Date: {arrived}\r\n");
    if let Some(envelope_id) = MailFrom::parse(message.mail.as_bytes()).ok().and_then(|mail| mail.envid) {
        text.push_str(&format!("Original-Envelope-Id: {envelope_id}\r\n"));
    }
    for (address, recipient) in failed {
        let reply = recipient.reply.as_deref().unwrap_or_default();
        let enhanced = reply.split(' ').nth(1).filter(|word| word.starts_with("5.") && word.split('.').count() == 3);
        let status = match (enhanced, why) {
            (Some(enhanced), _) => enhanced,
            (None, Reported::Refused) => "5.0.0",
            // Delivery time expired (RFC 3463, section 3.5).
            (None, Reported::TooOld) => "4.4.7",
        };
        text.push_str(&format!("\r\nFinal-Recipient: rfc822; {address}\r\nAction: failed\r\nStatus: {status}\r\n"));
        if !reply.is_empty() {
            text.push_str(&format!("Diagnostic-Code: smtp; {reply}\r\n"));
        }
    }
    text
}
