//! App passwords in the place of others: both work for a while, and the old one ends by itself.

use postern::admin::ops::{OpsError, PasswordState};
use postern::base::Protocol;
use postern::store::{DeliveryMode, SenderScope};

use crate::common::{World, eventually, plain};

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
    let rotated = world.ops.rotate_password(&old.row.id, overlap, None, false).await.unwrap();
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
    match world.ops.rotate_password(&old.row.id, overlap, None, false).await {
        Err(OpsError::PasswordReplaced { by, .. }) => assert_eq!(by, new.row.id),
        other => panic!("{other:?}"),
    }

    let told = session.rest().await;
    assert!(told.starts_with("421 4.3.2 "), "{told}");
    assert!(login(&world, old.password.expose()).await.starts_with("535 5.7.8 "));
    assert!(login(&world, new.password.expose()).await.starts_with("235 "));
    assert_eq!(states(&world).await[0].1, PasswordState::Expired);
    assert!(matches!(
        world.ops.rotate_password(&old.row.id, overlap, None, false).await,
        Err(OpsError::PasswordOver { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_seen_takes_no_place() {
    let world = World::start().await;
    let end = chrono::Utc::now() + chrono::Duration::days(30);
    let old = world.issue_with(ALICE, |request| request.expires_at = Some(end)).await;
    let week = chrono::Duration::days(7);
    let rotated = world.ops.rotate_password(&old.row.id, week, None, true).await.unwrap();
    let ends = async || world.ops.password(&old.row.id).await.unwrap().expires_at.unwrap();
    assert!(ends().await < end - chrono::Duration::days(20), "it ends in a week");
    world.ops.undo_rotation(&rotated).await.unwrap();
    assert_eq!(ends().await.timestamp_millis(), end.timestamp_millis());
    assert_eq!(states(&world).await[0].1, PasswordState::Active);
    assert!(login(&world, rotated.issued.password.expose()).await.starts_with("535 "));
    // Its place is free again, and the next one lives as long as the first was to.
    let again = world.ops.rotate_password(&old.row.id, week, None, false).await.unwrap();
    let left = again.issued.row.expires_at.unwrap() - chrono::Utc::now();
    assert!(left > chrono::Duration::days(29) && left < chrono::Duration::days(31), "{left}");
    assert!(matches!(
        world.ops.rotate_password("nobody", week, None, false).await,
        Err(OpsError::PasswordUnknown { .. })
    ));
}
