//! Keys, secrets and certificates: where they come from, and what is wrong with a file.

use super::*;

#[cfg(unix)]
#[test]
fn a_secret_that_everyone_may_read_is_warned_about() {
    let folder = Folder::new();
    assert!(folder.warnings(TENANT).is_empty());
    folder.mode("secret", 0o644);
    let warnings = folder.warnings(TENANT);
    assert!(warnings.len() == 1 && warnings[0].contains("mode 0644"), "{warnings:?}");
    folder.mode("secret", 0o640);
    assert!(folder.warnings(TENANT).is_empty(), "a group of its own is how services are given secrets");
}

#[test]
fn keys_come_from_one_place() {
    let folder = Folder::new();
    folder.write("master", KEY);
    let config = folder.config("[keys]\nmaster_file = \"master\"\n");
    assert!(matches!(config.keys, KeySource::File(path) if path.ends_with("master")));
    let config = folder.config("[keys]\nmaster_credential = \"postern-key\"\n");
    assert_eq!(config.keys, KeySource::Credential("postern-key".into()));
    assert_eq!(folder.faults("[keys]\nmaster_file = \"master\"\nmaster_env = \"X\"\n").len(), 1);
    assert_eq!(folder.faults("[keys]\nmaster_credential = \"../x\"\n").len(), 1);
    assert_eq!(folder.faults("[keys]\nmaster_file = \"master\"\nmaster_command = [\"/bin/cat\"]\n").len(), 1);
}

#[test]
fn a_variable_is_no_good_place_for_a_key_and_that_is_said() {
    // That it is not set here is said as well.
    let warnings = Folder::new().warnings("[keys]\nmaster_env = \"POSTERN_TEST_NO_SUCH_VARIABLE\"\n");
    assert!(warnings.len() == 2 && warnings.iter().any(|said| said.contains("/proc/PID/environ")), "{warnings:?}");
}

#[cfg(unix)]
#[test]
fn a_command_for_the_key_is_a_list_that_no_shell_sees() {
    let folder = Folder::new();
    let config = folder.config("[keys]\nmaster_command = [\"/bin/cat\", \"a b\", \"$HOME\"]\n");
    assert_eq!(config.keys, KeySource::Command(["/bin/cat", "a b", "$HOME"].map(str::to_owned).into()));
    folder.write("tool", "#!/bin/sh\n");
    let local = "[keys]\nmaster_command = [\"./tool\"]\n";
    let faults = folder.faults(local);
    assert!(faults.len() == 1 && faults[0].contains("is no program that this user may start"), "{faults:?}");
    folder.mode("tool", 0o700);
    let KeySource::Command(words) = folder.config(local).keys else { panic!() };
    assert_eq!(words, [folder.path("tool").canonicalize().unwrap().to_str().unwrap()], "from the folder of the file");
    folder.mode("tool", 0o707);
    let warnings = folder.warnings(local);
    assert!(warnings.len() == 1 && warnings[0].contains("may change the program"), "{warnings:?}");
    for (text, told) in [
        ("master_command = \"vault kv get\"", "this is a text, not a list of texts"),
        ("master_command = []", "this names no program"),
        ("master_command = [\" \"]", "this is empty"),
        ("master_command = [\"/nowhere/vault\"]", "`/nowhere/vault` does not exist"),
        ("master_command = [\"/tmp\"]", "is no program that this user may start"),
        ("master_command = [\"cat\", 1]", "not a text"),
        ("master_command = [\"cat\", \"\\u0000\"]", "this holds a NUL"),
    ] {
        let faults = folder.faults(&format!("[keys]\n{text}\n"));
        assert!(faults.len() == 1 && faults[0].contains(told), "{text}: {faults:?}");
    }
    for (text, told) in [("postern-test-no-such-tool", "Install it"), ("vault kv get", "a text of its own")] {
        let loaded = folder.parse(&format!("[keys]\nmaster_command = [\"{text}\"]\n")).unwrap();
        assert_eq!(loaded.warnings.len(), 1, "{text}");
        assert!(loaded.warnings[0].message.contains("in PATH") && loaded.warnings[0].remedy.contains(told), "{text}");
    }
    assert!(folder.warnings("[keys]\nmaster_command = [\"cat\"]\n").is_empty());
}

#[cfg(unix)]
#[test]
fn a_master_key_of_posterns_own_that_others_may_read_is_warned_about() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("data/keys")).unwrap();
    folder.write("data/keys/master.key", "x");
    for (mode, warned) in [(0o600, 0), (0o640, 1), (0o604, 1)] {
        folder.mode("data/keys/master.key", mode);
        assert_eq!(folder.warnings("data_dir = \"data\"\n").len(), warned, "{mode:o}");
    }
    folder.write("master", KEY);
    folder.mode("master", 0o600);
    let elsewhere = "data_dir = \"data\"\n[keys]\nmaster_file = \"master\"\n";
    assert_eq!(folder.warnings(elsewhere).len(), 0, "it is not the one in use");
}

/// 32 octets in base64.
const KEY: &str = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=\n";

#[test]
fn a_master_key_that_is_none_is_told_before_anything_is_started_with_it() {
    let folder = Folder::new();
    for (content, fault) in [
        (KEY, None),
        (KEY.trim_end(), None),
        ("", Some("is empty")),
        ("s3cret", Some("is not a master key, which is 32 octets in base64")),
        ("3q2+796tvu8=", Some("is not a master key")),
        (&format!("{KEY}{KEY}"), Some("is not a master key")),
    ] {
        folder.write("master", content);
        let faults = folder.faults("[keys]\nmaster_file = \"master\"\n");
        match fault {
            None => assert!(faults.is_empty(), "{faults:?}"),
            Some(part) => {
                assert!(faults.len() == 1 && faults[0].starts_with("2 keys.master_file: "), "{faults:?}");
                assert!(faults[0].contains(part), "{faults:?}");
            }
        }
    }
    assert!(folder.faults("[keys]\nmaster_file = \"gone\"\n")[0].contains("does not exist"));
}

/// A certificate with its key, good from one year to another.
fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, from: i32, until: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["mail.test".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn an_own_certificate_must_be_in_its_time_and_fit_its_key() {
    let folder = Folder::new();
    let (good, good_key) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2026, 2028);
    let (_, other_key) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2026, 2028);
    let (old, old_key) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2020, 2025);
    let (early, early_key) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2027, 2028);
    let (rsa, rsa_key) = certificate(&rcgen::PKCS_RSA_SHA256, 2026, 2028);
    let text = "[tls]\ncertificate_file = \"c.pem\"\nkey_file = \"c.key\"\n";
    for (pem, key, fault, warning) in [
        (&good, &good_key, None, None),
        (&good, &other_key, Some("the key is not the one"), None),
        (&old, &old_key, Some("expired on 2025-01-01"), None),
        (&early, &early_key, Some("not good before 2027-01-01"), None),
        (&rsa, &rsa_key, None, Some("RSA")),
        (&"no".to_owned(), &good_key, Some("holds no certificate"), None),
        (&good, &"no".to_owned(), Some("holds no key"), None),
    ] {
        folder.write("c.pem", pem);
        folder.write("c.key", key);
        #[cfg(unix)]
        folder.mode("c.key", 0o600);
        match (folder.parse(text), fault) {
            (Err(faulty), Some(part)) => {
                assert_eq!(faulty.faults.len(), 1, "{faulty:?}");
                assert!(faulty.faults[0].message.contains(part), "{faulty:?}");
            }
            (Ok(loaded), None) => {
                assert!(loaded.config.tls.is_some());
                assert_eq!(loaded.warnings.len(), usize::from(warning.is_some()), "{:?}", loaded.warnings);
                assert!(warning.is_none_or(|part| loaded.warnings[0].message.contains(part)));
            }
            (other, _) => panic!("{fault:?}: {other:?}"),
        }
    }
    assert_eq!(folder.faults("[tls]\nkey_file = \"c.key\"\n").len(), 1);
    let names = folder.config("[tls]\nnames = [\"Mail.Local\", \"10.1.2.3\"]\n").tls_names;
    assert_eq!(names, ["mail.local", "10.1.2.3"]);
    assert_eq!(folder.faults("[tls]\nnames = [\"mail local\"]\n").len(), 1);
}
