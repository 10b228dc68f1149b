//! The audit trail: what is in it, and that each way to touch it shows.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use postern::base::{Clock, Mailbox, Protocol, Secret};
use postern::foundation::Foundation;
use postern::store::{AuditFilter, AuditKind, Audited, SqliteStore};
use postern::telemetry::audit::{Audit, Findings, LoginSeen};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::common::{World, eventually};

/// As in the program.
const MOST_COUNTED: usize = 200;
const MOST_WAITING: usize = 20_000;

/// Somebody who writes to the store past Postern.
async fn intruder(folder: &std::path::Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join(SqliteStore::FILE)).connect().await.unwrap()
}

async fn trail() -> (Arc<SqliteStore>, Audit, Clock, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let clock = Clock::by_hand(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    let audit = Audit::new(Arc::clone(&store) as _, "one".to_owned(), &Secret::new([7; 32]), clock.clone(), None);
    (store, audit, clock, folder)
}

fn seen(address: &str) -> LoginSeen<'static> {
    LoginSeen {
        address: address.parse().unwrap(),
        protocol: Protocol::Imap,
        client: Some("Outlook"),
        tls: Some("TLSv1_3"),
        login: "alice@contoso.test",
        mailbox: None,
        password_id: None,
    }
}

async fn acts(audit: &Audit, count: u32) {
    for number in 0..count {
        audit.act(None, Some("id"), json!({ "act": "test", "number": number })).await.unwrap();
    }
}

#[tokio::test]
async fn an_untouched_trail_is_intact_and_each_way_to_touch_it_shows() {
    for (change, number) in [
        ("", 0),
        ("UPDATE audit SET details = '{}' WHERE number = 3", 3),
        ("UPDATE audit SET at = at + 1 WHERE number = 3", 3),
        ("UPDATE audit SET password_id = NULL WHERE number = 3", 3),
        ("UPDATE audit SET kind = 'login' WHERE number = 3", 3),
        ("UPDATE audit SET instance = 'two' WHERE number = 5", 0),
        ("DELETE FROM audit WHERE number = 3", 3),
        ("DELETE FROM audit WHERE number = 1", 1),
        ("DELETE FROM audit WHERE number = 5", 5),
        ("DELETE FROM audit", 1),
        ("DELETE FROM audit; DELETE FROM audit_end WHERE of = 'newest'", u64::MAX),
        ("UPDATE audit SET number = number + 10 WHERE number > 2", 3),
        ("UPDATE audit_end SET number = 4", 4),
        // The end of an entry that is there, which a thief of the store cannot seal.
        (
            "DELETE FROM audit WHERE number = 5; UPDATE audit_end SET number = 4, seal = (SELECT seal FROM audit WHERE number = 4)",
            4,
        ),
        (
            "INSERT INTO audit_end SELECT instance, 'pruned', 2, seal, at, own_seal FROM audit_end; DELETE FROM audit WHERE number < 3",
            0,
        ),
        ("DELETE FROM audit_end", 0),
        // In front of its beginning.
        (
            "INSERT INTO audit SELECT instance, 0, at, kind, mailbox, password_id, details, seal FROM audit WHERE number = 1",
            0,
        ),
        (
            "INSERT INTO audit SELECT instance, -7, at, kind, mailbox, password_id, details, seal FROM audit WHERE number = 1",
            0,
        ),
    ] {
        let (store, audit, clock, folder) = trail().await;
        acts(&audit, 5).await;
        for change in change.split(';').filter(|change| !change.is_empty()) {
            sqlx::query(sqlx::AssertSqlSafe(change.to_owned()))
                .execute(&mut intruder(folder.path()).await)
                .await
                .unwrap();
        }
        let Findings { chains: verified, broken, .. } = audit.verify().await.unwrap();
        match number {
            _ if change.is_empty() => assert_eq!((verified[0].entries, broken), (5, Vec::new())),
            // Where nothing of a chain is left, only the seal that was noted outside of the store tells.
            u64::MAX => assert_eq!((verified, broken), (Vec::new(), Vec::new())),
            number => assert!(broken.iter().any(|fault| fault.number == number), "{change}: {broken:?} {verified:?}"),
        }
        if change.is_empty() {
            continue;
        }
        // Nothing that Postern adds later makes it good again: the running process knows what it wrote, and a new one what was sealed.
        let again = Audit::new(Arc::clone(&store) as _, "one".to_owned(), &Secret::new([7; 32]), clock.clone(), None);
        let audits = if number == u64::MAX { vec![&audit] } else { vec![&again, &audit] };
        for audit in audits {
            acts(audit, 2).await;
            clock.turn(chrono::Duration::days(10));
            audit.prune(Duration::from_secs(24 * 3600)).await.unwrap();
            acts(audit, 1).await;
            let Findings { broken, .. } = audit.verify().await.unwrap();
            assert!(broken.iter().any(|fault| fault.instance == "one"), "{change}");
        }
    }
}

#[tokio::test]
async fn what_is_made_to_look_old_is_not_pruned() {
    let (_store, audit, _clock, folder) = trail().await;
    acts(&audit, 5).await;
    let change = "UPDATE audit SET at = 0 WHERE number <= 3";
    sqlx::query(change).execute(&mut intruder(folder.path()).await).await.unwrap();
    audit.prune(Duration::from_secs(24 * 3600)).await.unwrap();
    assert_eq!(audit.verify().await.unwrap().broken[0].number, 1);
    // More than are pruned at once.
    let (_store, audit, clock, _folder) = trail().await;
    for _ in 0..2500 {
        audit.login(seen("192.0.2.1"));
    }
    audit.upkeep().await.unwrap();
    clock.turn(chrono::Duration::days(10));
    audit.prune(Duration::from_secs(24 * 3600)).await.unwrap();
    let Findings { chains: verified, broken, .. } = audit.verify().await.unwrap();
    assert_eq!((verified[0].entries, verified[0].pruned, broken), (1, 2499, Vec::new()));
}

#[tokio::test]
async fn what_is_from_after_an_old_one_goes_with_it() {
    // A machine that began with its clock a year ahead.
    let (_store, audit, clock, _folder) = trail().await;
    clock.turn(chrono::Duration::days(365));
    acts(&audit, 1).await;
    clock.turn(chrono::Duration::days(-365));
    acts(&audit, 2).await;
    clock.turn(chrono::Duration::days(10));
    acts(&audit, 1).await;
    audit.prune(Duration::from_secs(24 * 3600)).await.unwrap();
    let Findings { chains, broken, .. } = audit.verify().await.unwrap();
    assert_eq!((chains[0].entries, chains[0].pruned, broken), (1, 3, Vec::new()));
}

#[tokio::test]
async fn an_older_end_cannot_be_put_back_while_the_newest_is_noted_outside_of_the_store() {
    let (store, _, clock, folder) = trail().await;
    let mark = folder.path().join("audit-newest");
    let begin = || {
        let (store, mark) = (Arc::clone(&store) as _, Some(mark.clone()));
        Audit::new(store, "one".to_owned(), &Secret::new([7; 32]), clock.clone(), mark)
    };
    acts(&begin(), 3).await;
    let mut intruder = intruder(folder.path()).await;
    let mut change = async |change: &str| {
        sqlx::query(sqlx::AssertSqlSafe(change.to_owned())).execute(&mut intruder).await.unwrap();
    };
    change("CREATE TABLE kept AS SELECT * FROM audit_end").await;
    acts(&begin(), 3).await;
    assert_eq!(begin().verify().await.unwrap().broken, []);
    change("DELETE FROM audit WHERE number > 3").await;
    change("DELETE FROM audit_end").await;
    change("INSERT INTO audit_end SELECT * FROM kept").await;
    assert_eq!(begin().verify().await.unwrap().broken[0].number, 6, "a new process sees it");
    acts(&begin(), 5).await;
    assert!(!begin().verify().await.unwrap().broken.is_empty(), "and what is added makes it no better");
    // Nor is what another process has written taken away from under one that runs.
    let (store, _, clock, folder) = trail().await;
    let mark = folder.path().join("audit-newest");
    let begin = || {
        let (store, mark) = (Arc::clone(&store) as _, Some(mark.clone()));
        Audit::new(store, "one".to_owned(), &Secret::new([7; 32]), clock.clone(), mark)
    };
    let serve = begin();
    acts(&serve, 3).await;
    let mut intruder = self::intruder(folder.path()).await;
    let mut change = async |change: &str| {
        sqlx::query(sqlx::AssertSqlSafe(change.to_owned())).execute(&mut intruder).await.unwrap();
    };
    change("CREATE TABLE kept AS SELECT * FROM audit_end").await;
    acts(&begin(), 1).await;
    for statement in
        ["DELETE FROM audit WHERE number > 3", "DELETE FROM audit_end", "INSERT INTO audit_end SELECT * FROM kept"]
    {
        change(statement).await;
    }
    acts(&serve, 2).await;
    assert!(!begin().verify().await.unwrap().broken.is_empty(), "the act of the command line is gone");
    // Nor what is noted behind one that was touched.
    let (store, _, clock, folder) = trail().await;
    let mark = folder.path().join("audit-newest");
    let begin = || {
        let (store, mark) = (Arc::clone(&store) as _, Some(mark.clone()));
        Audit::new(store, "one".to_owned(), &Secret::new([7; 32]), clock.clone(), mark)
    };
    acts(&begin(), 3).await;
    let mut intruder = self::intruder(folder.path()).await;
    let mut change = async |change: &str| {
        sqlx::query(sqlx::AssertSqlSafe(change.to_owned())).execute(&mut intruder).await.unwrap();
    };
    change("CREATE TABLE kept AS SELECT * FROM audit_end").await;
    change("UPDATE audit_end SET own_seal = zeroblob(32)").await;
    acts(&begin(), 3).await;
    for statement in
        ["DELETE FROM audit WHERE number > 3", "DELETE FROM audit_end", "INSERT INTO audit_end SELECT * FROM kept"]
    {
        change(statement).await;
    }
    assert_eq!(begin().verify().await.unwrap().broken[0].number, 6);
    // Nor the whole chain.
    change("DELETE FROM audit").await;
    change("DELETE FROM audit_end").await;
    assert!(begin().verify().await.unwrap().broken.iter().any(|fault| fault.number == 6));
    // One that says what Postern has not said.
    let (_store, audit, ..) = trail().await;
    acts(&audit, 1).await;
    std::fs::write(&mark, "1 00 00").unwrap();
    assert!(begin().verify().await.unwrap().broken.iter().any(|fault| fault.number == 0));
}

#[tokio::test]
async fn what_reads_the_same_and_is_not_found_any_more_was_changed() {
    let alice: Mailbox = "alice@contoso.test".parse().unwrap();
    for change in ["UPDATE audit SET mailbox = upper(mailbox)", "UPDATE audit SET password_id = ''"] {
        let (_store, audit, _clock, folder) = trail().await;
        audit.act(Some(&alice), None, json!({ "act": "test" })).await.unwrap();
        assert_eq!(audit.verify().await.unwrap().broken, []);
        sqlx::query(change).execute(&mut intruder(folder.path()).await).await.unwrap();
        assert_eq!(audit.verify().await.unwrap().broken[0].number, 1, "{change}");
    }
}

#[tokio::test]
async fn one_fault_hides_no_other() {
    let (_store, audit, _clock, folder) = trail().await;
    acts(&audit, 6).await;
    for change in [
        "UPDATE audit_end SET own_seal = zeroblob(32)",
        "UPDATE audit SET details = '{}' WHERE number = 2",
        "DELETE FROM audit WHERE number = 4",
    ] {
        sqlx::query(change).execute(&mut intruder(folder.path()).await).await.unwrap();
    }
    let broken = audit.verify().await.unwrap().broken;
    let numbers: Vec<u64> = broken.iter().map(|fault| fault.number).collect();
    assert_eq!(numbers, [6, 2, 4], "the end, and each entry that was touched");
}

#[tokio::test]
async fn what_was_settled_is_broken_again_only_where_something_more_is_changed() {
    let (store, audit, clock, folder) = trail().await;
    acts(&audit, 3).await;
    let change = async |change: &'static str| {
        sqlx::query(change).execute(&mut intruder(folder.path()).await).await.unwrap();
    };
    change("UPDATE audit SET details = '{}' WHERE number = 2").await;
    let next = Audit::new(Arc::clone(&store) as _, "two".to_owned(), &Secret::new([7; 32]), clock.clone(), None);
    let broken = next.verify().await.unwrap().broken;
    next.settle(&broken[0], "root", Some("a test")).await.unwrap();
    let findings = next.verify().await.unwrap();
    assert_eq!((findings.broken, findings.settled.len(), findings.chains.len()), (Vec::new(), 1, 1));
    let settled = &findings.settled[0];
    assert_eq!((settled.instance.as_str(), settled.number, settled.by.as_str()), ("one", 2, "root"));
    // Nobody without the key settles anything, and what is changed afterwards shows.
    change("UPDATE audit SET details = '{ }' WHERE number = 2").await;
    let findings = next.verify().await.unwrap();
    assert_eq!((findings.broken[0].number, findings.settled), (2, Vec::new()));
    assert_eq!(findings.broken[0].why, "something was changed since it was settled");
    change("UPDATE audit SET details = '{}' WHERE number = 2").await;
    assert_eq!(next.verify().await.unwrap().broken, []);
    // Nor is it made to vanish, or filled up in front.
    change("CREATE TABLE kept AS SELECT * FROM audit WHERE instance = 'one'").await;
    for gone in [
        "DELETE FROM audit WHERE instance = 'one'",
        "INSERT INTO audit SELECT instance, -7, at, kind, mailbox, password_id, details, seal FROM kept WHERE number = 1",
    ] {
        change(gone).await;
        assert_eq!(next.verify().await.unwrap().broken[0].instance, "one", "{gone}");
        change("DELETE FROM audit WHERE instance = 'one'").await;
        change("INSERT INTO audit SELECT * FROM kept").await;
        assert_eq!(next.verify().await.unwrap().broken, []);
    }
    // When it is as old as what is forgotten, all of it goes, also where other entries have come since.
    acts(&next, 3).await;
    clock.turn(chrono::Duration::days(10));
    acts(&next, 2).await;
    next.prune(Duration::from_secs(24 * 3600)).await.unwrap();
    assert_eq!(store.audit_instances().await.unwrap(), ["two"]);
    let findings = next.verify().await.unwrap();
    assert_eq!((findings.broken, findings.chains[0].pruned), (Vec::new(), 4));
}

#[tokio::test]
async fn what_stands_in_front_of_a_settled_chain_is_settled_as_it_reads() {
    let (store, audit, clock, folder) = trail().await;
    acts(&audit, 3).await;
    let change = async |change: &'static str| {
        sqlx::query(change).execute(&mut intruder(folder.path()).await).await.unwrap();
    };
    change("CREATE TABLE kept AS SELECT * FROM audit").await;
    clock.turn(chrono::Duration::days(10));
    acts(&audit, 1).await;
    audit.prune(Duration::from_secs(24 * 3600)).await.unwrap();
    change("INSERT INTO audit SELECT * FROM kept WHERE number = 2").await;
    let next = Audit::new(Arc::clone(&store) as _, "two".to_owned(), &Secret::new([7; 32]), clock.clone(), None);
    let broken = next.verify().await.unwrap().broken;
    assert_eq!((broken[0].number, broken[0].why), (3, "an entry was put in front of where it begins"));
    next.settle(&broken[0], "root", None).await.unwrap();
    assert_eq!(next.verify().await.unwrap().broken, []);
    change("UPDATE audit SET details = '{}' WHERE number = 2").await;
    assert_eq!(next.verify().await.unwrap().broken[0].why, "something was changed since it was settled");
    change("UPDATE audit SET details = (SELECT details FROM kept WHERE number = 2) WHERE number = 2").await;
    assert_eq!(next.verify().await.unwrap().broken, []);
}

#[tokio::test]
async fn who_waited_while_a_chain_was_settled_writes_into_the_next_one() {
    let (store, _audit, clock, folder) = trail().await;
    let (mark, named) = (folder.path().join("audit-newest"), folder.path().join("instance"));
    let begin = |name: &str, mark| {
        Audit::new(Arc::clone(&store) as _, name.to_owned(), &Secret::new([7; 32]), clock.clone(), mark)
    };
    std::fs::write(&named, "one").unwrap();
    let waits = begin("one", Some(mark.clone()));
    acts(&waits, 2).await;
    // As `postern audit settle` does it, in another process.
    let next = begin("two", None);
    sqlx::query("UPDATE audit SET details = '{}' WHERE number = 2")
        .execute(&mut intruder(folder.path()).await)
        .await
        .unwrap();
    let broken = next.verify().await.unwrap().broken;
    next.settle(&broken[0], "root", None).await.unwrap();
    std::fs::write(&named, "two").unwrap();
    std::fs::remove_file(&mark).unwrap();
    acts(&waits, 1).await;
    for audit in [&next, &begin("two", Some(mark.clone()))] {
        let findings = audit.verify().await.unwrap();
        assert_eq!((findings.broken, findings.settled.len()), (Vec::new(), 1));
        assert_eq!((findings.chains[0].instance.as_str(), findings.chains[0].entries), ("two", 2));
    }
}

#[tokio::test]
async fn who_breaks_the_writing_off_loses_nothing() {
    let (store, audit, _clock, _folder) = trail().await;
    for _ in 0..50 {
        audit.login(seen("192.0.2.1"));
    }
    tokio::select! {
        biased;
        done = audit.upkeep() => panic!("it does not end at once: {done:?}"),
        () = tokio::task::yield_now() => {}
    }
    audit.close().await.unwrap();
    assert!(store.audit(&AuditFilter::default(), 1000).await.unwrap().len() >= 50);
    assert_eq!(audit.verify().await.unwrap().broken, []);
}

#[tokio::test]
async fn one_app_password_crowds_out_no_other() {
    let (store, audit, _clock, _folder) = trail().await;
    for number in 0..6000 {
        let id = format!("id{}", number % 30);
        let address = format!("10.{}.{}.1", number / 250, number % 250);
        audit.login_refused(LoginSeen { password_id: Some(&id), ..seen(&address) }, "login-refused", "revoked");
    }
    let mine = LoginSeen { password_id: Some("k7m2qx4b"), ..seen("198.51.100.7") };
    audit.login_refused(mine, "app-password-elsewhere", "stolen");
    audit.upkeep().await.unwrap();
    let filter = AuditFilter { password_id: Some("k7m2qx4b".to_owned()), ..AuditFilter::default() };
    let of_it = store.audit(&filter, 10).await.unwrap();
    assert!(of_it.len() == 1 && of_it[0].entry.details.contains("198.51.100.7"), "{of_it:?}");
    assert!(store.audit(&AuditFilter::default(), 10_000).await.unwrap().len() <= 5001);
}

#[tokio::test]
async fn two_writers_of_one_chain_and_another_instance_keep_their_chains_whole() {
    let (store, audit, clock, _folder) = trail().await;
    let other = Audit::new(Arc::clone(&store) as _, "two".to_owned(), &Secret::new([7; 32]), clock.clone(), None);
    let same = Audit::new(Arc::clone(&store) as _, "one".to_owned(), &Secret::new([7; 32]), clock, None);
    tokio::join!(acts(&audit, 20), acts(&same, 20), acts(&other, 20));
    let Findings { chains: verified, broken, .. } = audit.verify().await.unwrap();
    assert_eq!(broken, []);
    assert_eq!(
        verified.iter().map(|chain| (chain.instance.as_str(), chain.entries)).collect::<Vec<_>>(),
        [("one", 40), ("two", 20)]
    );
    // Under another key nothing is true.
    let stranger = Audit::new(Arc::clone(&store) as _, "one".to_owned(), &Secret::new([8; 32]), Clock::system(), None);
    let broken = stranger.verify().await.unwrap().broken;
    assert!(["one", "two"].iter().all(|name| broken.iter().any(|fault| fault.instance == *name)), "{broken:?}");
}

#[tokio::test]
async fn what_is_pruned_leaves_a_sealed_note_and_the_rest_stays_true() {
    let (_store, audit, clock, folder) = trail().await;
    acts(&audit, 3).await;
    clock.turn(chrono::Duration::days(10));
    acts(&audit, 2).await;
    audit.prune(Duration::from_secs(5 * 24 * 3600)).await.unwrap();
    let Findings { chains: verified, broken, .. } = audit.verify().await.unwrap();
    assert_eq!((verified[0].entries, verified[0].pruned, verified[0].newest, broken), (2, 3, 5, Vec::new()));
    // Nothing of it can be taken away further, and nothing be put back.
    sqlx::query("DELETE FROM audit WHERE number = 4").execute(&mut intruder(folder.path()).await).await.unwrap();
    assert_eq!(audit.verify().await.unwrap().broken[0].number, 4);
    // The newest stays, however old it is.
    let (_store, audit, clock, _folder) = trail().await;
    acts(&audit, 3).await;
    clock.turn(chrono::Duration::days(10));
    audit.prune(Duration::from_secs(24 * 3600)).await.unwrap();
    assert_eq!(audit.verify().await.unwrap().chains[0].entries, 1);
    acts(&audit, 1).await;
    assert_eq!(audit.verify().await.unwrap().broken, []);
}

#[tokio::test]
async fn logins_are_written_together_and_a_flood_of_guesses_is_counted() {
    let (store, audit, clock, _folder) = trail().await;
    let all = async || store.audit(&AuditFilter::default(), 10_000).await.unwrap();
    let alice: Mailbox = "alice@contoso.test".parse().unwrap();
    audit.login(LoginSeen { mailbox: Some(&alice), password_id: Some("k7m2qx4b"), ..seen("192.0.2.1") });
    assert!(all().await.is_empty(), "not before the second is over");
    audit.upkeep().await.unwrap();
    let records = all().await;
    assert_eq!((records[0].entry.kind, records[0].entry.password_id.as_deref()), (AuditKind::Login, Some("k7m2qx4b")));
    let details: Value = serde_json::from_str(&records[0].entry.details).unwrap();
    assert_eq!(details["client"], "Outlook");
    assert_eq!(details["tls"], "TLSv1_3");

    // From 1,000 addresses, 10 times each, half of them of one /64.
    for round in 0..10 {
        for number in 0..500 {
            audit.login_refused(seen(&format!("10.0.{}.{}", number / 250, number % 250)), "login-refused", "x");
            audit.login_refused(seen(&format!("2001:db8::{round}:{number}")), "login-refused", "x");
        }
    }
    audit.upkeep().await.unwrap();
    assert_eq!(all().await.len(), 1 + MOST_COUNTED, "the first of each address, as far as they are told apart");
    clock.turn(chrono::Duration::seconds(60));
    audit.upkeep().await.unwrap();
    let records = all().await;
    assert_eq!(records.len(), 1 + 2 * MOST_COUNTED + 1);
    let further = records
        .iter()
        .filter_map(|record| serde_json::from_str::<Value>(&record.entry.details).unwrap().get("further")?.as_u64());
    assert_eq!(further.sum::<u64>() + MOST_COUNTED as u64, 10_000, "none is forgotten");
    // A right app password is told apart from all of them, however many there are in that minute, and its own flood is counted.
    for number in 0..500 {
        audit.login_refused(seen(&format!("10.0.{}.{}", number / 250, number % 250)), "login-refused", "x");
    }
    for number in 0..500 {
        let address = format!("10.1.{}.{}", number / 250, number % 250);
        let mine = LoginSeen { mailbox: Some(&alice), password_id: Some("p5t9wd3h"), ..seen(&address) };
        audit.login_refused(mine, "app-password-elsewhere", "x");
    }
    clock.turn(chrono::Duration::seconds(60));
    audit.upkeep().await.unwrap();
    let filter = AuditFilter { password_id: Some("p5t9wd3h".to_owned()), ..AuditFilter::default() };
    let of_it = store.audit(&filter, 1000).await.unwrap();
    assert_eq!(of_it.len(), MOST_COUNTED + 1);
    assert!(of_it.iter().any(|record| record.entry.details.contains("\"further\":300")));
    assert!(of_it.iter().all(|record| record.entry.mailbox.as_ref() == Some(&alice)));
    // With a right app password, each by itself, also in the last moment.
    let mine = LoginSeen { password_id: Some("k7m2qx4b"), ..seen("192.0.2.1") };
    audit.login_refused(mine, "login-refused", "revoked");
    audit.login_refused(mine, "login-refused", "revoked");
    audit.login_refused(mine, "login-refused", "network");
    audit.close().await.unwrap();
    let filter = AuditFilter {
        kind: Some(AuditKind::LoginRefused),
        password_id: Some("k7m2qx4b".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(store.audit(&filter, 10).await.unwrap().len(), 3);
    assert_eq!(audit.verify().await.unwrap().broken, []);
}

#[tokio::test]
async fn what_cannot_be_written_waits_and_what_is_lost_is_counted() {
    let (store, audit, _clock, folder) = trail().await;
    sqlx::query("ALTER TABLE audit RENAME TO away").execute(&mut intruder(folder.path()).await).await.unwrap();
    for _ in 0..(MOST_WAITING + 10) {
        audit.login(seen("192.0.2.1"));
    }
    audit.upkeep().await.unwrap_err();
    audit.login(seen("192.0.2.1"));
    sqlx::query("ALTER TABLE away RENAME TO audit").execute(&mut intruder(folder.path()).await).await.unwrap();
    audit.upkeep().await.unwrap();
    audit.upkeep().await.unwrap();
    let records = store.audit(&AuditFilter::default(), 50_000).await.unwrap();
    assert!(records.len() >= MOST_WAITING);
    assert!(records.iter().any(|record| record.entry.details.contains("could not be written in time")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_administrators_do_and_who_logs_in_can_be_read_exported_and_verified() {
    const ALICE: &str = "alice@contoso.test";
    let mut world = World::start().await;
    let issued = world.issue_with(ALICE, |request| request.label = "scanner".to_owned()).await;
    let id = issued.row.id.clone();
    let password = issued.password.expose().clone();
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
    for _ in 0..3 {
        assert!(world.imap(ALICE, "wrong-wrong-wrong-wrong").await.1.starts_with("in NO "));
    }
    world.ops.revoke_password(&id).await.unwrap();
    assert!(world.imap(ALICE, &password).await.1.starts_with("in NO "));
    let kinds = async |kind| {
        let filter = AuditFilter { kind: Some(kind), ..AuditFilter::default() };
        world.ops.audit(&filter, 100).await.unwrap()
    };
    eventually("the logins", async || {
        kinds(AuditKind::Login).await.len() == 1 && kinds(AuditKind::LoginRefused).await.len() == 1
    })
    .await;
    let login = kinds(AuditKind::Login).await.remove(0);
    assert_eq!((login.entry.mailbox.unwrap().as_str(), login.entry.password_id.as_deref()), (ALICE, Some(id.as_str())));
    let refused = kinds(AuditKind::LoginRefused).await.remove(0);
    assert!(refused.entry.details.contains("the app password was revoked"), "{refused:?}");
    let strangers = kinds(AuditKind::Strangers).await;
    // The minute may have turned.
    assert!((1..=3).contains(&strangers.len()), "the others of a minute are counted: {strangers:?}");
    let acts: Vec<Value> =
        kinds(AuditKind::Act).await.iter().map(|record| serde_json::from_str(&record.entry.details).unwrap()).collect();
    assert_eq!((&acts[0]["act"], &acts[1]["act"]), (&"password revoked".into(), &"password issued".into()));
    assert_eq!(acts[1]["label"], "scanner");
    assert!(!acts[0]["by"].as_str().unwrap().is_empty());
    // By the command line.
    let config_file = world.config_file();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_postern"))
            .arg("--config")
            .arg(&config_file)
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, listed, _) = run(&["audit", "list", "--mailbox", ALICE]);
    assert_eq!(status, Some(0));
    for part in ["password revoked", "password issued", "login refused", "wrong login", "127.0.0.1", "scanner", &id] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let (status, exported, _) = run(&["audit", "export"]);
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(status, Some(0));
    assert!(lines.len() >= 5 && !exported.contains(&password));
    let second = format!("{}:{}", lines[0]["instance"].as_str().unwrap(), lines[1]["number"]);
    assert_eq!(run(&["audit", "export", "--after", &second]).1.lines().count(), lines.len() - 2);
    let (status, said, told) = run(&["audit", "verify"]);
    assert_eq!(status, Some(0), "{said} {told}");
    assert!(told.contains("nothing was changed"), "{told}");
    let mut intruder = intruder(&world.config.data_dir).await;
    sqlx::query("DELETE FROM audit WHERE kind = 'login-refused'").execute(&mut intruder).await.unwrap();
    let (status, said, _) = run(&["audit", "verify", "--json"]);
    let document: Value =
        serde_json::from_str(said.lines().next().unwrap()).unwrap_or_else(|_| serde_json::from_str(&said).unwrap());
    assert_eq!((status, &document["intact"]), (Some(1), &false.into()));
    // Somebody has looked into it. Not while a process goes on with that chain.
    let (status, _, told) = run(&["audit", "settle"]);
    assert_eq!(status, Some(1));
    assert!(told.contains("serves this data folder"), "{told}");
    world.stop_serving().await;
    let (status, _, told) = run(&["audit", "settle", "--reason", "an intern"]);
    assert_eq!(status, Some(0), "{told}");
    let (status, said, told) = run(&["audit", "verify"]);
    assert_eq!(status, Some(0), "{said} {told}");
    assert!(said.contains(": an intern\n") && told.contains("since"), "{said} {told}");
    let (status, _, told) = run(&["audit", "settle"]);
    assert_eq!(status, Some(0));
    assert!(told.contains("nothing is broken"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_settled_while_a_process_began_is_known_to_be_another() {
    let mut world = World::start().await;
    let password = world.issue("alice@contoso.test").await;
    world.stop_serving().await;
    let early = Foundation::open(&world.config).await.unwrap();
    let mut settling = Foundation::open(&world.config).await.unwrap();
    assert!(!early.is_superseded(&world.config).unwrap());
    let before = early.audit.instance().to_owned();
    let next = settling.new_chain().unwrap();
    settling.go_on_with(&world.config, &next).unwrap();
    assert!(early.is_superseded(&world.config).unwrap(), "whoever had opened it before has to open it anew");
    assert!(!settling.is_superseded(&world.config).unwrap());
    let late = Foundation::open(&world.config).await.unwrap();
    assert_eq!(late.audit.instance(), next.instance());

    // Whoever serves from now on writes to the new one.
    world.serve().await;
    assert!(world.imap("alice@contoso.test", &password).await.1.starts_with("in OK "));
    world.stop_serving().await;
    let of = async |instance: &str| late.store.audit_behind(instance, 0, 1000).await.unwrap();
    let has_login =
        |records: &[postern::store::AuditRecord]| records.iter().any(|record| record.entry.kind == AuditKind::Login);
    assert!(has_login(&of(next.instance()).await));
    assert!(!has_login(&of(&before).await));
}
