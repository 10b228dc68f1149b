//! The master key: changed beside a running proxy, killed in the middle, moved elsewhere, lost, wrong; and what a backup is good for.

#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use postern::admin::ops::MailboxState;
use postern::base::Secret;
use postern::base::envelope::Envelope;
use postern::store::{SealedRecords, SqliteStore, Store};
use serde_json::Value;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::common::child::Serving;
use crate::common::{Plan, World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// A key as it stands in a file.
fn key(octet: u8) -> String {
    STANDARD.encode([octet; 32]) + "\n"
}

/// The program on a configuration, away from every other one of this machine.
fn postern(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.arg("--config").arg(config).args(arguments).stdin(Stdio::null());
    for name in ["POSTERN_CONFIG", "NO_COLOR", "RUST_LOG", "CREDENTIALS_DIRECTORY", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command that prints a document.
async fn document(mut command: Command, status: i32) -> Value {
    let output: Output = tokio::task::spawn_blocking(move || command.arg("--json").output().unwrap()).await.unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

async fn rotate(config: &Path) -> Value {
    document(postern(config, &["key", "rotate"]), 0).await
}

async fn key_status(config: &Path) -> Value {
    document(postern(config, &["key", "status"]), 0).await
}

/// A tenant whose people sign in, with a sign-in of Alice and one of Bob.
async fn signed_in(rotation: Option<&str>) -> World {
    let world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    if let Some(rotation) = rotation {
        world.fault(&format!("refresh-rotation={rotation}"));
    }
    for mailbox in [ALICE, BOB] {
        let token = world.sandbox.refresh_token_for(mailbox);
        world.ops.connect_with_refresh_token(&mailbox.parse().unwrap(), Secret::new(token)).await.unwrap();
    }
    world
}

/// The keys that the rows in the store are sealed by.
async fn keys_of_rows(data_dir: &Path) -> Vec<String> {
    let store = SqliteStore::open(data_dir).await.unwrap();
    let records = store.sealed_records().await.unwrap();
    store.close().await;
    records.iter().map(|record| Envelope::read(&record.sealed).unwrap().key.unwrap().to_string()).collect()
}

/// Changes the octets of a row in the store, as a bad disk would.
async fn alter_row(data_dir: &Path, account: &str, alter: impl FnOnce(&mut Vec<u8>)) {
    let mut connection =
        SqliteConnectOptions::new().filename(data_dir.join(SqliteStore::FILE)).connect().await.unwrap();
    let mut sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM sign_in WHERE account = $1")
        .bind(account)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    alter(&mut sealed);
    sqlx::query("UPDATE sign_in SET sealed = $2 WHERE account = $1")
        .bind(account)
        .bind(sealed)
        .execute(&mut connection)
        .await
        .unwrap();
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn write_secret(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn app_passwords_and_sign_ins_outlive_changes_of_the_key_while_tokens_are_being_rotated() {
    // Every login presents the refresh token and is given another; one that is lost or presented twice ends the sign-in.
    let mut world = signed_in(Some("revoke-family")).await;
    world.fault("token-expires-in=0");
    let passwords = [(ALICE, world.issue(ALICE).await), (BOB, world.issue(BOB).await)];
    let config = world.config_file();
    let first = key_status(&config).await["key"].clone();
    let busy = tokio_util::sync::CancellationToken::new();
    let logins = join_all(passwords.iter().map(async |(mailbox, password)| {
        let mut count = 0;
        while !busy.is_cancelled() {
            let (_imap, told) = world.imap(mailbox, password).await;
            if !told.starts_with("in OK ") {
                let row = world.ops.mailbox(&mailbox.parse().unwrap()).await.unwrap();
                panic!("{told}: {:?}", row.whole_reason());
            }
            count += 1;
        }
        count
    }));
    let changes = async {
        let mut keys = vec![first];
        for _ in 0..8 {
            let changed = rotate(&config).await;
            assert_eq!((&changed["finished"], &changed["was"]), (&true.into(), keys.last().unwrap()), "{changed}");
            assert_eq!(changed["unreadable"], serde_json::json!([]));
            keys.push(changed["key"].clone());
        }
        busy.cancel();
        keys
    };
    let (counts, keys) = tokio::join!(logins, changes);
    assert!(counts.iter().all(|count: &u32| *count > 8), "{counts:?} logins, so hardly one was met by a change");

    let last = keys.last().unwrap().as_str().unwrap();
    let data_dir = world.ops.data_dir().to_owned();
    eventually("everything to be under the last key", async || {
        keys_of_rows(&data_dir).await.iter().all(|key| key == last)
    })
    .await;
    let presented = world.sandbox.tally().refresh_tokens_presented;
    let mut once = presented.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), presented.len(), "no refresh token was presented twice");
    world.stop_serving().await;
    world.serve().await;
    for (mailbox, password) in &passwords {
        assert!(world.imap(mailbox, password).await.1.starts_with("in OK "), "after a restart");
        assert_eq!(world.ops.mailbox(&mailbox.parse().unwrap()).await.unwrap().state, MailboxState::Ready);
    }
    let status = key_status(&config).await;
    assert_eq!((&status["well"], &status["change"], &status["key"]), (&true.into(), &"none".into(), &last.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_proxy_opens_what_a_new_key_has_sealed_within_five_seconds() {
    let world = signed_in(None).await;
    world.fault("token-expires-in=0");
    let password = world.issue(ALICE).await;
    for _ in 0..3 {
        rotate(&world.config_file()).await;
        let began = Instant::now();
        let (_imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in OK "), "{told}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_killed_at_any_moment_leaves_everything_open_and_is_ended_by_doing_it_again() {
    let world = signed_in(None).await;
    world.fault("token-expires-in=0");
    let password = world.issue(ALICE).await;
    let config = world.config_file();
    let keys = world.ops.data_dir().join("keys");
    let (mut killed, mut left) = (0, 0);
    for number in 0..48 {
        let folder = keys.clone();
        let mut child = postern(&config, &["-q", "key", "rotate"]).stderr(Stdio::null()).spawn().unwrap();
        // From the moment that it writes the first file on, a little later each time: its whole work takes some milliseconds.
        let done = tokio::task::spawn_blocking(move || {
            let touched = || fs::metadata(&folder).unwrap().modified().unwrap();
            let before = touched();
            while touched() == before && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_micros(250) * number);
            child.kill().unwrap();
            child.wait().unwrap()
        });
        killed += i32::from(done.await.unwrap().code().is_none());
        let status = key_status(&config).await;
        assert_eq!((&status["well"], &status["fault"]), (&true.into(), &Value::Null), "{number}: {status}");
        left += i32::from(status["change"] != "none");
        let (_imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in OK "), "{number}: {told}");
        if number % 3 == 0 {
            assert_eq!(rotate(&config).await["finished"], true, "{number}");
        }
    }
    eprintln!("{killed} of 48 were killed at work, {left} of them left a change under way");
    assert!(killed > 5, "only {killed} of 48 were still running when they were killed");
    let last = rotate(&config).await;
    let mut names: Vec<_> =
        fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["lock", "master.key", "pepper.sealed", "previous.sealed"], "nothing else is left lying about");
    eventually("everything to be under the last key", async || {
        keys_of_rows(world.ops.data_dir()).await.iter().all(|key| last["key"] == key.as_str())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_starts_after_a_broken_off_change_ends_it_by_itself() {
    let mut world = signed_in(None).await;
    let password = world.issue(ALICE).await;
    world.stop_serving().await;
    let keys = world.ops.data_dir().join("keys");
    // The state between the new key's being laid down and its taking the place of the old one.
    let mut watched = Vec::new();
    let before = fs::read(keys.join("master.key")).unwrap();
    let mut watch = |step| {
        if step == postern::broker::vault::Step::NextKept {
            watched = files(&keys);
        }
    };
    postern::admin::ops::Keys::of(&world.config).rotate(None, &mut watch).await.unwrap();
    for (path, content) in &watched {
        fs::write(path, content).unwrap();
    }
    assert_eq!(fs::read(keys.join("master.key")).unwrap(), before);
    assert_eq!(key_status(&world.config_file()).await["change"], "under-way");
    world.serve().await;
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
    eventually("the change to be ended", async || key_status(&world.config_file()).await["change"] == "none").await;
    assert_ne!(fs::read(keys.join("master.key")).unwrap(), before);
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_key_service_goes_step_by_step_and_each_step_works() {
    let mut world = signed_in(None).await;
    world.fault("token-expires-in=0");
    let password = world.issue(ALICE).await;
    let (config, folder) = (world.config_file(), world.folder().to_owned());
    let works = async |world: &World, when: &str| {
        assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "), "{when}");
    };
    let mut command = postern(&config, &["key", "rotate", "--new-key-file", "-", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(key(7).as_bytes()).unwrap();
    let told: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&told["finished"], &told["wrapped"]), (&false.into(), &3.into()), "{told}");
    let next = told["next"].to_string();
    for part in ["master_command", "restart `postern serve`", "postern key status", told["key"].as_str().unwrap()] {
        assert!(next.contains(part), "{part}: {next}");
    }
    works(&world, "the running proxy").await;
    world.stop_serving().await;
    world.serve().await;
    works(&world, "started anew with the old key").await;
    world.stop_serving().await;

    // The service does not answer: nothing starts, nothing is made, and the old place still works.
    let tool = folder.join("tool");
    write_secret(&tool, "#!/bin/sh\necho 'permission denied' >&2\nexit 2\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o700)).unwrap();
    let original = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{original}\n[keys]\nmaster_command = [\"./tool\", \"get\", \"postern\"]\n")).unwrap();
    let before = files(&folder.join("data/keys"));
    let refused = document(postern(&config, &["password", "list"]), 1).await;
    assert_eq!(refused["error"]["code"], "key-unreadable");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("it ended with exit status: 2 and said: permission denied"), "{message}");
    assert_eq!(files(&folder.join("data/keys")), before);

    write_secret(&folder.join("kept-elsewhere"), &key(7));
    let script =
        format!("#!/bin/sh\ntest \"$*\" = 'get postern' && cat '{}'\n", folder.join("kept-elsewhere").display());
    fs::write(&tool, script).unwrap();
    let switched = key_status(&config).await;
    assert_eq!((&switched["change"], &switched["key"]), (&"switched".into(), &told["key"]), "{switched}");
    world.read_configuration();
    world.serve().await;
    works(&world, "with the key service").await;
    eventually("the change to be ended", async || key_status(&config).await["change"] == "none").await;
    assert!(!folder.join("data/keys/master.key").exists(), "the old key is of no more use");
    let issued = document(postern(&config, &["password", "issue", BOB, "--label", "x"]), 0).await;
    assert!(world.imap(BOB, issued["password"].as_str().unwrap()).await.1.starts_with("in OK "));

    fs::write(&config, &original).unwrap();
    let refused = document(postern(&config, &["password", "list"]), 1).await;
    assert_eq!(refused["error"]["code"], "key-missing", "going back needs the key in its old place");
}

/// A data folder of its own, with an app password in it.
struct Kept {
    folder: tempfile::TempDir,
}

impl Kept {
    /// `keys` is the `[keys]` of the configuration.
    async fn with(keys: &str, environment: &[(&str, &str)]) -> Self {
        let kept = Self { folder: tempfile::tempdir().unwrap() };
        write_secret(&kept.path("client-secret"), "s3cret\n");
        write_secret(&kept.path("master"), &key(1));
        kept.configure(keys);
        for arguments in [&["mailbox", "add", ALICE][..], &["password", "issue", ALICE, "--label", "x"]] {
            let mut command = postern(&kept.config(), arguments);
            command.envs(environment.iter().copied());
            document(command, 0).await;
        }
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("postern.toml")
    }

    fn configure(&self, keys: &str) {
        let text = format!(
            "data_dir = \"data\"\n[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\n[[tenant]]\nname = \"contoso\"\n\
             tenant_id = \"11111111-2222-3333-4444-555555555555\"\nclient_id = \"66666666-7777-8888-9999-000000000000\"\n\
             grant = \"client_credentials\"\nclient_secret_file = \"client-secret\"\n{keys}\n"
        );
        fs::write(self.config(), text).unwrap();
    }

    /// Neither `serve` nor a command does anything but say these words; nothing on disk is another afterwards.
    async fn refuses(&self, environment: &[(&str, &str)], code: &str, words: &[&str]) {
        // SQLite keeps its own files as it likes; what is in the store is looked at in the end.
        let ours = || {
            let mut files = files(&self.path("data"));
            files.retain(|(path, _)| !path.to_string_lossy().contains(SqliteStore::FILE));
            files
        };
        let before = ours();
        for arguments in [&["serve"][..], &["password", "list"], &["key", "rotate"]] {
            let mut command = postern(&self.config(), arguments);
            command.envs(environment.iter().copied());
            let told = document(command, 1).await;
            assert_eq!(told["error"]["code"], code, "{arguments:?}: {told}");
            for word in words {
                assert!(told["error"].to_string().contains(word), "{word}: {told}");
            }
        }
        let after = ours();
        let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{words:?}");
        assert!(after == before, "{words:?}: the content of a file has changed");
    }

    /// With everything put back, the app password is still there.
    async fn is_as_before(&self, environment: &[(&str, &str)]) {
        let mut command = postern(&self.config(), &["password", "list"]);
        command.envs(environment.iter().copied());
        assert_eq!(document(command, 0).await.as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_wrong_or_short_key_is_told_with_its_place_whatever_the_source_and_nothing_is_changed() {
    let own = async {
        let kept = Kept::with("", &[]).await;
        let master = kept.path("data/keys/master.key");
        let right = fs::read(&master).unwrap();
        fs::remove_file(&master).unwrap();
        kept.refuses(&[], "key-missing", &["master.key` is missing", "Put back the `keys` folder"]).await;
        write_secret(&master, &key(9));
        kept.refuses(&[], "key-wrong", &["does not open with this master key", "master.key`"]).await;
        write_secret(&master, &STANDARD.encode([9; 31]));
        kept.refuses(&[], "key-unreadable", &["master.key`", "shorter than 32 octets"]).await;
        fs::write(&master, right).unwrap();
        fs::rename(kept.path("data/keys"), kept.path("away")).unwrap();
        kept.refuses(&[], "key-missing", &["master.key` is missing"]).await;
        // Whoever makes the folder by hand has not made the keys.
        fs::create_dir(kept.path("data/keys")).unwrap();
        kept.refuses(&[], "key-missing", &["master.key` is missing"]).await;
        fs::remove_dir(kept.path("data/keys")).unwrap();
        fs::rename(kept.path("away"), kept.path("data/keys")).unwrap();
        kept.is_as_before(&[]).await;
    };
    let file = async {
        let kept = Kept::with("[keys]\nmaster_file = \"master\"", &[]).await;
        assert!(!kept.path("data/keys/master.key").exists());
        write_secret(&kept.path("master"), &key(9));
        kept.refuses(&[], "key-wrong", &["does not open with this master key", "/master`"]).await;
        write_secret(&kept.path("master"), &key(1));
        let pepper = fs::read(kept.path("data/keys/pepper.sealed")).unwrap();
        fs::remove_file(kept.path("data/keys/pepper.sealed")).unwrap();
        kept.refuses(&[], "key-missing", &["pepper.sealed` is missing"]).await;
        fs::write(kept.path("data/keys/pepper.sealed"), pepper).unwrap();
        kept.is_as_before(&[]).await;
    };
    let variable = async {
        let right = [("POSTERN_TEST_KEY", &*key(1))];
        let kept = Kept::with("[keys]\nmaster_env = \"POSTERN_TEST_KEY\"", &right).await;
        kept.refuses(&[], "key-unreadable", &["the environment variable POSTERN_TEST_KEY", "it is not set"]).await;
        kept.refuses(&[("POSTERN_TEST_KEY", &key(9))], "key-wrong", &["the environment variable POSTERN_TEST_KEY"])
            .await;
        // What is no key at all is a fault of the configuration.
        let mut serve = postern(&kept.config(), &["serve"]);
        serve.env("POSTERN_TEST_KEY", "x");
        assert!(document(serve, 78).await.to_string().contains("is not a master key"));
        kept.is_as_before(&right).await;
    };
    let credential = async {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("master-key"), &key(1));
        let right = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
        let kept = Kept::with("[keys]\nmaster_credential = \"master-key\"", &right).await;
        kept.refuses(&[], "key-unreadable", &["the systemd credential master-key", "CREDENTIALS_DIRECTORY"]).await;
        write_secret(&folder.path().join("master-key"), &key(9));
        kept.refuses(&right, "key-wrong", &["the systemd credential master-key"]).await;
        fs::remove_file(folder.path().join("master-key")).unwrap();
        kept.refuses(&right, "key-unreadable", &["the systemd credential master-key", "No such file"]).await;
        write_secret(&folder.path().join("master-key"), &key(1));
        kept.is_as_before(&right).await;
    };
    let command = async {
        let with = |script: &str| format!("[keys]\nmaster_command = [\"/bin/sh\", \"-c\", {script:?}]");
        let right = with(&format!("echo {}", key(1).trim()));
        let kept = Kept::with(&right, &[]).await;
        for (script, code, words) in [
            (&format!("echo {}", key(9).trim())[..], "key-wrong", &["the command `/bin/sh`"][..]),
            ("echo garbage", "key-unreadable", &["it is not 32 octets in base64"]),
            ("true", "key-unreadable", &["it is empty"]),
            ("echo 'token expired' >&2; exit 3", "key-unreadable", &["exit status: 3 and said: token expired"]),
            ("cat /dev/zero", "key-unreadable", &["it printed more than 4096 octets"]),
        ] {
            kept.configure(&with(script));
            kept.refuses(&[], code, words).await;
        }
        kept.configure(&right);
        kept.is_as_before(&[]).await;
    };
    tokio::join!(own, file, variable, credential, command);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_closes_one_sign_in_which_is_named_and_the_others_work() {
    let mut world = signed_in(None).await;
    world.fault("token-expires-in=0");
    let (alices, bobs) = (world.issue(ALICE).await, world.issue(BOB).await);
    world.stop_serving().await;
    let data_dir = world.ops.data_dir().to_owned();
    alter_row(&data_dir, ALICE, |sealed| *sealed.last_mut().unwrap() ^= 1).await;
    let mut serving = Serving::start(&world.config_file(), &[]);
    serving.ready(&mut world).await;
    let named = format!("the sign-in of {ALICE} is damaged");
    serving.says(&named).await;
    let (_imap, told) = world.imap(ALICE, &alices).await;
    assert!(told.starts_with("in NO [CONTACTADMIN] "), "{told}");
    assert!(world.imap(BOB, &bobs).await.1.starts_with("in OK "));
    let row = world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap();
    assert_eq!(row.state, MailboxState::NeedsAdministrator);
    assert!(row.reason.as_ref().unwrap().contains(&named), "{row:?}");

    let status = document(postern(&world.config_file(), &["key", "status"]), 1).await;
    let closed: Vec<&Value> =
        status["values"].as_array().unwrap().iter().filter(|value| value["opens"] == false).collect();
    assert_eq!(closed.len(), 1, "{status}");
    assert_eq!(closed[0]["what"], format!("the sign-in of {ALICE}"));
    let changed = rotate(&world.config_file()).await;
    assert_eq!((&changed["finished"], changed["unreadable"].as_array().unwrap().len()), (&true.into(), 1), "{changed}");
    assert!(changed["unreadable"][0]["remedy"].as_str().unwrap().contains(&format!("postern mailbox connect {ALICE}")));
    assert!(world.imap(BOB, &bobs).await.1.starts_with("in OK "), "after a change of the key");

    // A row in another's place is refused as well.
    let token = world.sandbox.refresh_token_for(ALICE);
    world.ops.connect_with_refresh_token(&ALICE.parse().unwrap(), Secret::new(token)).await.unwrap();
    assert!(world.imap(ALICE, &alices).await.1.starts_with("in OK "), "signed in anew");
    let mut of_alice = Vec::new();
    alter_row(&data_dir, ALICE, |sealed| of_alice = sealed.clone()).await;
    alter_row(&data_dir, BOB, |sealed| *sealed = of_alice).await;
    let (_imap, told) = world.imap(BOB, &bobs).await;
    assert!(told.starts_with("in NO [CONTACTADMIN] "), "{told}");
    serving.says(&format!("the sign-in of {BOB} is damaged")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_it_writes_works_elsewhere_with_the_key_and_is_useless_without() {
    let mut world = signed_in(None).await;
    world.fault("token-expires-in=0");
    let password = world.issue(ALICE).await;
    let data_dir = world.ops.data_dir().to_owned();
    let backup = world.folder().join("backup");
    fs::create_dir(&backup).unwrap();
    let busy = tokio_util::sync::CancellationToken::new();
    let writing = async {
        while !busy.is_cancelled() {
            assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
        }
    };
    let backing_up = async {
        // First the store, then the keys, as docs/OPERATING.md has it; the key changes in between.
        let mut connection =
            SqliteConnectOptions::new().filename(data_dir.join(SqliteStore::FILE)).connect().await.unwrap();
        let copy = backup.join(SqliteStore::FILE);
        sqlx::query("VACUUM INTO $1").bind(copy.to_str().unwrap()).execute(&mut connection).await.unwrap();
        rotate(&world.config_file()).await;
        fs::create_dir(backup.join("keys")).unwrap();
        for entry in fs::read_dir(data_dir.join("keys")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, backup.join("keys").join(path.file_name().unwrap())).unwrap();
        }
        busy.cancel();
    };
    tokio::join!(writing, backing_up);
    world.stop_serving().await;

    let elsewhere = world.folder().join("elsewhere");
    let config = world.config_file();
    let moved = fs::read_to_string(&config).unwrap().replace("data_dir = ", "data_dir = \"elsewhere\" # ");
    fs::write(&config, moved).unwrap();
    world.read_configuration();
    assert_eq!(world.config.data_dir.canonicalize().ok(), elsewhere.canonicalize().ok());
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(backup.join(SqliteStore::FILE), elsewhere.join(SqliteStore::FILE)).unwrap();
    let refused = document(postern(&config, &["serve"]), 1).await;
    assert_eq!(refused["error"]["code"], "key-missing");
    assert!(!elsewhere.join("keys").exists(), "no new key is made");

    fs::create_dir(elsewhere.join("keys")).unwrap();
    for (path, content) in files(&backup.join("keys")) {
        fs::write(elsewhere.join("keys").join(path.file_name().unwrap()), content).unwrap();
    }
    world.serve().await;
    assert!(
        world.imap(ALICE, &password).await.1.starts_with("in OK "),
        "the app password and the sign-in of the backup"
    );
    let last = key_status(&config).await["key"].clone();
    eventually("the older store to be brought under the key", async || {
        keys_of_rows(&elsewhere).await.iter().all(|key| last == key.as_str())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_keys_is_its_owners_alone_whatever_the_umask() {
    let kept = Kept::with("", &[]).await;
    let script = format!(
        "umask 0; '{program}' --config '{config}' key rotate && '{program}' --config '{config}' key rotate --new-key-file '{new}'",
        program = env!("CARGO_BIN_EXE_postern"),
        config = kept.config().display(),
        new = kept.path("master").display()
    );
    let output = Command::new("/bin/sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut names = Vec::new();
    for (path, _) in files(&kept.path("data")) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    for name in ["next.sealed", "previous.sealed", "pepper.sealed", "master.key"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_printed_or_logged_or_lies_anywhere_but_in_its_place() {
    let kept = Kept::with("", &[]).await;
    let old = fs::read_to_string(kept.path("data/keys/master.key")).unwrap();
    let mut said = String::new();
    for arguments in [
        &["-vv", "key", "rotate"][..],
        &["-vv", "key", "status"],
        &["-vv", "key", "rotate", "--new-key-file", "master"],
        &["-vv", "key", "status", "--json"],
    ] {
        let output = postern(&kept.config(), arguments).current_dir(kept.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        said.push_str(&text(&output.stdout));
        said.push_str(&text(&output.stderr));
    }
    let new = fs::read_to_string(kept.path("data/keys/master.key")).unwrap();
    assert_ne!(old, new);
    for (name, key) in [("old", &old), ("new", &new), ("supplied", &key(1))] {
        let octets = STANDARD.decode(key.trim()).unwrap();
        assert!(!said.contains(key.trim()), "the {name} key is printed");
        for (path, content) in files(&kept.path("data")) {
            let holds = memchr::memmem::find(&content, &octets).is_some()
                || memchr::memmem::find(&content, key.trim().as_bytes()).is_some();
            assert_eq!(holds, name == "new" && path.ends_with("master.key"), "the {name} key in {}", path.display());
        }
    }
}
