//! Command lines, as a script sees them: arguments, status, stdout, stderr.
//!
//! The files in `tests/cli` hold them. In what is expected, `[..]` stands for anything within a line, a line `...` for any
//! number of lines, and `[DIR]` for the folder that the command was started in.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod unhappy;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use serde_json::Value;

/// One file of `tests/cli`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    /// Files that are there before the first run.
    #[serde(default)]
    files: BTreeMap<String, String>,
    run: Vec<Run>,
}

/// One command line, and what comes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    stdin: String,
    status: i32,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
}

/// A folder to run the program in, away from every configuration of this machine.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.write("client-secret", "s3cret\n");
        place
    }

    /// A place with a tenant that takes client_credentials.
    fn with_tenant() -> Self {
        let place = Self::new();
        place.write("config/postern.toml", TENANT);
        place
    }

    /// The same, with alice@contoso.test on the list.
    fn with_mailbox() -> Self {
        let place = Self::with_tenant();
        place.json(&["mailbox", "add", "alice@contoso.test"], 0);
        place
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).current_dir(self.dir());
        for name in ["POSTERN_CONFIG", "NO_COLOR", "COLUMNS", "RUST_LOG", "CREDENTIALS_DIRECTORY", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs it, expects `status`, and reads the document on stdout.
    fn json(&self, args: &[&str], status: i32) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{args:?}\n{stdout}\n{stderr}");
        assert_eq!(stdout.lines().count(), 1, "one document and nothing else: {stdout}");
        serde_json::from_str(&stdout).unwrap()
    }
}

const TENANT: &str = r#"
data_dir = "../data"

[[tenant]]
name = "contoso"
tenant_id = "11111111-2222-3333-4444-555555555555"
client_id = "66666666-7777-8888-9999-000000000000"
grant = "client_credentials"
client_secret_file = "../client-secret"
"#;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n")
}

#[test]
fn every_golden_command_line_does_what_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("cli");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 5, "the golden files are there");
    let mut wrong = Vec::new();
    for file in files {
        let golden: Golden = toml::from_str(&fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let place = Place::new();
        for (name, content) in &golden.files {
            place.write(name, content);
        }
        for run in &golden.run {
            let args: Vec<&str> = run.args.iter().map(String::as_str).collect();
            let mut command = place.command(&args);
            command.envs(&run.env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // A command that reads nothing may be gone before this is written.
            drop(child.stdin.take().unwrap().write_all(run.stdin.as_bytes()));
            let output = child.wait_with_output().unwrap();
            let dir = place.dir().display().to_string();
            let shown = |bytes: &[u8]| text(bytes).replace(&dir, "[DIR]");
            let (stdout, stderr) = (shown(&output.stdout), shown(&output.stderr));
            if output.status.code() != Some(run.status)
                || !matches(&run.stdout, &stdout)
                || !matches(&run.stderr, &stderr)
            {
                let (name, status) = (file.file_name().unwrap().display(), output.status);
                wrong.push(format!("{name}: postern {args:?}\n{status}\n--- stdout\n{stdout}--- stderr\n{stderr}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Whether `found` is what `expected` says.
fn matches(expected: &str, found: &str) -> bool {
    let lines = |text: &'_ str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let (expected, found) = (lines(expected), lines(found));
    lines_match(&expected, &found)
}

fn lines_match(expected: &[String], found: &[String]) -> bool {
    match (expected.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            (0..=found.len()).any(|skipped| lines_match(rest, &found[skipped..]))
        }
        (Some((wanted, rest)), Some((line, others))) => line_matches(wanted, line) && lines_match(rest, others),
        _ => false,
    }
}

fn line_matches(wanted: &str, line: &str) -> bool {
    match wanted.split_once("[..]") {
        None => wanted == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_matches(after, &rest[at..]))
        }),
    }
}

#[test]
fn the_runner_itself_tells_right_from_wrong() {
    for (expected, found, same) in [
        ("a\nb\n", "a\nb\n", true),
        ("a\n", "a\nb\n", false),
        ("a\n...\n", "a\nb\nc\n", true),
        ("...\nc\n", "a\nb\nc\n", true),
        ("...\nd\n", "a\nb\nc\n", false),
        ("x [..] z\n", "x yy z\n", true),
        ("x [..] z[..]\n", "x yy z\n", true),
        ("x [..] z\n", "x yy\n", false),
        ("", "a\n", false),
    ] {
        assert_eq!(matches(expected, found), same, "{expected:?} {found:?}");
    }
}

#[test]
fn an_app_password_lives_from_issue_to_revocation_in_fixed_documents() {
    let place = Place::with_tenant();
    place.json(&["mailbox", "add", "bob@contoso.test"], 0);
    place.json(&["mailbox", "remove", "bob@contoso.test"], 0);
    let refused = place.json(&["password", "issue", "alice@contoso.test", "--label", "Scanner"], 1);
    assert_eq!(refused["error"]["code"], "mailbox-not-listed");
    assert!(refused["error"]["remedy"].as_str().unwrap().contains("postern mailbox add alice@contoso.test"));

    let added = place.json(&["mailbox", "add", "Alice@Contoso.test", "--alias", "scanner"], 0);
    assert_eq!((&added["address"], &added["state"]), (&"alice@contoso.test".into(), &"ready".into()));
    place.json(&["mailbox", "add", "alice@contoso.test", "--alias", "printer"], 0);
    let list = place.json(&["mailbox", "list"], 0);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(keys(&list[0]), ["address", "aliases", "reason", "sign_in_as", "since", "state", "tenant"]);
    assert_eq!(list[0]["aliases"], serde_json::json!(["printer", "scanner"]));
    assert!(list[0]["sign_in_as"].is_null() && list[0]["reason"].is_null());

    let scopes =
        ["--protocol", "smtp,imap", "--network", "10.1.0.0/16", "--network", "10.0.0.5", "--expires", "2099-05-31"];
    let senders = ["--sender", "Alice@Contoso.test,@contoso.test", "--sender", "@contoso.test", "--force-from"];
    let issue = [&["password", "issue", "alice@contoso.test", "--label", "Scanner"][..], &scopes, &senders].concat();
    let issued = place.json(&issue, 0);
    assert_eq!(keys(&issued), ["expires_at", "id", "label", "login", "mailbox", "password", "replaces"]);
    assert_eq!(issued["expires_at"], "2099-05-31T23:59:59Z");
    assert_eq!(issued["login"], "alice@contoso.test");
    let (id, password) = (issued["id"].as_str().unwrap(), issued["password"].as_str().unwrap());

    let output = place.run(&["password", "list", "--json"]);
    assert!(!text(&output.stdout).contains(password) && !text(&output.stderr).contains(password));
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed[0]["protocols"], serde_json::json!(["smtp", "imap"]));
    assert_eq!(listed[0]["networks"], serde_json::json!(["10.1.0.0/16", "10.0.0.5/32"]));
    assert_eq!(listed[0]["senders"], serde_json::json!(["alice@contoso.test", "@contoso.test"]));
    assert_eq!((&listed[0]["state"], &listed[0]["delivery"]), (&"active".into(), &"assured".into()));
    let mut shown = place.json(&["password", "show", id], 0);
    assert_eq!(shown, listed[0], "as in the list");
    assert_eq!(shown.as_object_mut().unwrap().remove("force_from"), Some(true.into()));
    assert!(shown.as_object_mut().unwrap().remove("created_by").unwrap().is_string());
    for (name, empty) in [
        ("logins", 0.into()),
        ("upstream_refusals", 0.into()),
        ("recipients", serde_json::json!([])),
        ("bind_first_use", false.into()),
        ("drop_sent_append", false.into()),
    ] {
        assert_eq!(shown.as_object_mut().unwrap().remove(name), Some(empty), "{name}");
    }
    for name in [
        "replaces",
        "replaced_by",
        "not_before",
        "max_per_minute",
        "max_per_day",
        "max_sessions",
        "activate_by",
        "first_used_at",
        "bound_network",
        "bound_protocol",
        "owner",
        "note",
        "last_address",
        "last_protocol",
        "last_client",
        "last_tls",
    ] {
        assert_eq!(shown.as_object_mut().unwrap().remove(name), Some(Value::Null), "{name}");
    }
    assert_eq!(
        keys(&shown),
        [
            "created_at",
            "delivery",
            "expires_at",
            "id",
            "label",
            "last_used_at",
            "mailbox",
            "networks",
            "protocols",
            "read_only",
            "senders",
            "state"
        ]
    );
    let shown = place.run(&["password", "show", id]);
    let line = "alice@contoso.test, @contoso.test; replaced by alice@contoso.test";
    assert!(text(&shown.stdout).contains(line), "{}", text(&shown.stdout));

    assert_eq!(place.json(&["password", "revoke", id], 0)["state"], "revoked");
    assert_eq!(place.json(&["password", "revoke", id], 0)["state"], "revoked", "twice is no fault");
    assert_eq!(place.json(&["password", "show", id], 0)["state"], "revoked");
    assert_eq!(place.json(&["password", "revoke", "unknown"], 1)["error"]["code"], "password-unknown");
    assert_eq!(place.json(&["mailbox", "remove", "alice@contoso.test"], 0)["revoked_passwords"], 0);
    assert_eq!(place.json(&["mailbox", "list"], 0), serde_json::json!([]));
    assert_eq!(place.json(&["mailbox", "show", "alice@contoso.test"], 1)["error"]["code"], "mailbox-not-listed");
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_new_password_stands_alone_on_stdout_and_is_nowhere_else() {
    let place = Place::with_mailbox();
    for (more, length, hyphens) in [(&[][..], 23, 3), (&["--short"][..], 16, 0)] {
        let args = [&["password", "issue", "alice@contoso.test", "--label", "x"], more].concat();
        let output = place.run(&args);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let password = stdout.strip_suffix('\n').unwrap();
        assert_eq!((password.len(), password.matches('-').count()), (length, hyphens), "{stdout:?}");
        assert!(!stderr.contains(password));
        for part in ["user name  alice@contoso.test", "port 1143, STARTTLS", "port 1465, SSL/TLS", "ends       never"] {
            assert!(stderr.contains(part), "{part}\n{stderr}");
        }
        let everything = place.run(&["-vv", "password", "list"]);
        assert!(!text(&everything.stdout).contains(password) && !text(&everything.stderr).contains(password));
    }
}

#[test]
fn the_ca_is_printed_once_made_and_is_the_same_each_time() {
    let place = Place::with_mailbox();
    let first = place.run(&["certificate"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let pem = text(&first.stdout);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.ends_with("-----END CERTIFICATE-----\n"), "{pem}");
    assert_eq!(pem.matches("BEGIN").count(), 1);
    let document = place.json(&["certificate"], 0);
    assert_eq!(document["pem"], pem.as_str());
    assert!(text(&first.stderr).contains(document["fingerprint_sha256"].as_str().unwrap()));
    assert!(text(&first.stderr).contains("certutil -addstore Root"));
}

#[test]
fn the_configuration_of_a_fresh_checkout_can_be_used_as_it_is() {
    let place = Place::new();
    for name in ["postern.toml", "minimal.toml"] {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        place.write("config/postern.toml", &fs::read_to_string(sample).unwrap());
        let document = place.json(&["check"], 0);
        assert_eq!(document, serde_json::json!({"faults": [], "warnings": []}), "{name}");
    }
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = place.run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = text(&output.stdout);
        assert!(["mailbox", "password", "certificate"].iter().all(|word| script.contains(word)), "{shell}");
    }
    let page = text(&place.run(&["man"]).stdout);
    for part in [".TH postern 1", "POSTERN MAILBOX ADD", "POSTERN PASSWORD ISSUE", "\\-\\-refresh\\-token\\-file"] {
        assert!(page.contains(part), "{part}");
    }
}

/// `postern man | head -1` and the like.
#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::with_mailbox();
    for args in [&["man"][..], &["completions", "zsh"], &["mailbox", "list", "--json"], &["certificate"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.command(args).stdin(Stdio::null()).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("panicked"), "{args:?}");
    }
}

/// What root leaves in the service's folder could not be read by the service.
#[cfg(target_os = "linux")]
#[test]
fn run_as_root_a_command_acts_as_the_user_whose_data_it_is() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    if !nix::unistd::geteuid().is_root() {
        // Nobody else can become another user, so there is nothing to see.
        return;
    }
    let place = Place::with_tenant();
    let data = place.dir().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(&data, Some(65_534), Some(65_534)).unwrap();
    let output = place.run(&["mailbox", "add", "alice@contoso.test"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut files = vec![data];
    while let Some(path) = files.pop() {
        assert_eq!(path.metadata().unwrap().uid(), 65_534, "{}", path.display());
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

/// A command that runs until it is told to stop. It is killed if a test ends before.
struct Service {
    child: std::process::Child,
    said: Vec<String>,
}

impl Service {
    /// Starts it and reads stderr until a line ends with `last`.
    fn start(place: &Place, args: &[&str], last: &str) -> Self {
        Self::start_as(place.command(args), last)
    }

    fn start_as(mut command: Command, last: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut service = Self { child: command.spawn().unwrap(), said: Vec::new() };
        let mut lines = BufReader::new(service.child.stderr.take().unwrap()).lines();
        for line in lines.by_ref() {
            service.said.push(line.unwrap());
            if service.said.last().is_some_and(|line| line.ends_with(last)) {
                // What follows is read and dropped, so that it never stands before a full pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return service;
            }
        }
        panic!("{command:?} ended before it said `{last}`: {:#?}", service.said);
    }

    #[cfg(unix)]
    fn signal(&self, signal: nix::sys::signal::Signal) {
        let process = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(process, signal).unwrap();
    }

    /// Sends a signal, waits, and returns the status and what stood on stdout.
    #[cfg(unix)]
    fn stop(mut self, signal: nix::sys::signal::Signal) -> (Option<i32>, String) {
        self.signal(signal);
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        (self.child.wait().unwrap().code(), stdout)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(unix)]
#[test]
fn serve_tells_its_listeners_and_that_it_is_ready_and_stops_when_told() {
    use nix::sys::signal::Signal;

    let place = Place::new();
    let listeners: String = [("smtp", "starttls"), ("imap", "implicit"), ("pop3", "none")]
        .map(|(protocol, tls)| {
            format!("[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n")
        })
        .concat();
    place.write("config/postern.toml", &format!("data_dir = \"../data\"\n{listeners}"));

    let stopped = place.json(&["status"], 1);
    assert_eq!((&stopped["running"], &stopped["well"]), (&false.into(), &false.into()));

    let service = Service::start(&place, &["serve"], "postern is ready");
    let said = service.said.join("\n");
    let starts = ["smtp starttls 127.0.0.1:", "imap implicit 127.0.0.1:", "pop3 none 127.0.0.1:"];
    for start in starts {
        let line =
            service.said.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {said}"));
        assert!(!line.ends_with(":0"), "the real port is told: {line}");
    }
    assert!(said.contains("certificates/ca.pem") && said.contains("postern setup"), "{said}");

    // Without [console] there is none.
    assert_eq!(place.json(&["console"], 1)["error"]["code"], "no-console");
    assert!(!said.contains("console http "), "{said}");

    let second = place.json(&["serve"], 1);
    let message = second["error"]["message"].as_str().unwrap();
    assert_eq!(message, format!("already served by process {}", service.child.id()));

    let status = place.json(&["status"], 1);
    assert_eq!(status["running"], true);
    assert_eq!(status["listeners"].as_array().unwrap().len(), 3);
    assert!(status["listeners"].as_array().unwrap().iter().all(|listener| listener["answers"] == true), "{status}");
    let tells_of_a_change = |status: &Value| {
        let troubles = status["troubles"].as_array().unwrap();
        troubles.iter().any(|trouble| trouble.as_str().unwrap().contains("serves another configuration than this one"))
    };
    place.write("config/postern.toml", &format!("# A note.\ndata_dir = \"../data\"\n\n{listeners}"));
    assert!(!tells_of_a_change(&place.json(&["status"], 1)), "a comment is no change");
    place.write("config/postern.toml", &format!("data_dir = \"../data\"\n{listeners}\n[limits]\nlogin_seconds = 30\n"));
    assert!(tells_of_a_change(&place.json(&["status"], 1)));
    let steps = place.json(&["doctor"], 1);
    let warned = steps["steps"].as_array().unwrap().iter().find(|step| step["state"] == "warning").unwrap();
    assert!(warned["said"].as_str().unwrap().contains("serves another configuration"), "{steps}");
    assert!(warned["remedy"].as_str().unwrap().starts_with("Start it anew"), "{steps}");
    assert_eq!(service.stop(Signal::SIGTERM), (Some(0), String::new()), "nothing stands on stdout");

    assert_eq!(place.json(&["console"], 1)["error"]["code"], "not-running");

    place.write(
        "config/postern.toml",
        &format!("data_dir = \"../data\"\n{listeners}\n[console]\naddress = \"127.0.0.1:0\"\n"),
    );
    let service = Service::start(&place, &["serve", "--json", "-q"], "postern is ready");
    let told = service.said.iter().find_map(|line| line.strip_prefix("console http ")).unwrap();
    let address = told.split(' ').next().unwrap();
    let link = place.json(&["console"], 0);
    assert_eq!(keys(&link), ["expires_at", "link"]);
    assert!(link["link"].as_str().unwrap().starts_with(&format!("http://{address}/sign-in?link=")), "{link}");
    assert_eq!(place.json(&["status"], 1)["console"], *address);
    let (status, stdout) = service.stop(Signal::SIGINT);
    assert_eq!(status, Some(0));
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(keys(&document), ["listeners"]);
    assert_eq!(keys(&document["listeners"][0]), ["address", "protocol", "tls"]);
}

#[cfg(target_os = "linux")]
#[test]
fn serve_takes_every_open_file_it_may_have_and_leaves_no_dump_of_its_memory() {
    let place = Place::new();
    let listener = "[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\n";
    place.write(
        "config/postern.toml",
        &format!("data_dir = \"../data\"\n{listener}\n[limits]\nconnections = 1000000\n"),
    );
    let service = Service::start(&place, &["serve"], "postern is ready");
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.child.id())).unwrap();
    let limit = |name: &str| -> (String, String) {
        let rest = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut columns = rest.split_whitespace().map(str::to_owned);
        (columns.next().unwrap(), columns.next().unwrap())
    };
    assert_eq!(limit("Max core file size"), ("0".to_owned(), "0".to_owned()));
    let (soft, hard) = limit("Max open files");
    assert_eq!(soft, hard);
    let warned = service.said.iter().any(|line| line.contains("limits.connections is 1000000, but the"));
    assert_eq!(warned, hard.parse::<u64>().is_ok_and(|files| files < 2_000_384), "{hard}: {:#?}", service.said);
}

#[cfg(unix)]
#[test]
fn the_sandbox_prints_a_configuration_that_can_be_used_from_anywhere() {
    let place = Place::new();
    for dir in [Some("made"), None] {
        let named = dir.map_or(Vec::new(), |dir| vec!["--dir", dir]);
        let args = [&["sandbox", "--fault", "token-status=503"][..], &named].concat();
        let service = Service::start(&place, &args, "the simulated tenant is ready");
        let written = service.said.iter().find_map(|line| line.strip_prefix("try it: postern --config '")).unwrap();
        let file = PathBuf::from(written.strip_suffix("' serve").unwrap());
        let config = file.display().to_string();
        assert_eq!(place.json(&["check", "--config", &config], 0)["faults"], serde_json::json!([]));
        let (status, stdout) = service.stop(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(status, Some(0));
        if dir.is_some() {
            place.write("elsewhere/copy.toml", &stdout);
            assert_eq!(place.json(&["check", "--config", "elsewhere/copy.toml"], 0)["faults"], serde_json::json!([]));
        } else {
            assert!(!file.parent().unwrap().exists(), "a folder that nobody named goes");
        }
    }
}
