//! Tables of files: what is wrong with each, or what comes of it.

mod clouds;
mod files;
mod tenants;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

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
        ("store = \"postgres://x\"", "store"),
        ("store_file = \"x\"", "store_file"),
        ("store_env = \"x\"", "store_env"),
    ] {
        let faulty = folder.parse(text).unwrap_err();
        assert_eq!(faulty.faults.len(), 1, "{text}: {:?}", faulty.faults);
        assert_eq!(faulty.faults[0].key, key);
        assert!(faulty.faults[0].message.contains("not in this version yet"), "{:?}", faulty.faults);
    }
    assert_eq!(folder.config("[metrics]\naddress = \"127.0.0.1:9587\"").metrics, "127.0.0.1:9587".parse().ok());
    assert_eq!(folder.parse("[metrics]\naddress = \"x\"").unwrap_err().faults[0].key, "metrics.address");
    assert_eq!(folder.parse("[metrics]\naddress = \"0.0.0.0:9587\"").unwrap().warnings.len(), 1);
    let log = folder
        .config("[log]\nformat = \"json\"\nlevel = \"warn\"\nlevels = { delivery = \"debug\", upstream = \"trace\" }")
        .log;
    assert_eq!((log.format, log.level), (LogFormat::Json, Some(LogLevel::Warn)));
    assert_eq!(log.levels, [("delivery".to_owned(), LogLevel::Debug), ("upstream".to_owned(), LogLevel::Trace)]);
    for (text, key) in [
        ("format = \"xml\"", "log.format"),
        ("level = \"loud\"", "log.level"),
        ("levels = { delivery = \"loud\" }", "log.levels.delivery"),
        ("levels = { sqlx = \"trace\" }", "log.levels.sqlx"),
        ("colour = true", "log.colour"),
    ] {
        assert_eq!(folder.parse(&format!("[log]\n{text}")).unwrap_err().faults[0].key, key);
    }
    for (text, wanted) in [
        ("", Reminders::Mailbox),
        ("mail = \"nobody\"", Reminders::Nobody),
        ("mail = \"admin@contoso.test\"", Reminders::To("admin@contoso.test".parse().unwrap())),
    ] {
        assert_eq!(folder.config(&format!("[reminders]\n{text}")).reminders, wanted);
    }
    assert_eq!(folder.parse("[reminders]\nmail = \"x\"").unwrap_err().faults[0].key, "reminders.mail");
    for (text, console) in
        [("", None), ("[console]\n", Some("127.0.0.1:8587")), ("[console]\naddress = \"[::1]:9\"\n", Some("[::1]:9"))]
    {
        assert_eq!(folder.config(text).console, console.map(|address| address.parse().unwrap()), "{text}");
    }
    for address in ["x", "127.0.0.1", "10.1.2.3:8587", "0.0.0.0:8587", "[::]:8587"] {
        let faulty = folder.parse(&format!("[console]\naddress = \"{address}\"\n")).unwrap_err();
        assert_eq!(faulty.faults[0].key, "console.address", "{address}");
    }
    assert_eq!(Config::built_in("data".into()).console, "127.0.0.1:8587".parse().ok());
    folder.config("[metrics]\n[log]\n[limits]\n[delivery]\ndefault = \"direct\"\n[keys]\n[upstream]\n");
    folder.config(&format!("{TENANT}routes = [\"smtp\"]\n"));
}

#[test]
fn what_becomes_of_messages_is_read_and_kept_within_reason() {
    let folder = Folder::new();
    let delivery = |text: &str| folder.config(&format!("[delivery]\n{text}")).delivery;
    assert_eq!(delivery(""), Delivery::default());
    assert_eq!(Delivery::default().default, DeliveryMode::Assured);
    let read = delivery(
        "default = \"direct\"\nmax_age = \"12h\"\npatience = \"5s\"\nspool_bytes = 1_000_000_000\nkeep_journal = \"7d\"",
    );
    let hour = Duration::from_secs(3600);
    assert_eq!((read.default, read.max_age, read.patience), (DeliveryMode::Direct, hour * 12, Duration::from_secs(5)));
    assert_eq!((read.spool_octets, read.keep_journal), (1_000_000_000, hour * 24 * 7));
    assert_eq!(read.unknown_outcome, UnknownOutcome::Resend);
    assert_eq!(delivery("unknown_outcome = \"hold\"").unknown_outcome, UnknownOutcome::Hold);
    let named = folder.config(&format!("{TENANT}sent_folder = \"Gesendet\"\n"));
    assert_eq!(named.tenants[0].sent_folder.as_deref(), Some("Gesendet"));
    for (text, key) in [
        ("default = \"queue\"", "delivery.default"),
        ("max_age = \"5m\"", "delivery.max_age"),
        ("max_age = \"forever\"", "delivery.max_age"),
        ("patience = \"0s\"", "delivery.patience"),
        ("patience = \"1h\"", "delivery.patience"),
        ("spool_bytes = 1000", "delivery.spool_bytes"),
        ("keep_journal = \"1h\"", "delivery.keep_journal"),
        ("unknown_outcome = \"drop\"", "delivery.unknown_outcome"),
    ] {
        let faulty = folder.parse(&format!("[delivery]\n{text}")).unwrap_err();
        assert_eq!((faulty.faults.len(), faulty.faults[0].key.as_str()), (1, key), "{text}: {:?}", faulty.faults);
    }
}

#[test]
fn the_ways_by_which_mail_goes_out_are_read_in_their_order() {
    let folder = Folder::new();
    let routes = |text: &str| folder.config(&format!("{TENANT}{text}")).tenants[0].routes.clone();
    assert_eq!(routes(""), [Route::Smtp]);
    assert_eq!(routes("routes = [\"graph\", \"smtp\"]"), [Route::Graph, Route::Smtp]);
    let graph = folder.config(&format!("{TENANT}routes = [\"graph\"]")).tenants[0].endpoints.scopes.graph.clone();
    assert_eq!(graph.as_deref(), Some("https://graph.microsoft.com/.default"));
    for (text, key) in [
        ("[]", "tenant[0].routes"),
        ("[\"ews\"]", "tenant[0].routes[0]"),
        ("[\"smtp\", \"smtp\"]", "tenant[0].routes[1]"),
    ] {
        let faulty = folder.parse(&format!("{TENANT}routes = {text}\n")).unwrap_err();
        assert_eq!((faulty.faults.len(), faulty.faults[0].key.as_str()), (1, key), "{text}: {:?}", faulty.faults);
    }
}

#[test]
fn high_volume_email_is_a_service_of_its_own() {
    let folder = Folder::new();
    let tenant =
        |more: &str| folder.config(&format!("{TENANT}smtp_service = \"high-volume\"\n{more}")).tenants[0].clone();
    let preset = tenant("");
    assert_eq!(preset.endpoints.smtp.unwrap(), HostPort { host: "smtp.hve.mx.microsoft".to_owned(), port: 587 });
    assert_eq!(preset.mailbox_limits, SmtpService::HighVolume.limits());
    let set = tenant("[tenant.limits]\nper_minute = 100\n[tenant.endpoints]\nsmtp = \"smtp-hve.office365.com:587\"\n");
    assert_eq!(set.endpoints.smtp.unwrap().host, "smtp-hve.office365.com");
    assert_eq!((set.mailbox_limits.per_minute, set.mailbox_limits.recipients_per_day), (100, 1_000_000_000));
    assert_eq!(set.mailbox_limits.at_once, MailboxLimits::default().at_once);
    for (more, key) in
        [("routes = [\"smtp\", \"graph\"]\n", "tenant[0].routes"), ("cloud = \"gcc-high\"\n", "tenant[0].smtp_service")]
    {
        let faulty = folder.parse(&format!("{TENANT}smtp_service = \"high-volume\"\n{more}")).unwrap_err();
        assert_eq!((faulty.faults.len(), faulty.faults[0].key.as_str()), (1, key), "{:?}", faulty.faults);
    }
    let faulty = folder.parse(&format!("{TENANT}smtp_service = \"bulk\"\n")).unwrap_err();
    assert_eq!(faulty.faults[0].key, "tenant[0].smtp_service");
}

#[test]
fn what_exchange_takes_from_a_mailbox_can_be_set_for_each_tenant() {
    let folder = Folder::new();
    let limits = |text: &str| folder.config(&format!("{TENANT}{text}")).tenants[0].mailbox_limits;
    assert_eq!(limits(""), MailboxLimits { at_once: 3, per_minute: 30, recipients_per_day: 10_000 });
    let all = "[tenant.limits]\nat_once = 10\nper_minute = 100\nrecipients_per_day = 100_000";
    assert_eq!(limits(all), MailboxLimits { at_once: 10, per_minute: 100, recipients_per_day: 100_000 });
    for key in ["at_once", "per_minute", "recipients_per_day"] {
        let faulty = folder.parse(&format!("{TENANT}[tenant.limits]\n{key} = 0")).unwrap_err();
        assert_eq!(faulty.faults[0].key, format!("tenant[0].limits.{key}"), "{:?}", faulty.faults);
    }
    let faulty = folder.parse(&format!("{TENANT}[tenant.limits]\nper_hour = 1")).unwrap_err();
    assert_eq!(faulty.faults.len(), 1, "{:?}", faulty.faults);
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
    let config = folder.config(&listener("0.0.0.0:25", "proxy_protocol_from = [\"10.0.0.5\"]"));
    assert_eq!(config.listeners[0].proxy_protocol_from, ["10.0.0.5/32".parse::<ipnet::IpNet>().unwrap()]);
    let faulty = folder.parse(&listener("0.0.0.0:25", "proxy_protocol_from = [\"balancer\"]")).unwrap_err();
    assert_eq!(faulty.faults[0].key, "listener[0].proxy_protocol_from[0]");
    let read = folder.parse(&listener("0.0.0.0:25", "proxy_protocol_from = [\"0.0.0.0/0\"]")).unwrap();
    assert!(read.warnings.iter().any(|warning| warning.message.contains("any address as theirs")));
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
