//! Sealing and the keys of a data folder.

mod rotation;

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
