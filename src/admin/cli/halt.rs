//! `postern halt` and `postern resume`: everything, or one tenant, stops at once and goes on again.

use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values;
use crate::admin::ops::Ops;
use crate::admin::tables::timestamp;

/// Stop everything, or one tenant, for now: when something is wrong and nobody knows yet what
///
/// Within 5 seconds nothing goes to Exchange any more: IMAP and POP3 sessions end and logins are refused as for a disabled mailbox, SMTP is
/// answered `451 4.7.0`, and mail in the queue waits without ageing. Nothing is revoked or lost; `postern resume` lets it go on.
#[derive(Args, Debug)]
pub(super) struct HaltCommand {
    /// This tenant alone
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Why, for whoever finds it halted
    #[arg(long, value_name = "TEXT", value_parser = values::label)]
    reason: Option<String>,
}

/// Let what was halted go on
#[derive(Args, Debug)]
pub(super) struct ResumeCommand {
    /// This tenant; without it, everything that was halted as a whole
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    tenant: Option<&'a str>,
    halted: bool,
}

impl HaltCommand {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        set_up.wait_for(async {
            let ops = Ops::open_existing(&config, None).await?;
            let what = named(self.tenant.as_deref());
            let go_on = self.tenant.as_deref().map(|name| format!(" --tenant {name}")).unwrap_or_default();
            match ops.halt(self.tenant.as_deref(), self.reason).await? {
                None => set_up.output.note(&format!(
                    "{what} is halted; within 5 seconds nothing of it goes to Exchange. To go on: postern resume{go_on}"
                )),
                Some(since) => set_up.output.note(&format!(
                    "{what} was halted already, since {}. To go on: postern resume{go_on}",
                    timestamp(since)
                )),
            }
            tell(set_up, self.tenant.as_deref(), true)
        })
    }
}

impl ResumeCommand {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        set_up.wait_for(async {
            let ops = Ops::open_existing(&config, None).await?;
            let what = named(self.tenant.as_deref());
            match ops.resume(self.tenant.as_deref()).await? {
                true => set_up.output.note(&format!("{what} goes on")),
                false => set_up.output.note(&format!("{what} was not halted")),
            }
            for halt in ops.halts().await? {
                let what = named(halt.tenant.as_ref().map(|tenant| tenant.as_str()));
                set_up.output.note(&format!("{what} is still halted"));
            }
            tell(set_up, self.tenant.as_deref(), false)
        })
    }
}

fn named(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "everything".to_owned(), |name| format!("the tenant `{name}`"))
}

fn tell(set_up: &SetUp, tenant: Option<&str>, halted: bool) -> Result<(), Failure> {
    if set_up.output.is_json() { set_up.output.json(&Document { tenant, halted }) } else { Ok(()) }
}
