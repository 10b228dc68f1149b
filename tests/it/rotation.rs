//! App passwords in the place of others: both work for a while, and the old one ends by itself.

use chrono::Duration;
use postern::admin::ops::{OpsError, PasswordState, Rotate};
use postern::base::Protocol;
use postern::store::{DeliveryMode, SenderScope};
use sqlx::ConnectOptions;

use crate::common::{Plan, World, eventually, plain};

const ALICE: &str = "alice@contoso.test";

async fn states(world: &World) -> Vec<(String, PasswordState)> {
    world.ops.passwords().await.unwrap().into_iter().map(|row| (row.id, row.state)).collect()
}

/// What an SMTP login hears.
async fn login(world: &World, password: &str) -> String {
    let mut smtp = world.connect(Protocol::Smtp, "none").await;
    assert!(smtp.reply().await.starts_with("220 "));
    assert!(smtp.smtp("EHLO client.test").await.starts_with("250-"));
    smtp.smtp(&format!("AUTH PLAIN {}", plain(ALICE, password))).await
}

fn how(overlap: Duration, short: bool) -> Rotate {
    Rotate { overlap, ends_unused: None, expires_at: None, short }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_work_while_the_program_is_changed_and_then_the_old_one_ends_with_its_sessions() {
    let world = World::start().await;
    let old = world
        .issue_with(ALICE, |request| {
            request.protocols = vec![Protocol::Smtp];
            request.delivery = DeliveryMode::Assured;
            request.senders = SenderScope { allowed: vec![ALICE.to_owned()], force_from: true };
        })
        .await;
    let mut session = world.smtp(ALICE, old.password.expose()).await;
    let overlap = chrono::Duration::seconds(3);
    let rotated = world.ops.rotate_password(&old.row.id, &how(overlap, false)).await.unwrap();
    let new = &rotated.issued;
    assert_ne!(new.password.expose(), old.password.expose());
    // It may do what the old one may, and nothing else.
    let mut like = old.row.clone();
    (like.id, like.created_at, like.replaces) = (new.row.id.clone(), new.row.created_at, Some(old.row.id.clone()));
    assert_eq!(format!("{:?}", new.row), format!("{like:?}"));
    for password in [&old.password, &new.password] {
        eventually("both to work", async || login(&world, password.expose()).await.starts_with("235 ")).await;
    }
    let named = |id: &str, state| (id.to_owned(), state);
    let listed = states(&world).await;
    assert_eq!(listed, [named(&old.row.id, PasswordState::Rotating), named(&new.row.id, PasswordState::Active)]);
    assert_eq!(world.ops.password(&old.row.id).await.unwrap().replaced_by.as_ref(), Some(&new.row.id));
    assert_eq!(world.ops.status().await.unwrap().active_passwords, 2);
    // One successor, so that none goes unnoticed.
    match world.ops.rotate_password(&old.row.id, &how(overlap, false)).await {
        Err(OpsError::PasswordReplaced { by, .. }) => assert_eq!(by, new.row.id),
        other => panic!("{other:?}"),
    }

    let told = session.rest().await;
    assert!(told.starts_with("421 4.3.2 "), "{told}");
    assert!(login(&world, old.password.expose()).await.starts_with("535 5.7.8 "));
    assert!(login(&world, new.password.expose()).await.starts_with("235 "));
    assert_eq!(states(&world).await[0].1, PasswordState::Expired);
    match world.ops.rotate_password(&old.row.id, &how(overlap, false)).await {
        Err(OpsError::PasswordReplaced { by, .. }) => assert_eq!(by, new.row.id),
        other => panic!("{other:?}"),
    }
    world.ops.revoke_password(&new.row.id).await.unwrap();
    assert!(matches!(
        world.ops.rotate_password(&old.row.id, &how(overlap, false)).await,
        Err(OpsError::PasswordOver { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_seen_takes_no_place() {
    let world = World::start().await;
    let end = chrono::Utc::now() + chrono::Duration::days(30);
    let old = world.issue_with(ALICE, |request| request.expires_at = Some(end)).await;
    let week = chrono::Duration::days(7);
    let rotated = world.ops.rotate_password(&old.row.id, &how(week, true)).await.unwrap();
    let ends = async || world.ops.password(&old.row.id).await.unwrap().expires_at.unwrap();
    assert!(ends().await < end - chrono::Duration::days(20), "it ends in a week");
    world.ops.undo_rotation(&rotated).await.unwrap();
    assert_eq!(ends().await.timestamp_millis(), end.timestamp_millis());
    assert_eq!(states(&world).await[0].1, PasswordState::Active);
    assert!(login(&world, rotated.issued.password.expose()).await.starts_with("535 "));
    // Its place is free again, and the next one lives as long as the first was to.
    let again = world.ops.rotate_password(&old.row.id, &how(week, false)).await.unwrap();
    let left = again.issued.row.expires_at.unwrap() - chrono::Utc::now();
    assert!(left > chrono::Duration::days(29) && left < chrono::Duration::days(31), "{left}");
    assert!(matches!(
        world.ops.rotate_password("nobody", &how(week, false)).await,
        Err(OpsError::PasswordUnknown { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_uses_it_from_where_and_by_what_can_be_seen_and_what_nobody_uses_is_found() {
    let world = World::start().await;
    let issued = world
        .issue_with(ALICE, |request| {
            request.owner = Some("Facility".to_owned());
            request.note = Some("second floor".to_owned());
        })
        .await;
    let id = issued.row.id.clone();
    let mut imap = world.connect(postern::base::Protocol::Imap, "starttls").await;
    imap.line().await;
    imap.imap("a ID (\"name\" \"Thunderbird\" \"version\" \"140\")").await;
    let told = imap.imap(&format!("b LOGIN {ALICE} {}", issued.password.expose())).await;
    assert!(told.contains("b OK "), "{told}");
    world.fault("mail-unreachable");
    for _ in 0..2 {
        assert!(world.imap(ALICE, issued.password.expose()).await.1.starts_with("in NO [UNAVAILABLE] "));
    }
    crate::common::eventually("the uses", async || {
        let tracking = world.ops.password(&id).await.unwrap().tracking;
        (tracking.logins, tracking.refusals) == (3, 2)
    })
    .await;
    let row = world.ops.password(&id).await.unwrap();
    assert_eq!(row.tracking.owner.as_deref(), Some("Facility"));
    assert!(row.tracking.created_by.is_some_and(|by| !by.is_empty()));
    assert_eq!(row.tracking.last.unwrap().address.to_string(), "127.0.0.1");
    let run = |arguments: &[&str]| run(&world, arguments);
    let shown = run(&["password", "show", &id]);
    for part in ["IMAP from 127.0.0.1, without TLS", "could not be opened 2 times", "Facility", "second floor"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(run(&["password", "unused", "--for", "1d"]).contains("was used or issued within that time"));
    assert!(run(&["password", "list", "--owner", "facility"]).contains(&id));
    assert!(run(&["password", "list", "--owner", "sales"]).contains("there is no such app password"));
    // Named by what they have in common, they are listed first.
    let other = world.issue_with(ALICE, |request| request.owner = Some("facility".to_owned())).await.row.id;
    let kept = world.issue_with(ALICE, |_| {}).await.row.id;
    assert!(run(&["password", "revoke", "--owner", "Facility"]).contains("nothing is revoked yet"));
    assert!(world.ops.password(&other).await.unwrap().state.is_in_force());
    let said = run(&["password", "revoke", "--owner", "Facility", "--yes"]);
    assert!(said.contains(&id) && said.contains(&other) && !said.contains(&kept), "{said}");
    assert!(!world.ops.password(&other).await.unwrap().state.is_in_force());
    assert!(world.ops.password(&kept).await.unwrap().state.is_in_force());
}

/// What a command line says that succeeds.
fn run(world: &World, arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_postern"))
        .arg("--config")
        .arg(world.config_file())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// How often the audit trail says that one ends.
async fn reminders(world: &World) -> usize {
    let acts = world.ops.audit(&postern::store::AuditFilter::default(), 50).await.unwrap();
    acts.iter().filter(|record| record.entry.details.contains("\"password ends\"")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_that_could_not_be_queued_is_sent_another_time() {
    let mut world = World::start().await;
    let issued =
        world.issue_with(ALICE, |request| request.expires_at = Some(chrono::Utc::now() + Duration::days(5))).await;
    let soon = "one of them ends within 30 days, and nothing is there in its place: `postern password rotate ID`";
    assert!(!run(&world, &["password", "list"]).contains("ends within"), "it was issued for so short a time");
    world.aged("UPDATE app_password SET created_at = created_at - 5184000000").await;
    assert!(run(&world, &["password", "list"]).contains(soon));
    assert!(run(&world, &["password", "list", "--ending-within", "6d"]).contains(soon));
    assert!(run(&world, &["password", "list", "--ending-within", "4d"]).contains("there is no such app password"));
    assert!(run(&world, &["status"]).contains("app passwords that end soon, without a successor  1 ("));
    world.aged("CREATE TRIGGER full BEFORE INSERT ON queued_message BEGIN SELECT RAISE(ABORT, 'not now'); END").await;
    world.stop_serving().await;
    world.serve().await;
    eventually("it to be noted", async || reminders(&world).await == 1).await;
    eventually("that to be taken back", async || {
        let file = world.config.data_dir.join(postern::store::SqliteStore::FILE);
        let mut store = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        let row = sqlx::query("SELECT COUNT(reminded_days) FROM app_password").fetch_one(&mut store).await.unwrap();
        sqlx::Row::get::<i64, _>(&row, 0) == 0
    })
    .await;
    world.stop_serving().await;
    assert_eq!(world.sandbox.submissions().len(), 0);
    world.aged("DROP TRIGGER full").await;
    world.serve().await;
    eventually("the mail to go", async || world.sandbox.submissions().len() == 1).await;
    let text = String::from_utf8_lossy(&world.sandbox.submissions()[0].content).into_owned();
    assert!(text.contains(&format!("postern password rotate {}", issued.row.id)), "{text}");
    assert_eq!(reminders(&world).await, 2);
    run(&world, &["password", "rotate", &issued.row.id, "--expires", "90d"]);
    assert!(!run(&world, &["password", "list"]).contains("ends within"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_says_once_that_one_ends() {
    for (mail, to) in [("mailbox", Some(ALICE)), ("bob@contoso.test", Some("bob@contoso.test")), ("nobody", None)] {
        let more = format!("\n[reminders]\nmail = \"{mail}\"\n");
        let mut world = World::planned(Plan { more, ..Plan::default() }).await;
        let ends = Some(chrono::Utc::now() + Duration::days(5) + Duration::hours(1));
        let issued = world
            .issue_with(ALICE, |request| {
                request.expires_at = ends;
                request.label = "scanner".to_owned();
                request.owner = Some("Facility".to_owned());
            })
            .await;
        // For reading only it has no way to send.
        world
            .issue_with(ALICE, |request| {
                request.expires_at = ends;
                request.protocols = vec![Protocol::Imap];
            })
            .await;
        world.aged("UPDATE app_password SET created_at = created_at - 5184000000").await;
        for _ in 0..2 {
            world.stop_serving().await;
            world.serve().await;
            eventually("both to be noted", async || reminders(&world).await == 2).await;
            eventually("the mail to go", async || world.ops.queue().await.unwrap().is_empty()).await;
        }
        let sent = world.sandbox.submissions();
        assert_eq!(sent.len(), usize::from(to.is_some()), "once, whoever starts again");
        if let Some(to) = to {
            assert_eq!((sent[0].mail_from.as_str(), sent[0].recipients.as_slice()), (ALICE, &[to.to_owned()][..]));
            let text = String::from_utf8_lossy(&sent[0].content).into_owned();
            for part in [
                "Auto-Submitted: auto-generated\r\n",
                "The app password \"scanner\" of alice@contoso.test ends in 5 days",
                "Whose it is: Facility\r\n",
                "It was never used.\r\n",
                &format!("postern password rotate {} --overlap 7d", issued.row.id),
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}
