//! `postern setup` with every answer by option, against the simulated tenant: from an empty folder to mail.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use postern::sandbox::{Options, Sandbox};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Peer, plain, within};

const ALICE: &str = "alice@contoso.test";

/// An empty folder, and a tenant that is known by its addresses alone.
struct Ground {
    sandbox: Sandbox,
    folder: TempDir,
}

impl Ground {
    async fn start() -> Self {
        let ground =
            Self { sandbox: Sandbox::start(Options::default()).await.unwrap(), folder: tempfile::tempdir().unwrap() };
        ground.write("ca.pem", ground.sandbox.ca_pem());
        ground.write("client-secret", ground.sandbox.client_secret());
        ground
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn config_file(&self) -> PathBuf {
        self.dir().join("config/postern.toml")
    }

    fn config_text(&self) -> String {
        std::fs::read_to_string(self.config_file()).unwrap()
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.dir().join(name);
        std::fs::write(&path, content).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Runs the program here, with nobody to ask.
    async fn run(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("--config").arg(self.config_file()).args(args).current_dir(self.dir()).stdin(Stdio::null());
        for name in ["POSTERN_CONFIG", "RUST_LOG", "CREDENTIALS_DIRECTORY", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        let output = within("the program to end", command.kill_on_drop(true).output()).await.unwrap();
        for secret in [self.sandbox.client_secret(), &self.sandbox.refresh_token_for(ALICE)] {
            let said = [output.stdout.clone(), output.stderr.clone()].concat();
            assert!(!String::from_utf8_lossy(&said).contains(secret), "a secret is printed");
        }
        output
    }

    /// The options that say where the tenant is, for the tenant `name`, and `more`.
    async fn setup(&self, name: &str, more: &[&str]) -> Output {
        let token_url = format!("token_url={}", self.sandbox.token_url());
        let hosts = [
            format!("smtp={}", self.sandbox.smtp_address()),
            format!("imap={}", self.sandbox.imap_address()),
            format!("pop3={}", self.sandbox.pop3_address()),
        ];
        let mut args = vec!["setup", "--cloud", "custom", "--tenant", name, "--endpoint", &token_url];
        for host in &hosts {
            args.extend(["--endpoint", host]);
        }
        args.extend(["--endpoint", "ca_file=ca.pem"]);
        args.extend(more);
        self.run(&args).await
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn document(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().count(), 1, "one document and nothing else: {stdout}");
    serde_json::from_str(&stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    #[cfg(unix)]
    return std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777;
    #[cfg(not(unix))]
    0o600
}

/// A real `postern serve` on free ports, and the address of a listener.
#[cfg(unix)]
async fn serve(ground: &Ground, listener: &str) -> (crate::common::child::Serving, std::net::SocketAddr) {
    let free = ["1587", "1465", "1143", "1993", "1110", "1995", "8587"]
        .iter()
        .fold(ground.config_text(), |text, port| text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0"));
    std::fs::write(ground.config_file(), free).unwrap();
    let serving = crate::common::child::Serving::start(&ground.config_file(), &[]);
    serving.says("postern is ready").await;
    let said = serving.said();
    let line =
        said.lines().find_map(|line| line.strip_prefix(listener)).unwrap_or_else(|| panic!("{listener}: {said}"));
    let address = line.trim().parse().unwrap();
    (serving, address)
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_folder_to_mail_with_one_command() {
    let ground = Ground::start().await;
    let client_id = ground.sandbox.client_id().to_owned();
    let more = [
        "--client-id",
        &client_id,
        "--client-secret-file",
        "client-secret",
        "--mailbox",
        ALICE,
        "--label",
        "Scanner",
        "--json",
    ];
    let told = document(&ground.setup("contoso", &more).await);
    let mut keys: Vec<&String> = told.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["config", "listeners", "mailbox", "password", "script", "tenant"]);
    assert_eq!(told["config"].as_str().map(Path::new), Some(ground.config_file().as_path()));
    assert_eq!((told["tenant"].as_str(), told["mailbox"].as_str()), (Some("contoso"), Some(ALICE)));
    assert_eq!(told["password"]["label"], "Scanner");
    assert_eq!(told["listeners"].as_array().unwrap().len(), 6);
    assert!(told["script"].is_null(), "a custom cloud has no Exchange Online PowerShell");
    assert_eq!(mode(&ground.config_file()), 0o600);

    let doctor = ground.run(&["doctor", ALICE]).await;
    assert_eq!(doctor.status.code(), Some(0), "{}", text(&doctor.stdout));
    let password = told["password"]["password"].as_str().unwrap();
    let (_serving, address) = serve(&ground, "smtp starttls").await;
    let mut smtp = Peer::new(tokio::net::TcpStream::connect(address).await.unwrap());
    assert!(smtp.reply().await.starts_with("220 "));
    smtp.smtp("EHLO client.test").await;
    assert!(smtp.smtp(&format!("AUTH PLAIN {}", plain(ALICE, password))).await.starts_with("235 "));
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(smtp.smtp("RCPT TO:<bob@contoso.test>").await.starts_with("250 "));
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    assert!(smtp.smtp("Subject: set up\r\n\r\nhello\r\n.").await.starts_with("250 "));
    assert_eq!(ground.sandbox.messages("bob@contoso.test", "INBOX").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_that_is_made_opens_the_mailbox_once_it_is_uploaded() {
    let ground = Ground::start().await;
    let client_id = ground.sandbox.client_id().to_owned();
    let more = ["--client-id", &client_id, "--mailbox", ALICE, "--certificate-years", "1"];
    let first = ground.setup("contoso", &more).await;
    let said = text(&first.stderr);
    assert_eq!(first.status.code(), Some(0), "{said}");
    // Nobody has uploaded it yet, which is told and no reason to stop.
    for part in ["a key and a certificate were made", "config/contoso.pem", "is not complete yet"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let (certificate, key) = (ground.dir().join("config/contoso.pem"), ground.dir().join("config/contoso.key"));
    assert_eq!((mode(&key), ground.config_text().contains("key_file = \"contoso.key\"")), (0o600, true));
    assert!(!said.contains("PRIVATE KEY"));

    let pem = std::fs::read_to_string(&certificate).unwrap();
    ground.sandbox.register_certificate(&pem).unwrap();
    let before = ground.config_text();
    let again = ground.setup("contoso", &more).await;
    let said = text(&again.stderr);
    assert_eq!(again.status.code(), Some(0), "{said}");
    assert!(said.contains("everything works"), "{said}");
    assert_eq!(
        std::fs::read_to_string(&certificate).unwrap(),
        pem,
        "the certificate is still the one that was uploaded"
    );
    assert_eq!(ground.config_text(), before, "the configuration is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_where_persons_sign_in_is_added_behind_what_is_there() {
    let ground = Ground::start().await;
    let client_id = ground.sandbox.client_id().to_owned();
    let secret = ["--client-id", &client_id, "--client-secret-file", "client-secret", "--mailbox", "bob@contoso.test"];
    let first = ground.setup("contoso", &secret).await;
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let before = format!("{}\n# a remark of mine\n[limits]\nconnections = 500 # enough\n", ground.config_text());
    std::fs::write(ground.config_file(), &before).unwrap();

    ground.write("refresh-token", &ground.sandbox.refresh_token_for(ALICE));
    let authorize_url = format!("authorize_url={}", ground.sandbox.authorize_url());
    let more = [
        &secret[..4],
        &["--grant", "authorization_code", "--credential", "secret", "--endpoint", &authorize_url],
        &["--endpoint", "scopes.imap=https://outlook.office.com/IMAP.AccessAsUser.All offline_access"],
        &["--mailbox", ALICE, "--refresh-token-file", "refresh-token", "--yes", "--json"],
    ]
    .concat();
    let told = document(&ground.setup("people", &more).await);
    assert_eq!(told["tenant"], "people");
    let after = ground.config_text();
    assert!(after.starts_with(&before), "not a character of it is changed:\n{after}");
    assert!(after.contains("name = \"people\"") && after.contains("grant = \"authorization_code\""), "{after}");
    let shown = ground.run(&["mailbox", "show", ALICE, "--json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((shown["tenant"].as_str(), shown["state"].as_str()), (Some("people"), Some("ready")), "{shown}");
}

/// Nobody signs in while the program waits at the first step; what comes after is for the next run.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_fails_leaves_what_was_set_up_and_the_next_run_goes_on() {
    let ground = Ground::start().await;
    let client_id = ground.sandbox.client_id().to_owned();
    let authorize_url = format!("authorize_url={}", ground.sandbox.authorize_url());
    let options = [
        "--grant",
        "authorization_code",
        "--client-id",
        &client_id,
        "--client-secret-file",
        "client-secret",
        "--mailbox",
        ALICE,
        "--endpoint",
        &authorize_url,
        "--json",
    ];
    ground.write("refresh-token", "not-a-token");
    let token = ["--refresh-token-file", "refresh-token"];
    let failed = ground.setup("contoso", &[&options[..], &token].concat()).await;
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stderr));
    let told: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert!(told["error"]["remedy"].as_str().unwrap().contains("goes on with the sign-in"), "{told}");

    let later = document(&ground.setup("contoso", &[&options[..], &["--no-sign-in"]].concat()).await);
    assert!(later["password"]["password"].is_string(), "{later}");
    ground.write("refresh-token", &ground.sandbox.refresh_token_for(ALICE));
    let done = ground.setup("contoso", &[&options[..], &token].concat()).await;
    assert!(document(&done)["password"].is_null(), "the one of the run before is not joined by another");
    // Whoever is signed in need not say how somebody would sign in; where somebody has to, and nobody can be asked, it is wanted.
    let again = ground.setup("contoso", &options).await;
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    assert_eq!(ground.run(&["mailbox", "disconnect", ALICE]).await.status.code(), Some(0));
    let wanted = ground.setup("contoso", &options).await;
    assert_eq!(wanted.status.code(), Some(2), "{}", text(&wanted.stderr));
    assert!(text(&wanted.stderr).contains("--refresh-token-file FILE (or --device-code"), "{}", text(&wanted.stderr));
    let back = ground.setup("contoso", &[&options[..], &token].concat()).await;
    assert_eq!(back.status.code(), Some(0), "{}", text(&back.stderr));
    // A label of its own is another program; the same one twice is not.
    let named = [&options[..], &["--label", "Scanner", "--no-sign-in"]].concat();
    assert_eq!(document(&ground.setup("contoso", &named).await)["password"]["label"], "Scanner");
    let again = ground.setup("contoso", &named).await;
    assert!(document(&again)["password"].is_null());
    assert!(text(&again.stderr).contains("postern password revoke "), "{}", text(&again.stderr));
    let list = ground.run(&["password", "list", "--json"]).await;
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let mut labels: Vec<&str> = list.as_array().unwrap().iter().filter_map(|row| row["label"].as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["Scanner", "first mail program"], "{list}");
    let shown = ground.run(&["mailbox", "show", ALICE, "--json"]).await;
    assert!(text(&shown.stdout).contains("\"state\":\"ready\""), "{}", text(&shown.stdout));
}

/// Nobody has seen it, and it would stay in force.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_first_password_that_cannot_be_shown_is_revoked_again() {
    let ground = Ground::start().await;
    let client_id = ground.sandbox.client_id().to_owned();
    let more = ["--client-id", &client_id, "--client-secret-file", "client-secret", "--mailbox", ALICE];
    assert_eq!(ground.setup("contoso", &more).await.status.code(), Some(0));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    command.arg("--config").arg(ground.config_file()).args(["setup", "-q", "--mailbox", ALICE, "--label", "unseen"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let output = within("the program to end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("it is revoked again"), "{}", text(&output.stderr));
    let list = ground.run(&["password", "list", "--json"]).await;
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let states: Vec<(&Value, &Value)> =
        list.as_array().unwrap().iter().map(|row| (&row["label"], &row["state"])).collect();
    assert!(states.contains(&(&"unseen".into(), &"revoked".into())), "{list}");
}
