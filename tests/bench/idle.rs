//! Many IMAP sessions in IDLE at once through one process: what each costs in memory, what its login costs in processor time, and
//! whether all of them hear of new mail. Next to it a plain TLS forwarder, with the same clients and the same far side.
//!
//! `cargo bench --bench idle -- --sessions 2000 --mailboxes 200`

mod common;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use postern::base::Protocol;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::common::client::{Client, Place, User};
use crate::common::ground::{Ground, Way};
use crate::common::process::{Cost, Measured};
use crate::common::report::Report;

/// Many IMAP sessions in IDLE at once through one process
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How many sessions
    #[arg(long, default_value_t = 2000)]
    sessions: usize,
    /// Of how many mailboxes
    #[arg(long, default_value_t = 200)]
    mailboxes: usize,
    /// How many are opened at a time
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// After how many seconds a login, or the news of a mail, counts as hanging
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// How long they are left in IDLE before the mail comes, in seconds
    #[arg(long, default_value_t = 5)]
    rest: u64,
}

fn main() -> ExitCode {
    common::main(run)
}

async fn run(options: Options) -> Result<bool> {
    ensure!(options.sessions > 0 && options.mailboxes > 0 && options.at_once > 0, "nothing to measure");
    let ground = Ground::new(options.mailboxes).await?;
    println!(
        "{} IMAP sessions of {} mailboxes in IDLE, opened {} at a time, TLS on both sides",
        options.sessions, options.mailboxes, options.at_once
    );
    let forwarder = measure(&ground, Way::Forwarder, &options).await?;
    let postern = measure(&ground, Way::Postern, &options).await?;

    let mut report = Report::new(&["", "forwarder", "Postern", "ratio"]);
    let mut line = |name: &str, digits: usize, figure: &dyn Fn(&Outcome) -> f64| {
        report.figures(name, digits, &[Some(figure(&forwarder)), Some(figure(&postern))]);
    };
    line("sessions in IDLE", 0, &|outcome| outcome.opened as f64);
    line("refused", 0, &|outcome| outcome.refused as f64);
    line("hung", 0, &|outcome| outcome.hung as f64);
    line("seconds until all were in IDLE", 2, &|outcome| outcome.opening.as_secs_f64());
    line("CPU ms per login", 3, &|outcome| outcome.login.cpu_ms_each(outcome.opened as f64));
    line("memory per session, KiB", 1, &|outcome| outcome.resting.memory_kib_each(outcome.opened));
    line("memory per session after the mail, KiB", 1, &|outcome| outcome.woken.memory_kib_each(outcome.opened));
    line("memory when all have left, MiB above the start", 1, &|outcome| outcome.left.memory_kib as f64 / 1024.0);
    line("CPU ms per second while all are idle", 1, &|outcome| outcome.idle.cpu_ms_each(options.rest as f64));
    line("heard of the mail", 0, &|outcome| outcome.heard as f64);
    line("seconds until all had heard", 2, &|outcome| outcome.waking.as_secs_f64());
    line("CPU ms per session that heard", 3, &|outcome| outcome.news.cpu_ms_each(outcome.heard as f64));
    report.print();

    let good = |outcome: &Outcome| outcome.opened == options.sessions && outcome.heard == options.sessions;
    if !good(&postern) {
        println!("{}", ground.log());
    }
    Ok(good(&forwarder) && good(&postern))
}

#[derive(Default)]
struct Outcome {
    opened: usize,
    refused: usize,
    hung: usize,
    heard: usize,
    opening: Duration,
    waking: Duration,
    /// From before the first login to all being in IDLE.
    login: Cost,
    /// The same, some seconds later.
    resting: Cost,
    /// While all are in IDLE and nothing happens.
    idle: Cost,
    /// From there to all having heard of the mail.
    news: Cost,
    /// From before the first login to all having heard.
    woken: Cost,
    /// From before the first login to all having left.
    left: Cost,
}

/// What the sessions tell.
#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    refused: AtomicUsize,
    hung: AtomicUsize,
    heard: AtomicUsize,
    /// The first thing that went wrong.
    wrong: std::sync::OnceLock<String>,
}

async fn measure(ground: &Ground, way: Way, options: &Options) -> Result<Outcome> {
    let (process, place) = ground.open(way, Protocol::Imap).await?;
    let process = process.context("nothing stands on this way")?;
    // The first login asks for a token and fills what is filled once.
    let user = ground.users.first().context("no mailbox")?;
    for _ in 0..8 {
        Client::log_in(&place, user).await?.log_out(Protocol::Imap).await?;
    }
    sleep(Duration::from_secs(1)).await;

    let outcome = sessions(ground, &process, place, options).await?;
    process.stop().await?;
    Ok(outcome)
}

async fn sessions(ground: &Ground, process: &Measured, place: Place, options: &Options) -> Result<Outcome> {
    let before = process.used()?;
    let began = Instant::now();
    let counts = Arc::new(Counts::default());
    let gate = Arc::new(Semaphore::new(options.at_once));
    let leave = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for number in 0..options.sessions {
        let user = ground.users.get(number % ground.users.len()).context("no mailbox")?;
        let session = Session {
            place: place.clone(),
            user: Arc::clone(user),
            patience: Duration::from_secs(options.patience),
            counts: Arc::clone(&counts),
            leave: leave.clone(),
        };
        tasks.spawn(session.run(Arc::clone(&gate)));
    }
    let settled = || [&counts.opened, &counts.refused, &counts.hung].map(|count| count.load(Ordering::Relaxed));
    while settled().iter().sum::<usize>() < options.sessions {
        sleep(Duration::from_millis(2)).await;
    }
    let mut outcome = Outcome { opening: began.elapsed(), login: process.used()? - before, ..Outcome::default() };
    [outcome.opened, outcome.refused, outcome.hung] = settled();

    sleep(Duration::from_secs(2)).await;
    let resting = process.used()?;
    outcome.resting = resting - before;
    sleep(Duration::from_secs(options.rest)).await;
    let rested = process.used()?;
    outcome.idle = rested - resting;

    let sent = Instant::now();
    for user in &ground.users {
        ground.sandbox.deliver(&user.address, "INBOX", b"Subject: news\r\n\r\nIt is here.\r\n");
    }
    let heard = || counts.heard.load(Ordering::Relaxed);
    while heard() < outcome.opened && sent.elapsed() < Duration::from_secs(options.patience) {
        sleep(Duration::from_millis(2)).await;
    }
    outcome.waking = sent.elapsed();
    outcome.heard = heard();
    let woken = process.used()?;
    outcome.news = woken - rested;
    outcome.woken = woken - before;

    leave.cancel();
    drop(timeout(Duration::from_secs(options.patience), async { while tasks.join_next().await.is_some() {} }).await);
    sleep(Duration::from_secs(2)).await;
    outcome.left = process.used()? - before;
    if let Some(wrong) = counts.wrong.get() {
        println!("{:?}: {wrong}", place.way);
    }
    Ok(outcome)
}

/// One session.
struct Session {
    place: Place,
    user: Arc<User>,
    patience: Duration,
    counts: Arc<Counts>,
    leave: CancellationToken,
}

impl Session {
    async fn run(self, gate: Arc<Semaphore>) {
        let Ok(turn) = gate.acquire().await else { return };
        let opened = timeout(self.patience, self.open()).await;
        let count = match &opened {
            Ok(Ok(_)) => &self.counts.opened,
            Ok(Err(_)) => &self.counts.refused,
            Err(_) => &self.counts.hung,
        };
        count.fetch_add(1, Ordering::Relaxed);
        drop(turn);
        let client = match opened {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return self.wrong(&format!("refused: {error:#}")),
            Err(_) => return self.wrong("hung in its login"),
        };
        tokio::select! {
            lived = self.live(client) => if let Err(error) = lived {
                self.wrong(&format!("in IDLE: {error:#}"));
            },
            () = sleep_after(&self.leave, self.patience) => {}
        }
    }

    async fn open(&self) -> Result<Client> {
        let mut client = Client::log_in(&self.place, &self.user).await?;
        client.imap("s SELECT INBOX").await?;
        client.say("i IDLE").await?;
        client.line_with("+").await?;
        Ok(client)
    }

    /// Listens for news, then waits until all may leave.
    async fn live(&self, mut client: Client) -> Result<()> {
        loop {
            tokio::select! {
                line = client.line() => if line?.ends_with(" EXISTS") {
                    break;
                },
                () = self.leave.cancelled() => break,
            }
        }
        if !self.leave.is_cancelled() {
            self.counts.heard.fetch_add(1, Ordering::Relaxed);
            self.leave.cancelled().await;
        }
        client.idle_done().await?;
        client.log_out(Protocol::Imap).await
    }

    fn wrong(&self, what: &str) {
        self.counts.wrong.get_or_init(|| format!("{}: {what}", self.user.address));
    }
}

async fn sleep_after(leave: &CancellationToken, patience: Duration) {
    leave.cancelled().await;
    sleep(patience).await;
}
