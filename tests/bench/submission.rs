//! Messages by SMTP, small and large, each over a connection of its own and many over one: through a plain TLS forwarder, through Postern
//! where nothing is kept (`direct`), and as it is by default (`assured`), with a draft of each message on disk. And how much memory many
//! large messages at once take.
//!
//! `cargo bench --bench submission`

mod common;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use futures::future::try_join_all;
use postern::base::Protocol;
use postern::store::DeliveryMode;
use tokio::time::timeout;

use crate::common::client::{Client, Place, User};
use crate::common::content::message;
use crate::common::ground::{Ground, Way, issue_for};
use crate::common::process::{Cost, Measured, Used};
use crate::common::report::Report;

/// Messages by SMTP, small and large, over new connections and over one
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How many small messages (2 KiB)
    #[arg(long, default_value_t = 500)]
    small: usize,
    /// How many large ones
    #[arg(long, default_value_t = 6)]
    large: usize,
    /// The size of a large one, in MiB
    #[arg(long, default_value_t = 25)]
    large_mib: usize,
    /// How many messages at once, for memory
    #[arg(long, default_value_t = 20)]
    at_once: usize,
    /// The size of each of them, in MiB
    #[arg(long, default_value_t = 100)]
    at_once_mib: usize,
    /// After how many seconds a measurement counts as hanging
    #[arg(long, default_value_t = 600)]
    patience: u64,
}

fn main() -> ExitCode {
    common::main(run)
}

/// What one measurement took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    time: Duration,
    cost: Cost,
}

#[derive(Debug)]
struct Outcome {
    small_reused: Taken,
    small_new: Taken,
    large_reused: Taken,
    large_new: Taken,
    at_once: Taken,
}

async fn run(options: Options) -> Result<bool> {
    let mut outcomes = Vec::new();
    for (way, mode) in [
        (Way::Postern, DeliveryMode::Direct),
        (Way::Forwarder, DeliveryMode::Direct),
        (Way::Postern, DeliveryMode::Assured),
    ] {
        // The tenant keeps every message in memory, so each has one of its own.
        let measured = timeout(Duration::from_secs(options.patience), measure(way, mode, &options)).await;
        let measured = measured.with_context(|| format!("{way:?} {mode:?} did not end in time"))?;
        outcomes.push(measured.with_context(|| format!("{way:?} {mode:?}"))?);
    }
    let mut report = Report::new(&["", "Postern, direct", "forwarder", "Postern, assured", "ratio"]);
    let mut lines = |name: &str, count: usize, taken: &dyn Fn(&Outcome) -> Taken| {
        let count = count as f64;
        let figures = |figure: &dyn Fn(Taken) -> f64| {
            outcomes.iter().map(|outcome| Some(figure(taken(outcome)))).collect::<Vec<_>>()
        };
        report.figures(&format!("{name}, per second"), 1, &figures(&|taken| count / taken.time.as_secs_f64()));
        report.figures("CPU ms each", 2, &figures(&|taken| taken.cost.cpu_ms_each(count)));
    };
    let (small, large) = (options.small, options.large);
    lines("2 KiB over one connection", small, &|outcome| outcome.small_reused);
    lines("2 KiB, a connection each", small, &|outcome| outcome.small_new);
    lines(&format!("{} MiB over one connection", options.large_mib), large, &|outcome| outcome.large_reused);
    lines(&format!("{} MiB, a connection each", options.large_mib), large, &|outcome| outcome.large_new);
    lines(&format!("{} of {} MiB at once", options.at_once, options.at_once_mib), options.at_once, &|outcome| {
        outcome.at_once
    });
    let peak = |outcome: &Outcome| Some(outcome.at_once.cost.peak_kib as f64 / 1024.0);
    report.figures("growth of peak memory by these, MiB", 1, &outcomes.iter().map(peak).collect::<Vec<_>>());
    report.print();
    Ok(true)
}

async fn measure(way: Way, mode: DeliveryMode, options: &Options) -> Result<Outcome> {
    let ground = Ground::new(1).await?;
    let first = ground.users.first().context("no mailbox")?;
    let password = issue_for(&ground.ops, &first.address.parse()?, mode).await?;
    let user = Arc::new(User { address: first.address.clone(), password, xoauth2: first.xoauth2.clone() });
    let (process, place) = ground.open(way, Protocol::Smtp).await?;
    let process = process.context("a process is measured")?;
    let (small, large) = (message(0), message(options.large_mib));
    over_one(&place, &user, &small, 5).await?;

    let meter = Meter::start(&process)?;
    over_one(&place, &user, &small, options.small).await?;
    let small_reused = meter.stop(&process)?;
    let meter = Meter::start(&process)?;
    each_its_own(&place, &user, &small, options.small).await?;
    let small_new = meter.stop(&process)?;
    let meter = Meter::start(&process)?;
    over_one(&place, &user, &large, options.large).await?;
    let large_reused = meter.stop(&process)?;
    let meter = Meter::start(&process)?;
    each_its_own(&place, &user, &large, options.large).await?;
    let large_new = meter.stop(&process)?;
    process.stop().await?;

    // A fresh process, so that nothing that came before hides what these take. Each has a mailbox of its own, as Exchange takes three at
    // once of one.
    let ground = Ground::new(options.at_once).await?;
    let (process, place) = ground.open(way, Protocol::Smtp).await?;
    let process = process.context("a process is measured")?;
    let mut clients = Vec::with_capacity(options.at_once);
    for user in &ground.users {
        let password = issue_for(&ground.ops, &user.address.parse()?, mode).await?;
        let user = Arc::new(User { address: user.address.clone(), password, xoauth2: user.xoauth2.clone() });
        let mut client = Client::log_in(&place, &user).await?;
        client.submit(&user, &small).await?;
        clients.push((client, user));
    }
    let content: Arc<[u8]> = message(options.at_once_mib).into();
    let meter = Meter::start(&process)?;
    try_join_all(clients.iter_mut().map(|(client, user)| client.submit(user, &content))).await?;
    let at_once = meter.stop(&process)?;
    process.stop().await?;
    Ok(Outcome { small_reused, small_new, large_reused, large_new, at_once })
}

async fn over_one(place: &Place, user: &User, content: &[u8], count: usize) -> Result<()> {
    let mut client = Client::log_in(place, user).await?;
    for _ in 0..count {
        client.submit(user, content).await?;
    }
    client.log_out(Protocol::Smtp).await
}

async fn each_its_own(place: &Place, user: &User, content: &[u8], count: usize) -> Result<()> {
    for _ in 0..count {
        over_one(place, user, content, 1).await?;
    }
    Ok(())
}

struct Meter {
    began: Instant,
    used: Used,
}

impl Meter {
    fn start(process: &Measured) -> Result<Self> {
        Ok(Self { used: process.used()?, began: Instant::now() })
    }

    fn stop(self, process: &Measured) -> Result<Taken> {
        Ok(Taken { time: self.began.elapsed(), cost: process.used()? - self.used })
    }
}
