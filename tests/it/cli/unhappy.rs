//! Commands around which something is wrong: no store, no room for the output, a process that hangs, files that only root may read.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Place, Service, text};

#[test]
fn what_only_reads_makes_nothing_where_nothing_is() {
    let place = Place::with_tenant();
    for args in [
        &["mailbox", "list"][..],
        &["mailbox", "show", "alice@contoso.test"],
        &["mailbox", "alias", "alice@contoso.test", "--remove", "x"],
        &["mailbox", "disable", "alice@contoso.test"],
        &["mailbox", "remove", "alice@contoso.test"],
        &["mailbox", "disconnect", "alice@contoso.test"],
        &["password", "list"],
        &["password", "show", "k7m2qx"],
        &["password", "revoke", "k7m2qx"],
        &["password", "issue", "alice@contoso.test", "--label", "x"],
        &["certificate"],
        &["status"],
        &["check"],
    ] {
        place.run(args);
        assert!(!place.dir().join("data").exists(), "{args:?}");
    }
    // Nor does `status` leave anything in a folder that is there and empty.
    fs::create_dir(place.dir().join("data")).unwrap();
    place.run(&["status"]);
    place.run(&["mailbox", "list"]);
    assert_eq!(fs::read_dir(place.dir().join("data")).unwrap().count(), 0);
}

/// Nobody saw it, and it would stay in force.
#[cfg(target_os = "linux")]
#[test]
fn a_new_password_that_cannot_be_printed_is_revoked_again() {
    let place = Place::with_mailbox();
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for (number, (stdout, why)) in
        [(full(), "No space left"), (full(), "No space left"), (gone(), "has gone")].into_iter().enumerate()
    {
        let json = if number == 1 { &["--json"][..] } else { &[] };
        let args = [&["password", "issue", "alice@contoso.test", "--label", "unseen"], json].concat();
        let output = place.command(&args).stdin(Stdio::null()).stdout(stdout).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for part in [why, "nobody has seen the new app password", "it is revoked again", "remedy: "] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert!(!stderr.contains("user name"), "{stderr}");
        let list = place.json(&["password", "list"], 0);
        let states: Vec<&Value> = list.as_array().unwrap().iter().map(|row| &row["state"]).collect();
        assert_eq!(states, vec!["revoked"; number + 1], "{list}");
    }
}

/// Nor is the old one cut short for it.
#[cfg(target_os = "linux")]
#[test]
fn a_successor_that_cannot_be_printed_is_revoked_and_the_old_one_works_as_before() {
    let place = Place::with_mailbox();
    let issued = place.json(&["password", "issue", "alice@contoso.test", "--label", "scanner"], 0);
    let old = issued["id"].as_str().unwrap();
    let full = Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = place.command(&["password", "rotate", old]).stdin(Stdio::null()).stdout(full).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in ["nobody has seen the new app password", "it is revoked again, and the old one works as before"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    let list = place.json(&["password", "list"], 0);
    assert_eq!((&list[0]["state"], &list[1]["state"]), (&"active".into(), &"revoked".into()), "{list}");
    assert!(list[0]["expires_at"].is_null(), "{list}");

    let rotated = place.json(&["password", "rotate", old, "--overlap", "12h"], 0);
    assert_eq!((&rotated["replaces"], &rotated["label"]), (&old.into(), &"scanner".into()));
    let list = place.json(&["password", "list"], 0);
    assert_eq!((&list[0]["state"], &list[2]["state"]), (&"rotating".into(), &"active".into()), "{list}");
    let shown = place.json(&["password", "show", old], 0);
    assert_eq!(shown["replaced_by"], rotated["id"]);
    let output = place.run(&["password", "rotate", old]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("`postern password rotate {}`", rotated["id"].as_str().unwrap())), "{stderr}");
    let none = place.run(&["password", "rotate", rotated["id"].as_str().unwrap(), "--overlap", "0d"]);
    assert_eq!(none.status.code(), Some(0), "{}", text(&none.stderr));
    let list = place.json(&["password", "list"], 0);
    assert_eq!(list[2]["state"], "expired", "at once: {list}");
}

#[test]
fn a_network_from_which_no_listener_can_be_reached_is_warned_about() {
    let place = Place::with_mailbox();
    let warned = |place: &Place, network: &str| {
        let args = ["password", "issue", "alice@contoso.test", "--label", "x", "-q", "--network", network];
        let output = place.run(&args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let stderr = text(&output.stderr);
        let warning = format!("warning: no listener of the configuration can be reached from {network}");
        assert_eq!(stderr.contains("[[listener]]"), stderr.contains(&warning), "{stderr}");
        stderr.contains(&warning)
    };
    assert!(warned(&place, "10.1.0.0/16"));
    assert!(!warned(&place, "127.0.0.1/32"));
    let listener = "[[listener]]\nprotocol = \"smtp\"\naddress = \"0.0.0.0:1587\"\n";
    place.write("config/postern.toml", &format!("{}{listener}", super::TENANT));
    assert!(!warned(&place, "10.1.0.0/16"));
}

/// Free ports in each of the three ways of encryption.
fn listeners() -> String {
    let listeners =
        [("smtp", "starttls"), ("smtp", "implicit"), ("imap", "implicit"), ("pop3", "implicit"), ("pop3", "none")];
    let listener = |(protocol, tls)| {
        format!("[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n")
    };
    listeners.map(listener).concat()
}

/// A stopped process still has its connections taken, by the system.
#[cfg(unix)]
#[test]
fn a_process_that_hangs_does_not_pass_for_one_that_works() {
    use nix::sys::signal::Signal;

    let place = Place::with_tenant();
    place.write("config/postern.toml", &format!("{}{}", super::TENANT, listeners()));
    let service = Service::start(&place, &["serve"], "postern is ready");
    let answers = |document: &Value| -> Vec<bool> {
        document["listeners"].as_array().unwrap().iter().map(|listener| listener["answers"] == true).collect()
    };
    let well = place.json(&["status"], 0);
    assert_eq!(answers(&well), [true; 5], "{well}");

    service.signal(Signal::SIGSTOP);
    let began = Instant::now();
    let hanging = place.json(&["status"], 1);
    let took = began.elapsed();
    service.signal(Signal::SIGCONT);
    assert_eq!(answers(&hanging), [false; 5], "{hanging}");
    assert!(hanging["troubles"][0].as_str().unwrap().contains("it did not greet within 3 s"), "{hanging}");
    // One after the other they would take 15.
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert_eq!(answers(&place.json(&["status"], 0)), [true; 5]);
}

#[cfg(unix)]
#[test]
fn a_listener_is_recognised_by_the_certificate_that_the_configuration_names() {
    let certificate = |place: &Place| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        // No name that anybody connects to, as with one made for the network.
        let mut params = rcgen::CertificateParams::new(vec!["mail.contoso.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        place.write("certs/server.pem", &params.self_signed(&key).unwrap().pem());
        place.write("certs/server.key", &key.serialize_pem());
    };
    let place = Place::with_tenant();
    certificate(&place);
    let tls = "[tls]\ncertificate_file = \"../certs/server.pem\"\nkey_file = \"../certs/server.key\"\n";
    place.write("config/postern.toml", &format!("{}{}{tls}", super::TENANT, listeners()));
    let service = Service::start(&place, &["serve"], "the certificate is the configured one");
    let status = |place: &Place| {
        let output = place.run(&["status", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let began = Instant::now();
    while status(&place)["well"] != true {
        assert!(began.elapsed() < crate::common::patience(), "{}", status(&place));
    }

    certificate(&place);
    let renewed = status(&place);
    assert_eq!(renewed["well"], false, "{renewed}");
    let troubles = renewed["troubles"].as_array().unwrap();
    assert_eq!(troubles.len(), 3, "one for each listener of implicit TLS: {renewed}");
    assert!(troubles.iter().all(|trouble| trouble.as_str().unwrap().contains("SIGHUP")), "{renewed}");
    assert!(renewed["listeners"].as_array().unwrap().iter().all(|listener| listener["answers"] == true), "{renewed}");

    service.signal(nix::sys::signal::Signal::SIGHUP);
    while status(&place)["well"] != true {
        assert!(began.elapsed() < crate::common::patience(), "{}", status(&place));
    }
}

/// `serve` becomes the owner of the data folder before it reads the secret.
#[cfg(target_os = "linux")]
#[test]
fn run_as_root_check_and_serve_see_what_the_owner_of_the_data_sees() {
    use std::os::unix::fs::{PermissionsExt, chown};

    if !nix::unistd::geteuid().is_root() {
        // Nobody else can become another user, so there is nothing to see.
        return;
    }
    let place = Place::with_tenant();
    let (data, secret) = (place.dir().join("data"), place.dir().join("client-secret"));
    fs::create_dir(&data).unwrap();
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(&data, Some(65_534), Some(65_534)).unwrap();

    for args in [&["check"][..], &["serve"]] {
        let output = place.run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{args:?}: {stderr}");
        assert!(stderr.contains("client_secret_file: ") && stderr.contains("may not be read by this user"), "{stderr}");
    }
    chown(&secret, Some(65_534), Some(65_534)).unwrap();
    let document = place.json(&["check"], 0);
    // The file itself is root's alone, as the test has written it.
    assert_eq!(document["warnings"].as_array().unwrap().len(), 1, "{document}");
    let warning = document["warnings"][0]["message"].as_str().unwrap();
    assert!(warning.contains("config/postern.toml` may not be read by"), "{warning}");
    fs::set_permissions(place.dir().join("config/postern.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.json(&["check"], 0), serde_json::json!({"faults": [], "warnings": []}));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made");
}

/// The terminal is closed.
#[cfg(target_os = "linux")]
#[test]
fn a_demonstration_or_a_tenant_that_is_hung_up_on_leaves_nothing_behind() {
    use nix::sys::signal::Signal;

    for (args, last) in
        [(&["demo", "--stay"][..], "certificates/ca.pem"), (&["sandbox"], "the simulated tenant is ready")]
    {
        let place = Place::new();
        let passing = place.dir().join("passing");
        fs::create_dir(&passing).unwrap();
        // The tests themselves may have been started with `nohup`.
        let inner = place.command(args);
        let mut command = std::process::Command::new("env");
        command.arg("--default-signal=HUP").arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(inner.get_current_dir().unwrap()).env("TMPDIR", &passing);
        let service = Service::start_as(command, last);
        assert_eq!(fs::read_dir(&passing).unwrap().count(), 1, "{args:?}");
        let (status, _) = service.stop(Signal::SIGHUP);
        assert_eq!(status, Some(0), "{args:?}");
        assert_eq!(fs::read_dir(&passing).unwrap().count(), 0, "{args:?}");
    }
}

/// What was started with `nohup` goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_tenant_started_with_hangups_ignored_outlives_its_terminal() {
    use nix::sys::signal::Signal;

    let place = Place::new();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" sandbox --dir made"]).arg(env!("CARGO_BIN_EXE_postern"));
    command.current_dir(place.dir());
    let service = Service::start_as(command, "the simulated tenant is ready");
    let status = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 1, 1, "{status}");
    assert_eq!(service.stop(Signal::SIGTERM).0, Some(0));
}
