//! Access tokens: had once however many ask, replaced when they are rejected, and what is heard when there are none.

use std::time::Duration;

use futures::future::join_all;
use postern::admin::ops::MailboxState;
use postern::base::{Protocol, Secret};
use postern::store::{SignIns, SqliteStore};
use tokio::time::Instant;

use crate::common::{Plan, World, eventually, reference, turn_clock};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// What trouble sounds like in the three protocols.
struct Told {
    smtp: &'static str,
    imap: &'static str,
    pop3: &'static str,
}

/// It passes by itself.
const TRY_LATER: Told = Told { smtp: "451 4.3.0 ", imap: "in NO [UNAVAILABLE] ", pop3: "-ERR [SYS/TEMP] " };

/// Someone must act.
const MUST_ACT: Told = Told { smtp: "451 4.7.0 ", imap: "in NO [CONTACTADMIN] ", pop3: "-ERR [SYS/PERM] " };

async fn delegated() -> World {
    World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await
}

async fn sign_in(world: &World, mailbox: &str) {
    let token = world.sandbox.refresh_token_for(mailbox);
    world.ops.connect_with_refresh_token(&mailbox.parse().unwrap(), Secret::new(token)).await.unwrap();
}

fn requests(world: &World) -> u64 {
    world.sandbox.tally().token_requests.values().sum()
}

/// How long a failure that passes by itself is remembered, and a little more.
const NO_LONGER_REMEMBERED: Duration = Duration::from_secs(6);

/// Logs in by all three protocols and hears this; gives the references.
async fn hears(world: &World, mailbox: &str, password: &str, told: &Told, when: &str) {
    let mut smtp = world.smtp(mailbox, password).await;
    let by_smtp = smtp.smtp(&format!("MAIL FROM:<{mailbox}>")).await;
    let (_imap, by_imap) = world.imap(mailbox, password).await;
    let (_pop3, by_pop3) = world.pop3(mailbox, password).await;
    for (heard, expected) in [(by_smtp, told.smtp), (by_imap, told.imap), (by_pop3, told.pop3)] {
        assert!(heard.starts_with(expected), "{when}: {heard}");
        reference(&heard);
        for hidden in ["AADSTS", "contoso", "127.0.0.1", "token", "html", "json", "http"] {
            assert!(!heard.contains(hidden), "{when}: {heard}");
        }
    }
}

/// Logs in by all three protocols; each is let in.
async fn is_served(world: &World, mailbox: &str, password: &str, when: &str) {
    let mut smtp = world.smtp(mailbox, password).await;
    let by_smtp = smtp.smtp(&format!("MAIL FROM:<{mailbox}>")).await;
    let (_imap, by_imap) = world.imap(mailbox, password).await;
    let (_pop3, by_pop3) = world.pop3(mailbox, password).await;
    for (heard, expected) in [(by_smtp, "250 "), (by_imap, "in OK "), (by_pop3, "+OK")] {
        assert!(heard.starts_with(expected), "{when}: {heard}");
    }
}

#[tokio::test]
async fn f12_f13_trouble_of_the_token_service_is_temporary_and_passes_by_itself() {
    let cases = [
        "token-status=429",
        "token-status=500",
        "token-status=502",
        "token-status=503",
        "token-retry-after=1",
        "token-error=90033",
        "token-error=50087",
        "token-garbage",
        "token-garbage=deep",
        "token-html",
        "token-endless",
        "token-redirect",
        "token-close",
    ];
    let worlds = join_all(cases.map(async |fault| {
        let world = World::start().await;
        let password = world.issue(ALICE).await;
        world.fault(fault);
        hears(&world, ALICE, &password, &TRY_LATER, fault).await;
        let tally = world.sandbox.tally();
        assert!(requests(&world) <= 5, "{fault}: {} requests for three logins", requests(&world));
        assert_eq!((tally.redirects_followed, tally.connections), (0, 0), "{fault}");
        world.sandbox.faults().clear_all();
        (fault, world, password)
    }))
    .await;
    turn_clock(NO_LONGER_REMEMBERED).await;
    join_all(worlds.iter().map(async |(fault, world, password)| {
        is_served(world, ALICE, password, fault).await;
        let rows = world.ops.mailboxes().await.unwrap();
        assert!(rows.iter().all(|row| row.state == MailboxState::Ready), "{fault}: {rows:?}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_someone_must_mend_is_said_to_be_so() {
    let cases = [
        "token-error=7000222",
        "token-error=7000215",
        "token-error=700016",
        "token-error=90002",
        "token-error=70011",
        "token-roleless",
        "token-wrong-audience",
    ];
    join_all(cases.map(async |fault| {
        let world = World::start().await;
        let password = world.issue(ALICE).await;
        world.fault(fault);
        let before = requests(&world);
        hears(&world, ALICE, &password, &MUST_ACT, fault).await;
        assert!(requests(&world) - before <= 5, "{fault}: {} requests", requests(&world));
        let again = requests(&world);
        hears(&world, ALICE, &password, &MUST_ACT, fault).await;
        assert_eq!(requests(&world), again, "{fault}: it is not asked again and again");
        if fault.starts_with("token-error") {
            let row = world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap();
            assert_eq!(row.state, MailboxState::NeedsAdministrator, "{fault}");
            assert!(row.reason.unwrap().contains("AADSTS"), "{fault}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_is_read_anew_as_soon_as_it_is_mended() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let file = world.folder().join("client-secret");
    std::fs::write(&file, "wrong").unwrap();
    hears(&world, ALICE, &password, &MUST_ACT, "a wrong secret").await;
    std::fs::write(&file, "").unwrap();
    hears(&world, ALICE, &password, &MUST_ACT, "an empty secret").await;
    std::fs::remove_file(&file).unwrap();
    hears(&world, ALICE, &password, &MUST_ACT, "no secret").await;
    std::fs::write(&file, format!("{}\n", world.sandbox.client_secret())).unwrap();
    is_served(&world, ALICE, &password, "the right secret").await;
    assert_eq!(world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap().state, MailboxState::Ready);
}

#[tokio::test]
async fn retry_after_is_kept_to() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    world.fault("token-retry-after=3600");
    hears(&world, ALICE, &password, &TRY_LATER, "throttled").await;
    assert_eq!(requests(&world), 1);
    world.sandbox.faults().clear_all();
    for (later, when) in [(NO_LONGER_REMEMBERED, "without Retry-After"), (Duration::from_secs(3500), "almost an hour")]
    {
        turn_clock(later).await;
        hears(&world, ALICE, &password, &TRY_LATER, when).await;
        assert_eq!(requests(&world), 1, "{when}");
    }
    turn_clock(Duration::from_secs(100)).await;
    is_served(&world, ALICE, &password, "after the hour").await;
    assert_eq!(requests(&world), 2);
}

#[tokio::test]
async fn f31_a_token_service_that_hangs_is_given_up_within_45_seconds_and_keeps_no_other_client_waiting() {
    let world = World::start().await;
    let alices = world.issue(ALICE).await;
    world.fault("token-hang");
    let began = Instant::now();
    let waiting = hears(&world, ALICE, &alices, &TRY_LATER, "hanging");
    let meanwhile = async {
        eventually("the token service to be asked", async || requests(&world) == 1).await;
        let asked = Instant::now();
        let (_imap, told) = world.imap(ALICE, "wrong-wrong-wrong").await;
        assert!(told.starts_with("in NO [AUTHENTICATIONFAILED] "), "{told}");
        let mut smtp = world.smtp(ALICE, &alices).await;
        assert!(smtp.smtp("NOOP").await.starts_with("250"));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        turn_clock(Duration::from_secs(31)).await;
    };
    tokio::join!(waiting, meanwhile);
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    assert_eq!(requests(&world), 1, "three logins and one request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_token_is_believed_in_every_form_and_costs_no_storm() {
    let cases = [
        ("3599", 1),
        ("string:3599", 1),
        ("huge", 1),
        // What says nothing usable is used once and then asked for anew.
        ("missing", 3),
        ("0", 3),
        ("-5", 3),
        ("soon", 3),
    ];
    join_all(cases.map(async |(form, most)| {
        let world = World::start().await;
        let password = world.issue(ALICE).await;
        world.fault(&format!("token-expires-in={form}"));
        is_served(&world, ALICE, &password, form).await;
        let asked = requests(&world);
        assert!((1..=most).contains(&asked), "{form}: {asked} requests for three logins");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_rejected_token_is_replaced_once_and_then_serves() {
    for (fault, protocol) in [
        ("imap-auth-reject=1", Protocol::Imap),
        ("imap-challenge-json=1", Protocol::Imap),
        ("pop-auth-reject=1", Protocol::Pop3),
        ("smtp-auth-reject=1", Protocol::Smtp),
        ("smtp-challenge-json=1", Protocol::Smtp),
    ] {
        let world = World::start().await;
        let password = world.issue(ALICE).await;
        // Cached, so that the rejection meets a token that is believed to be good.
        is_served(&world, ALICE, &password, "before").await;
        assert_eq!(requests(&world), 1);
        world.fault(fault);
        is_served(&world, ALICE, &password, fault).await;
        assert_eq!(requests(&world), 2, "{fault}: exactly one forced renewal");
        let tally = world.sandbox.tally();
        assert_eq!(tally.refused_logins.get(&protocol), Some(&1), "{fault}");
        assert_ne!(tally.access_tokens[0], tally.access_tokens[1]);
        is_served(&world, ALICE, &password, "afterwards").await;
        assert_eq!(requests(&world), 2, "{fault}: the new one is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_always_rejected_makes_neither_a_storm_nor_a_wrong_password() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for fault in ["imap-auth-reject", "pop-auth-reject", "smtp-auth-reject"] {
        world.fault(fault);
    }
    for _ in 0..4 {
        hears(&world, ALICE, &password, &MUST_ACT, "rejected").await;
    }
    // One at first and one forced renewal: app-only, the same token is everybody's, and a rejected mailbox must not
    // make a request for each of its logins.
    assert!(requests(&world) <= 2, "{} requests", requests(&world));
    let refused: u64 = world.sandbox.tally().refused_logins.values().sum();
    assert!(refused <= 3 * 12, "{refused} logins upstream for 12 of clients");
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_first_logins_at_once_make_one_request() {
    let world = World::start().await;
    let mut passwords = Vec::new();
    for mailbox in [ALICE, BOB] {
        passwords.push((mailbox, world.issue(mailbox).await));
    }
    world.fault("token-delay=300");
    let logins = (0..32).map(|number| {
        let (mailbox, password) = &passwords[number % 2];
        let world = &world;
        async move {
            match number % 3 {
                0 => assert!(world.imap(mailbox, password).await.1.starts_with("in OK ")),
                1 => assert!(world.pop3(mailbox, password).await.1.starts_with("+OK")),
                _ => {
                    let mut smtp = world.smtp(mailbox, password).await;
                    assert!(smtp.smtp(&format!("MAIL FROM:<{mailbox}>")).await.starts_with("250 "));
                }
            }
        }
    });
    join_all(logins).await;
    assert_eq!(requests(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_no_refresh_token_is_presented_twice() {
    let world = delegated().await;
    // Whoever presents one twice loses the sign-in.
    world.fault("refresh-rotation=revoke-family");
    sign_in(&world, ALICE).await;
    let password = world.issue(ALICE).await;
    let at_sign_in = requests(&world);
    let logins = (0..8).flat_map(|_| {
        [0, 1, 2].map(|protocol| {
            let (world, password) = (&world, &password);
            async move {
                match protocol {
                    0 => assert!(world.imap(ALICE, password).await.1.starts_with("in OK ")),
                    1 => assert!(world.pop3(ALICE, password).await.1.starts_with("+OK")),
                    _ => {
                        let mut smtp = world.smtp(ALICE, password).await;
                        assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
                    }
                }
            }
        })
    });
    join_all(logins).await;
    assert_eq!(requests(&world) - at_sign_in, 1, "one for the one resource of 24 logins");
    world.fault("imap-auth-reject=1");
    is_served(&world, ALICE, &password, "after a rejection").await;
    assert_eq!(requests(&world) - at_sign_in, 2);
    let mut presented = world.sandbox.tally().refresh_tokens_presented;
    let count = presented.len();
    presented.sort();
    presented.dedup();
    assert_eq!(presented.len(), count, "each was presented once");
    assert_eq!(world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap().state, MailboxState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_not_rotated_and_a_restart_serve_as_well() {
    let mut world = delegated().await;
    world.fault("refresh-rotation=keep");
    sign_in(&world, ALICE).await;
    let password = world.issue(ALICE).await;
    is_served(&world, ALICE, &password, "kept").await;
    world.sandbox.faults().clear_all();
    world.stop_serving().await;
    world.serve().await;
    is_served(&world, ALICE, &password, "after a restart").await;
    world.stop_serving().await;
    world.serve().await;
    world.fault("refresh-rotation=revoke-family");
    is_served(&world, ALICE, &password, "after a rotation and a restart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_a_sign_in_that_is_refused_is_kept_and_said_to_need_its_owner() {
    let world = delegated().await;
    sign_in(&world, ALICE).await;
    let password = world.issue(ALICE).await;
    let store = SqliteStore::open(world.ops.data_dir()).await.unwrap();
    let sealed = async || store.sign_ins().await.unwrap().into_iter().find_map(|record| record.sealed).unwrap();
    let before = sealed().await;
    world.sandbox.revoke_sign_ins(ALICE);
    hears(&world, ALICE, &password, &MUST_ACT, "revoked").await;
    let row = world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap();
    assert_eq!(row.state, MailboxState::NeedsSignIn);
    assert!(row.reason.unwrap().contains("AADSTS50173"));
    assert!(sealed().await == before, "it is kept as it was");
    let asked = requests(&world);
    hears(&world, ALICE, &password, &MUST_ACT, "revoked").await;
    assert_eq!(requests(&world), asked, "nothing has changed, so nothing is asked");

    // A token that does not work is not kept in place of another.
    let dead = Secret::new("1.AXnobody".to_owned());
    assert!(world.ops.connect_with_refresh_token(&ALICE.parse().unwrap(), dead).await.is_err());
    assert!(sealed().await == before);

    sign_in(&world, ALICE).await;
    is_served(&world, ALICE, &password, "signed in anew").await;
    assert_eq!(world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap().state, MailboxState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_temporarily_unavailable_costs_no_sign_in() {
    for fault in ["token-error=90033", "token-status=503", "token-garbage", "token-error=50196"] {
        let world = delegated().await;
        sign_in(&world, ALICE).await;
        let password = world.issue(ALICE).await;
        let store = SqliteStore::open(world.ops.data_dir()).await.unwrap();
        let before = store.sign_ins().await.unwrap()[0].sealed.clone().unwrap();
        world.fault(fault);
        hears(&world, ALICE, &password, &TRY_LATER, fault).await;
        assert!(store.sign_ins().await.unwrap()[0].sealed.as_ref() == Some(&before), "{fault}");
        assert_eq!(world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap().state, MailboxState::Ready, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_opens_its_own_mailbox_and_no_other() {
    let world = delegated().await;
    sign_in(&world, ALICE).await;
    let bobs = world.issue(BOB).await;
    let asked = requests(&world);
    hears(&world, BOB, &bobs, &MUST_ACT, "nobody has signed in for Bob").await;
    let tally = world.sandbox.tally();
    assert_eq!((requests(&world), tally.connections), (asked, 0));

    // Another account may sign in for a mailbox, if the administrator says so and Exchange lets it.
    let shared = "shared@contoso.test".parse().unwrap();
    world.ops.remove_mailbox(&shared).await.unwrap();
    world.ops.add_mailbox(&shared, None, &[], Some(&ALICE.parse().unwrap())).await.unwrap();
    let password = world.issue("shared@contoso.test").await;
    is_served(&world, "shared@contoso.test", &password, "signed in as Alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnecting_drops_the_token_that_is_cached() {
    let world = delegated().await;
    sign_in(&world, ALICE).await;
    let password = world.issue(ALICE).await;
    is_served(&world, ALICE, &password, "before").await;
    let began = Instant::now();
    assert!(world.ops.disconnect(&ALICE.parse().unwrap()).await.unwrap());
    eventually("the token to be dropped", async || {
        world.imap(ALICE, &password).await.1.starts_with("in NO [CONTACTADMIN] ")
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    hears(&world, ALICE, &password, &MUST_ACT, "disconnected").await;
    assert_eq!(world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap().state, MailboxState::NeedsSignIn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_token_goes_on_while_the_token_service_is_away() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    is_served(&world, ALICE, &password, "before").await;
    world.fault("token-status=503");
    for _ in 0..3 {
        is_served(&world, ALICE, &password, "while it is away").await;
    }
    assert_eq!(requests(&world), 1);
}
