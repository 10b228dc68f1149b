//! `postern audit`: who did what, and who logged in.

use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::listing;
use crate::admin::cli::output::{Output, Tone};
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values;
use crate::admin::ops::Ops;
use crate::admin::tables::{self, timestamp};
use crate::base::Mailbox;
use crate::store::{AuditFilter, AuditKind, AuditRecord};
use crate::telemetry::audit::{Broken, Findings, Settled, Verified};

/// Entries that are read together when everything is exported.
const PAGE: u32 = 1000;

/// See who did what, and who logged in; prove that nothing of it was changed
#[derive(Args, Debug)]
pub(super) struct AuditGroup {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand, Debug)]
enum AuditCommand {
    List(List),
    Verify(Verify),
    Settle(Settle),
    Export(Export),
}

/// List what administrators did and who logged in, the newest first
///
/// Logins with a wrong password are counted by address and minute behind the first one. How long the trail reaches back is `keep` under
/// [audit] in the configuration.
#[derive(Args, Debug)]
struct List {
    /// Only this
    #[arg(long, value_enum)]
    kind: Option<KindWish>,
    /// Only what concerns this mailbox
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    mailbox: Option<Mailbox>,
    /// Only what concerns the app password with this ID
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only the last span of time, such as 24h or 7d
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    since: Option<chrono::Duration>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindWish {
    /// What administrators did
    Act,
    /// Logins that succeeded
    Login,
    /// Logins with the right app password that were refused
    LoginRefused,
    /// Logins without one
    Strangers,
}

/// Look whether anything in the trail was changed, put in or taken away; 1 if so
///
/// Each entry is sealed together with the one before it, by a key that is not in the store. Note the newest seal elsewhere from time to
/// time: it also shows when a whole older store was put back.
#[derive(Args, Debug)]
struct Verify {}

/// Say that what `verify` found was looked into, so that it shows what is new
///
/// What is wrong with a chain, and how it stands there, is noted in a chain that is whole. Where this data folder's own is broken, another one begins,
/// and Postern must not be running. A chain that is changed once more is called broken again.
#[derive(Args, Debug)]
struct Settle {
    /// What came of it, such as "restored from the backup of Monday"
    #[arg(long, value_name = "TEXT", value_parser = values::label)]
    reason: Option<String>,
}

/// Print the trail as JSON lines, the oldest first, for a SIEM
#[derive(Args, Debug)]
struct Export {
    /// Only what stands behind this one, as INSTANCE:NUMBER; may be repeated, once for each instance
    #[arg(long, value_name = "INSTANCE:NUMBER", value_parser = place)]
    after: Vec<(String, u64)>,
}

fn place(text: &str) -> Result<(String, u64), String> {
    let read = |(instance, number): (&str, &str)| Some((instance.to_owned(), number.parse().ok()?));
    text.split_once(':')
        .and_then(read)
        .ok_or_else(|| "write it as the last line had it, such as k7m2qx4b:118".to_owned())
}

#[derive(Serialize)]
struct Document<'a> {
    instance: &'a str,
    number: u64,
    at: String,
    kind: &'static str,
    mailbox: Option<&'a str>,
    password_id: Option<&'a str>,
    #[serde(flatten)]
    details: Value,
}

#[derive(Serialize)]
struct VerifyDocument<'a> {
    intact: bool,
    chains: &'a [Verified],
    broken: &'a [Broken],
    settled: &'a [Settled],
}

impl AuditGroup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        set_up.wait_for(async {
            let mut ops = Ops::open_existing(&config, None).await?;
            match self.command {
                AuditCommand::List(list) => list.run(&ops, &set_up.output).await,
                AuditCommand::Verify(Verify {}) => verify(&ops, &set_up.output).await,
                AuditCommand::Settle(settle) => settle.run(&mut ops, &set_up.output).await,
                AuditCommand::Export(export) => export.run(&ops, &set_up.output).await,
            }
        })
    }
}

impl List {
    async fn run(self, ops: &Ops, output: &Output) -> Result<(), Failure> {
        let filter = AuditFilter {
            since: self.since.and_then(|span| Utc::now().checked_sub_signed(span)),
            kind: self.kind.map(|wish| match wish {
                KindWish::Act => AuditKind::Act,
                KindWish::Login => AuditKind::Login,
                KindWish::LoginRefused => AuditKind::LoginRefused,
                KindWish::Strangers => AuditKind::Strangers,
            }),
            mailbox: self.mailbox,
            password_id: self.id,
        };
        let records = ops.audit(&filter, self.limit).await?;
        if output.is_json() {
            return output.json(&records.iter().map(document).collect::<Vec<_>>());
        }
        if records.is_empty() {
            output.note("the audit trail has nothing of that");
            return Ok(());
        }
        if u32::try_from(records.len()).is_ok_and(|found| found == self.limit) {
            output.note(&format!("these are the newest {}; --limit shows more", self.limit));
        }
        listing::print(output, tables::audit(&records))
    }
}

impl Export {
    async fn run(self, ops: &Ops, output: &Output) -> Result<(), Failure> {
        for instance in ops.audit_instances().await? {
            let behind = self.after.iter().find(|(name, _)| *name == instance);
            let mut number = behind.map_or(0, |(_, number)| *number);
            loop {
                let page = ops.audit_behind(&instance, number, PAGE).await?;
                let mut lines = String::new();
                for record in &page {
                    number = record.number;
                    // What is read from the store can be written again.
                    lines.push_str(&serde_json::to_string(&document(record)).unwrap_or_default());
                    lines.push('\n');
                }
                if !lines.is_empty() {
                    output.data(&lines)?;
                }
                if u32::try_from(page.len()).is_ok_and(|found| found < PAGE) {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Settle {
    async fn run(self, ops: &mut Ops, output: &Output) -> Result<(), Failure> {
        let settled = ops.settle_audit(self.reason.as_deref()).await?;
        if output.is_json() {
            return output.json(&settled);
        }
        if settled.is_empty() {
            output.note("nothing is broken that is not settled already");
        }
        for fault in &settled {
            output.note(&format!(
                "{}: settled; `postern audit verify` names it, and calls it broken no more",
                told(fault)
            ));
        }
        Ok(())
    }
}

async fn verify(ops: &Ops, output: &Output) -> Result<(), Failure> {
    let Findings { chains, broken, settled } = ops.verify_audit().await?;
    if output.is_json() {
        output.json(&VerifyDocument {
            intact: broken.is_empty(),
            chains: &chains,
            broken: &broken,
            settled: &settled,
        })?;
    } else {
        for chain in &chains {
            let pruned = match chain.pruned {
                0 => String::new(),
                number => format!(", the first {number} were pruned"),
            };
            output.data(&format!(
                "{}: {} entries up to number {}{pruned}; its newest seal is {}\n",
                chain.instance, chain.entries, chain.newest, chain.newest_seal
            ))?;
        }
        for one in &settled {
            let reason = one.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            output.data(&format!(
                "{}: not intact at number {} ({}), settled on {} by {}{reason}\n",
                one.instance,
                one.number,
                one.why,
                timestamp(one.at),
                one.by
            ))?;
        }
    }
    let Some(first) = broken.first() else {
        output.note(match settled.is_empty() {
            true => "nothing was changed, put in or taken away",
            false => "nothing was changed, put in or taken away since",
        });
        return Ok(());
    };
    for fault in broken.iter().skip(1) {
        output.problem(Tone::Error, &told(fault), None);
    }
    Err(Failure::operation(
        "audit-broken",
        told(first),
        "Somebody has written to the store past Postern, or it was restored in part. Keep it as it is, and compare it with a backup and with \
         what `postern audit export` gave before; `postern explain audit-broken` says more.",
    ))
}

fn told(fault: &Broken) -> String {
    format!("the audit trail of {} is not intact at number {}: {}", fault.instance, fault.number, fault.why)
}

fn document(record: &AuditRecord) -> Document<'_> {
    Document {
        instance: &record.instance,
        number: record.number,
        at: timestamp(record.entry.at),
        kind: record.entry.kind.name(),
        mailbox: record.entry.mailbox.as_ref().map(Mailbox::as_str),
        password_id: record.entry.password_id.as_deref(),
        details: tables::details(record),
    }
}
