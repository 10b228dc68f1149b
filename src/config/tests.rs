//! Tables of files: what is wrong with each, or what comes of it.

mod upstream;

use std::path::{Path, PathBuf};

use chrono::{TimeZone, Utc};

use super::*;
use crate::base::Protocol;

fn surroundings(folder: &Path) -> Surroundings {
    Surroundings {
        named: None,
        current_dir: folder.to_owned(),
        system_file: folder.join("etc").join("postern.toml"),
        system_data_dir: PathBuf::from("/var/lib/postern"),
        now: Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).unwrap(),
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("secret", "s3cret\n");
        #[cfg(unix)]
        folder.mode("secret", 0o600);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    #[cfg(unix)]
    fn mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn parse(&self, text: &str) -> Result<Loaded, Faulty> {
        parse(text, &self.path("postern.toml"), &surroundings(self.0.path()))
    }

    fn config(&self, text: &str) -> Config {
        self.parse(text).map_err(|faulty| panic!("{text}\n{:#?}", faulty.faults)).unwrap().config
    }

    /// Each fault as `line key: message`.
    fn faults(&self, text: &str) -> Vec<String> {
        self.parse(text).map(|_| Vec::new()).unwrap_or_else(|faulty| shown(&faulty.faults))
    }

    fn warnings(&self, text: &str) -> Vec<String> {
        shown(&self.parse(text).map_err(|faulty| panic!("{text}\n{:#?}", faulty.faults)).unwrap().warnings)
    }
}

fn shown(findings: &[Fault]) -> Vec<String> {
    for finding in findings {
        assert!(!finding.message.is_empty() && !finding.message.ends_with('.'), "{finding:?}");
        assert!(finding.remedy.ends_with('.'), "every finding says what to do: {finding:?}");
    }
    findings
        .iter()
        .map(|f| format!("{} {}: {}", f.line.map_or("-".into(), |line| line.to_string()), f.key, f.message))
        .collect()
}

const TENANT: &str = r#"
[[tenant]]
name = "contoso"
tenant_id = "11111111-2222-3333-4444-555555555555"
client_id = "66666666-7777-8888-9999-000000000000"
grant = "client_credentials"
client_secret_file = "secret"
"#;

#[test]
fn the_file_is_looked_for_in_four_places_and_a_named_one_is_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut around = surroundings(folder.path());
    assert_eq!(around.find(None), None);
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    std::fs::write(folder.path().join("etc/postern.toml"), "").unwrap();
    assert_eq!(around.find(None), Some(folder.path().join("etc/postern.toml")));
    std::fs::create_dir(folder.path().join("config")).unwrap();
    std::fs::write(folder.path().join("config/postern.toml"), "").unwrap();
    assert_eq!(around.find(None), Some(folder.path().join("config/postern.toml")));
    around.named = Some(PathBuf::from("not-there.toml"));
    assert_eq!(around.find(None), Some(folder.path().join("not-there.toml")));
    assert_eq!(around.find(Some(Path::new("flag.toml"))), Some(folder.path().join("flag.toml")));
    let faulty = load(None, &around).unwrap_err();
    assert!(faulty.faults[0].message.starts_with("the file cannot be read"), "{faulty:?}");
}

#[test]
fn without_a_file_six_listeners_on_loopback_hold() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(None, &surroundings(folder.path())).unwrap();
    assert_eq!(loaded.path, None);
    assert_eq!(loaded.config.data_dir, folder.path().join("data"));
    let listeners: Vec<String> =
        loaded.config.listeners.iter().map(|l| format!("{} {} {}", l.protocol, l.tls, l.address)).collect();
    assert_eq!(
        listeners,
        [
            "smtp starttls 127.0.0.1:1587",
            "smtp implicit 127.0.0.1:1465",
            "imap starttls 127.0.0.1:1143",
            "imap implicit 127.0.0.1:1993",
            "pop3 starttls 127.0.0.1:1110",
            "pop3 implicit 127.0.0.1:1995",
        ]
    );
    assert!(loaded.config.tenants.is_empty());
}

#[test]
fn an_empty_file_has_the_defaults_and_the_systems_data_directory() {
    let config = Folder::new().config("");
    assert_eq!(config.data_dir, Path::new("/var/lib/postern"));
    assert_eq!(config.listeners, Listener::defaults());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.keys, KeySource::DefaultFile);
}

#[test]
fn every_fault_is_told_at_once_with_its_line() {
    let folder = Folder::new();
    let text = r#"data_dir = 7
colour = "blue"

[[listener]]
protocol = "smtpp"
adress = "127.0.0.1:25"

[[listener]]
protocol = "imap"
address = "localhost:143"
tls = "implicit"
plaintext_from = ["10.0.0.0/8", "ten"]

[limits]
connections = 0
login_seconds = "60"

[[tenant]]
name = "x y"
cloud = "globl"
grant = "client_credentials"
[tenant.endpoints]
imap = "outlook.office365.com"
token_url = "http://login.example/token"
pop = "x:995"
"#;
    assert_eq!(
        folder.faults(text),
        [
            "1 data_dir: this is a number, not a text",
            "2 colour: `colour` is not a known key",
            "4 listener[0].address: this is missing",
            "5 listener[0].protocol: `smtpp` is not known here",
            "6 listener[0].adress: `adress` is not a known key",
            "10 listener[1].address: `localhost:143` is not an IP address and a port",
            "12 listener[1].plaintext_from: nobody can be without TLS on an implicit listener",
            "12 listener[1].plaintext_from[1]: `ten` is not a network",
            "15 limits.connections: 0 is not between 1 and 1000000",
            "16 limits.login_seconds: this is a text, not a whole number",
            "18 tenant[0].tenant_id: this is missing",
            "18 tenant[0].client_id: this is missing",
            "18 tenant[0].client_secret_file: client_credentials needs a client secret or a certificate, and none is named",
            "19 tenant[0].name: the name has a space or control character in it",
            "20 tenant[0].cloud: `globl` is not known here",
            "23 tenant[0].endpoints.imap: `outlook.office365.com` has no port",
            "24 tenant[0].endpoints.token_url: a plain http:// address is taken on loopback only: it would carry secrets in the clear",
            "25 tenant[0].endpoints.pop: `pop` is not a known key",
        ]
    );
    let faulty = folder.parse(text).unwrap_err();
    let remedy = |key: &str| faulty.faults.iter().find(|fault| fault.key == key).unwrap().remedy.clone();
    assert_eq!(remedy("listener[0].adress"), "Write `address`, if that is meant, or remove it.");
    assert_eq!(remedy("tenant[0].endpoints.pop"), "Write `pop3`, if that is meant, or remove it.");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let faults = Folder::new().faults("data_dir = \"x\"\n[limits\nconnections = 5\n");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("2 : this is not TOML"), "{faults:?}");
    let faults = Folder::new().faults("data_dir = \"x\"\ndata_dir = \"y\"\n");
    assert!(faults[0].starts_with("2 : this is not TOML: duplicate key"), "{faults:?}");
}

#[test]
fn keys_without_effect_yet_are_refused_and_never_ignored() {
    let folder = Folder::new();
    for (text, key) in [
        ("[console]\naddress = \"127.0.0.1:8587\"", "console"),
        ("[metrics]\naddress = \"127.0.0.1:9587\"", "metrics"),
        ("store = \"postgres://x\"", "store"),
        ("store_file = \"x\"", "store_file"),
        ("store_env = \"x\"", "store_env"),
        (
            "[[listener]]\nprotocol=\"smtp\"\naddress=\"127.0.0.1:1\"\nproxy_protocol_from=[]",
            "listener[0].proxy_protocol_from",
        ),
        ("[delivery]\ndefault = \"assured\"", "delivery.default"),
        ("[delivery]\nmax_age = \"4d\"", "delivery.max_age"),
        ("[delivery]\npatience = \"20s\"", "delivery.patience"),
        ("[delivery]\nspool_bytes = 1", "delivery.spool_bytes"),
        ("[delivery]\nunknown_outcome = \"hold\"", "delivery.unknown_outcome"),
    ] {
        let faulty = folder.parse(text).unwrap_err();
        assert_eq!(faulty.faults.len(), 1, "{text}: {:?}", faulty.faults);
        assert_eq!(faulty.faults[0].key, key);
        assert!(faulty.faults[0].message.contains("not in this version yet"), "{:?}", faulty.faults);
    }
    for (line, key) in
        [("routes = [\"smtp\", \"graph\"]", "tenant[0].routes[1]"), ("sent_folder = \"Sent\"", "tenant[0].sent_folder")]
    {
        let faulty = folder.parse(&format!("{TENANT}{line}\n")).unwrap_err();
        assert_eq!(faulty.faults[0].key, key);
        assert!(faulty.faults[0].message.contains("not in this version yet"), "{:?}", faulty.faults);
    }
    folder.config("[metrics]\n[limits]\n[delivery]\ndefault = \"direct\"\n[keys]\n[upstream]\n");
    folder.config(&format!("{TENANT}routes = [\"smtp\"]\n"));
}

#[test]
fn each_cloud_sets_what_the_file_does_not() {
    let folder = Folder::new();
    for (cloud, token_host, mailbox_host, smtp_host, scope) in [
        (
            "global",
            "login.microsoftonline.com",
            "outlook.office365.com",
            "smtp.office365.com",
            "https://outlook.office365.com/.default",
        ),
        (
            "gcc-high",
            "login.microsoftonline.us",
            "outlook.office365.us",
            "outlook.office365.us",
            "https://outlook.office365.us/.default",
        ),
        (
            "dod",
            "login.microsoftonline.us",
            "outlook-dod.office365.us",
            "outlook-dod.office365.us",
            "https://outlook.office365.us/.default",
        ),
        (
            "china",
            "login.partner.microsoftonline.cn",
            "partner.outlook.cn",
            "smtp.partner.outlook.cn",
            "https://partner.outlook.cn/.default",
        ),
    ] {
        let config = folder.config(&format!("{TENANT}cloud = \"{cloud}\"\n"));
        let Endpoints { token_url, imap, pop3, smtp, smtp_tls, scopes, .. } = &config.tenants[0].endpoints;
        let path = "11111111-2222-3333-4444-555555555555/oauth2/v2.0/token";
        assert_eq!(token_url.as_str(), format!("https://{token_host}/{path}"));
        assert_eq!(imap.as_ref().unwrap().to_string(), format!("{mailbox_host}:993"));
        assert_eq!(pop3.as_ref().unwrap().to_string(), format!("{mailbox_host}:995"));
        assert_eq!(smtp.as_ref().unwrap().to_string(), format!("{smtp_host}:587"));
        assert_eq!(*smtp_tls, SmtpTls::Starttls);
        for protocol in Protocol::ALL {
            assert_eq!(scopes.of(protocol), scope, "{cloud}");
        }
    }
}

#[test]
fn delegated_grants_ask_for_the_permission_of_each_protocol() {
    let text = r#"
[[tenant]]
name = "home"
cloud = "personal"
client_id = "66666666-7777-8888-9999-000000000000"
grant = { smtp = "device_code", imap = "authorization_code", pop3 = "device_code" }
"#;
    let tenant = Folder::new().config(text).tenants.remove(0);
    assert_eq!(tenant.tenant_id.as_deref(), Some("consumers"));
    assert_eq!(tenant.credential, Credential::None);
    assert_eq!(tenant.grants.of(Protocol::Imap), Grant::AuthorizationCode);
    assert_eq!(tenant.endpoints.token_url.as_str(), "https://login.microsoftonline.com/consumers/oauth2/v2.0/token");
    assert_eq!(tenant.endpoints.scopes.smtp, "https://outlook.office.com/SMTP.Send offline_access");
    assert_eq!(tenant.endpoints.scopes.imap, "https://outlook.office.com/IMAP.AccessAsUser.All offline_access");
    assert_eq!(tenant.endpoints.scopes.pop3, "https://outlook.office.com/POP.AccessAsUser.All offline_access");
    assert_eq!(tenant.endpoints.smtp.unwrap().to_string(), "smtp-mail.outlook.com:587");
}

#[test]
fn a_custom_cloud_needs_only_what_its_grants_and_listeners_use() {
    let folder = Folder::new();
    let text = |more: &str| {
        format!(
            "[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\n\
             [[tenant]]\nname = \"x\"\ncloud = \"custom\"\nclient_id = \"x\"\ngrant = \"device_code\"\n{more}"
        )
    };
    assert_eq!(
        folder.faults(&text("")),
        [
            "4 tenant[0].endpoints.token_url: this is missing, and every grant needs it",
            "4 tenant[0].endpoints.device_url: this is missing, and the grant device_code needs it",
            "4 tenant[0].endpoints.imap: this is missing, and a listener speaks imap",
        ]
    );
    let full = text(
        "[tenant.endpoints]\ntoken_url = \"http://127.0.0.1:8080/token\"\ndevice_url = \"https://x.test/device\"\n\
         imap = \"[::1]:993\"\nscopes = { imap = \"a  b\" }\n",
    );
    let tenant = folder.config(&full).tenants.remove(0);
    assert_eq!(tenant.endpoints.imap.unwrap().to_string(), "[::1]:993");
    assert_eq!(tenant.endpoints.smtp, None);
    assert_eq!(tenant.endpoints.scopes.imap, "a b");
    assert!(folder.warnings(&full).is_empty());
}

#[test]
fn each_endpoint_overrides_the_preset() {
    let text = format!(
        "{TENANT}[tenant.endpoints]\ntoken_url = \"https://proxy.test/t\"\nimap = \"Relay.Test:1993\"\n\
         smtp = \"10.0.0.1:465\"\nsmtp_tls = \"implicit\"\nscopes = {{ smtp = \"https://x/.default\" }}\n"
    );
    let endpoints = Folder::new().config(&text).tenants.remove(0).endpoints;
    assert_eq!(endpoints.token_url.as_str(), "https://proxy.test/t");
    assert_eq!(endpoints.imap.unwrap().to_string(), "relay.test:1993");
    assert_eq!(endpoints.pop3.unwrap().to_string(), "outlook.office365.com:995");
    assert_eq!(endpoints.smtp.unwrap().to_string(), "10.0.0.1:465");
    assert_eq!(endpoints.smtp_tls, SmtpTls::Implicit);
    assert_eq!(endpoints.scopes.smtp, "https://x/.default");
    assert_eq!(endpoints.scopes.imap, "https://outlook.office365.com/.default");
}

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

#[test]
fn addresses_of_token_services_are_https_or_on_loopback() {
    let folder = Folder::new();
    for (url, accepted) in [
        ("https://login.example/token", true),
        ("http://127.0.0.1:9000/token", true),
        ("http://[::1]:9000/token", true),
        ("http://localhost:9000/token", true),
        ("http://localhost.evil.example/token", false),
        ("http://10.0.0.1/token", false),
        ("ftp://login.example/token", false),
        ("https://user:pw@login.example/token", false),
        ("https:///token#x", false),
        ("login.example/token", false),
        ("", false),
    ] {
        let faults = folder.faults(&format!("{TENANT}[tenant.endpoints]\ntoken_url = \"{url}\"\n"));
        assert_eq!(faults.is_empty(), accepted, "{url}: {faults:?}");
    }
}

#[test]
fn hosts_have_a_name_and_a_port() {
    for (text, expected) in [
        ("outlook.office365.com:993", Some("outlook.office365.com:993")),
        ("MAIL_1.local:25", Some("mail_1.local:25")),
        ("127.0.0.1:993", Some("127.0.0.1:993")),
        ("[::1]:993", Some("[::1]:993")),
        ("host.:993", Some("host.:993")),
        ("host", None),
        ("host:", None),
        ("host:0", None),
        ("host:+993", None),
        ("host:70000", None),
        (":993", None),
        ("::1:993", None),
        ("ho st:993", None),
        ("-host:993", None),
        ("a..b:993", None),
        ("999.1.1.1:993", None),
        ("host/x:993", None),
        ("[host]:993", None),
    ] {
        assert_eq!(text.parse::<HostPort>().ok().map(|host| host.to_string()).as_deref(), expected, "{text}");
    }
}

#[test]
fn nobody_is_locked_out_or_exposed_unawares_by_a_listener_without_tls() {
    let folder = Folder::new();
    let listener =
        |address: &str, rest: &str| format!("[[listener]]\nprotocol = \"smtp\"\naddress = \"{address}\"\n{rest}\n");
    for (address, rest, faults, warnings) in [
        ("127.0.0.1:25", "tls = \"none\"", 0, 0),
        ("0.0.0.0:25", "tls = \"none\"", 1, 0),
        ("0.0.0.0:25", "tls = \"none\"\nplaintext_from = [\"10.1.0.0/16\"]", 0, 1),
        ("127.0.0.1:25", "tls = \"none\"\nplaintext_from = []", 1, 0),
        ("0.0.0.0:25", "tls = \"starttls\"", 0, 0),
        ("0.0.0.0:25", "plaintext_from = [\"0.0.0.0/0\"]", 0, 1),
        ("0.0.0.0:25", "plaintext_from = [\"::/0\", \"10.0.0.5\"]", 0, 1),
        ("0.0.0.0:25", "tls = \"implicit\"", 0, 0),
        ("0.0.0.0:25", "tls = \"implicit\"\nplaintext_from = []", 1, 0),
    ] {
        let text = listener(address, rest);
        match folder.parse(&text) {
            Ok(loaded) => assert_eq!((0, loaded.warnings.len()), (faults, warnings), "{text} {:?}", loaded.warnings),
            Err(faulty) => {
                assert_eq!((faulty.faults.len(), faulty.warnings.len()), (faults, warnings), "{text} {faulty:?}")
            }
        }
    }
    let config = folder.config(&listener("[::1]:25", "plaintext_from = [\"10.0.0.5\", \"10.1.2.3/8\"]"));
    let networks: Vec<String> = config.listeners[0].plaintext_from.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.5/32", "10.0.0.0/8"]);
}

#[test]
fn an_address_is_opened_once_and_port_0_as_often_as_one_likes() {
    let folder = Folder::new();
    let two = |a: &str, b: &str| {
        let one = |address: &str| format!("[[listener]]\nprotocol = \"smtp\"\naddress = \"{address}\"\n");
        folder.faults(&format!("{}{}", one(a), one(b))).len()
    };
    assert_eq!(two("127.0.0.1:0", "127.0.0.1:0"), 0);
    assert_eq!(two("127.0.0.1:25", "127.0.0.1:26"), 0);
    assert_eq!(two("127.0.0.1:25", "[::1]:25"), 0);
    assert_eq!(two("127.0.0.1:25", "127.0.0.1:25"), 1);
    assert_eq!(two("127.0.0.1:25", "0.0.0.0:25"), 1);
}

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

#[cfg(unix)]
#[test]
fn data_among_the_configuration_of_the_system_is_warned_about() {
    let folder = Folder::new();
    for (file, data_dir, warned) in [
        ("/etc/postern/postern.toml", "../data", Some("/etc/data")),
        ("/etc/postern/postern.toml", "data", Some("/etc/postern/data")),
        ("/etc/postern/postern.toml", "/srv/postern", None),
        ("/srv/postern/config/postern.toml", "../data", None),
        ("/srv/postern/postern.toml", "/etc/data", None),
    ] {
        let text = format!("data_dir = \"{data_dir}\"\n");
        let loaded = parse(&text, Path::new(file), &surroundings(folder.0.path())).unwrap();
        let warnings = shown(&loaded.warnings);
        match warned {
            None => assert!(warnings.is_empty(), "{file} {data_dir}: {warnings:?}"),
            Some(leads_to) => {
                assert!(warnings.len() == 1 && warnings[0].starts_with("1 data_dir: "), "{warnings:?}");
                assert!(warnings[0].contains(&format!("`{leads_to}`")), "{warnings:?}");
                assert!(loaded.warnings[0].remedy.contains("/var/lib/postern"), "{:?}", loaded.warnings);
            }
        }
    }
}

#[test]
fn what_was_left_from_the_instructions_is_told_apart_from_a_number_of_ones_own() {
    let folder = Folder::new();
    let nil = "00000000-0000-0000-0000-000000000000";
    for (key, own) in
        [("tenant_id", "11111111-2222-3333-4444-555555555555"), ("client_id", "66666666-7777-8888-9999-000000000000")]
    {
        for left in ["DIRECTORY-ID", "CLIENT-ID", "client-id"] {
            let faults = folder.faults(&TENANT.replace(own, left));
            assert!(faults.len() == 1 && faults[0].contains("placeholder"), "{key} {left}: {faults:?}");
            assert!(faults[0].contains(&format!("tenant[0].{key}: ")), "{faults:?}");
        }
        let warnings = folder.warnings(&TENANT.replace(own, nil));
        assert!(warnings.len() == 1 && warnings[0].contains("placeholder"), "{key}: {warnings:?}");
        let custom = TENANT.replace(own, nil).replace("grant =", "cloud = \"custom\"\ngrant =");
        let endpoints = "[tenant.endpoints]\ntoken_url = \"https://t.test/\"\nimap = \"i.test:993\"\n\
                         pop3 = \"p.test:995\"\nsmtp = \"s.test:587\"\n\
                         scopes = { imap = \"a\", pop3 = \"a\", smtp = \"a\" }\n";
        assert_eq!(folder.warnings(&format!("{custom}{endpoints}")), [""; 0], "{key}");
    }
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

#[test]
fn the_samples_are_accepted_as_they_are_and_with_every_line_that_is_commented_out() {
    for sample in ["postern.toml", "minimal.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(sample);
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = parse(&text, &path, &surroundings(Path::new("."))).unwrap_or_else(|f| panic!("{sample}: {f:#?}"));
        assert!(loaded.warnings.is_empty(), "{sample}: {:?}", loaded.warnings);
        assert!(loaded.config.tenants.is_empty(), "{sample}");

        // Lines that begin with `#` and no space after it are settings to be switched on; none of them may be stale.
        let all_on: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let folder = Folder::new();
        folder.write("client-secret", "s3cret");
        #[cfg(unix)]
        folder.mode("client-secret", 0o600);
        let config = folder.config(&all_on);
        assert_eq!(config.tenants.len(), 1, "{sample}");
    }
}
