//! What every store must do, tried on SQLite.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;

async fn store() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (SqliteStore::open(folder.path()).await.unwrap(), folder)
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
}

fn address(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn mailbox(text: &str, aliases: &[&str]) -> MailboxRecord {
    MailboxRecord {
        address: address(text),
        tenant: TenantName::new("contoso"),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        sign_in_as: None,
        disabled_at: None,
        created_at: at(0),
    }
}

fn password(id: &str, of: &str, byte: u8) -> AppPasswordRecord {
    AppPasswordRecord {
        id: id.to_owned(),
        mailbox: address(of),
        label: "scanner, 3rd floor".to_owned(),
        verifier: Verifier([byte; 32]),
        protocols: vec![Protocol::Smtp, Protocol::Imap],
        networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        delivery: DeliveryMode::Direct,
        senders: SenderScope::default(),
        created_at: at(1),
        expires_at: Some(at(100)),
        revoked_at: None,
        last_used_at: None,
    }
}

fn sign_in(account: &str, sealed: &[u8]) -> SignInRecord {
    SignInRecord {
        tenant: TenantName::new("contoso"),
        account: Some(address(account)),
        sealed: Some(sealed.to_vec()),
        state: SignInState { whose: Whose::Nobody, since: at(2), reason: None, remedy: None },
        refreshed_at: Some(at(2)),
    }
}

#[tokio::test]
async fn what_is_kept_comes_back_as_it_was_also_after_a_restart() {
    let (store, folder) = store().await;
    let mut shared = mailbox("shared@contoso.test", &[]);
    shared.sign_in_as = Some(address("alice@contoso.test"));
    let alice = mailbox("alice@contoso.test", &["al", "contoso\\alice"]);
    for record in [&shared, &alice] {
        store.add_mailbox(record).await.unwrap();
    }
    let record = password("first", "alice@contoso.test", 1);
    store.add_app_password(&record).await.unwrap();
    store.keep_sign_in(&sign_in("alice@contoso.test", b"sealed")).await.unwrap();
    store.close().await;

    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(store.mailboxes().await.unwrap(), [alice, shared]);
    assert_eq!(store.app_passwords().await.unwrap(), std::slice::from_ref(&record));
    assert_eq!(store.app_password_by_verifier(&Verifier([1; 32])).await.unwrap(), Some(record));
    assert_eq!(store.app_password_by_verifier(&Verifier([2; 32])).await.unwrap(), None);
    assert_eq!(store.sign_ins().await.unwrap(), [sign_in("alice@contoso.test", b"sealed")]);
}

#[tokio::test]
async fn no_password_is_kept_for_a_mailbox_that_is_not_on_the_list_any_more() {
    let (store, _folder) = store().await;
    store.add_mailbox(&mailbox("alice@contoso.test", &["bob@contoso.test"])).await.unwrap();
    store.add_mailbox(&mailbox("carol@contoso.test", &[])).await.unwrap();
    store.remove_mailbox(&address("carol@contoso.test"), at(1)).await.unwrap();
    for (id, of, kept) in
        [("a", "alice@contoso.test", true), ("b", "bob@contoso.test", false), ("c", "carol@contoso.test", false)]
    {
        assert_eq!(store.add_app_password(&password(id, of, id.as_bytes()[0])).await.unwrap(), kept, "{of}");
    }
    let kept: Vec<_> = store.app_passwords().await.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(kept, ["a"]);
}

#[tokio::test]
async fn an_alias_is_taken_from_its_own_mailbox_only_and_can_then_be_anothers() {
    let (store, _folder) = store().await;
    let (alice, bob) = (address("alice@contoso.test"), address("bob@contoso.test"));
    store.add_mailbox(&mailbox("alice@contoso.test", &["al", "scanner"])).await.unwrap();
    store.add_mailbox(&mailbox("bob@contoso.test", &[])).await.unwrap();
    let before = store.revision().await.unwrap();
    assert!(!store.remove_alias(&bob, "scanner").await.unwrap());
    assert!(!store.remove_alias(&alice, "alice@contoso.test").await.unwrap(), "the address is no alias");
    assert!(store.remove_alias(&alice, "scanner").await.unwrap());
    assert!(!store.remove_alias(&alice, "scanner").await.unwrap());
    assert!(store.revision().await.unwrap() > before, "a running process has to see it");
    store.add_mailbox(&mailbox("bob@contoso.test", &["scanner"])).await.unwrap();
    let aliases: Vec<_> = store.mailboxes().await.unwrap().into_iter().map(|mailbox| mailbox.aliases).collect();
    assert_eq!(aliases, [["al"], ["scanner"]]);
}

#[tokio::test]
async fn a_login_name_means_one_mailbox_only() {
    let (store, _folder) = store().await;
    store.add_mailbox(&mailbox("alice@contoso.test", &["al"])).await.unwrap();
    for (record, taken) in [
        (mailbox("bob@contoso.test", &["al"]), "al"),
        (mailbox("bob@contoso.test", &["alice@contoso.test"]), "alice@contoso.test"),
        (mailbox("al@contoso.test", &["bob", "al"]), "al"),
    ] {
        match store.add_mailbox(&record).await {
            Err(StoreError::LoginTaken { login, mailbox }) => {
                assert_eq!((login.as_str(), mailbox.as_str()), (taken, "alice@contoso.test"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.mailboxes().await.unwrap().len(), 1, "a refused mailbox leaves nothing behind");
    store.add_mailbox(&mailbox("alice@contoso.test", &["al", "ally"])).await.unwrap();
    assert_eq!(store.mailboxes().await.unwrap()[0].aliases, ["al", "ally"]);
}

#[tokio::test]
async fn removing_a_mailbox_revokes_its_passwords_for_good_and_destroys_only_its_sign_in() {
    let (store, _folder) = store().await;
    let mut shared = mailbox("shared@contoso.test", &["common"]);
    shared.sign_in_as = Some(address("alice@contoso.test"));
    store.add_mailbox(&shared).await.unwrap();
    store.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
    for (id, of, byte) in
        [("a", "alice@contoso.test", 1), ("s", "shared@contoso.test", 2), ("t", "shared@contoso.test", 3)]
    {
        store.add_app_password(&password(id, of, byte)).await.unwrap();
    }
    store.keep_sign_in(&sign_in("alice@contoso.test", b"sealed")).await.unwrap();
    store.revoke_app_password("t", at(5)).await.unwrap();

    assert_eq!(store.remove_mailbox(&address("shared@contoso.test"), at(9)).await.unwrap(), Some(1));
    assert_eq!(store.remove_mailbox(&address("shared@contoso.test"), at(9)).await.unwrap(), None);
    assert_eq!(store.sign_ins().await.unwrap().len(), 1, "alice still needs it");
    let revoked: Vec<_> =
        store.app_passwords().await.unwrap().into_iter().map(|row| (row.id, row.revoked_at)).collect();
    assert_eq!(revoked, [("a".to_owned(), None), ("s".to_owned(), Some(at(9))), ("t".to_owned(), Some(at(5)))]);

    store.add_mailbox(&shared).await.unwrap();
    assert!(
        store.app_passwords().await.unwrap().iter().filter(|row| row.id != "a").all(|row| row.revoked_at.is_some())
    );
    store.add_mailbox(&mailbox("bob@contoso.test", &[])).await.unwrap();
    store.remove_mailbox(&address("alice@contoso.test"), at(9)).await.unwrap();
    assert_eq!(store.sign_ins().await.unwrap().len(), 1, "the shared mailbox signs in with it");
    store.remove_mailbox(&address("shared@contoso.test"), at(9)).await.unwrap();
    assert!(store.sign_ins().await.unwrap().is_empty());
}

#[tokio::test]
async fn revoking_and_disabling_keep_their_first_time() {
    let (store, _folder) = store().await;
    store.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
    store.add_app_password(&password("a", "alice@contoso.test", 1)).await.unwrap();
    assert!(store.revoke_app_password("a", at(5)).await.unwrap());
    assert!(!store.revoke_app_password("a", at(6)).await.unwrap());
    assert_eq!(store.app_passwords().await.unwrap()[0].revoked_at, Some(at(5)));

    let alice = address("alice@contoso.test");
    assert!(store.disable_mailbox(&alice, Some(at(7))).await.unwrap());
    assert!(store.disable_mailbox(&alice, Some(at(8))).await.unwrap());
    assert_eq!(store.mailboxes().await.unwrap()[0].disabled_at, Some(at(7)));
    store.disable_mailbox(&alice, None).await.unwrap();
    assert_eq!(store.mailboxes().await.unwrap()[0].disabled_at, None);
    assert!(!store.disable_mailbox(&address("nobody@contoso.test"), None).await.unwrap());
}

#[tokio::test]
async fn a_rotated_token_never_replaces_one_of_a_newer_sign_in() {
    let (store, _folder) = store().await;
    let (tenant, alice) = (TenantName::new("contoso"), address("alice@contoso.test"));
    store.keep_sign_in(&sign_in("alice@contoso.test", b"one")).await.unwrap();
    assert!(store.rotate_sign_in(&tenant, &alice, b"one", b"two", at(7)).await.unwrap());
    store.keep_sign_in(&sign_in("alice@contoso.test", b"signed in anew")).await.unwrap();
    assert!(!store.rotate_sign_in(&tenant, &alice, b"two", b"three", at(8)).await.unwrap());
    let kept = store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap();
    assert_eq!(kept.sealed.as_deref(), Some(&b"signed in anew"[..]));
    assert!(store.forget_sign_in(&tenant, Some(&alice)).await.unwrap());
    assert!(!store.forget_sign_in(&tenant, Some(&alice)).await.unwrap());
}

#[tokio::test]
async fn the_state_of_a_sign_in_keeps_its_token_and_the_time_since_it_holds() {
    let (store, _folder) = store().await;
    let (tenant, alice) = (TenantName::new("contoso"), address("alice@contoso.test"));
    store.keep_sign_in(&sign_in("alice@contoso.test", b"one")).await.unwrap();
    for (second, whose, reason, since) in [
        (10, Whose::User, Some("AADSTS700082"), 10),
        (20, Whose::User, Some("AADSTS50173"), 10),
        (30, Whose::Nobody, None, 30),
    ] {
        let (reason, remedy) = (reason.map(str::to_owned), reason.map(|_| "Sign in again.".to_owned()));
        let state = SignInState { whose, since: at(second), reason, remedy };
        store.note_sign_in_state(&tenant, Some(&alice), &state).await.unwrap();
        let row = store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap();
        assert_eq!(row.state, SignInState { since: at(since), ..state });
        assert_eq!(row.sealed.as_deref(), Some(&b"one"[..]), "a failure never deletes anything");
    }
    let state =
        SignInState { whose: Whose::Administrator, since: at(40), reason: Some("expired".to_owned()), remedy: None };
    store.note_sign_in_state(&tenant, None, &state).await.unwrap();
    assert_eq!(store.sign_in(&tenant, None).await.unwrap().unwrap().sealed, None);
}

#[tokio::test]
async fn trouble_is_kept_by_mailbox_and_protocol_and_goes_with_the_mailbox() {
    let (store, _folder) = store().await;
    let trouble = |of: &str, whose, since, last| TroubleRecord {
        mailbox: address(of),
        protocol: Protocol::Smtp,
        code: "token-rejected".to_owned(),
        whose,
        since: at(since),
        last_at: at(last),
        reason: "it was said".to_owned(),
        remedy: Some("Mend it.".to_owned()),
    };
    store.note_trouble(&trouble("nobody@contoso.test", Whose::Nobody, 1, 1)).await.unwrap();
    assert!(store.troubles().await.unwrap().is_empty());
    store.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
    store.note_trouble(&trouble("alice@contoso.test", Whose::Nobody, 1, 1)).await.unwrap();
    store.note_trouble(&trouble("alice@contoso.test", Whose::Nobody, 2, 2)).await.unwrap();
    assert_eq!(store.troubles().await.unwrap(), [trouble("alice@contoso.test", Whose::Nobody, 1, 2)]);
    store.note_trouble(&trouble("alice@contoso.test", Whose::Administrator, 3, 3)).await.unwrap();
    assert_eq!(store.troubles().await.unwrap(), [trouble("alice@contoso.test", Whose::Administrator, 3, 3)]);
    store.clear_trouble(&address("alice@contoso.test"), Protocol::Imap).await.unwrap();
    assert_eq!(store.troubles().await.unwrap().len(), 1);
    store.remove_mailbox(&address("alice@contoso.test"), at(3)).await.unwrap();
    assert!(store.troubles().await.unwrap().is_empty());
}

#[tokio::test]
async fn incidents_are_found_by_their_reference_the_newest_first() {
    let (store, _folder) = store().await;
    let incident = |reference: &str, second| IncidentRecord {
        reference: reference.to_owned(),
        at: at(second),
        mailbox: Some(address("alice@contoso.test")),
        protocol: Some(Protocol::Imap),
        password_id: None,
        code: "exchange-busy".to_owned(),
        reason: "throttled".to_owned(),
        remedy: None,
    };
    store.add_incidents(&[incident("7F3K2Q", 1), incident("222222", 2), incident("7F3K2Q", 3)]).await.unwrap();
    assert_eq!(store.incidents("7F3K2Q").await.unwrap(), [incident("7F3K2Q", 3), incident("7F3K2Q", 1)]);
    assert!(store.incidents("ZZZZZZ").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_revision_grows_with_every_change_of_any_process_and_not_with_uses() {
    let (store, folder) = store().await;
    let other = SqliteStore::open(folder.path()).await.unwrap();
    let mut last = store.revision().await.unwrap();
    let mut grown = async |what: &str, expected: bool| {
        let now = store.revision().await.unwrap();
        assert_eq!(now > last, expected, "{what}");
        last = now;
    };
    other.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
    grown("add a mailbox", true).await;
    store.add_app_password(&password("a", "alice@contoso.test", 1)).await.unwrap();
    grown("issue", true).await;
    store.note_uses(&[("a".to_owned(), at(50)), ("gone".to_owned(), at(50))]).await.unwrap();
    grown("use", false).await;
    other.revoke_app_password("a", at(60)).await.unwrap();
    grown("revoke", true).await;
    other.disable_mailbox(&address("alice@contoso.test"), Some(at(70))).await.unwrap();
    grown("disable", true).await;
    store.note_uses(&[("a".to_owned(), at(10))]).await.unwrap();
    assert_eq!(
        store.app_passwords().await.unwrap()[0].last_used_at,
        Some(at(50)),
        "a late note does not turn time back"
    );
    other.remove_mailbox(&address("alice@contoso.test"), at(80)).await.unwrap();
    grown("remove", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_an_empty_folder_at_once_and_write_to_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<std::path::Path> = folder.path().join("new/data").into();
    let opened = (0..8).map(|number: u8| {
        let path = Arc::clone(&path);
        tokio::spawn(async move {
            let store = SqliteStore::open(&path).await.unwrap();
            store.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
            for turn in 0..10 {
                let id = format!("{number}-{turn}");
                let mut record = password(&id, "alice@contoso.test", number);
                record.verifier.0[0] = turn;
                assert!(store.add_app_password(&record).await.unwrap());
            }
        })
    });
    for task in opened.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.app_passwords().await.unwrap().len(), 80);
}

#[tokio::test]
async fn a_full_disk_is_an_error_for_as_long_as_it_is_full_and_no_longer() {
    let (store, _folder) = store().await;
    store.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(store.pool()).await.unwrap();
    // A limit of pages fails as a full disk does: SQLite rolls back by itself.
    let limit = async |pages: i64| {
        let mut connections = Vec::new();
        for _ in 0..4 {
            connections.push(store.pool().acquire().await.unwrap());
        }
        for connection in &mut connections {
            let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(sql).execute(&mut **connection).await.unwrap();
        }
    };
    limit(pages).await;
    let mut failures = 0;
    for number in 0..200 {
        let mut record = password(&format!("p{number}"), "alice@contoso.test", 1);
        record.verifier.0[..4].copy_from_slice(&u32::to_be_bytes(number));
        record.label = "x".repeat(200);
        match store.add_app_password(&record).await {
            Ok(true) if failures > 0 => break,
            Ok(true) => {}
            Ok(false) => panic!("the mailbox is on the list"),
            Err(StoreError::Query(_)) if failures < 8 => {
                failures += 1;
                // Each failure costs its connection; the others still have the limit.
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(failures > 0, "the limit was never reached");
    limit(1 << 20).await;
    store.note_uses(&[("p0".to_owned(), at(50))]).await.unwrap();
    assert_eq!(store.app_passwords().await.unwrap()[0].last_used_at, Some(at(50)));
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_left_alone_and_a_broken_one_is_named() {
    let (store, folder) = store().await;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', 1, x'00', 0)")
        .execute(store.pool())
        .await
        .unwrap();
    store.close().await;
    assert!(matches!(SqliteStore::open(folder.path()).await, Err(StoreError::TooNew { .. })));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(SqliteStore::FILE), vec![b'x'; 8192]).unwrap();
    match SqliteStore::open(folder.path()).await {
        Err(error @ StoreError::Open { .. }) => {
            assert!(error.to_string().contains(SqliteStore::FILE), "{error}");
            assert!(error.remedy().unwrap().contains("from a backup"), "{:?}", error.remedy());
        }
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(std::fs::read(folder.path().join(SqliteStore::FILE)).unwrap(), vec![b'x'; 8192]);
}

fn queued(id: &str, second: i64) -> QueuedMessage {
    QueuedMessage {
        id: id.to_owned(),
        mailbox: address("alice@contoso.test"),
        password_id: "k7m2qx".to_owned(),
        mail: "FROM:<alice@contoso.test> BODY=8BITMIME".to_owned(),
        size_octets: 1234,
        message_id: Some("one@contoso.test".to_owned()),
        is_report: false,
        accepted_at: at(second),
        state: QueueState::Waiting,
        next_at: at(second + 60),
        attempts: 0,
        is_unknown: false,
        unknown_at: None,
        warned_at: None,
        held: chrono::Duration::zero(),
        held_since: None,
        obstacle: Some(Obstacle { code: "exchange-busy".to_owned(), reason: "432".to_owned(), remedy: None }),
        recipients: vec![
            QueuedRecipient {
                rcpt: "TO:<b@x.test>".to_owned(),
                state: RecipientState::Waiting,
                reply: None,
                is_unknown: false,
            },
            QueuedRecipient {
                rcpt: "TO:<c@x.test>".to_owned(),
                state: RecipientState::Waiting,
                reply: None,
                is_unknown: false,
            },
        ],
    }
}

fn end(state: QueueState, next_at: DateTime<Utc>) -> AttemptEnd {
    AttemptEnd { recipients: Vec::new(), state, next_at, is_unknown: false, unknown: None, obstacle: None }
}

#[tokio::test]
async fn what_waits_comes_back_as_it_was_in_the_order_in_which_it_came() {
    let (store, folder) = store().await;
    for message in [queued("second", 2), queued("first", 1)] {
        store.enqueue(&message).await.unwrap();
    }
    assert!(store.enqueue(&queued("first", 1)).await.is_err(), "an ID is one message's");
    store.close().await;
    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(store.queued().await.unwrap(), [queued("first", 1), queued("second", 2)]);
    assert_eq!(store.queued_message("second").await.unwrap(), Some(queued("second", 2)));
    assert_eq!(store.queued_message("third").await.unwrap(), None);
    let alice = address("alice@contoso.test");
    assert_eq!(store.due(at(60)).await.unwrap(), []);
    assert_eq!(store.due(at(61)).await.unwrap(), std::slice::from_ref(&alice));
    assert_eq!(store.next_due(&alice, at(61)).await.unwrap().unwrap().id, "first");
    store.postpone(&alice, at(200)).await.unwrap();
    assert_eq!(store.due(at(199)).await.unwrap(), []);
    assert_eq!(store.queued_ids().await.unwrap(), ["first", "second"].map(str::to_owned).into());
    assert_eq!(store.wish(QueuedOf::All, QueueWish::Retry, at(150)).await.unwrap(), 2);
    assert_eq!(store.due(at(150)).await.unwrap(), [alice]);
    assert!(store.dequeue("first").await.unwrap());
    assert!(!store.dequeue("first").await.unwrap());
    assert_eq!(store.queued().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_attempt_is_one_at_a_time_and_what_became_of_it_is_kept_for_each_recipient() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    let alice = address("alice@contoso.test");
    assert!(store.begin_attempt("one", at(60)).await.unwrap());
    assert!(!store.begin_attempt("one", at(60)).await.unwrap(), "it is on its way");
    assert_eq!(store.next_due(&alice, at(1000)).await.unwrap(), None);
    let delivered = AttemptEnd {
        recipients: vec![(1, RecipientState::Delivered, Some("250 2.0.0 OK".to_owned()))],
        ..end(QueueState::Waiting, at(200))
    };
    store.end_attempt("one", &delivered, at(61)).await.unwrap();
    let message = store.queued_message("one").await.unwrap().unwrap();
    assert_eq!((message.attempts, message.next_at, message.obstacle), (1, at(200), None));
    assert_eq!(message.recipients[1].reply.as_deref(), Some("250 2.0.0 OK"));
    assert_eq!(message.recipients[0].state, RecipientState::Waiting);

    // A process that is killed leaves an attempt without an end.
    assert!(store.begin_attempt("one", at(200)).await.unwrap());
    assert_eq!(store.settle_attempts(Some("other"), at(99)).await.unwrap(), 0);
    assert_eq!(store.settle_attempts(None, at(99)).await.unwrap(), 1);
    assert!(store.queued_message("one").await.unwrap().unwrap().is_unknown);
    assert!(store.begin_attempt("one", at(201)).await.unwrap());
    assert!(!store.begin_attempt("gone", at(201)).await.unwrap());
}

#[tokio::test]
async fn time_that_it_is_held_does_not_count_and_the_administrators_word_outlasts_an_attempt() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    let one = async || store.queued_message("one").await.unwrap().unwrap();
    let seconds = chrono::Duration::seconds;
    let id = QueuedOf::Id("one");
    // Held for the set-up from 10 to 40, and by the administrator from 100 to 150.
    assert!(store.begin_attempt("one", at(10)).await.unwrap());
    store.end_attempt("one", &end(QueueState::HeldForSetup, at(20)), at(10)).await.unwrap();
    assert_eq!((one().await.state, one().await.age(at(30))), (QueueState::HeldForSetup, seconds(10)));
    assert!(store.begin_attempt("one", at(20)).await.unwrap());
    store.end_attempt("one", &end(QueueState::HeldForSetup, at(40)), at(20)).await.unwrap();
    assert!(store.begin_attempt("one", at(40)).await.unwrap());
    store.end_attempt("one", &end(QueueState::Waiting, at(90)), at(40)).await.unwrap();
    assert_eq!((one().await.state, one().await.age(at(60))), (QueueState::Waiting, seconds(30)));
    assert!(store.begin_attempt("one", at(90)).await.unwrap());
    assert_eq!(store.wish(id, QueueWish::Hold, at(100)).await.unwrap(), 1);
    store.end_attempt("one", &end(QueueState::Waiting, at(300)), at(110)).await.unwrap();
    assert_eq!(one().await.state, QueueState::Held, "it was held while it was on its way");
    assert!(!store.begin_attempt("one", at(400)).await.unwrap());
    assert_eq!(store.wish(id, QueueWish::Retry, at(120)).await.unwrap(), 1);
    assert_eq!(one().await.next_at, at(300));
    assert_eq!(
        store.wish(QueuedOf::Mailbox(&address("alice@contoso.test")), QueueWish::Release, at(150)).await.unwrap(),
        1
    );
    assert_eq!((one().await.state, one().await.next_at), (QueueState::Waiting, at(150)));
    assert_eq!(one().await.age(at(200)), seconds(120));
    assert_eq!(store.wish(QueuedOf::Password("k7m2qx"), QueueWish::Hold, at(160)).await.unwrap(), 1);
    assert_eq!(store.wish(QueuedOf::Password("other"), QueueWish::Hold, at(160)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_waiting_and_makes_nothing_older() {
    let (store, _folder) = store().await;
    let hours = chrono::Duration::hours;
    store.enqueue(&QueuedMessage { next_at: at(0) + hours(1), ..queued("soon", 0) }).await.unwrap();
    store.enqueue(&QueuedMessage { next_at: at(0) + hours(3), ..queued("far", 0) }).await.unwrap();
    let unknown = QueuedMessage {
        is_unknown: true,
        unknown_at: Some(at(500)),
        held_since: Some(at(500)),
        ..queued("unknown", 0)
    };
    store.enqueue(&unknown).await.unwrap();
    assert_eq!(store.heed_clock(at(10), hours(2)).await.unwrap(), 2);
    assert_eq!(store.heed_clock(at(10), hours(2)).await.unwrap(), 0);
    let one = async |id: &str| store.queued_message(id).await.unwrap().unwrap();
    assert_eq!((one("soon").await.next_at, one("far").await.next_at), (at(0) + hours(1), at(10)));
    assert_eq!(one("unknown").await.unknown_at, Some(at(10)));
    assert_eq!(one("unknown").await.age(at(10)), chrono::Duration::seconds(10));
}

#[tokio::test]
async fn what_the_administrator_holds_is_not_given_up_and_nobody_is_told_that_it_is() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    store.wish(QueuedOf::Id("one"), QueueWish::Hold, at(1)).await.unwrap();
    assert!(!store.note_told("one", Told::GivenUp, Some(&queued("report", 2))).await.unwrap());
    assert_eq!(store.queued_ids().await.unwrap(), ["one".to_owned()].into());
    store.wish(QueuedOf::Id("one"), QueueWish::Release, at(3)).await.unwrap();
    assert!(store.note_told("one", Told::GivenUp, Some(&queued("report", 4))).await.unwrap());
    assert_eq!(store.queued_ids().await.unwrap(), ["report".to_owned()].into());
    assert!(!store.note_told("one", Told::Failed, Some(&queued("other", 5))).await.unwrap(), "it is gone");
}

#[tokio::test]
async fn the_journal_is_searched_counted_and_shortened() {
    let (store, _folder) = store().await;
    let entry = |second: i64, of: &str, recipients: &[&str], outcome| JournalEntry {
        at: at(second),
        mailbox: address(of),
        password_id: "p1".to_owned(),
        queue_id: (outcome == JournalOutcome::Queued).then(|| format!("q{second}")),
        sender: of.to_owned(),
        recipients: recipients.iter().map(|&recipient| recipient.to_owned()).collect(),
        size_octets: 7,
        message_id: Some(format!("{second}@contoso.test")),
        route: (outcome == JournalOutcome::Delivered).then_some(Route::Smtp),
        outcome,
        reply: Some("250 2.0.0 OK".to_owned()),
    };
    let (alice, bob) = ("alice@contoso.test", "bob@contoso.test");
    let entries = [
        entry(0, alice, &["x@elsewhere.test", "Y@elsewhere.test"], JournalOutcome::Delivered),
        entry(10, alice, &["z@elsewhere.test"], JournalOutcome::Delivered),
        entry(700, alice, &["z@elsewhere.test"], JournalOutcome::Queued),
        entry(800, bob, &[], JournalOutcome::Refused),
        entry(900, alice, &["z@elsewhere.test"], JournalOutcome::Delivered),
    ];
    store.add_to_journal(&entries).await.unwrap();
    let found = async |filter: JournalFilter, most| store.journal(&filter, most).await.unwrap();
    let mut newest_first = entries.to_vec();
    newest_first.reverse();
    assert_eq!(found(JournalFilter::default(), 100).await, newest_first);
    assert_eq!(found(JournalFilter::default(), 2).await, newest_first[..2]);
    let with = |text: &str| JournalFilter { with: Some(text.to_owned()), ..JournalFilter::default() };
    assert_eq!(found(with("y@ELSEWHERE.test"), 9).await, entries[..1]);
    assert_eq!(found(with("q700"), 9).await, entries[2..3]);
    assert_eq!(found(with("800@contoso"), 9).await, entries[3..4]);
    assert_eq!(found(with("%"), 9).await, [], "it is no pattern");
    let of_bob = JournalFilter { mailbox: Some(address(bob)), ..JournalFilter::default() };
    assert_eq!(found(of_bob, 9).await, entries[3..4]);
    let late =
        JournalFilter { since: Some(at(800)), outcome: Some(JournalOutcome::Delivered), ..JournalFilter::default() };
    assert_eq!(found(late, 9).await, entries[4..]);

    let mut sent = store.sent_since(at(0)).await.unwrap();
    sent.sort_by_key(|(_, at, _)| *at);
    assert_eq!(sent, [(address(alice), at(10), 3), (address(alice), at(900), 1)]);
    assert_eq!(store.prune_journal(at(800)).await.unwrap(), 3);
    assert_eq!(found(JournalFilter::default(), 9).await.len(), 2);
}
