//! Sealing, the keys of a data folder, and a change of the master key that stops wherever it can.

use std::path::PathBuf;
use std::{fs, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use tempfile::TempDir;

use super::*;
use crate::base::envelope::Envelope;
use crate::base::{Mailbox, TenantName};
use crate::store::{SealedRecords, SignIns, SqliteStore, Store};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

fn tenant() -> TenantName {
    TenantName::new("contoso")
}

fn account(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn ring(octet: u8) -> Ring {
    Ring::of(Arc::new(MasterKey::new(Secret::new([octet; 32]))))
}

fn key_text(octet: u8) -> String {
    STANDARD.encode([octet; 32]) + "\n"
}

/// A data folder with sign-ins of Alice and Bob.
struct Data {
    folder: TempDir,
    source: KeySource,
    pepper: [u8; 32],
}

impl Data {
    async fn new(source: impl FnOnce(&Path) -> KeySource) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = source(folder.path());
        let (vault, pepper) = Vault::open(&folder.path().join("data"), &source, true).unwrap();
        let data = Self { folder, source, pepper: *pepper.expose() };
        let store = data.store().await;
        for (name, token) in [(ALICE, "token of alice"), (BOB, "token of bob")] {
            data.sign_in(&store, &vault, name, token).await;
        }
        store.close().await;
        data
    }

    /// With a key in a file of the administrator's.
    async fn with_file() -> Self {
        Self::new(|folder| {
            fs::write(folder.join("master"), key_text(1)).unwrap();
            KeySource::File(folder.join("master"))
        })
        .await
    }

    async fn sign_in(&self, store: &SqliteStore, vault: &Vault, name: &str, token: &str) {
        let (tenant, account) = (tenant(), account(name));
        let place = Place::RefreshToken { tenant: &tenant, account: &account };
        keep(store, &account, vault.seal(place, token.as_bytes()).unwrap()).await;
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn keys(&self, name: &str) -> PathBuf {
        self.dir().join("keys").join(name)
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.dir()).await.unwrap()
    }

    fn open(&self) -> Result<Vault, VaultError> {
        let (vault, pepper) = Vault::open(&self.dir(), &self.source, false)?;
        assert_eq!(*pepper.expose(), self.pepper, "the pepper never changes");
        Ok(vault)
    }

    /// Everything opens with this vault.
    async fn is_whole(&self, vault: &Vault, when: &str) {
        let store = self.store().await;
        let records = store.sealed_records().await.unwrap();
        assert_eq!(records.len(), 2, "{when}");
        for (record, token) in records.iter().zip(["token of alice", "token of bob"]) {
            let opened = vault.unseal(Place::from(record), &record.sealed);
            let opened = opened.unwrap_or_else(|error| panic!("{when}: {error}"));
            assert_eq!(opened.expose(), token.as_bytes(), "{when}");
        }
        store.close().await;
    }

    /// Everything is under this key, and nothing leads from another to it.
    async fn is_finished(&self, key: KeyId, when: &str) {
        let store = self.store().await;
        for record in store.sealed_records().await.unwrap() {
            assert_eq!(Envelope::read(&record.sealed).unwrap().key, Some(key), "{when}: {:?}", record.of);
        }
        store.close().await;
        assert_eq!(folder::key_of(&self.keys("pepper.sealed")), Some(key), "{when}");
        assert!(!self.keys("next.sealed").exists(), "{when}");
        let left = fs::read_dir(self.dir().join("keys"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "new"));
        assert_eq!(left.count(), 0, "{when}");
    }

    /// The folder as it is on disk at this moment.
    fn copy(&self) -> Self {
        let stamps = || {
            let of = |(path, _): &(PathBuf, Vec<u8>)| Some((path.clone(), fs::metadata(path).ok()?.modified().ok()?));
            everything(self.folder.path()).map(|files| files.iter().filter_map(of).collect::<Vec<_>>())
        };
        let folder = loop {
            let (folder, before) = (tempfile::tempdir().unwrap(), stamps());
            // A store that was closed just before may still be tidying up in a thread of its own.
            if before.is_ok() && copy(self.folder.path(), folder.path()).is_ok() && before.ok() == stamps().ok() {
                break folder;
            }
        };
        let source = match &self.source {
            KeySource::File(path) => {
                KeySource::File(folder.path().join(path.strip_prefix(self.folder.path()).unwrap()))
            }
            source => source.clone(),
        };
        Self { folder, source, pepper: self.pepper }
    }
}

async fn keep(store: &SqliteStore, account: &Mailbox, sealed: Vec<u8>) {
    let at = DateTime::UNIX_EPOCH;
    let record = sign_in_record(&tenant(), account, sealed, at);
    store.keep_sign_in(&record).await.unwrap();
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target)?;
        } else if path.extension().is_none_or(|extension| extension != "db-shm") {
            // The index of the log in memory is made anew, as after a crash.
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

fn everything(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(everything(&path)?);
        } else {
            found.push((path.clone(), fs::read(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

fn unwatched() -> impl FnMut(Step) + Send {
    |_| {}
}

#[test]
fn a_sealed_token_opens_only_in_its_own_place_and_whole() {
    let ours = ring(7);
    let (tenant, alice, bob) = (tenant(), account(ALICE), account(BOB));
    let place = Place::RefreshToken { tenant: &tenant, account: &alice };
    let sealed = ours.sealing.seal(place, b"0.ARoA-refresh").unwrap();
    assert_eq!(ours.open(place, &sealed).unwrap().expose(), b"0.ARoA-refresh");
    assert!(!sealed.windows(7).any(|window| window == b"refresh"));

    let swapped = ours.open(Place::RefreshToken { tenant: &tenant, account: &bob }, &sealed).unwrap_err();
    assert!(matches!(swapped, VaultError::Damaged { .. }), "{swapped}");
    let other = ring(8).open(place, &sealed).unwrap_err();
    assert_eq!(
        other.to_string(),
        format!("the sign-in of {ALICE} was sealed by the key 2bf3acbaabbc8369, which is not known here")
    );
    for place_of_bit in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[place_of_bit] ^= 1;
        let error = ours.open(place, &flipped).unwrap_err();
        assert!(error.to_string().starts_with(&format!("the sign-in of {ALICE} ")), "{error}");
        let in_the_id = (1..=KeyId::OCTETS).contains(&place_of_bit);
        assert_eq!(matches!(error, VaultError::Damaged { .. }), !in_the_id, "octet {place_of_bit}: {error}");
        assert!(error.remedy().unwrap().contains(&format!("postern mailbox connect {ALICE}")));
    }
    for length in 0..sealed.len() {
        assert!(ours.open(place, &sealed[..length]).is_err());
    }
}

/// Made with pyca/cryptography, so that the layout is held by something else than this code.
#[test]
fn both_versions_are_read_as_they_are_laid_down_and_the_first_becomes_the_second() {
    let first = STANDARD
        .decode(
            "AQEBAQEBAQEBAQEBAXbgi7SUuuoJ2d3WKnw6fj646gbnDIItBEAoWXl6qSikRHDZ8cruSgHsx8m5nJ8f4gICAgICAgICAgICAqsGWOnWmBwpruPQnUAROhKPa5\
             cJnqC8Z4Nk7vkqzg==",
        )
        .unwrap();
    let second = STANDARD
        .decode(
            "AivzrLqrvINpAQEBAQEBAQEBAQEBduCLtJS66gnZ3dYqfDp+PrjqBucMgi0EQChZeXqpKKSdi4NljaHH7JQD5jjlatkgAgICAgICAgICAgICqwZY6daYHCmu49\
             CdQBE6Eo9rlwmeoLxng2Tu+SrO",
        )
        .unwrap();
    let (tenant, alice) = (tenant(), account(ALICE));
    let place = Place::RefreshToken { tenant: &tenant, account: &alice };
    let ours = ring(7);
    for sealed in [&first, &second] {
        assert_eq!(ours.open(place, sealed).unwrap().expose(), b"0.ARoA-refresh");
    }
    assert!(
        matches!(ring(8).open(place, &first), Err(VaultError::WrongKey { .. })),
        "it does not say which key is wanted"
    );
    let mut flipped = first.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(ours.open(place, &flipped), Err(VaultError::Damaged { .. })));

    let anew = ours.wrap_anew(place, &first).unwrap().unwrap();
    assert_eq!(Envelope::read(&anew).unwrap().key, Some(ours.sealing.id()));
    assert_eq!(ours.open(place, &anew).unwrap().expose(), b"0.ARoA-refresh");
    assert!(ours.wrap_anew(place, &anew).unwrap().is_none(), "nothing is left to do");
}

#[test]
fn keys_are_made_once_private_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, pepper) = Vault::open(folder.path(), &KeySource::Own, true).unwrap();
    let sealed = vault.seal(Place::Pepper, b"x").unwrap();
    for fresh in [false, true] {
        let (again, same) = Vault::open(folder.path(), &KeySource::Own, fresh).unwrap();
        assert_eq!(pepper.expose(), same.expose());
        assert_eq!(again.unseal(Place::Pepper, &sealed).unwrap().expose(), b"x");
    }
    #[cfg(unix)]
    for file in ["keys/master.key", "keys/pepper.sealed"] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(folder.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_missing_wrong_or_broken_key_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Vault::open(&data, &KeySource::Own, true).unwrap();
    let (master, pepper) = (data.join("keys/master.key"), data.join("keys/pepper.sealed"));
    let (right, sealed) = (fs::read(&master).unwrap(), fs::read(&pepper).unwrap());
    let elsewhere = folder.path().join("elsewhere");
    let refused = |source: &KeySource, code: &str, words: &[&str]| {
        for fresh in [true, false] {
            let before = everything(folder.path()).unwrap();
            let error = Vault::open(&data, source, fresh).err().unwrap();
            assert_eq!(error.code(), code, "{error}");
            let told = format!("{error} {}", error.remedy().unwrap());
            for word in words {
                assert!(told.contains(word), "{word}: {told}");
            }
            assert_eq!(everything(folder.path()).unwrap(), before, "{error}");
        }
    };
    fs::remove_file(&master).unwrap();
    refused(&KeySource::Own, "key-missing", &["master.key` is missing", "backup"]);
    fs::write(&master, key_text(9)).unwrap();
    let wanted = Envelope::read(&sealed).unwrap().key.unwrap().to_string();
    refused(
        &KeySource::Own,
        "key-wrong",
        &["does not open with this master key", "master.key`", &wanted, "postern key status"],
    );
    fs::write(&master, "not base64").unwrap();
    refused(&KeySource::Own, "key-unreadable", &["it is not 32 octets in base64"]);
    fs::write(&master, "").unwrap();
    refused(&KeySource::Own, "key-unreadable", &["it is empty"]);
    fs::write(&master, &right).unwrap();
    refused(&KeySource::File(elsewhere.clone()), "key-unreadable", &["elsewhere`"]);
    fs::write(&elsewhere, key_text(9)).unwrap();
    refused(&KeySource::File(elsewhere), "key-wrong", &["elsewhere`", &wanted]);
    refused(
        &KeySource::Environment("POSTERN_TEST_UNSET".into()),
        "key-unreadable",
        &["POSTERN_TEST_UNSET", "it is not set"],
    );
    refused(
        &KeySource::Credential("postern-test".into()),
        "key-unreadable",
        &["postern-test", "CREDENTIALS_DIRECTORY"],
    );
    let command = ["/nowhere/vault", "kv", "get", "secret/path"].map(str::to_owned);
    refused(
        &KeySource::Command(command.into()),
        "key-unreadable",
        &["/nowhere/vault`", "cannot be started", "by hand"],
    );

    let mut flipped = sealed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&pepper, flipped).unwrap();
    refused(&KeySource::Own, "sealed-value-damaged", &["the pepper of the app passwords is damaged", "pepper.sealed"]);
    fs::remove_file(&pepper).unwrap();
    let before = everything(folder.path()).unwrap();
    assert_eq!(Vault::open(&data, &KeySource::Own, false).err().unwrap().code(), "key-missing");
    assert_eq!(everything(folder.path()).unwrap(), before);

    // A store that came without its keys: no folder of keys is made beside it.
    fs::remove_dir_all(data.join("keys")).unwrap();
    assert_eq!(Vault::open(&data, &KeySource::Own, false).err().unwrap().code(), "key-missing");
    assert!(!data.join("keys").exists());
}

#[tokio::test]
async fn a_change_of_posterns_own_key_may_stop_at_any_step_and_is_ended_by_doing_it_again_or_by_serving() {
    let data = Data::new(|_| KeySource::Own).await;
    let serving = data.open().unwrap();
    let before = serving.key();
    let store = data.store().await;
    let mut stops = vec![(None, data.copy())];
    let vault = data.open().unwrap();
    let mut watch = |step| stops.push((Some(step), data.copy()));
    let rotated = vault.rotate(&store, None, true, &mut watch).await.unwrap();
    assert_eq!((rotated.from, rotated.change, rotated.wrapped), (before, Change::None, 3));
    assert!(rotated.closed.is_empty() && rotated.to != before);
    data.is_finished(rotated.to, "at the end").await;
    data.is_whole(&data.open().unwrap(), "at the end").await;
    data.is_whole(&serving, "one that was there before").await;
    assert_eq!(serving.key(), rotated.to);

    let steps: Vec<_> = stops.iter().map(|(step, _)| *step).collect();
    use Step::{Finished, Gathered, NextKept, PepperWrapped, PreviousKept, Promoted, RecordsWrapped};
    let all = [Gathered, PreviousKept, NextKept, RecordsWrapped, PepperWrapped, Promoted, Finished];
    assert_eq!(steps, [None].into_iter().chain(all.map(Some)).collect::<Vec<_>>());
    for (step, stopped) in stops {
        let when = format!("killed after {step:?}");
        // What a write that was broken off leaves behind.
        fs::write(stopped.keys("master.key.4711.new"), key_text(3)).unwrap();
        stopped.is_whole(&stopped.open().unwrap(), &when).await;

        let served = stopped.copy();
        let store = served.store().await;
        let settled = served.open().unwrap().settle(&store).await.unwrap().unwrap();
        store.close().await;
        assert_eq!(settled.change, Change::None, "{when}");
        served.is_finished(settled.key, &format!("{when}, then served")).await;
        served.is_whole(&served.open().unwrap(), &format!("{when}, then served")).await;

        let store = stopped.store().await;
        let again = stopped.open().unwrap().rotate(&store, None, false, &mut unwatched()).await.unwrap();
        store.close().await;
        assert_eq!(again.change, Change::None, "{when}");
        assert_ne!(again.to, before, "{when}");
        let goes_on = matches!(step, Some(NextKept | RecordsWrapped | PepperWrapped | Promoted));
        assert_eq!(again.to == rotated.to, goes_on, "{when}: what was begun is ended, and not begun anew");
        if goes_on {
            assert_eq!(again.from, before, "{when}");
        }
        stopped.is_finished(again.to, &format!("{when}, then again")).await;
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, then again")).await;
    }
}

#[tokio::test]
async fn a_change_of_an_administrators_key_opens_with_both_until_the_source_has_the_new_one() {
    let data = Data::with_file().await;
    let KeySource::File(file) = &data.source else { unreachable!() };
    let before = data.open().unwrap().key();
    let store = data.store().await;
    let needed = data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap_err();
    assert_eq!(needed.code(), "new-key-needed");
    let same = data.open().unwrap().rotate(&store, Some(Secret::new([1; 32])), true, &mut unwatched()).await;
    assert_eq!(same.unwrap_err().code(), "new-key-is-the-old-one");

    let mut stops = vec![(None, data.copy())];
    let mut watch = |step| stops.push((Some(step), data.copy()));
    let rotated = data.open().unwrap().rotate(&store, Some(Secret::new([2; 32])), true, &mut watch).await.unwrap();
    assert_eq!((rotated.from, rotated.change), (before, Change::UnderWay { own: false }));
    assert_eq!(stops.last().unwrap().0, Some(Step::PepperWrapped), "the source is not Postern's to change");
    stops.push((None, data.copy()));
    for (step, stopped) in stops {
        let when = format!("killed after {step:?}");
        let KeySource::File(file) = &stopped.source else { unreachable!() };
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, the old key")).await;
        // Again with the same key, as often as one likes.
        let store = stopped.store().await;
        for _ in 0..2 {
            let vault = stopped.open().unwrap();
            let again = vault.rotate(&store, Some(Secret::new([2; 32])), true, &mut unwatched()).await.unwrap();
            assert_eq!((again.from, again.to, again.change), (before, rotated.to, rotated.change), "{when}");
        }
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, the old key again")).await;
        // Without a key nothing new is begun.
        let again = stopped.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
        assert_eq!((again.to, again.change), (rotated.to, rotated.change), "{when}");

        fs::write(file, key_text(2)).unwrap();
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, the new key")).await;
        assert!(stopped.keys("next.sealed").exists());
        let again = match step {
            // Serving ends it, and so does the command.
            None => {
                let settled = stopped.open().unwrap().settle(&store).await.unwrap().unwrap();
                assert!(settled.finished);
                settled.key
            }
            Some(_) => {
                let done = stopped.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
                assert_eq!((done.from, done.change), (before, Change::None), "{when}");
                done.to
            }
        };
        store.close().await;
        assert_eq!(again, rotated.to);
        stopped.is_finished(rotated.to, &when).await;
        fs::write(file, key_text(1)).unwrap();
        let error = stopped.open().err().unwrap();
        assert_eq!(error.code(), "key-wrong", "{when}: the old key opens nothing any more");
        assert!(error.to_string().contains(&rotated.to.to_string()), "{error}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), key_text(1), "it is not Postern's file");
}

#[tokio::test]
async fn a_key_that_cannot_be_looked_up_again_is_not_taken_from_a_process_that_runs() {
    let data = Data::with_file().await;
    // As with a variable: what was given when it started is all there is.
    let script = format!("cat '{}'", data.folder.path().join("master").display());
    let data = Data { source: KeySource::Command(["/bin/sh", "-c", &script].map(str::to_owned).into()), ..data };
    let serving = data.open().unwrap();
    let store = data.store().await;
    let rotate =
        async |supplied, alone| data.open().unwrap().rotate(&store, supplied, alone, &mut unwatched()).await.unwrap();
    let rotated = rotate(Some(Secret::new([2; 32])), false).await;
    data.is_whole(&serving, "it finds the new key by the old one").await;
    assert_eq!(serving.key(), rotated.to);
    fs::write(data.folder.path().join("master"), key_text(2)).unwrap();
    let again = rotate(None, false).await;
    assert_eq!(again.change, Change::Switched { old_is_known: true }, "somebody may run who has the old key alone");
    data.is_whole(&serving, "it still runs").await;
    let restarted = data.open().unwrap();
    assert!(restarted.settle(&store).await.unwrap().unwrap().finished);
    data.is_finished(rotated.to, "restarted").await;
    assert_eq!(rotate(Some(Secret::new([3; 32])), false).await.change, Change::UnderWay { own: false }, "and so on");
}

#[tokio::test]
async fn what_is_sealed_by_the_old_key_at_that_very_moment_is_neither_lost_nor_left() {
    let data = Data::new(|_| KeySource::Own).await;
    let (serving, store) = (data.open().unwrap(), data.store().await);
    let (tenant, alice) = (tenant(), account(ALICE));
    let place = Place::RefreshToken { tenant: &tenant, account: &alice };
    let before = store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap().sealed.unwrap();
    let after = serving.seal(place, b"token of alice").unwrap();

    let rotated = data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
    // The row is under the new key by now; it still holds the token that was rotated.
    assert_ne!(store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap().sealed.unwrap(), before);
    assert!(rotate_sign_in(&store, &tenant, &alice, &before, &after).await);
    assert!(!rotate_sign_in(&store, &tenant, &alice, &before, &after).await, "but no other token does");
    assert_eq!(store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap().sealed.unwrap(), after);

    // Killed just now: the next one that starts finds it under the old key, and can open it.
    data.is_whole(&data.open().unwrap(), "a process that starts").await;
    let settled = serving.settle(&store).await.unwrap().unwrap();
    assert_eq!((settled.wrapped, settled.key), (1, rotated.to));
    data.is_finished(rotated.to, "settled").await;
    data.is_whole(&data.open().unwrap(), "settled").await;
    assert_eq!(serving.settle(&store).await.unwrap().unwrap().wrapped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_meet_a_new_key_at_once_all_find_it() {
    let data = Data::new(|_| KeySource::Own).await;
    let (serving, store) = (Arc::new(data.open().unwrap()), data.store().await);
    for round in 0..30 {
        data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
        let records = Arc::new(store.sealed_records().await.unwrap());
        let gate = Arc::new(std::sync::Barrier::new(8));
        let tasks = (0..8).map(|_| {
            let (serving, records, gate) = (Arc::clone(&serving), Arc::clone(&records), Arc::clone(&gate));
            std::thread::spawn(move || {
                gate.wait();
                serving.unseal(Place::from(&records[0]), &records[0].sealed).map(drop)
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.join().unwrap().unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_change_can_be_given_another_aim_before_it_is_finished() {
    let data = Data::with_file().await;
    let store = data.store().await;
    let rotate = async |octet| {
        let mut stops = Vec::new();
        let mut watch = |_| stops.push(data.copy());
        data.open().unwrap().rotate(&store, Some(Secret::new([octet; 32])), true, &mut watch).await.unwrap();
        stops
    };
    rotate(2).await;
    for (number, stopped) in rotate(3).await.into_iter().enumerate() {
        stopped.is_whole(&stopped.open().unwrap(), &format!("stop {number}")).await;
    }
    let KeySource::File(file) = &data.source else { unreachable!() };
    fs::write(file, key_text(2)).unwrap();
    assert!(data.open().is_err(), "the key that was given up");
    fs::write(file, key_text(3)).unwrap();
    let settled = data.open().unwrap().settle(&store).await.unwrap().unwrap();
    assert!(settled.finished);
    data.is_finished(settled.key, "the last one").await;
    data.is_whole(&data.open().unwrap(), "the last one").await;
}

#[tokio::test]
async fn a_move_to_a_source_of_the_administrators_takes_posterns_own_key_away_in_the_end() {
    let data = Data::new(|_| KeySource::Own).await;
    let store = data.store().await;
    let moved = data.open().unwrap().rotate(&store, Some(Secret::new([2; 32])), true, &mut unwatched()).await.unwrap();
    assert_eq!(moved.change, Change::UnderWay { own: false });
    let again = data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
    assert_eq!((again.to, again.change), (moved.to, moved.change), "it is not put into Postern's own file");
    data.is_whole(&data.open().unwrap(), "the old place").await;

    fs::write(data.folder.path().join("elsewhere"), key_text(2)).unwrap();
    let data = Data { source: KeySource::File(data.folder.path().join("elsewhere")), ..data };
    assert!(data.keys("master.key").exists());
    assert!(data.open().unwrap().settle(&store).await.unwrap().unwrap().finished);
    assert!(!data.keys("master.key").exists());
    data.is_finished(moved.to, "moved").await;
    data.is_whole(&data.open().unwrap(), "moved").await;

    // Back again, with a file that lies where Postern's own does.
    fs::write(data.keys("master.key"), key_text(2)).unwrap();
    let data = Data { source: KeySource::File(data.keys("master.key")), ..data };
    let store = data.store().await;
    data.open().unwrap().rotate(&store, Some(Secret::new([4; 32])), true, &mut unwatched()).await.unwrap();
    fs::write(data.keys("master.key"), key_text(4)).unwrap();
    assert!(data.open().unwrap().settle(&store).await.unwrap().unwrap().finished);
    let data = Data { source: KeySource::Own, ..data };
    data.is_whole(&data.open().unwrap(), "the same file by its other name").await;
}

#[tokio::test]
async fn a_damaged_value_is_named_and_left_and_does_not_keep_the_others_from_a_new_key() {
    let data = Data::new(|_| KeySource::Own).await;
    let (store, alice) = (data.store().await, account(ALICE));
    let mut sealed = store.sign_in(&tenant(), Some(&alice)).await.unwrap().unwrap().sealed.unwrap();
    let wrapped = 1 + KeyId::OCTETS + 20;
    sealed[wrapped] ^= 1;
    keep(&store, &alice, sealed.clone()).await;
    let vault = data.open().unwrap();
    let rotated = vault.rotate(&store, None, true, &mut unwatched()).await.unwrap();
    assert_eq!((rotated.wrapped, rotated.change), (2, Change::None));
    let closed: Vec<_> = rotated.closed.iter().map(ToString::to_string).collect();
    assert!(closed.len() == 1 && closed[0].starts_with(&format!("the sign-in of {ALICE} is damaged")), "{closed:?}");
    assert_eq!(store.sign_in(&tenant(), Some(&alice)).await.unwrap().unwrap().sealed.unwrap(), sealed);

    let inventory = Vault::take_stock(&data.dir(), &data.source, &store).await.unwrap();
    assert!(!inventory.is_well() && inventory.fault.is_none());
    let closed: Vec<_> = inventory.values.iter().filter(|value| value.fault.is_some()).collect();
    assert!(closed.len() == 1 && closed[0].what == format!("the sign-in of {ALICE}"), "{closed:?}");
    assert_eq!(inventory.values.len(), 3);
}

#[tokio::test]
async fn a_backup_of_the_store_that_is_older_than_the_keys_beside_it_opens() {
    let data = Data::new(|_| KeySource::Own).await;
    let older = data.copy();
    let store = data.store().await;
    data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
    for name in ["master.key", "pepper.sealed", "previous.sealed"] {
        fs::copy(data.keys(name), older.keys(name)).unwrap();
    }
    older.is_whole(&older.open().unwrap(), "a store of before, keys of now").await;
}

#[tokio::test]
async fn keys_that_become_useless_while_it_runs_are_passed_over() {
    let data = Data::new(|_| KeySource::Own).await;
    let (serving, store) = (data.open().unwrap(), data.store().await);
    let (key, right) = (serving.key(), fs::read(data.keys("master.key")).unwrap());
    for wrong in [Some(key_text(9)), Some("x".to_owned()), None] {
        match &wrong {
            Some(text) => fs::write(data.keys("master.key"), text).unwrap(),
            None => fs::remove_file(data.keys("master.key")).unwrap(),
        }
        assert!(!serving.follow(), "{wrong:?}");
        assert_eq!(serving.key(), key);
        data.is_whole(&serving, "what is in memory goes on").await;
        data.sign_in(&store, &serving, ALICE, "token of alice").await;
        let error = serving.rotate(&store, None, true, &mut unwatched()).await.unwrap_err();
        assert!(["key-wrong", "key-unreadable", "key-missing"].contains(&error.code()), "{error}");
    }
    fs::write(data.keys("master.key"), right).unwrap();
    data.is_whole(&data.open().unwrap(), "the right one").await;
}

#[tokio::test]
async fn stock_is_taken_with_every_state_of_the_keys_and_changes_nothing() {
    let data = Data::new(|_| KeySource::Own).await;
    let store = data.store().await;
    let look = async || {
        let before = everything(&data.dir().join("keys")).unwrap();
        let inventory = Vault::take_stock(&data.dir(), &data.source, &store).await.unwrap();
        assert_eq!(everything(&data.dir().join("keys")).unwrap(), before);
        inventory
    };
    let first = look().await;
    assert!(first.is_well() && first.values.len() == 3 && first.others.is_empty(), "{first:?}");
    assert!(first.values.iter().all(|value| value.key == first.given), "{first:?}");
    let rotated = data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
    let second = look().await;
    assert_eq!((second.given, second.others.as_slice()), (Some(rotated.to), &[rotated.from][..]));
    fs::write(data.keys("master.key"), key_text(9)).unwrap();
    let third = look().await;
    assert_eq!(third.fault.as_ref().map(Fault::code), Some("key-wrong"));
    assert!(third.values.iter().all(|value| value.fault.is_some() && value.key == Some(rotated.to)), "{third:?}");
    fs::remove_file(data.keys("master.key")).unwrap();
    assert_eq!(look().await.fault.as_ref().map(Fault::code), Some("key-missing"));

    let empty = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(empty.path()).await.unwrap();
    let nothing = Vault::take_stock(empty.path(), &KeySource::Own, &store).await.unwrap();
    assert!(nothing.is_well() && nothing.values.is_empty(), "they are made when they are first needed");
    assert!(!empty.path().join("keys").exists());
}

#[test]
fn nobody_is_waited_for_without_end_and_readers_do_not_wait_for_each_other() {
    let data = tempfile::tempdir().unwrap();
    Vault::open(data.path(), &KeySource::Own, true).unwrap();
    let folder = Folder::of(data.path());
    let reading = folder.hold_to_read().unwrap();
    assert!(Vault::open(data.path(), &KeySource::Own, false).is_ok());
    assert!(folder.try_hold().unwrap().is_none());
    drop(reading);
    assert!(folder.try_hold().unwrap().is_some());
}

fn sign_in_record(
    tenant: &TenantName,
    account: &Mailbox,
    sealed: Vec<u8>,
    since: DateTime<chrono::Utc>,
) -> crate::store::SignInRecord {
    crate::store::SignInRecord {
        tenant: tenant.clone(),
        account: Some(account.clone()),
        sealed: Some(sealed),
        state: crate::store::SignInState { whose: crate::base::Whose::Nobody, since, reason: None, remedy: None },
        refreshed_at: Some(since),
    }
}

async fn rotate_sign_in(
    store: &SqliteStore,
    tenant: &TenantName,
    account: &Mailbox,
    before: &[u8],
    after: &[u8],
) -> bool {
    store.rotate_sign_in(tenant, account, before, after, chrono::DateTime::UNIX_EPOCH).await.unwrap()
}
