//! `postern mailbox`: the list of mailboxes that may be used, and their sign-ins.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::admin::cli::connect;
use crate::admin::cli::failure::Failure;
use crate::admin::cli::listing;
use crate::admin::cli::output::Output;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values;
use crate::admin::cli::view::MailboxDocument;
use crate::admin::ops::{Added, MailboxRow, MailboxState, Ops, Removed};
use crate::admin::tables;
use crate::base::{Mailbox, Secret};

/// Let mailboxes be used, and sign them in
///
/// Nothing outside this list is reachable, whatever the tenant lets the application do.
#[derive(Args, Debug)]
pub(super) struct MailboxGroup {
    #[command(subcommand)]
    command: MailboxCommand,
}

#[derive(Subcommand, Debug)]
enum MailboxCommand {
    Add(Add),
    Alias(Alias),
    List(List),
    Show(Show),
    Disable(Disable),
    Enable(Enable),
    Remove(Remove),
    Connect(connect::Connect),
    Disconnect(Disconnect),
}

/// Let a mailbox be used
///
/// Adding one again is no fault and adds new aliases.
#[derive(Args, Debug)]
struct Add {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
    /// Its tenant; may be left out when there is one
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// A further login name. It is no right to send as that address
    #[arg(long = "alias", value_name = "LOGIN", value_parser = values::login)]
    aliases: Vec<String>,
    /// The account that signs in for it, such as a person's for a shared mailbox
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    sign_in_as: Option<Mailbox>,
}

/// Change the further login names of a mailbox
///
/// A name that is taken from it is refused from the next login on. The address itself is no alias and stays.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["add", "remove"])))]
struct Alias {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
    /// A further login name; can be repeated
    #[arg(long, value_name = "LOGIN", value_parser = values::login)]
    add: Vec<String>,
    /// An alias that is to be one no more; can be repeated
    #[arg(long, value_name = "LOGIN", value_parser = values::login)]
    remove: Vec<String>,
}

/// List the mailboxes, each with the reason in short if it cannot be used
#[derive(Args, Debug)]
struct List {}

/// Show one mailbox; if it cannot be used, why and what to do
#[derive(Args, Debug)]
struct Show {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
}

/// Keep a mailbox on the list, but let nobody use it
#[derive(Args, Debug)]
struct Disable {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
}

/// Let a disabled mailbox be used again
#[derive(Args, Debug)]
struct Enable {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
}

/// Take a mailbox off the list: revokes its app passwords and destroys its tokens
#[derive(Args, Debug)]
struct Remove {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
}

/// Destroy the sign-in of a mailbox
#[derive(Args, Debug)]
struct Disconnect {
    /// The address of the mailbox
    #[arg(value_parser = values::address)]
    address: Mailbox,
}

#[derive(Serialize)]
struct RemovedDocument<'a> {
    address: &'a str,
    revoked_passwords: u64,
    held_messages: u64,
}

impl MailboxGroup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        // Read before anything is opened, so that a missing file changes nothing.
        let token = match &self.command {
            MailboxCommand::Connect(connect) => connect.way.read_token()?,
            _ => None,
        };
        set_up.wait_for(async {
            let ops = match &self.command {
                MailboxCommand::Add(_) => Ops::open(&config).await?,
                other => Ops::open_existing(&config, other.address()).await?,
            };
            self.command.run(&ops, &set_up.output, token).await
        })
    }
}

impl MailboxCommand {
    /// The mailbox that it is about.
    fn address(&self) -> Option<&Mailbox> {
        match self {
            Self::Add(Add { address, .. })
            | Self::Alias(Alias { address, .. })
            | Self::Show(Show { address })
            | Self::Disable(Disable { address })
            | Self::Enable(Enable { address })
            | Self::Remove(Remove { address })
            | Self::Connect(connect::Connect { address, .. })
            | Self::Disconnect(Disconnect { address }) => Some(address),
            Self::List(List {}) => None,
        }
    }

    async fn run(self, ops: &Ops, output: &Output, token: Option<Secret<String>>) -> Result<(), Failure> {
        match self {
            Self::Add(Add { address, tenant, aliases, sign_in_as }) => {
                let before = ops.mailboxes().await?.into_iter().find(|row| row.address == address);
                let added = ops.add_mailbox(&address, tenant.as_deref(), &aliases, sign_in_as.as_ref()).await?;
                let row = ops.mailbox(&address).await?;
                let what = match (added, before) {
                    (Added::Already, Some(before)) => format!("was on the list already{}", changes(&before, &row)),
                    _ => "is on the list".to_owned(),
                };
                output.note(&format!("{address} {what}, tenant {}: {}", row.tenant, row.state_word()));
                if row.state == MailboxState::NeedsSignIn {
                    output.note(&format!("next: postern mailbox connect {address}"));
                } else if row.state == MailboxState::Ready {
                    output.note(&format!("next: postern password issue {address} --label TEXT"));
                }
                document(output, &row)
            }
            Self::Alias(Alias { address, add, remove }) => {
                // Refused for a mailbox that is not on the list, which adding would put there.
                ops.mailbox(&address).await?;
                if !remove.is_empty() {
                    ops.remove_aliases(&address, &remove).await?;
                }
                if !add.is_empty() {
                    ops.add_mailbox(&address, None, &add, None).await?;
                }
                let row = ops.mailbox(&address).await?;
                let aliases = if row.aliases.is_empty() { "none".to_owned() } else { row.aliases.join(", ") };
                output.note(&format!("aliases of {address}: {aliases}"));
                document(output, &row)
            }
            Self::List(List {}) => list(output, &ops.mailboxes().await?),
            Self::Show(Show { address }) => show(output, &ops.mailbox(&address).await?),
            Self::Disable(Disable { address }) => {
                ops.disable_mailbox(&address).await?;
                output.note(&format!("{address} is disabled; its open sessions end within 5 seconds"));
                document(output, &ops.mailbox(&address).await?)
            }
            Self::Enable(Enable { address }) => {
                ops.enable_mailbox(&address).await?;
                let row = ops.mailbox(&address).await?;
                output.note(&format!("{address} is enabled: {}", row.state_word()));
                document(output, &row)
            }
            Self::Remove(Remove { address }) => {
                let Removed { revoked_passwords, held_messages } = ops.remove_mailbox(&address).await?;
                let passwords = if revoked_passwords == 1 { "app password was" } else { "app passwords were" };
                output.note(&format!(
                    "{address} is off the list; {revoked_passwords} {passwords} revoked, its tokens are destroyed"
                ));
                if held_messages > 0 {
                    output.note(&format!(
                        "{held_messages} of its messages were waiting and are held (postern queue list)"
                    ));
                }
                if output.is_json() {
                    output.json(&RemovedDocument { address: address.as_str(), revoked_passwords, held_messages })?;
                }
                Ok(())
            }
            Self::Connect(connect) => connect.run(ops, output, token).await,
            Self::Disconnect(Disconnect { address }) => {
                let there_was_one = ops.disconnect(&address).await?;
                let what = if there_was_one { "its sign-in is destroyed" } else { "there was no sign-in" };
                output.note(&format!("{address}: {what}"));
                document(output, &ops.mailbox(&address).await?)
            }
        }
    }
}

/// What adding a mailbox again has changed.
fn changes(before: &MailboxRow, now: &MailboxRow) -> String {
    let mut changes = Vec::new();
    let new: Vec<&str> =
        now.aliases.iter().filter(|alias| !before.aliases.contains(alias)).map(String::as_str).collect();
    if !new.is_empty() {
        changes.push(format!("new aliases: {}", new.join(", ")));
    }
    let account = |row: &MailboxRow| row.sign_in_as.as_ref().unwrap_or(&row.address).to_string();
    if account(before) != account(now) {
        changes.push(format!("{} signs in for it from now on, no more {}", account(now), account(before)));
    }
    if changes.is_empty() { String::new() } else { format!("; {}", changes.join("; ")) }
}

/// What a program is told after a change.
pub(super) fn document(output: &Output, row: &MailboxRow) -> Result<(), Failure> {
    if output.is_json() { output.json(&MailboxDocument::from(row)) } else { Ok(()) }
}

fn list(output: &Output, rows: &[MailboxRow]) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&rows.iter().map(MailboxDocument::from).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        output.note("no mailbox is on the list; add one with `postern mailbox add ADDRESS`");
        return Ok(());
    }
    listing::print(output, tables::mailboxes(rows))
}

fn show(output: &Output, row: &MailboxRow) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&MailboxDocument::from(row));
    }
    listing::facts(output, tables::mailbox(row))
}
