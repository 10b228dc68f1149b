//! `postern queue journal`: what became of messages.

use std::time::Duration;

use chrono::Utc;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::listing;
use crate::admin::cli::output::Output;
use crate::admin::ops::Ops;
use crate::admin::tables::{self, timestamp};
use crate::base::Mailbox;
use crate::config::parse_duration;
use crate::store::{JournalEntry, JournalFilter, JournalOutcome, Route};

/// Tell what became of messages, the newest first: who sent what to whom when, and what Exchange said
///
/// Content is never kept. How long the journal reaches back is `keep_journal` in the configuration.
#[derive(Args, Debug)]
pub(super) struct JournalCommand {
    /// Only those with this in the sender, a recipient, the Message-ID or the ID
    #[arg(long, value_name = "TEXT")]
    with: Option<String>,
    /// Only those of this mailbox
    #[arg(long, value_name = "ADDRESS")]
    mailbox: Option<Mailbox>,
    /// Only those with this outcome
    #[arg(long, value_enum)]
    outcome: Option<OutcomeWish>,
    /// Only those of the last span of time, such as 24h or 7d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutcomeWish {
    /// Taken by Exchange
    Delivered,
    /// Kept in the queue
    Queued,
    /// Refused for good
    Refused,
    /// Given up after `max_age`
    Expired,
    /// Taken out by the administrator
    Dropped,
}

fn span(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|_| "write a span such as 24h or 7d".to_owned())
}

#[derive(Serialize)]
struct Document<'a> {
    at: String,
    mailbox: &'a str,
    password_id: Option<&'a str>,
    queue_id: Option<&'a str>,
    from: &'a str,
    recipients: &'a [String],
    size: u64,
    message_id: Option<&'a str>,
    route: Option<&'static str>,
    outcome: &'static str,
    reply: Option<&'a str>,
}

impl JournalCommand {
    pub(super) async fn run(self, ops: &Ops, output: &Output) -> Result<(), Failure> {
        let since = self.since.and_then(|span| chrono::Duration::from_std(span).ok());
        let filter = JournalFilter {
            since: since.and_then(|span| Utc::now().checked_sub_signed(span)),
            before: None,
            mailbox: self.mailbox,
            outcome: self.outcome.map(|wish| match wish {
                OutcomeWish::Delivered => JournalOutcome::Delivered,
                OutcomeWish::Queued => JournalOutcome::Queued,
                OutcomeWish::Refused => JournalOutcome::Refused,
                OutcomeWish::Expired => JournalOutcome::Expired,
                OutcomeWish::Dropped => JournalOutcome::Dropped,
            }),
            with: self.with,
        };
        let entries = ops.journal(&filter, self.limit).await?;
        if output.is_json() {
            return output.json(&entries.iter().map(document).collect::<Vec<_>>());
        }
        if entries.is_empty() {
            output.note("the journal has nothing of that");
            return Ok(());
        }
        if u32::try_from(entries.len()).is_ok_and(|found| found == self.limit) {
            output.note(&format!("these are the newest {}; --limit shows more", self.limit));
        }
        listing::print(output, tables::journal(&entries))
    }
}

fn document(entry: &JournalEntry) -> Document<'_> {
    Document {
        at: timestamp(entry.at),
        mailbox: entry.mailbox.as_str(),
        password_id: Some(entry.password_id.as_str()).filter(|id| !id.is_empty()),
        queue_id: entry.queue_id.as_deref(),
        from: &entry.sender,
        recipients: &entry.recipients,
        size: entry.size_octets,
        message_id: entry.message_id.as_deref(),
        route: entry.route.map(Route::name),
        outcome: entry.outcome.name(),
        reply: entry.reply.as_deref(),
    }
}
