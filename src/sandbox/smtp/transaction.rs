//! MAIL, RCPT and DATA: what is taken, what is recorded, and the refusals that come only when the message is complete.
//!
//! Only CRLF.CRLF ends a message, and only a dot behind a CRLF is taken for a stuffed one (RFC 5321, sections 2.3.8 and
//! 4.5.2): whatever else the peer sends is kept as it came, so that tests can see it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;
use mail_parser::MessageParser;

use crate::sandbox::connection::Ended;
use crate::sandbox::faults::FaultName;
use crate::sandbox::frontend::{SMTP_HOST, trailer};
use crate::sandbox::limits::Exceeded;
use crate::sandbox::smtp::{SIZE_LIMIT, Session, hve};
use crate::sandbox::tenant::{Submission, may_open};
use crate::sandbox::tokens::guid;

/// Most recipients of one message.
const RECIPIENT_LIMIT: usize = 500;

/// Most messages that a mailbox may send at the same time.
const CONCURRENT_LIMIT: usize = 3;

const PRX: &str = "451 4.7.0 Temporary server error. Please try again later. PRX4";

/// A mail transaction.
pub(super) struct Envelope {
    mail_from: String,
    mail_parameters: Vec<String>,
    recipients: Vec<String>,
    recipient_parameters: Vec<Vec<String>>,
}

impl Session {
    pub(super) fn mail(&mut self, rest: &str) {
        if !self.secured {
            self.say(&format!("451 5.7.3 STARTTLS is required to send mail {}", trailer()));
            return;
        }
        if self.mailbox.is_none() {
            self.say(&format!("530 5.7.57 Client not authenticated to send mail. {}", trailer()));
            return;
        }
        if self.envelope.is_some() {
            self.say("503 5.5.2 Sender already specified");
            return;
        }
        let Some((mail_from, mail_parameters)) = read_path(rest, "FROM:") else {
            self.say("501 5.5.4 Invalid arguments");
            return;
        };
        if let Some(number) = self.prx() {
            // Now the one, now the other.
            self.is_over = number.is_multiple_of(2);
            let reply = if self.is_over { "421 4.3.2 Service not active" } else { PRX };
            self.say(&format!("{reply} {}", trailer()));
            return;
        }
        if self.tenant.faults.strikes(FaultName::SmtpMail451) {
            self.say(&format!("451 4.7.0 Temporary server error. Please try again later. PRX2 {}", trailer()));
            return;
        }
        let declared = mail_parameters.iter().find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.eq_ignore_ascii_case("SIZE").then(|| value.parse::<usize>().ok()).flatten()
        });
        if declared.is_some_and(|size| size > SIZE_LIMIT) {
            self.say("552 5.3.4 Message size exceeds fixed maximum message size");
            return;
        }
        self.envelope =
            Some(Envelope { mail_from, mail_parameters, recipients: Vec::new(), recipient_parameters: Vec::new() });
        self.say("250 2.1.0 Sender OK");
    }

    pub(super) fn rcpt(&mut self, rest: &str) {
        let hve = self.tenant.faults.holds(FaultName::SmtpHve);
        let told = self.tenant.faults.text(FaultName::SmtpRecipientReply).or_else(|| {
            let every = self.tenant.faults.number(FaultName::SmtpRecipientEvery)?.max(1);
            let number = self.tenant.recipient_count.fetch_add(1, Ordering::Relaxed) + 1;
            number.is_multiple_of(every).then(|| "452 4.5.3 Too many recipients".to_owned())
        });
        let Some(envelope) = &mut self.envelope else {
            self.say("503 5.5.2 Need mail command");
            return;
        };
        let reply = match read_path(rest, "TO:") {
            None => "501 5.5.4 Invalid arguments".to_owned(),
            Some((address, _)) if address.is_empty() => "501 5.1.3 Invalid address".to_owned(),
            Some(_) if let Some(told) = told => format!("{told} {}", trailer()),
            Some((address, _)) if self.tenant.faults.concerns(FaultName::SmtpRejectRecipient, &address) => {
                let reason = "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup";
                format!("550 5.1.10 {reason} {}", trailer())
            }
            Some((address, _)) if hve && let Some(refusal) = hve::recipient_refusal(&self.tenant, &address) => refusal,
            Some(_) if envelope.recipients.len() >= RECIPIENT_LIMIT => "452 4.5.3 Too many recipients".to_owned(),
            Some((address, parameters)) => {
                envelope.recipients.push(address);
                envelope.recipient_parameters.push(parameters);
                "250 2.1.5 Recipient OK".to_owned()
            }
        };
        self.say(&reply);
    }

    pub(super) async fn data(&mut self) -> Result<(), Ended> {
        let (Some(envelope), Some(mailbox)) = (self.envelope.take(), self.mailbox.clone()) else {
            self.say("503 5.5.2 Need mail command");
            return Ok(());
        };
        if envelope.recipients.is_empty() {
            self.envelope = Some(envelope);
            self.say("503 5.5.2 Need rcpt command");
            return Ok(());
        }
        if let Some(reply) = self.tenant.faults.text(FaultName::SmtpDataReply) {
            self.say(&format!("{reply} {}", trailer()));
            return Ok(());
        }
        let (_receiving, at_once) = self.tenant.begin_receiving(&mailbox);
        self.say("354 Start mail input; end with <CRLF>.<CRLF>");
        self.connection.flush().await?;
        if self.tenant.faults.strikes(FaultName::SmtpDropMidData) {
            if self.connection.input().is_empty() {
                self.connection.fill().await?;
            }
            return Err(Ended);
        }
        let raw = match self.read_message().await {
            Ok(raw) => raw,
            Err(ended) => {
                self.tenant.note(|tally| tally.cut_messages += 1);
                return Err(ended);
            }
        };
        if let Some(millis) = self.tenant.faults.number(FaultName::SmtpSlowData) {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        let content = unstuff(&raw);
        if let Some(refusal) = self.refusal(&mailbox, &envelope, &content, at_once) {
            self.say(&refusal);
            return self.connection.flush().await;
        }
        if let Some(refusal) = self.over_limits(&mailbox, &envelope).await {
            self.tenant.note(|tally| tally.over_limits += 1);
            self.say(&refusal);
            return self.connection.flush().await;
        }
        if self.tenant.faults.strikes(FaultName::SmtpDropLost) {
            return Err(Ended);
        }
        self.keep(mailbox, envelope, content, raw);
        if self.tenant.faults.strikes(FaultName::SmtpDropAfterData) {
            return Err(Ended);
        }
        let id = guid().unwrap_or_default();
        self.say(&format!("250 2.0.0 OK <{id}@{SMTP_HOST}> [Hostname={SMTP_HOST}]"));
        // Before the count of messages received at once goes down.
        self.connection.flush().await
    }

    /// The octets of a message, to the CRLF behind the dot that ends it.
    async fn read_message(&mut self) -> Result<Vec<u8>, Ended> {
        let mut raw: Vec<u8> = Vec::new();
        loop {
            let searched = raw.len().saturating_sub(4);
            let came = self.connection.input().len();
            raw.append(&mut self.connection.take(came));
            if let Some(end) = find_end(&raw, searched) {
                let rest = raw.split_off(end);
                self.connection.give_back(rest);
                return Ok(raw);
            }
            if raw.len() > 2 * SIZE_LIMIT {
                return Err(Ended);
            }
            self.connection.fill().await?;
        }
    }

    /// Why Exchange would not take this message. Sender and size are looked at only now, although they were known before.
    fn refusal(&self, mailbox: &str, envelope: &Envelope, content: &[u8], at_once: usize) -> Option<String> {
        let faults = &self.tenant.faults;
        if let Some(reply) = faults.text(FaultName::SmtpMessageReply) {
            return Some(format!("{reply} {}", trailer()));
        }
        if self.prx().is_some() {
            return Some(format!("{PRX} {}", trailer()));
        }
        let storedrv = "STOREDRV.Submission.Exception";
        let size_limit = faults.number(FaultName::SmtpSizeLimit).and_then(|limit| usize::try_from(limit).ok());
        if content.len() > size_limit.unwrap_or(SIZE_LIMIT).min(SIZE_LIMIT) {
            return Some(format!("552 5.3.4 Message size exceeds fixed maximum message size {}", trailer()));
        }
        if at_once > CONCURRENT_LIMIT {
            self.tenant.note(|tally| tally.over_limits += 1);
        }
        if at_once > CONCURRENT_LIMIT || faults.strikes(FaultName::SmtpConcurrent432) {
            let visit = "Visit https://aka.ms/concurrent_sending for more information.";
            return Some(format!("432 4.3.2 Concurrent connections limit exceeded. {visit} [Hostname={SMTP_HOST}]"));
        }
        if faults.strikes(FaultName::SmtpQuota) {
            return Some(quota());
        }
        if faults.strikes(FaultName::SmtpMailboxFull) {
            return Some(format!(
                "554 5.2.2 mailbox full; {storedrv}:QuotaExceededException.MapiExceptionShutoffQuotaExceeded; Failed to \
                 process message due to a permanent exception with message [Hostname={SMTP_HOST}]"
            ));
        }
        if faults.strikes(FaultName::SmtpDailyLimit) {
            let reason = "Your message can't be sent because you've reached your daily limit for message recipients";
            return Some(format!("550 5.1.90 {reason} [Hostname={SMTP_HOST}]"));
        }
        if faults.strikes(FaultName::SmtpBadSender) {
            return Some(format!("550 5.1.8 Access denied, bad outbound sender [Hostname={SMTP_HOST}]"));
        }
        if faults.strikes(FaultName::SmtpNoSendPermission) {
            let reason = "Client does not have permissions to send as this sender";
            return Some(format!("550 5.7.60 SMTP; {reason} [Hostname={SMTP_HOST}]"));
        }
        let named = wrong_sender(mailbox, envelope, content);
        let denied = faults.strikes(FaultName::SmtpSendAsDenied);
        let named = named.or_else(|| denied.then(|| envelope.mail_from.clone()))?;
        // One line of over 1,000 octets, as in the log of November 2025.
        let diagnostics: Vec<String> =
            (0..40).map(|number| format!("Lid: {}   StoreEc: 0x8004010F", 16_000 + number * 7)).collect();
        Some(format!(
            "554 5.2.252 SendAsDenied; {mailbox} not allowed to send as {named}; {storedrv}:\
             SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception with \
             message [BeginDiagnosticData]Cannot submit message. 0.35250:{}[EndDiagnosticData] [Hostname={SMTP_HOST}]",
            diagnostics.join("; ")
        ))
    }

    /// The trouble that comes and goes between Exchange's front end and its mailbox servers: the how many-th it is.
    fn prx(&self) -> Option<u64> {
        let every = self.tenant.faults.number(FaultName::SmtpPrxEvery)?.max(1);
        let number = self.tenant.prx_count.fetch_add(1, Ordering::Relaxed) + 1;
        number.is_multiple_of(every).then_some(number / every)
    }

    /// Why the message is one too many in its minute or day.
    async fn over_limits(&self, mailbox: &str, envelope: &Envelope) -> Option<String> {
        let faults = &self.tenant.faults;
        let rejected = faults.number(FaultName::SmtpPerMinute);
        let delayed = faults.number(FaultName::SmtpPerMinuteDelay);
        let per_day = faults.number(FaultName::SmtpRecipientsPerDay);
        let recipients = envelope.recipients.len() as u64;
        loop {
            match self.tenant.sent.count(mailbox, recipients, rejected.or(delayed), per_day) {
                Ok(()) => return None,
                Err(Exceeded::PerMinute(wait)) if rejected.is_none() => self.tenant.sent.sleep(wait).await,
                Err(Exceeded::PerMinute(_)) => {
                    let reason = "STOREDRV.ClientSubmit; sender thread limit exceeded";
                    return Some(format!("432 4.3.2 {reason} [Hostname={SMTP_HOST}]"));
                }
                Err(Exceeded::PerDay) => return Some(quota()),
            }
        }
    }

    /// Delivers to the mailboxes of the tenant, files the sender's copy, and records the whole.
    fn keep(&self, mailbox: String, envelope: Envelope, content: Vec<u8>, raw: Vec<u8>) {
        let octets: std::sync::Arc<[u8]> = content.as_slice().into();
        let now = Utc::now();
        let faults = &self.tenant.faults;
        let folder = if faults.holds(FaultName::SmtpJunk) { "Junk Email" } else { "INBOX" };
        let arrives = !faults.holds(FaultName::SmtpLost);
        for recipient in envelope.recipients.iter().filter(|_| arrives) {
            self.tenant.mailboxes.with(recipient, |account| {
                account.add(folder, octets.clone(), BTreeSet::new(), now);
            });
        }
        if !faults.holds(FaultName::SmtpHve) && !faults.holds(FaultName::SmtpNoCopy) {
            let folder = faults.text(FaultName::SmtpSentFolder);
            self.tenant.mailboxes.with(&mailbox, |account| {
                if let Some(folder) = &folder {
                    account.rename("Sent Items", folder);
                }
                account.add(
                    folder.as_deref().unwrap_or("Sent Items"),
                    octets,
                    BTreeSet::from(["\\Seen".to_owned()]),
                    now,
                );
            });
        }
        self.tenant.note_submission(Submission {
            by_graph: false,
            mailbox,
            mail_from: envelope.mail_from,
            mail_parameters: envelope.mail_parameters,
            recipients: envelope.recipients,
            recipient_parameters: envelope.recipient_parameters,
            content,
            raw,
        });
    }

    /// Chunks are read and refused: nothing good is known of them on this path.
    pub(super) async fn bdat(&mut self, rest: &str) -> Result<(), Ended> {
        if self.tenant.faults.holds(FaultName::SmtpBdatStall) {
            return self.connection.swallow().await;
        }
        let size = rest.split(' ').next().and_then(|size| size.parse::<usize>().ok());
        let Some(mut left) = size else {
            self.say("501 5.5.4 Invalid arguments");
            return Ok(());
        };
        while left > 0 {
            if self.connection.input().is_empty() {
                self.connection.fill().await?;
            }
            let taken = self.connection.take(left).len();
            left -= taken;
        }
        self.envelope = None;
        self.say("552 5.3.4 Header size exceeds fixed maximum size");
        Ok(())
    }
}

fn quota() -> String {
    format!(
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent \
         exception with message The message can't be submitted because the sender's submission quota was exceeded. \
         [Hostname={SMTP_HOST}]"
    )
}

/// The sender in envelope or header that this mailbox may not use, if there is one.
fn wrong_sender(mailbox: &str, envelope: &Envelope, content: &[u8]) -> Option<String> {
    let message = MessageParser::default().parse_headers(content);
    let header_from = message.as_ref().and_then(|message| message.from()).and_then(|from| from.first());
    let header_from = header_from.and_then(|from| from.address()).map(str::to_ascii_lowercase);
    let senders = [Some(envelope.mail_from.to_ascii_lowercase()).filter(|sender| !sender.is_empty()), header_from];
    senders.into_iter().flatten().find(|sender| !may_open(mailbox, sender))
}

/// `FROM:<path> parameters` (RFC 5321, section 3.3), with the space behind the colon that many clients send.
fn read_path(text: &str, keyword: &str) -> Option<(String, Vec<String>)> {
    let start = text.get(..keyword.len())?;
    if !start.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (path, parameters) = text.get(keyword.len()..)?.trim_start().strip_prefix('<')?.split_once('>')?;
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return None;
    }
    Some((path.to_owned(), parameters.split_ascii_whitespace().map(str::to_owned).collect()))
}

/// Where the message ends: behind the CRLF.CRLF, or the .CRLF that is all there is.
fn find_end(raw: &[u8], searched: usize) -> Option<usize> {
    if raw.starts_with(b".\r\n") {
        return Some(3);
    }
    let found = memchr::memmem::find(raw.get(searched..)?, b"\r\n.\r\n")?;
    Some(searched + found + 5)
}

/// The message without the dot that ends it, and without one dot at the start of each line that has one.
fn unstuff(raw: &[u8]) -> Vec<u8> {
    let body = raw.strip_suffix(b".\r\n").unwrap_or(raw);
    let mut content = Vec::with_capacity(body.len());
    let mut rest = body;
    while !rest.is_empty() {
        rest = rest.strip_prefix(b".").unwrap_or(rest);
        let end = memchr::memmem::find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, next) = rest.split_at(end);
        content.extend_from_slice(line);
        rest = next;
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crlf_dot_crlf_ends_a_message_and_only_a_dot_behind_crlf_is_unstuffed() {
        for (raw, content) in [
            (&b".\r\n"[..], Some(&b""[..])),
            (b"a\r\n.\r\n", Some(b"a\r\n")),
            (b"..a\r\n...\r\n.\r\n", Some(b".a\r\n..\r\n")),
            (b"a\n..b\r\n.\r\n", Some(b"a\n..b\r\n")),
            (b"a\n.\n", None),
            (b"a\r\n.\n", None),
            (b"a\n.\r\n", None),
            (b"a\r.\r", None),
            (b"a\r\n\x00.\r\n", None),
            (b"a\n.\r\nb\r\n.\r\n", Some(b"a\n.\r\nb\r\n")),
        ] {
            let end = find_end(raw, 0);
            assert_eq!(end.is_some(), content.is_some(), "{raw:?}");
            if let Some(content) = content {
                assert_eq!(end, Some(raw.len()), "{raw:?}");
                assert_eq!(unstuff(raw), content, "{raw:?}");
            }
        }
    }

    #[test]
    fn a_path_is_read_with_its_parameters() {
        for (text, expected) in [
            ("FROM:<a@x> SIZE=5 BODY=8BITMIME", Some(("a@x", 2))),
            ("from: <>", Some(("", 0))),
            ("FROM:a@x", None),
            ("FROM:<a@x>SIZE=5", None),
            ("TO:<a@x>", None),
        ] {
            let read = read_path(text, "FROM:");
            assert_eq!(read.as_ref().map(|(path, parameters)| (path.as_str(), parameters.len())), expected, "{text}");
        }
    }
}
