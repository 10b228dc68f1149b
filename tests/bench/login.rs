//! What a login costs in processor time, by each protocol and with few and many app passwords in the store, next to a connection
//! through a plain TLS forwarder whose client logs in at the far side itself.
//!
//! `cargo bench --bench login -- --logins 1000 --passwords 10000`

mod common;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use postern::base::{Mailbox, Protocol};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::common::client::{Client, Place, User};
use crate::common::ground::{self, Ground, Way};
use crate::common::process::Cost;
use crate::common::report::Report;

/// What a login costs in processor time
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How many logins by each protocol
    #[arg(long, default_value_t = 1000)]
    logins: usize,
    /// How many at a time
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// How many app passwords there are in the full store
    #[arg(long, default_value_t = 10_000)]
    passwords: usize,
    /// After how many seconds a login counts as hanging
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// Measure Postern alone, by this protocol, with few app passwords: for a look with a profiler
    #[arg(long)]
    only: Option<Protocol>,
}

/// How many mailboxes, each with one app password, there are before the store is filled.
const FEW: usize = 10;

fn main() -> ExitCode {
    common::main(run)
}

async fn run(options: Options) -> Result<bool> {
    ensure!(options.logins > 0 && options.at_once > 0, "nothing to measure");
    let ground = Ground::new(FEW).await?;
    if let Some(protocol) = options.only {
        let outcome = measure(&ground, Way::Postern, protocol, &options).await?;
        println!("{:.3} ms", outcome.cpu_ms());
        return Ok(outcome.failed == 0);
    }
    let mut forwarder = Vec::new();
    let mut few = Vec::new();
    for protocol in Protocol::ALL {
        forwarder.push(measure(&ground, Way::Forwarder, protocol, &options).await?);
        few.push(measure(&ground, Way::Postern, protocol, &options).await?);
    }
    fill(&ground, options.passwords).await?;
    let mut many = Vec::new();
    for protocol in Protocol::ALL {
        many.push(measure(&ground, Way::Postern, protocol, &options).await?);
    }
    let (cost, time) = change(&ground, &options).await?;

    let filled = format!("Postern, {} app passwords", options.passwords);
    let mut report = Report::new(&[
        "CPU ms per login",
        "forwarder",
        &format!("Postern, {FEW} app passwords"),
        &filled,
        "ratio to few",
    ]);
    for (place, protocol) in Protocol::ALL.iter().enumerate() {
        let figures = [&forwarder, &few, &many].map(|outcomes| outcomes.get(place).map(Outcome::cpu_ms));
        report.figures(protocol.name(), 3, &figures);
    }
    report.print();
    println!(
        "the first login after a change of the store with {} app passwords: {} ms of CPU, {} ms",
        options.passwords,
        cost.cpu.as_millis(),
        time.as_millis()
    );
    let failed: usize = [&forwarder, &few, &many].into_iter().flatten().map(|outcome| outcome.failed).sum();
    if failed > 0 {
        println!("{failed} logins were refused or hung\n{}", ground.log());
    }
    Ok(failed == 0)
}

struct Outcome {
    logins: usize,
    failed: usize,
    cost: Cost,
}

impl Outcome {
    fn cpu_ms(&self) -> f64 {
        self.cost.cpu_ms_each(self.logins as f64)
    }
}

async fn measure(ground: &Ground, way: Way, protocol: Protocol, options: &Options) -> Result<Outcome> {
    let (process, place) = ground.open(way, protocol).await?;
    let process = process.context("nothing stands on this way")?;
    let patience = Duration::from_secs(options.patience);
    // The first ones ask for a token and fill what is filled once.
    for user in &ground.users {
        timeout(patience, log_in_and_out(place.clone(), Arc::clone(user))).await??;
    }
    sleep(Duration::from_secs(1)).await;

    let before = process.used()?;
    let mut tasks = JoinSet::new();
    for first in 0..options.at_once {
        let (place, users) = (place.clone(), ground.users.clone());
        let numbers = (first..options.logins).step_by(options.at_once);
        tasks.spawn(async move {
            let mut failed = 0;
            for number in numbers {
                let Some(user) = users.get(number % FEW) else { continue };
                match timeout(patience, log_in_and_out(place.clone(), Arc::clone(user))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        eprintln!("{way:?}, {protocol}: refused: {error:#}");
                        failed += 1;
                    }
                    Err(_) => {
                        eprintln!("{way:?}, {protocol}: hung");
                        failed += 1;
                    }
                }
            }
            failed
        });
    }
    let failed = tasks.join_all().await.into_iter().sum();
    let cost = process.used()? - before;
    process.stop().await?;
    Ok(Outcome { logins: options.logins, failed, cost })
}

async fn log_in_and_out(place: Place, user: Arc<User>) -> Result<()> {
    Client::log_in(&place, &user).await?.log_out(place.protocol).await
}

/// Issues app passwords until there are so many.
async fn fill(ground: &Ground, passwords: usize) -> Result<()> {
    let mailboxes: Vec<Mailbox> = ground.users.iter().map(|user| user.address.parse()).collect::<Result<_, _>>()?;
    for number in FEW..passwords {
        ground::issue(&ground.ops, mailboxes.get(number % FEW).context("no mailbox")?).await?;
    }
    Ok(())
}

/// Changes the store while Postern runs, and logs in at once.
async fn change(ground: &Ground, options: &Options) -> Result<(Cost, Duration)> {
    let (process, place) = ground.open(Way::Postern, Protocol::Smtp).await?;
    let process = process.context("nothing stands on this way")?;
    let user = ground.users.first().context("no mailbox")?;
    let patience = Duration::from_secs(options.patience);
    timeout(patience, log_in_and_out(place.clone(), Arc::clone(user))).await??;
    sleep(Duration::from_secs(1)).await;
    let before = process.used()?;
    ground::issue(&ground.ops, &user.address.parse()?).await?;
    let began = Instant::now();
    timeout(patience, log_in_and_out(place, Arc::clone(user))).await??;
    let time = began.elapsed();
    let cost = process.used()? - before;
    process.stop().await?;
    Ok((cost, time))
}
