//! `postern queue`: the mail that is waiting.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::journal::JournalCommand;
use crate::admin::cli::listing;
use crate::admin::cli::output::Output;
use crate::admin::cli::set_up::SetUp;
use crate::admin::ops::Ops;
use crate::admin::tables::{self, timestamp};
use crate::delivery::{recipient_of, sender_of};
use crate::store::QueuedMessage;

/// See and steer the mail that is waiting
///
/// A message waits here when Exchange could not take it at once (`--delivery assured`). It is tried again by itself. What waits for the
/// set-up to be mended goes out by itself when that is done.
#[derive(Args, Debug)]
pub(super) struct QueueGroup {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Subcommand, Debug)]
enum QueueCommand {
    List(List),
    Show(Show),
    Retry(Retry),
    Hold(Hold),
    Release(Release),
    Drop(Drop),
    Journal(JournalCommand),
}

/// List the messages that wait, the oldest first
#[derive(Args, Debug)]
struct List {}

/// Show one message: its envelope, what Exchange said of each recipient, and what it waits for
#[derive(Args, Debug)]
struct Show {
    /// Its ID
    id: String,
}

/// Try messages at once
#[derive(Args, Debug)]
struct Retry {
    /// Their IDs
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
    /// Everything that waits and is not held, as after an outage
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// Keep messages from being tried until they are released; the time does not count towards their age
#[derive(Args, Debug)]
struct Hold {
    /// Their IDs
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Let messages that are held be tried again, at once
#[derive(Args, Debug)]
struct Release {
    /// Their IDs
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Take messages out for good; nobody is told
#[derive(Args, Debug)]
struct Drop {
    /// Their IDs
    #[arg(required = true)]
    ids: Vec<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    mailbox: &'a str,
    password_id: Option<&'a str>,
    from: Option<String>,
    recipients: Vec<RecipientDocument<'a>>,
    size: u64,
    state: &'static str,
    accepted_at: String,
    next_at: Option<String>,
    attempts: u32,
    may_have_arrived: bool,
    report: bool,
    code: Option<&'a str>,
    reason: Option<&'a str>,
    remedy: Option<&'a str>,
}

#[derive(Serialize)]
struct RecipientDocument<'a> {
    address: Option<String>,
    state: &'static str,
    reply: Option<&'a str>,
}

#[derive(Serialize)]
struct DroppedDocument {
    dropped: Vec<String>,
}

impl QueueGroup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        set_up.wait_for(async {
            let ops = Ops::open_existing(&config, None).await?;
            self.command.run(&ops, &set_up.output).await
        })
    }
}

impl QueueCommand {
    async fn run(self, ops: &Ops, output: &Output) -> Result<(), Failure> {
        match self {
            Self::List(List {}) => list(output, &ops.queue().await?),
            Self::Show(Show { id }) => show(output, &ops.queued(&id).await?),
            Self::Retry(Retry { all: true, .. }) => {
                ops.retry_all_queued().await?;
                output.note("everything that is not held is tried within 5 seconds, if `serve` runs");
                let ids: Vec<String> = ops.queue().await?.into_iter().map(|message| message.id).collect();
                documents(ops, output, &ids).await
            }
            Self::Retry(Retry { ids, all: false }) => {
                for id in &ids {
                    ops.retry_queued(id).await?;
                    output.note(&format!("{id} is tried within 5 seconds, if `serve` runs"));
                }
                documents(ops, output, &ids).await
            }
            Self::Hold(Hold { ids }) => {
                for id in &ids {
                    ops.hold_queued(id).await?;
                    output.note(&format!("{id} is held: postern queue release {id}"));
                }
                documents(ops, output, &ids).await
            }
            Self::Release(Release { ids }) => {
                for id in &ids {
                    ops.release_queued(id).await?;
                    output.note(&format!("{id} is released, and tried within 5 seconds, if `serve` runs"));
                }
                documents(ops, output, &ids).await
            }
            Self::Journal(journal) => journal.run(ops, output).await,
            Self::Drop(Drop { ids }) => {
                for id in &ids {
                    ops.drop_queued(id).await?;
                    output.note(&format!("{id} is taken out; nobody is told"));
                }
                if output.is_json() { output.json(&DroppedDocument { dropped: ids }) } else { Ok(()) }
            }
        }
    }
}

async fn documents(ops: &Ops, output: &Output, ids: &[String]) -> Result<(), Failure> {
    if !output.is_json() {
        return Ok(());
    }
    let waiting = ops.queue().await?;
    let named = waiting.iter().filter(|message| ids.contains(&message.id));
    output.json(&named.map(document).collect::<Vec<_>>())
}

fn document(message: &QueuedMessage) -> Document<'_> {
    let obstacle = message.obstacle.as_ref();
    Document {
        id: &message.id,
        mailbox: message.mailbox.as_str(),
        password_id: Some(message.password_id.as_str()).filter(|id| !id.is_empty()),
        from: sender_of(message),
        recipients: message
            .recipients
            .iter()
            .map(|recipient| RecipientDocument {
                address: recipient_of(recipient),
                state: recipient.state.name(),
                reply: recipient.reply.as_deref(),
            })
            .collect(),
        size: message.size_octets,
        state: message.state.name(),
        accepted_at: timestamp(message.accepted_at),
        next_at: tables::next_at(message).map(timestamp),
        attempts: message.attempts,
        may_have_arrived: message.is_unknown(),
        report: message.is_report,
        code: obstacle.map(|obstacle| obstacle.code.as_str()),
        reason: obstacle.map(|obstacle| obstacle.reason.as_str()),
        remedy: obstacle.and_then(|obstacle| obstacle.remedy.as_deref()),
    }
}

fn list(output: &Output, messages: &[QueuedMessage]) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&messages.iter().map(document).collect::<Vec<_>>());
    }
    if messages.is_empty() {
        output.note("no mail is waiting");
        return Ok(());
    }
    listing::print(output, tables::queue(messages))
}

fn show(output: &Output, message: &QueuedMessage) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&document(message));
    }
    listing::facts(output, tables::message(message))
}
