//! Many sessions whose tokens end at once, and a token service that is away for long.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use postern::admin::ops::MailboxState;
use postern::base::Secret;
use postern::sandbox::Options;
use postern::store::{SignIns, SqliteStore};
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, reference, turn_clock};

const ALICE: &str = "alice@contoso.test";

fn requests(world: &World) -> u64 {
    world.sandbox.tally().token_requests.values().sum()
}

/// A world with so many more mailboxes, each with an app password.
async fn crowd(grant: &'static str, count: usize) -> (World, Vec<(String, String)>) {
    let names: Vec<String> = (0..count).map(|number| format!("user{number:03}@contoso.test")).collect();
    let mut sandbox = Options::default();
    sandbox.mailboxes.extend(names.iter().cloned());
    let world = World::planned(Plan { sandbox, grant, ..Plan::default() }).await;
    let mut logins = Vec::new();
    for name in names {
        let mailbox = name.parse().unwrap();
        world.ops.add_mailbox(&mailbox, None, &[], None).await.unwrap();
        if grant != "client_credentials" {
            let token = Secret::new(world.sandbox.refresh_token_for(&name));
            world.ops.connect_with_refresh_token(&mailbox, token).await.unwrap();
        }
        let password = world.issue(&name).await;
        logins.push((name, password));
    }
    (world, logins)
}

/// Opens so many sessions, 64 at a time, and keeps them open; none may fail.
async fn open(world: &World, logins: &[(String, String)], count: usize) -> Vec<Peer<TcpStream>> {
    let sessions = (0..count).map(|number| {
        let (name, password) = &logins[number % logins.len()];
        async move {
            let (session, told) = world.imap(name, password).await;
            assert!(told.starts_with("in OK "), "session {number} of {name}: {told}");
            session
        }
    });
    futures::stream::iter(sessions).buffer_unordered(64).collect().await
}

/// Longer than any access token lives.
const TWO_HOURS: Duration = Duration::from_secs(7200);

#[tokio::test]
async fn a_thousand_sessions_whose_tokens_end_at_once_cost_one_request_per_token() {
    const MAILBOXES: usize = 100;
    const SESSIONS: usize = 1000;
    for (grant, tokens) in [("client_credentials", 1), ("authorization_code", MAILBOXES as u64)] {
        let (world, logins) = crowd(grant, MAILBOXES).await;
        drop(open(&world, &logins, MAILBOXES).await);
        turn_clock(TWO_HOURS).await;
        let before = requests(&world);
        let sessions = open(&world, &logins, SESSIONS).await;
        assert_eq!(sessions.len(), SESSIONS);
        let asked = requests(&world) - before;
        assert_eq!(asked, tokens, "{grant}: one request for each token");
        let presented = world.sandbox.tally().refresh_tokens_presented;
        let mut times: HashMap<&String, usize> = HashMap::new();
        presented.iter().for_each(|token| *times.entry(token).or_default() += 1);
        assert!(times.values().all(|count| *count == 1), "{grant}: a rotated refresh token was presented again");
    }
}

#[tokio::test]
async fn ten_minutes_without_a_token_service_cost_nobody_a_session_or_a_sign_in() {
    let mut world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    let mailbox = ALICE.parse().unwrap();
    let token = Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&mailbox, token).await.unwrap();
    let password = world.issue(ALICE).await;
    let (mut session, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    let store = SqliteStore::open(world.ops.data_dir()).await.unwrap();
    let sealed = async || store.sign_ins().await.unwrap().into_iter().find_map(|record| record.sealed).unwrap();
    let (kept, before) = (sealed().await, requests(&world));

    world.fault("token-status=503");
    for minute in 0..10 {
        turn_clock(Duration::from_secs(60)).await;
        assert!(session.imap("a NOOP").await.contains("a OK"), "minute {minute}: an open session lives on");
        assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "), "minute {minute}: what is cached serves");
    }
    assert_eq!(requests(&world), before, "a token that has most of its life is not renewed");

    // Started anew, it has nothing cached: nobody can be let in, and nothing is lost.
    world.stop_serving().await;
    world.serve().await;
    for minute in 0..10 {
        for _ in 0..20 {
            let (_imap, told) = world.imap(ALICE, &password).await;
            assert!(told.starts_with("in NO [UNAVAILABLE] "), "minute {minute}: {told}");
            reference(&told);
        }
        turn_clock(Duration::from_secs(60)).await;
    }
    let asked = requests(&world) - before;
    assert!((5..=12).contains(&asked), "{asked} requests in ten minutes with 200 logins");
    assert!(sealed().await == kept, "the sign-in is as it was");
    assert_eq!(world.ops.mailbox(&mailbox).await.unwrap().state, MailboxState::Ready);

    world.sandbox.faults().clear_all();
    // The longest pause is a minute, and a fifth more.
    turn_clock(Duration::from_secs(72)).await;
    let (_imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "after one pause: {told}");
}
