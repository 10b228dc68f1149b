//! `postern queue`: the mail that is waiting.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::journal::JournalCommand;
use crate::admin::cli::listing::{self, Column};
use crate::admin::cli::output::{Entry, Output};
use crate::admin::cli::page::in_steps;
use crate::admin::cli::reason;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values::timestamp;
use crate::admin::ops::Ops;
use crate::delivery::{recipient_of, sender_of};
use crate::store::{QueueState, QueuedMessage, QueuedRecipient};

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

/// When it is tried next; one that is held is not.
fn next_at(message: &QueuedMessage) -> Option<DateTime<Utc>> {
    (message.state != QueueState::Held).then_some(message.next_at)
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
        next_at: next_at(message).map(timestamp),
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
    let texts = |text: fn(&QueuedMessage) -> String| messages.iter().map(text).map(Entry::from);
    listing::print(
        output,
        vec![
            Column::fixed("ID", texts(|message| message.id.clone())),
            Column::fixed("MAILBOX", texts(|message| message.mailbox.to_string())),
            Column::fixed("STATE", messages.iter().map(|message| state(message.state))),
            Column::fixed("ACCEPTED", texts(|message| timestamp(message.accepted_at))),
            Column::loose("NEXT", texts(|message| next_at(message).map(timestamp).unwrap_or_default())),
            Column::loose("TO", texts(to)),
            Column::loose("OCTETS", texts(|message| message.size_octets.to_string())),
            Column::loose(
                "REASON",
                texts(|message| {
                    message.obstacle.as_ref().map(|obstacle| reason::short(&obstacle.reason)).unwrap_or_default()
                }),
            ),
        ],
    )
}

/// The first recipient that waits, and how many others.
fn to(message: &QueuedMessage) -> String {
    let waiting: Vec<&QueuedRecipient> = message.waiting().collect();
    let first = waiting.first().and_then(|recipient| recipient_of(recipient)).unwrap_or_default();
    match waiting.len() {
        0 | 1 => first,
        number => format!("{first} and {} more", number - 1),
    }
}

fn show(output: &Output, message: &QueuedMessage) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&document(message));
    }
    let mut rows: Vec<Vec<Entry>> = vec![
        vec!["id".into(), message.id.clone().into()],
        vec!["mailbox".into(), message.mailbox.to_string().into()],
        vec!["from".into(), sender_of(message).unwrap_or_else(|| "nobody (<>)".to_owned()).into()],
        vec!["state".into(), state(message.state)],
        vec!["accepted".into(), timestamp(message.accepted_at).into()],
        vec!["octets".into(), message.size_octets.to_string().into()],
        vec!["attempts".into(), message.attempts.to_string().into()],
    ];
    if let Some(next) = next_at(message) {
        rows.push(vec!["next".into(), timestamp(next).into()]);
    }
    if !message.password_id.is_empty() {
        rows.push(vec!["app password".into(), message.password_id.clone().into()]);
    }
    if message.is_report {
        rows.push(vec!["what".into(), "a mail of Postern's own: a delivery report, or a reminder".into()]);
    }
    if message.is_unknown() {
        rows.push(vec!["outcome".into(), Entry::Bad("unknown: it may have arrived".to_owned())]);
    }
    if let Some(obstacle) = &message.obstacle {
        rows.push(vec!["reason".into(), obstacle.reason.clone().into()]);
        if let Some(remedy) = &obstacle.remedy {
            rows.push(vec!["remedy".into(), in_steps(remedy).into()]);
        }
    }
    for recipient in &message.recipients {
        let said = recipient.reply.as_ref().map(|reply| format!(": {reply}")).unwrap_or_default();
        let text = format!("{} {}{said}", recipient_of(recipient).unwrap_or_default(), recipient.state.name());
        rows.push(vec!["recipient".into(), text.into()]);
    }
    output.table(&[], rows)
}

fn state(state: QueueState) -> Entry {
    let name = state.name().to_owned();
    match state {
        QueueState::Waiting => Entry::Plain(name),
        QueueState::Held => Entry::Faint(name),
        QueueState::HeldForSetup => Entry::Bad(name),
    }
}
