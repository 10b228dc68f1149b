//! The gate against a store in a temporary folder.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use tempfile::TempDir;

use super::*;
use crate::base::{Answer, Fault, Reference, Secret};
use crate::store::{AppPasswords, DeliveryMode, SenderScope, SqliteStore};

mod adopted;

const ALICE: &str = "alice@contoso.test";
const RIGHT: &str = "abcde-fghij-klmno-pqrst";

struct Gate {
    auth: Auth,
    store: Arc<dyn Store>,
    clock: Clock,
    _folder: TempDir,
}

fn pepper() -> Pepper {
    Pepper::new(&Secret::new([3; 32]))
}

async fn gate(change: impl FnOnce(&mut AppPasswordRecord)) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let now: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
    for (address, aliases) in
        [(ALICE, vec!["al", "contoso\\alice"]), ("shared@contoso.test", vec![]), ("bob@contoso.test", vec![])]
    {
        let mailbox = MailboxRecord {
            address: address.parse().unwrap(),
            tenant: crate::base::TenantName::new("contoso"),
            aliases: aliases.into_iter().map(str::to_owned).collect(),
            sign_in_as: None,
            disabled_at: None,
            halted_at: None,
            created_at: now,
        };
        store.add_mailbox(&mailbox).await.unwrap();
    }
    let mut record = AppPasswordRecord {
        id: "first".to_owned(),
        mailbox: ALICE.parse().unwrap(),
        label: "test".to_owned(),
        verifier: pepper().verifier(RIGHT.as_bytes()),
        slow_hash: None,
        protocols: Protocol::ALL.to_vec(),
        networks: Vec::new(),
        delivery: DeliveryMode::Direct,
        senders: SenderScope::default(),
        scope: crate::store::UseScope::default(),
        first_use: None,
        ends_unused: None,
        created_at: now,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        replaces: None,
        tracking: crate::store::Tracking::default(),
    };
    change(&mut record);
    store.add_app_password(&record).await.unwrap();
    let clock = Clock::by_hand(now);
    let auth = Auth::new(Settings::default(), Arc::clone(&store), Arc::new(pepper()), clock.clone()).await.unwrap();
    Gate { auth, store, clock, _folder: folder }
}

fn from(address: &str, protocol: Protocol) -> Origin {
    Origin { address: address.parse::<IpAddr>().unwrap(), protocol }
}

fn claim(login: &str, password: &str) -> Claim {
    Claim { login: login.as_bytes().to_vec(), password: Secret::new(password.as_bytes().to_vec()) }
}

async fn verdict(gate: &Gate, login: &str, password: &str) -> Result<Mailbox, Refusal> {
    let origin = from("127.0.0.1", Protocol::Imap);
    match gate.auth.verify(claim(login, password), origin).await {
        Ok(login) => Ok(gate.auth.allow(login, origin).unwrap().mailbox().clone()),
        Err(AuthError::Refused { reason, .. }) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_login_name_is_an_address_an_alias_or_a_mailbox_behind_a_slash() {
    let gate = gate(|_| {}).await;
    for (login, expected) in [
        ("nobody@contoso.test", Err(Refusal::UnknownLogin)),
        ("alice", Err(Refusal::UnknownLogin)),
        (" alice@contoso.test", Err(Refusal::MalformedLogin)),
        ("alice@contoso.test\n", Err(Refusal::MalformedLogin)),
        ("", Err(Refusal::MalformedLogin)),
        ("bob@contoso.test", Err(Refusal::OtherMailbox)),
        ("alice@contoso.test\\bob@contoso.test", Err(Refusal::OtherMailbox)),
        ("\\alice@contoso.test", Err(Refusal::OtherMailbox)),
        ("a\\b\\alice@contoso.test", Err(Refusal::OtherMailbox)),
        ("a/b\\alice@contoso.test", Err(Refusal::OtherMailbox)),
        ("alice@contoso.test\\", Err(Refusal::OtherMailbox)),
        ("alice@contoso.test", Ok(ALICE)),
        ("ALICE@Contoso.TEST", Ok(ALICE)),
        ("AL", Ok(ALICE)),
        ("CONTOSO\\Alice", Ok(ALICE)),
        ("CONTOSO\\alice@contoso.test", Ok(ALICE)),
        ("bob@contoso.test/alice@contoso.test", Ok(ALICE)),
    ] {
        let got = verdict(&gate, login, RIGHT).await;
        // A password of another mailbox is the more telling reason where the name is unknown as well.
        let got = got.map_err(|reason| match (reason, expected) {
            (Refusal::OtherMailbox, Err(expected)) => expected,
            (reason, _) => reason,
        });
        assert_eq!(got.as_ref().map(Mailbox::as_str), expected.as_ref().copied(), "{login:?}");
    }
}

#[tokio::test]
async fn a_password_is_taken_with_and_without_hyphens_and_in_any_case_and_no_other() {
    let gate = gate(|_| {}).await;
    for (password, accepted) in [
        ("", false),
        ("abcde-fghij-klmno-pqrs", false),
        ("abcde-fghij-klmno-pqrst\0", false),
        (RIGHT, true),
        ("abcdefghijklmnopqrst", true),
        ("ABCDE FGHIJ KLMNO PQRST", true),
    ] {
        assert_eq!(verdict(&gate, ALICE, password).await.is_ok(), accepted, "{password:?}");
    }
}

#[tokio::test]
async fn no_refusal_comes_before_its_penalty_has_passed_whatever_its_reason() {
    let gate = gate(|record| record.revoked_at = None).await;
    gate.store.revoke_app_password("first", gate.clock.now()).await.unwrap();
    for login in [ALICE, "nobody@contoso.test", "bob@contoso.test"] {
        for password in [RIGHT, "wrong"] {
            // Each from an address of its own, so that nobody's failures add up.
            let origin = from(&format!("192.0.2.{}", login.len() + password.len()), Protocol::Imap);
            let began = Instant::now();
            assert!(gate.auth.verify(claim(login, password), origin).await.is_err());
            assert!(began.elapsed() >= Settings::default().first_penalty, "{login} {password}");
        }
    }
}

#[tokio::test]
async fn failures_slow_their_own_login_down_and_nobody_else_and_never_shut_the_owner_out() {
    let mut gate = gate(|_| {}).await;
    gate.auth.settings.first_penalty = Duration::from_millis(20);
    gate.auth.settings.longest_penalty = Duration::from_millis(80);
    let origin = from("127.0.0.1", Protocol::Imap);
    for penalty_millis in [20, 40, 80, 80, 80, 80, 80, 80, 80, 80] {
        let began = Instant::now();
        let refused = gate.auth.verify(claim(ALICE, "wrong"), origin).await;
        assert!(matches!(refused, Err(AuthError::Refused { .. })));
        assert!(began.elapsed() >= Duration::from_millis(penalty_millis));
    }
    let refused = gate.auth.verify(claim(ALICE, "wrong"), origin).await;
    assert!(matches!(refused, Err(AuthError::TooManyFailures { .. })));

    let other = gate.auth.verify(claim("bob@contoso.test", "wrong"), origin).await;
    assert!(matches!(other, Err(AuthError::Refused { .. })));
    assert!(gate.auth.verify(claim(ALICE, RIGHT), origin).await.is_ok());
    let forgiven = gate.auth.verify(claim(ALICE, "wrong"), origin).await;
    assert!(matches!(forgiven, Err(AuthError::Refused { .. })));
}

#[tokio::test]
async fn whoever_is_not_let_in_for_a_halt_is_not_the_first() {
    let gate = gate(|record| record.scope.binds_network = true).await;
    let halt = crate::store::Halt { tenant: None, at: gate.clock.now(), reason: None };
    let first_use = async || gate.store.app_passwords().await.unwrap()[0].first_use.clone();
    gate.store.halt(&halt).await.unwrap();
    let thief = from("198.51.100.1", Protocol::Imap);
    let login = gate.auth.verify(claim(ALICE, RIGHT), thief).await.unwrap();
    assert!(matches!(gate.auth.allow(login, thief), Err(AuthError::MailboxDisabled { .. })));
    assert_eq!(first_use().await, None);
    gate.store.resume(None).await.unwrap();
    let owner = from("192.0.2.1", Protocol::Imap);
    let login = gate.auth.verify(claim(ALICE, RIGHT), owner).await.unwrap();
    gate.auth.allow(login, owner).unwrap();
    assert_eq!(first_use().await.unwrap().network, "192.0.2.0/24".parse().unwrap());
    assert!(matches!(gate.auth.verify(claim(ALICE, RIGHT), thief).await, Err(AuthError::Elsewhere { .. })));
}

#[tokio::test]
async fn who_was_let_in_to_be_told_of_a_halt_logs_in_anew_before_it_sends() {
    let gate = gate(|record| record.scope.binds_network = true).await;
    let halt = crate::store::Halt { tenant: None, at: gate.clock.now(), reason: None };
    gate.store.halt(&halt).await.unwrap();
    let thief = from("198.51.100.1", Protocol::Smtp);
    let login = gate.auth.verify(claim(ALICE, RIGHT), thief).await.unwrap();
    let permit = gate.auth.allow(login, thief).unwrap();
    let mail = crate::wire::smtp::MailFrom::parse(b"FROM:<alice@contoso.test>").unwrap();
    assert!(matches!(gate.auth.clear(&permit, mail.clone()).await, Err(AuthError::MailboxDisabled { .. })));
    assert_eq!(gate.store.app_passwords().await.unwrap()[0].first_use, None, "nobody was the first");
    gate.store.resume(None).await.unwrap();
    let unbound = gate.auth.clear(&permit, mail.clone()).await;
    assert!(matches!(unbound, Err(AuthError::Ended { reason: SessionEnd::Unbound, .. })), "{unbound:?}");
    let owner = from("192.0.2.1", Protocol::Smtp);
    let login = gate.auth.verify(claim(ALICE, RIGHT), owner).await.unwrap();
    let permit = gate.auth.allow(login, owner).unwrap();
    gate.auth.clear(&permit, mail).await.unwrap();
}

#[tokio::test]
async fn a_right_one_in_the_wrong_hands_is_told_apart_by_the_administrator_alone() {
    let mut gate = gate(|_| {}).await;
    gate.auth.settings.first_penalty = Duration::from_millis(1);
    gate.auth.settings.longest_penalty = Duration::from_millis(1);
    let origin = from("127.0.0.1", Protocol::Imap);
    for _ in 0..10 {
        gate.auth.verify(claim(ALICE, "wrong"), origin).await.unwrap_err();
    }
    gate.store.revoke_app_password("first", gate.clock.now()).await.unwrap();
    let revoked = gate.auth.verify(claim(ALICE, RIGHT), origin).await.unwrap_err();
    assert_eq!((revoked.code(), revoked.password_id()), ("too-many-failures", Some("first")));
    let mut gate = self::gate(|record| record.scope.binds_network = true).await;
    gate.auth.verify(claim(ALICE, RIGHT), from("192.0.2.1", Protocol::Imap)).await.unwrap();
    gate.auth.settings.first_penalty = Duration::from_millis(1);
    gate.auth.settings.longest_penalty = Duration::from_millis(1);
    for expected in std::iter::repeat_n(Answer::WrongPassword, 10).chain([Answer::TooManyFailures]) {
        let elsewhere = gate.auth.verify(claim(ALICE, RIGHT), origin).await.unwrap_err();
        assert_eq!(elsewhere.answer(Reference::fresh()), expected);
        assert_eq!((elsewhere.code(), elsewhere.password_id()), ("app-password-elsewhere", Some("first")));
        assert_eq!(elsewhere.mailbox().map(Mailbox::as_str), Some(ALICE));
    }
}

#[tokio::test]
async fn who_guesses_is_banned_and_whoever_is_known_there_is_not() {
    let mut gate = gate(|_| {}).await;
    gate.auth.settings.first_penalty = Duration::ZERO;
    gate.auth.settings.longest_penalty = Duration::ZERO;
    let guess = async |address: &str| {
        for number in 0..100 {
            gate.auth
                .verify(claim(ALICE, &format!("guess {number}")), from(address, Protocol::Imap))
                .await
                .unwrap_err();
        }
    };
    let banned = |address: &str| gate.auth.banned_until(address.parse().unwrap());
    guess("203.0.113.7").await;
    let until = gate.clock.now() + chrono::Duration::minutes(15);
    assert_eq!(banned("203.0.113.7"), Some(until));
    assert_eq!(banned("::ffff:203.0.113.7"), Some(until));
    assert_eq!(banned("203.0.113.8"), None);
    assert_eq!(gate.auth.new_bans().len(), 1);
    assert!(gate.auth.new_bans().is_empty());
    // Another process keeps to it, and lifts it.
    let other =
        Auth::new(Settings::default(), Arc::clone(&gate.store), Arc::new(pepper()), gate.clock.clone()).await.unwrap();
    assert!(other.banned_until("203.0.113.7".parse().unwrap()).is_some());
    gate.store.lift_ban(&"203.0.113.7/32".parse().unwrap()).await.unwrap();
    gate.auth.upkeep().await.unwrap();
    assert_eq!(banned("203.0.113.7"), None);
    // Where the owner was let in, nobody is banned; nor here.
    gate.auth.verify(claim(ALICE, RIGHT), from("192.0.2.1", Protocol::Imap)).await.unwrap();
    for known in ["192.0.2.1", "127.0.0.1"] {
        guess(known).await;
        assert_eq!(banned(known), None, "{known}");
    }
    // A second time it lasts longer, and then it is over.
    guess("203.0.113.9").await;
    gate.clock.turn(chrono::Duration::minutes(16));
    assert_eq!(banned("203.0.113.9"), None);
    guess("203.0.113.9").await;
    gate.clock.turn(chrono::Duration::minutes(16));
    assert!(banned("203.0.113.9").is_some());
    gate.clock.turn(chrono::Duration::minutes(45));
    assert_eq!(banned("203.0.113.9"), None);
    gate.clock.turn(chrono::Duration::days(8));
    gate.auth.forget_bans().await.unwrap();
    assert!(gate.store.bans().await.unwrap().is_empty());
}

#[tokio::test]
async fn network_protocol_and_date_are_answered_like_a_wrong_password() {
    let gate = gate(|record| {
        record.protocols = vec![Protocol::Smtp];
        record.networks = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        record.expires_at = Some("2026-11-21T00:00:00Z".parse().unwrap());
    })
    .await;
    for (address, protocol, refusal) in [
        ("192.0.2.7", Protocol::Imap, Some(Refusal::Protocol)),
        ("198.51.100.7", Protocol::Smtp, Some(Refusal::Network)),
        ("2001:db9::1", Protocol::Smtp, Some(Refusal::Network)),
        ("192.0.2.7", Protocol::Smtp, None),
        ("::ffff:192.0.2.7", Protocol::Smtp, None),
        ("2001:db8::7", Protocol::Smtp, None),
    ] {
        let verdict = gate.auth.verify(claim(ALICE, RIGHT), from(address, protocol)).await;
        let got = match &verdict {
            Ok(_) => None,
            Err(AuthError::Refused { reason, .. }) => Some(*reason),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, refusal, "{address} {protocol}");
        if let Err(error) = verdict {
            assert_eq!(error.answer(Reference::fresh()), Answer::WrongPassword);
        }
    }
    gate.clock.turn(chrono::Duration::hours(12));
    let ended = gate.auth.verify(claim(ALICE, RIGHT), from("192.0.2.7", Protocol::Smtp)).await;
    assert!(matches!(ended, Err(AuthError::Refused { reason: Refusal::Expired, .. })));
}

#[tokio::test]
async fn who_still_has_the_old_one_is_told_apart_from_who_has_none() {
    let gate = gate(|record| record.expires_at = Some(record.created_at + chrono::Duration::days(7))).await;
    let mut successor = gate.store.app_passwords().await.unwrap().remove(0);
    successor.id = "second".to_owned();
    successor.verifier = pepper().verifier(b"another");
    successor.replaces = Some("first".to_owned());
    successor.expires_at = None;
    gate.store.add_app_password(&successor).await.unwrap();
    gate.clock.turn(chrono::Duration::days(8));
    assert_eq!(verdict(&gate, ALICE, RIGHT).await, Err(Refusal::Replaced));
    gate.store.revoke_app_password("first", gate.clock.now()).await.unwrap();
    assert_eq!(verdict(&gate, ALICE, RIGHT).await, Err(Refusal::Replaced));
    gate.store.revoke_app_password("second", gate.clock.now()).await.unwrap();
    assert_eq!(verdict(&gate, ALICE, RIGHT).await, Err(Refusal::Revoked));
}

#[tokio::test]
async fn a_change_by_another_process_counts_at_the_next_login() {
    let gate = gate(|_| {}).await;
    assert!(verdict(&gate, ALICE, RIGHT).await.is_ok());
    let elsewhere = SqliteStore::open(gate._folder.path()).await.unwrap();
    elsewhere.revoke_app_password("first", Utc::now()).await.unwrap();
    assert_eq!(verdict(&gate, ALICE, RIGHT).await, Err(Refusal::Revoked));
}

#[tokio::test]
async fn revoking_removing_and_disabling_end_open_sessions() {
    let gate = gate(|_| {}).await;
    let open = |protocol| {
        let gate = &gate;
        async move {
            let origin = from("127.0.0.1", protocol);
            let login = gate.auth.verify(claim(ALICE, RIGHT), origin).await.unwrap();
            gate.auth.allow(login, origin).unwrap()
        }
    };
    let (imap, smtp) = (open(Protocol::Imap).await, open(Protocol::Smtp).await);
    gate.auth.upkeep().await.unwrap();
    assert!(!imap.session().has_ended() && !smtp.session().has_ended());

    let alice = ALICE.parse().unwrap();
    gate.store.disable_mailbox(&alice, Some(Utc::now())).await.unwrap();
    gate.auth.upkeep().await.unwrap();
    assert!(imap.session().has_ended());
    assert!(!smtp.session().has_ended(), "SMTP is told at MAIL");
    let mail = crate::wire::smtp::MailFrom::parse(b"FROM:<alice@contoso.test>").unwrap();
    assert!(matches!(gate.auth.clear(&smtp, mail.clone()).await, Err(AuthError::MailboxDisabled { .. })));

    gate.store.disable_mailbox(&alice, None).await.unwrap();
    assert!(gate.auth.clear(&smtp, mail.clone()).await.is_ok());
    gate.store.remove_mailbox(&alice, Utc::now()).await.unwrap();
    gate.auth.upkeep().await.unwrap();
    assert!(smtp.session().has_ended());
    assert!(matches!(gate.auth.clear(&smtp, mail).await, Err(AuthError::Ended { .. })));
    drop((imap, smtp));
    assert_eq!(gate.auth.open_sessions(), 0);
}

#[tokio::test]
async fn the_last_use_reaches_the_store_and_does_not_count_as_a_change() {
    let gate = gate(|_| {}).await;
    verdict(&gate, ALICE, RIGHT).await.unwrap();
    let before = gate.store.revision().await.unwrap();
    gate.auth.upkeep().await.unwrap();
    assert_eq!(gate.store.app_passwords().await.unwrap()[0].last_used_at, Some(gate.clock.now()));
    assert_eq!(gate.store.revision().await.unwrap(), before);
}
