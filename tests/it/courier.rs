//! How the courier goes about the queue: what one message meets, and what that means for the others of its mailbox and for its age.

use postern::base::Clock;
use postern::store::{DeliveryMode, QueueState, QueuedMessage, RecipientState};
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";
const CAROL: &str = "carol@elsewhere.test";

/// A world with messages in its queue, one for each recipient, none of which was tried yet; and its clock.
async fn with_queue(recipients: &[&str]) -> (World, Clock) {
    // Ahead of the command line, whose "at once" is by the system's clock.
    let clock = Clock::by_hand(chrono::Utc::now() + chrono::Duration::minutes(30));
    let world = World::planned(Plan { clock: clock.clone(), ..Plan::default() }).await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let mut smtp: Peer<TcpStream> = world.smtp(ALICE, issued.password.expose()).await;
    world.fault("mail-unreachable");
    for recipient in recipients {
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        smtp.smtp(&format!("RCPT TO:<{recipient}>")).await;
        smtp.smtp("DATA").await;
        smtp.send("From: alice@contoso.test\r\nSubject: one\r\n\r\ntext\r\n.\r\n").await;
        let told = smtp.reply().await;
        assert!(told.contains("queued as"), "{told}");
    }
    world.sandbox.faults().clear_all();
    (world, clock)
}

async fn waiting(world: &World) -> Vec<QueuedMessage> {
    world.ops.queue().await.unwrap()
}

fn arrived(world: &World) -> Vec<Vec<String>> {
    world.sandbox.submissions().into_iter().map(|one| one.recipients).collect()
}

async fn all_go_out(world: &World) {
    eventually("everything to go out", async || world.ops.retry_all_queued().await.unwrap() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_while_postern_was_off_for_a_month_is_tried_before_it_is_given_up() {
    let (world, clock) = with_queue(&[BOB]).await;
    world.fault("mail-unreachable");
    clock.turn(chrono::Duration::minutes(2));
    eventually("an attempt", async || waiting(&world).await[0].attempts == 1).await;
    eventually("its end", async || waiting(&world).await[0].next_at > clock.now()).await;
    clock.turn(chrono::Duration::days(30));
    world.sandbox.faults().clear_all();
    all_go_out(&world).await;
    assert_eq!(arrived(&world), [[BOB]], "the message, and no report");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_breaks_its_connection_keeps_no_other_from_going() {
    let (world, clock) = with_queue(&[BOB, CAROL]).await;
    world.fault("smtp-drop-mid-data=1");
    // The clock stands still from here, so that nothing that was put off can go.
    clock.turn(chrono::Duration::seconds(61));
    eventually("the other to go", async || arrived(&world) == [[CAROL]]).await;
    eventually("that to be noted", async || waiting(&world).await.len() == 1).await;
    let left = waiting(&world).await;
    assert!(left[0].is_unknown(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_set_up_stops_the_age_of_all_that_waits() {
    let (world, clock) = with_queue(&[BOB, CAROL]).await;
    world.fault("smtp-auth-disabled");
    clock.turn(chrono::Duration::seconds(61));
    eventually("both to be held", async || {
        waiting(&world).await.iter().all(|one| one.state == QueueState::HeldForSetup && one.obstacle.is_some())
    })
    .await;
    assert_eq!(waiting(&world).await.iter().filter(|one| one.attempts > 0).count(), 1, "the other was not tried");
    clock.turn(chrono::Duration::days(30));
    world.sandbox.faults().clear_all();
    // The first attempt after it passes by itself, and must not cost either its life.
    world.fault("smtp-message-reply=451 4.4.0 Not now");
    world.ops.retry_all_queued().await.unwrap();
    eventually("attempts", async || {
        waiting(&world).await.iter().all(|one| one.attempts > 0 && one.next_at > clock.now())
    })
    .await;
    assert!(waiting(&world).await.iter().all(|one| one.age(clock.now()) < chrono::Duration::hours(1)));
    world.sandbox.faults().clear_all();
    all_go_out(&world).await;
    assert_eq!(arrived(&world), [[BOB], [CAROL]], "and no report");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_or_dropped_while_it_is_on_its_way_is_not_completed() {
    for is_held in [true, false] {
        let (world, clock) = with_queue(&[BOB]).await;
        let id = waiting(&world).await[0].id.clone();
        world.fault("smtp-slow-answers=1000");
        clock.turn(chrono::Duration::seconds(61));
        eventually("an attempt", async || waiting(&world).await[0].attempts == 1).await;
        match is_held {
            true => world.ops.hold_queued(&id).await.unwrap(),
            false => world.ops.drop_queued(&id).await.unwrap(),
        }
        // The connection is cut instead of the message being completed.
        eventually("the end of it", async || world.sandbox.tally().cut_messages == 1).await;
        assert_eq!(arrived(&world), Vec::<Vec<String>>::new());
        world.sandbox.faults().clear_all();
        if is_held {
            let held = world.ops.queued(&id).await.unwrap();
            assert_eq!((held.state, held.is_unknown()), (QueueState::Held, false));
            world.ops.release_queued(&id).await.unwrap();
            all_go_out(&world).await;
            assert_eq!(arrived(&world), [[BOB]]);
        } else {
            assert!(waiting(&world).await.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_nobody_goes_on_for_whom_it_can_and_is_held_for_the_rest() {
    let (world, clock) = with_queue(&[]).await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let mut smtp: Peer<TcpStream> = world.smtp(ALICE, issued.password.expose()).await;
    world.fault("mail-unreachable");
    for command in ["MAIL FROM:<>", "RCPT TO:<bob@contoso.test>", "RCPT TO:<carol@elsewhere.test>", "DATA"] {
        smtp.smtp(command).await;
    }
    smtp.send("From: alice@contoso.test\r\n\r\ntext\r\n.\r\n").await;
    assert!(smtp.reply().await.contains("queued as"));
    world.sandbox.faults().clear_all();
    world.fault("smtp-reject-recipient=bob@contoso.test");
    world.fault("smtp-message-reply=451 4.4.0 Not now");
    clock.turn(chrono::Duration::seconds(61));
    eventually("an attempt", async || waiting(&world).await[0].recipients[0].state == RecipientState::Failed).await;
    let left = &waiting(&world).await[0];
    assert_eq!(
        (left.state, left.recipients[1].state),
        (QueueState::Waiting, RecipientState::Waiting),
        "Carol waits on"
    );
    world.sandbox.faults().clear(postern::sandbox::read_fault("smtp-message-reply=451 x").unwrap().0);
    eventually("it to be held", async || {
        world.ops.retry_all_queued().await.unwrap();
        waiting(&world).await[0].state == QueueState::Held
    })
    .await;
    assert_eq!(arrived(&world), [[CAROL]]);
    let held = waiting(&world).await.remove(0);
    assert_eq!(held.obstacle.unwrap().code, "report-undeliverable");
    assert_eq!(held.recipients[0].state, RecipientState::Waiting, "it is tried for Bob when it is released");
    world.sandbox.faults().clear_all();
    world.ops.release_queued(&held.id).await.unwrap();
    all_go_out(&world).await;
    assert_eq!(arrived(&world), [[CAROL], [BOB]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_whose_message_is_given_up_is_not_told_in_the_same_moment_that_it_is_late() {
    let (world, clock) = with_queue(&[]).await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let mut smtp: Peer<TcpStream> = world.smtp(ALICE, issued.password.expose()).await;
    world.fault("mail-unreachable");
    for command in [&format!("MAIL FROM:<{ALICE}>"), "RCPT TO:<bob@contoso.test> NOTIFY=DELAY,FAILURE", "DATA"] {
        smtp.smtp(command).await;
    }
    smtp.send("From: alice@contoso.test\r\n\r\ntext\r\n.\r\n").await;
    assert!(smtp.reply().await.contains("queued as"));
    clock.turn(chrono::Duration::days(30));
    eventually("it to be given up", async || waiting(&world).await.iter().all(|one| one.is_report)).await;
    world.sandbox.faults().clear_all();
    all_go_out(&world).await;
    let reports = world.sandbox.messages(ALICE, "INBOX");
    assert_eq!(reports.len(), 1, "one report");
    assert!(String::from_utf8_lossy(&reports[0]).contains("Action: failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_noted_when_an_attempt_ends_is_noted_later_and_nothing_is_sent_twice() {
    use postern::store::SqliteStore;
    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    let (world, clock) = with_queue(&[BOB]).await;
    let options = SqliteConnectOptions::new()
        .filename(world.config.data_dir.join(SqliteStore::FILE))
        .busy_timeout(std::time::Duration::from_secs(8));
    let (mut other, mut third) = (options.connect().await.unwrap(), options.connect().await.unwrap());
    world.fault("smtp-slow-data=1500");
    clock.turn(chrono::Duration::seconds(61));
    // Exchange is about to answer, and from here on nothing can be written.
    eventually("the final dot", async || waiting(&world).await[0].is_unknown()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    eventually("it to arrive", async || arrived(&world) == [[BOB]]).await;
    // Who waits longer than Postern does has waited in vain.
    assert!(sqlx::query("BEGIN IMMEDIATE").execute(&mut third).await.is_err());
    assert!(waiting(&world).await[0].is_unknown(), "it could not be noted");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("it to be noted", async || {
        clock.turn(chrono::Duration::seconds(1));
        waiting(&world).await.is_empty()
    })
    .await;
    assert_eq!(arrived(&world), [[BOB]], "once");
    let looked = world.sandbox.tally().logins.contains_key(&postern::base::Protocol::Imap);
    assert!(!looked, "nothing had to be looked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_noted_when_an_attempt_ends_is_noted_while_the_process_ends() {
    use sqlx::ConnectOptions;

    let mut world = World::start().await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let serving = crate::common::child::Serving::instead_of(&mut world, &[]).await;
    let mut smtp: Peer<TcpStream> = world.smtp(ALICE, issued.password.expose()).await;
    world.fault("smtp-message-reply=451 4.4.0 Not now");
    for command in [&format!("MAIL FROM:<{ALICE}>"), &format!("RCPT TO:<{BOB}>"), "DATA"] {
        smtp.smtp(command).await;
    }
    smtp.send("From: alice@contoso.test\r\n\r\ntext\r\n.\r\n").await;
    let told = smtp.reply().await;
    let id = told.rsplit_once("queued as ").unwrap().1.trim_end().to_owned();
    world.sandbox.faults().clear_all();
    // From when its final dot has gone nothing can be noted of it.
    world.fault("smtp-slow-data=1500");
    world.ops.retry_queued(&id).await.unwrap();
    eventually("the final dot", async || waiting(&world).await[0].is_unknown()).await;
    let file = world.config.data_dir.join(postern::store::SqliteStore::FILE);
    let mut store = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    for (name, act) in [("no_update", "UPDATE"), ("no_delete", "DELETE")] {
        let trigger =
            format!("CREATE TRIGGER {name} BEFORE {act} ON queued_message BEGIN SELECT RAISE(ABORT, 'not now'); END");
        sqlx::query(sqlx::AssertSqlSafe(trigger)).execute(&mut store).await.unwrap();
    }
    serving.says("what became of a message cannot be noted").await;
    assert_eq!(arrived(&world), [[BOB]]);
    assert!(waiting(&world).await[0].is_unknown());
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    // From here on there are no ordinary tries any more.
    serving.says("stopping: ").await;
    for name in ["no_update", "no_delete"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DROP TRIGGER {name}"))).execute(&mut store).await.unwrap();
    }
    let (status, said) = serving.ended().await;
    assert!(status.success(), "{said}");
    assert!(waiting(&world).await.is_empty(), "it is noted: {said}");
    world.serve().await;
    all_go_out(&world).await;
    assert_eq!(arrived(&world), [[BOB]], "once");
    let looked = world.sandbox.tally().logins.contains_key(&postern::base::Protocol::Imap);
    assert!(!looked, "nothing had to be looked for");
}
