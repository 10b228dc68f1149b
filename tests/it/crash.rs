//! The crash harness: numbered mails from several clients while the proxy is killed at random moments and started again, with faults on the
//! far side. Afterwards every mail that was acknowledged has arrived.
//!
//! It is short here. `POSTERN_CRASH_KILLS=1000 cargo test --test it crash -- --nocapture` makes it long; `POSTERN_CRASH_SEED` repeats one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use postern::base::Protocol;
use postern::store::DeliveryMode;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::common::child::Serving;
use crate::common::{Plan, World, plain, within};

const ALICE: &str = "alice@contoso.test";

/// What is to be found out is whether mail is lost, not how long it waits for Exchange.
const NO_LIMITS: &str = "\n[tenant.limits]\nat_once = 3\nper_minute = 1000000\nrecipients_per_day = 1000000000\n";

/// Clients that send at the same time.
const CLIENTS: usize = 4;

/// What the far side has at times; `None` is nothing.
const FAULTS: [Option<&str>; 12] = [
    None,
    Some("smtp-message-reply=451 4.7.0 Temporary server error. Please try again later. PRX2"),
    None,
    Some("mail-unreachable"),
    Some("smtp-recipient-reply=450 4.7.3 Organization queue quota exceeded"),
    Some("token-status=503"),
    None,
    Some("smtp-slow-data=40"),
    Some("smtp-recipient-every=2"),
    Some("smtp-recipient-every=3"),
    // Answers that never come: the message is looked for, also by a process that knows nothing of the one that sent it.
    Some("smtp-drop-after-data=3"),
    Some("smtp-drop-lost=3"),
];

/// Some go to one alone; of others Exchange takes some recipients now and some later.
fn recipients_of(number: u64) -> &'static [&'static str] {
    match number % 3 {
        0 => &["bob@contoso.test", "shared@contoso.test", "carol@elsewhere.test"],
        _ => &["bob@contoso.test"],
    }
}

/// Random numbers that can be had again (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A folder for everything that Postern keeps, on a disk that is too small for it: mail may then be refused for now, but what was
/// acknowledged must not be lost all the same. `tests/e2e/full_disk.sh` mounts one.
fn data_folder() -> Option<String> {
    std::env::var("POSTERN_CRASH_DATA").ok()
}

/// How often the disk was too full for a message.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// What Exchange may have is looked for after two minutes only.
const DRAIN_TIME: Duration = Duration::from_secs(400);

/// One connection of a client: sends mails until it breaks. Numbers whose acknowledgement was read go into `acknowledged`.
async fn connection(
    address: SocketAddr,
    password: &str,
    next: &AtomicU64,
    acknowledged: &Mutex<BTreeSet<u64>>,
    stop: &CancellationToken,
) -> Option<()> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
    let reply = async |stream: &mut BufReader<TcpStream>, line: Option<String>| -> Option<String> {
        if let Some(line) = line {
            stream.write_all(line.as_bytes()).await.ok()?;
        }
        loop {
            let mut line = String::new();
            let read = timeout(Duration::from_secs(60), stream.read_line(&mut line)).await.ok()?;
            // A line without its end is a connection that broke, whatever it begins with.
            if read.ok()? == 0 || !line.ends_with("\r\n") {
                return None;
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line);
            }
        }
    };
    reply(&mut stream, None).await?;
    reply(&mut stream, Some("EHLO crash.test\r\n".to_owned())).await?;
    let told = reply(&mut stream, Some(format!("AUTH PLAIN {}\r\n", plain(ALICE, password)))).await?;
    assert!(told.starts_with("235 "), "{told}");
    while !stop.is_cancelled() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let is_refused = |told: &str| {
            // Where nothing can be kept, Exchange's own refusals are what the client hears.
            let refused = data_folder().is_some() && told.starts_with('4');
            REFUSED.fetch_add(u64::from(refused && told.starts_with("452 4.3.1")), Ordering::Relaxed);
            refused
        };
        let mut refused = false;
        let recipients = recipients_of(number).iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n"));
        for command in std::iter::once(format!("MAIL FROM:<{ALICE}>\r\n")).chain(recipients) {
            let told = reply(&mut stream, Some(command)).await?;
            refused |= is_refused(&told);
            assert!(told.starts_with("250 ") || refused, "{told}");
        }
        if refused {
            reply(&mut stream, Some("RSET\r\n".to_owned())).await?;
            continue;
        }
        let told = reply(&mut stream, Some("DATA\r\n".to_owned())).await?;
        if is_refused(&told) {
            reply(&mut stream, Some("RSET\r\n".to_owned())).await?;
            continue;
        }
        assert!(told.starts_with("354 "), "{told}");
        // Some are small, and some do not fit into one packet.
        let body = "x".repeat(usize::try_from(number % 7).unwrap() * 9_000 + 10);
        let message =
            format!("From: {ALICE}\r\nX-Number: {number}\r\nMessage-ID: <{number}@crash.test>\r\n\r\n{body}\r\n.\r\n");
        let told = reply(&mut stream, Some(message)).await?;
        if is_refused(&told) {
            continue;
        }
        assert!(told.starts_with("250 "), "{told}");
        acknowledged.lock().unwrap().insert(number);
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_mail_is_missing_however_often_it_is_killed() {
    let kills = from_environment("POSTERN_CRASH_KILLS").unwrap_or(12);
    let seed = from_environment("POSTERN_CRASH_SEED").unwrap_or(u64::from(std::process::id()) | 1);
    eprintln!("seed {seed}");
    let mut random = Random(seed | 1);
    let edit: fn(String) -> String = |text| match data_folder() {
        Some(folder) => {
            let lines = text.lines().map(|line| match line.starts_with("data_dir") {
                true => format!("data_dir = \"{folder}\""),
                false => line.to_owned(),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        None => text,
    };
    let mut world = World::planned(Plan { more: NO_LIMITS.to_owned(), edit, ..Plan::default() }).await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let password: Arc<str> = issued.password.expose().as_str().into();
    let mut serving = Serving::instead_of(&mut world, &["-q"]).await;

    // Where the clients find the proxy; `None` while there is none.
    let (address, known) = watch::channel(Some(world.address(Protocol::Smtp, "none")));
    let (next, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeSet::new())));
    let stop = CancellationToken::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut known, password, next, acknowledged, stop) =
                (known.clone(), Arc::clone(&password), Arc::clone(&next), Arc::clone(&acknowledged), stop.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let found = *known.borrow_and_update();
                    let ended = match found {
                        Some(address) => connection(address, &password, &next, &acknowledged, &stop).await,
                        None => None,
                    };
                    // A connection that broke is not tried again before there is another proxy.
                    if ended.is_none() {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            changed = known.changed() => drop(changed),
                        }
                    }
                }
            })
        })
        .collect();

    let mut unacknowledged_kills = 0;
    for _ in 0..kills {
        let before = acknowledged.lock().unwrap().len();
        let fault = FAULTS[usize::try_from(random.below(FAULTS.len() as u64)).unwrap()];
        world.sandbox.faults().clear_all();
        if let Some(fault) = fault {
            world.fault(fault);
        }
        if random.below(3) == 0 {
            world.fault("smtp-drop-after-data=1");
        }
        // The moment is what is being scattered here.
        sleep(Duration::from_millis(20 + random.below(400))).await;
        serving.signal(Signal::SIGKILL);
        address.send_replace(None);
        let (_, said) = serving.ended().await;
        assert!(!said.contains("panicked"), "{said}");
        unacknowledged_kills += usize::from(acknowledged.lock().unwrap().len() == before);
        serving = Serving::start(&world.config_file(), &["-q"]);
        serving.ready(&mut world).await;
        address.send_replace(Some(world.address(Protocol::Smtp, "none")));
        // As after an outage, so that deliveries are killed as well, and not only messages that come.
        world.ops.retry_all_queued().await.unwrap();
    }
    world.sandbox.faults().clear_all();
    stop.cancel();
    for client in clients {
        within("a client to end", client).await.unwrap();
    }
    let drained = timeout(DRAIN_TIME, async {
        while world.ops.retry_all_queued().await.unwrap() > 0 {
            sleep(Duration::from_millis(500)).await;
        }
    });
    if drained.await.is_err() {
        panic!("seed {seed}: the queue is not empty: {:#?}", world.ops.queue().await.unwrap());
    }

    let mut arrived: BTreeMap<(u64, String), usize> = BTreeMap::new();
    for submission in world.sandbox.submissions() {
        let text = String::from_utf8(submission.content).unwrap();
        let number = text.split("X-Number: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        assert_eq!(body.len(), usize::try_from(number % 7).unwrap() * 9_000 + 12, "{number} arrived whole");
        for recipient in submission.recipients {
            *arrived.entry((number, recipient)).or_default() += 1;
        }
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    let expected =
        acknowledged.iter().flat_map(|number| recipients_of(*number).iter().map(|one| (*number, (*one).to_owned())));
    let missing: Vec<_> = expected.filter(|one| !arrived.contains_key(one)).collect();
    let twice = arrived.values().filter(|count| **count > 1).count();
    let spool = world.config.data_dir.join("spool");
    // Among them would be the folder for what the queue has forgotten.
    let left = std::fs::read_dir(spool).unwrap().count();
    eprintln!(
        "{kills} kills ({unacknowledged_kills} of them before anything was acknowledged), {} mails acknowledged, {} arrived (each recipient counted), {twice} \
         of them more than once, {} missing, {left} files left; the disk was too full {} times",
        acknowledged.len(),
        arrived.len(),
        missing.len(),
        REFUSED.load(Ordering::Relaxed)
    );
    assert_eq!(
        data_folder().is_some(),
        REFUSED.load(Ordering::Relaxed) > 0,
        "seed {seed}: only a small disk is full, and it is"
    );
    assert!(missing.is_empty(), "seed {seed}: {missing:?}");
    assert_eq!(twice, 0, "seed {seed}: they are looked for before they are sent again");
    assert_eq!(left, 0, "seed {seed}");
    assert!(acknowledged.len() as u64 > kills, "mail was sent meanwhile: {}", acknowledged.len());
    serving.signal(Signal::SIGTERM);
    assert!(serving.ended().await.0.success());
}
