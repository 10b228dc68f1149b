//! What was written → [`Config`], gathering every fault on the way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::base::Protocol;
use crate::base::is_host_name;
use crate::config::Surroundings;
use crate::config::credential;
use crate::config::duration::parse_duration;
use crate::config::files::{self, Base};
use crate::config::listener::listeners;
use crate::config::log;
use crate::config::model::{
    Audit, Config, Delivery, DeliveryMode, KeySource, Limits, OwnCertificate, Reminders, Tenant, UnknownOutcome,
};
use crate::config::raw::{self, Report, Section};
use crate::config::tenant::{self, Around};
use crate::config::upstream;

/// Checks the whole `text`. Without a fault in the report the result is a configuration in which everything holds.
pub(super) fn check(text: &str, base: &Base, surroundings: &Surroundings, report: &Report) -> Option<Config> {
    let document = raw::document(text, report)?;
    let root = Section::root(report, document.get_ref());
    let data_dir = data_dir(&root, base, surroundings);
    let listeners = listeners(&root);
    let spoken: Vec<Protocol> =
        Protocol::ALL.into_iter().filter(|p| listeners.iter().any(|listener| listener.protocol == *p)).collect();
    let (tls, tls_names) = root.table("tls").map(|section| tls(section, base, surroundings)).unwrap_or_default();
    let around = Around { base, spoken: &spoken, now: surroundings.now };
    let tenants: Vec<Tenant> = tenant::tenants(&root, &around);
    let limits = root.table("limits").map(limits).unwrap_or_default();
    let audit = root.table("audit").map(audit).unwrap_or_default();
    let delivery = root.table("delivery").map(delivery).unwrap_or_default();
    let keys = root.table("keys").map_or(KeySource::DefaultFile, |section| keys(section, base));
    if keys == KeySource::DefaultFile {
        files::warn_if_others_may_read_own_key(&data_dir, &root.place_of("data_dir"), report);
    }
    let upstream = root.table("upstream").map(|section| upstream::upstream(section, base)).unwrap_or_default();
    let console = root.table("console").and_then(console);
    let metrics = root.table("metrics").and_then(metrics);
    let log = root.table("log").map(log::log).unwrap_or_default();
    let reminders = root.table("reminders").map(reminders).unwrap_or_default();
    root.not_yet(&["store", "store_file", "store_env"]);
    root.finish();
    let mark = String::new();
    Some(
        Config {
            data_dir,
            listeners,
            tls,
            tls_names,
            tenants,
            limits,
            audit,
            console,
            metrics,
            log,
            reminders,
            delivery,
            keys,
            upstream,
            mark,
        }
        .marked(),
    )
}

fn data_dir(root: &Section<'_>, base: &Base, surroundings: &Surroundings) -> PathBuf {
    let Some(written) = root.filled_text("data_dir", "Write the path of a folder.") else {
        return surroundings.system_data_dir.clone();
    };
    let data_dir = base.resolve(written.value);
    if data_dir.exists() && !data_dir.is_dir() {
        let message = format!("`{}` is not a folder", data_dir.display());
        root.report().fault(&written.place, message, "Name a folder, or one that is still to be made.");
    }
    // The samples say "../data", which is right in a folder of one's own and leads to /etc/data from /etc/postern.
    let etc = Path::new("/etc");
    if base.is_below(etc) && data_dir.starts_with(etc) {
        let message =
            format!("the data folder would be `{}`, among the configuration of the system", data_dir.display());
        let remedy = format!(
            "Take the line out, and it is `{}`; or name a folder outside of /etc.",
            surroundings.system_data_dir.display()
        );
        root.report().warning(&written.place, message, remedy);
    }
    data_dir
}

fn tls(section: Section<'_>, base: &Base, surroundings: &Surroundings) -> (Option<OwnCertificate>, Vec<String>) {
    let report = section.report();
    let certificate = section.filled_text("certificate_file", "Write the path of the file.");
    let key = section.filled_text("key_file", "Write the path of the file.");
    let own = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (certificate.map(|path| base.resolve(path)), key.map(|path| base.resolve(path)));
            Some(files::check_own_certificate(&certificate, &key, surroundings.now, report))
        }
        _ => {
            for (present, missing) in [("certificate_file", "key_file"), ("key_file", "certificate_file")] {
                if section.has(present) && !section.has(missing) {
                    let message = format!("this is missing, and `{present}` is named");
                    report.fault(&section.place_of(missing), message, "Name both, or neither.");
                }
            }
            None
        }
    };
    let mut names = Vec::new();
    if let Some(list) = section.texts("names") {
        if own.is_some() {
            let message = "these names go into the certificate that Postern makes, and it makes none";
            report.warning(&list.place, message, "Remove `names`, or `certificate_file` and `key_file`.");
        }
        for name in list.value {
            let bare = name.value.strip_prefix("*.").unwrap_or(name.value);
            if is_host_name(bare) || name.value.parse::<std::net::IpAddr>().is_ok() {
                names.push(name.value.to_ascii_lowercase());
            } else {
                let message = format!("`{}` is not a host name or address", name.value.escape_debug());
                report.fault(&name.place, message, "Write it as \"mail.local\" or \"10.1.2.3\".");
            }
        }
    }
    section.finish();
    (own, names)
}

fn limits(section: Section<'_>) -> Limits {
    let default = Limits::default();
    // More than a million connections is more than one machine has ports and memory for.
    let connections = section.number("connections", 1, 1_000_000);
    let per_address = section.number("per_address_before_login", 1, 1_000_000);
    // Under 5 seconds a slow login fails, over 10 minutes an idle stranger holds a place too long.
    let login_seconds = section.number("login_seconds", 5, 600);
    section.finish();
    let count = |number: Option<raw::Written<u64>>, default| {
        number.and_then(|number| usize::try_from(number.value).ok()).unwrap_or(default)
    };
    Limits {
        connections: count(connections, default.connections),
        per_address_before_login: count(per_address, default.per_address_before_login),
        login: login_seconds.map_or(default.login, |seconds| Duration::from_secs(seconds.value)),
    }
}

fn audit(section: Section<'_>) -> Audit {
    let day = Duration::from_secs(24 * 3600);
    let keep = span(&section, "keep", (day, day * 3650));
    section.finish();
    keep.map_or_else(Audit::default, |keep| Audit { keep })
}

fn delivery(section: Section<'_>) -> Delivery {
    let mut delivery = Delivery::default();
    if let Some(default) = section.text("default") {
        match default.value {
            "assured" => delivery.default = DeliveryMode::Assured,
            "direct" => delivery.default = DeliveryMode::Direct,
            other => {
                let message = format!("`{}` is not known here", other.escape_debug());
                section.report().fault(&default.place, message, "Write default = \"assured\" or default = \"direct\".");
            }
        }
    }
    // Less than an hour gives a message up that waits for Exchange to be restarted; more than a month is kept for nobody.
    let hour = Duration::from_secs(3600);
    if let Some(age) = span(&section, "max_age", (hour, hour * 24 * 31)) {
        delivery.max_age = age;
    }
    // Mail programs give up after minutes.
    if let Some(patience) = span(&section, "patience", (Duration::from_secs(1), Duration::from_secs(120))) {
        delivery.patience = patience;
    }
    // Less than twice the largest message is a spool that takes none.
    if let Some(octets) = section.number("spool_bytes", 300_000_000, i64::MAX.unsigned_abs()) {
        delivery.spool_octets = octets.value;
    }
    // The recipients of a day are counted from it after a restart.
    let day = hour * 24;
    if let Some(span) = span(&section, "keep_journal", (day, day * 3650)) {
        delivery.keep_journal = span;
    }
    let outcomes = [("resend", UnknownOutcome::Resend), ("hold", UnknownOutcome::Hold)];
    if let Some(outcome) = section.word("unknown_outcome", &outcomes) {
        delivery.unknown_outcome = outcome.value;
    }
    section.finish();
    delivery
}

/// A duration between these two.
fn span(section: &Section<'_>, key: &'static str, (least, most): (Duration, Duration)) -> Option<Duration> {
    let text = section.text(key)?;
    let read = parse_duration(text.value).ok().filter(|span| (least..=most).contains(span));
    if read.is_none() {
        let message = format!("`{}` is not a time from {} to {}", text.value.escape_debug(), words(least), words(most));
        section.report().fault(
            &text.place,
            message,
            "Write a number and a unit: s, m, h or d, such as \"4d\" or \"20s\".",
        );
    }
    read
}

fn words(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds => format!("{seconds}s"),
    }
}

fn keys(section: Section<'_>, base: &Base) -> KeySource {
    let report = section.report();
    let mut found = Vec::new();
    if let Some(file) = section.filled_text("master_file", "Write the path of the file.") {
        let file = file.map(|path| base.resolve(path));
        files::check_master_key(&file, report);
        found.push((file.place, KeySource::File(file.value)));
    }
    if let Some(name) = credential::variable(&section, "master_env") {
        let message = "an environment variable shows in /proc/PID/environ to every program of the same user, and is handed to \
                       every program that Postern is started from";
        report.warning(&name.place, message, "A file, a systemd credential or `master_command` is safer.");
        if let Some(text) = std::env::var_os(&name.value).filter(|text| !text.is_empty()) {
            let text = Zeroizing::new(text.into_encoded_bytes());
            let what = format!("the environment variable `{}`", name.value);
            files::check_key_form(&name.place, &what, &text, report);
        }
        found.push((name.place, KeySource::Env(name.value)));
    }
    if let Some(name) = credential::systemd_credential(&section, "master_credential") {
        if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            let file = name.clone().map(|name| Path::new(&folder).join(name));
            // That there is none here has been told; the service may be given one all the same.
            if file.value.is_file() {
                files::check_master_key(&file, report);
            }
        }
        found.push((name.place, KeySource::Credential(name.value)));
    }
    if let Some(words) = credential::command(&section, "master_command", base) {
        found.push((words.place, KeySource::Command(words.value)));
    }
    section.finish();
    credential::only_one(report, found).map_or(KeySource::DefaultFile, |(_, source)| source)
}

/// `[reminders]`: who gets a mail.
fn reminders(section: Section<'_>) -> Reminders {
    let report = section.report();
    let reminders = section.text("mail").map(|text| match text.value {
        "mailbox" => Reminders::Mailbox,
        "nobody" => Reminders::Nobody,
        address => address.parse().map(Reminders::To).unwrap_or_else(|_| {
            let message = format!("`{}` is no address", address.escape_debug());
            report.fault(&text.place, message, "Write an address, \"mailbox\" or \"nobody\".");
            Reminders::Nobody
        }),
    });
    section.finish();
    reminders.unwrap_or_default()
}

/// `[console]`; its address may be left out.
fn console(section: Section<'_>) -> Option<SocketAddr> {
    let report = section.report();
    let address = match section.text("address") {
        None => Some(Config::DEFAULT_CONSOLE),
        Some(text) => match text.value.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Some(address),
            Ok(_) => {
                let message = "the console speaks HTTP without TLS, so that it is for this machine alone";
                let remedy = "Write 127.0.0.1 or ::1 and a port. From elsewhere it is reached through a tunnel: `ssh -L 8587:127.0.0.1:8587 HOST`.";
                report.fault(&text.place, message, remedy);
                None
            }
            Err(_) => {
                let message = format!("`{}` is not an IP address and a port", text.value.escape_debug());
                report.fault(&text.place, message, "Write them as \"127.0.0.1:8587\".");
                None
            }
        },
    };
    section.finish();
    address
}

/// `[metrics]`; without an address there is nothing to give out.
fn metrics(section: Section<'_>) -> Option<SocketAddr> {
    let report = section.report();
    let address = section.text("address").and_then(|text| match text.value.parse::<SocketAddr>() {
        Ok(address) => {
            if !address.ip().is_loopback() {
                let message = "whoever reaches this address can read the figures, as they have no password";
                report.warning(&text.place, message, "Let a firewall keep it for the monitoring, or write 127.0.0.1.");
            }
            Some(address)
        }
        Err(_) => {
            let message = format!("`{}` is not an IP address and a port", text.value.escape_debug());
            report.fault(&text.place, message, "Write them as \"127.0.0.1:9587\".");
            None
        }
    });
    section.finish();
    address
}
