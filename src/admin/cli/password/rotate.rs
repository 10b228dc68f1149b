//! `postern password rotate`: others in the place of app passwords, while both work.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use clap::Args;
use zeroize::Zeroizing;

use crate::admin::cli::failure::{Failure, with_causes};
use crate::admin::cli::output::{JsonArray, Output};
use crate::admin::cli::password::issue::{document, hand_out};
use crate::admin::cli::password::selection::Selection;
use crate::admin::cli::password::{list, nobody, selected};
use crate::admin::cli::values::{self, Expiry};
use crate::admin::ops::{Ops, PasswordRow, PasswordState, Rotate as How, Rotated};
use crate::admin::tables::{self, timestamp};
use crate::config::Config;

/// Issue an app password in the place of another, and let both work for a while
///
/// The new one may do what the old one may, and is printed once as `issue` does. Change it in the program or device while both work;
/// `postern password list` shows who still uses the old one. Then it ends by itself. Several are named by what they have in common: then
/// they are only listed unless --yes is given, and each new one stands on a line of stdout: the mailbox, the label, the old ID, the new ID
/// and the password, with tabs between.
#[derive(Args, Debug)]
pub(super) struct Rotate {
    /// The ID of the old one
    id: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Rotate what --owner, --label, --mailbox, --tenant, --unused-for and --ending-within name together
    #[arg(long)]
    yes: bool,
    /// How long the old one still works
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = values::overlap)]
    overlap: chrono::Duration,
    /// Let the old one end sooner when the new one is used and the old one was not for this span, such as 2d
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    end_unused: Option<chrono::Duration>,
    /// The end of the new one: a span such as 90d, or a date [default: as long as the old one was to live, or never]
    #[arg(long, value_name = "WHEN", value_parser = values::expiry, allow_hyphen_values = true)]
    pub(super) expires: Option<Expiry>,
    /// 16 characters, for devices that take no more
    #[arg(long)]
    short: bool,
}

impl Rotate {
    pub(super) async fn run(
        self,
        ops: &Ops,
        config: &Config,
        output: &Output,
        now: DateTime<Utc>,
        end: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        if self.end_unused.is_some_and(|span| span >= self.overlap) {
            return Err(Failure::Usage(
                "--end-unused: the old one ends with its --overlap, so that a span as long as that says nothing"
                    .to_owned(),
            ));
        }
        let how = How { overlap: self.overlap, ends_unused: self.end_unused, expires_at: end, short: self.short };
        match (self.id, self.selection.is_empty()) {
            (None, true) => {
                Err(Failure::Usage("name an ID, or what several have in common, such as --owner".to_owned()))
            }
            (Some(_), false) => Err(Failure::Usage("name either an ID, or what several have in common".to_owned())),
            (Some(id), true) => one(ops, config, output, &id, &how).await,
            (None, false) => {
                let mut rows = selected(ops, &self.selection, now).await?;
                // One that is being rotated has its successor already.
                let are_rotating = rows.iter().filter(|row| row.state == PasswordState::Rotating).count();
                rows.retain(|row| row.state == PasswordState::Active);
                if rows.is_empty() && are_rotating > 0 {
                    output.note(&format!("{are_rotating} left out: others are in their place already"));
                }
                if rows.is_empty() && are_rotating == 0 {
                    return nobody(ops, output, &self.selection, now).await;
                }
                // Nor one that has just been issued in the place of another: whoever gives this command twice would put a third one there
                // before anybody has the second.
                let old: HashSet<String> = ops
                    .passwords()
                    .await?
                    .into_iter()
                    .filter(|row| row.state.is_in_force())
                    .map(|row| row.id)
                    .collect();
                let all = rows.len();
                rows.retain(|row| {
                    row.last_used_at.is_some() || row.replaces.as_ref().is_none_or(|id| !old.contains(id))
                });
                if rows.len() < all {
                    output.note(&format!(
                        "{} left out: issued in the place of others that still work, and not used by anybody yet (each can be rotated by its ID)",
                        all - rows.len()
                    ));
                }
                if rows.is_empty() {
                    return if output.is_json() { JsonArray::new(output).end() } else { Ok(()) };
                }
                if self.yes {
                    return several(ops, output, &rows, &how).await;
                }
                list(output, &rows)?;
                output.note("nothing is rotated yet; the same command with --yes rotates these");
                Ok(())
            }
        }
    }
}

async fn one(ops: &Ops, config: &Config, output: &Output, id: &str, how: &How) -> Result<(), Failure> {
    let rotated = ops.rotate_password(id, how).await?;
    if let Err(failure) = hand_out(output, config, &rotated.issued) {
        return Err(take_back(ops, &rotated, failure).await);
    }
    let sooner = how
        .ends_unused
        .map(|span| format!(", or until it was not used for {} while the new one is", tables::span_words(span)));
    output.note(&format!(
        "The old one, {id}, works until {}{} (`postern password list` shows who still uses it).",
        timestamp(rotated.old_ends_at),
        sooner.unwrap_or_default()
    ));
    Ok(())
}

/// Each is printed before the next is rotated: whoever breaks this off has those that were changed.
async fn several(ops: &Ops, output: &Output, rows: &[PasswordRow], how: &How) -> Result<(), Failure> {
    let mut array = output.is_json().then(|| JsonArray::new(output));
    let mut failed = None;
    for row in rows {
        let rotated = match ops.rotate_password(&row.id, how).await {
            Ok(rotated) => rotated,
            Err(error) => {
                failed = Some(error.into());
                break;
            }
        };
        let new = &rotated.issued;
        let printed = match &mut array {
            Some(array) => array.push(&document(new)),
            None => output.data(&Zeroizing::new(format!(
                "{}\t{}\t{}\t{}\t{}\n",
                new.row.mailbox,
                new.row.label,
                row.id,
                new.row.id,
                new.password.expose()
            ))),
        };
        if let Err(failure) = printed {
            return Err(take_back(ops, &rotated, failure).await);
        }
    }
    // Those before it are printed.
    let ended = array.map_or(Ok(()), JsonArray::end);
    if let Some(failure) = failed {
        return Err(failure);
    }
    ended?;
    output.note(&format!(
        "{} rotated; the old ones work for a while (`postern password list` shows who still uses them)",
        rows.len()
    ));
    Ok(())
}

/// The same for one in another's place: the old one works on as before.
async fn take_back(ops: &Ops, rotated: &Rotated, failure: Failure) -> Failure {
    let why = match failure {
        Failure::Operation { message, .. } => message,
        Failure::ReaderGone => "the reader of stdout has gone".to_owned(),
        other => return other,
    };
    let id = &rotated.issued.row.id;
    let unseen = format!("{why}: nobody has seen the new app password {id}");
    match ops.undo_rotation(rotated).await {
        Ok(()) => Failure::operation(
            "password-not-shown",
            format!("{unseen}; it is revoked again, and the old one works as before"),
            "Let the output go where it can be written, and rotate again.",
        ),
        Err(error) => Failure::operation(
            "password-not-shown",
            format!("{unseen}, and that could not be taken back: {}", with_causes(&error)),
            format!("Run `postern password revoke {id}`, and issue another one before the old one ends."),
        ),
    }
}
