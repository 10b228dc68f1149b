//! Tenants, and how their application proves itself.

use super::*;

#[test]
fn a_tenant_that_cannot_work_is_refused() {
    let folder = Folder::new();
    folder.write("empty", "\n");
    for (from, to, expected) in [
        ("client_secret_file = \"secret\"", "client_secret_file = \"gone\"", "does not exist"),
        ("client_secret_file = \"secret\"", "client_secret_file = \"empty\"", "is empty"),
        ("client_secret_file = \"secret\"", "", "needs a client secret"),
        ("grant = ", "client_secret_env = \"X\"\ngrant = ", "is given as well"),
        ("\"66666666-7777-8888-9999-000000000000\"", "\"\"", "this is empty"),
        ("\"11111111-2222-3333-4444-555555555555\"", "\"a/b\"", "neither a tenant's number"),
        ("\"11111111-2222-3333-4444-555555555555\"", "\"common\"", "must be told which tenant"),
        ("\"11111111-2222-3333-4444-555555555555\"", "\"consumers\"", "the tenant of personal accounts"),
        ("grant = \"client_credentials\"", "grant = \"password\"", "`password` is not known here"),
        (
            "grant = \"client_credentials\"",
            "grant = { smtp = \"device_code\", imap = \"device_code\" }",
            "a listener speaks pop3",
        ),
        (
            "grant = \"client_credentials\"",
            "cloud = \"personal\"\ngrant = \"client_credentials\"",
            "personal accounts know no",
        ),
        ("grant = \"client_credentials\"", "", "this is missing"),
        ("name = \"contoso\"", "", "this is missing"),
        ("name = \"contoso\"", "name = \"contoso\"\nclient_secret_expires = 5", "not a date"),
    ] {
        assert!(TENANT.contains(from), "{from}");
        let faults = folder.faults(&TENANT.replace(from, to));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{to}: {faults:?}");
    }
    let faults = folder.faults(&format!("{TENANT}{TENANT}"));
    assert_eq!(faults, ["10 tenant[1].name: `tenant[0].name` has the name `contoso` too"]);
    assert_eq!(folder.faults(TENANT), [""; 0]);
}

/// The certificates that tests use, beside the file.
fn certificates() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/certificates").display().to_string()
}

#[test]
fn an_application_proves_itself_in_one_of_four_ways() {
    let folder = Folder::new();
    folder.write("token", "eyJ");
    let files = certificates();
    let credential = |lines: &str| {
        let text = TENANT.replace("client_secret_file = \"secret\"", lines);
        folder.config(&text).tenants.remove(0).credential
    };
    let file = |name: &str| SecretPlace::File(Path::new(&files).join(name));
    let secret = SecretPlace::File(folder.path("secret").canonicalize().unwrap());
    assert_eq!(credential("client_secret_file = \"secret\""), Credential::Secret(secret));
    assert_eq!(
        credential(&format!("certificate_file = \"{files}/rsa.pem\"\nkey_file = \"{files}/rsa.key\"")),
        Credential::Certificate {
            certificate: Path::new(&files).join("rsa.pem"),
            key: Some(file("rsa.key")),
            passphrase: None
        }
    );
    assert_eq!(
        credential(&format!(
            "certificate_file = \"{files}/rsa.pfx\"\ncertificate_passphrase_file = \"{files}/passphrase\""
        )),
        Credential::Certificate {
            certificate: Path::new(&files).join("rsa.pfx"),
            key: None,
            passphrase: Some(file("passphrase"))
        }
    );
    let token = SecretPlace::File(folder.path("token").canonicalize().unwrap());
    assert_eq!(credential("federated_token_file = \"token\""), Credential::FederatedToken(token));
    assert_eq!(
        credential("federated_token_credential = \"aad\""),
        Credential::FederatedToken(SecretPlace::Credential("aad".into()))
    );
}

#[test]
fn a_certificate_that_cannot_be_used_is_a_fault_that_says_why() {
    let folder = Folder::new();
    let files = certificates();
    for (lines, expected) in [
        ("certificate_file = \"FILES/rsa.pem\"", "there is no private key"),
        ("certificate_file = \"FILES/none.pem\"", "does not exist"),
        ("certificate_file = \"FILES/ec.pem\"\nkey_file = \"FILES/ec.key\"", "not an RSA key"),
        ("certificate_file = \"FILES/ec.pem\"\nkey_file = \"FILES/rsa.key\"", "not the one of the certificate"),
        ("certificate_file = \"FILES/rsa.pfx\"", "the passphrase does not open it"),
        ("certificate_file = \"FILES/rsa.pem\"\nkey_file = \"FILES/rsa-encrypted.key\"", "no passphrase is named"),
        ("key_file = \"FILES/rsa.key\"\nclient_secret_file = \"secret\"", "and none is named"),
        (
            "client_secret_file = \"secret\"\ncertificate_file = \"FILES/rsa.pem\"\nkey_file = \"FILES/rsa.key\"",
            "is given as well",
        ),
    ] {
        let text = TENANT.replace("client_secret_file = \"secret\"", &lines.replace("FILES", &files));
        let faults = folder.faults(&text);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{lines}: {faults:?}");
    }
}

#[test]
fn a_browser_takes_along_what_the_file_says_and_nothing_that_the_sign_in_sets_itself() {
    let folder = Folder::new();
    let text = format!("{TENANT}authorize_params = {{ access_type = \"offline\", prompt = \"consent\" }}\n");
    let parameters = folder.config(&text).tenants.remove(0).authorize_params;
    assert_eq!(parameters, [("access_type".into(), "offline".into()), ("prompt".into(), "consent".into())]);
    for (parameter, expected) in [("state = \"x\"", "sets this itself"), ("prompt = 5", "this is a number, not a text")]
    {
        let faults = folder.faults(&format!("{TENANT}authorize_params = {{ {parameter} }}\n"));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains(expected), "{faults:?}");
    }
}

#[test]
fn the_date_of_the_secret_is_taken_as_date_or_text_and_warned_about_in_time() {
    let folder = Folder::new();
    for (date, warnings) in [("2027-05-31", 0), ("\"2027-05-31\"", 0), ("2026-12-01", 1), ("2026-01-01", 1)] {
        assert_eq!(folder.warnings(&format!("{TENANT}client_secret_expires = {date}\n")).len(), warnings, "{date}");
    }
}
