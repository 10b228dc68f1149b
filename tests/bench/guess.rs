//! What the owners of mailboxes feel while many addresses guess at their app passwords, and what that costs Postern in memory.
//!
//! Guessers call from addresses of their own in 127.1.0.0/16; the owners from 127.0.0.1. Owners log in one after the other, first
//! without the guessers, then with them, in the same run.
//!
//! `cargo bench --bench guess -- --addresses 200 --seconds 120`

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use postern::base::Protocol;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::common::client::{Client, Place, User};
use crate::common::ground::{Ground, Way};
use crate::common::process::Measured;

/// What the owners feel while many addresses guess
#[derive(Clone, Debug, Parser)]
struct Options {
    /// From how many addresses is guessed
    #[arg(long, default_value_t = 200)]
    addresses: u16,
    /// At how many mailboxes, each with an owner
    #[arg(long, default_value_t = 50)]
    mailboxes: usize,
    /// For how long
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// For how long the owners are measured without guessers
    #[arg(long, default_value_t = 20)]
    quiet_seconds: u64,
}

/// How many owners log in at a time.
const OWNERS_AT_ONCE: usize = 4;

/// The pause of an owner between two logins.
const OWNERS_PAUSE: Duration = Duration::from_millis(100);

/// A login that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    common::main(run)
}

#[derive(Default)]
struct Guesses {
    verdicts: AtomicU64,
    let_in: AtomicU64,
    connections: AtomicU64,
}

async fn run(options: Options) -> Result<bool> {
    ensure!(options.mailboxes >= OWNERS_AT_ONCE && options.seconds >= 10, "too little to measure");
    let ground = Ground::new(options.mailboxes).await?;
    let (process, place) = ground.open(Way::Postern, Protocol::Imap).await?;
    let process = process.context("nothing stands on this way")?;
    for user in &ground.users {
        timeout(PATIENCE, log_in_and_out(&place, user)).await??;
    }
    let quiet = owners(&place, &ground.users, Duration::from_secs(options.quiet_seconds)).await;

    let (stop, guesses) = (CancellationToken::new(), Arc::new(Guesses::default()));
    let mut guessers = JoinSet::new();
    for number in 0..options.addresses {
        let [high, low] = number.to_be_bytes();
        let source = IpAddr::V4(Ipv4Addr::new(127, 1, high, low.max(1)));
        let (place, users, stop, guesses) = (place.clone(), ground.users.clone(), stop.clone(), Arc::clone(&guesses));
        guessers.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = guess(source, usize::from(number), &place, &users, &guesses) => {}
            }
        });
    }
    // The first connections of all of them are not what lasts.
    sleep(Duration::from_secs(5)).await;
    let early = process.used()?;
    let (loud, memory) = tokio::join!(
        owners(&place, &ground.users, Duration::from_secs(options.seconds - 5)),
        most_memory(&process, Duration::from_secs(options.seconds - 5))
    );
    stop.cancel();
    while guessers.join_next().await.is_some() {}
    sleep(Duration::from_secs(2)).await;
    let late = process.used()?;

    let (verdicts, let_in) = (guesses.verdicts.load(Ordering::Relaxed), guesses.let_in.load(Ordering::Relaxed));
    println!(
        "{} addresses guessed at {} mailboxes for {} s: {verdicts} verdicts ({:.1} a second, {:.2} for each address), {} connections, \
         {let_in} let in",
        options.addresses,
        options.mailboxes,
        options.seconds,
        verdicts as f64 / options.seconds as f64,
        verdicts as f64 / options.seconds as f64 / f64::from(options.addresses),
        guesses.connections.load(Ordering::Relaxed),
    );
    for (name, felt) in [("without guessers", &quiet), ("with them", &loud)] {
        println!(
            "owners {name}: {} logins, {} refused or hung, {} ms in the middle, {} ms of 99 in 100, {} ms at most",
            felt.took.len(),
            felt.failed,
            felt.share(0.5),
            felt.share(0.99),
            felt.share(1.0)
        );
    }
    println!(
        "ratio of an owner's login with guessers to one without: {:.2} in the middle, {:.2} of 99 in 100",
        loud.share(0.5) as f64 / quiet.share(0.5).max(1) as f64,
        loud.share(0.99) as f64 / quiet.share(0.99).max(1) as f64
    );
    println!(
        "memory: {} KiB 5 s after they had begun, {} KiB at most, {} KiB 2 s after their end",
        early.memory_kib, memory?, late.memory_kib
    );
    if quiet.failed + loud.failed > 0 {
        println!("{}", ground.log());
    }
    Ok(quiet.failed + loud.failed == 0 && let_in == 0)
}

/// One address after the other mailbox, on one connection as long as it lasts.
async fn guess(source: IpAddr, first: usize, place: &Place, users: &[Arc<User>], guesses: &Guesses) {
    let mut number = first;
    loop {
        let Ok(mut client) = Client::connect_from(place, source).await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        guesses.connections.fetch_add(1, Ordering::Relaxed);
        if client.line_with("* OK ").await.is_err() {
            continue;
        }
        loop {
            number += 1;
            let Some(user) = users.get(number % users.len()) else { return };
            let wrong = format!("g LOGIN {} aaaaa-bbbbb-ccccc-{number:05}", user.address);
            if client.say(&wrong).await.is_err() {
                break;
            }
            match client.line().await {
                Ok(line) if line.starts_with("g NO ") => guesses.verdicts.fetch_add(1, Ordering::Relaxed),
                Ok(line) if line.starts_with("g OK ") => guesses.let_in.fetch_add(1, Ordering::Relaxed),
                _ => break,
            };
        }
    }
}

/// What the owners felt.
#[derive(Default)]
struct Felt {
    /// How long each login took, in ms, the shortest first.
    took: Vec<u64>,
    failed: usize,
}

impl Felt {
    /// The time within which this share of the logins was done, in ms.
    fn share(&self, share: f64) -> u64 {
        let place = ((self.took.len() as f64 * share).ceil() as usize).clamp(1, self.took.len().max(1)) - 1;
        self.took.get(place).copied().unwrap_or_default()
    }
}

async fn owners(place: &Place, users: &[Arc<User>], span: Duration) -> Felt {
    let until = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for first in 0..OWNERS_AT_ONCE {
        let (place, users) = (place.clone(), users.to_vec());
        tasks.spawn(async move {
            let (mut felt, mut number) = (Felt::default(), first);
            while Instant::now() < until {
                number += OWNERS_AT_ONCE;
                let Some(user) = users.get(number % users.len()) else { break };
                let began = Instant::now();
                match timeout(PATIENCE, log_in_and_out(&place, user)).await {
                    Ok(Ok(())) => felt.took.push(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
                    Ok(Err(error)) => {
                        eprintln!("an owner was refused: {error:#}");
                        felt.failed += 1;
                    }
                    Err(_) => {
                        eprintln!("an owner's login hung");
                        felt.failed += 1;
                    }
                }
                sleep(OWNERS_PAUSE).await;
            }
            felt
        });
    }
    let mut all = Felt::default();
    while let Some(felt) = tasks.join_next().await {
        let felt = felt.unwrap_or_default();
        all.took.extend(felt.took);
        all.failed += felt.failed;
    }
    all.took.sort_unstable();
    all
}

async fn log_in_and_out(place: &Place, user: &User) -> Result<()> {
    Client::log_in(place, user).await?.log_out(place.protocol).await
}

/// The most memory in use, looked at each second.
async fn most_memory(process: &Measured, span: Duration) -> Result<u64> {
    let until = Instant::now() + span;
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(process.used()?.memory_kib);
        sleep(Duration::from_secs(1)).await;
    }
    Ok(most)
}
