//! No secret is printed, logged or stored readable: the loudest log and every file of the data folder are searched for the app
//! passwords, the tokens, and what clients said in the wrong place, in every form that they could have taken.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern::base::{Protocol, Secret};

use crate::common::child::Serving;
use crate::common::{Plan, World, plain};

const ALICE: &str = "alice@contoso.test";

/// What clients say where a password belongs, or does not: each must be found nowhere.
const CANARIES: [&str; 9] = [
    "Canary-Wrong-Password-1",
    "Canary-As-Login-Name-2",
    "Canary-As-A-Command-3",
    "Canary-Before-User-4",
    "Canary-In-A-Literal-5",
    "Canary-Unclosed-Quote-6",
    "Canary-Glued-To-Auth-7",
    "Canary-As-A-Tag-8",
    "Canary-In-A-Blob-Too-Long-9",
];

/// Every form of a secret that a log line or a file could hold.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    // Base64 of a text that holds the secret somewhere: three alignments, without the letters that depend on the neighbours.
    for before in 0..3 {
        let mut shifted = vec![b'x'; before];
        shifted.extend_from_slice(secret);
        for encoded in [STANDARD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let letters = encoded.trim_end_matches('=').as_bytes();
            let first = (before * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            forms.push(letters[first..last].to_vec());
        }
    }
    forms.push(secret.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into_bytes());
    forms.push(secret.iter().map(|octet| format!("{octet:02X}")).collect::<String>().into_bytes());
    forms.push(secret.iter().flat_map(|octet| [*octet, 0]).collect());
    let listed = format!("{secret:?}");
    forms.push(listed.trim_matches(['[', ']']).as_bytes().to_vec());
    let escaped: String = url::form_urlencoded::byte_serialize(secret).collect();
    forms.push(escaped.into_bytes());
    forms
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_secret_is_recognised_in_every_form() {
    let secret = b"abcde-fghij-klmno-pqrst";
    let line = format!("AUTH PLAIN {}", plain("someone@contoso.test", "abcde-fghij-klmno-pqrst"));
    for text in [
        line.into_bytes(),
        STANDARD.encode(format!("\0a\0{}", String::from_utf8_lossy(secret))).into_bytes(),
        format!("{:?}", &secret[..]).into_bytes(),
        b"user=x&pass=abcde-fghij-klmno-pqrst&".to_vec(),
        "abcde-fghij-klmno-pqrst".encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ] {
        assert!(forms(secret).iter().any(|form| holds(&text, form)), "{:?}", String::from_utf8_lossy(&text));
    }
    assert!(!forms(secret).iter().any(|form| holds(b"AUTH PLAIN AGFsaWNlAHdyb25n nothing of the kind", form)));
}

fn holds(text: &[u8], form: &[u8]) -> bool {
    memchr::memmem::find(text, form).is_some()
}

/// Logs in wrongly in every way that has put a password into somebody's log before.
async fn say_secrets_in_wrong_places(world: &World, password: &str) {
    let mut smtp = world.connect(Protocol::Smtp, "none").await;
    smtp.reply().await;
    smtp.smtp("EHLO script").await;
    for line in [
        format!("AUTH PLAIN{}", plain(ALICE, CANARIES[6])),
        format!("AUTH PLAIN {}=junk", plain(ALICE, CANARIES[0])),
        format!("AUTH PLAIN {}", plain(ALICE, CANARIES[0])),
        format!("AUTH PLAIN {}", plain(CANARIES[1], password)),
        CANARIES[2].to_owned(),
        format!("MAIL FROM:<{ALICE}> AUTH={}", CANARIES[2]),
    ] {
        smtp.smtp(&line).await;
    }
    // AUTH LOGIN with the two answers exchanged.
    smtp.smtp("AUTH LOGIN").await;
    smtp.smtp(&STANDARD.encode(password)).await;
    smtp.smtp(&STANDARD.encode(ALICE)).await;

    let long = format!("{}{}", CANARIES[8], "x".repeat(13_000));
    let mut too_long = world.connect(Protocol::Smtp, "none").await;
    too_long.reply().await;
    too_long.smtp("EHLO script").await;
    let told = too_long.smtp(&format!("AUTH PLAIN {}", plain(ALICE, &long))).await;
    assert!(told.starts_with("500 "), "{told}");

    let mut imap = world.connect(Protocol::Imap, "none").await;
    imap.line().await;
    imap.imap(&format!("a1 LOGIN {ALICE} {}", CANARIES[0])).await;
    imap.imap(&format!("a2 LOGIN {} {password}", CANARIES[1])).await;
    imap.ask(&format!("{} LOGIN", CANARIES[7])).await;
    imap.ask(&format!("a3 LOGIN {ALICE} \"{}", CANARIES[5])).await;
    imap.send(format!("a4 LOGIN {ALICE} {{{}+}}\r\n{}\r\n", CANARIES[4].len(), CANARIES[4])).await;
    imap.line().await;
    imap.ask(&format!("a5 {} x", CANARIES[2])).await;

    let mut pop = world.connect(Protocol::Pop3, "none").await;
    pop.line().await;
    pop.ask(&format!("PASS {}", CANARIES[3])).await;
    pop.ask(&format!("USER {}", CANARIES[1])).await;
    pop.ask(&format!("PASS {password}")).await;
    pop.ask(&format!("USER {ALICE}")).await;
    pop.ask(&format!("PASS {}", CANARIES[0])).await;
    pop.ask(CANARIES[2]).await;
}

/// Sends and reads a mail, so that tokens are had and used.
async fn use_everything(world: &World, password: &str) {
    let mut smtp = world.connect(Protocol::Smtp, "none").await;
    smtp.reply().await;
    smtp.smtp("EHLO script").await;
    assert!(smtp.smtp(&format!("AUTH PLAIN {}", plain(ALICE, password))).await.starts_with("235 "));
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(smtp.smtp(&format!("RCPT TO:<{ALICE}>")).await.starts_with("250 "));
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    assert!(smtp.smtp("Subject: x\r\n\r\nThe-Body-Of-A-Message\r\n.").await.starts_with("250 "));
    let mut imap = world.connect(Protocol::Imap, "none").await;
    imap.line().await;
    assert!(imap.imap(&format!("a1 LOGIN {ALICE} {password}")).await.starts_with("a1 OK"));
    assert!(imap.imap("a2 SELECT INBOX").await.contains("EXISTS"));
    let mut pop = world.connect(Protocol::Pop3, "none").await;
    pop.line().await;
    pop.ask(&format!("USER {ALICE}")).await;
    assert!(pop.ask(&format!("PASS {password}")).await.starts_with("+OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_loudest_log_or_in_a_file_of_the_data_folder() {
    let mut world = World::planned(Plan { grant: "device_code", ..Plan::default() }).await;
    let seeded = world.sandbox.refresh_token_for(ALICE);
    world.ops.connect_with_refresh_token(&ALICE.parse().unwrap(), Secret::new(seeded.clone())).await.unwrap();
    let (password, other) = (world.issue(ALICE).await, world.issue(ALICE).await);
    let serving = Serving::instead_of(&mut world, &["-vv"]).await;
    say_secrets_in_wrong_places(&world, &other).await;
    use_everything(&world, &password).await;
    // What lies there while it runs: the log of the store and its index, and what `status` reads. The refresh token that is
    // sealed in it now is presented below, which is how this test learns of it.
    let data = world.folder().join("data");
    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    for path in files(&data) {
        places.push((format!("{} while it runs", path.display()), fs::read(&path).unwrap()));
    }
    for name in ["postern.db ", "postern.db-wal ", "postern.db-shm ", "serve.json "] {
        assert!(places.iter().any(|(place, _)| place.contains(&format!("/{name}"))), "{name}");
    }
    // A refused token, a refused renewal and a broken token service say much; none of it may hold the token.
    let presented = world.sandbox.tally().refresh_tokens_presented.len();
    for fault in ["imap-auth-reject", "imap-challenge-json", "token-garbage"] {
        world.sandbox.faults().set(fault.parse().unwrap(), None).unwrap();
        let mut imap = world.connect(Protocol::Imap, "none").await;
        imap.line().await;
        imap.imap(&format!("a1 LOGIN {ALICE} {password}")).await;
        world.sandbox.faults().clear_all();
    }
    assert!(world.sandbox.tally().refresh_tokens_presented.len() > presented);
    serving.says("login refused").await;
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    let (status, log) = serving.ended().await;
    assert!(status.success(), "{log}");
    assert!(log.contains("logged in") && log.contains("a new access token was had"), "{log}");

    let tally = world.sandbox.tally();
    assert!(tally.access_tokens.len() > 2, "{}", tally.access_tokens.len());
    let mut secrets: Vec<(&str, Vec<u8>)> =
        CANARIES.iter().map(|canary| ("canary", canary.as_bytes().to_vec())).collect();
    for password in [&password, &other] {
        secrets.push(("app password", password.as_bytes().to_vec()));
        secrets.push(("app password", password.replace('-', "").into_bytes()));
    }
    for (what, tokens) in [("access token", &tally.access_tokens), ("refresh token", &tally.refresh_tokens_presented)] {
        for token in tokens.iter().chain([&seeded]) {
            secrets.push((what, token.as_bytes().to_vec()));
            secrets.push((what, token.as_bytes()[token.len().saturating_sub(24)..].to_vec()));
        }
    }
    secrets.push(("client secret", world.sandbox.client_secret().as_bytes().to_vec()));
    secrets.push(("message", b"The-Body-Of-A-Message".to_vec()));

    places.push(("the log".to_owned(), log.into_bytes()));
    for path in files(&data) {
        places.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    assert!(places.iter().any(|(place, _)| place.ends_with("postern.db")));
    for (place, text) in &places {
        for (what, secret) in &secrets {
            for form in forms(secret) {
                assert!(!holds(text, &form), "{what} {:?} is in {place}", String::from_utf8_lossy(&form));
            }
        }
    }
    #[cfg(unix)]
    for path in files(&data).iter().chain([&data, &data.join("keys")]) {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).unwrap().permissions().mode();
        // The CA's certificate is for everybody; everything else is the owner's.
        let public =
            path.extension().is_some_and(|extension| extension == "pem") && !path.to_string_lossy().contains("key");
        assert!(mode & 0o077 == 0 || public, "{} has mode {mode:o}", path.display());
    }
}
