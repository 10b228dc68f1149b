//! `postern password`: the app passwords that mail programs log in with.

pub(super) mod card;
mod issue;
mod rotate;
pub(super) mod scope;
mod selection;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::admin::cli::failure::{Failure, with_causes};
use crate::admin::cli::listing;
use crate::admin::cli::output::{JsonArray, Output};
use crate::admin::cli::password::issue::{Adopt, Issue, WhatFor};
use crate::admin::cli::password::rotate::Rotate;
use crate::admin::cli::password::selection::Selection;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values::{self, Expiry};
use crate::admin::cli::view::ShownPasswordDocument;
use crate::admin::ops::{Ops, PasswordRow, PasswordState, RevokeOutcome};
use crate::admin::tables;
use crate::base::{Mailbox, TenantName};
use crate::config::Config;

/// Issue, rotate, list and revoke app passwords
#[derive(Args, Debug)]
pub(super) struct PasswordGroup {
    #[command(subcommand)]
    command: PasswordCommand,
}

#[derive(Subcommand, Debug)]
enum PasswordCommand {
    Issue(Issue),
    Adopt(Adopt),
    List(List),
    Unused(Unused),
    Show(Show),
    Rotate(Rotate),
    Revoke(Revoke),
}

/// List the app passwords, without the passwords
#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    selection: Selection,
}

/// List the app passwords in force that nobody has used for a while
///
/// Those that were issued within that time are left out. `postern password revoke --unused-for SPAN` revokes them.
#[derive(Args, Debug)]
struct Unused {
    /// How long
    #[arg(long = "for", value_name = "SPAN", default_value = "90d", value_parser = values::span)]
    span: chrono::Duration,
}

/// Show one app password, without the password
#[derive(Args, Debug)]
struct Show {
    /// Its ID
    id: String,
}

/// Revoke app passwords: refused at their next login, their open sessions closed within 5 seconds
///
/// Named by their IDs, or by what they have in common; then they are only listed unless --yes is given. Revoking one twice is no fault.
#[derive(Args, Debug)]
struct Revoke {
    /// Their IDs
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Revoke what --owner, --label, --mailbox, --tenant, --unused-for and --ending-within name together
    #[arg(long)]
    yes: bool,
    /// Hold what was submitted with it and is waiting (`postern queue list`)
    #[arg(long)]
    hold_mail: bool,
}

#[derive(Serialize)]
struct RevokedDocument {
    id: String,
    state: &'static str,
    held_messages: u64,
}

impl PasswordGroup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let end = match &self.command {
            PasswordCommand::Issue(Issue { what_for: WhatFor { expires: Some(expiry), .. }, .. })
            | PasswordCommand::Adopt(Adopt { what_for: WhatFor { expires: Some(expiry), .. }, .. })
            | PasswordCommand::Rotate(Rotate { expires: Some(expiry), .. }) => {
                Some(moment_ahead(*expiry, set_up.now())?)
            }
            _ => None,
        };
        let config = set_up.config()?;
        set_up.wait_for(async {
            let mailbox = match &self.command {
                PasswordCommand::Issue(issue) => Some(&issue.what_for.address),
                PasswordCommand::Adopt(adopt) => Some(&adopt.what_for.address),
                _ => None,
            };
            let ops = Ops::open_existing(&config, mailbox).await?;
            self.command.run(&ops, &config, &set_up.output, set_up.now(), end).await
        })
    }
}

fn moment_ahead(expiry: Expiry, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    expiry.moment(now).ok_or_else(|| Failure::Usage("--expires: that moment has passed already".to_owned()))
}

impl PasswordCommand {
    async fn run(
        self,
        ops: &Ops,
        config: &Config,
        output: &Output,
        now: DateTime<Utc>,
        end: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        match self {
            Self::Issue(issue) => issue.run(ops, config, output, now, end).await,
            Self::Adopt(adopt) => adopt.run(ops, config, output, now, end).await,
            Self::Rotate(rotate) => rotate.run(ops, config, output, now, end).await,
            Self::List(List { selection }) => {
                let rows = selected(ops, &selection, now).await?;
                if rows.is_empty() && !selection.is_empty() && !output.is_json() {
                    output.note("there is no such app password");
                    return Ok(());
                }
                list(output, &rows)
            }
            Self::Unused(Unused { span }) => {
                let mut rows = selected(ops, &Selection::unused(span), now).await?;
                rows.retain(|row| row.state.is_in_force());
                if rows.is_empty() && !output.is_json() {
                    output.note("every app password in force was used or issued within that time");
                    return Ok(());
                }
                list(output, &rows)
            }
            Self::Show(Show { id }) => show(output, &ops.password(&id).await?),
            Self::Revoke(revoke) => revoke.run(ops, output, now).await,
        }
    }
}

impl Revoke {
    async fn run(self, ops: &Ops, output: &Output, now: DateTime<Utc>) -> Result<(), Failure> {
        let ids = match (self.ids.is_empty(), self.selection.is_empty()) {
            (true, true) => {
                return Err(Failure::Usage("name IDs, or what they have in common, such as --owner".to_owned()));
            }
            (false, false) => {
                return Err(Failure::Usage("name either IDs, or what they have in common".to_owned()));
            }
            (false, true) => unique(self.ids),
            (true, false) => {
                let mut rows = selected(ops, &self.selection, now).await?;
                rows.retain(|row| row.state.is_in_force());
                if rows.is_empty() {
                    return nobody(ops, output, &self.selection, now).await;
                }
                if !self.yes {
                    list(output, &rows)?;
                    output.note("nothing is revoked yet; the same command with --yes revokes these");
                    return Ok(());
                }
                rows.into_iter().map(|row| row.id).collect()
            }
        };
        // One that is not there is told before anything is revoked.
        for id in &ids {
            ops.password(id).await?;
        }
        let is_alone = ids.len() == 1 && self.selection.is_empty();
        let mut revoked = Vec::new();
        for id in ids {
            match ops.revoke_password(&id).await? {
                RevokeOutcome::Revoked => {
                    output.note(&format!("{id} is revoked; its open sessions end within 5 seconds"));
                }
                RevokeOutcome::AlreadyRevoked => output.note(&format!("{id} was revoked already")),
            }
            let held_messages = if self.hold_mail { ops.hold_queued_with(&id).await? } else { 0 };
            if self.hold_mail {
                output.note(&format!("{held_messages} messages of it were waiting and are held (postern queue list)"));
            }
            revoked.push(RevokedDocument { id, state: PasswordState::Revoked.name(), held_messages });
        }
        match revoked.as_slice() {
            _ if !output.is_json() => Ok(()),
            [only] if is_alone => output.json(only),
            all => output.json(&all),
        }
    }
}

/// Those that are meant.
async fn selected(ops: &Ops, selection: &Selection, now: DateTime<Utc>) -> Result<Vec<PasswordRow>, Failure> {
    let mut rows = ops.passwords().await?;
    if !selection.is_empty() {
        let tenants: HashMap<Mailbox, TenantName> =
            ops.mailboxes().await?.into_iter().map(|row| (row.address, row.tenant)).collect();
        rows.retain(|row| selection.means(row, now, |mailbox| tenants.get(mailbox).cloned()));
    }
    Ok(rows)
}

/// Where none in force is meant: that is well where only the time has not come, as in a job that cleans up each night, and else a slip.
async fn nobody(ops: &Ops, output: &Output, selection: &Selection, now: DateTime<Utc>) -> Result<(), Failure> {
    let is_early = match selection.at_any_time() {
        Some(at_any_time) => selected(ops, &at_any_time, now).await?.iter().any(|row| row.state.is_in_force()),
        None => false,
    };
    let said = selection.none_is_meant();
    if !is_early {
        return Err(Failure::operation("password-unknown", said, "See what there is: `postern password list`."));
    }
    output.note(&format!("{said}, so that there is nothing to do"));
    if output.is_json() { JsonArray::new(output).end() } else { Ok(()) }
}

/// The list without what is there twice, in its order.
pub(super) fn unique<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(list.len());
    for item in list {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// Revokes a new app password that could not be printed: nobody has seen it, and it would stay in force unknown.
pub(super) async fn take_back(ops: &Ops, id: &str, failure: Failure) -> Failure {
    let why = match failure {
        Failure::Operation { message, .. } => message,
        Failure::ReaderGone => "the reader of stdout has gone".to_owned(),
        other => return other,
    };
    let unseen = format!("{why}: nobody has seen the new app password {id}");
    match ops.revoke_password(id).await {
        Ok(_) => {
            let remedy = "Let the output go where it can be written, and issue another one.";
            Failure::operation("password-not-shown", format!("{unseen}, and it is revoked again"), remedy)
        }
        Err(error) => {
            let message = format!("{unseen}, and it could not be revoked: {}", with_causes(&error));
            let remedy = format!("Run `postern password revoke {id}`, and issue another one.");
            Failure::operation("password-not-shown", message, remedy)
        }
    }
}

fn list(output: &Output, rows: &[PasswordRow]) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&rows.iter().map(ShownPasswordDocument::from).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        output.note("there is no app password; issue one with `postern password issue ADDRESS --label TEXT`");
        return Ok(());
    }
    listing::print(output, tables::passwords(rows))?;
    let soon = rows.iter().filter(|row| row.ends_within_days.is_some()).count();
    match soon {
        0 => {}
        1 => output
            .note("one of them ends within 30 days, and nothing is there in its place: `postern password rotate ID`"),
        count => output.note(&format!(
            "{count} of them end within 30 days, and nothing is there in their place: `postern password rotate ID`"
        )),
    }
    Ok(())
}

fn show(output: &Output, row: &PasswordRow) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&ShownPasswordDocument::from(row));
    }
    listing::facts(output, tables::password(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Protocol;

    #[test]
    fn what_is_named_twice_counts_once() {
        assert_eq!(unique(vec![Protocol::Imap, Protocol::Smtp, Protocol::Imap]), [Protocol::Imap, Protocol::Smtp]);
    }
}
