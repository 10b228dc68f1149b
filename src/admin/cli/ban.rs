//! `postern ban`: addresses from which too much was guessed.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::listing;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values;
use crate::admin::ops::Ops;
use crate::admin::tables::{self, timestamp};
use crate::store::BanRecord;

/// See and lift the bans of addresses from which too much was guessed
///
/// Whoever tries a hundred different passwords within an hour, and has not had a right one at that address, is turned away for 15 minutes;
/// four times as long the next time, up to a day.
#[derive(Args, Debug)]
pub(super) struct BanGroup {
    #[command(subcommand)]
    command: BanCommand,
}

#[derive(Subcommand, Debug)]
enum BanCommand {
    List(List),
    Lift(Lift),
}

/// List the addresses that are banned now
#[derive(Args, Debug)]
struct List {
    /// Also bans of the last seven days that are over
    #[arg(long)]
    all: bool,
}

/// Lift bans, within 5 seconds
#[derive(Args, Debug)]
struct Lift {
    /// An address, or a network for all that are in it
    #[arg(value_name = "ADDRESS-or-CIDR", value_parser = network)]
    network: IpNet,
}

fn network(text: &str) -> Result<IpNet, String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(address.to_canonical().into()),
        Err(_) => values::network(text),
    }
}

#[derive(Serialize)]
struct Document {
    address: String,
    since: String,
    until: String,
    active: bool,
    times: u32,
    tries: u32,
}

impl Document {
    fn new(ban: &BanRecord, now: DateTime<Utc>) -> Self {
        Self {
            address: ban.network.to_string(),
            since: timestamp(ban.since),
            until: timestamp(ban.until),
            active: ban.until > now,
            times: ban.strikes,
            tries: ban.tries,
        }
    }
}

impl BanGroup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        let (output, now) = (&set_up.output, set_up.now());
        set_up.wait_for(async {
            let ops = Ops::open_existing(&config, None).await?;
            match self.command {
                BanCommand::List(List { all }) => {
                    let mut bans = ops.bans().await?;
                    bans.retain(|ban| all || ban.until > now);
                    if output.is_json() {
                        return output.json(&bans.iter().map(|ban| Document::new(ban, now)).collect::<Vec<_>>());
                    }
                    if bans.is_empty() {
                        output.note("no address is banned");
                        return Ok(());
                    }
                    listing::print(output, tables::bans(&bans, now))
                }
                BanCommand::Lift(Lift { network }) => {
                    let lifted = ops.lift_bans(&network).await?;
                    if output.is_json() {
                        return output.json(&lifted.iter().map(|ban| Document::new(ban, now)).collect::<Vec<_>>());
                    }
                    if lifted.is_empty() {
                        output.note(&format!("nothing in {network} was banned"));
                    }
                    for ban in &lifted {
                        output.note(&format!("{} is let in again within 5 seconds", ban.network));
                    }
                    Ok(())
                }
            }
        })
    }
}
