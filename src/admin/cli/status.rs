//! `postern status`: is it running, ready, and well, on one screen.

use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::listing;
use crate::admin::cli::output::Tone;
use crate::admin::cli::set_up::SetUp;
use crate::admin::ops::{MailboxState, NotWell, Status};
use crate::admin::tables::{self, timestamp};

/// Tell whether Postern is running, ready, and well
///
/// The status is 0 if it is and 1 if not, for monitoring.
#[derive(Args, Debug)]
pub(super) struct StatusCommand {}

#[derive(Serialize)]
struct Document<'a> {
    well: bool,
    running: bool,
    process: Option<u32>,
    ready_at: Option<String>,
    listeners: Vec<ListenerDocument>,
    console: Option<String>,
    tenants: &'a [String],
    mailboxes: Mailboxes,
    active_passwords: usize,
    /// Within 30 days, with nothing in their place.
    ending_passwords: usize,
    waiting_mail: WaitingDocument,
    troubles: Vec<String>,
}

#[derive(Serialize)]
struct WaitingDocument {
    messages: u64,
    for_setup: u64,
    held: u64,
    oldest_at: Option<String>,
}

#[derive(Serialize)]
struct ListenerDocument {
    protocol: String,
    tls: String,
    address: String,
    answers: bool,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Mailboxes {
    ready: usize,
    needs_sign_in: usize,
    needs_administrator: usize,
    disabled: usize,
}

impl StatusCommand {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        let status = set_up.wait_for(async { Ok(Status::of(&config).await?) })?;
        if set_up.output.is_json() {
            set_up.output.json(&document(&status))?;
        } else {
            listing::facts(&set_up.output, tables::status(&status))?;
            for trouble in &status.troubles {
                set_up.output.problem(Tone::Warning, &trouble.said, trouble.remedy.as_deref());
            }
        }
        if status.is_well() { Ok(()) } else { Err(Failure::Told(1)) }
    }
}

fn document(status: &Status) -> Document<'_> {
    Document {
        well: status.is_well(),
        running: status.process.is_some(),
        process: status.process,
        ready_at: status.ready_at.map(timestamp),
        listeners: status
            .listeners
            .iter()
            .map(|listener| ListenerDocument {
                protocol: listener.bound.protocol.to_string(),
                tls: listener.bound.tls.to_string(),
                address: listener.bound.address.to_string(),
                answers: listener.answers,
            })
            .collect(),
        console: status.console.map(|address| address.to_string()),
        tenants: &status.tenants,
        mailboxes: mailboxes(status),
        active_passwords: status.active_passwords,
        ending_passwords: status.ending_passwords,
        waiting_mail: WaitingDocument {
            messages: status.waiting.messages,
            for_setup: status.waiting.for_setup,
            held: status.waiting.held,
            oldest_at: status.waiting.oldest_at.map(timestamp),
        },
        troubles: status.troubles.iter().map(NotWell::line).collect(),
    }
}

fn mailboxes(status: &Status) -> Mailboxes {
    let mut counts = Mailboxes::default();
    for (state, count) in status.mailboxes {
        match state {
            MailboxState::Ready => counts.ready = count,
            MailboxState::NeedsSignIn => counts.needs_sign_in = count,
            MailboxState::NeedsAdministrator => counts.needs_administrator = count,
            MailboxState::Disabled => counts.disabled = count,
        }
    }
    counts
}
