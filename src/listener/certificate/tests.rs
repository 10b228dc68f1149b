//! The CA stays, the server's certificate follows names and time, and what is broken is told.

use std::sync::Arc;

use chrono::TimeZone;
use rustls::pki_types::ServerName;

use super::*;

fn day(year: i32, month: u32, day: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(year, month, day, 12, 0, 0).unwrap()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Verifies the chain as a client does that trusts only the CA.
fn verify(material: &Material, name: &str, now: DateTime<Utc>) -> Result<(), rustls::Error> {
    let ca = material.ca.as_ref().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let since = std::time::Duration::from_secs(u64::try_from(now.timestamp()).unwrap());
    let now = rustls::pki_types::UnixTime::since_unix_epoch(since);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    use rustls::client::danger::ServerCertVerifier;
    verifier.verify_server_cert(&material.certificate_chain[0], &[], &name, &[], now).map(|_| ())
}

#[test]
fn the_first_run_makes_a_certificate_that_a_client_accepts_for_each_name() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data").join("certificates");
    let now = day(2026, 11, 23);
    let material = ensure(&dir, &names(&["Mail.Local", "10.1.2.3", "*.corp.intern"]), now).unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "mail.local", "10.1.2.3", "x.corp.intern"] {
        verify(&material, name, now).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(verify(&material, "other.local", now).is_err());
    assert!(material.expires_at - now <= Duration::days(397) && material.expires_at - now > Duration::days(390));
    let ca = material.ca.as_ref().unwrap();
    assert!(ca.expires_at > day(2036, 11, 20) && ca.path == dir.join("ca.pem"));
    assert_eq!(ca.fingerprint_sha256.split(':').count(), 32);
    assert!(material.certificate_chain_pem.ends_with(&ca.pem));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&material.key).unwrap();
    assert_eq!(key.algorithm(), rustls::SignatureAlgorithm::ECDSA);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.clone()), 0o700);
        assert_eq!(mode(dir.join("ca.key")), 0o600);
        assert_eq!(mode(dir.join("server.key")), 0o600);
    }
}

#[test]
fn later_runs_use_the_same_certificate_until_it_nears_its_end_or_the_names_change() {
    let folder = tempfile::tempdir().unwrap();
    let first = ensure(folder.path(), &names(&["a.test"]), day(2026, 1, 1)).unwrap();
    let same = |other: &Material| first.certificate_chain == other.certificate_chain;
    let again = ensure(folder.path(), &names(&["A.test."]), day(2026, 12, 20)).unwrap();
    assert!(same(&again), "another spelling is the same name");
    for (name, now) in [("a.test", day(2027, 1, 10)), ("b.test", day(2027, 1, 10)), ("b.test", day(2025, 1, 1))] {
        let new = ensure(folder.path(), &names(&[name]), now).unwrap();
        assert!(!same(&new), "{name} {now}");
        assert_eq!(new.ca, first.ca, "the CA stays");
        assert!(new.expires_at > now + Duration::days(300));
        if now > day(2026, 1, 1) {
            verify(&new, name, now).unwrap();
        }
    }
}

#[test]
fn a_certificate_of_another_ca_or_key_or_half_written_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let now = day(2026, 11, 23);
    ensure(other.path(), &[], now).unwrap();
    ensure(folder.path(), &[], now).unwrap();
    let ca = fs::read(folder.path().join("ca.pem")).unwrap();
    type Harm<'a> = Box<dyn Fn() + 'a>;
    let copy = |name: &'static str| -> Harm<'_> {
        let (from, to) = (other.path().join(name), folder.path().join(name));
        Box::new(move || fs::copy(&from, &to).map(drop).unwrap())
    };
    let overwrite = |name: &'static str, content: &'static str| -> Harm<'_> {
        let path = folder.path().join(name);
        Box::new(move || fs::write(&path, content).unwrap())
    };
    let remove = |name: &'static str| -> Harm<'_> {
        let path = folder.path().join(name);
        Box::new(move || fs::remove_file(&path).unwrap())
    };
    let harms: [Harm<'_>; 6] = [
        copy("server.key"),
        copy("server.pem"),
        Box::new(|| ["server.pem", "server.key"].iter().for_each(|name| copy(name)())),
        overwrite("server.pem", "-----BEGIN"),
        overwrite("server.key", ""),
        remove("server.pem"),
    ];
    for (number, harm) in harms.iter().enumerate() {
        harm();
        let material = ensure(folder.path(), &[], now).unwrap();
        verify(&material, "localhost", now).unwrap_or_else(|error| panic!("{number}: {error}"));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&material.key).unwrap();
        let pair = rustls::sign::CertifiedKey::new(material.certificate_chain.clone(), key);
        assert!(pair.keys_match().is_ok(), "{number}");
        assert_eq!(fs::read(folder.path().join("ca.pem")).unwrap(), ca, "{number}: the CA stays");
    }
}

#[test]
fn the_ca_is_never_replaced_silently() {
    let folder = tempfile::tempdir().unwrap();
    let now = day(2026, 11, 23);
    ensure(folder.path(), &[], now).unwrap();

    let expired = ensure(folder.path(), &[], day(2040, 1, 1)).unwrap_err();
    assert_eq!(expired.code(), "ca-expired");

    let key = fs::read(folder.path().join("ca.key")).unwrap();
    fs::remove_file(folder.path().join("ca.key")).unwrap();
    ensure(folder.path(), &[], now).expect("the key is needed only when a certificate is made");
    let missing = ensure(folder.path(), &names(&["new.test"]), now).unwrap_err();
    assert_eq!(missing.code(), "ca-key-missing");
    assert!(missing.remedy().unwrap().contains("remove the folder"));

    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(folder.path().join("ca.key"), other.serialize_pem()).unwrap();
    let mismatch = ensure(folder.path(), &names(&["new.test"]), now).unwrap_err();
    assert_eq!(mismatch.code(), "certificate-key-mismatch");

    fs::write(folder.path().join("ca.key"), key).unwrap();
    fs::write(folder.path().join("ca.pem"), "garbage").unwrap();
    let damaged = ensure(folder.path(), &[], now).unwrap_err();
    assert_eq!(damaged.code(), "certificate-damaged");
    assert_eq!(fs::read(folder.path().join("ca.pem")).unwrap(), b"garbage");
}

#[test]
fn a_certificate_ends_with_its_ca_and_is_not_made_anew_at_every_start_then() {
    let folder = tempfile::tempdir().unwrap();
    ensure(folder.path(), &[], day(2026, 1, 1)).unwrap();
    let late = ensure(folder.path(), &[], day(2035, 12, 10)).unwrap();
    assert_eq!(late.expires_at, late.ca.as_ref().unwrap().expires_at);
    let again = ensure(folder.path(), &[], day(2035, 12, 20)).unwrap();
    assert_eq!(again.certificate_chain, late.certificate_chain);
}

#[test]
fn processes_that_start_at_once_agree_on_one_ca_and_one_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let now = day(2026, 11, 23);
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let dir = folder.path().join("made");
            std::thread::spawn(move || ensure(&dir, &[], now).unwrap())
        })
        .collect();
    let made: Vec<Material> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    for material in &made {
        assert_eq!(material.certificate_chain, made[0].certificate_chain);
        assert_eq!(material.ca, made[0].ca);
        verify(material, "localhost", now).unwrap();
    }
}

#[test]
fn an_own_certificate_is_taken_with_its_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let made = ensure(folder.path(), &[], day(2026, 11, 23)).unwrap();
    let path = |name: &str| folder.path().join(name);
    let own = load_own(&path("server.pem"), &path("server.key")).unwrap();
    assert_eq!(own.certificate_chain, made.certificate_chain);
    assert_eq!((own.ca, own.expires_at), (None, made.expires_at));
    for (certificate, key, code) in [
        ("server.pem", "ca.key", "certificate-key-mismatch"),
        ("server.pem", "gone", "certificate-file"),
        ("gone", "server.key", "certificate-file"),
        ("server.key", "server.key", "certificate-damaged"),
        ("server.pem", "lock", "certificate-damaged"),
    ] {
        let error = load_own(&path(certificate), &path(key)).unwrap_err();
        assert_eq!(error.code(), code, "{certificate} {key}");
        assert!(error.remedy().is_some());
    }
}
