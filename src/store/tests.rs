//! What every store must do, tried on SQLite.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;

mod queue;

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
        halted_at: None,
        created_at: at(0),
    }
}

fn password(id: &str, of: &str, byte: u8) -> AppPasswordRecord {
    AppPasswordRecord {
        id: id.to_owned(),
        mailbox: address(of),
        label: "scanner, 3rd floor".to_owned(),
        verifier: Verifier([byte; 32]),
        slow_hash: None,
        protocols: vec![Protocol::Smtp, Protocol::Imap],
        networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        delivery: DeliveryMode::Direct,
        senders: SenderScope::default(),
        scope: UseScope::default(),
        first_use: None,
        ends_unused: None,
        created_at: at(1),
        expires_at: Some(at(100)),
        revoked_at: None,
        last_used_at: None,
        replaces: None,
        tracking: crate::store::Tracking::default(),
    }
}

/// A login at this time.
fn used(second: i64) -> NotedUse {
    let last =
        LastUse { address: std::net::IpAddr::from([192, 0, 2, 7]), protocol: Protocol::Imap, client: None, tls: None };
    NotedUse { last: Some((at(second), last)), logins: 1, refusals: 0 }
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
async fn an_old_one_ends_when_its_successor_is_used_and_it_is_not() {
    let (store, _folder) = store().await;
    store.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
    let hours = chrono::Duration::hours;
    let used = async |id: &str, when: DateTime<Utc>| {
        let last = LastUse { address: "192.0.2.1".parse().unwrap(), protocol: Protocol::Smtp, client: None, tls: None };
        let use_ = NotedUse { last: Some((when, last)), logins: 1, refusals: 0 };
        store.note_uses(&[(id.to_owned(), use_)]).await.unwrap();
    };
    for (old, new, number, ends_unused) in [("one", "two", 1, Some(hours(48))), ("three", "four", 3, None)] {
        let record = |id, number| AppPasswordRecord { expires_at: None, ..password(id, "alice@contoso.test", number) };
        store.add_app_password(&record(old, number)).await.unwrap();
        let successor =
            AppPasswordRecord { replaces: Some(old.to_owned()), created_at: at(0), ..record(new, number + 1) };
        let done = store.rotate_app_password(&successor, at(0) + hours(24 * 30), ends_unused).await.unwrap();
        assert_eq!(done, Rotation::Done);
    }
    let ended = async |now| -> Vec<String> {
        store.end_disused(now).await.unwrap().into_iter().map(|record| record.id).collect()
    };
    assert!(ended(at(0) + hours(100)).await.is_empty(), "nobody uses the new one");
    used("two", at(0) + hours(90)).await;
    used("four", at(0) + hours(90)).await;
    used("one", at(0) + hours(60)).await;
    assert!(ended(at(0) + hours(107)).await.is_empty(), "the old one was used 47 hours ago");
    // A session that logged in long ago is a use.
    store.note_in_use(&["one".to_owned()], at(0) + hours(61)).await.unwrap();
    assert!(ended(at(0) + hours(108)).await.is_empty());
    let before = store.revision().await.unwrap();
    assert_eq!(ended(at(0) + hours(109)).await, ["one"]);
    assert!(store.revision().await.unwrap() > before, "which the gate has to hear");
    assert!(ended(at(0) + hours(110)).await.is_empty(), "once");
    // Nor does a successor that has ended itself end anything.
    let record = |id, number| AppPasswordRecord { expires_at: None, ..password(id, "alice@contoso.test", number) };
    store.add_app_password(&record("five", 5)).await.unwrap();
    let successor = AppPasswordRecord {
        replaces: Some("five".to_owned()),
        created_at: at(0),
        expires_at: Some(at(0) + hours(100)),
        ..record("six", 6)
    };
    store.rotate_app_password(&successor, at(0) + hours(24 * 30), Some(hours(48))).await.unwrap();
    used("six", at(0) + hours(90)).await;
    assert!(ended(at(0) + hours(120)).await.is_empty());
    let records = store.app_passwords().await.unwrap();
    let end = |id: &str| records.iter().find(|record| record.id == id).unwrap().expires_at;
    assert_eq!((end("one"), end("three")), (Some(at(0) + hours(109)), Some(at(0) + hours(24 * 30))));
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
    store.note_uses(&[("a".to_owned(), used(50)), ("gone".to_owned(), used(50))]).await.unwrap();
    grown("use", false).await;
    other.revoke_app_password("a", at(60)).await.unwrap();
    grown("revoke", true).await;
    other.disable_mailbox(&address("alice@contoso.test"), Some(at(70))).await.unwrap();
    grown("disable", true).await;
    store.note_uses(&[("a".to_owned(), used(10))]).await.unwrap();
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
    store.note_uses(&[("p0".to_owned(), used(50))]).await.unwrap();
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

#[tokio::test]
async fn a_link_to_the_console_is_taken_once_and_not_when_it_is_over() {
    let (store, _folder) = store().await;
    let link = |number: u8, second| ConsoleLinkRecord {
        digest: [number; 32],
        created_by: "root".to_owned(),
        expires_at: at(second),
    };
    for number in 1..=3 {
        store.add_console_link(&link(number, 10 * i64::from(number)), at(0)).await.unwrap();
    }
    assert_eq!(store.take_console_link(&[9; 32], at(5)).await.unwrap(), None);
    assert_eq!(store.take_console_link(&[1; 32], at(10)).await.unwrap(), None, "its time has come");
    assert_eq!(store.take_console_link(&[2; 32], at(19)).await.unwrap(), Some(link(2, 20)));
    assert_eq!(store.take_console_link(&[2; 32], at(19)).await.unwrap(), None, "once");
    // What is over is forgotten, what is not stays.
    store.add_console_link(&link(4, 90), at(20)).await.unwrap();
    assert_eq!(store.take_console_link(&[1; 32], at(0)).await.unwrap(), None);
    assert_eq!(store.take_console_link(&[3; 32], at(20)).await.unwrap(), Some(link(3, 30)));
}
