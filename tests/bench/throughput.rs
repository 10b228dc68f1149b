//! Large messages down by IMAP and up by SMTP, and many small ones: directly to the far side, through a plain TLS forwarder, and
//! through Postern. Also how much memory the largest message takes that Exchange accepts.
//!
//! `cargo bench --bench throughput`

mod common;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use postern::base::Protocol;
use tokio::time::timeout;

use crate::common::client::Client;
use crate::common::content::{message, octets};
use crate::common::ground::{Ground, Way};
use crate::common::process::{Cost, Measured};
use crate::common::report::Report;

/// Large and small messages down by IMAP and up by SMTP
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The size of the message that is fetched, in MiB
    #[arg(long, default_value_t = 25)]
    fetch_mib: usize,
    /// How often it is fetched
    #[arg(long, default_value_t = 8)]
    fetches: usize,
    /// How many small messages are submitted over one connection
    #[arg(long, default_value_t = 1000)]
    messages: usize,
    /// The size of the large message that is submitted, in MiB
    #[arg(long, default_value_t = 100)]
    submit_mib: usize,
    /// How often it is submitted
    #[arg(long, default_value_t = 2)]
    submissions: usize,
    /// The size of the message whose memory is looked at, in MiB; Exchange takes less than 150
    #[arg(long, default_value_t = 149)]
    largest_mib: usize,
    /// How many MiB of memory the largest message may take
    #[arg(long, default_value_t = 4)]
    memory_limit_mib: i64,
    /// After how many seconds a measurement counts as hanging
    #[arg(long, default_value_t = 300)]
    patience: u64,
}

fn main() -> ExitCode {
    common::main(run)
}

/// What one measurement took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    time: Duration,
    cost: Option<Cost>,
}

#[derive(Debug)]
struct Outcome {
    fetched: Taken,
    small: Taken,
    submitted: Taken,
    largest: Taken,
}

async fn run(options: Options) -> Result<bool> {
    let mut outcomes = Vec::new();
    for way in [Way::Direct, Way::Forwarder, Way::Postern] {
        // The tenant keeps every message in memory, so each way has one of its own.
        let ground = Ground::new(1).await?;
        let measured = timeout(Duration::from_secs(options.patience), measure(&ground, way, &options)).await;
        let measured = measured.with_context(|| format!("{way:?} did not end in time"))?;
        outcomes.push(measured.with_context(|| format!("{way:?}\n{}", ground.log()))?);
    }

    let mut report = Report::new(&["", "direct", "forwarder", "Postern", "ratio"]);
    let mut line = |name: &str, digits: usize, figure: &dyn Fn(&Outcome) -> Option<f64>| {
        report.figures(name, digits, &outcomes.iter().map(figure).collect::<Vec<_>>());
    };
    let fetched = octets(options.fetch_mib) as f64 / 1e6 * options.fetches as f64;
    let submitted = octets(options.submit_mib) as f64 / 1e6 * options.submissions as f64;
    let messages = options.messages as f64;
    let rate = |amount: f64, taken: &Taken| Some(amount / taken.time.as_secs_f64());
    let cpu = |amount: f64, taken: &Taken| taken.cost.map(|cost| cost.cpu_ms_each(amount));
    line(&format!("FETCH of {} MiB, MB/s", options.fetch_mib), 0, &|outcome| rate(fetched, &outcome.fetched));
    line("CPU ms per MB", 2, &|outcome| cpu(fetched, &outcome.fetched));
    line("small messages over one connection, per second", 0, &|outcome| rate(messages, &outcome.small));
    line("CPU ms per small message", 3, &|outcome| cpu(messages, &outcome.small));
    line(&format!("submission of {} MiB, MB/s", options.submit_mib), 0, &|outcome| rate(submitted, &outcome.submitted));
    line("CPU ms per MB", 2, &|outcome| cpu(submitted, &outcome.submitted));
    let peak = |outcome: &Outcome| outcome.largest.cost.map(|cost| cost.peak_kib as f64 / 1024.0);
    line(&format!("growth of peak memory by a message of {} MiB, MiB", options.largest_mib), 2, &peak);
    report.print();

    let largest = outcomes.last().and_then(|outcome| outcome.largest.cost).context("nothing was measured")?;
    let small_enough = largest.peak_kib <= options.memory_limit_mib * 1024;
    if !small_enough {
        println!("the largest message took more than {} MiB of memory", options.memory_limit_mib);
    }
    Ok(small_enough)
}

async fn measure(ground: &Ground, way: Way, options: &Options) -> Result<Outcome> {
    let user = ground.users.first().context("no mailbox")?;
    let (process, place) = ground.open(way, Protocol::Imap).await?;
    ground.sandbox.deliver(&user.address, "INBOX", &message(options.fetch_mib));
    let mut imap = Client::log_in(&place, user).await?;
    imap.imap("s SELECT INBOX").await?;
    imap.fetch(1).await?;
    let meter = Meter::start(process.as_ref())?;
    for _ in 0..options.fetches {
        let size = imap.fetch(1).await?;
        ensure!(size == octets(options.fetch_mib) as u64, "the message came with {size} octets");
    }
    let fetched = meter.stop(process.as_ref())?;
    imap.log_out(Protocol::Imap).await?;
    end(process).await?;

    let (process, place) = ground.open(way, Protocol::Smtp).await?;
    let mut smtp = Client::log_in(&place, user).await?;
    let content = message(0);
    smtp.submit(user, &content).await?;
    let meter = Meter::start(process.as_ref())?;
    for _ in 0..options.messages {
        smtp.submit(user, &content).await?;
    }
    let small = meter.stop(process.as_ref())?;

    let content = message(options.submit_mib);
    smtp.submit(user, &message(1)).await?;
    let meter = Meter::start(process.as_ref())?;
    for _ in 0..options.submissions {
        smtp.submit(user, &content).await?;
    }
    let submitted = meter.stop(process.as_ref())?;
    smtp.log_out(Protocol::Smtp).await?;
    end(process).await?;

    // A fresh process, so that nothing that came before hides what the largest message takes.
    let (process, place) = ground.open(way, Protocol::Smtp).await?;
    let mut smtp = Client::log_in(&place, user).await?;
    smtp.submit(user, &message(0)).await?;
    let content = message(options.largest_mib);
    let meter = Meter::start(process.as_ref())?;
    smtp.submit(user, &content).await?;
    let largest = meter.stop(process.as_ref())?;
    smtp.log_out(Protocol::Smtp).await?;
    end(process).await?;
    Ok(Outcome { fetched, small, submitted, largest })
}

async fn end(process: Option<Measured>) -> Result<()> {
    match process {
        Some(process) => process.stop().await,
        None => Ok(()),
    }
}

struct Meter {
    began: Instant,
    used: Option<common::process::Used>,
}

impl Meter {
    fn start(process: Option<&Measured>) -> Result<Self> {
        Ok(Self { used: process.map(Measured::used).transpose()?, began: Instant::now() })
    }

    fn stop(self, process: Option<&Measured>) -> Result<Taken> {
        let time = self.began.elapsed();
        let used = process.map(Measured::used).transpose()?;
        Ok(Taken { time, cost: used.zip(self.used).map(|(after, before)| after - before) })
    }
}
